/* `darknet prune criteria`: the registry of criteria as a table. */
#include <stdio.h>

#include "../score/criteria.h"
#include "args.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune criteria\n"
    "\n"
    "Lists every criterion: what it computes, what it needs, what it costs, and where it comes from.\n"
    "Lower score = less important. z_u is the gate of unit u: 1 keeps it, 0 removes it.\n"
    "\n"
    "example:\n"
    "  darknet prune criteria\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 wrong usage\n";

static const char *needs(const struct prune_criterion *c)
{
    if (c->signals) return c->needs_weights ? "images, weights" : "images";
    return c->needs_weights ? "weights" : "nothing";
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{0}};
    (void)host;
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 0, 0, st);
    if (rc) return rc;
    size_t count;
    const struct prune_criterion *all = prune_criteria(&count);
    for (size_t i = 0; i < count; i++) {
        const struct prune_criterion *c = &all[i];
        printf("%-10s %s\n           needs %s; cost: %s; source: %s\n", c->name, c->formula, needs(c), c->cost, c->source);
    }
    return PRUNE_OK;
}

const struct prune_command prune_command_criteria = {"criteria", "list the criteria that can rank units", USAGE, run};
