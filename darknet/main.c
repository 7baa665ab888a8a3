/* darknet: `prune ...`, `classifier train` and `detector train` are answered here; every other command line goes to the installed Darknet
 * unchanged, exit code included. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* A page of a mapped file that is no longer there: the file was cut, or its disk fails. Nothing can go on from here. Several threads may meet it. */
static void on_lost_page(int number)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    static const char text[] = "darknet: an input file became shorter while it was read, or its disk failed; nothing was put in place\n";
    (void)number;
    while (atomic_flag_test_and_set(&said)) pause();
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(2);
    _exit(1);
}

/* A limit on file sizes is an error of the write, not a signal. */
static void prepare_signals(void)
{
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGBUS, on_lost_page);
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
    bool train = !strcmp(verb, "train") && (!strcmp(noun, "classifier") || !strcmp(noun, "detector"));
    if (!train && strcmp(noun, "prune") != 0) return forward_to_host(argv);
    prepare_signals();
    argc -= at + 1;
    argv += at + 1;
    if (!train) return prune_main(argc, argv, darknet_host());   /* opens the host when a verb needs it */
    if (open_host()) return 1;
    return *noun == 'c' ? classifier_train_main(argc, argv) : detector_train_main(argc, argv);
}
