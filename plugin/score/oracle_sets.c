/* Greedy and combinatorial oracles; see oracle_sets.h. */
#include "oracle_sets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum prune_code prune_greedy_init(struct prune_greedy *g, const int *units, size_t count, size_t steps, struct prune_status *st)
{
    memset(g, 0, sizeof *g);
    g->removed = malloc((steps + 1) * sizeof *g->removed);
    g->places = malloc((steps + 1) * sizeof *g->places);
    g->loss = malloc((steps + 1) * sizeof *g->loss);
    g->left = malloc((count + 1) * sizeof *g->left);
    if (!g->removed || !g->places || !g->loss || !g->left || steps > count) {
        prune_greedy_free(g);
        return steps > count ? prune_fail(st, "%zu of %zu units cannot be removed", steps, count) : prune_fail_memory(st, count * sizeof *units, "greedy oracle");
    }
    memcpy(g->left, units, count * sizeof *units);
    g->left_count = count;
    g->steps = steps;
    g->base = NAN;
    return PRUNE_OK;
}

void prune_greedy_free(struct prune_greedy *g)
{
    free(g->removed);
    free(g->places);
    free(g->loss);
    free(g->left);
    prune_oracle_free(&g->round);
    memset(g, 0, sizeof *g);
}

enum prune_code prune_greedy_begin(struct prune_greedy *g, struct prune_status *st) { return prune_oracle_init(&g->round, g->left_count, st); }

void prune_greedy_take(struct prune_greedy *g, size_t k, double loss)
{
    g->removed[g->count] = g->left[k];
    g->places[g->count] = k;
    g->loss[g->count++] = loss;
    memmove(g->left + k, g->left + k + 1, (--g->left_count - k) * sizeof *g->left);
    prune_oracle_free(&g->round);
}

/* Of equals the first. */
static void finish_step(struct prune_greedy *g)
{
    const struct prune_oracle *o = &g->round;
    size_t best = 0;
    for (size_t k = 1; k < o->count; k++)
        if (o->loss[k] < o->loss[best]) best = k;
    if (g->count == 0) g->base = o->base / (double)o->images;
    prune_greedy_take(g, best, o->loss[best] / (double)o->images);
}

enum prune_code prune_greedy_run(struct prune_greedy *g, const struct prune_scoring *s, prune_oracle_step step, void *user, struct prune_status *st)
{
    size_t units = s->input.units->count;
    struct prune_scoring round = *s;
    float *z = malloc((units + 1) * sizeof *z);
    if (!z) return prune_fail_memory(st, units * sizeof *z, "gates");
    for (size_t u = 0; u < units; u++) z[u] = s->z ? s->z[u] : 1;
    for (size_t i = 0; i < g->count; i++) z[g->removed[i]] = 0;
    round.z = z;
    enum prune_code rc = PRUNE_OK;
    while (!rc && g->count < g->steps) {
        if (!g->round.count) rc = prune_greedy_begin(g, st);
        if (!rc) rc = prune_oracle_units(&g->round, &round, g->left, g->left_count, step, user, st);
        if (!rc && !g->round.images) rc = prune_fail(st, "the oracle has seen no image");
        if (rc) break;
        finish_step(g);
        z[g->removed[g->count - 1]] = 0;
    }
    free(z);
    return rc;
}

enum prune_code prune_subsets_init(struct prune_oracle *o, size_t count, struct prune_status *st)
{
    if (count > PRUNE_SUBSET_UNITS) return prune_fail(st, "%zu units have too many subsets: at most %d can be tried", count, PRUNE_SUBSET_UNITS);
    return prune_oracle_init(o, (size_t)1 << count, st);
}

enum prune_code prune_subsets_run(struct prune_oracle *o, const struct prune_scoring *s, const int *units, size_t count, prune_oracle_step step, void *user,
                                  struct prune_status *st)
{
    size_t subsets = (size_t)1 << count, members = subsets / 2 * count, at = 0;
    int *flat = malloc((members + 1) * sizeof *flat);
    size_t *first = malloc((subsets + 1) * sizeof *first);
    float *z = calloc(subsets, sizeof *z);
    enum prune_code rc = flat && first && z ? PRUNE_OK : prune_fail_memory(st, subsets * sizeof *first + members * sizeof *flat, "subsets");
    for (size_t m = 0; !rc && m < subsets; m++) {
        first[m] = at;
        for (size_t i = 0; i < count; i++)
            if (m >> i & 1) flat[at++] = units[i];
        first[m + 1] = at;
    }
    const struct prune_candidates candidates = {flat, first, z, subsets};
    if (!rc) rc = prune_oracle_feed(o, s, &candidates, step, user, st);
    free(flat);
    free(first);
    free(z);
    return rc;
}

void prune_subsets_result(const struct prune_oracle *o, size_t count, struct prune_subset_size *sizes)
{
    double images = (double)o->images;
    for (size_t k = 0; k <= count; k++) sizes[k] = (struct prune_subset_size){0};
    for (size_t m = 0; m < o->count; m++) {
        size_t removed = 0;
        for (size_t i = 0; i < count; i++) removed += m >> i & 1;
        struct prune_subset_size *s = &sizes[removed];
        double loss = o->loss[m] / images;
        if (!s->subsets || loss < s->least) s->least = loss, s->best = (uint32_t)m;
        if (!s->subsets || loss > s->most) s->most = loss;
        s->mean += loss;
        s->subsets++;
    }
    for (size_t k = 0; k <= count; k++) sizes[k].mean /= (double)sizes[k].subsets;
}
