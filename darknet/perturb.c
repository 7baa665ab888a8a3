/* Losses with other gates (plugin/host.h, perturb). In: images, candidates. Out, piece by piece of the images: every image's loss with the gates as they
 * are and with each candidate's, and if wanted the gate gradient there. For a piece one whole forward pass; then the candidates, those whose first gate
 * lies deepest first, so that what a candidate leaves behind its first gate is never read by a later one. The gated layer itself need not run again
 * where its output tells what another gate makes of it: its channels are scaled, and put back afterwards.
 * Letters: B images of a piece, K candidates, L layers. */
#include <math.h>
#include <string.h>

#include "../plugin/base/progress.h"
#include "backward.h"
#include "context.h"
#include "heads.h"
#include "detections.h"
#include "host_net.h"
#include "host_pjreddie.h"
#include "kernels/inference.h"
#include "kernels/overrides.h"
#include "network_parameters.h"

enum { PIECE = 32 };   /* images: maps of one layer and its filters share the caches */

static const enum prune_gate_place PLACES[] = {PRUNE_GATE_BEFORE_ACTIVATION, PRUNE_GATE_AFTER_OUTPUT, PRUNE_GATE_BEFORE_NORM};
enum { PLACE_COUNT = sizeof PLACES / sizeof *PLACES };

struct perturb {
    struct prune_host_net *n;
    struct gate_table *gates;          /* NULL: nothing changes anything */
    const struct prune_candidates *candidates;
    bool gradients;
    prune_perturb_sink sink;
    void *user;
    struct host_stream stream;
    struct prune_progress progress;
    size_t done;                       /* images times candidates */
    size_t *order;                     /* (K) by falling first layer */
    int *first;                        /* (K) first layer with a gate of the candidate's; -1: none */
    bool *alone;                       /* (K) its gates are in that layer only */
    float *z;                          /* (units) gates in force */
    double *before;                    /* (L + 1, B) loss of the layers in front, with the gates in force */
    double *image_loss;                /* (B) of the pass at hand */
    float *loss;                       /* (K, B) */
    double *gradient;                  /* (K) or NULL */
    float *kept;                       /* output of the layer `layer` with the gates in force */
    size_t room;                       /* of kept */
    int layer;                         /* whose candidates are at hand; -1: none yet */
};

/* What the layers in front of `index` leave for it. */
static network entering(const struct perturb *p, int index)
{
    network net = *p->n->open.net;
    for (int i = 0; i < index; i++)
        if (net.layers[i].truth) net.truth = net.layers[i].output;
    if (index > 0) {
        net.input = net.layers[index - 1].output;
        net.delta = net.layers[index - 1].delta;
    }
    net.index = index;
    return net;
}

static void clear_delta(const struct perturb *p, const layer *l)
{
    if (p->gradients && l->delta) memset(l->delta, 0, (size_t)l->outputs * (size_t)l->batch * sizeof *l->delta);
}

/* Heads of detectors compute their loss in training mode alone. */
static void run_layer(const struct perturb *p, network *net, int index)
{
    layer l = net->layers[index];
    int train = net->train;
    net->index = index;
    clear_delta(p, &l);
    if (is_detection_head(&l)) net->train = 1;
    l.forward(l, *net);
    net->train = train;
    net->input = l.output;
    if (l.truth) net->truth = l.output;
}

/* Adds the loss of layers first... to image_loss; before (NULL: not kept) gets what it was in front of every layer. */
static void run_layers(const struct perturb *p, int first, double *before)
{
    network net = entering(p, first);
    struct inference *in = host_context()->inference;
    size_t B = (size_t)net.batch;
    if (in) in->running = !p->gradients;
    for (int i = first; i < net.n; i++) {
        if (before) memcpy(before + (size_t)i * B, p->image_loss, B * sizeof *before);
        run_layer(p, &net, i);
    }
    if (in) in->running = false;
    if (before) memcpy(before + (size_t)net.n * B, p->image_loss, B * sizeof *before);
}

static float zero_of(ACTIVATION f)
{
    float x = 0;
    activate_array(&x, 1, f);
    return x;
}

/* Whether the layer's output with the gates in force tells what it is with z: the change of each gate there is a factor, or shuts it. */
static bool told_by_output(const struct perturb *p, const layer *l, const float *z)
{
    int channels, index = (int)(l - p->n->open.net->layers);
    if (p->gradients && (!l->batch_normalize || gate_channels(p->gates, index, PRUNE_GATE_AFTER_OUTPUT, &channels))) return false;   /* backward wants copies */
    for (int place = 0; place < PLACE_COUNT; place++) {
        const int *unit = gate_channels(p->gates, index, PLACES[place], &channels);
        bool activated = PLACES[place] != PRUNE_GATE_AFTER_OUTPUT;
        for (int c = 0; unit && c < channels; c++) {
            int u = unit[c];
            if (u < 0 || z[u] == p->z[u]) continue;
            if (PLACES[place] == PRUNE_GATE_BEFORE_NORM) return false;
            if (z[u] == 0) {
                if (activated && zero_of(l->activation) != 0) return false;
            } else if (p->z[u] != 1 || (activated && (!gate_passes_factor(l->activation) || z[u] < 0))) {
                return false;
            }
        }
    }
    return true;
}

/* Channels of the layer at hand whose gate differs from the one in force: their kept values times the new gate (1: as they were). */
static void scale_changed(const struct perturb *p, const float *z, bool back)
{
    const layer *l = &p->n->open.net->layers[p->layer];
    int channels;
    for (int place = 0; place < PLACE_COUNT; place++) {
        const int *unit = gate_channels(p->gates, p->layer, PLACES[place], &channels);
        if (!unit) continue;
        size_t area = (size_t)(l->outputs / channels);
        for (size_t row = 0; row < (size_t)l->batch * (size_t)channels; row++) {
            int u = unit[row % (size_t)channels];
            if (u < 0 || z[u] == p->z[u]) continue;
            float *out = l->output + row * area;
            if (back) memcpy(out, p->kept + row * area, area * sizeof *out);
            else if (z[u] == 0) memset(out, 0, area * sizeof *out);
            else for (size_t i = 0; i < area; i++) out[i] *= z[u];
        }
    }
}

/* What a candidate scales is zero already (dead channels): nothing behind its gates changes. */
static bool scales_zeros(const struct perturb *p, const float *z)
{
    const layer *l = &p->n->open.net->layers[p->layer];
    int channels;
    for (int place = 0; place < PLACE_COUNT; place++) {
        const int *unit = gate_channels(p->gates, p->layer, PLACES[place], &channels);
        if (!unit) continue;
        size_t area = (size_t)(l->outputs / channels);
        for (size_t row = 0; row < (size_t)l->batch * (size_t)channels; row++) {
            int u = unit[row % (size_t)channels];
            if (u < 0 || z[u] == p->z[u]) continue;
            for (size_t i = 0; i < area; i++)
                if (p->kept[row * area + i] != 0) return false;
        }
    }
    return true;
}

static void take_base(const struct perturb *p, size_t k, size_t B)
{
    for (size_t b = 0; b < B; b++) p->loss[k * B + b] = (float)p->before[(size_t)p->n->open.net->n * B + b];
}

static enum prune_code enter_layer(struct perturb *p, int index, struct prune_status *st)
{
    const layer *l = &p->n->open.net->layers[index];
    size_t n = (size_t)l->outputs * (size_t)l->batch;
    if (index == p->layer) return PRUNE_OK;
    if (n > p->room) {
        free(p->kept);
        p->room = 0;
        p->kept = malloc(n * sizeof *p->kept);
        if (!p->kept) return prune_fail_memory(st, n * sizeof *p->kept, "a layer's output");
        p->room = n;
    }
    memcpy(p->kept, l->output, n * sizeof *p->kept);
    p->layer = index;
    return PRUNE_OK;
}

/* Losses (and gate gradient) with the gates as the table has them now, from the layer at hand on; leaves that layer's output as it was. */
static void run_candidate(const struct perturb *p, size_t k, size_t B)
{
    const layer *l = &p->n->open.net->layers[p->layer];
    const float *z = gate_values(p->gates);
    bool told = told_by_output(p, l, z);
    if (told && !p->gradients && p->alone[k] && scales_zeros(p, z)) {
        take_base(p, k, B);
        return;
    }
    memcpy(p->image_loss, p->before + (size_t)p->layer * B, B * sizeof *p->image_loss);
    clear_delta(p, l);
    if (told) scale_changed(p, z, false);
    run_layers(p, p->layer + told, NULL);
    for (size_t b = 0; b < B; b++) p->loss[k * B + b] = (float)p->image_loss[b];
    if (p->gradients) {
        gate_signals_reset(p->gates);
        backward_gates(p->n->open.net, p->layer);
        p->gradient[k] = gate_batch_sums(p->gates)[p->candidates->units[p->candidates->first[k]]];
    }
    if (told) scale_changed(p, z, true);
    else memcpy(l->output, p->kept, (size_t)l->outputs * B * sizeof *l->output);
}

static enum prune_code candidate(struct perturb *p, size_t k, size_t B, struct prune_status *st)
{
    const struct prune_candidates *c = p->candidates;
    bool changes = p->gradients;
    for (size_t i = c->first[k]; i < c->first[k + 1]; i++) changes |= c->z[k] != p->z[c->units[i]];
    if (p->first[k] < 0 || !changes) {
        take_base(p, k, B);
        if (p->gradient) p->gradient[k] = 0;
        return PRUNE_OK;
    }
    enum prune_code rc = enter_layer(p, p->first[k], st);
    if (rc) return rc;
    float *z = gate_values(p->gates);
    for (size_t i = c->first[k]; i < c->first[k + 1]; i++) z[c->units[i]] = c->z[k];
    run_candidate(p, k, B);
    for (size_t i = c->first[k]; i < c->first[k + 1]; i++) z[c->units[i]] = p->z[c->units[i]];
    return PRUNE_OK;
}

static enum prune_code check_base(const struct perturb *p, size_t first, size_t B, struct prune_status *st)
{
    for (size_t b = 0; b < B; b++)
        if (!isfinite(p->image_loss[b]))
            return prune_fail(st, "loss is not finite on image %zu of the set (weights or batch-norm statistics are broken)", first + b + 1);
    return PRUNE_OK;
}

static enum prune_code one_piece(struct perturb *p, size_t first, size_t B, struct prune_status *st)
{
    set_batch_network(p->n->open.net, (int)B);
    memset(p->image_loss, 0, B * sizeof *p->image_loss);
    p->layer = -1;
    run_layers(p, 0, p->before);
    enum prune_code rc = check_base(p, first, B, st);
    for (size_t i = 0; !rc && i < p->candidates->count; i++) {
        rc = candidate(p, p->order[i], B, st);
        prune_progress_update(&p->progress, p->done += B, "%zu candidates", p->candidates->count);
        if (!rc && darknet_host()->interrupted(NULL)) {
            prune_fail(st, "interrupted after %zu images", first);
            rc = PRUNE_INTERRUPTED;
        }
    }
    if (!rc && p->gates && gate_failed(p->gates)) rc = prune_fail(st, "out of memory while the gates kept a layer's values; use a smaller batch");
    if (rc) return rc;
    const struct prune_perturbed piece = {.first_image = first, .images = B, .base = p->before + (size_t)p->n->open.net->n * B, .loss = p->loss,
                                          .gradient = p->gradient};
    return p->sink(p->user, &piece, st);
}

static enum prune_code pieces(struct perturb *p, struct prune_status *st)
{
    network *net = p->n->open.net;
    enum prune_code rc = host_stream_request(&p->stream, net, st);
    prune_progress_start(&p->progress, stderr, "perturb", p->stream.end * p->candidates->count);
    while (!rc && p->stream.at < p->stream.end) {
        size_t first = p->stream.at, got = 0;
        rc = host_stream_next(&p->stream, net, &got, st);
        if (!rc) rc = one_piece(p, first, got, st);
    }
    prune_progress_end(&p->progress);
    return rc;
}

/* Network and context as the pass wants them; both are put back. Without gradients in inference mode with its shortcuts. */
static enum prune_code prepared(struct perturb *p, struct prune_status *st)
{
    struct host_pause pause;
    struct host_context *context = host_context();
    struct inference inference;
    const bool quiet = context->quiet;
    host_pause_begin(p->n, &pause);
    p->n->open.net->train = p->gradients;
    context->rolling_statistics = true;
    context->quiet = true;
    context->image_loss = p->image_loss;
    inference_begin(&inference);
    enum prune_code rc = pieces(p, st);
    inference_end(&inference);
    context->image_loss = NULL;
    context->quiet = quiet;
    context->rolling_statistics = false;
    host_pause_end(p->n, &pause);
    return rc;
}

/* (units) first and last layer with a gate of the unit's, -1 where it has none */
static void layers_of_units(const struct perturb *p, int *first, int *last, size_t units)
{
    int channels;
    for (size_t u = 0; u < units; u++) first[u] = last[u] = -1;
    for (int layer = p->n->open.net->n - 1; layer >= 0; layer--)
        for (int place = 0; place < PLACE_COUNT; place++) {
            const int *unit = gate_channels(p->gates, layer, PLACES[place], &channels);
            for (int i = 0; unit && i < channels; i++)
                if (unit[i] >= 0) {
                    first[unit[i]] = layer;
                    if (last[unit[i]] < 0) last[unit[i]] = layer;
                }
        }
}

static enum prune_code plan_order(struct perturb *p, size_t units, struct prune_status *st)
{
    const struct prune_candidates *c = p->candidates;
    int *first = malloc((2 * units + 1) * sizeof *first), *last = first + units;
    size_t at = 0;
    if (!first) return prune_fail_memory(st, 2 * units * sizeof *first, "candidates");
    if (units) layers_of_units(p, first, last, units);
    for (size_t k = 0; k < c->count; k++) {
        int end = p->first[k] = -1;
        for (size_t i = c->first[k]; i < c->first[k + 1]; i++) {
            int layer = first[c->units[i]];
            if (layer >= 0 && (p->first[k] < 0 || layer < p->first[k])) p->first[k] = layer;
            if (last[c->units[i]] > end) end = last[c->units[i]];
        }
        p->alone[k] = end == p->first[k];
    }
    for (int layer = p->n->open.net->n - 1; layer >= -1; layer--)
        for (size_t k = 0; k < c->count; k++)
            if (p->first[k] == layer) p->order[at++] = k;
    free(first);
    return PRUNE_OK;
}

static enum prune_code plan(struct perturb *p, struct prune_status *st)
{
    const struct prune_candidates *c = p->candidates;
    size_t K = c->count ? c->count : 1, B = p->stream.room, L = (size_t)p->n->open.net->n, units = p->gates ? gate_units(p->gates) : 0;
    if (K > SIZE_MAX / sizeof(double) / B) return prune_fail(st, "losses of %zu candidates do not fit into memory", c->count);
    p->order = malloc(K * sizeof *p->order);
    p->first = malloc(K * sizeof *p->first);
    p->alone = malloc(K * sizeof *p->alone);
    p->z = malloc((units + 1) * sizeof *p->z);
    p->before = calloc((L + 1) * B, sizeof *p->before);
    p->image_loss = calloc(B, sizeof *p->image_loss);
    p->loss = calloc(K * B, sizeof *p->loss);
    p->gradient = p->gradients ? calloc(K, sizeof *p->gradient) : NULL;
    if (!p->order || !p->first || !p->alone || !p->z || !p->before || !p->image_loss || !p->loss || (p->gradients && !p->gradient))
        return prune_fail_memory(st, K * B * sizeof *p->loss, "losses of candidates");
    if (units) memcpy(p->z, gate_values(p->gates), units * sizeof *p->z);
    return plan_order(p, units, st);
}

static enum prune_code check(const struct perturb *p, struct prune_status *st)
{
    const struct prune_candidates *c = p->candidates;
    size_t units = p->gates ? gate_units(p->gates) : 0;
    for (size_t k = 0; k < c->count; k++) {
        if (c->first[k] > c->first[k + 1] || (p->gradients && c->first[k] == c->first[k + 1])) return prune_fail(st, "candidate %zu has no unit", k);
        if (!isfinite(c->z[k])) return prune_fail(st, "gate value of candidate %zu is not a finite number", k);
        for (size_t i = c->first[k]; i < c->first[k + 1]; i++)
            if (c->units[i] < 0 || (size_t)c->units[i] >= units) return prune_fail(st, "candidate %zu: no unit %d, there are %zu", k, c->units[i], units);
    }
    return network_loss_check(p->n->open.net, st);
}

static void release(struct perturb *p)
{
    host_images_close(&p->stream.source);
    free(p->order);
    free(p->first);
    free(p->alone);
    free(p->z);
    free(p->before);
    free(p->image_loss);
    free(p->loss);
    free(p->gradient);
    free(p->kept);
}

enum prune_code host_perturb(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_candidates *candidates, bool gradients,
                             prune_perturb_sink sink, void *user, struct prune_status *st)
{
    struct perturb p = {.n = n, .gates = host_gates(n), .candidates = candidates, .gradients = gradients, .sink = sink, .user = user};
    struct parameters_updates updates = {0};
    enum prune_code rc = check(&p, st);
    if (rc) return rc;
    p.stream.room = p.stream.minibatch = (size_t)(n->batch < PIECE ? n->batch : PIECE);
    rc = host_images_open(&p.stream.source, n, set, false, st);
    p.stream.end = p.stream.source.count;
    if (!rc) rc = plan(&p, st);
    if (!rc && p.gates && gradients) rc = gate_collect(p.gates, PRUNE_SIGNAL_GATE_BATCH, p.stream.room, st);
    /* some layers' backward passes add to the buffers that hold the momentum */
    if (!rc && gradients && !backward_leaves_updates(n->open.net)) rc = parameters_updates_save(n->open.net, &updates, st);
    if (!rc) rc = prepared(&p, st);
    if (updates.values) parameters_updates_restore(n->open.net, &updates);
    parameters_updates_free(&updates);
    enum prune_code off = p.gates && gradients ? gate_collect(p.gates, n->trainer ? n->hook.signals : 0, (size_t)n->batch, rc ? NULL : st) : PRUNE_OK;
    release(&p);
    return rc ? rc : off;
}
