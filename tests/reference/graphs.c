/* The generator of random graphs; see graphs.h. Each step appends a few sections that fit what is there; maps have 1 to 16 pixels a side and mostly at most
 * 12 channels. A step that does not fit does nothing. */
#include "graphs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kinds.h"

struct maker { struct graph *g; struct prune_random r; };
enum { MOST_CHANNELS = 48, ROOM_FOR_ENDS = 24 };

static int below(struct maker *m, int n) { return (int)prune_random_below(&m->r, (uint64_t)n); }
static int between(struct maker *m, int low, int high) { return low + below(m, high - low + 1); }
static bool chance(struct maker *m, double p) { return prune_random_uniform(&m->r) < p; }

/* ---- building blocks ---- */

static int layers(const struct maker *m) { return m->g->count - 1; }
static struct graph_section *layer_at(const struct maker *m, int i) { return &m->g->sections[i + 1]; }
static struct graph_section *last(const struct maker *m) { return &m->g->sections[m->g->count - 1]; }      /* [net] gives the input */

static struct graph_section *add(struct maker *m, const char *name)
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

static void set(struct graph_section *s, const char *key, const char *format, ...) PRUNE_PRINTF(3, 4);
static void set(struct graph_section *s, const char *key, const char *format, ...)
{
    struct graph_option *o = option(s, key);
    va_list args;
    va_start(args, format);
    vsnprintf(o->value, sizeof o->value, format, args);
    va_end(args);
}

static void set_refs(struct maker *m, struct graph_section *s, const char *key, const int *refs, int count)
{
    struct graph_option *o = option(s, key);
    o->ref_count = count;
    for (int i = 0; i < count; i++) {
        o->refs[i] = refs[i];
        o->relative[i] = chance(m, .6);
    }
}

static void set_ref(struct maker *m, struct graph_section *s, const char *key, int ref) { set_refs(m, s, key, &ref, 1); }

static const char *activation(struct maker *m)
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

static int random_filters(struct maker *m) { return between(m, 2, 12); }

/* Any layer whose map has this size (channels 0: any number) and may be named; -1: none. */
static int find_map(struct maker *m, int w, int h, int c)
{
    int found[GRAPH_SECTIONS], count = 0;
    for (int i = 0; i < layers(m); i++) {
        const struct graph_section *s = layer_at(m, i);
        if (!s->flat && !s->head && !s->unnumbered && s->w == w && s->h == h && (!c || s->c == c)) found[count++] = i;
    }
    return count ? found[below(m, count)] : -1;
}

static bool is_map(const struct maker *m) { return !last(m)->flat && !last(m)->head; }

static void common_keys(struct maker *m, struct graph_section *s)
{
    static const char *const keys[] = {"stopbackward", "learning_rate", "onlyforward", "clip", "smooth", "dont_update", "burnin_update", "train_only_bn"};
    if (m->g->tame) return;
    if (chance(m, .04)) set(s, keys[below(m, m->g->alexeyab ? 8 : 5)], "1");
    if (chance(m, .01)) set(s, chance(m, .5) ? "dontload" : "dontloadscales", "1");
}

/* ---- producers ---- */

struct convolution { int filters, size, stride, groups; const char *activation; };

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

static struct graph_section *convolve(struct maker *m, struct convolution c)
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

static void convolution(struct maker *m)
{
    int size = random_side(m);
    convolve(m, (struct convolution){random_filters(m), size, chance(m, .15) ? 2 : 1, 1, NULL});
}

static void depthwise(struct maker *m)
{
    int c = last(m)->c, times = chance(m, .6) ? 1 : between(m, 2, 3);
    if (c > 1 && c * times <= MOST_CHANNELS) convolve(m, (struct convolution){c * times, random_side(m), 1, c, NULL});
}

static void grouped(struct maker *m)
{
    int c = last(m)->c, g = between(m, 2, 4);
    if (c % g == 0 && c > g) convolve(m, (struct convolution){g * between(m, 1, 4), random_side(m), 1, g, NULL});
}

/* Chained balance: grouped behind grouped. */
static void grouped_chain(struct maker *m)
{
    int g = chance(m, .5) ? 2 : 4;
    convolve(m, (struct convolution){8 * between(m, 1, 2), random_side(m), 1, 1, NULL});
    convolve(m, (struct convolution){8, random_side(m), 1, g, NULL});
    convolve(m, (struct convolution){12, random_side(m), 1, chance(m, .5) ? g : 6 - g, NULL});
}

/* A convolution that uses the values of one before it. */
static void shared(struct maker *m)
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

static void deconvolution(struct maker *m)
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

static void local(struct maker *m)
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

static void connected(struct maker *m)
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

static void pool(struct maker *m)
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

static void pool_depth(struct maker *m)
{
    int c = last(m)->c;
    struct graph_section *s = add(m, "maxpool");
    s->c = between(m, 1, c);
    set(s, "maxpool_depth", "1");
    set(s, "out_channels", "%d", s->c);
    set(s, "size", "1");
    set(s, "stride", "1");
}

static void upsample(struct maker *m)
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

static void reorg(struct maker *m)
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
    if (dice == 1) set(s, "flatten", "1");
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

static void reorg3d(struct maker *m)
{
    struct graph_section in = *last(m);
    if (in.w % 2 || in.h % 2 || in.c > 12) return;
    struct graph_section *s = add(m, "reorg3d");
    set(s, "stride", "2");
    s->w = in.w / 2;
    s->h = in.h / 2;
    s->c = 4 * in.c;
}

static void simple(struct maker *m)
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

static void avgpool(struct maker *m)
{
    struct graph_section *s = add(m, "avgpool");
    s->w = s->h = 1;
}

/* ---- joins ---- */

static void shortcut(struct maker *m)
{
    struct graph_section in = *last(m);
    int found[GRAPH_SECTIONS], count = 0;
    for (int i = 0; i < layers(m) - 1; i++) {
        const struct graph_section *s = layer_at(m, i);
        bool same = s->w == in.w && s->h == in.h, strided = s->w * in.h == s->h * in.w && (in.h % s->h == 0 || s->h % in.h == 0);
        if (!s->flat && !s->head && !s->unnumbered && (same || (strided && !m->g->tame && chance(m, m->g->alexeyab ? .03 : .5)))) found[count++] = i;
    }
    if (!count) return;
    int refs[3] = {found[below(m, count)]}, n = 1;
    bool same = layer_at(m, refs[0])->w == in.w && layer_at(m, refs[0])->h == in.h;
    if (m->g->alexeyab && same && !m->g->tame)
        for (; n < 3 && chance(m, .3); n++)
            if ((refs[n] = find_map(m, in.w, in.h, 0)) < 0) break;
    struct graph_section *s = add(m, "shortcut");
    set_refs(m, s, m->g->alexeyab && n > 1 && chance(m, .2) ? "layers" : "from", refs, n);
    if (chance(m, .8)) set(s, "activation", "%s", chance(m, .6) ? "linear" : activation(m));
    if (m->g->alexeyab && same && !m->g->tame && chance(m, .3)) {
        static const char *const types[] = {"per_feature", "per_layer", "per_channel", "per_channel"}, *const rules[] = {"none", "relu", "avg_relu", "softmax"};
        set(s, "weights_type", "%s", types[below(m, 4)]);
        if (chance(m, .7)) set(s, "weights_normalization", "%s", rules[below(m, 4)]);
    }
    if (!m->g->alexeyab && !m->g->tame && chance(m, .1)) {
        set(s, "alpha", ".5");
        set(s, "beta", "1.5");
    }
}

static void route(struct maker *m)
{
    int i = below(m, layers(m)), refs[GRAPH_REFS], n = 0, sum = 0, groups = m->g->alexeyab && chance(m, .45) ? between(m, 2, 4) : 1;
    const struct graph_section *first = layer_at(m, i);
    if (first->flat || first->head || first->unnumbered) return;
    for (int tries = m->g->tame && groups > 1 ? 1 : between(m, 1, 4); tries > 0; tries--) {
        int k = n && chance(m, .15) ? refs[0] : n ? find_map(m, first->w, first->h, 0) : i;
        if (k < 0 || layer_at(m, k)->c % groups || sum + layer_at(m, k)->c / groups > MOST_CHANNELS) continue;
        refs[n++] = k;
        sum += layer_at(m, k)->c / groups;
    }
    if (!n) return;
    int w = first->w, h = first->h;
    struct graph_section *s = add(m, "route");
    set_refs(m, s, "layers", refs, n);
    if (groups > 1) set(s, "groups", "%d", groups);
    if (groups > 1) set(s, "group_id", "%d", below(m, groups));
    s->w = w;
    s->h = h;
    s->c = sum;
    s->flat = false;
}

/* Back to one layer, so that what follows does not read the side branch. */
static void go_to(struct maker *m, int layer)
{
    struct graph_section to = *layer_at(m, layer), *s = add(m, "route");
    set_ref(m, s, "layers", layer);
    s->w = to.w;
    s->h = to.h;
    s->c = to.c;
    s->flat = to.flat;
}

/* Maps of different size side by side: a flat vector; a connected layer makes it a map again. */
static void flat_route(struct maker *m)
{
    int a = below(m, layers(m)), b = below(m, layers(m));
    const struct graph_section *one = layer_at(m, a), *two = layer_at(m, b);
    if (one->head || two->head || one->unnumbered || two->unnumbered || (one->w == two->w && one->h == two->h)) return;
    int inputs = one->w * one->h * one->c + two->w * two->h * two->c, refs[2] = {a, b};
    if (inputs > 600) return;
    struct graph_section *s = add(m, "route");
    set_refs(m, s, "layers", refs, 2);
    s->w = s->h = 1;
    s->c = inputs;
    s->flat = true;
    connected(m);
}

static void squeeze_and_excite(struct maker *m)
{
    struct graph_section from = *last(m);
    int at = layers(m) - 1;
    if (at < 0 || from.unnumbered) return;
    avgpool(m);
    if (chance(m, .7)) convolve(m, (struct convolution){between(m, 1, 6), 1, 1, 1, chance(m, .5) ? "swish" : "relu"});
    convolve(m, (struct convolution){from.c, 1, 1, 1, chance(m, .7) ? "logistic" : activation(m)});
    struct graph_section *s = add(m, "scale_channels");
    set_ref(m, s, "from", at);
    if (!m->g->tame && chance(m, .3)) set(s, "activation", "%s", activation(m));
    s->w = from.w;
    s->h = from.h;
}

static void scale_by_map(struct maker *m)
{
    struct graph_section from = *last(m);
    int at = layers(m) - 1;
    if (at < 0 || from.unnumbered) return;
    convolve(m, (struct convolution){1, 1, 1, 1, "logistic"});
    if (last(m)->w != from.w || last(m)->h != from.h) return;
    struct graph_section *s = add(m, "scale_channels");
    set_ref(m, s, "from", at);
    set(s, "scale_wh", "1");
    s->c = from.c;
}

static void sam(struct maker *m)
{
    struct graph_section from = *last(m);
    int at = layers(m) - 1;
    if (at < 0 || from.unnumbered) return;
    convolve(m, (struct convolution){from.c, 1, 1, 1, chance(m, .6) ? "logistic" : activation(m)});
    if (last(m)->w != from.w || last(m)->h != from.h) return;
    struct graph_section *s = add(m, "sam");
    set_ref(m, s, "from", at);
    if (!m->g->tame && chance(m, .3)) set(s, "activation", "%s", activation(m));
}

/* A learnt vector, as factor of a map or as start of a branch. */
static void implicit(struct maker *m)
{
    struct graph_section from = *last(m);
    int at = layers(m) - 1;
    if (at < 0 || from.unnumbered) return;
    struct graph_section *s = add(m, "implicit");
    bool factor = chance(m, .6);
    int atoms = factor || chance(m, .5) ? 1 : between(m, 2, 3);
    s->c = factor ? from.c : random_filters(m);
    s->w = 1;
    s->h = atoms;
    set(s, "filters", "%d", s->c);
    if (atoms > 1 || chance(m, .3)) set(s, "atoms", "%d", atoms);
    if (chance(m, .3)) set(s, "mean", "0.5");
    if (!factor) {
        if (chance(m, .6)) convolve(m, (struct convolution){random_filters(m), 1, 1, 1, NULL});
        return;
    }
    s = add(m, "scale_channels");
    set_ref(m, s, "from", at);
    s->w = from.w;
    s->h = from.h;
}

/* ---- what keeps all its channels ---- */

static void normalize(struct maker *m)
{
    bool l2 = !m->g->alexeyab && chance(m, .5);
    struct graph_section *s = add(m, l2 ? "l2norm" : "normalization");
    if (l2) return;
    set(s, "size", "%d", between(m, 1, 2) * 2 + 1);
    set(s, "alpha", ".000001");     /* the host's running sum misses a channel, and becomes negative where values are large */
    if (chance(m, .5)) set(s, "beta", ".5");
    if (chance(m, .5)) set(s, "kappa", "2");
}

static void recurrent_map(struct maker *m)
{
    bool history = m->g->alexeyab && chance(m, .3), lstm = m->g->alexeyab && !history && chance(m, .5);
    struct graph_section *s = add(m, history ? "history" : lstm ? "conv_lstm" : "crnn");
    int n = between(m, 2, 5), c = s->c;
    if (history) {
        set(s, "history_size", "2");
        s->c = 2 * c;
        return;
    }
    s->c = n;
    if (m->g->alexeyab) {
        set(s, "output", "%d", n);
        set(s, "size", "3");
        set(s, "pad", "1");
        if (!lstm) set(s, "hidden", "%d", between(m, 2, 4));
        if (lstm && chance(m, .4)) set(s, "peephole", "1");
        if (lstm && chance(m, .3)) set(s, "bottleneck", "1");
    } else {
        set(s, "output_filters", "%d", n);
        set(s, "hidden_filters", "%d", between(m, 2, 4));
    }
    set(s, "activation", "%s", chance(m, .5) ? "leaky" : "tanh");
    if (chance(m, .5)) set(s, "batch_normalize", "1");
}

static void recurrent(struct maker *m)
{
    static const char *const kinds[] = {"rnn", "lstm", "gru"};
    int back = layers(m) - 1, kind = below(m, 5);
    if (kind > 2 || last(m)->w * last(m)->h * last(m)->c > 800) {
        if (last(m)->c <= 16) recurrent_map(m);
        return;
    }
    struct graph_section *s = add(m, kinds[kind]);
    s->c = between(m, 2, 5);
    s->w = s->h = 1;
    s->flat = true;
    set(s, "output", "%d", s->c);
    if (kind == 0) set(s, "activation", "tanh");
    if (kind == 0 && chance(m, .3)) set(s, "hidden", "3");
    if (kind == 2 && chance(m, .5)) set(s, "tanh", "1");
    if (chance(m, .4)) set(s, "batch_normalize", "1");
    if (chance(m, .5) || back < 0 || layer_at(m, back)->unnumbered) connected(m);
    else go_to(m, back);
}

/* ---- heads ---- */

static void head_of_boxes(struct maker *m, const char *kind, int per_anchor)
{
    int classes = between(m, 1, 3), anchors = between(m, 1, 2);
    convolve(m, (struct convolution){(classes + per_anchor) * anchors, 1, 1, 1, "linear"});
    struct graph_section *s = add(m, kind);
    bool region = !strcmp(kind, "region"), masked = !region && (m->g->tame || chance(m, .6));
    if (masked) set(s, "mask", anchors == 2 ? "0,2" : "1");
    set(s, "anchors", "%s", masked ? "1,2, 3,4, 5,6" : anchors == 2 ? "1.5,2,3,4" : "1,2");
    set(s, "classes", "%d", classes);
    set(s, "num", "%d", masked ? 3 : anchors);
    if (region && chance(m, .5)) set(s, "coords", "4");
    if (region && m->g->tame) set(s, "softmax", "1");
    s->head = true;
    if (strcmp(kind, "yolo") || !m->g->alexeyab) return;
    int c = find_map(m, s->w, s->h, 0);
    if (c >= 0 && layer_at(m, c)->c % anchors == 0 && !layer_at(m, c)->head && !m->g->tame && chance(m, .3)) set_ref(m, s, "embedding_layer", c);
}

static void classifier(struct maker *m)
{
    if (chance(m, .4)) avgpool(m);
    if (chance(m, .5)) connected(m);
    convolve(m, (struct convolution){5, 1, 1, 1, "linear"});
    if (chance(m, .2)) return;
    if (!m->g->alexeyab && !m->g->tame && chance(m, .3)) add(m, "logistic");
    struct graph_section *s = add(m, "softmax");
    s->c *= s->w * s->h;
    s->w = s->h = 1;
    s->flat = true;
    if (chance(m, .3)) s = add(m, "cost");
    s->head = true;
}

static void detection(struct maker *m)
{
    connected(m);
    struct graph_section *s = last(m);
    s->c = 2 * 2 * (5 + 2);
    snprintf(s->options[0].value, sizeof s->options[0].value, "%d", s->c);
    s = add(m, "detection");
    set(s, "classes", "2");
    set(s, "coords", "4");
    set(s, "num", "1");
    set(s, "side", "2");
    s->head = true;
}

static void instance_head(struct maker *m)
{
    convolve(m, (struct convolution){5, 1, 1, 1, "linear"});
    struct graph_section *s = add(m, m->g->alexeyab ? "contrastive" : "iseg");
    set(s, "classes", "%d", 2);
    if (!m->g->alexeyab) set(s, "ids", "3");
    for (int i = 0; m->g->alexeyab && i < layers(m); i++)
        if (i && !strcmp(layer_at(m, i)->name, "yolo") && !s->options[1].key[0]) set_ref(m, s, "yolo_layer", i);
    s->head = true;
}

static void head(struct maker *m)
{
    int dice = below(m, m->g->tame && chance(m, .9) ? 4 : 8);
    if (dice < 3) head_of_boxes(m, "yolo", 5);
    else if (dice == 3) head_of_boxes(m, "region", 5);
    else if (dice == 4 && m->g->alexeyab) head_of_boxes(m, "Gaussian_yolo", 9);
    else if (dice == 5) instance_head(m);
    else if (dice == 6 && last(m)->w * last(m)->h * last(m)->c < 1500) detection(m);
    else classifier(m);
}

static void heads(struct maker *m)
{
    for (int more = chance(m, .35) ? 2 : 1; more > 0; more--) {
        head(m);
        if (more == 1 || !last(m)->head) return;
        int back = below(m, layers(m));
        if (layer_at(m, back)->head || layer_at(m, back)->flat || layer_at(m, back)->unnumbered) return;
        go_to(m, back);
    }
}

/* ---- the whole ---- */

/* weights for pjreddie's, AlexeyAB's and tame graphs */
static const struct step { void (*make)(struct maker *); int ours, theirs, tame; } steps[] = {
    {convolution, 12, 12, 36}, {depthwise, 4, 4, 12}, {grouped, 6, 6, 18}, {grouped_chain, 2, 2, 6}, {shortcut, 8, 8, 24}, {route, 8, 10, 30}, {pool, 4, 6, 12},
    {upsample, 4, 4, 12}, {reorg, 2, 2, 6}, {simple, 4, 4, 1}, {normalize, 2, 2, 0}, {deconvolution, 2, 0, 0}, {local, 2, 2, 1}, {connected, 2, 2, 1},
    {flat_route, 2, 2, 0}, {recurrent, 2, 2, 1}, {pool_depth, 0, 2, 0}, {reorg3d, 0, 2, 1}, {squeeze_and_excite, 0, 4, 12}, {scale_by_map, 0, 2, 0}, {sam, 0, 4, 12},
    {implicit, 0, 2, 1}, {shared, 0, 4, 0}};

static int weight_of(const struct maker *m, const struct step *s)
{
    int weight = m->g->alexeyab ? s->theirs : s->ours;
    return m->g->tame && weight ? s->tame : weight;
}

static void random_step(struct maker *m)
{
    int sum = 0, n = (int)(sizeof steps / sizeof *steps);
    for (int i = 0; i < n; i++) sum += weight_of(m, &steps[i]);
    int dice = below(m, sum);
    for (int i = 0; i < n; i++)
        if ((dice -= weight_of(m, &steps[i])) < 0) {
            steps[i].make(m);
            return;
        }
}

static void start(struct maker *m)
{
    struct graph_section *s = &m->g->sections[0];
    m->g->count = 1;
    snprintf(s->name, sizeof s->name, "net");
    s->w = 4 * between(m, 2, 4);
    s->h = chance(m, .7) ? s->w : 4 * between(m, 2, 4);
    s->c = between(m, 1, 4);
    set(s, "batch", "1");
    set(s, "subdivisions", "1");
    set(s, "width", "%d", s->w);
    set(s, "height", "%d", s->h);
    set(s, "channels", "%d", s->c);
    set(s, "learning_rate", "0.1");
    if (!m->g->tame && chance(m, .05)) {
        struct graph_section in = *s;
        s = add(m, "crop");
        s->w = in.w - 2;
        s->h = in.h - 4;
        set(s, "crop_width", "%d", s->w);
        set(s, "crop_height", "%d", s->h);
        if (chance(m, .5)) set(s, "noadjust", "1");
    }
    convolve(m, (struct convolution){random_filters(m), 3, 1, 1, m->g->alexeyab ? (chance(m, .5) ? "mish" : "swish") : NULL});
}

struct graph *graph_make(uint64_t seed, bool tame)
{
    struct graph *g = ref_alloc(1, sizeof *g);
    struct maker m = {.g = g, .r = prune_random_make(seed, 20, 0)};
    g->seed = seed;
    g->tame = tame;
    g->alexeyab = chance(&m, .5);
    start(&m);
    for (int n = between(&m, 4, 20); n > 0 && g->count < GRAPH_SECTIONS - ROOM_FOR_ENDS; n--)
        if (is_map(&m)) random_step(&m);
    heads(&m);
    return g;
}
