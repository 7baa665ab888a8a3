/* Layers that read the layer before, and the bricks of the generator; see graph_steps.h. */
#include "graph_steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct graph_section *add(struct maker *m, const char *name)
{
    if (m->g->count >= GRAPH_SECTIONS) abort();
    const struct graph_section *before = last(m);
    struct graph_section *s = &m->g->sections[m->g->count++];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->w = before->w;
    s->h = before->h;
    s->c = before->c;
    s->flat = before->flat;
    return s;
}

static struct graph_option *option(struct graph_section *s, const char *key)
{
    if (s->count == GRAPH_OPTIONS) abort();
    struct graph_option *o = &s->options[s->count++];
    memset(o, 0, sizeof *o);
    snprintf(o->key, sizeof o->key, "%s", key);
    return o;
}

void set(struct graph_section *s, const char *key, const char *format, ...)
{
    struct graph_option *o = option(s, key);
    va_list args;
    va_start(args, format);
    vsnprintf(o->value, sizeof o->value, format, args);
    va_end(args);
}

void set_refs(struct maker *m, struct graph_section *s, const char *key, const int *refs, int count)
{
    struct graph_option *o = option(s, key);
    o->ref_count = count;
    for (int i = 0; i < count; i++) {
        o->refs[i] = refs[i];
        o->relative[i] = chance(m, .6);
    }
}

void set_ref(struct maker *m, struct graph_section *s, const char *key, int ref) { set_refs(m, s, key, &ref, 1); }

const char *activation(struct maker *m)
{
    static const char *const both[] = {"leaky", "relu", "linear", "leaky", "relu", "linear", "tanh", "elu", "hardtan", "ramp", "relie", "loggy", "stair", "lhtan", "selu",
                                       "logistic", "plse"};
    static const char *const theirs[] = {"mish", "swish", "mish", "swish", "hard_mish", "relu6", "gelu", "revleaky", "normalize_channels", "norm_chan",
                                         "normalize_channels_softmax", "norm_chan_softmax", "normalize_channels_softmax_maxval"};
    static const char *const tame[] = {"leaky", "relu", "linear", "logistic", "tanh", "mish", "swish"};
    if (m->g->tame) return tame[below(m, m->g->alexeyab ? 7 : 5)];
    if (!m->g->alexeyab || chance(m, .5)) return both[below(m, chance(m, .7) ? 6 : 17)];
    return theirs[below(m, chance(m, .85) ? 8 : 13)];
}

int random_filters(struct maker *m) { return between(m, 2, 12); }

int find_map(struct maker *m, int w, int h, int c)
{
    int found[GRAPH_SECTIONS], count = 0;
    for (int i = 0; i < layers(m); i++) {
        const struct graph_section *s = layer_at(m, i);
        if (!s->flat && !s->head && !s->unnumbered && s->w == w && s->h == h && (!c || s->c == c)) found[count++] = i;
    }
    return count ? found[below(m, count)] : -1;
}

static void common_keys(struct maker *m, struct graph_section *s)
{
    static const char *const keys[] = {"stopbackward", "learning_rate", "onlyforward", "clip", "smooth", "dont_update", "burnin_update", "train_only_bn"};
    if (m->g->tame) return;
    if (chance(m, .04)) set(s, keys[below(m, m->g->alexeyab ? 8 : 5)], "1");
    if (chance(m, .01)) set(s, chance(m, .5) ? "dontload" : "dontloadscales", "1");
}

/* ---- producers ---- */

static void blur_behind(struct maker *m, struct graph_section *s, int sharp_w, int sharp_h, int stride)
{
    int kind = between(m, 1, 2), lost = kind == 2;
    if (sharp_w <= lost || sharp_h <= lost) return;
    set(s, "antialiasing", "%d", kind);
    s->w = (sharp_w - 1 - lost) / stride + 1;
    s->h = (sharp_h - 1 - lost) / stride + 1;
    s->unnumbered = s->w != sharp_w || s->h != sharp_h;
}

/* Strides that differ, dilation, blur: AlexeyAB's. */
static void their_convolution(struct maker *m, struct graph_section *s, const struct graph_section *in, const struct convolution *c, int pad)
{
    int w = in->w, h = in->h, dice = below(m, 12);
    if (dice == 0 && c->size == 3 && pad == 1) set(s, "dilation", "2");
    if (dice == 1) {
        set(s, "stride_x", "2");
        s->w = (w + 2 * pad - c->size) / 2 + 1;
    } else if (dice == 2) {
        set(s, "stride_y", "2");
        s->h = (h + 2 * pad - c->size) / 2 + 1;
    } else if (dice == 3) blur_behind(m, s, w + 2 * pad - c->size + 1, h + 2 * pad - c->size + 1, c->stride);
    if (chance(m, .03)) set(s, "assisted_excitation", "100");
}

struct graph_section *convolve(struct maker *m, struct convolution c)
{
    struct graph_section in = *last(m), *s = add(m, "convolutional");
    int pad = c.size / 2;
    if (chance(m, .1) && in.w > c.size && in.h > c.size) pad = 0;
    if (chance(m, .6)) set(s, m->g->alexeyab && !m->g->tame && chance(m, .05) ? "cbn" : "batch_normalize", m->g->alexeyab && !m->g->tame && chance(m, .1) ? "2" : "1");
    set(s, "filters", "%d", c.filters);
    if (c.size != 1 || m->g->tame || chance(m, .8)) set(s, "size", "%d", c.size);
    if (c.stride != 1 || chance(m, .8)) set(s, "stride", "%d", c.stride);
    if (pad && pad == c.size / 2 && chance(m, .8)) set(s, "pad", "1");
    else if (pad || chance(m, .2)) set(s, "padding", "%d", pad);
    if (c.groups > 1) set(s, "groups", "%d", c.groups);
    set(s, "activation", "%s", c.activation ? c.activation : activation(m));
    if (c.groups == 1 && !m->g->tame && chance(m, .03)) set(s, "flipped", "1");
    s->c = c.filters;
    s->w = (in.w + 2 * pad - c.size) / c.stride + 1;
    s->h = (in.h + 2 * pad - c.size) / c.stride + 1;
    if (m->g->alexeyab && !m->g->tame && !c.activation) their_convolution(m, s, &in, &c, pad);
    common_keys(m, s);
    if (!m->g->tame && chance(m, .01)) set(s, "numload", "%d", between(m, 1, c.filters));
    return s;
}

static int random_side(struct maker *m) { return last(m)->w >= 3 && last(m)->h >= 3 && chance(m, .5) ? 3 : 1; }

void convolution(struct maker *m)
{
    int size = random_side(m);
    convolve(m, (struct convolution){random_filters(m), size, chance(m, .15) ? 2 : 1, 1, NULL});
}

void depthwise(struct maker *m)
{
    int c = last(m)->c, times = chance(m, .6) ? 1 : between(m, 2, 3);
    if (c > 1 && c * times <= MOST_CHANNELS) convolve(m, (struct convolution){c * times, random_side(m), 1, c, NULL});
}

void grouped(struct maker *m)
{
    int c = last(m)->c, g = between(m, 2, 4);
    if (c % g == 0 && c > g) convolve(m, (struct convolution){g * between(m, 1, 4), random_side(m), 1, g, NULL});
}

/* Chained balance: grouped behind grouped. */
void grouped_chain(struct maker *m)
{
    int g = chance(m, .5) ? 2 : 4;
    convolve(m, (struct convolution){8 * between(m, 1, 2), random_side(m), 1, 1, NULL});
    convolve(m, (struct convolution){8, random_side(m), 1, g, NULL});
    convolve(m, (struct convolution){12, random_side(m), 1, chance(m, .5) ? g : 6 - g, NULL});
}

/* A convolution that uses the values of one before it. */
void shared(struct maker *m)
{
    for (int tries = 0; tries < 8; tries++) {
        int i = below(m, layers(m));
        const struct graph_section *from = layer_at(m, i);
        int in_c = i ? layer_at(m, i - 1)->c : m->g->sections[0].c;
        if (strcmp(from->name, "convolutional") || i == layers(m) - 1 || in_c != last(m)->c || last(m)->w < 3 || last(m)->h < 3) continue;
        struct graph_section copy = *from, in = *last(m), *s = add(m, "convolutional");
        int size = 1, pad = 0, kept = 0;
        for (int k = 0; k < copy.count; k++) {
            const struct graph_option *o = &copy.options[k];
            static const char *const wanted[] = {"batch_normalize", "cbn", "filters", "size", "groups"};
            for (int j = 0; j < 5; j++)
                if (!strcmp(o->key, wanted[j])) s->options[kept++] = *o;
            if (!strcmp(o->key, "size")) size = atoi(o->value);
            if (!strcmp(o->key, "share_index")) kept = -100;
        }
        if (kept < 0) {
            m->g->count--;
            continue;
        }
        s->count = kept;
        pad = size / 2;
        set(s, "pad", "1");
        set(s, "activation", "%s", activation(m));
        set_ref(m, s, "share_index", i);
        s->c = copy.c;
        s->w = in.w + 2 * pad - size + 1;
        s->h = in.h + 2 * pad - size + 1;
        return;
    }
}

void deconvolution(struct maker *m)
{
    struct graph_section in = *last(m);
    int size = between(m, 2, 4), padding = below(m, 2);
    if (in.h > 8 || in.w > 8) return;
    struct graph_section *s = add(m, "deconvolutional");
    s->c = random_filters(m);
    s->w = (in.w - 1) * 2 + size - 2 * padding;
    s->h = (in.h - 1) * 2 + size - 2 * padding;
    if (s->w < 1 || s->h < 1) {
        m->g->count--;
        return;
    }
    set(s, "filters", "%d", s->c);
    set(s, "size", "%d", size);
    set(s, "stride", "2");
    if (padding) set(s, "padding", "1");
    if (chance(m, .4)) set(s, "batch_normalize", "1");
    set(s, "activation", "%s", activation(m));
}

void local(struct maker *m)
{
    struct graph_section in = *last(m);
    if (in.h < 3 || in.w < 3 || in.w * in.h > 64) return;
    struct graph_section *s = add(m, "local");
    bool pad = chance(m, .6);
    s->c = between(m, 2, 6);
    set(s, "filters", "%d", s->c);
    set(s, "size", "3");
    set(s, "stride", "1");
    if (pad) set(s, "pad", "1");
    set(s, "activation", "%s", activation(m));
    s->w = in.w - (pad ? 0 : 2);
    s->h = in.h - (pad ? 0 : 2);
}

void connected(struct maker *m)
{
    struct graph_section *s = add(m, "connected");
    s->c = between(m, 3, 12);
    s->w = s->h = 1;
    s->flat = false;
    set(s, "output", "%d", s->c);
    set(s, "activation", "%s", activation(m));
    if (!m->g->tame && chance(m, .3)) set(s, "batch_normalize", "1");
}

/* ---- planes ---- */

void pool(struct maker *m)
{
    struct graph_section in = *last(m);
    int size = between(m, 2, 3), stride = between(m, 1, 2), padding = chance(m, .7) ? size - 1 : size == 3 ? 1 : 0;
    bool average = m->g->alexeyab && !m->g->tame && chance(m, .25);
    if (in.w < size || in.h < size) return;
    struct graph_section *s = add(m, average ? "local_avgpool" : "maxpool");
    if (size != stride || chance(m, .5)) set(s, "size", "%d", size);
    set(s, "stride", "%d", stride);
    if (padding != size - 1) set(s, "padding", "%d", padding);
    s->w = (in.w + padding - size) / stride + 1;
    s->h = (in.h + padding - size) / stride + 1;
    if (!m->g->alexeyab || m->g->tame) return;
    if (chance(m, .1)) {
        set(s, "stride_x", "%d", 3 - stride);
        s->w = (in.w + padding - size) / (3 - stride) + 1;
    } else if (chance(m, .1)) {
        set(s, "stride_y", "%d", 3 - stride);
        s->h = (in.h + padding - size) / (3 - stride) + 1;
    } else if (!average && chance(m, .15)) blur_behind(m, s, in.w + padding - size + 1, in.h + padding - size + 1, stride);
    if (!average && chance(m, .05)) set(s, "maxpool_zero_nonmax", "1");
}

void pool_depth(struct maker *m)
{
    int c = last(m)->c;
    struct graph_section *s = add(m, "maxpool");
    s->c = between(m, 1, c);
    set(s, "maxpool_depth", "1");
    set(s, "out_channels", "%d", s->c);
    set(s, "size", "1");
    set(s, "stride", "1");
}

void upsample(struct maker *m)
{
    struct graph_section in = *last(m);
    bool shrink = !m->g->tame && chance(m, .2);
    if (shrink ? in.w % 2 || in.h % 2 : in.w > 8 || in.h > 8) return;
    struct graph_section *s = add(m, "upsample");
    set(s, "stride", shrink ? "-2" : "2");
    if (!m->g->tame && chance(m, .3)) set(s, "scale", "%g", .25 * between(m, 1, 8));
    s->w = shrink ? in.w / 2 : 2 * in.w;
    s->h = shrink ? in.h / 2 : 2 * in.h;
}

void reorg(struct maker *m)
{
    if (last(m)->w % 2 || last(m)->h % 2 || last(m)->c > 12) return;
    if (last(m)->c % 4) convolve(m, (struct convolution){chance(m, .5) ? 4 : 8, 1, 1, 1, "linear"});
    if (last(m)->w % 2 || last(m)->h % 2) return;
    struct graph_section in = *last(m), *s = add(m, "reorg");
    set(s, "stride", "2");
    int dice = m->g->tame ? 9 : below(m, 10);
    if (dice == 0) {
        set(s, "reverse", "1");
        s->w = 2 * in.w;
        s->h = 2 * in.h;
        s->c = in.c / 4;
        return;
    }
    if (dice == 1 && !m->g->alexeyab) set(s, "flatten", "1");
    if (dice == 2 && !m->g->alexeyab) set(s, "extra", "3");
    s->w = in.w / 2;
    s->h = in.h / 2;
    s->c = 4 * in.c;
    if (dice != 2 || m->g->alexeyab) return;
    s->c = in.w * in.h * in.c + 3;
    s->w = s->h = 1;
    s->flat = true;
    connected(m);
}

void reorg3d(struct maker *m)
{
    struct graph_section in = *last(m);
    if (in.w % 2 || in.h % 2 || in.c > 12) return;
    struct graph_section *s = add(m, "reorg3d");
    set(s, "stride", "2");
    s->w = in.w / 2;
    s->h = in.h / 2;
    s->c = 4 * in.c;
}

void simple(struct maker *m)
{
    static const char *const kinds[] = {"batchnorm", "activation", "dropout", "empty"};
    const char *kind = kinds[below(m, m->g->alexeyab ? 4 : 3)];
    struct graph_section *s = add(m, kind);
    if (!strcmp(kind, "activation")) set(s, "activation", "%s", activation(m));
    if (!strcmp(kind, "dropout")) set(s, "probability", ".5");
    if (!strcmp(kind, "dropout") && m->g->alexeyab && chance(m, .5)) {
        set(s, "dropblock", "1");
        set(s, chance(m, .5) ? "dropblock_size_rel" : "dropblock_size_abs", chance(m, .5) ? "1" : "2");
    }
}

void avgpool(struct maker *m)
{
    struct graph_section *s = add(m, "avgpool");
    s->w = s->h = 1;
}
