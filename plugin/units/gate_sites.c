/* Gate sites: a minimal cut between each unit and its outside readers (METHODS, Notation).
 * A channel flows from its producer through pooling, routes and additions to readers. It needs a gate where it is made, unless every way
 * from there leads first through something that would have to be gated anyway: a depthwise convolution (a later member of the same unit)
 * or a layer that turns zero into something else (standalone batch-norm, logistic), which is gated behind itself. Where a channel is read
 * directly and through a depthwise convolution, both places get a gate: with only one of them some reader would not see zero. */
#include "units_private.h"

#include <stdlib.h>

static bool breaks_zero(const struct prune_layer *l)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    return (rule == PRUNE_CH_PASS || rule == PRUNE_CH_ADD) && !prune_keeps_zero(l);
}

/* need[s] is NULL for the network input. */
static void need_all(uint8_t *need, size_t n)
{
    for (size_t i = 0; need && i < n; i++) need[i] = 1;
}

/* Passes on, from a layer to its sources, which channels an outside reader sees without another gate in between. */
static void propagate(const struct prune_graph *g, const struct prune_layer *l, uint8_t **need)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    const uint8_t *mine = need[l->index];
    size_t at = 0, out = g->out_count[l->index];
    bool reader = rule == PRUNE_CH_PRODUCE || rule == PRUNE_CH_FIXED;
    if (out && g->elements[g->out[l->index][0]].layer == l->index) reader = true;     /* a pass layer that was fixed */
    if (g->depthwise[l->index] || breaks_zero(l)) return;
    for (size_t k = 0; k < l->source_count; k++) {
        size_t n, area;
        prune_graph_source(g, l, k, &n, &area);
        uint8_t *theirs = l->sources[k] < 0 ? NULL : need[l->sources[k]];
        if (reader) need_all(theirs, n);
        for (size_t i = 0; theirs && !reader && i < out; i++) {
            if (!mine[i]) continue;
            if (rule == PRUNE_CH_PASS) theirs[prune_pass_channel(out, n, i)] = 1;
            else if (rule == PRUNE_CH_ADD && i < n) theirs[i] = 1;
            else if (rule == PRUNE_CH_CONCAT && i >= at && i < at + n) theirs[i - at] = 1;
            else if (rule == PRUNE_CH_REORG) {
                size_t block = (size_t)l->stride * (size_t)l->stride, first = prune_reorg_block(l, i) * block;
                need_all(theirs + first, block);
            }
        }
        at += n;
    }
}

static enum prune_gate_place place_of(const struct prune_layer *l)
{
    bool inside = l->kind == PRUNE_CONVOLUTIONAL || l->kind == PRUNE_CONNECTED;
    return inside && prune_activation_info(l->activation)->keeps_zero ? PRUNE_GATE_BEFORE_ACTIVATION : PRUNE_GATE_AFTER_OUTPUT;
}

static int by_unit(const void *a, const void *b)
{
    const struct prune_gate_site *x = a, *y = b;
    if (x->unit != y->unit) return x->unit < y->unit ? -1 : 1;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return (x->channel > y->channel) - (x->channel < y->channel);
}

static enum prune_code collect(struct prune_units *units, const struct prune_graph *g, uint8_t **need, struct prune_status *st)
{
    size_t room = 0;
    for (size_t l = 0; l < units->layer_count; l++) room += g->out_count[l];
    units->sites = malloc((room + 1) * sizeof *units->sites);
    if (!units->sites) return prune_fail_memory(st, room * sizeof *units->sites, "gate sites");
    for (size_t l = 0; l < units->layer_count; l++) {
        const struct prune_layer *layer = &g->net->layers[l];
        if (prune_kind_info(layer->kind)->rule != PRUNE_CH_PRODUCE && !breaks_zero(layer)) continue;
        for (size_t i = 0; i < g->out_count[l]; i++) {
            int u = units->of_channel[l][i];
            if (u < 0 || !need[l][i] || units->items[u].protected_because) continue;
            units->sites[units->site_count++] = (struct prune_gate_site){ (int)l, (int)i, u, place_of(layer) };
        }
    }
    qsort(units->sites, units->site_count, sizeof *units->sites, by_unit);
    for (size_t s = units->site_count; s-- > 0;) {
        struct prune_unit *u = &units->items[units->sites[s].unit];
        u->first_site = s;
        u->site_count++;
    }
    return PRUNE_OK;
}

enum prune_code prune_sites_build(struct prune_units *units, struct prune_graph *g, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    uint8_t **need = calloc(units->layer_count + 1, sizeof *need);
    if (!need) return prune_fail_memory(st, units->layer_count * sizeof *need, "gate sites");
    for (size_t l = 0; l < units->layer_count; l++) {
        need[l] = calloc(g->out_count[l] + 1, 1);
        if (!need[l]) {
            rc = prune_fail_memory(st, g->out_count[l], "gate sites");
            break;
        }
        if (!g->read[l]) need_all(need[l], g->out_count[l]);
    }
    for (size_t l = units->layer_count; !rc && l-- > 0;) propagate(g, &g->net->layers[l], need);
    if (!rc) rc = collect(units, g, need, st);
    for (size_t l = 0; l < units->layer_count; l++) free(need[l]);
    free(need);
    return rc;
}
