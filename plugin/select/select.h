/* Selection: scores + costs + constraints -> which units go. Lowest score first.
 * Keeps: every layer at least min_keep (>= 1) channels; kept counts rounded UP to `multiple`, never to zero; balanced parts lose
 * equally many, paired by rank; protected units stay. The target is met on the real shape (prune_units_cost), by the
 * smallest step that meets it; a target that cannot be reached fails and names the smallest reachable. */
#ifndef PRUNE_SELECT_SELECT_H
#define PRUNE_SELECT_SELECT_H

#include "../units/units.h"

enum prune_target_kind { PRUNE_TARGET_MACS, PRUNE_TARGET_PARAMS, PRUNE_TARGET_UNITS };
enum prune_cost_kind { PRUNE_COST_NONE, PRUNE_COST_MACS, PRUNE_COST_PARAMS };

struct prune_select_options {
    enum prune_target_kind target;
    double remain;                 /* fraction of the ORIGINAL cost that may remain, (0, 1] */
    bool per_layer;                /* the same fraction of each layer instead of one global ranking */
    int min_keep;                  /* channels per layer, >= 1 */
    double max_removed;            /* fraction of the net's channels that a layer may lose at most; 0 = no such cap */
    int multiple;                  /* kept counts are multiples of this (8, 16, 32); 1 = off */
    enum prune_cost_kind cost; double cost_power;   /* rank by score / cost^power */
    bool open_ended;               /* no target: max_new more units go, or all that may; `remain` is not read */
    size_t max_new;                /* at most this many more units in this step, but one bundle at least; 0 = no limit */
    struct prune_cost original;    /* reference of `remain`; all zero = cost of the net as it is */
};

struct prune_select_result { struct prune_cost before, after; size_t newly_removed; bool target_met; double smallest; /* reachable fraction */ };

/* scores: units->count values (NaN refused). removed: in = already removed, out = after selection; written only on success. */
enum prune_code prune_select(const struct prune_net *net, const struct prune_units *units, const double *scores, const struct prune_select_options *options,
                             uint8_t *removed, struct prune_select_result *result, struct prune_status *st);

#endif
