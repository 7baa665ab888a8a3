/* Residual blocks: which shortcuts close one, what keeps the others from it, how a branch is silenced, how blocks are ranked; see blocks.h.
 * Time is linear in layers and sources, times the depth of blocks inside blocks. */
#include "blocks.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel_graph.h"

/* Who reads whom, per layer. */
struct readers {
    int *last_reader;                    /* -1: nobody */
    int *first_source;                   /* -1: the network input; INT_MAX: it reads nothing */
    int *last_sharer;                    /* last convolution that uses the layer's stored values; -1: none */
};

static enum prune_code readers_make(struct readers *r, const struct prune_net *net, struct prune_status *st)
{
    size_t n = net->layer_count;
    r->last_reader = malloc((3 * n + 1) * sizeof(int));
    if (!r->last_reader) return prune_fail_memory(st, 3 * n * sizeof(int), "readers of layers");
    r->first_source = r->last_reader + n;
    r->last_sharer = r->first_source + n;
    for (size_t i = 0; i < n; i++) {
        const struct prune_layer *l = &net->layers[i];
        r->last_reader[i] = r->last_sharer[i] = -1;
        r->first_source[i] = INT_MAX;
        for (size_t k = 0; k < l->source_count; k++) {
            if (l->sources[k] >= 0) r->last_reader[l->sources[k]] = (int)i;
            if (l->sources[k] < r->first_source[i]) r->first_source[i] = l->sources[k];
        }
        if (l->refers_to >= 0) r->last_reader[l->refers_to] = (int)i;
        if (l->share >= 0) r->last_sharer[l->share] = (int)i;
    }
    return PRUNE_OK;
}

static bool no_block(struct prune_no_block *other, const char *format, ...) PRUNE_PRINTF(2, 3);
static bool no_block(struct prune_no_block *other, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(other->why, sizeof other->why, format, args);
    va_end(args);
    return false;
}

/* An [activation] section computes it in every Darknet that knows it: the smooth ones of AlexeyAB's need a second buffer, the mixing ones the map. */
static bool stands_alone(enum prune_activation a)
{
    return a != PRUNE_SWISH && a != PRUNE_MISH && a != PRUNE_HARD_MISH && !prune_activation_info(a)->mixes_channels;
}

/* The activation whose range the values of a layer lie in; linear: any value. */
static enum prune_activation range_of(const struct prune_net *net, int layer)
{
    while (layer >= 0) {
        const struct prune_layer *l = &net->layers[layer];
        bool chooses = (l->kind == PRUNE_MAXPOOL && !l->maxpool_depth) || l->kind == PRUNE_DROPOUT || l->kind == PRUNE_EMPTY;
        if (l->antialiasing) break;
        if (!chooses) return l->activation;
        layer = l->sources[0];
    }
    return PRUNE_LINEAR;
}

static bool changes(const struct prune_net *net, enum prune_activation a, int from)
{
    if (a == PRUNE_LINEAR) return false;
    return !prune_activation_info(a)->idempotent || range_of(net, from) != a;
}

/* The shortcut itself: one source of the same shape, added as it is. */
static bool adds_one_layer(const struct prune_net *net, const struct prune_layer *l, struct prune_no_block *other)
{
    const struct prune_section *section = &net->cfg->sections[l->section];
    if (l->source_count != 2) return no_block(other, "it adds %zu layers", l->source_count - 1);
    if (l->weights_type != PRUNE_WEIGHTS_NONE) return no_block(other, "it has weights of its own");
    const struct prune_layer *from = &net->layers[l->sources[1]];
    if (from->index >= l->index - 1) return no_block(other, "it adds the layer before it to itself");
    if (from->out_w != l->w || from->out_h != l->h || from->out_c != l->c)
        return no_block(other, "it adds %dx%dx%d of layer %d to %dx%dx%d", from->out_w, from->out_h, from->out_c, from->index, l->w, l->h, l->c);
    const char *beta = prune_cfg_string(section, "beta", "1");
    if (strtod(beta, NULL) != 1) return no_block(other, "it multiplies what it adds (beta=%.40s)", beta);
    return true;
}

static bool branch_is_closed(const struct prune_net *net, const struct readers *r, int from, int shortcut, struct prune_no_block *other)
{
    for (int i = from + 1; i < shortcut; i++) {
        const struct prune_layer *l = &net->layers[i];
        if (prune_kind_info(l->kind)->is_head || l->kind == PRUNE_COST || l->kind == PRUNE_CONTRASTIVE)
            return no_block(other, "its branch holds the %s of layer %d", prune_kind_info(l->kind)->name, i);
        if (r->last_reader[i] < 0) return no_block(other, "layer %d of its branch is an output of the network", i);
        if (r->last_reader[i] > shortcut) return no_block(other, "layer %d reads layer %d of its branch", r->last_reader[i], i);
        if (r->last_sharer[i] > shortcut) return no_block(other, "layer %d uses the stored values of layer %d of its branch", r->last_sharer[i], i);
        if (r->first_source[i] >= from) continue;
        if (r->first_source[i] < 0) return no_block(other, "layer %d of its branch reads the network input", i);
        return no_block(other, "layer %d of its branch reads layer %d", i, r->first_source[i]);
    }
    return true;
}

static bool is_block(const struct prune_net *net, const struct readers *r, const struct prune_layer *l, struct prune_block *block, struct prune_no_block *other)
{
    other->shortcut = l->index;
    if (!adds_one_layer(net, l, other)) return false;
    *block = (struct prune_block){ .shortcut = l->index, .from = l->sources[1], .stays_activation = changes(net, l->activation, l->sources[1]) };
    if (!branch_is_closed(net, r, block->from, block->shortcut, other)) return false;
    if (block->stays_activation && !stands_alone(l->activation))
        return no_block(other, "no [activation] section can take over its activation %s", prune_activation_info(l->activation)->name);
    for (int i = block->from + 1; i <= block->shortcut; i++) {
        block->macs += net->layers[i].macs;
        block->parameters += net->layers[i].parameters;
    }
    return true;
}

enum prune_code prune_blocks_find(struct prune_blocks *blocks, const struct prune_net *net, struct prune_status *st)
{
    struct prune_blocks b = { 0 };
    struct readers r = { 0 };
    size_t shortcuts = 0;
    for (size_t i = 0; i < net->layer_count; i++) shortcuts += prune_kind_info(net->layers[i].kind)->rule == PRUNE_CH_ADD;
    b.items = calloc(shortcuts + 1, sizeof *b.items);
    b.others = calloc(shortcuts + 1, sizeof *b.others);
    enum prune_code rc = b.items && b.others ? readers_make(&r, net, st) : prune_fail_memory(st, shortcuts * sizeof *b.others, "blocks");
    for (size_t i = 0; !rc && i < net->layer_count; i++) {
        if (prune_kind_info(net->layers[i].kind)->rule != PRUNE_CH_ADD) continue;
        if (is_block(net, &r, &net->layers[i], &b.items[b.count], &b.others[b.other_count])) b.count++;
        else b.other_count++;
    }
    free(r.last_reader);
    if (rc) prune_blocks_free(&b);
    else *blocks = b;
    return rc;
}

void prune_blocks_free(struct prune_blocks *blocks)
{
    free(blocks->items);
    free(blocks->others);
    memset(blocks, 0, sizeof *blocks);
}

enum prune_code prune_blocks_get(const struct prune_blocks *blocks, const struct prune_net *net, int shortcut, const struct prune_block **out, struct prune_status *st)
{
    if (shortcut < 0 || (size_t)shortcut >= net->layer_count)
        return prune_fail(st, "no block ends at layer %d: '%s' has layers 0 to %zu", shortcut, net->cfg->path, net->layer_count - 1);
    for (size_t i = 0; i < blocks->count; i++) {
        if (blocks->items[i].shortcut != shortcut) continue;
        *out = &blocks->items[i];
        return PRUNE_OK;
    }
    for (size_t i = 0; i < blocks->other_count; i++)
        if (blocks->others[i].shortcut == shortcut)
            return prune_fail(st, "the shortcut at layer %d of '%s' closes no block: %s", shortcut, net->cfg->path, blocks->others[i].why);
    return prune_fail(st, "layer %d of '%s' is a [%s], and a block is named by its [shortcut]; 'darknet prune inspect' lists the blocks", shortcut, net->cfg->path,
                      prune_kind_info(net->layers[shortcut].kind)->name);
}

enum { SILENT = 1, PASSED = 2 };             /* PASSED: seen, and nothing of its own to silence */

static enum prune_code silence(const struct prune_block *b, const struct prune_net *net, int layer, uint8_t *silent, struct prune_status *st);

static enum prune_code silence_sources(const struct prune_block *b, const struct prune_net *net, const struct prune_layer *l, uint8_t *silent, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t k = 0; !rc && k < l->source_count; k++) rc = silence(b, net, l->sources[k], silent, st);
    return rc;
}

/* Makes the output of `layer` zero by the stored values of producers inside the branch. */
static enum prune_code silence(const struct prune_block *b, const struct prune_net *net, int layer, uint8_t *silent, struct prune_status *st)
{
    if (layer <= b->from) return prune_fail(st, "the branch passes layer %d on, which other layers read", layer);
    if (silent[layer]) return PRUNE_OK;
    const struct prune_layer *l = &net->layers[layer];
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    bool own = rule == PRUNE_CH_PRODUCE || l->kind == PRUNE_BATCHNORM;
    bool keeps_zero = own ? prune_activation_info(l->activation)->keeps_zero : prune_keeps_zero(l);
    if (own && (l->share >= 0 || l->dontload || l->dontsave || l->dontloadscales || l->numload))
        return prune_fail(st, "layer %d does not have all its values in the weights file for itself", layer);
    for (size_t i = 0; own && i < net->layer_count; i++)
        if (net->layers[i].share == layer) return prune_fail(st, "layer %zu uses the stored values of layer %d too", i, layer);
    if (rule == PRUNE_CH_FIXED || !keeps_zero)
        return prune_fail(st, "layer %d ([%s], activation %s) does not keep a zero", layer, prune_kind_info(l->kind)->name, prune_activation_info(l->activation)->name);
    silent[layer] = own ? SILENT : PASSED;
    if (own) return PRUNE_OK;
    if (rule == PRUNE_CH_MULTIPLY)       /* one factor is enough */
        return silence(b, net, l->sources[0], silent, st) && silence(b, net, l->sources[1], silent, st) ? PRUNE_FAILED : PRUNE_OK;
    return silence_sources(b, net, l, silent, st);
}

enum prune_code prune_block_silence(const struct prune_block *block, const struct prune_net *net, uint8_t *silent, struct prune_status *st)
{
    enum prune_code rc = silence(block, net, block->shortcut - 1, silent, st);
    for (int i = block->from + 1; i < block->shortcut; i++) silent[i] = silent[i] == SILENT;
    if (rc) prune_explain(st, "no weights silence the branch of the shortcut at layer %d exactly: ", block->shortcut);
    return rc;
}

/* Mean score of the removable units with a producer in the block; seen[unit] = mark for those that are counted. */
static double block_score(const struct prune_block *b, const struct prune_net *net, const struct prune_units *units, const double *scores, size_t *seen, size_t mark)
{
    double sum = 0;
    size_t count = 0;
    for (int l = b->from + 1; l < b->shortcut; l++) {
        if (prune_kind_info(net->layers[l].kind)->rule != PRUNE_CH_PRODUCE) continue;
        for (int c = 0; c < net->layers[l].out_c; c++) {
            int u = units->of_channel[l][c];
            if (u < 0 || seen[u] == mark || units->items[u].protected_because) continue;
            seen[u] = mark;
            sum += scores[u];
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}

enum prune_code prune_blocks_score(const struct prune_blocks *blocks, const struct prune_net *net, const struct prune_units *units, const double *scores, double *score,
                                   struct prune_status *st)
{
    size_t *seen = calloc(units->count + 1, sizeof *seen);
    if (!seen) return prune_fail_memory(st, units->count * sizeof *seen, "block scores");
    for (size_t b = 0; b < blocks->count; b++) score[b] = block_score(&blocks->items[b], net, units, scores, seen, b + 1);
    free(seen);
    return PRUNE_OK;
}
