/* THE table of verbs of `darknet prune`. One file per verb; usage text beside each. */
#ifndef PRUNE_COMMANDS_COMMANDS_H
#define PRUNE_COMMANDS_COMMANDS_H

#include "../host.h"

struct prune_command {
    const char *name, *summary, *usage;   /* usage: complete -help text: synopsis, every flag with default, example, exit codes */
    enum prune_code (*run)(int argc, char **argv, const struct prune_host *host, struct prune_status *st); /* argv[0] = verb */
};
const struct prune_command *const *prune_commands(size_t *count);
/* `darknet prune <argv...>` (argv[0] = first word behind `prune`, argc may be 0): prints errors and help, returns the exit code 0, 1 or 2. */
int prune_main(int argc, char **argv, const struct prune_host *host);

#endif
