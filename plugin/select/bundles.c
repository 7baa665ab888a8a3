/* Making and ordering bundles; see bundles.h.
 * Key of a bundle: the mean over its units, so that a bundle of 32 competes with single units at "importance per unit". With a cost it is
 * score / cost^power, the cost being what goes with the unit at the present shape. */
#include "bundles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../units/balance.h"

struct ranked { double key; int unit; };     /* sorted with the key at hand: a million units are sorted, and a look-up each would miss the cache */

static int by_key(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

static enum prune_code sort_units(int *order, size_t n, const double *key, struct prune_status *st)
{
    struct ranked *r = malloc((n + 1) * sizeof *r);
    if (!r) return prune_fail_memory(st, n * sizeof *r, "bundles");
    for (size_t i = 0; i < n; i++) r[i] = (struct ranked){ key[order[i]], order[i] };
    qsort(r, n, sizeof *r, by_key);
    for (size_t i = 0; i < n; i++) order[i] = r[i].unit;
    free(r);
    return PRUNE_OK;
}

static int by_bundle_key(const void *a, const void *b, void *arg)
{
    const struct prune_bundle *x = a, *y = b;
    const int *units = arg;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    int ux = units[x->first], uy = units[y->first];
    return (ux > uy) - (ux < uy);
}

static enum prune_code unit_keys(double *key, const struct prune_net *net, const struct prune_units *units, const double *scores,
                                 const struct prune_select_options *o, const uint8_t *removed, struct prune_status *st)
{
    memcpy(key, scores, units->count * sizeof *key);
    if (o->cost == PRUNE_COST_NONE) return PRUNE_OK;
    struct prune_cost *savings = malloc((units->count + 1) * sizeof *savings);
    if (!savings) return prune_fail_memory(st, units->count * sizeof *savings, "cost of units");
    enum prune_code rc = prune_units_savings(net, units, removed, savings, st);
    for (size_t u = 0; !rc && u < units->count; u++) {
        uint64_t cost = o->cost == PRUNE_COST_MACS ? savings[u].macs : savings[u].parameters;
        key[u] /= pow(cost ? (double)cost : 1.0, o->cost_power);
    }
    free(savings);
    return rc;
}

static void push_bundle(struct prune_bundles *b, const int *members, size_t count, const double *key)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += key[members[i]];
        b->units[b->unit_count + i] = members[i];
    }
    b->items[b->count++] = (struct prune_bundle){ b->unit_count, count, sum / (double)count };
    b->unit_count += count;
}

/* Numbers of 0 .. n-1 ordered by key[number] in 0 .. keys-1, stable: those of key k are order[first[k]] .. order[first[k + 1] - 1]. first is zero on entry,
 * with keys + 2 entries. Numbers with a negative key are left out. */
static void order_by(const int *key, const int *numbers, size_t n, size_t *first, size_t keys, int *order)
{
    for (size_t i = 0; i < n; i++)
        if (key[numbers[i]] >= 0) first[key[numbers[i]] + 2]++;
    for (size_t k = 0; k < keys; k++) first[k + 2] += first[k + 1];
    for (size_t i = 0; i < n; i++)
        if (key[numbers[i]] >= 0) order[first[key[numbers[i]] + 1]++] = numbers[i];
}

struct ranks {
    int *units; size_t *first_unit;      /* [cell]: its units, least important first */
    int *cells; size_t *first_cell;      /* [component]: its cells */
    int *all, *group;
};

static enum prune_code rank(struct ranks *r, const struct prune_cells *cells, const int *order, size_t n, struct prune_status *st)
{
    r->units = malloc((n + 1) * sizeof *r->units);
    r->group = malloc((n + 1) * sizeof *r->group);
    r->first_unit = calloc(cells->cell_count + 2, sizeof *r->first_unit);
    r->cells = malloc((cells->cell_count + 1) * sizeof *r->cells);
    r->all = malloc((cells->cell_count + 1) * sizeof *r->all);
    r->first_cell = calloc(cells->component_count + 2, sizeof *r->first_cell);
    if (!r->units || !r->group || !r->first_unit || !r->cells || !r->all || !r->first_cell) return prune_fail_memory(st, n * sizeof *r->units, "bundles");
    for (size_t c = 0; c < cells->cell_count; c++) r->all[c] = (int)c;
    order_by(cells->cell_of_unit, order, n, r->first_unit, cells->cell_count, r->units);
    order_by(cells->component_of_cell, r->all, cells->cell_count, r->first_cell, cells->component_count, r->cells);
    return PRUNE_OK;
}

/* Bundle k of a component takes the next units of every cell, as many as its recipe says. */
static void pair_component(struct prune_bundles *b, const struct prune_cells *cells, const struct ranks *r, size_t component, const double *key)
{
    size_t bundles = SIZE_MAX, first = r->first_cell[component], end = r->first_cell[component + 1];
    for (size_t i = first; i < end; i++) {
        int c = r->cells[i];
        size_t can = cells->recipe[c] > 0 ? (r->first_unit[c + 1] - r->first_unit[c]) / (size_t)cells->recipe[c] : 0;
        if (can < bundles) bundles = can;
    }
    for (size_t k = 0; first < end && k < bundles; k++) {
        size_t n = 0;
        for (size_t i = first; i < end; i++) {
            size_t take = (size_t)cells->recipe[r->cells[i]];
            memcpy(r->group + n, r->units + r->first_unit[r->cells[i]] + k * take, take * sizeof *r->group);
            n += take;
        }
        push_bundle(b, r->group, n, key);
    }
}

/* Pairs by rank. `order` is ascending by key. */
static enum prune_code pair(struct prune_bundles *b, const struct prune_cells *cells, const int *order, size_t n, const double *key, struct prune_status *st)
{
    struct ranks r = { 0 };
    enum prune_code rc = rank(&r, cells, order, n, st);
    for (size_t k = 0; !rc && k < cells->component_count; k++) pair_component(b, cells, &r, k, key);
    free(r.units);
    free(r.group);
    free(r.first_unit);
    free(r.cells);
    free(r.all);
    free(r.first_cell);
    return rc;
}

/* -per-layer: the key becomes the fraction of the layer (that of the unit's first member) gone once the bundle is removed. */
static enum prune_code key_by_layer(struct prune_bundles *b, const struct prune_units *units, const uint8_t *removed, struct prune_status *st)
{
    double *total = calloc(units->layer_count + 1, sizeof *total), *gone = calloc(units->layer_count + 1, sizeof *gone);
    if (!total || !gone) {
        free(total);
        free(gone);
        return prune_fail_memory(st, units->layer_count * sizeof *total, "layer counts");
    }
    for (size_t u = 0; u < units->count; u++) {
        int l = units->members[units->items[u].first_member].layer;
        total[l] += 1;
        gone[l] += removed[u] != 0;
    }
    for (size_t i = 0; i < b->count; i++) {
        int l = units->members[units->items[b->units[b->items[i].first]].first_member].layer;
        gone[l] += (double)b->items[i].count;
        b->items[i].key = gone[l] / total[l];
    }
    free(total);
    free(gone);
    return PRUNE_OK;
}

struct merge { const struct prune_units *units; const int *bundle_units; int *kept; int multiple; };

/* Two bundles belong to one family when their first units have members in the same layers, in the same numbers. */
static int compare_family(const struct merge *m, const struct prune_bundle *x, const struct prune_bundle *y)
{
    const struct prune_unit *a = &m->units->items[m->bundle_units[x->first]], *b = &m->units->items[m->bundle_units[y->first]];
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    if (a->member_count != b->member_count) return a->member_count < b->member_count ? -1 : 1;
    for (size_t i = 0; i < a->member_count; i++) {
        int la = m->units->members[a->first_member + i].layer, lb = m->units->members[b->first_member + i].layer;
        if (la != lb) return la < lb ? -1 : 1;
    }
    return 0;
}

static int by_family(const void *a, const void *b, void *arg)
{
    const struct merge *m = arg;
    const struct prune_bundle *x = a, *y = b;
    int c = compare_family(m, x, y);
    if (c) return c;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    int ux = m->bundle_units[x->first], uy = m->bundle_units[y->first];
    return (ux > uy) - (ux < uy);
}

/* Takes a bundle's channels out of kept[] (sign -1) or back (+1); true when every layer touched holds a multiple now. */
static bool take(struct merge *m, const struct prune_bundle *b, int sign)
{
    bool whole = true;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < b->count; i++) {
            const struct prune_unit *u = &m->units->items[m->bundle_units[b->first + i]];
            for (size_t k = 0; k < u->member_count; k++) {
                int *kept = &m->kept[m->units->members[u->first_member + k].layer];
                if (pass == 0) *kept += sign;
                else if (*kept % m->multiple) whole = false;
            }
        }
    return whole;
}

/* Within a family, joins bundles until the layers they touch hold multiples; what is left over stays in the network (rounded up). */
static enum prune_code merge_multiples(struct prune_bundles *b, const struct prune_units *units, const uint8_t *removed, int multiple, bool per_layer, struct prune_status *st)
{
    struct merge m = { units, b->units, calloc(units->layer_count + 1, sizeof(int)), multiple };
    int *moved = malloc((b->unit_count + 1) * sizeof *moved);
    struct prune_bundle *out = malloc((b->count + 1) * sizeof *out);
    if (!m.kept || !moved || !out) {
        free(m.kept);
        free(moved);
        free(out);
        return prune_fail_memory(st, b->unit_count * sizeof *moved, "bundles");
    }
    for (size_t u = 0; u < units->count; u++)
        for (size_t k = 0; !removed[u] && k < units->items[u].member_count; k++) m.kept[units->members[units->items[u].first_member + k].layer]++;
    qsort_r(b->items, b->count, sizeof *b->items, by_family, &m);
    size_t n = 0, count = 0;
    for (size_t i = 0; i < b->count;) {
        size_t end = i, start = i, first = i;
        while (end < b->count && !compare_family(&m, &b->items[i], &b->items[end])) end++;
        for (; i < end; i++) {
            if (!take(&m, &b->items[i], -1)) continue;
            struct prune_bundle joined = { n, 0, 0 };
            for (size_t j = start; j <= i; j++) {
                memcpy(moved + n, b->units + b->items[j].first, b->items[j].count * sizeof *moved);
                n += b->items[j].count;
                joined.count += b->items[j].count;
                joined.key += per_layer ? 0 : b->items[j].key * (double)b->items[j].count;
            }
            joined.key = per_layer ? b->items[i].key : joined.key / (double)joined.count;
            out[count++] = joined;
            start = i + 1;
        }
        for (size_t j = first; j < end; j++) take(&m, &b->items[j], 1);       /* families are judged one by one */
    }
    free(m.kept);
    free(b->items);
    free(b->units);
    b->items = out;
    b->units = moved;
    b->count = count;
    b->unit_count = n;
    return PRUNE_OK;
}

enum prune_code prune_bundles_build(struct prune_bundles *b, const struct prune_net *net, const struct prune_units *units, const double *scores,
                                    const struct prune_select_options *o, const uint8_t *removed, struct prune_status *st)
{
    memset(b, 0, sizeof *b);
    size_t n = 0, room = units->count + 1;
    struct prune_cells cells = { 0 };
    double *key = malloc(room * sizeof *key);
    int *order = malloc(room * sizeof *order);
    uint8_t *usable = malloc(room);
    b->items = malloc(room * sizeof *b->items);
    b->units = malloc(room * sizeof *b->units);
    enum prune_code rc = key && order && usable && b->items && b->units ? PRUNE_OK : prune_fail_memory(st, room * sizeof *key, "bundles");
    if (!rc) rc = unit_keys(key, net, units, scores, o, removed, st);
    if (!rc) {
        for (size_t u = 0; u < units->count; u++) {
            usable[u] = !units->items[u].protected_because;
            if (usable[u] && !removed[u]) order[n++] = (int)u;
        }
        rc = prune_cells_build(&cells, units, usable, st);
    }
    if (!rc) rc = sort_units(order, n, key, st);
    if (!rc) {
        for (size_t i = 0; i < n; i++)
            if (cells.cell_of_unit[order[i]] < 0) push_bundle(b, &order[i], 1, key);
        rc = pair(b, &cells, order, n, key, st);
    }
    bool mixed = cells.component_count > 0, regroup = o->per_layer || o->multiple > 1;   /* single units are in order already */
    if (!rc && mixed) qsort_r(b->items, b->count, sizeof *b->items, by_bundle_key, b->units);
    if (!rc && o->per_layer) rc = key_by_layer(b, units, removed, st);
    if (!rc && o->multiple > 1) rc = merge_multiples(b, units, removed, o->multiple, o->per_layer, st);
    if (!rc && regroup) qsort_r(b->items, b->count, sizeof *b->items, by_bundle_key, b->units);
    prune_cells_free(&cells);
    free(key);
    free(order);
    free(usable);
    if (rc) prune_bundles_free(b);
    return rc;
}

void prune_bundles_free(struct prune_bundles *b)
{
    free(b->items);
    free(b->units);
    memset(b, 0, sizeof *b);
}
