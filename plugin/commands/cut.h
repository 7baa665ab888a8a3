/* What a verb works on: the user's network, or the same without whole blocks ('-drop-block', '-drop-blocks', blocks of a mask). Whatever follows,
 * from selection to the written pair, takes net, units, weights and origin of the cut, and need not know which of the two it is. */
#ifndef PRUNE_COMMANDS_CUT_H
#define PRUNE_COMMANDS_CUT_H

#include "../rewrite/drop.h"
#include "common.h"

#define PRUNE_DROP_FLAGS {"drop-block", true}, {"drop-blocks", true}
#define PRUNE_DROP_HELP \
    "  -drop-block L     take these residual blocks out whole, named by the layer numbers of their\n" \
    "                    shortcuts, \"12,45\" ('darknet prune inspect' lists them); a target counts what\n" \
    "                    they save\n" \
    "  -drop-blocks N    take out the N blocks of lowest score: the mean score of the removable units\n" \
    "                    inside\n"

struct prune_cut_request { int *shortcuts; size_t count; long lowest; };
/* Reads the two flags; prune_cut_request_free in any case. */
enum prune_code prune_args_drop(const struct prune_args *a, struct prune_cut_request *r, struct prune_status *st);
void prune_cut_request_free(struct prune_cut_request *r);
static inline bool prune_cut_asked(const struct prune_cut_request *r) { return r->count || r->lowest; }

/* Its parts point at each other and into the project: never copy or move one, close it first. */
struct prune_cut {
    const struct prune_net *net;
    const struct prune_units *units;
    const struct prune_weights *weights; /* NULL: none */
    struct prune_mask_origin origin;
    struct prune_drop drop;              /* zeroed when no block goes */
};

/* mask (NULL: none): its blocks go too. scores: units->count values of the project for '-drop-blocks' (NULL: usage error where it is given). protect: as given
 * to the project; blocks with such a layer inside are refused, and never chosen. */
enum prune_code prune_cut_open(struct prune_cut *cut, const struct prune_project *p, const struct prune_cut_request *r, const char *mask, const double *scores,
                               const char *protect, struct prune_status *st);
void prune_cut_close(struct prune_cut *cut);
/* prune_select on the cut, by scores of the project's units; targets are fractions of the project's cost, dropped blocks included. */
enum prune_code prune_cut_select(const struct prune_cut *cut, const struct prune_project *p, const double *scores, const struct prune_select_options *o, uint8_t *removed,
                                 struct prune_select_result *result, struct prune_status *st);
/* "drops 2 blocks: layers 5-7, layers 16-18" on stdout; nothing when no block goes. */
void prune_cut_print(const struct prune_cut *cut);

#endif
