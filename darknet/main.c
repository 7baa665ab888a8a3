/* darknet: `prune ...`, `classifier train` and `detector train` are answered here; every other command line goes to the installed Darknet
 * unchanged, exit code included. */
#include <stdio.h>
#include <string.h>

#include "../plugin/commands/commands.h"
#include "../plugin/version.h"
#include "forward_host.h"
#include "host_pjreddie.h"
#include "network_open.h"
#include "train.h"

static const char help[] =
    "usage: darknet prune <verb> ...          prune a trained network: 'darknet prune -help' lists the verbs\n"
    "       darknet classifier train ...      train a classifier (-help)\n"
    "       darknet detector train ...        train a detector (-help)\n"
    "       darknet <anything else>           handed to the installed darknet: detector test, classifier predict, ...\n"
    "       darknet -version\n";

static int open_host(void)
{
    struct prune_status st;
    if (host_library_open(&st) == PRUNE_OK) return 0;
    fprintf(stderr, "darknet: %s\n", st.message);
    return 1;
}

/* Darknet takes -nogpu and -i N anywhere; in front of the noun they are skipped here. */
static int noun_index(int argc, char **argv)
{
    int i = 1;
    while (i < argc) {
        if (!strcmp(argv[i], "-nogpu")) i++;
        else if (!strcmp(argv[i], "-i") && i + 1 < argc) i += 2;
        else break;
    }
    return i;
}

int main(int argc, char **argv)
{
    int at = noun_index(argc, argv);
    if (at >= argc) {
        fputs(help, stderr);
        return 2;
    }
    const char *noun = argv[at], *verb = at + 1 < argc ? argv[at + 1] : "";
    if (!strcmp(noun, "-version") || !strcmp(noun, "--version")) {
        printf("darknet prune %s\n", PRUNE_VERSION);
        return 0;
    }
    if (!strcmp(noun, "-help") || !strcmp(noun, "--help") || !strcmp(noun, "-h")) {
        fputs(help, stdout);
        return 0;
    }
    if (!strcmp(noun, "prune")) return prune_main(argc - at - 1, argv + at + 1, darknet_host());   /* opens the host when a verb needs it */
    bool train = !strcmp(verb, "train");
    if (train && !strcmp(noun, "classifier")) return open_host() ? 1 : classifier_train_main(argc - at - 1, argv + at + 1);
    if (train && !strcmp(noun, "detector")) return open_host() ? 1 : detector_train_main(argc - at - 1, argv + at + 1);
    return forward_to_host(argv);
}
