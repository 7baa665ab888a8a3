/* Gate sites: a minimal cut between each unit and its outside readers (METHODS, Notation).
 * A channel flows from its producer through pooling, routes and additions to readers. It needs a gate where it is made, unless every way
 * from there leads first through something that would have to be gated anyway: a depthwise convolution (a later member of the same unit)
 * or a layer that turns zero into something else (standalone batch-norm, logistic), which is gated behind itself. Where a channel is read
 * directly and through a depthwise convolution, both places get a gate: with only one of them some reader would not see zero. A product
 * is silent when one factor is: the need goes to `from` (the map) alone, and the other factor gets a gate only where something else reads it. */
#include "units_private.h"

#include <stdlib.h>
#include <string.h>

static bool breaks_zero(const struct prune_layer *l)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    return (rule == PRUNE_CH_PASS || rule == PRUNE_CH_ADD || rule == PRUNE_CH_MULTIPLY || rule == PRUNE_CH_REPEAT) && !prune_keeps_zero(l);
}

/* need[s] is NULL for the network input. */
static void need_all(uint8_t *need, size_t n)
{
    for (size_t i = 0; need && i < n; i++) need[i] = 1;
}

static void add_need(uint8_t *theirs, const uint8_t *mine, size_t n)
{
    for (size_t i = 0; i < n; i++) theirs[i] |= mine[i];
}

/* What source k of a layer that makes no channels hands over: `theirs` are its n channels, `mine` the layer's own from this source on. */
static void propagate_source(const struct prune_layer *l, size_t k, uint8_t *theirs, size_t n, const uint8_t *mine, size_t out)
{
    size_t block = (size_t)l->stride * (size_t)l->stride, slice = n / (size_t)l->groups;
    switch (prune_kind_info(l->kind)->rule) {
    case PRUNE_CH_PASS:
        for (size_t i = 0; i < out; i++) theirs[prune_pass_channel(out, n, i)] |= mine[i];
        break;
    case PRUNE_CH_ADD: add_need(theirs, mine, n < out ? n : out); break;
    case PRUNE_CH_MULTIPLY:
        if (k == 1) add_need(theirs, mine, out);
        break;
    case PRUNE_CH_CONCAT: add_need(theirs + slice * (size_t)l->group_id, mine, slice); break;
    case PRUNE_CH_REORG:
        for (size_t i = 0; i < out; i += block)
            if (memchr(mine + i, 1, block)) need_all(theirs + prune_reorg_block(l, i) * block, block);
        break;
    case PRUNE_CH_REPEAT:
        for (size_t i = 0; i < out; i += n) add_need(theirs, mine + i, n);
        break;
    default: need_all(theirs, n); break;
    }
}

/* Passes on, from a layer to its sources, which channels an outside reader sees without another gate in between. */
static void propagate(const struct prune_graph *g, const struct prune_layer *l, uint8_t **need)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    size_t at = 0, out = g->out_count[l->index];
    bool reader = out && g->elements[g->out[l->index][0]].layer == l->index;     /* it makes channels; also a pass layer that was fixed */
    if (g->depthwise[l->index] || breaks_zero(l)) return;
    for (size_t k = 0; k < l->source_count; k++) {
        size_t n, area;
        prune_graph_source(g, l, k, &n, &area);
        uint8_t *theirs = l->sources[k] < 0 ? NULL : need[l->sources[k]];
        if (theirs && reader) need_all(theirs, n);
        else if (theirs) propagate_source(l, k, theirs, n, need[l->index] + at, out);
        if (rule == PRUNE_CH_CONCAT) at += n / (size_t)l->groups;
    }
}

static enum prune_gate_place place_of(const struct prune_layer *l)
{
    bool inside = l->kind == PRUNE_CONVOLUTIONAL || l->kind == PRUNE_CONNECTED;
    return inside && prune_activation_info(l->activation)->keeps_zero ? PRUNE_GATE_BEFORE_ACTIVATION : PRUNE_GATE_AFTER_OUTPUT;
}

static bool has_site(const struct prune_units *units, const struct prune_graph *g, uint8_t **need, size_t l, size_t i)
{
    int u = units->of_channel[l][i];
    return u >= 0 && need[l][i] && !units->items[u].protected_because && (g->elements[g->out[l][i]].layer == (int)l || breaks_zero(&g->net->layers[l]));
}

/* Sites ordered by (unit, layer, channel): counted, then placed. */
static enum prune_code collect(struct prune_units *units, const struct prune_graph *g, uint8_t **need, struct prune_status *st)
{
    for (size_t l = 0; l < units->layer_count; l++)
        for (size_t i = 0; i < g->out_count[l]; i++)
            if (has_site(units, g, need, l, i)) units->items[units->of_channel[l][i]].site_count++;
    for (size_t u = 0; u < units->count; u++) {
        units->items[u].first_site = units->site_count;
        units->site_count += units->items[u].site_count;
        units->items[u].site_count = 0;
    }
    units->sites = malloc((units->site_count + 1) * sizeof *units->sites);
    if (!units->sites) return prune_fail_memory(st, units->site_count * sizeof *units->sites, "gate sites");
    for (size_t l = 0; l < units->layer_count; l++)
        for (size_t i = 0; i < g->out_count[l]; i++) {
            if (!has_site(units, g, need, l, i)) continue;
            struct prune_unit *u = &units->items[units->of_channel[l][i]];
            units->sites[u->first_site + u->site_count++] = (struct prune_gate_site){ (int)l, (int)i, units->of_channel[l][i], place_of(&g->net->layers[l]) };
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
