/* What `correlate` found: the correlations of every column of a table, as JSON and as charts (docs/correlate.md). */
#ifndef PRUNE_SCORE_CORRELATION_REPORT_H
#define PRUNE_SCORE_CORRELATION_REPORT_H

#include "../units/mask_file.h"
#include "correlation_table.h"

struct prune_correlation_results {
    struct prune_correlations (*of)[PRUNE_UNIT_SETS];   /* (columns of the table) */
    size_t columns;
    bool has_spanning;                   /* some unit spans layers: else the three sets are one */
    size_t rounds; uint64_t seed;
};

/* Where a side came from, for the JSON; file: a score file, CSV or NULL. */
struct prune_correlation_side { const struct prune_image_set *set; size_t images; double loss; const char *file; };
struct prune_correlation_about { const struct prune_mask_origin *origin; const char *gate; struct prune_correlation_side scored, oracle; };   /* all may be NULL */

enum prune_code prune_correlation_results_make(struct prune_correlation_results *r, const struct prune_correlation_table *t, size_t rounds, uint64_t seed, struct prune_status *st);
void prune_correlation_results_free(struct prune_correlation_results *r);
/* Columns by Spearman over all units, falling; order: (columns). */
void prune_correlation_order(const struct prune_correlation_results *r, size_t *order);

enum prune_code prune_correlation_json(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r,
                                       const struct prune_correlation_about *about, struct prune_status *st);
/* Bars of Spearman's coefficient with intervals, the best criterion first. */
enum prune_code prune_correlation_bars(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r, struct prune_status *st);
/* A panel per criterion: the oracle against the score, both logarithmic. */
enum prune_code prune_correlation_scatter(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r, struct prune_status *st);

#endif
