/* What `darknet prune oracle` shares between its two files: oracle.c runs, oracle_write.c writes what came out. */
#ifndef PRUNE_COMMANDS_ORACLE_H
#define PRUNE_COMMANDS_ORACLE_H

#include "../score/oracle_sets.h"
#include "common.h"

struct prune_oracle_job {
    const struct prune_host *host;
    const char *data, *cfg, *weights, *out, *csv;
    char *list;                          /* of the images; malloc'd */
    char *state, *key;                   /* state file and what it must be a state of; malloc'd */
    struct prune_project project;
    struct prune_scoring scoring;
    struct prune_open_options open;
    long sample, greedy, subsets;        /* 0: all units; 0: not greedy; -1: not the subsets of a layer */
    int *units; size_t count;            /* candidates */
    struct prune_oracle oracle;          /* of single units, of subsets */
    struct prune_greedy steps;
    double saved;                        /* when the state was last written */
};

/* Files and a summary on stdout. */
enum prune_code prune_oracle_report(const struct prune_oracle_job *j, struct prune_status *st);

#endif
