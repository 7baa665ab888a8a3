/* How well scores predict the oracle: the figures of the paper's Tables 1 and 2. Units are taken all together, without those that span layers (as the paper's
 * tables do), and those alone; within each set over everything ("all layers") and averaged over layers. A unit's layer is its first producer's. */
#ifndef PRUNE_SCORE_CORRELATION_H
#define PRUNE_SCORE_CORRELATION_H

#include "../base/status.h"
#include "statistics.h"

enum prune_unit_set { PRUNE_UNITS_ONE_LAYER, PRUNE_UNITS_ALL, PRUNE_UNITS_SPANNING, PRUNE_UNIT_SETS };
enum prune_coefficient { PRUNE_PEARSON, PRUNE_SPEARMAN, PRUNE_KENDALL, PRUNE_COEFFICIENTS };
enum { PRUNE_LAYER_UNITS = 3 };          /* a layer with fewer says nothing */

extern const char *const PRUNE_UNIT_SET_NAMES[PRUNE_UNIT_SETS], *const PRUNE_COEFFICIENT_NAMES[PRUNE_COEFFICIENTS];

struct prune_pairs { const double *score, *oracle; const int *layer, *span; size_t count; };   /* span: layers with producers of the unit */

struct prune_interval { double value, low, high; };       /* NaN: not defined */
struct prune_correlations {
    size_t units, layers;                /* of the set */
    size_t layers_used;                  /* in the averages: those with PRUNE_LAYER_UNITS units or more, neither side constant */
    struct prune_interval all[PRUNE_COEFFICIENTS], per_layer[PRUNE_COEFFICIENTS];
};

/* Intervals: 95%, percentile bootstrap of `rounds` resamples (0: none) of the units of the set; for averages, of the units of each layer. */
enum prune_code prune_correlate(const struct prune_pairs *pairs, enum prune_unit_set set, size_t rounds, uint64_t seed, struct prune_correlations *out, struct prune_status *st);

/* A sample of `wanted` of `count` units, drawn from each layer in proportion to its size but PRUNE_LAYER_UNITS at least where that many fit; picked[i] = 1.
 * The same seed picks the same units. */
enum prune_code prune_sample_units(const int *layer, size_t count, size_t wanted, uint64_t seed, unsigned char *picked, struct prune_status *st);

#endif
