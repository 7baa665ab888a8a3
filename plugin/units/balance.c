/* Balance of groups: cells and recipes, see balance.h, and what is left of groups once units are gone. A recipe is tried and checked,
 * never assumed: one unit of every cell first, then the cells' sizes divided by their greatest common divisor (all usable units together
 * keep every constraint whenever the parts have equally many of them). Time and memory are linear in the channels of the constraints. */
#include "balance.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "units_private.h"

struct work {
    const struct prune_units *units;
    const uint8_t *usable;
    size_t place_count;                  /* a place: a unit stands in a part; slots number the parts of all constraints */
    int *slots_of;                       /* [place]: those of unit u are first[u] .. first[u + 1], ascending */
    size_t *first;
    size_t *slot0;                       /* [balance]: its first slot */
    int *parent;                         /* [balance]: union-find, constraints that share units */
    int *component;                      /* [balance]: of the root, or -1 */
    size_t slots;
};

static int root(int *parent, int i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static size_t balance_size(const struct prune_balance *c)
{
    return c->parts * c->part_size;
}

/* Unites constraints that share units, and counts the places of each unit into first[u + 1]. last[u]: a constraint it was seen in. */
static void join_constraints(struct work *w, int *last)
{
    const struct prune_units *u = w->units;
    for (size_t i = 0; i < u->count; i++) last[i] = -1;
    for (size_t b = 0; b < u->balance_count; b++) {
        const struct prune_balance *c = &u->balances[b];
        w->slot0[b] = w->slots;
        w->slots += c->parts;
        w->parent[b] = (int)b;
        w->component[b] = -1;
        for (size_t i = 0; i < balance_size(c); i++) {
            int unit = c->units[i];
            if (unit < 0) continue;
            if (last[unit] >= 0) w->parent[root(w->parent, last[unit])] = root(w->parent, (int)b);
            last[unit] = (int)b;
            w->first[unit + 1]++;
            w->place_count++;
        }
    }
    w->slot0[u->balance_count] = w->slots;
}

static enum prune_code collect(struct work *w, struct prune_status *st)
{
    const struct prune_units *u = w->units;
    w->first = calloc(u->count + 2, sizeof *w->first);
    w->slot0 = calloc(u->balance_count + 1, sizeof *w->slot0);
    w->parent = malloc((u->balance_count + 1) * sizeof *w->parent);
    w->component = malloc((u->balance_count + 1) * sizeof *w->component);
    int *last = malloc((u->count + 1) * sizeof *last);
    size_t *fill = malloc((u->count + 1) * sizeof *fill);
    bool room = w->first && w->slot0 && w->parent && w->component && last && fill;
    if (room) {
        join_constraints(w, last);
        for (size_t i = 0; i <= u->count; i++) w->first[i + 1] += w->first[i];
        memcpy(fill, w->first, u->count * sizeof *fill);
        w->slots_of = malloc((w->place_count + 1) * sizeof *w->slots_of);
    }
    for (size_t b = 0; w->slots_of && b < u->balance_count; b++)
        for (size_t i = 0; i < balance_size(&u->balances[b]); i++) {
            int unit = u->balances[b].units[i];
            if (unit >= 0) w->slots_of[fill[unit]++] = (int)(w->slot0[b] + i / u->balances[b].part_size);
        }
    free(last);
    free(fill);
    return w->slots_of ? PRUNE_OK : prune_fail_memory(st, u->count * sizeof *last, "balance constraints");
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

/* Splits the units slot by slot: those of one class that stand in the slot become a class of their own. A unit that stands in a slot twice
 * is split off twice. What is one class in the end stands in the same slots equally often. */
static void refine(const struct work *w, int *class, int *stamp, int *target)
{
    const struct prune_units *u = w->units;
    int classes = 1;
    memset(class, 0, u->count * sizeof *class);
    for (size_t i = 0; i <= w->place_count; i++) stamp[i] = -1;
    for (size_t b = 0; b < u->balance_count; b++)
        for (size_t i = 0; i < balance_size(&u->balances[b]); i++) {
            int unit = u->balances[b].units[i], slot = (int)(w->slot0[b] + i / u->balances[b].part_size);
            if (unit < 0) continue;
            int old = class[unit];
            if (stamp[old] != slot) target[old] = classes++;
            stamp[old] = slot;
            class[unit] = target[old];
        }
}

/* Numbers cells (by their first unit) and components; sample[c] is a unit of cell c. */
static enum prune_code number_cells(struct work *w, struct prune_cells *cells, int **sample, struct prune_status *st)
{
    size_t count = w->units->count;
    int *class = malloc((count + 1) * sizeof *class), *stamp = malloc((w->place_count + 2) * sizeof *stamp), *target = malloc((w->place_count + 2) * sizeof *target);
    cells->component_of_cell = malloc((count + 1) * sizeof *cells->component_of_cell);
    *sample = malloc((count + 1) * sizeof **sample);
    bool room = class && stamp && target && cells->component_of_cell && *sample;
    if (room) {
        refine(w, class, stamp, target);
        for (size_t i = 0; i <= w->place_count; i++) stamp[i] = -1;      /* from here on: [class] -> cell */
    }
    for (size_t u = 0; room && u < count; u++) {
        if (w->first[u + 1] == w->first[u]) continue;
        if (stamp[class[u]] < 0) {
            int *component = &w->component[root(w->parent, balance_of_slot(w, w->slots_of[w->first[u]]))];
            if (*component < 0) *component = (int)cells->component_count++;
            cells->component_of_cell[cells->cell_count] = *component;
            (*sample)[cells->cell_count] = (int)u;
            stamp[class[u]] = (int)cells->cell_count++;
        }
        cells->cell_of_unit[u] = stamp[class[u]];
    }
    free(class);
    free(stamp);
    free(target);
    return room ? PRUNE_OK : prune_fail_memory(st, (count + w->place_count) * sizeof *class, "balance constraints");
}

/* ok[k] = the recipe takes equally many from every part of every constraint of component k. */
static void check_recipe(const struct work *w, const struct prune_cells *cells, const int *sample, const int *recipe, size_t *taken, uint8_t *ok)
{
    memset(taken, 0, w->slots * sizeof *taken);
    memset(ok, 1, cells->component_count);
    for (size_t c = 0; c < cells->cell_count; c++)
        for (size_t i = w->first[sample[c]]; i < w->first[sample[c] + 1]; i++) taken[w->slots_of[i]] += (size_t)recipe[c];
    for (size_t b = 0; b < w->units->balance_count; b++) {
        int component = w->component[root(w->parent, (int)b)];
        for (size_t s = w->slot0[b]; component >= 0 && s < w->slot0[b + 1]; s++)
            if (taken[s] != taken[w->slot0[b]]) ok[component] = 0;
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
    free(w.slots_of);
    free(w.first);
    free(w.slot0);
    free(w.parent);
    free(w.component);
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

static size_t kept_in_part(const struct prune_balance *c, size_t part, const uint8_t *removed)
{
    size_t kept = 0;
    for (size_t j = part * c->part_size; j < (part + 1) * c->part_size; j++) kept += c->units[j] < 0 || !removed[c->units[j]];
    return kept;
}

static enum prune_code fail_unequal(const struct prune_layer *l, const struct prune_balance *c, size_t a, size_t b, const uint8_t *removed, struct prune_status *st)
{
    return prune_fail(st, "the mask leaves %zu channels in group %zu and %zu in group %zu of layer %d; groups must lose equally many, or go whole with %s",
                      kept_in_part(c, a, removed), a, kept_in_part(c, b, removed), b, l->index,
                      l->kind == PRUNE_ROUTE ? "that slice of every source" : "all their inputs and filters");
}

enum prune_code prune_units_groups(const struct prune_units *units, const struct prune_net *net, int layer, const uint8_t *removed, int *groups, int *group_id,
                                   struct prune_status *st)
{
    const struct prune_units_private *own = units->owned;
    const struct prune_layer *l = &net->layers[layer];
    const struct prune_balance *first = NULL, *end = NULL;
    if (units->balance_count) first = units->balances + own->first_balance[layer], end = units->balances + own->first_balance[layer + 1];
    int left = 0, id = l->group_id;
    size_t n = 0, area, example = SIZE_MAX;
    for (size_t p = 0; first < end && p < first->parts; p++) {
        bool gone = true;
        for (const struct prune_balance *c = first; c < end; c++) gone &= !kept_in_part(c, p, removed);
        if (gone) {
            id -= (int)p < l->group_id;
            continue;
        }
        left++;
        if (example == SIZE_MAX) example = p;
        for (const struct prune_balance *c = first; c < end; c++)
            if (kept_in_part(c, p, removed) != kept_in_part(c, example, removed)) return fail_unequal(l, c, example, p, removed, st);
    }
    if (prune_is_depthwise(l)) {
        const int *in = prune_units_read(units, net, layer, &n, &area);
        for (size_t i = 0; i < n; i++) left += in[i] < 0 || !removed[in[i]];
    }
    *groups = first < end || n ? left : l->groups;
    *group_id = id;
    return PRUNE_OK;
}
