/* Layers with weights of their own: convolutional, deconvolutional, local, connected, batchnorm, implicit; see kinds.h. */
#include "kinds.h"

#include <math.h>
#include <string.h>

/* ---- parts ---- */

struct ref_part *ref_add_part(struct ref_net *net, struct ref_layer *l, const char *order, int n, int c, int size, int groups, size_t weights)
{
    if (n < 1 || c < 1 || size < 1 || groups < 1 || c % groups || n % groups) {
        ref_fail(net, l, "%d -> %d channels in %d groups of side %d", c, n, groups, size);
        n = c = size = groups = 1;
        weights = 1;
    }
    l->parts = realloc(l->parts, (size_t)(l->part_count + 1) * sizeof *l->parts);
    if (!l->parts) abort();
    struct ref_part *p = &l->parts[l->part_count++];
    *p = (struct ref_part){.order = order, .n = n, .c = c, .size = size, .groups = groups, .stride_x = 1, .stride_y = 1, .dilation = 1};
    for (int role = REF_BIASES; role < REF_WEIGHTS; role++) p->counts[role] = (size_t)n;
    p->counts[REF_WEIGHTS] = weights;
    p->batch_normalize = strchr(order, 's') != NULL;
    return p;
}

struct ref_part *ref_add_convolution(struct ref_net *net, struct ref_layer *l, int n, int c, int size, int groups, bool batch_normalize)
{
    return ref_add_part(net, l, batch_normalize ? "bsmvw" : "bw", n, c, size, groups, (size_t)n * (size_t)(c / (groups > 0 ? groups : 1)) * (size_t)size * (size_t)size);
}

struct ref_part *ref_add_connected(struct ref_net *net, struct ref_layer *l, int n, int c, bool batch_normalize)
{
    struct ref_part *p = ref_add_part(net, l, batch_normalize ? "bwsmv" : "bw", n, c, 1, 1, (size_t)n * (size_t)c);
    p->connected = true;
    return p;
}

/* out[n][y][x] = sum over c, i, j of w[n][c][i][j] in[c][y s + i d - p d][x s + j d - p d], zeros outside */
void ref_convolve(const struct ref_part *p, const double *in, int w, int h, double *out, int out_w, int out_h)
{
    int n_per = p->n / p->groups, c_per = p->c / p->groups, k = p->size;
    const float *weight = p->values[REF_WEIGHTS];
    memset(out, 0, (size_t)p->n * (size_t)out_w * (size_t)out_h * sizeof *out);
    for (int n = 0; n < p->n; n++)
        for (int c = 0; c < c_per; c++) {
            const double *plane = in + (size_t)(n / n_per * c_per + c) * (size_t)w * (size_t)h;
            for (int i = 0; i < k; i++)
                for (int j = 0; j < k; j++) {
                    double value = (double)*weight++;
                    int shift = (j - p->pad) * p->dilation, first = shift < 0 ? (-shift + p->stride_x - 1) / p->stride_x : 0;
                    int last = w - 1 - shift < 0 ? -1 : (w - 1 - shift) / p->stride_x;     /* the x whose pixel lies in the map */
                    if (last > out_w - 1) last = out_w - 1;
                    for (int y = 0; y < out_h; y++) {
                        int in_y = y * p->stride_y + (i - p->pad) * p->dilation;
                        if (in_y < 0 || in_y >= h) continue;
                        double *row = out + ((size_t)n * (size_t)out_h + (size_t)y) * (size_t)out_w;
                        const double *pixels = plane + (ptrdiff_t)in_y * w + shift;
                        for (int x = first; x <= last; x++) row[x] += value * pixels[x * p->stride_x];
                    }
                }
        }
}

/* Statistics of x, bent a little: the mean is off the true one, so that maps of one pixel do not become 0. */
static void fit_statistics(struct ref_part *p, const double *x, size_t area, struct prune_random *r)
{
    double sum = 0;
    for (int n = 0; n < p->n; n++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < area; i++) mean += x[(size_t)n * area + i] / (double)area;
        mean *= prune_random_range(r, .3, .9);
        for (size_t i = 0; i < area; i++) square += pow(x[(size_t)n * area + i] - mean, 2) / (double)area;
        p->values[REF_MEANS][n] = (float)mean;
        p->values[REF_VARIANCES][n] = (float)square;
        sum += square;
    }
    for (int n = 0; n < p->n; n++) p->values[REF_VARIANCES][n] += (float)(.05 * sum / p->n + 1e-3);
}

/* Weights of a layer without batch-norm: sums of mean square 1. */
static void fit_weights(struct ref_part *p, double *x, size_t area)
{
    double square = 0;
    for (size_t i = 0; i < (size_t)p->n * area; i++) square += x[i] * x[i] / (double)((size_t)p->n * area);
    float factor = (float)(1 / sqrt(square));
    if (!(square > 1e-12) || p->borrowed) return;
    for (size_t i = 0; i < p->counts[REF_WEIGHTS]; i++) p->values[REF_WEIGHTS][i] *= factor;
    for (size_t i = 0; i < (size_t)p->n * area; i++) x[i] *= (double)factor;
}

void ref_finish(const struct ref_net *net, struct ref_part *p, double *x, size_t area)
{
    if (net->calibrate && p->batch_normalize && !p->borrowed) fit_statistics(p, x, area, net->calibrate);
    if (net->calibrate && !p->batch_normalize) fit_weights(p, x, area);
    for (int n = 0; n < p->n; n++)
        for (size_t i = 0; i < area; i++) {
            double *v = &x[(size_t)n * area + i];
            if (p->batch_normalize)
                *v = (*v - (double)p->values[REF_MEANS][n]) / (sqrt((double)p->values[REF_VARIANCES][n]) + .000001) * (double)p->values[REF_SCALES][n];
            if (p->values[REF_BIASES]) *v += (double)p->values[REF_BIASES][p->counts[REF_BIASES] == (size_t)p->n ? (size_t)n : (size_t)n * area + i];
        }
}

void ref_gate(double *x, const double *z, int c, size_t area)
{
    for (int k = 0; z && k < c; k++)
        for (size_t i = 0; i < area; i++) x[(size_t)k * area + i] *= z[k];
}

const double *ref_gate_before(const struct ref_net *net, const struct ref_layer *l)
{
    return net->gates && net->gates->before ? net->gates->before[l->index] : NULL;
}

/* Batch-norm, biases, gates, activation. */
static void finish_layer(const struct ref_net *net, struct ref_layer *l, double *x, size_t area)
{
    ref_finish(net, &l->parts[0], x, area);
    ref_gate(x, ref_gate_before(net, l), l->out_c, area);
    ref_activate(l->activation, x, l->out_c, area);
}

/* ---- convolutional ---- */

static bool wants_batchnorm(struct ref_net *net, const struct ref_layer *l)
{
    return ref_int(net, l, "batch_normalize", 0) || ref_int(net, l, "cbn", 0);
}

static void read_window(struct ref_net *net, struct ref_layer *l)
{
    int stride = ref_int(net, l, "stride", 1);
    l->size = ref_int(net, l, "size", 1);
    l->stride_x = ref_int(net, l, "stride_x", stride);
    l->stride_y = ref_int(net, l, "stride_y", stride);
    l->pad = ref_int(net, l, "pad", 0) ? l->size / 2 : ref_int(net, l, "padding", 0);
    if (l->size < 1 || l->stride_x < 1 || l->stride_y < 1 || l->pad < 0) {
        ref_fail(net, l, "size %d, stride %d %d, padding %d", l->size, l->stride_x, l->stride_y, l->pad);
        l->size = l->stride_x = l->stride_y = 1;
    }
    l->activation = ref_activation_of(net, l, "activation", "logistic");
}

static void share_values(struct ref_net *net, struct ref_layer *l)
{
    l->share = ref_layer_number(net, l, ref_int(net, l, "share_index", 0));
    if (net->code) return;
    const struct ref_layer *other = &net->layers[l->share];
    if (!other->part_count) {
        ref_fail(net, l, "share_index names layer %d, which stores nothing", l->share);
        return;
    }
    struct ref_part *p = &l->parts[0];
    for (int role = 0; role < REF_ROLES; role++)
        if (p->counts[role] != other->parts[0].counts[role] || strcmp(p->order, other->parts[0].order)) ref_fail(net, l, "other values than layer %d", l->share);
    if (other->share >= 0) l->share = other->share;
    p->borrowed = true;
    l->stored = false;
}

static void shape_convolutional(struct ref_net *net, struct ref_layer *l)
{
    read_window(net, l);
    int n = ref_int(net, l, "filters", 1);
    l->groups = ref_int(net, l, "groups", 1);
    l->antialiasing = ref_int(net, l, "antialiasing", 0);
    struct ref_part *p = ref_add_convolution(net, l, n, l->c, l->size, l->groups, wants_batchnorm(net, l));
    p->pad = l->pad;
    p->dilation = l->size == 1 ? 1 : ref_int(net, l, "dilation", 1);
    p->stride_x = l->antialiasing ? 1 : l->stride_x;
    p->stride_y = l->antialiasing ? 1 : l->stride_y;
    if (l->w + 2 * l->pad < l->size || l->h + 2 * l->pad < l->size) ref_fail(net, l, "a window of %d on %d x %d", l->size, l->w, l->h);
    l->sharp_w = (l->w + 2 * l->pad - l->size) / p->stride_x + 1;
    l->sharp_h = (l->h + 2 * l->pad - l->size) / p->stride_y + 1;
    ref_set_output(l, l->sharp_w, l->sharp_h, n);
    if (l->antialiasing == 1) ref_set_output(l, (l->sharp_w - 1) / l->stride_x + 1, (l->sharp_h - 1) / l->stride_y + 1, n);
    if (l->antialiasing > 1) ref_set_output(l, (l->sharp_w - 2) / l->stride_x + 1, (l->sharp_h - 2) / l->stride_y + 1, n);
    l->flag = ref_int(net, l, "flipped", 0) != 0;
    if (ref_has(l, "share_index")) share_values(net, l);
}

static void run_convolutional(const struct ref_net *net, struct ref_layer *l)
{
    size_t area = (size_t)l->sharp_w * (size_t)l->sharp_h;
    double *sharp = l->antialiasing ? ref_alloc((size_t)l->out_c * area, sizeof *sharp) : l->output;
    if (l->share >= 0) memcpy(l->parts[0].values, net->layers[l->share].parts[0].values, sizeof l->parts[0].values);
    ref_convolve(&l->parts[0], ref_input(net, l, 0), l->w, l->h, sharp, l->sharp_w, l->sharp_h);
    finish_layer(net, l, sharp, area);
    if (!l->antialiasing) return;
    ref_blur(l, sharp, l->output);
    free(sharp);
}

/* ---- deconvolutional: weights (c, n, k, k) ---- */

static void shape_deconvolutional(struct ref_net *net, struct ref_layer *l)
{
    read_window(net, l);
    int n = ref_int(net, l, "filters", 1);
    ref_add_convolution(net, l, n, l->c, l->size, 1, wants_batchnorm(net, l));
    ref_set_output(l, (l->w - 1) * l->stride_x + l->size - 2 * l->pad, (l->h - 1) * l->stride_x + l->size - 2 * l->pad, n);
}

static void run_deconvolutional(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    const float *weights = l->parts[0].values[REF_WEIGHTS];
    int k = l->size;
    memset(l->output, 0, l->outputs * sizeof *l->output);
    for (int c = 0; c < l->c; c++)
        for (int n = 0; n < l->out_c; n++)
            for (int i = 0; i < k * k; i++)
                for (int p = 0; p < l->w * l->h; p++) {
                    int y = p / l->w * l->stride_x + i / k - l->pad, x = p % l->w * l->stride_x + i % k - l->pad;
                    if (y < 0 || y >= l->out_h || x < 0 || x >= l->out_w) continue;
                    l->output[((size_t)n * (size_t)l->out_h + (size_t)y) * (size_t)l->out_w + (size_t)x] +=
                        (double)weights[((size_t)c * (size_t)l->out_c + (size_t)n) * (size_t)(k * k) + (size_t)i] * in[(size_t)c * (size_t)(l->w * l->h) + (size_t)p];
                }
    finish_layer(net, l, l->output, (size_t)l->out_w * (size_t)l->out_h);
}

/* ---- local: weights (locations, n, c, k, k), biases (n, locations) ---- */

static void shape_local(struct ref_net *net, struct ref_layer *l)
{
    read_window(net, l);
    l->pad = ref_int(net, l, "pad", 0);
    int n = ref_int(net, l, "filters", 1), lost = l->pad ? 1 : l->size;
    ref_set_output(l, (l->w - lost) / l->stride_x + 1, (l->h - lost) / l->stride_x + 1, n);
    size_t locations = (size_t)l->out_w * (size_t)l->out_h;
    struct ref_part *p = ref_add_part(net, l, "bw", n, l->c, l->size, 1, locations * (size_t)n * (size_t)l->c * (size_t)l->size * (size_t)l->size);
    p->counts[REF_BIASES] = (size_t)n * locations;
}

static void run_local(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    const float *weight = l->parts[0].values[REF_WEIGHTS];
    int area = l->out_w * l->out_h, k = l->size;
    for (int p = 0; p < area; p++)
        for (int n = 0; n < l->out_c; n++) {
            double sum = 0;
            for (int c = 0; c < l->c; c++)
                for (int i = 0; i < k * k; i++, weight++) {
                    int y = p / l->out_w * l->stride_x + i / k - l->pad, x = p % l->out_w * l->stride_x + i % k - l->pad;
                    if (y >= 0 && y < l->h && x >= 0 && x < l->w) sum += (double)*weight * in[(c * l->h + y) * l->w + x];
                }
            l->output[n * area + p] = sum;
        }
    finish_layer(net, l, l->output, (size_t)area);
}

/* ---- connected, batchnorm, implicit ---- */

static void shape_connected(struct ref_net *net, struct ref_layer *l)
{
    int n = ref_int(net, l, "output", 1);
    l->activation = ref_activation_of(net, l, "activation", "logistic");
    ref_add_connected(net, l, n, (int)l->inputs, wants_batchnorm(net, l));
    ref_set_output(l, 1, 1, n);
}

static void run_connected(const struct ref_net *net, struct ref_layer *l)
{
    ref_convolve(&l->parts[0], ref_input(net, l, 0), 1, 1, l->output, 1, 1);
    finish_layer(net, l, l->output, 1);
}

static void shape_batchnorm(struct ref_net *net, struct ref_layer *l)
{
    ref_add_part(net, l, net->their_files ? "bsmv" : "smv", l->c, l->c, 1, 1, 0);
}

static void run_batchnorm(const struct ref_net *net, struct ref_layer *l)
{
    memcpy(l->output, ref_input(net, l, 0), l->outputs * sizeof *l->output);
    ref_finish(net, &l->parts[0], l->output, (size_t)l->w * (size_t)l->h);
}

static void shape_implicit(struct ref_net *net, struct ref_layer *l)
{
    int n = ref_int(net, l, "filters", 128), atoms = ref_int(net, l, "atoms", 1);
    l->source_count = 0;
    ref_add_part(net, l, "w", n, 1, 1, 1, (size_t)n * (size_t)atoms);
    ref_set_output(l, 1, atoms, n);
}

static void run_implicit(const struct ref_net *net, struct ref_layer *l)
{
    (void)net;
    for (size_t i = 0; i < l->outputs; i++) l->output[i] = (double)l->parts[0].values[REF_WEIGHTS][i];
}

const struct ref_kind ref_producers[] = {
    {"convolutional", "conv", shape_convolutional, run_convolutional, false},
    {"deconvolutional", "deconv", shape_deconvolutional, run_deconvolutional, false},
    {"local", NULL, shape_local, run_local, false},
    {"connected", "conn", shape_connected, run_connected, false},
    {"batchnorm", NULL, shape_batchnorm, run_batchnorm, false},
    {"implicit", NULL, shape_implicit, run_implicit, true},
    {NULL, NULL, NULL, NULL, false},
};
