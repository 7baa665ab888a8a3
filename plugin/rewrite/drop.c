/* The network without some blocks; see drop.h. The text comes from drop_text.c and is read by our own readers, as any other cfg. */
#include "drop.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

static int by_shortcut(const void *a, const void *b)
{
    const struct prune_block *x = a, *y = b;
    return (x->shortcut > y->shortcut) - (x->shortcut < y->shortcut);
}

/* The named blocks in order, without doubles and without those that go with another. */
static enum prune_code gather(struct prune_dropped *d, const struct prune_net *net, const int *shortcuts, size_t count, struct prune_status *st)
{
    struct prune_blocks all;
    enum prune_code rc = prune_blocks_find(&all, net, st);
    if (rc) return rc;
    d->blocks = calloc(count + 1, sizeof *d->blocks);
    if (!d->blocks) rc = prune_fail_memory(st, count * sizeof *d->blocks, "blocks");
    for (size_t i = 0; !rc && i < count; i++) {
        const struct prune_block *found = NULL;
        rc = prune_blocks_get(&all, net, shortcuts[i], &found, st);
        if (!rc) d->blocks[i] = *found;
    }
    prune_blocks_free(&all);
    if (rc) return rc;
    qsort(d->blocks, count, sizeof *d->blocks, by_shortcut);
    for (size_t i = 0; i < count; i++) {             /* an outer block ends behind the blocks inside it */
        while (d->count && d->blocks[d->count - 1].shortcut > d->blocks[i].from) d->count--;
        d->blocks[d->count++] = d->blocks[i];
    }
    return PRUNE_OK;
}

static enum prune_code number_layers(struct prune_dropped *d, struct prune_status *st)
{
    size_t layers = d->whole->layer_count, b = 0;
    d->new_of = malloc((layers + 1) * sizeof *d->new_of);
    d->old_of = malloc((layers + 1) * sizeof *d->old_of);
    if (!d->new_of || !d->old_of) return prune_fail_memory(st, layers * sizeof *d->new_of, "layer numbers");
    bool producer = false;
    for (size_t i = 0; i < layers; i++) {
        int l = (int)i;
        while (b < d->count && d->blocks[b].shortcut < l) b++;
        bool inside = b < d->count && l > d->blocks[b].from, gone = inside && (l < d->blocks[b].shortcut || !d->blocks[b].stays_activation);
        d->new_of[i] = gone ? -1 : (int)d->layer_count;
        if (gone) continue;
        d->old_of[d->layer_count++] = l;
        producer |= prune_kind_info(d->whole->layers[i].kind)->rule == PRUNE_CH_PRODUCE;
    }
    return producer ? PRUNE_OK : prune_fail(st, "without these blocks '%s' has no convolutional or connected layer left; drop fewer", d->whole->cfg->path);
}

/* The old number of what a reader of `layer` reads now: a shortcut that went hands on what it added to. */
static int reads_now(const struct prune_dropped *d, int layer)
{
    for (size_t b = d->count; layer >= 0 && b-- > 0;)
        if (d->blocks[b].shortcut == layer && !d->blocks[b].stays_activation) layer = d->blocks[b].from;
    return layer;
}

/* Two references to layers mean the same; -1: the network input, or none. */
static bool same_reference(const struct prune_dropped *d, int was, int now)
{
    return now < 0 ? was < 0 : was >= 0 && reads_now(d, was) == d->old_of[now];
}

static bool same_layer(const struct prune_dropped *d, const struct prune_layer *was, const struct prune_layer *now)
{
    bool becomes = was->kind == PRUNE_SHORTCUT && now->kind == PRUNE_ACTIVATION;
    bool same = (was->kind == now->kind || becomes) && was->activation == now->activation && now->out_w == was->out_w && now->out_h == was->out_h && now->out_c == was->out_c;
    if (becomes) return same && now->source_count == 1 && same_reference(d, was->sources[1], now->sources[0]);
    same &= was->source_count == now->source_count && same_reference(d, was->refers_to, now->refers_to) && same_reference(d, was->share, now->share);
    for (size_t k = 0; same && k < was->source_count; k++) same = same_reference(d, was->sources[k], now->sources[k]);
    return same;
}

/* The proof of the text: read back, every layer is what it was and reads what it read, dropped branches taken for zeroes. */
static enum prune_code check_layers(const struct prune_drop *d, struct prune_status *st)
{
    bool same = d->net.layer_count == d->dropped.layer_count;
    for (size_t i = 0; same && i < d->net.layer_count; i++) {
        same = same_layer(&d->dropped, &d->dropped.whole->layers[d->dropped.old_of[i]], &d->net.layers[i]);
        if (!same)
            return prune_fail(st, "the cfg without its blocks is wrong at layer %zu (layer %d of the original); this is an error of the program, please report it with the cfg", i,
                              d->dropped.old_of[i]);
    }
    return same ? PRUNE_OK : prune_fail(st, "the cfg without its blocks has %zu layers where %zu were planned; this is an error of the program", d->net.layer_count, d->dropped.layer_count);
}

/* The stored values of the layers that stay, where they lie in the whole file: fewer tensors of as many numbers. */
static enum prune_code view_weights(struct prune_drop *d, struct prune_status *st)
{
    const struct prune_weights *whole = d->dropped.whole_weights;
    struct prune_weights_layout *layout = &d->weights.layout;
    d->weights = *whole;
    layout->tensors = malloc((whole->layout.count + 1) * sizeof *layout->tensors);
    layout->count = 0;
    if (!layout->tensors) return prune_fail_memory(st, whole->layout.count * sizeof *layout->tensors, "weights layout");
    for (size_t i = 0; i < whole->layout.count; i++) {
        struct prune_weights_tensor t = whole->layout.tensors[i];
        t.layer = d->dropped.new_of[t.layer];
        if (t.layer < 0) continue;
        layout->tensors[layout->count++] = t;
    }
    return PRUNE_OK;
}

static enum prune_code read_text(struct prune_drop *d, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_drop_text(&d->dropped, &bytes, &size, st);
    if (!rc) rc = prune_cfg_parse(&d->cfg, d->dropped.whole->cfg->path, bytes, size, st);
    free(bytes);
    if (rc) return rc;
    rc = prune_net_build(&d->net, &d->cfg, st);
    if (rc) {
        memset(&d->net, 0, sizeof d->net);
        return prune_explain(st, "without its blocks: ");
    }
    return check_layers(d, st);
}

enum prune_code prune_drop_open(struct prune_drop *d, const struct prune_net *net, const struct prune_weights *weights, const int *shortcuts, size_t count, struct prune_status *st)
{
    memset(d, 0, sizeof *d);
    d->dropped.whole = net;
    d->dropped.whole_weights = weights;
    enum prune_code rc = gather(&d->dropped, net, shortcuts, count, st);
    if (!rc) rc = number_layers(&d->dropped, st);
    if (!rc) rc = read_text(d, st);
    if (!rc) {
        rc = prune_units_build(&d->units, &d->net, st);
        if (rc) memset(&d->units, 0, sizeof d->units);
    }
    if (!rc && weights) rc = view_weights(d, st);
    if (rc) prune_drop_close(d);
    return rc;
}

void prune_drop_close(struct prune_drop *d)
{
    if (d->dropped.whole_weights) free(d->weights.layout.tensors);   /* the rest of the view is borrowed */
    prune_units_free(&d->units);
    prune_net_free(&d->net);
    prune_cfg_free(&d->cfg);
    free(d->dropped.blocks);
    free(d->dropped.old_of);
    free(d->dropped.new_of);
    memset(d, 0, sizeof *d);
}

void prune_drop_values(const struct prune_drop *d, const struct prune_units *whole, const double *values, double *out)
{
    for (size_t u = 0; u < d->units.count; u++) {
        struct prune_channel m = d->units.members[d->units.items[u].first_member];
        int was = whole->of_channel[d->dropped.old_of[m.layer]][m.channel];
        out[u] = was < 0 ? 0 : values[was];
    }
}

enum prune_code prune_drop_silence(const struct prune_dropped *dropped, uint8_t *silent, struct prune_status *st)
{
    uint8_t *flags = silent ? silent : calloc(dropped->whole->layer_count + 1, 1);
    enum prune_code rc = flags ? PRUNE_OK : prune_fail_memory(st, dropped->whole->layer_count, "silent layers");
    for (size_t b = 0; !rc && b < dropped->count; b++) rc = prune_block_silence(&dropped->blocks[b], dropped->whole, flags, st);
    if (!silent) free(flags);
    return rc;
}

/* The plan of the whole network: layers that stay as in `small`, the others complete or silent. Lists are borrowed from both. */
static enum prune_code lift_plan(struct prune_plan *lifted, const struct prune_plan *complete, const struct prune_plan *small, const struct prune_dropped *dropped, struct prune_status *st)
{
    size_t layers = dropped->whole->layer_count;
    uint8_t *silent = calloc(layers + 1, 1);
    lifted->layers = calloc(layers + 1, sizeof *lifted->layers);
    lifted->layer_count = layers;
    enum prune_code rc = silent && lifted->layers ? prune_drop_silence(dropped, silent, st) : prune_fail_memory(st, layers * sizeof *lifted->layers, "rewrite plan");
    for (size_t i = 0; !rc && i < layers; i++) {
        lifted->layers[i] = dropped->new_of[i] >= 0 ? small->layers[dropped->new_of[i]] : complete->layers[i];
        lifted->layers[i].silent = silent[i] != 0;
    }
    free(silent);
    return rc;
}

enum prune_code prune_drop_masked(const struct prune_plan *plan, const struct prune_dropped *dropped, const char *path, struct prune_status *st)
{
    struct prune_plan complete = { 0 }, lifted = { 0 };
    struct prune_units units = { 0 };
    enum prune_code rc = prune_units_build(&units, dropped->whole, st);
    if (rc) return rc;
    uint8_t *none = calloc(units.count + 1, 1);
    rc = none ? prune_plan_build(&complete, dropped->whole, &units, none, st) : prune_fail_memory(st, units.count, "mask");
    if (!rc) rc = lift_plan(&lifted, &complete, plan, dropped, st);
    if (!rc) rc = prune_rewrite_masked(&lifted, dropped->whole, dropped->whole_weights, path, st);
    free(lifted.layers);
    prune_plan_free(&complete);
    free(none);
    prune_units_free(&units);
    return rc;
}
