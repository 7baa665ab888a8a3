/* Masks of single weights; see sparse.h. Selection finds the score that divides what goes from what stays by counting the bits of all scores, high half and low half: linear in the
 * weights, exact, and the same whatever their order. */
#include "sparse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../score/weights_view.h"
#include "../units/units.h"

enum { BINS = 1 << 16 };
enum flag { GONE, KEPT, ELIGIBLE, CHOSEN };   /* of a weight during a selection; ELIGIBLE: above its layer's floor */

static bool prunable(const struct prune_layer *l)
{
    return (l->kind == PRUNE_CONVOLUTIONAL || l->kind == PRUNE_CONNECTED) && l->share < 0 && !l->dontsave && !l->dontload && !l->numload;
}

enum prune_code prune_sparse_init(struct prune_sparse *s, const struct prune_net *net, const struct prune_weights_layout *layout, struct prune_status *st)
{
    *s = (struct prune_sparse){.layers = calloc(net->layer_count + 1, sizeof *s->layers)};
    if (!s->layers) return prune_fail_memory(st, net->layer_count * sizeof *s->layers, "masks of weights");
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_weights_tensor *t = prunable(&net->layers[i]) ? prune_layout_find(layout, (int)i, PRUNE_WEIGHTS) : NULL;
        if (!t || !t->count) continue;
        s->layers[s->count++] = (struct prune_sparse_layer){.layer = (int)i, .first = s->weights, .count = t->count, .kept = t->count, .floor = 1};
        s->weights += t->count;
    }
    s->kept = s->weights;
    s->keep = malloc(s->weights + 1);
    if (!s->keep) {
        prune_sparse_free(s);
        return prune_fail_memory(st, s->weights, "masks of weights");
    }
    memset(s->keep, 1, s->weights);
    return PRUNE_OK;
}

void prune_sparse_free(struct prune_sparse *s)
{
    free(s->layers);
    free(s->keep);
    *s = (struct prune_sparse){0};
}

enum prune_code prune_sparse_floors(struct prune_sparse *s, const struct prune_net *net, size_t min_keep, const char *protect, struct prune_status *st)
{
    uint8_t *named = calloc(net->layer_count + 1, 1);
    if (!named) return prune_fail_memory(st, net->layer_count, "protected layers");
    enum prune_code rc = protect ? prune_units_named(net, protect, named, st) : PRUNE_OK;
    for (size_t i = 0; i < s->count && !rc; i++) {
        struct prune_sparse_layer *l = &s->layers[i];
        l->floor = named[l->layer] || min_keep > l->count ? l->count : min_keep;
    }
    free(named);
    return rc;
}

enum prune_code prune_sparse_values(const struct prune_sparse_layer *l, const struct prune_net *net, const struct prune_weights *w, float *out, struct prune_status *st)
{
    const struct prune_score_input in = {.net = net, .weights = w};
    const size_t filters = (size_t)net->layers[l->layer].out_c, size = l->count / filters;
    double *row = malloc((size + 1) * sizeof *row);
    if (!row) return prune_fail_memory(st, size * sizeof *row, "a filter");
    for (size_t c = 0; c < filters; c++) {
        const struct prune_weights_tensor *t;
        struct prune_filter_view view;
        if (!prune_filter_of(&in, (struct prune_channel){l->layer, (int)c}, &t, &view) || prune_filter_size(&view) != size) {
            free(row);
            return prune_fail(st, "layer %d has no filter %zu in '%s'", l->layer, c, w->path);
        }
        prune_filter_read(prune_weights_data(w, t), &view, 0, size, row);
        for (size_t i = 0; i < size; i++) out[c * size + i] = (float)row[i];
    }
    free(row);
    return PRUNE_OK;
}

static void count_kept(struct prune_sparse *s)
{
    s->kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct prune_sparse_layer *l = &s->layers[i];
        l->kept = 0;
        for (size_t k = 0; k < l->count; k++) l->kept += s->keep[l->first + k] != 0;
        s->kept += l->kept;
    }
}

enum prune_code prune_sparse_from_zeros(struct prune_sparse *s, const struct prune_net *net, const struct prune_weights *w, struct prune_status *st)
{
    float *values = malloc((s->weights + 1) * sizeof *values);
    if (!values) return prune_fail_memory(st, s->weights * sizeof *values, "weights");
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; i < s->count && !rc; i++) rc = prune_sparse_values(&s->layers[i], net, w, values + s->layers[i].first, st);
    for (size_t k = 0; k < s->weights && !rc; k++) s->keep[k] = values[k] < 0 || values[k] > 0;
    free(values);
    if (!rc) count_kept(s);
    return rc;
}

size_t prune_sparse_target(const struct prune_sparse *s, double fraction) { return (size_t)llround(fraction * (double)s->weights); }

/* Bits that sort as the scores do; both zeros are one. */
static uint32_t sort_key(float score)
{
    uint32_t bits;
    score += 0.0f;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Among n weights with flag `from`, whose key begins with `high` (any: BINS), the bin of the `rank`-th lowest (from 0) by 16 bits of the key; *below: how many lie in lower bins. */
static uint32_t find_bin(const float *scores, const uint8_t *flags, size_t n, uint8_t from, uint32_t high, size_t rank, size_t *bins, size_t *below)
{
    memset(bins, 0, BINS * sizeof *bins);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = sort_key(scores[i]);
        if (flags[i] != from) continue;
        if (high == BINS) bins[key >> 16]++;
        else if (key >> 16 == high) bins[key & 0xffff]++;
    }
    uint32_t bin = 0;
    for (*below = 0; *below + bins[bin] <= rank; bin++) *below += bins[bin];
    return bin;
}

/* The `wanted` lowest of the weights with flag `from` (there are as many) get flag `to`. */
static void mark_lowest(const float *scores, uint8_t *flags, size_t n, uint8_t from, uint8_t to, size_t wanted, size_t *bins)
{
    size_t below_high, below_low;
    if (!wanted) return;
    uint32_t high = find_bin(scores, flags, n, from, BINS, wanted - 1, bins, &below_high);
    uint32_t low = find_bin(scores, flags, n, from, high, wanted - 1 - below_high, bins, &below_low);
    uint32_t limit = high << 16 | low;
    size_t equal = wanted - below_high - below_low;   /* so many of those that have the limit's own score */
    for (size_t i = 0; i < n; i++) {
        if (flags[i] != from) continue;
        uint32_t key = sort_key(scores[i]);
        if (key < limit || (key == limit && equal)) {
            flags[i] = to;
            equal -= key == limit;
        }
    }
}

static size_t layer_target(const struct prune_sparse *s, const struct prune_sparse_layer *l, size_t remain)
{
    size_t wanted = (size_t)llround((double)remain / (double)s->weights * (double)l->count);
    if (wanted < l->floor) wanted = l->floor;
    return wanted < l->kept ? wanted : l->kept;
}

static enum prune_code check_selection(const struct prune_sparse *s, const float *scores, size_t remain, bool per_layer, struct prune_status *st)
{
    size_t least = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct prune_sparse_layer *l = &s->layers[i];
        least += l->floor < l->kept ? l->floor : l->kept;
        for (size_t k = l->first; k < l->first + l->count; k++)
            if (s->keep[k] && !isfinite(scores[k])) return prune_fail(st, "score of weight %zu of layer %d is not finite", k - l->first, l->layer);
    }
    if (!per_layer && remain < least)
        return prune_fail_usage(st, "%zu of %zu weights cannot remain: at least %zu stay (%g of all), because no layer loses all its weights and protected ones lose none; raise -weights",
                                remain, s->weights, least, (double)least / (double)s->weights);
    return PRUNE_OK;
}

enum prune_code prune_sparse_select(struct prune_sparse *s, const float *scores, size_t remain, bool per_layer, struct prune_status *st)
{
    enum prune_code rc = check_selection(s, scores, remain, per_layer, st);
    if (rc || remain >= s->kept) return rc;
    size_t *bins = malloc(BINS * sizeof *bins);
    uint8_t *flags = malloc(s->weights + 1);
    if (!bins || !flags) {
        free(bins);
        free(flags);
        return prune_fail_memory(st, s->weights, "selection of weights");
    }
    for (size_t k = 0; k < s->weights; k++) flags[k] = s->keep[k] ? KEPT : GONE;
    for (size_t i = 0; i < s->count; i++) {
        const struct prune_sparse_layer *l = &s->layers[i];
        size_t keep = per_layer ? layer_target(s, l, remain) : l->floor;
        mark_lowest(scores + l->first, flags + l->first, l->count, KEPT, per_layer ? CHOSEN : ELIGIBLE, l->kept > keep ? l->kept - keep : 0, bins);
    }
    if (!per_layer) mark_lowest(scores, flags, s->weights, ELIGIBLE, CHOSEN, s->kept - remain, bins);
    for (size_t k = 0; k < s->weights; k++) s->keep[k] = s->keep[k] && flags[k] != CHOSEN;
    free(bins);
    free(flags);
    count_kept(s);
    return PRUNE_OK;
}

enum prune_code prune_sparse_hold(const struct prune_sparse *s, const struct prune_host *host, struct prune_host_net *net, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; i < s->count && !rc; i++) {
        const struct prune_sparse_layer *l = &s->layers[i];
        if (l->kept < l->count) rc = host->zeros_hold(net, l->layer, s->keep + l->first, l->count, st);
    }
    return rc;
}

cJSON *prune_sparse_json(const struct prune_sparse *s, const struct prune_net *net)
{
    cJSON *object = cJSON_CreateObject(), *layers = cJSON_AddArrayToObject(object, "layers");
    for (size_t i = 0; i < s->count && layers; i++) {
        const struct prune_sparse_layer *l = &s->layers[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddNumberToObject(row, "layer", l->layer);
        cJSON_AddStringToObject(row, "kind", prune_kind_info(net->layers[l->layer].kind)->name);
        cJSON_AddNumberToObject(row, "weights", (double)l->count);
        cJSON_AddNumberToObject(row, "remaining", (double)l->kept);
        cJSON_AddItemToArray(layers, row);
    }
    cJSON_AddNumberToObject(object, "weights", (double)s->weights);
    cJSON_AddNumberToObject(object, "remaining", (double)s->kept);
    cJSON_AddNumberToObject(object, "other_parameters", (double)net->parameters - (double)s->weights);
    return object;
}

double prune_sparse_macs(const struct prune_sparse *s, const struct prune_net *net)
{
    double macs = (double)net->macs;
    for (size_t i = 0; i < s->count; i++) {
        const struct prune_sparse_layer *l = &s->layers[i];
        macs -= (double)net->layers[l->layer].macs * (double)(l->count - l->kept) / (double)l->count;
    }
    return macs;
}
