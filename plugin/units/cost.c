/* Cost of a net with some units removed: rows that are bilinear in the channels they keep, exact for the rewritten shape and for every
 * mask. Each unit carries the list of rows it touches, so that the saving of one unit looks at those only. */
#include "units_private.h"

#include <stdlib.h>

/* What one pair of an input and an output channel costs; the rest of a layer's parameters and multiply-adds belongs to its outputs. */
static void pair_cost(const struct prune_layer *l, size_t area, uint64_t *macs, uint64_t *parameters)
{
    uint64_t kernel = (uint64_t)l->size * (uint64_t)l->size, places = 1;
    if (l->kind == PRUNE_CONNECTED) kernel = area;
    if (l->kind == PRUNE_LOCAL) kernel *= (uint64_t)l->out_w * (uint64_t)l->out_h;
    if (l->kind == PRUNE_CONVOLUTIONAL) places = (uint64_t)l->sharp_w * (uint64_t)l->sharp_h;
    if (l->kind == PRUNE_DECONVOLUTIONAL) places = (uint64_t)l->w * (uint64_t)l->h;
    *macs = kernel * places;
    *parameters = l->parameters ? kernel : 0;      /* a convolution that shares another's values stores none */
}

/* Takes `pairs` times `pair` and `outs` times *each off the total. */
static void take_each(uint64_t *total, uint64_t pairs, uint64_t pair, uint64_t outs, uint64_t *each)
{
    *total -= pairs * pair;
    *each = *total % outs ? 0 : *total / outs;
    *total -= *each * outs;
}

static size_t rows_of(const struct prune_layer *l)
{
    if (prune_kind_info(l->kind)->rule == PRUNE_CH_FIXED || (!l->macs && !l->parameters)) return 0;
    return l->kind == PRUNE_CONVOLUTIONAL && !prune_is_depthwise(l) ? (size_t)l->groups : 1;
}

/* The rows of one layer (`count` of them); what does not depend on channels is added to the rest. */
static void add_rows(const struct prune_units *units, const struct prune_net *net, const struct prune_layer *l, size_t count)
{
    struct prune_units_private *p = units->owned;
    size_t n = 0, area = 1, outs = (size_t)l->out_c;
    uint64_t macs = l->macs, parameters = l->parameters, pairs = 0;
    struct prune_cost_row row = { 0 };
    const int *in = prune_units_read(units, net, l->index, &n, &area);
    bool dense = prune_kind_info(l->kind)->rule == PRUNE_CH_PRODUCE && !prune_is_depthwise(l) && (n == (size_t)l->c || l->kind == PRUNE_CONNECTED);
    if (dense && n) {
        pair_cost(l, area, &row.macs_pair, &row.parameters_pair);
        pairs = (uint64_t)n * outs / count;
    } else {
        n = 0;                           /* depthwise, channelwise, or reading nothing that can go */
    }
    if (count) {
        bool by_channel = l->kind != PRUNE_SHORTCUT || l->weights_type == PRUNE_WEIGHTS_PER_CHANNEL;
        take_each(&macs, pairs, row.macs_pair, outs, &row.macs_each);
        if (by_channel) take_each(&parameters, pairs, row.parameters_pair, outs, &row.parameters_each);
    }
    p->macs_rest += macs;
    p->parameters_rest += parameters;
    for (size_t g = 0; g < count; g++) {
        row.in_count = n / count;
        row.out_count = outs / count;
        row.in = n ? in + g * row.in_count : NULL;
        row.out = units->of_channel[l->index] + g * row.out_count;
        p->rows[p->row_count++] = row;
    }
}

/* touches NULL: only count into fill[unit]; else write at fill[unit], ascending by row. last: one entry per unit. */
static void count_touches(const struct prune_units *units, struct prune_touch *touches, size_t *fill, int *last)
{
    const struct prune_units_private *p = units->owned;
    for (size_t i = 0; i < units->count; i++) last[i] = -1;
    for (size_t r = 0; r < p->row_count; r++) {
        const struct prune_cost_row *row = &p->rows[r];
        for (size_t k = 0; k < row->in_count + row->out_count; k++) {
            int unit = k < row->in_count ? row->in[k] : row->out[k - row->in_count];
            if (unit < 0) continue;
            if (last[unit] != (int)r) {
                last[unit] = (int)r;
                if (touches) touches[fill[unit]] = (struct prune_touch){ (int)r, 0, 0 };
                fill[unit]++;
            }
            if (touches && k < row->in_count) touches[fill[unit] - 1].in++;
            if (touches && k >= row->in_count) touches[fill[unit] - 1].out++;
        }
    }
}

enum prune_code prune_costs_build(struct prune_units *units, const struct prune_net *net, struct prune_status *st)
{
    struct prune_units_private *p = units->owned;
    size_t rows = 0, touches = 0;
    for (size_t l = 0; l < net->layer_count; l++) rows += rows_of(&net->layers[l]);
    p->rows = malloc((rows + 1) * sizeof *p->rows);
    p->first_touch = calloc(units->count + 1, sizeof *p->first_touch);
    size_t *fill = calloc(units->count + 1, sizeof *fill);
    int *last = malloc((units->count + 1) * sizeof *last);
    enum prune_code rc = p->rows && p->first_touch && fill && last ? PRUNE_OK : prune_fail_memory(st, (units->count + rows) * sizeof *fill, "cost of units");
    if (!rc) {
        for (size_t l = 0; l < net->layer_count; l++) add_rows(units, net, &net->layers[l], rows_of(&net->layers[l]));
        count_touches(units, NULL, fill, last);
        for (size_t i = 0; i < units->count; i++) {
            p->first_touch[i] = touches;
            touches += fill[i];
            fill[i] = p->first_touch[i];
        }
        p->first_touch[units->count] = touches;
        p->touches = malloc((touches + 1) * sizeof *p->touches);
        if (p->touches) count_touches(units, p->touches, fill, last);
        else rc = prune_fail_memory(st, touches * sizeof *p->touches, "cost of units");
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

void prune_units_cost(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_cost *cost)
{
    (void)net;
    const struct prune_units_private *p = units->owned;
    *cost = (struct prune_cost){ .macs = p->macs_rest, .parameters = p->parameters_rest };
    for (size_t r = 0; r < p->row_count; r++) {
        const struct prune_cost_row *row = &p->rows[r];
        uint64_t in = kept(row->in, row->in_count, removed), out = kept(row->out, row->out_count, removed);
        cost->macs += (row->macs_pair * in + row->macs_each) * out;
        cost->parameters += (row->parameters_pair * in + row->parameters_each) * out;
    }
    for (size_t u = 0; u < units->count; u++) {
        if (removed && removed[u]) continue;
        cost->units++;
        cost->channels += units->items[u].member_count;
    }
}

static void add_saving(const struct prune_cost_row *row, const struct prune_touch *touch, uint64_t in, uint64_t out, struct prune_cost *saving)
{
    uint64_t less_in = in > (uint64_t)touch->in ? in - (uint64_t)touch->in : 0, less_out = out > (uint64_t)touch->out ? out - (uint64_t)touch->out : 0;
    saving->macs += (row->macs_pair * in + row->macs_each) * out - (row->macs_pair * less_in + row->macs_each) * less_out;
    saving->parameters += (row->parameters_pair * in + row->parameters_each) * out - (row->parameters_pair * less_in + row->parameters_each) * less_out;
}

void prune_units_saving(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, size_t unit, struct prune_cost *saving)
{
    (void)net;
    const struct prune_units_private *p = units->owned;
    *saving = (struct prune_cost){ .units = 1, .channels = units->items[unit].member_count };
    for (size_t t = p->first_touch[unit]; t < p->first_touch[unit + 1]; t++) {
        const struct prune_cost_row *row = &p->rows[p->touches[t].row];
        add_saving(row, &p->touches[t], kept(row->in, row->in_count, removed), kept(row->out, row->out_count, removed), saving);
    }
}

enum prune_code prune_units_savings(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_cost *savings, struct prune_status *st)
{
    (void)net;
    const struct prune_units_private *p = units->owned;
    uint64_t *in = calloc(2 * p->row_count + 1, sizeof *in);
    if (!in) return prune_fail_memory(st, 2 * p->row_count * sizeof *in, "cost of units");
    uint64_t *out = in + p->row_count;
    for (size_t r = 0; r < p->row_count; r++) {
        in[r] = kept(p->rows[r].in, p->rows[r].in_count, removed);
        out[r] = kept(p->rows[r].out, p->rows[r].out_count, removed);
    }
    for (size_t u = 0; u < units->count; u++) {
        savings[u] = (struct prune_cost){ .units = 1, .channels = units->items[u].member_count };
        for (size_t t = p->first_touch[u]; t < p->first_touch[u + 1]; t++) {
            int r = p->touches[t].row;
            add_saving(&p->rows[r], &p->touches[t], in[r], out[r], &savings[u]);
        }
    }
    free(in);
    return PRUNE_OK;
}
