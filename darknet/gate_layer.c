/* Gates on channels: wrapped forward and backward of a layer; see gate_layer.h. Let y be what the gate multiplies: the batch-normed (or
 * biased) sum before the activation, or the layer's output. Forward: z y. Backward, with delta = -dE/d(z y): dE/dz = -sum(delta y), delta *= z.
 * Shapes: B images, C channels, S values per channel and image; arrays are (B, C, S). Behind batch-norm nothing is passed over: its kernels apply the
 * gate and hand out the sums they take anyway (kernels/batchnorm.h). Elsewhere a layer is passed by value, so the wrapper runs the original with
 * activation = LINEAR where that helps; y is read from the output, or from a copy where it cannot be. The slot hangs on `layer.wg`, a pointer that only LSTM layers
 * use, and thus survives resizing and needs no global table. */
#include "gate_layer.h"

#include <math.h>

#include "context.h"
#include "kernels/batchnorm.h"
#include "kernels/overrides.h"
#include "kernels/pool.h"

struct gate_side {
    int *unit;          /* (C) unit or -1 = no gate; NULL: no gate of this place in the layer */
    float *copy;        /* (B, C, S) y before scaling, where it cannot be had back */
    size_t capacity;    /* of copy, in floats */
    bool kept;          /* the last forward pass filled copy */
};

struct gate_slot {
    struct gate_table *table;
    void (*forward)(layer, network);
    void (*backward)(layer, network);
    struct layer *field;               /* what layer.wg held */
    int channels;
    struct gate_side before, after;    /* the activation; the output */
    bool overwritten;                  /* the next layer changes this one's output in place (dropout) */
    bool inner;                        /* those before the activation sit in front of batch-norm */
    float *z;                          /* (C) gates before the activation, as the kernels want them */
};

struct gate_table {
    network *net;
    size_t units;
    float *z;                          /* (units) */
    unsigned signals;
    double *batch_sums;                /* (units) */
    float *image_sums;                 /* (images, units) or NULL */
    bool muted;                        /* backward passes add nothing up */
    float *rows;                       /* not NULL: where gradients go instead, every row_stride floats */
    size_t row_stride;
    size_t images, first_image;        /* room in image_sums; images of earlier passes of this minibatch */
    void *work;                        /* sums of one layer: at most (B, C) */
    size_t work_bytes;
    bool failed;
    struct gate_slot *slots;           /* (layers); forward == NULL: not wrapped */
    int layers;
};

static size_t spatial(const struct gate_slot *s, const layer *l) { return (size_t)(l->outputs / s->channels); }

static float gate_of(const struct gate_slot *s, const struct gate_side *side, int channel)
{
    int unit = side->unit[channel];
    return unit < 0 ? 1.0f : s->table->z[unit];
}

static bool all_open(const struct gate_slot *s, const struct gate_side *side)
{
    for (int c = 0; c < s->channels; c++)
        if (gate_of(s, side, c) != 1.0f) return false;
    return true;
}

/* Batch-norm inside the layer or the layer itself. */
static bool normalises(const layer *l) { return l->batch_normalize || l->type == BATCHNORM; }

struct scaling { const struct gate_slot *slot; const struct gate_side *side; const layer *l; float *values; int tasks; };

static void scale_task(void *arg, int task, int thread)
{
    const struct scaling *j = arg;
    size_t area = spatial(j->slot, j->l), channels = (size_t)j->slot->channels, last = pool_first((size_t)j->l->batch, task + 1, j->tasks);
    (void)thread;
    for (size_t b = pool_first((size_t)j->l->batch, task, j->tasks); b < last; b++)
        for (size_t c = 0; c < channels; c++) {
            float z = gate_of(j->slot, j->side, (int)c), *row = j->values + (b * channels + c) * area;
            if (z == 1.0f) continue;
            if (z == 0.0f) memset(row, 0, area * sizeof *row);   /* 0 even where the value is infinite */
            else for (size_t i = 0; i < area; i++) row[i] *= z;
        }
}

static void scale_channels(const struct gate_slot *s, const struct gate_side *side, const layer *l, float *values)
{
    struct scaling j = {s, side, l, values, pool_split((size_t)l->batch, (size_t)l->outputs * (size_t)l->batch)};
    pool_run(j.tasks, scale_task, &j);
}

static void keep_copy(struct gate_slot *s, struct gate_side *side, const layer *l)
{
    size_t n = (size_t)l->outputs * (size_t)l->batch;
    if (n > side->capacity) {
        free(side->copy);
        side->copy = malloc(n * sizeof *side->copy);
        side->capacity = side->copy ? n : 0;
    }
    side->kept = side->copy != NULL;
    if (side->kept) memcpy(side->copy, l->output, n * sizeof *side->copy);
    else s->table->failed = true;
}

/* Also f(z y) = f'(z y) z y: the gradient can be had from the output. */
bool gate_passes_factor(ACTIVATION f) { return f == LINEAR || f == RELU || f == LEAKY; }

static bool any_shut(const struct gate_slot *s, const struct gate_side *side)
{
    for (int c = 0; c < s->channels; c++)
        if (gate_of(s, side, c) == 0.0f) return true;
    return false;
}

static const float *channel_gates(struct gate_slot *s)
{
    for (int c = 0; c < s->channels; c++) s->z[c] = gate_of(s, &s->before, c);
    return s->z;
}

/* Frozen batch-norm with the factor in front, y = a z x + b, from a x + b. */
static void scale_inner(const struct gate_slot *s, const float *gates, const layer *l)
{
    size_t area = spatial(s, l);
    for (size_t row = 0; row < (size_t)l->batch * (size_t)s->channels; row++) {
        float z = gates[row % (size_t)s->channels], a, b, *y = l->output + row * area;
        if (z == 1.0f) continue;
        batchnorm_coefficients(*l, true, (int)(row % (size_t)s->channels), &a, &b);
        for (size_t i = 0; i < area; i++) y[i] = z == 0.0f ? b : z * y[i] + (1 - z) * b;
    }
}

static void forward_before(struct gate_slot *s, layer l, network net)
{
    bool open = all_open(s, &s->before), keep = net.train && s->table->signals && !normalises(&l);
    if (gate_passes_factor(l.activation) && !s->overwritten && !any_shut(s, &s->before) && !(s->table->signals & PRUNE_SIGNAL_PRODUCT)) keep = false;
    s->before.kept = false;
    if (!open && normalises(&l) && !batchnorm_frozen(net)) {
        const struct batchnorm_gate gate = {.z = channel_gates(s), .inner = s->inner};
        host_context()->gate = &gate;
        s->forward(l, net);
        host_context()->gate = NULL;
        return;
    }
    if (open && !keep) {
        s->forward(l, net);
        return;
    }
    ACTIVATION activation = l.activation;
    l.activation = LINEAR;
    s->forward(l, net);
    if (keep) keep_copy(s, &s->before, &l);
    if (!open && s->inner) scale_inner(s, channel_gates(s), &l);
    else if (!open) scale_channels(s, &s->before, &l, l.output);
    activate_array(l.output, l.outputs * l.batch, activation);
}

static void forward_gated(layer l, network net)
{
    struct gate_slot *s = (struct gate_slot *)(void *)l.wg;
    if (s->before.unit) forward_before(s, l, net);
    else s->forward(l, net);
    if (!s->after.unit) return;
    s->after.kept = false;
    bool open = all_open(s, &s->after);
    if (net.train && (!open || (s->overwritten && s->table->signals))) keep_copy(s, &s->after, &l);
    if (!open) scale_channels(s, &s->after, &l, l.output);
}

/* Pieces summed in single precision, added up in double: about 1e-6 of the sum of magnitudes. */
static double sum_product(float *delta, const float *y, size_t n)
{
    enum { PIECE = 2048 };
    double sum = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        float product = 0;
        (void)vector_ops()->gradient(n - i < PIECE ? n - i : PIECE, delta + i, NULL, VECTOR_LINEAR, y + i, 0, &product);
        sum += (double)product;
    }
    return sum;
}

/* Which sums a backward pass is to make. */
static unsigned collected(const struct gate_table *g)
{
    if (g->muted) return 0;
    return g->rows ? PRUNE_SIGNAL_GATE_IMAGE : g->signals & (PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE);
}

static void add_gradient(struct gate_table *g, int unit, int image, double gradient)
{
    if (g->rows) {
        g->rows[(size_t)image * g->row_stride + (size_t)unit] += (float)gradient;
        return;
    }
    g->batch_sums[unit] += gradient;
    size_t row = g->first_image + (size_t)image;
    if (g->image_sums && row < g->images) g->image_sums[row * g->units + (size_t)unit] += (float)gradient;
}

struct direct {
    const struct gate_slot *slot;
    const struct gate_side *side;
    const layer *l;
    const float *values;     /* (B, C, S) y */
    double *out;             /* (B, C) */
    int tasks;
};

static void direct_task(void *arg, int task, int thread)
{
    const struct direct *d = arg;
    size_t channels = (size_t)d->slot->channels, area = spatial(d->slot, d->l), last = pool_first((size_t)d->l->batch, task + 1, d->tasks);
    (void)thread;
    for (size_t row = pool_first((size_t)d->l->batch, task, d->tasks) * channels; row < last * channels; row++)
        if (d->side->unit[row % channels] >= 0) d->out[row] = -sum_product(d->l->delta + row * area, d->values + row * area, area);
}

static void *work_room(struct gate_table *g, size_t bytes)
{
    if (bytes > g->work_bytes) {
        free(g->work);
        g->work = malloc(bytes);
        g->work_bytes = g->work ? bytes : 0;
    }
    if (!g->work) g->failed = true;
    return g->work;
}

/* A pass of its own: -sum(delta values) of every image, over z when the values have been multiplied by it. */
static void add_direct(struct gate_slot *s, const struct gate_side *side, const layer *l, const float *values, bool multiplied)
{
    struct direct d = {.slot = s, .side = side, .l = l, .values = values};
    size_t channels = (size_t)s->channels;
    d.out = work_room(s->table, (size_t)l->batch * channels * sizeof *d.out);
    if (!d.out) return;
    d.tasks = pool_split((size_t)l->batch, (size_t)l->outputs * (size_t)l->batch);
    pool_run(d.tasks, direct_task, &d);
    for (int b = 0; b < l->batch; b++)
        for (size_t c = 0; c < channels; c++)
            if (side->unit[c] >= 0)
                add_gradient(s->table, side->unit[c], b, d.out[(size_t)b * channels + c] / (multiplied ? (double)gate_of(s, side, (int)c) : 1));
}

/* dE/dz = -sum(delta y) with y = a (x - mean) + bias (or, in front of batch-norm, what z does to y), from sums that the backward pass has taken of `rows`
 * images, or of all (1). */
static void add_normalised(struct gate_slot *s, const layer *l, bool frozen, const struct plane_sums *sums, int rows)
{
    for (int c = 0; c < s->channels; c++) {
        float a, b;
        if (s->before.unit[c] < 0) continue;
        batchnorm_coefficients(*l, frozen, c, &a, &b);
        for (int row = 0; row < rows; row++) {
            const struct plane_sums *sum = &sums[(size_t)row * (size_t)s->channels + (size_t)c];
            double slope = -((double)a * sum->product + (double)l->biases[c] * sum->delta);
            if (s->inner) slope = batchnorm_inner_slope(l, frozen, c, gate_of(s, &s->before, c), sum);
            add_gradient(s->table, s->before.unit[c], row, slope);
        }
    }
}

static void backward_normalised(struct gate_slot *s, layer l, network net, unsigned signals)
{
    size_t rows = signals & PRUNE_SIGNAL_GATE_IMAGE ? (size_t)l.batch : 1, bytes = rows * (size_t)s->channels * sizeof(struct plane_sums);
    struct plane_sums *sums = signals ? work_room(s->table, bytes) : NULL;
    const struct batchnorm_gate gate = {channel_gates(s), s->inner, rows > 1 ? sums : NULL, rows > 1 ? NULL : sums};
    host_context()->gate = &gate;
    s->backward(l, net);
    host_context()->gate = NULL;
    if (sums) add_normalised(s, &l, batchnorm_frozen(net), sums, (int)rows);
}

static void backward_before(struct gate_slot *s, layer l, network net)
{
    unsigned signals = net.train ? collected(s->table) : 0;
    bool open = all_open(s, &s->before);
    if (open && !signals) {
        s->backward(l, net);
        return;
    }
    if (normalises(&l)) {
        backward_normalised(s, l, net, signals);
        return;
    }
    bool from_output = signals && !s->before.kept;
    if (from_output) add_direct(s, &s->before, &l, l.output, true);
    if (open && from_output) {
        s->backward(l, net);
        return;
    }
    gradient_array(l.output, l.outputs * l.batch, l.activation, l.delta);
    l.activation = LINEAR;
    if (signals && s->before.kept) add_direct(s, &s->before, &l, s->before.copy, false);
    if (!open) scale_channels(s, &s->before, &l, l.delta);
    s->backward(l, net);
}

static void backward_gated(layer l, network net)
{
    struct gate_slot *s = (struct gate_slot *)(void *)l.wg;
    if (s->after.unit) {
        /* the original must see the output it produced */
        if (s->after.kept) l.output = s->after.copy;
        if (net.train && collected(s->table)) add_direct(s, &s->after, &l, l.output, false);
        scale_channels(s, &s->after, &l, l.delta);
    }
    if (s->before.unit) backward_before(s, l, net);
    else s->backward(l, net);
}

static int *unit_map(int channels)
{
    int *map = malloc((size_t)channels * sizeof *map);
    for (int c = 0; map && c < channels; c++) map[c] = -1;
    return map;
}

static int channels_of(const layer *l)
{
    if (l->out_c > 0 && l->outputs % l->out_c == 0) return l->out_c;
    return l->outputs;
}

static enum prune_code place_site(struct gate_table *g, const struct prune_gate_site *site, struct prune_status *st)
{
    if (site->layer < 0 || site->layer >= g->layers) return prune_fail(st, "gate on layer %d, the network has %d layers", site->layer, g->layers);
    const layer *l = &g->net->layers[site->layer];
    struct gate_slot *s = &g->slots[site->layer];
    bool before = site->place != PRUNE_GATE_AFTER_OUTPUT, inner = site->place == PRUNE_GATE_BEFORE_NORM && normalises(l);
    if (before && l->type != CONVOLUTIONAL && l->type != CONNECTED && l->type != BATCHNORM)
        return prune_fail(st, "gate before the activation of layer %d: only convolutional, connected and batchnorm layers can carry it", site->layer);
    if (l->type == DROPOUT || l->type == LSTM || l->type == NETWORK)
        return prune_fail(st, "gate on layer %d: a layer of this type cannot carry one", site->layer);
    int channels = channels_of(l);
    if (site->channel < 0 || site->channel >= channels || site->unit < 0 || (size_t)site->unit >= g->units)
        return prune_fail(st, "gate on layer %d, channel %d, unit %d: the layer has %d channels, there are %zu units", site->layer, site->channel, site->unit,
                          channels, g->units);
    /* a standalone batch-norm has no activation: its output is the place, and needs nothing of its inner buffers */
    struct gate_side *side = before && (inner || l->type != BATCHNORM) ? &s->before : &s->after;
    if (side == &s->before && side->unit && s->inner != inner)
        return prune_fail(st, "gates in front of and behind the batch-norm of layer %d at once", site->layer);
    if (side == &s->before) s->inner = inner;
    s->table = g;
    s->channels = channels;
    if (!side->unit) side->unit = unit_map(channels);
    if (!side->unit) return prune_fail_memory(st, (size_t)channels * sizeof *side->unit, "gates");
    if (side->unit[site->channel] >= 0) return prune_fail(st, "two gates on layer %d, channel %d", site->layer, site->channel);
    side->unit[site->channel] = site->unit;
    return PRUNE_OK;
}

static enum prune_code wrap_layer(struct gate_table *g, int index, struct prune_status *st)
{
    struct gate_slot *s = &g->slots[index];
    layer *l = &g->net->layers[index];
    if (!s->before.unit && !s->after.unit) return PRUNE_OK;
    s->z = calloc((size_t)s->channels, sizeof *s->z);
    if (!s->z) return prune_fail_memory(st, (size_t)s->channels * sizeof(float), "gates");
    s->overwritten = index + 1 < g->layers && l[1].type == DROPOUT;
    s->forward = l->forward;
    s->backward = l->backward;
    s->field = l->wg;
    l->forward = forward_gated;
    l->backward = backward_gated;
    l->wg = (struct layer *)(void *)s;
    return PRUNE_OK;
}

enum prune_code gate_attach(struct gate_table **out, network *net, const struct prune_gate_site *sites, size_t n, size_t units, struct prune_status *st)
{
    size_t room = units ? units : 1;
    struct gate_table *g = calloc(1, sizeof *g);
    if (!g) return prune_fail_memory(st, sizeof *g, "gates");
    g->net = net;
    g->units = units;
    g->layers = net->n;
    g->z = malloc(room * sizeof *g->z);
    g->batch_sums = calloc(room, sizeof *g->batch_sums);
    g->slots = calloc((size_t)net->n, sizeof *g->slots);
    enum prune_code rc = g->z && g->batch_sums && g->slots ? PRUNE_OK : prune_fail_memory(st, room * sizeof(double), "gates");
    for (size_t u = 0; !rc && u < units; u++) g->z[u] = 1.0f;
    for (size_t i = 0; !rc && i < n; i++) rc = place_site(g, &sites[i], st);
    for (int i = 0; !rc && i < g->layers; i++) rc = wrap_layer(g, i, st);
    if (rc) gate_detach(g);
    else *out = g;
    return rc;
}

static void side_free(struct gate_side *side)
{
    free(side->unit);
    free(side->copy);
}

void gate_detach(struct gate_table *g)
{
    if (!g) return;
    for (int i = 0; g->slots && i < g->layers; i++) {
        struct gate_slot *s = &g->slots[i];
        if (s->forward) {
            g->net->layers[i].forward = s->forward;
            g->net->layers[i].backward = s->backward;
            g->net->layers[i].wg = s->field;
        }
        side_free(&s->before);
        side_free(&s->after);
        free(s->z);
    }
    free(g->slots);
    free(g->z);
    free(g->batch_sums);
    free(g->image_sums);
    free(g->work);
    free(g);
}

float *gate_values(struct gate_table *g) { return g->z; }
size_t gate_units(const struct gate_table *g) { return g->units; }

const int *gate_channels(const struct gate_table *g, int layer, enum prune_gate_place place, int *channels)
{
    const struct gate_slot *s = &g->slots[layer];
    *channels = s->channels;
    if (place == PRUNE_GATE_AFTER_OUTPUT) return s->after.unit;
    return (place == PRUNE_GATE_BEFORE_NORM) == s->inner ? s->before.unit : NULL;
}

enum prune_code gate_collect(struct gate_table *g, unsigned signals, size_t images, struct prune_status *st)
{
    signals &= PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_PRODUCT;
    free(g->image_sums);
    g->image_sums = NULL;
    g->images = 0;
    g->signals = 0;
    if (signals & PRUNE_SIGNAL_GATE_IMAGE) {
        size_t count = images * g->units;
        if (g->units && images > SIZE_MAX / sizeof(float) / g->units) return prune_fail(st, "gate gradients of %zu images do not fit into memory", images);
        g->image_sums = calloc(count ? count : 1, sizeof *g->image_sums);
        if (!g->image_sums) return prune_fail_memory(st, count * sizeof *g->image_sums, "gate gradients per image");
        g->images = images;
    }
    g->signals = signals;
    gate_signals_reset(g);
    return PRUNE_OK;
}

void gate_signals_reset(struct gate_table *g)
{
    for (size_t u = 0; u < g->units; u++) g->batch_sums[u] = 0;
    if (g->image_sums) memset(g->image_sums, 0, g->images * g->units * sizeof *g->image_sums);
    g->first_image = 0;
}

void gate_redirect(struct gate_table *g, float *rows, size_t stride)
{
    g->rows = rows;
    g->row_stride = stride;
}

void gate_mute(struct gate_table *g, bool muted) { g->muted = muted; }

struct gate_view gate_view(const struct gate_table *g, int index)
{
    const struct gate_slot *s = &g->slots[index];
    const layer *l = &g->net->layers[index];
    if (!s->forward) return (struct gate_view){.forward = l->forward, .backward = l->backward, .channels = channels_of(l), .output = l->output};
    return (struct gate_view){s->forward, s->backward, s->channels, s->before.unit, s->after.unit, s->inner, s->before.kept ? s->before.copy : NULL,
                              s->after.kept ? s->after.copy : l->output};
}

int gate_lowest(const struct gate_table *g)
{
    int i = 0;
    while (i < g->layers && !g->slots[i].forward) i++;
    return i;
}

void gate_signals_advance(struct gate_table *g, size_t images) { g->first_image += images; }
const double *gate_batch_sums(const struct gate_table *g) { return g->batch_sums; }
const float *gate_image_sums(const struct gate_table *g) { return g->image_sums; }
bool gate_failed(const struct gate_table *g) { return g->failed; }
