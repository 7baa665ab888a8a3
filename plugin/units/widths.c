/* Widths; see widths.h. One walk over the layers with, for each output channel, the layer that makes it (or the one its group is known by), and a
 * union-find over layers. Node `layer_count` is the network's input. Time and memory are linear in channels. */
#include "widths.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "channel_graph.h"

struct walk {
    const struct prune_net *net;
    int *parent;                         /* union-find over layers */
    int **made_by;                       /* [layer + 1][channel] */
    size_t *count;                       /* [layer + 1] */
};

static size_t slot(const struct walk *w, int layer)
{
    return layer < 0 ? w->net->layer_count : (size_t)layer;
}

static void unite(struct walk *w, int a, int b)
{
    a = prune_union_root(w->parent, a);
    b = prune_union_root(w->parent, b);
    if (a < b) w->parent[b] = a;
    else w->parent[a] = b;
}

/* Channels of two vectors of one width change together. */
static void tie(struct walk *w, size_t a, size_t b)
{
    for (size_t i = 0; w->count[a] == w->count[b] && i < w->count[a]; i++) unite(w, w->made_by[a][i], w->made_by[b][i]);
}

/* All channels of the vector change together. */
static void tie_all(struct walk *w, size_t node)
{
    for (size_t i = 1; i < w->count[node]; i++) unite(w, w->made_by[node][0], w->made_by[node][i]);
}

static enum prune_code new_vector(struct walk *w, size_t node, size_t count, struct prune_status *st)
{
    w->made_by[node] = malloc((count + 1) * sizeof **w->made_by);
    if (!w->made_by[node]) return prune_fail_memory(st, count * sizeof **w->made_by, "widths of a layer");
    w->count[node] = count;
    for (size_t i = 0; i < count; i++) w->made_by[node][i] = (int)node;
    return PRUNE_OK;
}

static void produce(struct walk *w, const struct prune_layer *l)
{
    size_t in = l->source_count ? slot(w, l->sources[0]) : 0;
    if (l->source_count && l->groups > 1) {
        tie_all(w, in);
        unite(w, w->made_by[in][0], l->index);
    }
    if (l->share < 0) return;
    unite(w, l->index, l->share);
    tie(w, in, slot(w, w->net->layers[l->share].sources[0]));
}

/* Of each source its slice; where slices begin follows from all its channels. Where that is not the output (maps of different size: fixed by the
 * units) the layer stands for itself. */
static void join(struct walk *w, const struct prune_layer *l)
{
    size_t sum = 0, groups = (size_t)l->groups;
    for (size_t k = 0; k < l->source_count; k++) sum += w->count[slot(w, l->sources[k])] / groups;
    int *out = w->made_by[l->index];
    for (size_t k = 0; sum == (size_t)l->out_c && k < l->source_count; k++) {
        size_t in = slot(w, l->sources[k]), n = w->count[in] / groups;
        if (groups > 1) tie_all(w, in);
        memcpy(out, w->made_by[in], n * sizeof *out);
        out += n;
    }
}

/* Output channels follow the input's in proportion: pooling, flattening, reorg in both directions. */
static void pass(struct walk *w, const struct prune_layer *l, size_t in)
{
    size_t n = w->count[in], out = (size_t)l->out_c;
    for (size_t i = 0; n && i < out; i++) w->made_by[l->index][i] = w->made_by[in][(size_t)((uint64_t)i * n / out)];
}

static void walk_layer(struct walk *w, const struct prune_layer *l)
{
    switch (prune_kind_info(l->kind)->rule) {
    case PRUNE_CH_PRODUCE: produce(w, l); break;
    case PRUNE_CH_CONCAT: join(w, l); break;
    case PRUNE_CH_ADD:
        pass(w, l, slot(w, l->sources[0]));
        for (size_t k = 1; k < l->source_count; k++) tie(w, slot(w, l->sources[0]), slot(w, l->sources[k]));
        break;
    case PRUNE_CH_MULTIPLY:
        pass(w, l, slot(w, l->sources[1]));
        if (!l->scale_wh) tie(w, slot(w, l->sources[0]), slot(w, l->sources[1]));
        break;
    case PRUNE_CH_PASS:
    case PRUNE_CH_REORG:
    case PRUNE_CH_REPEAT: pass(w, l, slot(w, l->sources[0])); break;
    case PRUNE_CH_FIXED:
    case PRUNE_CH_NONE: break;
    }
}

static enum prune_code walk_net(struct walk *w, struct prune_status *st)
{
    const struct prune_net *net = w->net;
    size_t n = net->layer_count;
    w->parent = malloc((n + 1) * sizeof *w->parent);
    w->made_by = calloc(n + 1, sizeof *w->made_by);
    w->count = calloc(n + 1, sizeof *w->count);
    if (!w->parent || !w->made_by || !w->count) return prune_fail_memory(st, (n + 1) * sizeof *w->parent, "widths");
    for (size_t i = 0; i <= n; i++) w->parent[i] = (int)i;
    enum prune_code rc = new_vector(w, n, (size_t)(net->c > 0 ? net->c : net->inputs), st);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = new_vector(w, i, (size_t)net->layers[i].out_c, st);
        if (!rc) walk_layer(w, &net->layers[i]);
    }
    return rc;
}

/* Why the channels of this layer stay as many as they are, or NULL. */
static const char *fixed_because(const struct prune_layer *l, const struct prune_units *units)
{
    for (int c = 0; c < l->out_c; c++) {
        int u = units->of_channel[l->index][c];
        if (u < 0) return "network input";
        if (units->items[u].protected_because) return units->items[u].protected_because;
    }
    return NULL;
}

enum prune_code prune_widths_build(struct prune_widths *widths, const struct prune_net *net, const struct prune_units *units, struct prune_status *st)
{
    struct walk w = { .net = net };
    size_t n = net->layer_count;
    int *group_of = malloc((n + 1) * sizeof *group_of);
    const char **fixed = calloc(n + 1, sizeof *fixed);
    enum prune_code rc = group_of && fixed ? walk_net(&w, st) : prune_fail_memory(st, n * sizeof *fixed, "widths");
    if (!rc && prune_union_root(w.parent, (int)n) < (int)n) fixed[prune_union_root(w.parent, (int)n)] = "network input";
    for (size_t i = 0; !rc && i < n; i++) {
        enum prune_channel_rule rule = prune_kind_info(net->layers[i].kind)->rule;
        group_of[i] = rule == PRUNE_CH_PRODUCE || rule == PRUNE_CH_FIXED ? prune_union_root(w.parent, (int)i) : -1;
        if (group_of[i] >= 0 && !fixed[group_of[i]]) fixed[group_of[i]] = rule == PRUNE_CH_FIXED ? "made by a layer that keeps its channels" : fixed_because(&net->layers[i], units);
    }
    for (size_t i = 0; w.made_by && i <= n; i++) free(w.made_by[i]);
    free(w.made_by);
    free(w.count);
    free(w.parent);
    if (rc) {
        free(group_of);
        free(fixed);
        return rc;
    }
    *widths = (struct prune_widths){ group_of, fixed, n };
    return PRUNE_OK;
}

void prune_widths_free(struct prune_widths *w)
{
    free(w->group_of);
    free(w->fixed);
    memset(w, 0, sizeof *w);
}
