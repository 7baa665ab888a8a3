/* Cost of a net with some units removed: per layer a bilinear form of the channels it keeps, exact for the rewritten shape.
 * Each unit carries the list of layers it touches, so that the saving of one unit looks at those layers only. */
#include "units_private.h"

#include <stdlib.h>

static void split(uint64_t total, uint64_t pairs, uint64_t outs, uint64_t *pair, uint64_t *each, uint64_t *rest)
{
    *pair = pairs ? total / pairs : 0;
    total -= *pair * pairs;
    *each = outs ? total / outs : 0;
    *rest = total - *each * outs;
}

static void layer_cost(struct prune_layer_cost *c, const struct prune_layer *l, const int *in, size_t in_count, size_t area, bool depthwise)
{
    uint64_t outs = (uint64_t)l->out_c, pairs = 0;
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    c->groups = 1;
    if (rule == PRUNE_CH_PRODUCE && !depthwise) {
        c->in_units = in;
        c->in_count = in_count;
        c->groups = (uint64_t)l->groups;
        pairs = (uint64_t)in_count * outs / c->groups;
    } else if (rule == PRUNE_CH_FIXED) {
        outs = 0;
    }
    split(l->macs, pairs, outs, &c->macs_pair, &c->macs_each, &c->macs_rest);
    /* parameters of a pair are known; dividing would take the biases for weights where a layer has few inputs */
    uint64_t kernel = (uint64_t)l->size * (uint64_t)l->size;
    uint64_t each_pair = l->kind == PRUNE_CONNECTED ? area : l->kind == PRUNE_LOCAL ? kernel * (uint64_t)l->out_w * (uint64_t)l->out_h : kernel;
    c->parameters_pair = pairs && each_pair * pairs <= l->parameters ? each_pair : 0;
    uint64_t left = l->parameters - c->parameters_pair * pairs;
    c->parameters_each = outs ? left / outs : 0;
    c->parameters_rest = left - c->parameters_each * outs;
}

static bool depthwise(const struct prune_layer *l)
{
    return l->groups > 1 && l->groups == l->c;
}

static void count_touches(const struct prune_units *u, const struct prune_net *net, const struct prune_layer_cost *costs, struct prune_touch *touches,
                          size_t *fill, int *last)
{
    /* touches NULL: only count into fill[unit]; else write at fill[unit], ascending by layer */
    for (size_t i = 0; i < u->count; i++) last[i] = -1;
    for (size_t l = 0; l < net->layer_count; l++) {
        if (!net->layers[l].macs && !net->layers[l].parameters) continue;
        size_t ins = costs[l].in_count, outs = (size_t)net->layers[l].out_c;
        for (size_t k = 0; k < ins + outs; k++) {
            int unit = k < ins ? costs[l].in_units[k] : u->of_channel[l][k - ins];
            if (unit < 0) continue;
            if (last[unit] != (int)l) {
                last[unit] = (int)l;
                if (touches) touches[fill[unit]] = (struct prune_touch){ (int)l, 0, 0 };
                fill[unit]++;
            }
            if (touches && k < ins) touches[fill[unit] - 1].in++;
            if (touches && k >= ins) touches[fill[unit] - 1].out++;
        }
    }
}

enum prune_code prune_costs_build(struct prune_units *units, const struct prune_net *net, struct prune_status *st)
{
    struct prune_units_private *p = units->owned;
    p->costs = calloc(net->layer_count + 1, sizeof *p->costs);
    p->first_touch = calloc(units->count + 1, sizeof *p->first_touch);
    size_t *fill = calloc(units->count + 1, sizeof *fill);
    int *last = malloc((units->count + 1) * sizeof *last);
    enum prune_code rc = p->costs && p->first_touch && fill && last ? PRUNE_OK : prune_fail_memory(st, units->count * sizeof *fill, "cost of units");
    if (!rc) {
        for (size_t l = 0; l < net->layer_count; l++) {
            size_t n = 0, area = 1;
            const int *in = prune_units_read(units, net, (int)l, &n, &area);
            layer_cost(&p->costs[l], &net->layers[l], in, n, area, depthwise(&net->layers[l]));
        }
        count_touches(units, net, p->costs, NULL, fill, last);
        for (size_t i = 0; i < units->count; i++) p->first_touch[i + 1] = p->first_touch[i] + fill[i];
        p->touches = malloc((p->first_touch[units->count] + 1) * sizeof *p->touches);
        if (!p->touches) rc = prune_fail_memory(st, p->first_touch[units->count] * sizeof *p->touches, "cost of units");
    }
    if (!rc) {
        for (size_t i = 0; i < units->count; i++) fill[i] = p->first_touch[i];
        count_touches(units, net, p->costs, p->touches, fill, last);
    }
    free(fill);
    free(last);
    return rc;
}

static uint64_t kept(const int *of, size_t n, const uint8_t *removed)
{
    uint64_t k = 0;
    for (size_t i = 0; i < n; i++) k += of[i] < 0 || !removed || !removed[of[i]];
    return k;
}

static uint64_t form(uint64_t pair, uint64_t each, uint64_t rest, uint64_t in, uint64_t out, uint64_t groups)
{
    return pair * in * out / groups + each * out + rest;
}

void prune_units_cost(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_cost *cost)
{
    const struct prune_units_private *p = units->owned;
    *cost = (struct prune_cost){ 0 };
    for (size_t l = 0; l < net->layer_count; l++) {
        const struct prune_layer_cost *c = &p->costs[l];
        if (!net->layers[l].macs && !net->layers[l].parameters) continue;
        uint64_t in = kept(c->in_units, c->in_count, removed), out = kept(units->of_channel[l], (size_t)net->layers[l].out_c, removed);
        cost->macs += form(c->macs_pair, c->macs_each, c->macs_rest, in, out, c->groups);
        cost->parameters += form(c->parameters_pair, c->parameters_each, c->parameters_rest, in, out, c->groups);
    }
    for (size_t u = 0; u < units->count; u++) {
        if (removed && removed[u]) continue;
        cost->units++;
        cost->channels += units->items[u].member_count;
    }
}

static void add_saving(const struct prune_layer_cost *c, const struct prune_touch *touch, uint64_t in, uint64_t out, struct prune_cost *saving)
{
    uint64_t less_in = in > (uint64_t)touch->in ? in - (uint64_t)touch->in : 0, less_out = out > (uint64_t)touch->out ? out - (uint64_t)touch->out : 0;
    saving->macs += form(c->macs_pair, c->macs_each, 0, in, out, c->groups) - form(c->macs_pair, c->macs_each, 0, less_in, less_out, c->groups);
    saving->parameters += form(c->parameters_pair, c->parameters_each, 0, in, out, c->groups) - form(c->parameters_pair, c->parameters_each, 0, less_in, less_out, c->groups);
}

void prune_units_saving(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, size_t unit, struct prune_cost *saving)
{
    const struct prune_units_private *p = units->owned;
    *saving = (struct prune_cost){ .units = 1, .channels = units->items[unit].member_count };
    for (size_t t = p->first_touch[unit]; t < p->first_touch[unit + 1]; t++) {
        const struct prune_layer_cost *c = &p->costs[p->touches[t].layer];
        uint64_t in = kept(c->in_units, c->in_count, removed);
        uint64_t out = kept(units->of_channel[p->touches[t].layer], (size_t)net->layers[p->touches[t].layer].out_c, removed);
        add_saving(c, &p->touches[t], in, out, saving);
    }
}

enum prune_code prune_units_savings(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_cost *savings, struct prune_status *st)
{
    const struct prune_units_private *p = units->owned;
    uint64_t *in = calloc(2 * net->layer_count + 1, sizeof *in);
    if (!in) return prune_fail_memory(st, 2 * net->layer_count * sizeof *in, "cost of units");
    uint64_t *out = in + net->layer_count;
    for (size_t l = 0; l < net->layer_count; l++) {
        in[l] = kept(p->costs[l].in_units, p->costs[l].in_count, removed);
        out[l] = kept(units->of_channel[l], (size_t)net->layers[l].out_c, removed);
    }
    for (size_t u = 0; u < units->count; u++) {
        savings[u] = (struct prune_cost){ .units = 1, .channels = units->items[u].member_count };
        for (size_t t = p->first_touch[u]; t < p->first_touch[u + 1]; t++) {
            int l = p->touches[t].layer;
            add_saving(&p->costs[l], &p->touches[t], in[l], out[l], &savings[u]);
        }
    }
    free(in);
    return PRUNE_OK;
}
