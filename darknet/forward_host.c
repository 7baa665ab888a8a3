/* Handing over to the installed Darknet; see forward_host.h. Which one: the environment variable DARKNET_STOCK, else the path this was built
 * with. Refuses to run itself: an installation over the stock program would otherwise loop for ever. */
#include "forward_host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../plugin/base/file_io.h"

#ifndef DARKNET_STOCK
#define DARKNET_STOCK "/usr/bin/darknet"
#endif

int forward_to_host(char **argv)
{
    const char *path = getenv("DARKNET_STOCK");
    if (!path || !*path) path = DARKNET_STOCK;
    if (prune_same_file(path, "/proc/self/exe")) {
        fprintf(stderr, "darknet: '%s' is this program and not the stock darknet it hands this command to; set DARKNET_STOCK to the stock program\n", path);
        return 1;
    }
    fflush(NULL);
    execv(path, argv);
    int why = errno;
    fprintf(stderr, "darknet: cannot hand this command to the stock darknet '%s': %s; install Debian's package darknet or set DARKNET_STOCK\n", path, strerror(why));
    return 1;
}
