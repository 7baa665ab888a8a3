/* The files of a set of curves (docs/curve.md): BASE.json, which is also what a stopped set goes on from, BASE.csv with one row per criterion, seed and step,
 * BASE.svg. All are written atomically, and depend on the rows alone: a set that was stopped and continued leaves the same bytes. */
#ifndef PRUNE_RUN_CURVE_FILE_H
#define PRUNE_RUN_CURVE_FILE_H

#include "../units/mask_file.h"
#include "curve.h"

struct prune_curves {
    struct prune_curve *items; size_t count;
    char *settings;                  /* one line: everything but criteria and seeds that the rows depend on */
    const char *data;                /* borrowed */
    const struct prune_mask_origin *origin;
    const double *loss_at; size_t loss_at_count;    /* losses whose step is named; borrowed */
    const char *accuracy;            /* what `accuracy` is: "top-1", "mAP@0.5" */
};
void prune_curves_free(struct prune_curves *set);
/* The curve of (criterion, recomputed, seed), added at the end where there is none. NULL: out of memory. criterion is kept, not copied. */
struct prune_curve *prune_curves_add(struct prune_curves *set, const char *criterion, bool recomputed, uint64_t seed);

enum prune_code prune_curves_write_json(const struct prune_curves *set, const char *path, struct prune_status *st);
enum prune_code prune_curves_write_csv(const struct prune_curves *set, const char *path, struct prune_status *st);
/* One line per criterion, the mean over its seeds with a band from the smallest to the largest. */
enum prune_code prune_curves_write_svg(const struct prune_curves *set, const char *path, struct prune_status *st);
/* Adds the rows of an earlier call to the set's curves, and its other curves behind them. Refused: another format, version, cfg, weights or settings, and
 * orders that are not of units that may go. */
enum prune_code prune_curves_read(struct prune_curves *set, const char *path, const struct prune_net *net, const struct prune_units *units, struct prune_status *st);

/* Curves that differ in their seeds alone are one group; its first curve leads it. */
bool prune_curves_same_group(const struct prune_curve *a, const struct prune_curve *b);
bool prune_curves_leads(const struct prune_curves *set, size_t i);

#endif
