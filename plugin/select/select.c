/* Selection; see select.h. Bundles are gone through in the order of their keys; those that would leave a layer with fewer than min_keep
 * channels (or with no multiple) are passed over. The accepted ones form a chain of ever smaller networks, and the first that meets the
 * target, by its real cost, is the answer. */
#include "bundles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct chooser {
    const struct prune_net *net;
    const struct prune_units *units;
    const struct prune_select_options *o;
    struct prune_cost original;
    struct prune_bundles bundles;        /* after accept(): the accepted ones */
    uint8_t *trial;                      /* removed units of the chain at hand */
    int *kept;                           /* [layer]: channels */
    int *least;                          /* [layer]: channels that must stay */
};

static double cost_of(const struct prune_cost *c, enum prune_target_kind kind)
{
    return kind == PRUNE_TARGET_MACS ? (double)c->macs : kind == PRUNE_TARGET_PARAMS ? (double)c->parameters : (double)c->units;
}

static const char *target_name(enum prune_target_kind kind)
{
    return kind == PRUNE_TARGET_MACS ? "macs" : kind == PRUNE_TARGET_PARAMS ? "params" : "units";
}

static enum prune_code check_options(const struct prune_units *units, const double *scores, const struct prune_select_options *o, struct prune_status *st)
{
    if (!o->open_ended && !(o->remain > 0 && o->remain <= 1)) return prune_fail_usage(st, "-%s %g is no fraction; it must be above 0 and at most 1", target_name(o->target), o->remain);
    if (o->min_keep < 1) return prune_fail_usage(st, "-min-keep %d would empty a layer; it must be at least 1", o->min_keep);
    if (!(o->max_removed >= 0 && o->max_removed <= 1)) return prune_fail_usage(st, "-max-removed %g is no fraction; it must be above 0 and at most 1", o->max_removed);
    if (o->multiple < 1) return prune_fail_usage(st, "-multiple %d is not positive", o->multiple);
    if (o->cost != PRUNE_COST_NONE && !isfinite(o->cost_power)) return prune_fail_usage(st, "-cost-power is not a number");
    for (size_t u = 0; u < units->count; u++) {
        if (units->items[u].protected_because || !isnan(scores[u])) continue;
        const struct prune_channel *m = &units->members[units->items[u].first_member];
        return prune_fail(st, "score of layer %d channel %d is not a number; nothing can be ranked by it", m->layer, m->channel);
    }
    return PRUNE_OK;
}

static void add_channels(const struct chooser *c, const struct prune_bundle *b, int sign)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct prune_unit *u = &c->units->items[c->bundles.units[b->first + i]];
        for (size_t k = 0; k < u->member_count; k++) c->kept[c->units->members[u->first_member + k].layer] += sign;
    }
}

static bool layers_allow(const struct chooser *c, const struct prune_bundle *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct prune_unit *u = &c->units->items[c->bundles.units[b->first + i]];
        for (size_t k = 0; k < u->member_count; k++) {
            int kept = c->kept[c->units->members[u->first_member + k].layer];
            if (kept < c->least[c->units->members[u->first_member + k].layer] || kept < 1 || kept % c->o->multiple) return false;
        }
    }
    return true;
}

static void least_of_layers(struct chooser *c)
{
    for (size_t m = 0; m < c->units->member_count; m++) c->least[c->units->members[m].layer]++;
    for (size_t l = 0; l < c->units->layer_count; l++) {
        int may_go = c->o->max_removed > 0 ? (int)(c->o->max_removed * c->least[l] * (1 + 1e-12)) : c->least[l];
        c->least[l] = c->least[l] - may_go > c->o->min_keep ? c->least[l] - may_go : c->o->min_keep;
    }
}

/* Drops the bundles that no layer may lose; the rest keeps its order. */
static void accept(struct chooser *c, const uint8_t *removed)
{
    for (size_t u = 0; u < c->units->count; u++)
        for (size_t k = 0; !removed[u] && k < c->units->items[u].member_count; k++)
            c->kept[c->units->members[c->units->items[u].first_member + k].layer]++;
    size_t n = 0;
    for (size_t i = 0; i < c->bundles.count; i++) {
        struct prune_bundle b = c->bundles.items[i];
        add_channels(c, &b, -1);
        if (layers_allow(c, &b)) c->bundles.items[n++] = b;
        else add_channels(c, &b, 1);
    }
    c->bundles.count = n;
}

/* Cost after the first k accepted bundles; leaves that state in trial. */
static struct prune_cost cost_after(struct chooser *c, const uint8_t *removed, size_t k)
{
    struct prune_cost cost;
    memcpy(c->trial, removed, c->units->count);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < c->bundles.items[i].count; j++) c->trial[c->bundles.units[c->bundles.items[i].first + j]] = 1;
    prune_units_cost(c->net, c->units, c->trial, &cost);
    return cost;
}

/* How many bundles one step may take: as many as max_new units hold, but one at least, so that a loop always moves. */
static size_t step_limit(const struct chooser *c)
{
    size_t units = 0, k = 0;
    if (!c->o->max_new) return c->bundles.count;
    while (k < c->bundles.count && units + c->bundles.items[k].count <= c->o->max_new) units += c->bundles.items[k++].count;
    return k ? k : c->bundles.count ? 1 : 0;
}

static bool all_protected(const struct prune_units *units)
{
    for (size_t u = 0; u < units->count; u++)
        if (!units->items[u].protected_because) return false;
    return true;
}

/* The way to a smaller network that the options leave. */
static const char *what_holds(const struct chooser *c)
{
    if (c->o->multiple > 1) return "take a smaller -multiple, or ";
    if (c->o->min_keep > 1) return "take a smaller -min-keep, or ";
    if (c->o->max_removed > 0) return "take a larger -max-removed, or ";
    for (size_t u = 0; u < c->units->count; u++)
        if (c->units->items[u].protected_because == PRUNE_PROTECTED_BY_USER) return "protect fewer layers, or ";
    return "";
}

static enum prune_code choose(struct chooser *c, uint8_t *removed, struct prune_select_result *r, struct prune_status *st)
{
    enum prune_target_kind kind = c->o->target;
    double whole = cost_of(&c->original, kind), goal = c->o->open_ended ? -1 : c->o->remain * whole * (1 + 1e-12);
    struct prune_cost smallest = cost_after(c, removed, c->bundles.count);
    r->before = cost_after(c, removed, 0);
    r->smallest = whole > 0 ? cost_of(&smallest, kind) / whole : 1;
    bool out_of_reach = !c->o->open_ended && cost_of(&smallest, kind) > goal;
    if (out_of_reach && !r->before.units)
        return prune_fail(st, "-%s %g cannot be reached: the network has no channels of convolutional or connected layers", target_name(kind), c->o->remain);
    if (out_of_reach && all_protected(c->units))
        return prune_fail(st, "-%s %g cannot be reached: every channel must stay (%s), the smallest reachable is 1.0000", target_name(kind), c->o->remain,
                          c->units->items[0].protected_because);
    if (out_of_reach)
        return prune_fail(st, "-%s %g cannot be reached: the smallest reachable is %.4f; %slet more remain",
                          target_name(kind), c->o->remain, r->smallest, what_holds(c));
    size_t lo = 0, hi = step_limit(c);           /* the first k in [lo, hi] that meets the goal, else hi */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        struct prune_cost cost = cost_after(c, removed, mid);
        if (cost_of(&cost, kind) <= goal) hi = mid;
        else lo = mid + 1;
    }
    r->after = cost_after(c, removed, lo);
    r->target_met = cost_of(&r->after, kind) <= goal;
    r->newly_removed = r->before.units - r->after.units;
    memcpy(removed, c->trial, c->units->count);
    return PRUNE_OK;
}

enum prune_code prune_select(const struct prune_net *net, const struct prune_units *units, const double *scores, const struct prune_select_options *options,
                             uint8_t *removed, struct prune_select_result *result, struct prune_status *st)
{
    enum prune_code rc = check_options(units, scores, options, st);
    if (rc) return rc;
    struct chooser c = { .net = net, .units = units, .o = options, .original = options->original };
    if (!c.original.macs && !c.original.parameters && !c.original.units) prune_units_cost(net, units, NULL, &c.original);
    c.trial = malloc(units->count + 1);
    c.kept = calloc(units->layer_count + 1, sizeof *c.kept);
    c.least = calloc(units->layer_count + 1, sizeof *c.least);
    if (!c.trial || !c.kept || !c.least) rc = prune_fail_memory(st, units->count, "selection");
    if (!rc) rc = prune_bundles_build(&c.bundles, net, units, scores, options, removed, st);
    struct prune_select_result r = { 0 };
    if (!rc) {
        least_of_layers(&c);
        accept(&c, removed);
        rc = choose(&c, removed, &r, st);
    }
    if (!rc && result) *result = r;
    prune_bundles_free(&c.bundles);
    free(c.trial);
    free(c.kept);
    free(c.least);
    return rc;
}
