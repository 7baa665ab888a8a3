/* `score -at-init`: fresh weights of a network, made from the seed and written down, so that scores, masks and training all start from the same ones. */
#ifndef PRUNE_COMMANDS_AT_INIT_H
#define PRUNE_COMMANDS_AT_INIT_H

#include "common.h"

struct prune_at_init { const char *path; long images; };   /* path NULL: not wanted */

#define PRUNE_AT_INIT_FLAGS {"at-init", false}, {"init-weights", true}, {"recalibrate", true}
#define PRUNE_AT_INIT_HELP \
    "  -at-init          score fresh weights, made from -seed: <data> <cfg> without <weights>. Batch-norm\n" \
    "                    statistics are averaged over training images first\n" \
    "  -init-weights FILE  where these weights are written, for 'select', 'apply' and 'finetune'\n" \
    "  -recalibrate N    images of that average, drawn as in training (default: 2560)\n"
/* One of them without the other is a usage error. */
enum prune_code prune_at_init_read(const struct prune_args *a, struct prune_at_init *out, struct prune_status *st);
/* Writes the file, which must not exist yet. */
enum prune_code prune_at_init_make(const struct prune_at_init *o, const struct prune_host *host, const char *data, const char *cfg, const struct prune_open_options *open,
                                   struct prune_status *st);

#endif
