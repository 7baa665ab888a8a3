/* For tests: pruning without a host, that is, libprune.a alone. The same verbs and files as `darknet prune`, but it starts in a millisecond and
 * not in two hundred, so that a test can kill it thousands of times. */
#include "../../plugin/commands/commands.h"

int main(int argc, char **argv)
{
    return prune_main(argc - 1, argv + 1, NULL);
}
