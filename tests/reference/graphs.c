/* The generator of random graphs; see graphs.h. Each step appends a few sections that fit what is there; maps have 1 to 16 pixels a side and mostly at most
 * 12 channels. A step that does not fit does nothing. Here: what reads several layers, what keeps all channels, heads, and the whole. */
#include "graphs.h"

#include <stdio.h>
#include <string.h>

#include "graph_steps.h"

static bool is_map(const struct maker *m) { return !last(m)->flat && !last(m)->head; }

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

static void segments(struct maker *m)
{
    convolve(m, (struct convolution){5, 1, 1, 1, "linear"});
    struct graph_section *s = add(m, "iseg");
    set(s, "classes", "2");
    set(s, "ids", "3");
    s->head = true;
}

/* Reads any map, and names a yolo layer before it. */
static void contrastive(struct maker *m)
{
    head_of_boxes(m, "yolo", 5);
    int yolo = layers(m) - 1, back = below(m, yolo);
    if (layer_at(m, back)->head || layer_at(m, back)->flat || layer_at(m, back)->unnumbered) return;
    go_to(m, back);
    convolve(m, (struct convolution){5, 1, 1, 1, "linear"});
    struct graph_section *s = add(m, "contrastive");
    set(s, "classes", "2");
    set_ref(m, s, "yolo_layer", yolo);
    s->head = true;
}

static void head(struct maker *m)
{
    int dice = below(m, m->g->tame && chance(m, .9) ? 4 : 8);
    if (dice < 3) head_of_boxes(m, "yolo", 5);
    else if (dice == 3) head_of_boxes(m, "region", 5);
    else if (dice == 4 && m->g->alexeyab) head_of_boxes(m, "Gaussian_yolo", 9);
    else if (dice == 5) (m->g->alexeyab ? contrastive : segments)(m);
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
