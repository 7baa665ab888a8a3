/* Spearman's rank correlation: Pearson's correlation of ranks, equal values sharing the mean of their ranks. */
#include <math.h>
#include <stdlib.h>

#include "statistics.h"

struct entry { double value; size_t index; };

static int by_value(const void *a, const void *b)
{
    double x = ((const struct entry *)a)->value, y = ((const struct entry *)b)->value;
    return (x > y) - (x < y);
}

/* rank[i] in 0..n-1, minus the mean rank, so that sums of products need no further centring. */
static void centred_ranks(const double *values, size_t n, struct entry *work, double *rank)
{
    for (size_t i = 0; i < n; i++) work[i] = (struct entry){values[i], i};
    qsort(work, n, sizeof *work, by_value);
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && !(work[end].value > work[first].value);) end++;
        double mean = ((double)first + (double)(end - 1)) / 2;
        for (size_t i = first; i < end; i++) rank[work[i].index] = mean - ((double)n - 1) / 2;
    }
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

double prune_spearman(const double *a, const double *b, size_t n)
{
    if (n < 2) return NAN;
    for (size_t i = 0; i < n; i++)
        if (isnan(a[i]) || isnan(b[i])) return NAN;
    struct entry *work = malloc(n * sizeof *work);
    double *ranks = malloc(2 * n * sizeof *ranks), result = NAN;
    if (work && ranks) {
        centred_ranks(a, n, work, ranks);
        centred_ranks(b, n, work, ranks + n);
        double aa = dot(ranks, ranks, n), bb = dot(ranks + n, ranks + n, n);
        if (aa > 0 && bb > 0) result = dot(ranks, ranks + n, n) / (sqrt(aa) * sqrt(bb));
    }
    free(work);
    free(ranks);
    return result;
}
