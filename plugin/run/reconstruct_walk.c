/* See reconstruct_walk.h. Letters: N images. */
#include "reconstruct_walk.h"

#include <stdlib.h>
#include <string.h>

enum { NEW = 2 };                        /* wanted[]: kept from this sweep on, to be filled by it */
static const double DEFAULT_MEMORY = 2147483648.0;

static enum prune_code side_open(struct prune_walk_side *s, const struct prune_host *host, const struct prune_walk_input *in, int side, struct prune_status *st)
{
    size_t layers = in->shape[side]->layer_count;
    struct prune_net_facts facts;
    s->shape = in->shape[side];
    s->kept = calloc(layers + 1, sizeof *s->kept);
    s->wanted = calloc(layers + 1, 1);
    s->given = calloc(layers + 1, sizeof *s->given);
    if (!s->kept || !s->wanted || !s->given) return prune_fail_memory(st, layers * sizeof *s->kept, "kept outputs");
    enum prune_code rc = host->open(host->context, in->cfg[side], in->weights[side], &in->open, &s->net, st);
    if (rc) return rc;
    host->facts(s->net, &facts);
    s->batch = facts.batch > 0 ? (size_t)facts.batch : 1;
    return PRUNE_OK;
}

static enum prune_code load(struct prune_walk *w, const struct prune_image_set *set, struct prune_status *st)
{
    size_t n = set->limit;
    double bytes = (double)n * (double)w->inputs * sizeof *w->images;
    if (!n || bytes > w->memory)
        return prune_fail(st, "%zu images of %zu values take %.0f MB, and %.0f MB are allowed; use fewer images or more memory", n, w->inputs, bytes / 1e6, w->memory / 1e6);
    w->images = malloc(n * w->inputs * sizeof *w->images);
    if (!w->images) return prune_fail_memory(st, (size_t)bytes, "images");
    enum prune_code rc = w->host->load_images(w->sides[PRUNE_ORIGINAL].net, set, n, w->images, &w->count, st);
    if (!rc && !w->count) rc = prune_fail(st, "'%s' names no images to reconstruct from", set->data_path);
    return rc;
}

enum prune_code prune_walk_open(struct prune_walk *w, const struct prune_host *host, const struct prune_walk_input *in, struct prune_status *st)
{
    *w = (struct prune_walk){.host = host, .inputs = (size_t)in->shape[PRUNE_ORIGINAL]->inputs, .memory = in->memory > 0 ? in->memory : DEFAULT_MEMORY};
    enum prune_code rc = PRUNE_OK;
    if (in->shape[PRUNE_PRUNED]->inputs != in->shape[PRUNE_ORIGINAL]->inputs)
        rc = prune_fail(st, "'%s' and '%s' read images of different sizes", in->cfg[PRUNE_ORIGINAL], in->cfg[PRUNE_PRUNED]);
    for (int side = 0; !rc && side < PRUNE_SIDES; side++) rc = side_open(&w->sides[side], host, in, side, st);
    if (!rc) rc = load(w, &in->images, st);
    if (rc) {
        prune_walk_close(w);
        return rc;
    }
    size_t a = w->sides[PRUNE_ORIGINAL].batch, b = w->sides[PRUNE_PRUNED].batch;
    w->batch = a < b ? a : b;
    return PRUNE_OK;
}

void prune_walk_close(struct prune_walk *w)
{
    for (int side = 0; side < PRUNE_SIDES; side++) {
        struct prune_walk_side *s = &w->sides[side];
        for (size_t i = 0; s->kept && i < s->shape->layer_count; i++) free(s->kept[i]);
        free(s->kept);
        free(s->wanted);
        free(s->given);
        if (s->net) w->host->close(s->net);
    }
    free(w->images);
    *w = (struct prune_walk){0};
}

/* wanted[j]: layer j < at is read by a layer from `at` on. The sum of their outputs and of those kept now, which are needed until then. */
static double mark_wanted(struct prune_walk_side *s, int at)
{
    const struct prune_net *net = s->shape;
    double values = 0;
    memset(s->wanted, 0, net->layer_count);
    for (size_t i = (size_t)at; i < net->layer_count; i++)
        for (size_t k = 0; k < net->layers[i].source_count; k++) {
            int j = net->layers[i].sources[k];
            if (j >= 0 && j < at) s->wanted[j] = 1;
        }
    for (size_t j = 0; j < net->layer_count; j++)
        if (s->wanted[j] || s->kept[j]) values += (double)net->layers[j].outputs;
    return values;
}

/* Room for the checkpoint at `at` on both sides, where it fits the budget; else both stay at the one they have. */
static bool make_room(struct prune_walk *w, const int at[PRUNE_SIDES])
{
    double values = (double)w->inputs;
    bool fits = true;
    for (int side = 0; side < PRUNE_SIDES; side++) values += mark_wanted(&w->sides[side], at[side]);
    fits = values * (double)w->count * sizeof(float) <= w->memory;
    for (int side = 0; fits && side < PRUNE_SIDES; side++) {
        struct prune_walk_side *s = &w->sides[side];
        for (size_t j = 0; j < s->shape->layer_count; j++) {
            if (!s->wanted[j] || s->kept[j]) continue;
            s->kept[j] = malloc((size_t)s->shape->layers[j].outputs * w->count * sizeof **s->kept);
            if (!s->kept[j]) fits = false;
            else s->wanted[j] = NEW;
        }
    }
    return fits;
}

/* Keeps what the checkpoint needs, or, when it was not made, drops what was meant for it. */
static void settle(struct prune_walk_side *s, bool made, int at)
{
    for (size_t j = 0; j < s->shape->layer_count; j++) {
        bool drop = made ? !s->wanted[j] : s->wanted[j] == NEW;
        if (!drop) continue;
        free(s->kept[j]);
        s->kept[j] = NULL;
    }
    if (made) s->from = at;
}

/* Runs the layers up to `at` on the checkpoint's outputs of some images. */
static enum prune_code run_side(const struct prune_walk *w, struct prune_walk_side *s, int at, size_t first, size_t n, struct prune_status *st)
{
    size_t count = 0;
    for (size_t j = 0; j < s->shape->layer_count; j++)
        if (s->kept[j] && s->wanted[j] != NEW)
            s->given[count++] = (struct prune_given_output){(int)j, s->kept[j] + first * (size_t)s->shape->layers[j].outputs};
    return w->host->forward_layers(s->net, w->images + first * w->inputs, s->given, count, n, s->from, at - 1, st);
}

/* What the new checkpoint needs of the layers just run. */
static enum prune_code keep_new(const struct prune_walk *w, struct prune_walk_side *s, size_t first, size_t n, struct prune_status *st)
{
    for (size_t j = 0; j < s->shape->layer_count; j++) {
        struct prune_tensor view;
        size_t outputs = (size_t)s->shape->layers[j].outputs;
        if (s->wanted[j] != NEW) continue;
        enum prune_code rc = w->host->output(s->net, (int)j, &view, st);
        if (rc) return rc;
        memcpy(s->kept[j] + first * outputs, view.data, n * outputs * sizeof **s->kept);
    }
    return PRUNE_OK;
}

static enum prune_code run_batch(struct prune_walk *w, const int at[PRUNE_SIDES], bool keep, size_t first, size_t n, prune_walk_sink sink, void *user, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (int side = 0; !rc && side < PRUNE_SIDES; side++) {
        rc = run_side(w, &w->sides[side], at[side], first, n, st);
        if (!rc && keep) rc = keep_new(w, &w->sides[side], first, n, st);
    }
    return rc ? rc : sink(user, first, n, st);
}

enum prune_code prune_walk_sweep(struct prune_walk *w, const int at[PRUNE_SIDES], prune_walk_sink sink, void *user, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    bool keep = make_room(w, at);
    for (size_t first = 0; !rc && first < w->count; first += w->batch)
        rc = run_batch(w, at, keep, first, w->count - first < w->batch ? w->count - first : w->batch, sink, user, st);
    for (int side = 0; side < PRUNE_SIDES; side++) settle(&w->sides[side], keep && !rc, at[side]);
    return rc;
}

enum prune_code prune_walk_output(const struct prune_walk *w, int side, int layer, size_t first_image, const float **values, struct prune_status *st)
{
    struct prune_tensor view;
    if (layer < 0) {
        *values = w->images + first_image * w->inputs;
        return PRUNE_OK;
    }
    enum prune_code rc = w->host->output(w->sides[side].net, layer, &view, st);
    if (!rc) *values = view.data;
    return rc;
}
