/* What each channel of a network is, as 64-bit values; see proof.h. The rules are those of docs/units.md and docs/dialects.md, written down a
 * second time on purpose: here is no union-find and no unit, only what a layer's output consists of. 0 means "all zeros", and by the
 * definition of removal (readers see 0) stays 0 through pooling, activations and standalone batch-norm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof_private.h"

static const uint64_t ODD = 0x9e3779b97f4a7c15u;

/* A bijection of 64 bits (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
    x += ODD;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t not_zero(uint64_t x)
{
    return x ? x : 1;
}

uint64_t proof_symbol(int layer, size_t channel)
{
    return not_zero(mix(mix((uint64_t)(layer + 2)) + channel * ODD));
}

/* Layer `number` does something to v alone; place: which of several outputs of v. */
static uint64_t changed(uint64_t v, int number, size_t place)
{
    return v ? not_zero(mix(v ^ mix(~(uint64_t)number - place * ODD))) : 0;
}

/* A head's or loss's output that nobody reads need not be followed; it may be as long as a picture. */
static size_t room_of(const struct proof_side *s, const struct prune_layer *l)
{
    return prune_kind_info(l->kind)->rule == PRUNE_CH_FIXED && !s->read[l->index] ? 0 : (size_t)l->out_c;
}

enum prune_code proof_side_open(struct proof_side *s, const struct prune_net *net, struct prune_status *st)
{
    *s = (struct proof_side){ .net = net };
    s->first = malloc((net->layer_count + 2) * sizeof *s->first);
    s->read = calloc(net->layer_count + 1, sizeof *s->read);
    if (!s->first || !s->read) return prune_fail_memory(st, net->layer_count * sizeof *s->first, "the proof of a rewrite");
    for (size_t i = 0; i < net->layer_count; i++)
        for (size_t k = 0; k < net->layers[i].source_count; k++)
            if (net->layers[i].sources[k] >= 0) s->read[net->layers[i].sources[k]] = true;
    s->first[0] = 0;
    s->first[1] = (size_t)net->c;
    for (size_t i = 0; i < net->layer_count; i++) s->first[i + 2] = s->first[i + 1] + room_of(s, &net->layers[i]);
    size_t all = s->first[net->layer_count + 1];
    s->values = calloc(all + 1, sizeof *s->values);
    if (!s->values) return prune_fail_memory(st, all * sizeof *s->values, "the proof of a rewrite");
    for (size_t i = 0; i < (size_t)net->c; i++) s->values[i] = proof_symbol(-1, i);
    return PRUNE_OK;
}

void proof_side_free(struct proof_side *s)
{
    free(s->values);
    free(s->first);
    free(s->read);
    memset(s, 0, sizeof *s);
}

struct proof_row proof_row_of(const struct proof_side *s, int layer)
{
    struct proof_row r = { s->values + s->first[layer + 1], s->first[layer + 2] - s->first[layer + 1], 1 };
    size_t numbers = (size_t)(layer < 0 ? s->net->inputs : s->net->layers[layer].outputs);
    if (r.count) r.area = numbers / r.count;
    return r;
}

struct proof_row proof_row_read(const struct proof_side *s, const struct prune_layer *l, size_t source)
{
    return proof_row_of(s, l->sources[source]);
}

uint64_t *proof_out(struct proof_side *s, const struct prune_layer *l, size_t *count)
{
    *count = proof_row_of(s, l->index).count;
    return s->values + s->first[l->index + 1];
}

const char *proof_name(const struct proof_side *old, uint64_t value, char text[96])
{
    snprintf(text, 96, value ? "a mixture of channels" : "zeros");
    for (int l = -1; l < (int)old->net->layer_count; l++) {
        size_t n = l < 0 ? (size_t)old->net->c : (size_t)old->net->layers[l].out_c;
        for (size_t j = 0; j < n; j++) {
            if (proof_symbol(l, j) != value) continue;
            if (l < 0) snprintf(text, 96, "channel %zu of the network's input", j);
            else snprintf(text, 96, "channel %zu of layer %d", j, l);
            return text;
        }
    }
    return text;
}

/* The rules: out[0 .. out_c) of what the sources give. */
typedef void rule(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out);

static void pass(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out)
{
    struct proof_row in = proof_row_read(s, l, 0);
    size_t each = (size_t)l->out_c / in.count;             /* more than 1: a map becomes a vector */
    for (size_t i = 0; i < (size_t)l->out_c; i++) out[i] = changed(in.v[i / each], number, i % each);
}

static void concatenate(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out)
{
    (void)number;
    for (size_t k = 0; k < l->source_count; k++) {
        struct proof_row in = proof_row_read(s, l, k);
        size_t slice = in.count / (size_t)l->groups;
        memcpy(out, in.v + (size_t)l->group_id * slice, slice * sizeof *out);
        out += slice;
    }
}

/* Addends commute, so their values are summed; with weights each source has a factor of its own. */
static void add(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out)
{
    for (size_t k = 0; k < l->source_count; k++) {
        struct proof_row in = proof_row_read(s, l, k);
        uint64_t factor = l->weights_type == PRUNE_WEIGHTS_NONE ? 0 : k;
        for (size_t i = 0; i < in.count && i < (size_t)l->out_c; i++) out[i] += in.v[i] ? mix(in.v[i] ^ mix(factor)) : 0;
    }
    for (size_t i = 0; i < (size_t)l->out_c; i++) out[i] = changed(out[i], number, 0);
}

static void multiply(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out)
{
    struct proof_row scale = proof_row_read(s, l, 0), from = proof_row_read(s, l, 1);
    for (size_t i = 0; i < (size_t)l->out_c; i++) {
        uint64_t a = scale.v[l->scale_wh ? 0 : i], b = from.v[i];
        out[i] = a && b ? changed(not_zero(mix(a) + 3 * b), number, 0) : 0;
    }
}

/* reorg moves whole planes of stride^2 channels: plane k of the output is sampled from plane k mod (c / stride^2) of the input, at offset
 * k div (c / stride^2); where inside the plane does not depend on c. */
static void move_planes(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out)
{
    struct proof_row in = proof_row_read(s, l, 0);
    size_t plane = (size_t)l->stride * (size_t)l->stride, planes = in.count / plane;
    for (size_t k = 0; k < plane * planes; k++) {
        uint64_t all = 0;
        bool any = false;
        for (size_t i = 0; i < plane; i++) {
            uint64_t v = in.v[k % planes * plane + i];
            any |= v != 0;
            all = mix(all ^ v);
        }
        for (size_t i = 0; i < plane; i++) out[k * plane + i] = any ? changed(not_zero(all), number, k / planes * plane + i) : 0;
    }
}

static void repeat(const struct proof_side *s, const struct prune_layer *l, int number, uint64_t *out)
{
    struct proof_row in = proof_row_read(s, l, 0);
    for (size_t i = 0; i < (size_t)l->out_c; i++) out[i] = changed(in.v[i % in.count], number, i / in.count);
}

static rule *rule_of(const struct prune_layer *l)
{
    static rule *const rules[] = { [PRUNE_CH_PASS] = pass, [PRUNE_CH_CONCAT] = concatenate, [PRUNE_CH_ADD] = add, [PRUNE_CH_MULTIPLY] = multiply,
                                   [PRUNE_CH_REORG] = move_planes, [PRUNE_CH_REPEAT] = repeat, [PRUNE_CH_FIXED] = NULL };
    return rules[prune_kind_info(l->kind)->rule];
}

static bool concat_follows(const struct proof_side *s, const struct prune_layer *l)
{
    size_t sum = 0;
    for (size_t k = 0; k < l->source_count; k++) {
        struct proof_row in = proof_row_read(s, l, k);
        if (in.count % (size_t)l->groups || in.area != (size_t)l->out_w * (size_t)l->out_h) return false;
        sum += in.count / (size_t)l->groups;
    }
    return sum == (size_t)l->out_c && l->group_id < l->groups;
}

/* AlexeyAB's line adds maps of other size as flat vectors. */
static bool add_follows(const struct proof_side *s, const struct prune_layer *l)
{
    bool same_size = true;
    for (size_t k = 1; k < l->source_count; k++) same_size &= s->net->layers[l->sources[k]].out_w == l->out_w && s->net->layers[l->sources[k]].out_h == l->out_h;
    return proof_row_read(s, l, 0).count == (size_t)l->out_c && (same_size || (s->net->dialects & PRUNE_PJREDDIE));
}

bool proof_follows(const struct proof_side *s, const struct prune_layer *l)
{
    if (!rule_of(l) || !l->source_count) return false;
    struct proof_row in = proof_row_read(s, l, 0);
    size_t out = (size_t)l->out_c, plane = (size_t)l->stride * (size_t)l->stride;
    bool extra = prune_cfg_find(&s->net->cfg->sections[l->section], "extra") != NULL;
    switch (prune_kind_info(l->kind)->rule) {
    case PRUNE_CH_PASS: return in.count && !l->maxpool_depth && (out == in.count || out == in.count * in.area);
    case PRUNE_CH_CONCAT: return concat_follows(s, l);
    case PRUNE_CH_ADD: return add_follows(s, l);
    case PRUNE_CH_MULTIPLY: return proof_row_read(s, l, 1).count == out && in.count >= (l->scale_wh ? 1 : out);
    case PRUNE_CH_REORG:
        return !l->reverse && !l->flatten && !extra && in.count == (size_t)l->c && in.count % plane == 0 && l->w % l->stride == 0 && l->h % l->stride == 0 && out == in.count * plane;
    case PRUNE_CH_REPEAT: return !l->reverse && in.count && out == in.count * plane;
    default: return false;
    }
}

void proof_follow(struct proof_side *s, const struct prune_layer *l, int number)
{
    size_t n;
    rule_of(l)(s, l, number, proof_out(s, l, &n));
}
