/* Correlations. All return NaN when a side is constant or holds a NaN, when n < 2, and when out of memory. */
#ifndef PRUNE_SCORE_STATISTICS_H
#define PRUNE_SCORE_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/random.h"

double prune_pearson(const double *a, const double *b, size_t n);
double prune_spearman(const double *a, const double *b, size_t n);      /* average ranks for ties, O(n log n) */
double prune_kendall(const double *a, const double *b, size_t n);       /* tau-b, O(n log n) (Knight 1966) */

/* 1 for the lowest ... n, equal values sharing the mean of their ranks; false: out of memory. No value may be NaN. */
bool prune_ranks(const double *values, size_t n, double *rank);

/* Percentile bootstrap over pairs: the 2.5% and 97.5% quantiles of `statistic` over `rounds` resamples, from the seed. Resamples whose statistic is NaN
 * are left out; NaN when all are. */
typedef double (*prune_statistic)(const double *a, const double *b, size_t n);
void prune_bootstrap(prune_statistic statistic, const double *a, const double *b, size_t n, size_t rounds, uint64_t seed, double *low, double *high);
/* The random numbers of one round, for statistics that resample in a way of their own. */
struct prune_random prune_bootstrap_draw(uint64_t seed, size_t round);
/* Sorts values; the p-quantile with linear interpolation between order statistics (numpy's default), NaN of none. */
double prune_quantile(double *values, size_t n, double p);

#endif
