/* Slicing a weights file by a plan: tensors are streamed from the map to the writer, and pages are given back behind the reading point.
 * Every stored tensor is seen as [outer][a][mid][b][inner]; the axes a and b carry channels, inner is what one channel holds. A channel
 * that goes is dropped (rewrite) or, on the reading side, written as zeros (masked). */
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

enum { BUFFER_FLOATS = 1 << 16, RELEASE_BYTES = 4 << 20 };

struct stream {
    const struct prune_weights *in;
    struct prune_writer *out;
    struct prune_status *st;
    float *buffer; size_t used;
    size_t released;                     /* bytes of the map given back so far */
};

struct axes {
    size_t outer, a, mid, b, inner;
    const uint8_t *keep_a, *keep_b;      /* NULL: all stay */
    bool zero_a, zero_b;                 /* write zeros instead of dropping */
    size_t a_per_group;                  /* grouped convolution: keep_b moves on by b every so many of a; 0 = one group */
};

struct flags { uint8_t *in, *out; };     /* [channel]: 1 = stays */

static enum prune_code flush(struct stream *s)
{
    size_t n = s->used;
    s->used = 0;
    return n ? prune_writer_put(s->out, s->buffer, n * sizeof(float), s->st) : PRUNE_OK;
}

/* from NULL: zeros. */
static enum prune_code put(struct stream *s, const float *from, size_t count)
{
    while (count) {
        size_t room = BUFFER_FLOATS - s->used, n = count < room ? count : room;
        if (from) memcpy(s->buffer + s->used, from, n * sizeof *from);
        else memset(s->buffer + s->used, 0, n * sizeof *s->buffer);
        s->used += n;
        count -= n;
        if (from) from += n;
        if (s->used == BUFFER_FLOATS) {
            enum prune_code rc = flush(s);
            if (rc) return rc;
        }
    }
    return PRUNE_OK;
}

static void release_behind(struct stream *s, const float *reading)
{
    size_t at = (size_t)((const unsigned char *)reading - s->in->map.bytes);
    if (at < s->released + RELEASE_BYTES) return;
    prune_map_release_pages(&s->in->map, s->released, at);
    s->released = at;
}

/* One row of b, in runs of channels that share their fate. */
static enum prune_code put_row(struct stream *s, const float *row, const struct axes *x, const uint8_t *keep)
{
    for (size_t i = 0; i < x->b;) {
        size_t end = i + 1;
        bool stays = !keep || keep[i];
        while (end < x->b && (!keep || keep[end]) == stays) end++;
        if (stays || x->zero_b) {
            enum prune_code rc = put(s, stays ? row + i * x->inner : NULL, (end - i) * x->inner);
            if (rc) return rc;
        }
        i = end;
    }
    return PRUNE_OK;
}

static enum prune_code put_tensor(struct stream *s, const float *data, const struct axes *x)
{
    size_t row = x->b * x->inner;
    for (size_t o = 0; o < x->outer; o++)
        for (size_t a = 0; a < x->a; a++) {
            const uint8_t *keep_b = x->keep_b && x->a_per_group ? x->keep_b + a / x->a_per_group * x->b : x->keep_b;
            bool stays = !x->keep_a || x->keep_a[a];
            for (size_t m = 0; m < x->mid; m++, data += row) {
                enum prune_code rc = PRUNE_OK;
                if (stays) rc = put_row(s, data, x, keep_b);
                else if (x->zero_a) rc = put(s, NULL, row);
                if (rc) return rc;
                release_behind(s, data);
            }
        }
    return PRUNE_OK;
}

/* The axes of a stored tensor. masked: outputs all stay, inputs that go become zeros. */
static struct axes describe(const struct prune_weights_tensor *t, const struct prune_layer *l, const struct prune_layer_plan *p, const struct flags *f,
                            size_t inputs, bool transposed, bool masked)
{
    struct axes x = { 1, t->count, 1, 1, 1, NULL, NULL, false, false, 0 };
    size_t n = (size_t)l->out_c, kernel = (size_t)l->size * (size_t)l->size;
    const uint8_t *out = masked ? NULL : f->out;
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    if (rule != PRUNE_CH_PRODUCE && l->kind != PRUNE_BATCHNORM) return x;
    if (t->role != PRUNE_WEIGHTS) {
        x.a = n;
        x.inner = t->count / n;
        x.keep_a = out;
        return x;
    }
    x.inner = l->kind == PRUNE_CONNECTED ? p->in_area : kernel;
    if (l->kind == PRUNE_LOCAL) x.outer = (size_t)l->out_w * (size_t)l->out_h;
    bool out_last = l->kind == PRUNE_DECONVOLUTIONAL || (l->kind == PRUNE_CONNECTED && transposed) || (l->kind == PRUNE_CONVOLUTIONAL && l->flipped);
    if (out_last) {                      /* deconvolution (c, n, k, k); transposed: (c area, n); flipped: (c k k, n) */
        x.a = inputs;
        x.keep_a = f->in;
        x.zero_a = masked;
        x.b = n;
        x.keep_b = out;
        if (l->kind != PRUNE_DECONVOLUTIONAL) {
            x.mid = x.inner;
            x.inner = 1;
        }
        return x;
    }
    x.a = n;
    x.keep_a = out;
    x.b = inputs / (size_t)l->groups;
    x.keep_b = f->in;
    x.zero_b = masked;
    x.a_per_group = l->groups > 1 ? n / (size_t)l->groups : 0;
    return x;
}

static void fill_flags(uint8_t *flags, size_t n, const int *keep, size_t count)
{
    memset(flags, 0, n);
    for (size_t i = 0; i < count; i++) flags[keep[i]] = 1;
}

static size_t input_channels(const struct prune_net *net, const struct prune_layer *l, const struct prune_layer_plan *p)
{
    if (l->kind != PRUNE_CONNECTED) return (size_t)l->c;
    int s = l->source_count ? l->sources[0] : -1;
    return (size_t)(s < 0 ? net->inputs : net->layers[s].outputs) / p->in_area;
}

static enum prune_code put_layer_tensor(struct stream *s, const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights_tensor *t, bool masked)
{
    const struct prune_layer *l = &net->layers[t->layer];
    const struct prune_layer_plan *p = &plan->layers[t->layer];
    size_t ins = input_channels(net, l, p), outs = (size_t)l->out_c;
    struct flags f = { NULL, NULL };
    bool some_in = p->in_count < ins, some_out = p->out_count < outs;
    enum prune_code rc = PRUNE_OK;
    if (some_in) f.in = malloc(ins);
    if (some_out) f.out = malloc(outs);
    if ((some_in && !f.in) || (some_out && !f.out)) rc = prune_fail_memory(s->st, ins + outs, "kept channels");
    if (f.in && !rc) fill_flags(f.in, ins, p->in_keep, p->in_count);
    if (f.out && !rc) fill_flags(f.out, outs, p->out_keep, p->out_count);
    if (!rc) {
        struct axes x = describe(t, l, p, &f, ins, s->in->header.transposed, masked);
        if (x.outer * x.a * x.mid * x.b * x.inner != t->count)
            rc = some_in || some_out ? prune_fail(s->st, "layer %d: a stored tensor of %zu values does not fit the layer", t->layer, t->count) : PRUNE_OK;
        if (!some_in && !some_out) x = (struct axes){ .outer = 1, .a = t->count, .mid = 1, .b = 1, .inner = 1 };
        if (x.b == 1 && x.inner == 1 && x.mid == 1 && !x.keep_a) {           /* untouched: pieces of a buffer */
            const float *data = prune_weights_data(s->in, t);
            for (size_t i = 0, n; !rc && i < t->count; i += n) {
                n = t->count - i < BUFFER_FLOATS ? t->count - i : BUFFER_FLOATS;
                rc = put(s, data + i, n);
                release_behind(s, data + i);
            }
        } else if (!rc) {
            rc = put_tensor(s, prune_weights_data(s->in, t), &x);
        }
    }
    free(f.in);
    free(f.out);
    return rc;
}

static enum prune_code write_file(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, bool masked, struct prune_status *st)
{
    if (prune_same_file(in->path, path)) return prune_fail(st, "'%s' is an input and would be overwritten; choose another folder", path);
    struct stream s = { .in = in, .st = st, .buffer = malloc(BUFFER_FLOATS * sizeof(float)) };
    if (!s.buffer) return prune_fail_memory(st, BUFFER_FLOATS * sizeof(float), "copy buffer");
    enum prune_code rc = prune_writer_open(&s.out, path, st);
    if (!rc) rc = prune_weights_put_header(s.out, &in->header, st);
    for (size_t i = 0; !rc && i < in->layout.count; i++) rc = put_layer_tensor(&s, plan, net, &in->layout.tensors[i], masked);
    if (!rc) rc = flush(&s);
    if (rc) prune_writer_abort(s.out);
    else rc = prune_writer_commit(s.out, st);
    prune_map_release_pages(&in->map, 0, in->map.size);
    free(s.buffer);
    return rc;
}

enum prune_code prune_rewrite_weights(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, struct prune_status *st)
{
    return write_file(plan, net, in, path, false, st);
}

enum prune_code prune_rewrite_masked(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, struct prune_status *st)
{
    return write_file(plan, net, in, path, true, st);
}
