/* Correlations of scores with the oracle over sets of units; see correlation.h. Units are brought into the order of their layers first, so that a layer
 * is a stretch of the arrays. */
#include "correlation.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *const PRUNE_UNIT_SET_NAMES[PRUNE_UNIT_SETS] = {"one-layer", "all", "spanning"};
const char *const PRUNE_COEFFICIENT_NAMES[PRUNE_COEFFICIENTS] = {"pearson", "spearman", "kendall"};
static const prune_statistic STATISTICS[PRUNE_COEFFICIENTS] = {prune_pearson, prune_spearman, prune_kendall};

/* first[k] ... first[k + 1] - 1: the units of layer k of the set */
struct grouped { double *score, *oracle, *drawn; size_t *first, count, layers; };
struct place { int layer; size_t row; };

static int by_layer(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->layer != y->layer) return (x->layer > y->layer) - (x->layer < y->layer);
    return (x->row > y->row) - (x->row < y->row);
}

static bool belongs(int span, enum prune_unit_set set) { return set == PRUNE_UNITS_ALL || (span > 1) == (set == PRUNE_UNITS_SPANNING); }

static void grouped_free(struct grouped *g)
{
    free(g->score);
    free(g->first);
}

/* Fills g, whose arrays have room for all rows. */
static void group(struct grouped *g, const struct prune_pairs *p, enum prune_unit_set set, struct place *places)
{
    for (size_t i = 0; i < p->count; i++)
        if (belongs(p->span[i], set)) places[g->count++] = (struct place){p->layer[i], i};
    qsort(places, g->count, sizeof *places, by_layer);
    for (size_t i = 0; i < g->count; i++) {
        if (!i || places[i].layer != places[i - 1].layer) g->first[g->layers++] = i;
        g->score[i] = p->score[places[i].row];
        g->oracle[i] = p->oracle[places[i].row];
    }
    g->first[g->layers] = g->count;
}

static enum prune_code grouped_make(struct grouped *g, const struct prune_pairs *p, enum prune_unit_set set, struct prune_status *st)
{
    size_t n = p->count + 1;
    *g = (struct grouped){.score = malloc(4 * n * sizeof *g->score), .first = malloc(n * sizeof *g->first)};
    struct place *places = malloc(n * sizeof *places);
    enum prune_code rc = g->score && g->first && places ? PRUNE_OK : prune_fail_memory(st, n * sizeof *places, "correlations");
    if (!rc) {
        g->oracle = g->score + n;
        g->drawn = g->oracle + n;
        group(g, p, set, places);
    } else {
        grouped_free(g);
    }
    free(places);
    return rc;
}

/* The mean over layers of each coefficient, of `score` and `oracle` in the order of g; *used: layers in the mean. */
static void layer_means(const struct grouped *g, const double *score, const double *oracle, double mean[PRUNE_COEFFICIENTS], size_t *used)
{
    *used = 0;
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) mean[k] = 0;
    for (size_t l = 0; l < g->layers; l++) {
        size_t at = g->first[l], n = g->first[l + 1] - at;
        double value[PRUNE_COEFFICIENTS];
        if (n < PRUNE_LAYER_UNITS) continue;
        for (int k = 0; k < PRUNE_COEFFICIENTS; k++) value[k] = STATISTICS[k](score + at, oracle + at, n);
        if (isnan(value[PRUNE_SPEARMAN])) continue;
        for (int k = 0; k < PRUNE_COEFFICIENTS; k++) mean[k] += value[k];
        ++*used;
    }
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) mean[k] = *used ? mean[k] / (double)*used : (double)NAN;
}

static void redraw(const struct grouped *g, struct prune_random *random)
{
    for (size_t l = 0; l < g->layers; l++) {
        size_t at = g->first[l], n = g->first[l + 1] - at;
        for (size_t i = at; i < at + n; i++) {
            size_t pick = at + (size_t)prune_random_below(random, n);
            g->drawn[i] = g->score[pick];
            g->drawn[g->count + i] = g->oracle[pick];
        }
    }
}

static enum prune_code layer_intervals(const struct grouped *g, size_t rounds, uint64_t seed, struct prune_correlations *out, struct prune_status *st)
{
    double *results = malloc((rounds + 1) * PRUNE_COEFFICIENTS * sizeof *results);
    if (!results) return prune_fail_memory(st, rounds * PRUNE_COEFFICIENTS * sizeof *results, "correlations");
    size_t count = 0;
    for (size_t round = 0; round < rounds; round++) {
        struct prune_random random = prune_bootstrap_draw(seed, round);
        double mean[PRUNE_COEFFICIENTS];
        size_t used;
        redraw(g, &random);
        layer_means(g, g->drawn, g->drawn + g->count, mean, &used);
        for (int k = 0; used && k < PRUNE_COEFFICIENTS; k++) results[(size_t)k * rounds + count] = mean[k];
        count += used > 0;
    }
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        out->per_layer[k].low = prune_quantile(results + (size_t)k * rounds, count, 0.025);
        out->per_layer[k].high = prune_quantile(results + (size_t)k * rounds, count, 0.975);
    }
    free(results);
    return PRUNE_OK;
}

enum prune_code prune_correlate(const struct prune_pairs *pairs, enum prune_unit_set set, size_t rounds, uint64_t seed, struct prune_correlations *out, struct prune_status *st)
{
    struct grouped g;
    enum prune_code rc = grouped_make(&g, pairs, set, st);
    if (rc) return rc;
    struct prune_correlations c = {.units = g.count, .layers = g.layers};
    double mean[PRUNE_COEFFICIENTS];
    layer_means(&g, g.score, g.oracle, mean, &c.layers_used);
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        c.per_layer[k] = (struct prune_interval){mean[k], NAN, NAN};
        c.all[k] = (struct prune_interval){STATISTICS[k](g.score, g.oracle, g.count), NAN, NAN};
        if (!isnan(c.all[k].value)) prune_bootstrap(STATISTICS[k], g.score, g.oracle, g.count, rounds, seed, &c.all[k].low, &c.all[k].high);
    }
    if (c.layers_used && rounds) rc = layer_intervals(&g, rounds, seed, &c, st);
    grouped_free(&g);
    if (!rc) *out = c;
    return rc;
}

/* ---- samples ---- */

struct stratum { size_t size, taken; };

/* How many of each layer: the least that says something, where it fits, then whoever is furthest behind its share. */
static void share_out(struct stratum *strata, size_t layers, size_t count, size_t wanted)
{
    size_t least = 0;
    for (size_t l = 0; l < layers; l++) least += strata[l].size < PRUNE_LAYER_UNITS ? strata[l].size : PRUNE_LAYER_UNITS;
    for (size_t l = 0; l < layers && least <= wanted; l++) strata[l].taken = strata[l].size < PRUNE_LAYER_UNITS ? strata[l].size : PRUNE_LAYER_UNITS;
    for (size_t left = wanted - (least <= wanted ? least : 0); left; left--) {
        size_t next = layers;
        double furthest = -INFINITY;
        for (size_t l = 0; l < layers; l++) {
            double behind = (double)wanted * (double)strata[l].size / (double)count - (double)strata[l].taken;
            if (strata[l].taken < strata[l].size && behind > furthest) next = l, furthest = behind;
        }
        if (next == layers) return;
        strata[next].taken++;
    }
}

enum prune_code prune_sample_units(const int *layer, size_t count, size_t wanted, uint64_t seed, unsigned char *picked, struct prune_status *st)
{
    struct place *places = malloc((count + 1) * sizeof *places);
    struct stratum *strata = calloc(count + 1, sizeof *strata);
    enum prune_code rc = places && strata ? PRUNE_OK : prune_fail_memory(st, (count + 1) * (sizeof *places + sizeof *strata), "sample");
    size_t layers = 0;
    for (size_t i = 0; !rc && i < count; i++) places[i] = (struct place){layer[i], i};
    if (!rc) qsort(places, count, sizeof *places, by_layer);
    for (size_t i = 0; !rc && i < count; i++) {
        if (i && places[i].layer != places[i - 1].layer) layers++;
        strata[layers].size++;
    }
    if (!rc && count) {
        memset(picked, 0, count);
        share_out(strata, layers + 1, count, wanted < count ? wanted : count);
        for (size_t l = 0, first = 0; l <= layers; first += strata[l++].size)
            for (size_t i = 0; i < strata[l].taken; i++) picked[places[first + prune_random_permute(seed, (uint64_t)places[first].layer, i, strata[l].size)].row] = 1;
    }
    free(places);
    free(strata);
    return rc;
}
