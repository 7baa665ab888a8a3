/* Correlations and their bootstrap intervals. Spearman is Pearson's correlation of ranks, equal values sharing the mean of their ranks. Kendall's tau-b
 * sorts by one side and counts the exchanges of a merge sort by the other (Knight, J. Am. Stat. Assoc. 61, 1966). */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../base/random.h"
#include "statistics.h"

struct entry { double value; size_t index; };
struct pair { double a, b; };

static int order(double x, double y) { return (x > y) - (x < y); }

static int by_value(const void *a, const void *b) { return order(((const struct entry *)a)->value, ((const struct entry *)b)->value); }

static int by_number(const void *a, const void *b) { return order(*(const double *)a, *(const double *)b); }

static int by_a_then_b(const void *x, const void *y)
{
    const struct pair *p = x, *q = y;
    int first = order(p->a, q->a);
    return first ? first : order(p->b, q->b);
}

/* No NaN, and not all equal: a sum of squares about a rounded mean would not notice. */
static bool varies(const double *values, size_t n)
{
    bool different = false;
    for (size_t i = 0; i < n; i++) {
        if (isnan(values[i])) return false;
        different |= values[i] != values[0];
    }
    return different;
}

/* out = values - mean in units of a power of two near the largest, so that no square overflows or vanishes and nothing is rounded twice; false: infinite. */
static bool centre(const double *values, size_t n, double *out)
{
    double largest = 0, mean = 0;
    int exponent;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(values[i]));
    if (!isfinite(largest)) return false;
    frexp(largest, &exponent);
    for (size_t i = 0; i < n; i++) mean += out[i] = ldexp(values[i], -exponent);
    mean /= (double)n;
    largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(out[i] -= mean));
    frexp(largest, &exponent);
    for (size_t i = 0; i < n; i++) out[i] = ldexp(out[i], -exponent);
    return largest > 0;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double cosine(const double *a, const double *b, size_t n)
{
    double r = dot(a, b, n) / (sqrt(dot(a, a, n)) * sqrt(dot(b, b, n)));
    return fmin(fmax(r, -1), 1);
}

double prune_pearson(const double *a, const double *b, size_t n)
{
    if (n < 2 || !varies(a, n) || !varies(b, n)) return NAN;
    double *work = malloc(2 * n * sizeof *work), result = NAN;
    if (work && centre(a, n, work) && centre(b, n, work + n)) result = cosine(work, work + n, n);
    free(work);
    return result;
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

bool prune_ranks(const double *values, size_t n, double *rank)
{
    struct entry *work = malloc((n + 1) * sizeof *work);
    if (!work) return false;
    centred_ranks(values, n, work, rank);
    for (size_t i = 0; i < n; i++) rank[i] += ((double)n + 1) / 2;
    free(work);
    return true;
}

double prune_spearman(const double *a, const double *b, size_t n)
{
    if (n < 2 || !varies(a, n) || !varies(b, n)) return NAN;
    struct entry *work = malloc(n * sizeof *work);
    double *ranks = malloc(2 * n * sizeof *ranks), result = NAN;
    if (work && ranks) {
        centred_ranks(a, n, work, ranks);
        centred_ranks(b, n, work, ranks + n);
        result = cosine(ranks, ranks + n, n);
    }
    free(work);
    free(ranks);
    return result;
}

/* Sorts by b, bottom up; returns how many neighbours a bubble sort would have exchanged, which is the number of discordant pairs. */
static uint64_t exchanges(struct pair *pairs, struct pair *work, size_t n)
{
    uint64_t count = 0;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n, end = middle + width < n ? middle + width : n;
            for (size_t left = begin, right = middle, to = begin; to < end; to++) {
                bool take_right = left == middle || (right < end && pairs[right].b < pairs[left].b);
                if (take_right) count += middle - left;
                work[to] = pairs[take_right ? right++ : left++];
            }
        }
        memcpy(pairs, work, n * sizeof *pairs);
    }
    return count;
}

/* Pairs of equal neighbours in a sorted list: of one side, or of both. */
enum side { SIDE_A = 1, SIDE_B = 2 };
static double tied(const struct pair *p, size_t n, int sides)
{
    double sum = 0;
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && (!(sides & SIDE_A) || p[end].a == p[first].a) && (!(sides & SIDE_B) || p[end].b == p[first].b);) end++;
        sum += (double)(end - first) * (double)(end - first - 1) / 2;
    }
    return sum;
}

double prune_kendall(const double *a, const double *b, size_t n)
{
    if (n < 2 || !varies(a, n) || !varies(b, n)) return NAN;
    struct pair *pairs = malloc(2 * n * sizeof *pairs);
    if (!pairs) return NAN;
    for (size_t i = 0; i < n; i++) pairs[i] = (struct pair){a[i], b[i]};
    qsort(pairs, n, sizeof *pairs, by_a_then_b);
    double all = (double)n * (double)(n - 1) / 2, tied_a = tied(pairs, n, SIDE_A), tied_both = tied(pairs, n, SIDE_A | SIDE_B);
    double discordant = (double)exchanges(pairs, pairs + n, n), tied_b = tied(pairs, n, SIDE_B);
    free(pairs);
    double r = (all - tied_a - tied_b + tied_both - 2 * discordant) / (sqrt(all - tied_a) * sqrt(all - tied_b));
    return fmin(fmax(r, -1), 1);
}

double prune_quantile(double *values, size_t n, double p)
{
    if (!n) return NAN;
    qsort(values, n, sizeof *values, by_number);
    double at = p * (double)(n - 1);
    size_t below = (size_t)at;
    return below + 1 < n ? values[below] + (at - (double)below) * (values[below + 1] - values[below]) : values[n - 1];
}

struct prune_random prune_bootstrap_draw(uint64_t seed, size_t round)
{
    return prune_random_make(seed, 0x626f6f7473747261u, round);   /* the stream: "bootstra" */
}

void prune_bootstrap(prune_statistic statistic, const double *a, const double *b, size_t n, size_t rounds, uint64_t seed, double *low, double *high)
{
    *low = *high = NAN;
    if (n < 2 || !rounds) return;
    double *drawn = malloc(2 * n * sizeof *drawn), *results = malloc(rounds * sizeof *results);
    size_t count = 0;
    for (size_t round = 0; drawn && results && round < rounds; round++) {
        struct prune_random random = prune_bootstrap_draw(seed, round);
        for (size_t i = 0; i < n; i++) {
            size_t pick = (size_t)prune_random_below(&random, n);
            drawn[i] = a[pick];
            drawn[n + i] = b[pick];
        }
        double value = statistic(drawn, drawn + n, n);
        if (!isnan(value)) results[count++] = value;
    }
    *low = prune_quantile(results, count, 0.025);
    *high = prune_quantile(results, count, 0.975);
    free(drawn);
    free(results);
}
