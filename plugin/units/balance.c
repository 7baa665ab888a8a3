/* Cells and recipes of balance constraints; see balance.h. A recipe is tried and checked, never assumed: one unit of every cell first,
 * then the cells' sizes divided by their greatest common divisor (all usable units together keep every constraint whenever the parts
 * have equally many of them). */
#include "balance.h"

#include <stdlib.h>
#include <string.h>

struct place { int unit, slot; };        /* the unit stands in this part; slots number the parts of all constraints */

struct work {
    const struct prune_units *units;
    const uint8_t *usable;
    struct place *places; size_t place_count;    /* sorted by unit, then slot */
    size_t *first;                       /* [unit]: its places are first[u] .. first[u + 1] */
    size_t *slot0;                       /* [balance]: its first slot */
    int *parent;                         /* [balance]: union-find, constraints that share units */
    size_t slots;
};

static int by_unit(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->unit != y->unit) return x->unit < y->unit ? -1 : 1;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static int root(int *parent, int i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static enum prune_code collect(struct work *w, struct prune_status *st)
{
    const struct prune_units *u = w->units;
    size_t n = 0;
    for (size_t b = 0; b < u->balance_count; b++) n += u->balances[b].parts * u->balances[b].part_size;
    w->places = malloc((n + 1) * sizeof *w->places);
    w->first = calloc(u->count + 2, sizeof *w->first);
    w->slot0 = calloc(u->balance_count + 1, sizeof *w->slot0);
    w->parent = malloc((u->balance_count + 1) * sizeof *w->parent);
    if (!w->places || !w->first || !w->slot0 || !w->parent) return prune_fail_memory(st, n * sizeof *w->places, "balance constraints");
    int *last = malloc((u->count + 1) * sizeof *last);       /* [unit]: a constraint it was seen in */
    if (!last) return prune_fail_memory(st, u->count * sizeof *last, "balance constraints");
    for (size_t i = 0; i < u->count; i++) last[i] = -1;
    for (size_t b = 0; b < u->balance_count; b++) {
        const struct prune_balance *c = &u->balances[b];
        w->slot0[b] = w->slots;
        w->parent[b] = (int)b;
        for (size_t i = 0; i < c->parts * c->part_size; i++) {
            int unit = c->units[i];
            if (unit < 0) continue;
            w->places[w->place_count++] = (struct place){ unit, (int)(w->slots + i / c->part_size) };
            if (last[unit] >= 0) w->parent[root(w->parent, last[unit])] = root(w->parent, (int)b);
            last[unit] = (int)b;
        }
        w->slots += c->parts;
    }
    w->slot0[u->balance_count] = w->slots;
    free(last);
    qsort(w->places, w->place_count, sizeof *w->places, by_unit);
    for (size_t i = 0; i < w->place_count; i++) w->first[w->places[i].unit + 1]++;
    for (size_t i = 0; i <= u->count; i++) w->first[i + 1] += w->first[i];
    return PRUNE_OK;
}

static int compare_signatures(const struct work *w, int a, int b)
{
    size_t na = w->first[a + 1] - w->first[a], nb = w->first[b + 1] - w->first[b];
    if (na != nb) return na < nb ? -1 : 1;
    for (size_t i = 0; i < na; i++) {
        int sa = w->places[w->first[a] + i].slot, sb = w->places[w->first[b] + i].slot;
        if (sa != sb) return sa < sb ? -1 : 1;
    }
    return 0;
}

static int by_signature(const void *a, const void *b, void *arg)
{
    int x = *(const int *)a, y = *(const int *)b, c = compare_signatures(arg, x, y);
    return c ? c : (x > y) - (x < y);
}

static int balance_of_slot(const struct work *w, int slot)
{
    size_t lo = 0, hi = w->units->balance_count;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (w->slot0[mid] <= (size_t)slot) lo = mid;
        else hi = mid;
    }
    return (int)lo;
}

/* Numbers cells and components; sample[c] is a unit of cell c. */
static enum prune_code number_cells(struct work *w, struct prune_cells *cells, int **sample, struct prune_status *st)
{
    size_t n = 0, count = w->units->count;
    int *order = malloc((count + 1) * sizeof *order), *component = malloc((w->units->balance_count + 1) * sizeof *component);
    cells->component_of_cell = malloc((count + 1) * sizeof *cells->component_of_cell);
    *sample = malloc((count + 1) * sizeof **sample);
    if (!order || !component || !cells->component_of_cell || !*sample) {
        free(order);
        free(component);
        return prune_fail_memory(st, count * sizeof *order, "balance constraints");
    }
    for (size_t b = 0; b < w->units->balance_count; b++) component[b] = -1;
    for (size_t u = 0; u < count; u++)
        if (w->first[u + 1] > w->first[u]) order[n++] = (int)u;
    qsort_r(order, n, sizeof *order, by_signature, w);
    for (size_t i = 0; i < n; i++) {
        if (!i || compare_signatures(w, order[i - 1], order[i])) {
            int b = root(w->parent, balance_of_slot(w, w->places[w->first[order[i]]].slot));
            if (component[b] < 0) component[b] = (int)cells->component_count++;
            cells->component_of_cell[cells->cell_count] = component[b];
            (*sample)[cells->cell_count++] = order[i];
        }
        cells->cell_of_unit[order[i]] = (int)cells->cell_count - 1;
    }
    free(order);
    free(component);
    return PRUNE_OK;
}

/* ok[k] = the recipe takes equally many from every part of every constraint of component k. */
static void check_recipe(const struct work *w, const struct prune_cells *cells, const int *sample, const int *recipe, size_t *taken, uint8_t *ok)
{
    memset(taken, 0, w->slots * sizeof *taken);
    memset(ok, 1, cells->component_count);
    for (size_t c = 0; c < cells->cell_count; c++)
        for (size_t i = w->first[sample[c]]; i < w->first[sample[c] + 1]; i++) taken[w->places[i].slot] += (size_t)recipe[c];
    for (size_t c = 0; c < cells->cell_count; c++)
        for (size_t i = w->first[sample[c]]; i < w->first[sample[c] + 1]; i++) {
            int b = balance_of_slot(w, w->places[i].slot);
            for (size_t s = w->slot0[b]; s < w->slot0[b + 1]; s++)
                if (taken[s] != taken[w->places[i].slot]) ok[cells->component_of_cell[c]] = 0;
        }
}

static int divisor(int a, int b)
{
    while (b) {
        int t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* kind 0: one of each; 1: all units of each cell, divided by the common divisor; 2: the usable ones, divided. */
static void propose(const struct prune_cells *cells, const int *sizes, const int *common, int kind, int *recipe)
{
    for (size_t c = 0; c < cells->cell_count; c++) {
        int d = common[cells->component_of_cell[c]];
        recipe[c] = kind == 0 ? 1 : d ? sizes[c] / d : 0;
    }
}

static void count_sizes(const struct work *w, const struct prune_cells *cells, bool usable_only, int *sizes, int *common)
{
    memset(sizes, 0, cells->cell_count * sizeof *sizes);
    memset(common, 0, cells->component_count * sizeof *common);
    for (size_t u = 0; u < w->units->count; u++) {
        int c = cells->cell_of_unit[u];
        if (c >= 0 && (!usable_only || !w->usable || w->usable[u])) sizes[c]++;
    }
    for (size_t c = 0; c < cells->cell_count; c++) {
        int k = cells->component_of_cell[c];
        common[k] = divisor(common[k], sizes[c]);
    }
}

static enum prune_code find_recipes(struct work *w, struct prune_cells *cells, const int *sample, struct prune_status *st)
{
    size_t n = cells->cell_count + 1, k = cells->component_count + 1;
    int *sizes = malloc(n * sizeof *sizes), *common = malloc(k * sizeof *common), *trial = malloc(n * sizeof *trial);
    size_t *taken = malloc((w->slots + 1) * sizeof *taken);
    uint8_t *ok = malloc(k), *done = calloc(k, 1);
    cells->recipe = calloc(n, sizeof *cells->recipe);
    enum prune_code rc = sizes && common && trial && taken && ok && done && cells->recipe ? PRUNE_OK : prune_fail_memory(st, w->slots * sizeof *taken, "balance constraints");
    for (int kind = 0; !rc && kind < 3; kind++) {
        count_sizes(w, cells, kind == 2, sizes, common);
        propose(cells, sizes, common, kind, trial);
        check_recipe(w, cells, sample, trial, taken, ok);
        count_sizes(w, cells, true, sizes, common);
        for (size_t c = 0; c < cells->cell_count; c++)       /* a bundle needs enough usable units of every cell */
            if (trial[c] < 1 || sizes[c] < trial[c]) ok[cells->component_of_cell[c]] = 0;
        for (size_t c = 0; c < cells->cell_count; c++)
            if (ok[cells->component_of_cell[c]] && !done[cells->component_of_cell[c]]) cells->recipe[c] = trial[c];
        for (size_t i = 0; i < cells->component_count; i++) done[i] |= ok[i];
    }
    free(sizes);
    free(common);
    free(trial);
    free(taken);
    free(ok);
    free(done);
    return rc;
}

enum prune_code prune_cells_build(struct prune_cells *cells, const struct prune_units *units, const uint8_t *usable, struct prune_status *st)
{
    memset(cells, 0, sizeof *cells);
    struct work w = { .units = units, .usable = usable };
    int *sample = NULL;
    cells->cell_of_unit = malloc((units->count + 1) * sizeof *cells->cell_of_unit);
    enum prune_code rc = cells->cell_of_unit ? collect(&w, st) : prune_fail_memory(st, units->count * sizeof(int), "balance constraints");
    for (size_t u = 0; !rc && u < units->count; u++) cells->cell_of_unit[u] = -1;
    if (!rc) rc = number_cells(&w, cells, &sample, st);
    if (!rc) rc = find_recipes(&w, cells, sample, st);
    free(w.places);
    free(w.first);
    free(w.slot0);
    free(w.parent);
    free(sample);
    if (rc) prune_cells_free(cells);
    return rc;
}

void prune_cells_free(struct prune_cells *cells)
{
    free(cells->cell_of_unit);
    free(cells->component_of_cell);
    free(cells->recipe);
    memset(cells, 0, sizeof *cells);
}
