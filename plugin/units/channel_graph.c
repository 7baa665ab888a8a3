/* The channel graph: one walk over the layers; see channel_graph.h. Each layer kind's rule is a column of the layer-kind table;
 * here is one function per rule. Whatever a rule cannot follow exactly is protected with a reason, never guessed. */
#include "channel_graph.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

int prune_union_root(int *parent, int e)
{
    while (parent[e] != e) {
        parent[e] = parent[parent[e]];
        e = parent[e];
    }
    return e;
}

static void unite(struct prune_graph *g, int a, int b)
{
    a = prune_union_root(g->parent, a);
    b = prune_union_root(g->parent, b);
    if (a == b) return;
    if (b < a) {
        int t = a;
        a = b;
        b = t;
    }
    g->parent[b] = a;
    if (!g->reason[a]) g->reason[a] = g->reason[b];
}

static void protect(struct prune_graph *g, const int *elements, size_t count, const char *why)
{
    for (size_t i = 0; i < count; i++) {
        int r = prune_union_root(g->parent, elements[i]);
        if (!g->reason[r]) g->reason[r] = why;
    }
}

/* The array with room for one more item: it doubles where it is full, at 0, 1, 2, 4, 8, ... NULL: out of memory, the array is as it was. */
static void *with_room(void *items, size_t count, size_t item)
{
    return count & (count - 1) ? items : realloc(items, (count ? 2 * count : 1) * item);
}

const char *prune_keep_text(char ***texts, size_t *count, char *text)
{
    char **grown = text ? with_room(*texts, *count, sizeof *grown) : NULL;
    if (!grown) {
        free(text);
        return NULL;
    }
    *texts = grown;
    grown[(*count)++] = text;
    return text;
}

/* Keeps the text as long as the graph; NULL text = out of memory. */
static const char *keep_text(struct prune_graph *g, char *text)
{
    return prune_keep_text(&g->texts, &g->text_count, text);
}

const int *prune_graph_source(const struct prune_graph *g, const struct prune_layer *l, size_t k, size_t *count, size_t *area)
{
    int s = l->sources[k];
    const int *elements = s < 0 ? g->input : g->out[s];
    size_t n = s < 0 ? g->input_count : g->out_count[s];
    size_t flat = (size_t)(s < 0 ? g->net->inputs : g->net->layers[s].outputs);
    *count = n;
    *area = n ? flat / n : 1;
    return elements;
}

static enum prune_code new_vector(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t n = (size_t)l->out_c;
    int *v = malloc((n ? n : 1) * sizeof *v);
    if (!v) return prune_fail_memory(st, n * sizeof *v, "channels of a layer");
    g->out[l->index] = v;
    g->out_count[l->index] = n;
    return PRUNE_OK;
}

/* The layer makes its own channels. fixed: they belong to no unit. */
static enum prune_code new_elements(struct prune_graph *g, const struct prune_layer *l, const char *fixed_because, struct prune_status *st)
{
    enum prune_code rc = new_vector(g, l, st);
    if (rc) return rc;
    for (int i = 0; i < l->out_c; i++) {
        int e = (int)g->element_count++;
        g->elements[e] = (struct prune_element){ l->index, i, fixed_because != NULL };
        g->parent[e] = e;
        g->reason[e] = fixed_because;
        g->out[l->index][i] = e;
    }
    return PRUNE_OK;
}

static enum prune_code add_tie(struct prune_graph *g, int a, int b, size_t channels, int at, const char *reason, struct prune_status *st)
{
    struct prune_tie *grown = with_room(g->ties, g->tie_count, sizeof *grown);
    if (!grown) return prune_fail_memory(st, (g->tie_count + 1) * sizeof *grown, "ties");
    g->ties = grown;
    g->ties[g->tie_count++] = (struct prune_tie){ a, b, (int)channels, at, reason };
    return PRUNE_OK;
}

static enum prune_code add_balance(struct prune_graph *g, const struct prune_layer *l, const int *elements, size_t count, struct prune_status *st)
{
    struct prune_balance *grown = with_room(g->balances, g->balance_count, sizeof *grown);
    if (!grown) return prune_fail_memory(st, (g->balance_count + 1) * sizeof *grown, "balance constraints");
    g->balances = grown;
    size_t parts = (size_t)l->groups;
    struct prune_balance b = { l->index, parts, count / parts, malloc(count * sizeof *b.units) };
    if (!b.units) return prune_fail_memory(st, count * sizeof *b.units, "balance constraint");
    memcpy(b.units, elements, count * sizeof *b.units);
    g->balances[g->balance_count++] = b;
    return PRUNE_OK;
}

/* Every channel read and (as fixed elements) made by the layer stays. `why` is owned by the graph. */
static enum prune_code fix_layer(struct prune_graph *g, const struct prune_layer *l, const char *why, struct prune_status *st)
{
    if (!why) return prune_fail_memory(st, 64, "reason of a protection");
    for (size_t k = 0; k < l->source_count; k++) {
        size_t n, area;
        const int *v = prune_graph_source(g, l, k, &n, &area);
        protect(g, v, n, why);
    }
    return new_elements(g, l, why, st);
}

static enum prune_code walk_fixed(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    const struct prune_kind_info *info = prune_kind_info(l->kind);
    const char *why = info->protect_reason ? info->protect_reason : "read by a layer that fixes its inputs";
    return fix_layer(g, l, keep_text(g, prune_format("%s (layer %d)", why, l->index)), st);
}

static enum prune_code walk_depthwise(struct prune_graph *g, const struct prune_layer *l, const int *in, struct prune_status *st)
{
    int m = l->out_c / l->groups;
    g->depthwise[l->index] = true;
    for (int i = 0; i < l->out_c; i++) unite(g, in[i / m], g->out[l->index][i]);
    return add_tie(g, l->index, l->sources[0], (size_t)l->c, l->index, "depthwise convolution", st);
}

/* Both convolutions use the values of one: input j and filter j go from both or from none. */
static enum prune_code walk_share(struct prune_graph *g, const struct prune_layer *l, const int *in, size_t n, struct prune_status *st)
{
    const struct prune_layer *owner = &g->net->layers[l->share];
    size_t m, area;
    const int *theirs = prune_graph_source(g, owner, 0, &m, &area);
    if (n != m) {
        const char *why = keep_text(g, prune_format("read by layers %d and %d, which share values and see maps of different shape", l->share, l->index));
        if (!why) return prune_fail_memory(st, 64, "reason of a protection");
        protect(g, in, n, why);
        protect(g, theirs, m, why);
    }
    for (size_t i = 0; n == m && i < n; i++) unite(g, theirs[i], in[i]);
    for (int i = 0; i < l->out_c; i++) unite(g, g->out[l->share][i], g->out[l->index][i]);
    enum prune_code rc = add_tie(g, l->index, l->share, (size_t)l->out_c, l->index, "shared values", st);
    if (!rc && n == m && l->sources[0] != owner->sources[0]) rc = add_tie(g, l->sources[0], owner->sources[0], n, l->index, "inputs of shared values", st);
    return rc;
}

/* Convolution, deconvolution, local, connected; implicit, which reads nothing. */
static enum prune_code walk_produce(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    enum prune_code rc = new_elements(g, l, NULL, st);
    if (rc || !l->source_count) return rc;
    size_t n, area;
    const int *in = prune_graph_source(g, l, 0, &n, &area);
    if (l->kind != PRUNE_CONNECTED && n != (size_t)l->c) {
        const char *why = keep_text(g, prune_format("read by layer %d, which sees the map in another shape", l->index));
        if (!why) return prune_fail_memory(st, 64, "reason of a protection");
        protect(g, in, n, why);
    }
    if (prune_is_depthwise(l)) {
        rc = walk_depthwise(g, l, in, st);
    } else if (l->groups > 1) {
        rc = add_balance(g, l, in, n, st);
        if (!rc) rc = add_balance(g, l, g->out[l->index], (size_t)l->out_c, st);
    }
    if (!rc && l->share >= 0) rc = walk_share(g, l, in, n, st);
    if (!rc && (l->dontload || l->dontsave || l->dontloadscales || l->numload)) {
        const char *why = keep_text(g, prune_format("layer %d does not keep all its values in the weights file (dontload, dontsave, dontloadscales or numload)", l->index));
        if (!why) return prune_fail_memory(st, 64, "reason of a protection");
        protect(g, in, n, why);
        protect(g, g->out[l->index], (size_t)l->out_c, why);
    }
    return rc;
}

size_t prune_pass_channel(size_t out_count, size_t in_count, size_t i)
{
    return i / (out_count / in_count);
}

static enum prune_code walk_pass(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t n, area, out = (size_t)l->out_c;
    const int *in = prune_graph_source(g, l, 0, &n, &area);
    if (l->maxpool_depth) return fix_layer(g, l, keep_text(g, prune_format("read across channels by the maxpool at layer %d (maxpool_depth)", l->index)), st);
    if (!n || (out != n && out != n * area))
        return fix_layer(g, l, keep_text(g, prune_format("read by layer %d, whose output channels are not its input channels", l->index)), st);
    enum prune_code rc = new_vector(g, l, st);
    if (rc) return rc;
    for (size_t i = 0; i < out; i++) g->out[l->index][i] = in[prune_pass_channel(out, n, i)];
    return PRUNE_OK;
}

/* Whole sources, or of each source slice group_id of `groups` equal ones; the slices of a source then lose equally many channels. */
static enum prune_code walk_concat(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t sum = 0, n, area, groups = (size_t)l->groups;
    bool even = true;
    for (size_t k = 0; k < l->source_count; k++) {
        prune_graph_source(g, l, k, &n, &area);
        sum += n / groups;
        even &= n % groups == 0;
    }
    if (!even || sum != (size_t)l->out_c)
        return fix_layer(g, l, keep_text(g, prune_format("read by the route at layer %d, which joins maps of different size", l->index)), st);
    enum prune_code rc = new_vector(g, l, st);
    int *out = g->out[l->index];
    for (size_t k = 0; !rc && k < l->source_count; k++) {
        const int *in = prune_graph_source(g, l, k, &n, &area);
        memcpy(out, in + n / groups * (size_t)l->group_id, n / groups * sizeof *out);
        out += n / groups;
        if (groups > 1) rc = add_balance(g, l, in, n, st);
    }
    return rc;
}

/* pjreddie's Darknet adds maps of other width or height channel by channel; the others add them as flat vectors. */
static bool adds_flat(const struct prune_graph *g, const struct prune_layer *l)
{
    bool flat = false;
    for (size_t k = 1; k < l->source_count; k++) {
        const struct prune_layer *from = &g->net->layers[l->sources[k]];
        flat |= from->out_w != l->out_w || from->out_h != l->out_h;
    }
    return flat && !(g->net->dialects & PRUNE_PJREDDIE);
}

/* The output has the shape of the layer before; the host adds the first min(c1, c2) channels, at any ratio of map sizes. */
static enum prune_code walk_add(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t n, m, area;
    const int *in = prune_graph_source(g, l, 0, &n, &area);
    if (adds_flat(g, l))
        return fix_layer(g, l, keep_text(g, prune_format("read by the shortcut at layer %d, which adds maps of different size as flat vectors", l->index)), st);
    enum prune_code rc = new_vector(g, l, st);
    if (rc) return rc;
    if (n != (size_t)l->out_c) return prune_fail(st, "layer %d: shortcut of %d channels follows a layer of %zu", l->index, l->out_c, n);
    memcpy(g->out[l->index], in, n * sizeof *in);
    for (size_t k = 1; k < l->source_count; k++) {
        const int *from = prune_graph_source(g, l, k, &m, &area);
        size_t both = m < n ? m : n;
        for (size_t i = 0; i < both; i++) unite(g, in[i], from[i]);
        rc = add_tie(g, l->sources[0], l->sources[k], both, l->index, "shortcut", st);
        if (rc) return rc;
    }
    return PRUNE_OK;
}

/* Sources {previous, from}; the output has the shape of `from`. With scale_wh the previous layer is one map for all channels. */
static enum prune_code walk_multiply(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t n, m, area;
    const char *name = prune_kind_info(l->kind)->name;
    const int *factor = prune_graph_source(g, l, 0, &n, &area), *from = prune_graph_source(g, l, 1, &m, &area);
    if (m != (size_t)l->out_c || n != (l->scale_wh ? 1 : m))
        return fix_layer(g, l, keep_text(g, prune_format("read by the %s at layer %d, whose two maps do not match", name, l->index)), st);
    enum prune_code rc = new_vector(g, l, st);
    if (rc) return rc;
    memcpy(g->out[l->index], from, m * sizeof *from);
    if (l->scale_wh) {
        const char *why = keep_text(g, prune_format("the one map that the %s at layer %d applies to every channel", name, l->index));
        if (!why) return prune_fail_memory(st, 64, "reason of a protection");
        protect(g, factor, n, why);
        return PRUNE_OK;
    }
    for (size_t i = 0; i < m; i++) unite(g, factor[i], from[i]);
    return add_tie(g, l->sources[0], l->sources[1], m, l->index, name, st);
}

/* Output channel i is a sample of input channel i mod c; which sample it is depends on i / c alone, so that any channel may go. */
static enum prune_code walk_repeat(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t n, area, out = (size_t)l->out_c;
    const int *in = prune_graph_source(g, l, 0, &n, &area);
    if (n != (size_t)l->c || out % n)
        return fix_layer(g, l, keep_text(g, prune_format("read by layer %d, which sees the map in another shape", l->index)), st);
    enum prune_code rc = new_vector(g, l, st);
    for (size_t i = 0; !rc && i < out; i++) g->out[l->index][i] = in[i % n];
    return rc;
}

/* Darknet's reorg reads its input, c channels of w x h, as c/s^2 channels of (w s) x (h s). Output block k (s^2 channels, as the w x h
 * piece k of memory) therefore reads input block k mod (c / s^2), whole; the geometry inside a block does not depend on c. Removing an
 * input block with its s^2 output blocks is exact; anything finer is not. */
size_t prune_reorg_block(const struct prune_layer *l, size_t i)
{
    size_t block = (size_t)l->stride * (size_t)l->stride;
    return (i / block) % ((size_t)l->c / block);
}

static enum prune_code walk_reorg(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    size_t n, area, s = (size_t)l->stride, block = s * s;
    const int *in = prune_graph_source(g, l, 0, &n, &area);
    bool extra = prune_cfg_find(&g->net->cfg->sections[l->section], "extra") != NULL;
    if (l->reverse || l->flatten || extra)
        return fix_layer(g, l, keep_text(g, prune_format("read by the reorg at layer %d with reverse, flatten or extra", l->index)), st);
    if (n != (size_t)l->c || n % block || l->w % l->stride || l->h % l->stride || (size_t)l->out_c != n * block)
        return fix_layer(g, l, keep_text(g, prune_format("read by the reorg at layer %d, whose stride does not divide its input", l->index)), st);
    enum prune_code rc = new_vector(g, l, st);
    if (rc) return rc;
    g->blocks[l->index] = true;
    for (size_t i = 0; i < n; i++) unite(g, in[i - i % block], in[i]);
    for (size_t i = 0; i < (size_t)l->out_c; i++) g->out[l->index][i] = in[prune_reorg_block(l, i) * block];
    return add_tie(g, l->sources[0], l->sources[0], n, l->index, "reorg moves blocks of stride^2 channels", st);
}

bool prune_is_depthwise(const struct prune_layer *l)
{
    return l->kind == PRUNE_CONVOLUTIONAL && l->groups > 1 && l->groups == l->c;
}

/* Pooling, blurring, sampling and products keep a zero; what follows them is the activation's business. */
bool prune_keeps_zero(const struct prune_layer *l)
{
    if (l->kind == PRUNE_BATCHNORM || l->kind == PRUNE_LOGISTIC || l->kind == PRUNE_CROP) return false; /* crop shifts pixels to -1..1 */
    return prune_activation_info(l->activation)->keeps_zero;
}

static enum prune_code walk_by_rule(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    switch (prune_kind_info(l->kind)->rule) {
    case PRUNE_CH_PRODUCE: return walk_produce(g, l, st);
    case PRUNE_CH_PASS: return walk_pass(g, l, st);
    case PRUNE_CH_CONCAT: return walk_concat(g, l, st);
    case PRUNE_CH_ADD: return walk_add(g, l, st);
    case PRUNE_CH_MULTIPLY: return walk_multiply(g, l, st);
    case PRUNE_CH_REORG: return walk_reorg(g, l, st);
    case PRUNE_CH_REPEAT: return walk_repeat(g, l, st);
    case PRUNE_CH_FIXED: return walk_fixed(g, l, st);
    case PRUNE_CH_NONE: break;
    }
    return prune_fail(st, "layer %d: kind '%s' has no rule for channels", l->index, prune_kind_info(l->kind)->name);
}

/* An activation that normalizes over channels sees every one of them, and a zero too: its sum has a different value without it. */
static enum prune_code walk_layer(struct prune_graph *g, const struct prune_layer *l, struct prune_status *st)
{
    const struct prune_activation_info *activation = prune_activation_info(l->activation);
    for (size_t k = 0; k < l->source_count; k++)
        if (l->sources[k] >= 0) g->read[l->sources[k]] = true;
    enum prune_code rc = walk_by_rule(g, l, st);
    if (rc || !activation->mixes_channels) return rc;
    const char *why = keep_text(g, prune_format("mixed across channels by activation=%s (layer %d)", activation->name, l->index));
    if (!why) return prune_fail_memory(st, 64, "reason of a protection");
    protect(g, g->out[l->index], g->out_count[l->index], why);
    return PRUNE_OK;
}

static enum prune_code allocate(struct prune_graph *g, struct prune_status *st)
{
    const struct prune_net *net = g->net;
    bool map = net->c > 0 && net->w > 0 && net->h > 0 && net->w * net->h * net->c == net->inputs;
    g->input_count = (size_t)(map ? net->c : net->inputs);
    size_t n = g->input_count, layers = net->layer_count;
    for (size_t i = 0; i < layers; i++) n += (size_t)net->layers[i].out_c;   /* an upper bound: not every layer makes elements */
    g->element_room = n + 1;
    g->elements = malloc(g->element_room * sizeof *g->elements);
    g->parent = malloc(g->element_room * sizeof *g->parent);
    g->reason = calloc(g->element_room, sizeof *g->reason);
    g->input = malloc((g->input_count + 1) * sizeof *g->input);
    g->out = calloc(layers + 1, sizeof *g->out);
    g->out_count = calloc(layers + 1, sizeof *g->out_count);
    g->read = calloc(layers + 1, sizeof *g->read);
    g->depthwise = calloc(layers + 1, sizeof *g->depthwise);
    g->blocks = calloc(layers + 1, sizeof *g->blocks);
    if (!g->elements || !g->parent || !g->reason || !g->input || !g->out || !g->out_count || !g->read || !g->depthwise || !g->blocks)
        return prune_fail_memory(st, g->element_room * sizeof *g->elements, "the channel graph");
    return PRUNE_OK;
}

enum prune_code prune_graph_build(struct prune_graph *g, const struct prune_net *net, struct prune_status *st)
{
    memset(g, 0, sizeof *g);
    g->net = net;
    enum prune_code rc = allocate(g, st);
    for (size_t i = 0; !rc && i < g->input_count; i++) {
        int e = (int)g->element_count++;
        g->elements[e] = (struct prune_element){ -1, (int)i, true };
        g->parent[e] = e;
        g->reason[e] = "network input";
        g->input[i] = e;
    }
    for (size_t i = 0; !rc && i < net->layer_count; i++) rc = walk_layer(g, &net->layers[i], st);
    for (size_t i = 0; !rc && i < net->layer_count; i++)
        if (!g->read[i]) protect(g, g->out[i], g->out_count[i], "output of the network");
    if (rc) prune_graph_free(g);
    return rc;
}

void prune_graph_free(struct prune_graph *g)
{
    for (size_t i = 0; g->out && i < g->net->layer_count; i++) free(g->out[i]);
    for (size_t i = 0; i < g->balance_count; i++) free(g->balances[i].units);
    for (size_t i = 0; i < g->text_count; i++) free(g->texts[i]);
    free(g->texts);
    free(g->balances);
    free(g->ties);
    free(g->elements);
    free(g->parent);
    free(g->reason);
    free(g->input);
    free(g->out);
    free(g->out_count);
    free(g->read);
    free(g->depthwise);
    free(g->blocks);
    memset(g, 0, sizeof *g);
}
