/* Slicing a weights file by a plan: which axes of each stored tensor carry channels, and which of those stay; slice.c moves the values. */
#include "slice.h"

#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

struct flags { uint8_t *in, *out; };     /* [channel]: 1 = stays */

/* The axes of a stored tensor. masked: outputs all stay, inputs that go become zeros. */
static struct prune_axes describe(const struct prune_weights_tensor *t, const struct prune_layer *l, const struct prune_layer_plan *p, const struct flags *f,
                            size_t inputs, bool transposed, bool masked)
{
    struct prune_axes x = { 1, t->count, 1, 1, 1, NULL, NULL, false, false, 0 };
    size_t n = (size_t)l->out_c, kernel = (size_t)l->size * (size_t)l->size;
    const uint8_t *out = masked ? NULL : f->out;
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    if (l->kind == PRUNE_SHORTCUT && l->weights_type == PRUNE_WEIGHTS_PER_CHANNEL) {     /* (addends, c) */
        x.a = t->count / n;
        x.b = n;
        x.keep_b = out;
        return x;
    }
    if (rule != PRUNE_CH_PRODUCE && l->kind != PRUNE_BATCHNORM) return x;
    if (t->role != PRUNE_WEIGHTS || l->kind == PRUNE_IMPLICIT) {
        x.a = n;
        x.inner = t->count / n;
        x.keep_a = out;
        return x;
    }
    x.inner = l->kind == PRUNE_CONNECTED ? p->in_area : kernel;
    if (l->kind == PRUNE_LOCAL) x.outer = (size_t)l->out_w * (size_t)l->out_h;
    bool out_last = l->kind == PRUNE_DECONVOLUTIONAL || (l->kind == PRUNE_CONNECTED && transposed) || (l->kind == PRUNE_CONVOLUTIONAL && l->flipped);
    if (out_last) {                      /* deconvolution (c, n, k, k); transposed: (c area, n); flipped: (c k k, n), with groups see put_flipped_groups */
        x.a = inputs / (size_t)l->groups;
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

/* flipped and grouped: (c/g k k, n). Row block r holds an input of every group: the r-th of the group, in the smaller file the r-th that stays. */
static enum prune_code put_flipped_groups(struct prune_stream *s, const float *data, const struct prune_layer *l, const struct prune_layer_plan *p, const struct flags *f,
                                          bool masked)
{
    size_t n = (size_t)l->out_c, kernel = (size_t)l->size * (size_t)l->size, ins = (size_t)l->c / (size_t)l->groups, outs = n / (size_t)l->groups;
    size_t groups = (size_t)(masked ? l->groups : p->groups), rows = masked ? ins : p->in_count / groups;
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < rows * kernel * groups; i++) {
        size_t r = i / (kernel * groups), k = i / groups % kernel, at = i % groups * rows + r, in = masked ? at : (size_t)p->in_keep[at], group = in / ins;
        struct prune_axes x = { .outer = 1, .a = 1, .mid = 1, .b = outs, .inner = 1 };
        x.keep_a = masked && f->in ? f->in + in : NULL;
        x.zero_a = masked;
        x.keep_b = !masked && f->out ? f->out + group * outs : NULL;
        rc = prune_stream_slice(s, data + (in % ins * kernel + k) * n + group * outs, &x);
    }
    return rc;
}

static void fill_flags(uint8_t *flags, size_t n, const int *keep, size_t count)
{
    memset(flags, 0, n);
    for (size_t i = 0; i < count; i++) flags[keep[i]] = 1;
}

static size_t input_channels(const struct prune_net *net, const struct prune_layer *l, const struct prune_layer_plan *p)
{
    if (!l->source_count) return 0;
    if (l->kind != PRUNE_CONNECTED) return (size_t)l->c;
    int s = l->sources[0];
    return (size_t)(s < 0 ? net->inputs : net->layers[s].outputs) / p->in_area;
}

static enum prune_code put_zeros(struct prune_stream *s, const float *data, size_t count)
{
    static const uint8_t goes = 0;
    return prune_stream_slice(s, data, &(struct prune_axes){ .outer = 1, .a = 1, .mid = 1, .b = 1, .inner = count, .keep_a = &goes, .zero_a = true });
}

static enum prune_code put_layer_tensor(struct prune_stream *s, const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights_tensor *t, bool masked)
{
    const struct prune_layer *l = &net->layers[t->layer];
    const struct prune_layer_plan *p = &plan->layers[t->layer];
    if (masked && p->silent && t->role != PRUNE_MEAN && t->role != PRUNE_VARIANCE) return put_zeros(s, prune_weights_data(s->in, t), t->count);
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
        struct prune_axes x = describe(t, l, p, &f, ins, s->in->header.transposed, masked);
        if (x.outer * x.a * x.mid * x.b * x.inner != t->count)
            rc = some_in || some_out ? prune_fail(s->st, "layer %d: a stored tensor of %zu values does not fit the layer", t->layer, t->count) : PRUNE_OK;
        if (!some_in && !some_out) x = (struct prune_axes){ .outer = 1, .a = t->count, .mid = 1, .b = 1, .inner = 1 };
        bool scattered = l->flipped && l->groups > 1 && t->role == PRUNE_WEIGHTS && (some_in || some_out);
        if (!rc && scattered) rc = put_flipped_groups(s, prune_weights_data(s->in, t), l, p, &f, masked);
        else if (!rc && x.b == 1 && x.inner == 1 && x.mid == 1 && !x.keep_a && !x.keep_b) rc = prune_stream_copy(s, prune_weights_data(s->in, t), t->count);
        else if (!rc) rc = prune_stream_slice(s, prune_weights_data(s->in, t), &x);
    }
    free(f.in);
    free(f.out);
    return rc;
}

static enum prune_code write_file(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, bool masked, struct prune_status *st)
{
    if (prune_same_file(in->path, path)) return prune_fail(st, "'%s' is an input and would be overwritten; choose another folder", path);
    struct prune_stream s;
    enum prune_code rc = prune_stream_open(&s, in, path, st);
    for (size_t i = 0; !rc && i < in->layout.count; i++) rc = put_layer_tensor(&s, plan, net, &in->layout.tensors[i], masked);
    return prune_stream_close(&s, rc);
}

enum prune_code prune_rewrite_weights(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, struct prune_status *st)
{
    return write_file(plan, net, in, path, false, st);
}

enum prune_code prune_rewrite_masked(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, struct prune_status *st)
{
    return write_file(plan, net, in, path, true, st);
}
