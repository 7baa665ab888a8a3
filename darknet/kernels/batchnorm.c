/* Batch normalisation of convolutional, connected and standalone [batchnorm] layers; semantics in batchnorm.h.
 * Replaces the host's functions, whose backward pass is not the gradient of its forward pass, and whose standalone layer crashes.
 * Per-image sums are made in parallel and added up in image order, so results do not depend on timing. */
#include "batchnorm.h"

#include <math.h>
#include <string.h>

#include "../context.h"
#include "activation.h"
#include "overrides.h"
#include "pool.h"

static const float EPSILON = .000001f;

static size_t spatial(layer l) { return (size_t)l.out_h * (size_t)l.out_w; }

void moments_merge(struct moments *into, double count, double mean, double squares)
{
    double total = into->count + count, gap = mean - into->mean;

    if (count <= 0) return;
    into->mean += gap * count / total;
    into->squares += squares + gap * gap * into->count * count / total;
    into->count = total;
}

bool batchnorm_frozen(network net)
{
    const struct host_context *context = host_context();

    return !context->calibrating && (!net.train || context->rolling_statistics);
}

void batchnorm_take_channel(const layer *l, int c, const struct moments *m)
{
    const struct host_context *context = host_context();
    float share = context->calibrating ? 1 / (float)(context->calibration_batches + 1) : .01f;

    l->mean[c] = (float)m->mean;
    l->variance[c] = m->count > 1 ? (float)(m->squares / (m->count - 1)) : 0;
    if (context->calibrating) {
        l->rolling_mean[c] += (l->mean[c] - l->rolling_mean[c]) * share;
        l->rolling_variance[c] += (l->variance[c] - l->rolling_variance[c]) * share;
    } else {
        l->rolling_mean[c] = .99f * l->rolling_mean[c] + share * l->mean[c];
        l->rolling_variance[c] = .99f * l->rolling_variance[c] + share * l->variance[c];
    }
}

void batchnorm_take_moments(layer l, const struct moments *m)
{
    for (int c = 0; c < l.out_c; ++c) batchnorm_take_channel(&l, c, &m[c]);
}

void batchnorm_coefficients(layer l, bool frozen, int channel, float *a, float *b)
{
    float mean = frozen ? l.rolling_mean[channel] : l.mean[channel], variance = frozen ? l.rolling_variance[channel] : l.variance[channel];

    *a = l.scales[channel] / (sqrtf(variance) + EPSILON);
    *b = l.biases[channel] - mean * *a;
}

/* What an inner gate makes of 1 / (s + epsilon): y - bias = scale * k * (x - m); and its derivative by s. */
static double inner_factor(double s, double z) { return z / (fabs(z) * s + (double)EPSILON); }
static double inner_slope_by_s(double s, double z) { double d = fabs(z) * s + (double)EPSILON; return -z * fabs(z) / (d * d); }

double batchnorm_inner_slope(const layer *l, bool frozen, int c, float z, const struct plane_sums *sums)
{
    double s = sqrt((double)(frozen ? l->rolling_variance : l->variance)[c]), mean = (double)(frozen ? l->rolling_mean : l->mean)[c];
    double scale = (double)l->scales[c], d = fabs((double)z) * s + (double)EPSILON;

    if (frozen) return -scale / (s + (double)EPSILON) * (sums->product + mean * sums->delta);
    return -scale * sums->product * (double)EPSILON / (d * d);
}

struct job {
    layer l;
    bool frozen, normalised;
    enum vector_activation f;
    int tasks;
    struct moments *moments;          /* (batch, out_c) while collected */
    struct plane_sums *sums;          /* (batch, out_c); row 0 becomes the total */
    const float *z;                   /* NULL: no gate */
    bool inner;                       /* it is in front of the normalisation */
    struct vector_normal *normals;    /* (out_c) */
};

/* Tasks over planes: plane = image * out_c + channel. */
static size_t planes(const struct job *j) { return (size_t)j->l.batch * (size_t)j->l.out_c; }

static struct job job_make(layer l, bool frozen)
{
    const struct batchnorm_gate *gate = host_context()->gate;
    struct job j = {.l = l, .frozen = frozen, .z = gate ? gate->z : NULL, .inner = gate && gate->inner};

    j.tasks = pool_split(planes(&j), planes(&j) * spatial(l));
    return j;
}

/* Of a gate at zero nothing passes, not even infinity. */
static bool shut(const struct job *j, size_t channel) { return j->z && !j->inner && j->z[channel] == 0; }

/* y = f(a x + b), with the gate */
static void gated_coefficients(const struct job *j, int channel, float *a, float *b)
{
    batchnorm_coefficients(j->l, j->frozen, channel, a, b);
    if (!j->z || j->z[channel] == 1) return;
    if (!j->inner) {
        *a *= j->z[channel], *b *= j->z[channel];
    } else if (j->frozen) {
        *a *= j->z[channel];
    } else {
        *a = (float)((double)j->l.scales[channel] * inner_factor(sqrt((double)j->l.variance[channel]), (double)j->z[channel]));
        *b = j->l.biases[channel] - j->l.mean[channel] * *a;
    }
}

static void apply_plane(const struct job *j, size_t plane)
{
    const layer *l = &j->l;
    size_t n = spatial(*l), c = plane % (size_t)l->out_c;
    float a, b;

    gated_coefficients(j, (int)c, &a, &b);
    if (shut(j, c)) memset(l->output + plane * n, 0, n * sizeof *l->output);
    else vector_ops()->affine(n, l->x + plane * n, a, b, j->f, l->output + plane * n);
}

static void apply_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t last = pool_first(planes(j), task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(planes(j), task, j->tasks); i < last; ++i) apply_plane(j, i);
}

void batchnorm_apply_channel(const layer *l, bool frozen, int c, enum vector_activation f)
{
    struct job j = job_make(*l, frozen);

    j.f = f;
    for (int i = l->batch - 1; i >= 0; --i) apply_plane(&j, (size_t)i * (size_t)l->out_c + (size_t)c);   /* the last was written last */
}

void batchnorm_apply(layer l, bool frozen, ACTIVATION f)
{
    struct job j = job_make(l, frozen);
    bool fused = activation_fuses(f, &j.f);

    pool_run(j.tasks, apply_task, &j);
    if (!fused) activate_array(l.output, l.outputs * l.batch, f);
}

static void moments_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    const struct vector_ops *ops = vector_ops();
    size_t n = spatial(j->l), last = pool_first(planes(j), task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(planes(j), task, j->tasks); i < last; ++i) {
        const float *x = j->l.x + i * n;
        double mean = (double)ops->sum(n, x) / (double)n;
        j->moments[i] = (struct moments){(double)n, mean, (double)ops->squares(n, x, (float)mean)};
    }
}

void forward_batchnorm_layer(layer l, network net)
{
    bool frozen = batchnorm_frozen(net);

    copy_cpu(l.outputs * l.batch, l.type == BATCHNORM ? net.input : l.output, 1, l.x, 1);
    if (!frozen) {
        struct job j = job_make(l, frozen);
        j.moments = pool_buffer(POOL_SUMS, planes(&j) * sizeof *j.moments);
        pool_run(j.tasks, moments_task, &j);
        for (size_t i = (size_t)l.out_c; i < planes(&j); ++i) {
            moments_merge(&j.moments[i % (size_t)l.out_c], j.moments[i].count, j.moments[i].mean, j.moments[i].squares);
        }
        batchnorm_take_moments(l, j.moments);
    }
    batchnorm_apply(l, frozen, LINEAR);
}

static void sum_plane(const struct job *j, size_t i)
{
    const layer *l = &j->l;
    size_t n = spatial(*l), c = i % (size_t)l->out_c;
    float product = 0;

    if (j->normalised) j->sums[i].delta = (double)vector_ops()->normal_sums(n, l->delta + i * n, l->x + i * n, j->normals[c], &product);
    else j->sums[i].delta = (double)vector_ops()->gradient(n, l->delta + i * n, l->output + i * n, j->f, NULL, 0, NULL);
    j->sums[i].product = (double)product;
}

static void sums_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t last = pool_first(planes(j), task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(planes(j), task, j->tasks); i < last; ++i) sum_plane(j, i);
}

/* The same for an inner gate, y = scale k(s) (x - m) + bias, or frozen y = a z x + b. */
static void inner_channel_coefficients(const struct job *j, int c, struct plane_sums sums)
{
    const layer *l = &j->l;
    double z = (double)j->z[c], scale = (double)l->scales[c], count = (double)l->batch * (double)spatial(*l);
    double mean = (double)(j->frozen ? l->rolling_mean : l->mean)[c], s = sqrt((double)(j->frozen ? l->rolling_variance : l->variance)[c]);
    double k = j->frozen ? z / (s + (double)EPSILON) : inner_factor(s, z);
    double slope = j->frozen || s == 0 || count < 2 ? 0 : -scale * inner_slope_by_s(s, z) * sums.product / (s * (count - 1));

    if (!host_context()->gates_only) {
        l->bias_updates[c] += (float)sums.delta;
        l->scale_updates[c] += (float)(k * sums.product + (j->frozen ? mean * sums.delta * (k - 1 / (s + (double)EPSILON)) : 0));
    }
    j->normals[c].da = (float)(scale * k);
    j->normals[c].db = (float)-slope;
    j->normals[c].dc = j->frozen ? 0 : (float)(slope * mean - scale * k * sums.delta / count);
}

/* Gradient of the forward pass for one channel, sums taken behind its gate z: with g = scale * d, s = sqrt(variance) and k = 1 / (s + epsilon),
 * dx = k (g - mean g) - (x - mean) k^2 / (s (N - 1)) sum g (x - mean); frozen: dx = k g. */
static void channel_coefficients(const struct job *j, int c, struct plane_sums total)
{
    const layer *l = &j->l;
    double z = j->z ? (double)j->z[c] : 1, delta = shut(j, (size_t)c) ? 0 : z * total.delta, product = shut(j, (size_t)c) ? 0 : z * total.product;
    double count = (double)l->batch * (double)spatial(*l), mean = (double)l->mean[c];
    double s = sqrt((double)(j->frozen ? l->rolling_variance : l->variance)[c]), k = 1 / (s + (double)EPSILON);
    double g = (double)l->scales[c] * k;
    double slope = j->frozen || s == 0 || count < 2 ? 0 : g * k * product / (s * (count - 1));

    if (!host_context()->gates_only) {
        l->bias_updates[c] += (float)delta;
        l->scale_updates[c] += (float)(product * k);
    }
    j->normals[c].da = (float)(g * z);
    j->normals[c].db = (float)-slope;
    j->normals[c].dc = j->frozen ? 0 : (float)(slope * mean - g * delta / count);
}

/* Of one channel, row 0 of the sums becomes the total, in image order, and the rest of the pass follows from it. */
static void reduce_channel(const struct job *j, int c)
{
    size_t channels = (size_t)j->l.out_c;
    const struct batchnorm_gate *gate = host_context()->gate;

    for (size_t i = (size_t)c; i < planes(j); i += channels) {
        if (gate && gate->images) gate->images[i] = j->sums[i];
        if (i < channels) continue;
        j->sums[c].delta += j->sums[i].delta;
        j->sums[c].product += j->sums[i].product;
    }
    if (gate && gate->total) gate->total[c] = j->sums[c];
    if (j->normalised) (j->inner && j->z[c] != 1 ? inner_channel_coefficients : channel_coefficients)(j, c, j->sums[c]);
    else if (!host_context()->gates_only) j->l.bias_updates[c] += (float)j->sums[c].delta;
}

static struct job back_make(const layer *l, bool frozen, ACTIVATION f, bool normalised, struct plane_sums *sums)
{
    struct job j = job_make(*l, frozen);

    activation_fuses(f, &j.f);
    j.normalised = normalised;
    j.sums = sums;
    j.normals = (struct vector_normal *)(sums + planes(&j));
    return j;
}

struct batchnorm_back batchnorm_back_begin(const layer *l, network net, ACTIVATION f, bool normalised)
{
    size_t all = (size_t)l->batch * (size_t)l->out_c;
    struct batchnorm_back b = {.frozen = batchnorm_frozen(net), .f = f, .normalised = normalised};
    enum vector_activation fused;

    if (!activation_fuses(f, &fused)) gradient_array(l->output, l->outputs * l->batch, f, l->delta);
    b.sums = pool_buffer(POOL_SUMS, all * sizeof *b.sums + (size_t)l->out_c * sizeof(struct vector_normal));
    struct job j = back_make(l, b.frozen, f, normalised, b.sums);
    for (int c = 0; normalised && c < l->out_c; ++c) {
        j.normals[c] = (struct vector_normal){.mean = (j.frozen ? l->rolling_mean : l->mean)[c], .f = j.f};
        gated_coefficients(&j, c, &j.normals[c].a, &j.normals[c].b);
    }
    b.rest = (struct batchnorm_rest){l, normalised ? j.normals : NULL, j.inner ? NULL : j.z};
    return b;
}

void batchnorm_back_channel(const struct batchnorm_back *b, int c)
{
    struct job j = back_make(b->rest.l, b->frozen, b->f, b->normalised, b->sums);

    for (size_t i = (size_t)c; i < planes(&j); i += (size_t)j.l.out_c) sum_plane(&j, i);
    reduce_channel(&j, c);
}

struct batchnorm_rest batchnorm_backward_sums(const layer *l, network net, ACTIVATION f, bool normalised)
{
    struct batchnorm_back b = batchnorm_back_begin(l, net, f, normalised);
    struct job j = back_make(l, b.frozen, f, normalised, b.sums);

    pool_run(j.tasks, sums_task, &j);
    for (int c = 0; c < l->out_c; ++c) reduce_channel(&j, c);
    return b.rest;
}

void batchnorm_rest_run(const struct batchnorm_rest *r, int channel, size_t at, size_t n, float *out)
{
    if (r->z && r->z[channel] == 0) memset(out, 0, n * sizeof *out);
    else vector_ops()->normal_delta(n, r->l->delta + at, r->l->x + at, r->normals[channel], out);
}

struct rest_job { const struct batchnorm_rest *rest; int tasks; };

static void rest_task(void *arg, int task, int thread)
{
    const struct rest_job *j = arg;
    const layer *l = j->rest->l;
    size_t n = spatial(*l), all = (size_t)l->batch * (size_t)l->out_c, last = pool_first(all, task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(all, task, j->tasks); i < last; ++i) {
        batchnorm_rest_run(j->rest, (int)(i % (size_t)l->out_c), i * n, n, l->delta + i * n);
    }
}

void batchnorm_rest_all(const struct batchnorm_rest *r)
{
    size_t all = (size_t)r->l->batch * (size_t)r->l->out_c;
    struct rest_job j = {r, pool_split(all, all * spatial(*r->l))};

    if (r->normals) pool_run(j.tasks, rest_task, &j);
}

void batchnorm_backward_delta(layer l, network net, ACTIVATION f, bool normalised)
{
    struct batchnorm_rest rest = batchnorm_backward_sums(&l, net, f, normalised);

    batchnorm_rest_all(&rest);
}

void backward_batchnorm_layer(layer l, network net)
{
    batchnorm_backward_delta(l, net, LINEAR, true);
    if (l.type == BATCHNORM && net.delta) axpy_cpu(l.outputs * l.batch, 1, l.delta, 1, net.delta, 1);
}

/* Darknet stores no biases of a standalone layer, so they stay 0: what backward adds to bias_updates is dropped. */
void update_batchnorm_layer(layer l, update_args a)
{
    vector_ops()->descend((size_t)l.out_c, l.scales, l.scale_updates, a.learning_rate * l.learning_rate_scale / (float)a.batch, a.momentum, 0);
    fill_cpu(l.out_c, 0, l.bias_updates, 1);
}

static float *zeros(size_t n)
{
    float *p = calloc(n ? n : 1, sizeof *p);

    if (!p) error("batchnorm: out of memory");
    return p;
}

layer make_batchnorm_layer(int batch, int w, int h, int c)
{
    layer l = {0};
    size_t channels = (size_t)c, all = (size_t)batch * (size_t)w * (size_t)h * channels;

    l.type = BATCHNORM;
    l.activation = LINEAR;
    l.batch = batch;
    l.w = l.out_w = w;
    l.h = l.out_h = h;
    l.c = l.out_c = c;
    l.inputs = l.outputs = w * h * c;
    l.learning_rate_scale = 1;
    l.output = zeros(all);
    l.delta = zeros(all);
    l.x = zeros(all);
    l.biases = zeros(channels);
    l.bias_updates = zeros(channels);
    l.scales = zeros(channels);
    l.scale_updates = zeros(channels);
    l.mean = zeros(channels);
    l.variance = zeros(channels);
    l.rolling_mean = zeros(channels);
    l.rolling_variance = zeros(channels);
    fill_cpu(c, 1, l.scales, 1);
    l.forward = forward_batchnorm_layer;
    l.backward = backward_batchnorm_layer;
    l.update = update_batchnorm_layer;
    fprintf(stderr, "batch normalization: %d x %d x %d image\n", w, h, c);
    return l;
}

void resize_batchnorm_layer(layer *l, int w, int h)
{
    size_t all = (size_t)l->batch * (size_t)w * (size_t)h * (size_t)l->c;

    l->w = l->out_w = w;
    l->h = l->out_h = h;
    l->inputs = l->outputs = w * h * l->c;
    free(l->output);
    free(l->delta);
    free(l->x);
    l->output = zeros(all);
    l->delta = zeros(all);
    l->x = zeros(all);
}
