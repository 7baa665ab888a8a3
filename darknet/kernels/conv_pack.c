/* Copies between Darknet's arrays and the packed planes and weights of conv_plan.h. */
#include "conv_plan.h"

#include "pool.h"
#include "vector.h"

#include <string.h>

static size_t up(size_t n) { return (n + 15) & ~(size_t)15; }

/* Rows of one packed phase of a whole unit, the rows below the last output that its taps still read included. */
static int phase_rows(const struct conv_plan *p)
{
    return (p->images > 1 ? p->images * p->image_rows : p->band) + p->reach + 1;
}

/* pad more: the padding in front of a row that would follow is written as well */
static size_t phase_stride(const struct conv_plan *p) { return up((size_t)(phase_rows(p) * p->pitch + p->pad)); }

size_t conv_input_stride(const struct conv_plan *p)
{
    return p->direct ? (size_t)p->h * (size_t)p->w : (size_t)(p->phases * p->phases) * phase_stride(p);
}

void conv_input_offsets(const struct conv_plan *p, int32_t *offsets)
{
    size_t stride = conv_input_stride(p);

    for (int c = 0; c < p->cg; ++c) {
        for (int ky = 0; ky < p->size; ++ky) {
            for (int kx = 0; kx < p->size; ++kx) {
                size_t phase = (size_t)(ky % p->stride * p->phases + kx % p->stride);
                size_t at = (size_t)c * stride + (p->direct ? 0 : phase * phase_stride(p));
                *offsets++ = (int32_t)(at + (size_t)(ky / p->stride * p->pitch + kx / p->stride));
            }
        }
    }
}

/* One row of phase px: columns q*stride + px - pad of an input row, zeros outside the image; row NULL: all zeros. */
static void pack_row(const struct conv_plan *p, const float *row, int px, float *out)
{
    int q = 0;

    if (row) {
        for (; q * p->stride + px < p->pad; ++q) out[q] = 0;
        int x = q * p->stride + px - p->pad;
        if (p->stride == 1) {
            int n = p->w - x < p->pitch - q ? p->w - x : p->pitch - q;
            if (n > 0) memcpy(out + q, row + x, (size_t)n * sizeof *out);
            if (n > 0) q += n;
        } else {
            for (; x < p->w && q < p->pitch; x += p->stride) out[q++] = row[x];
        }
    }
    if (q < p->pitch) memset(out + q, 0, (size_t)(p->pitch - q) * sizeof *out);
}

/* One channel of one image with stride 1: packed rows 0..rows-1, of which row r holds input row y0 + r - pad. */
static void pack_plane(const struct conv_plan *p, const float *in, int y0, int rows, float *out)
{
    int top = p->pad - y0 > 0 ? p->pad - y0 : 0, bottom = p->h + p->pad - y0 < rows ? p->h + p->pad - y0 : rows;
    size_t pitch = (size_t)p->pitch, w = (size_t)p->w, pad = (size_t)p->pad;

    if (top > rows) top = rows;
    if (bottom < top) bottom = top;
    memset(out, 0, ((size_t)top * pitch + pad) * sizeof *out);
    if (bottom > top) {
        /* the gap after a row is the left padding of the next: the last row's reaches into the rows below */
        vector_ops()->copy_rows((size_t)(bottom - top), w, in + (size_t)(y0 + top - p->pad) * w, w, out + (size_t)top * pitch + pad, pitch, pitch - w);
    }
    memset(out + (size_t)bottom * pitch, 0, (size_t)(rows - bottom) * pitch * sizeof *out);
}

static const float *input_plane(const struct conv_plan *p, int image, int channel, const float *input)
{
    return input + ((size_t)image * (size_t)p->c + (size_t)channel) * (size_t)p->h * (size_t)p->w;
}

static void pack_phases(const struct conv_plan *p, struct conv_unit u, int channel, const float *input, float *packed)
{
    int per_image = p->images > 1 ? p->image_rows : u.y1 - u.y0 + p->reach + 1;
    int rows = p->images > 1 ? u.images * p->image_rows + p->reach + 1 : per_image;

    for (int phase = 0; phase < p->phases * p->phases; ++phase) {
        float *out = packed + (size_t)phase * phase_stride(p);
        for (int r = 0; r < rows; ++r, out += p->pitch) {
            int image = r / per_image, y = (u.y0 + r % per_image) * p->stride + phase / p->phases - p->pad;
            bool inside = image < u.images && y >= 0 && y < p->h;
            pack_row(p, inside ? input_plane(p, u.image + image, channel, input) + y * p->w : NULL, phase % p->phases, out);
        }
    }
}

void conv_pack_input(const struct conv_plan *p, struct conv_unit u, int group, const float *input, float *packed)
{
    for (int c = 0; c < p->cg; ++c, packed += conv_input_stride(p)) {
        int channel = group * p->cg + c;
        if (p->stride > 1 || p->pitch < p->w + p->pad) {
            pack_phases(p, u, channel, input, packed);
        } else if (p->images > 1) {
            float *out = packed;
            for (int i = 0; i < u.images; ++i, out += p->image_rows * p->pitch) {
                pack_plane(p, input_plane(p, u.image + i, channel, input), 0, p->image_rows, out);
            }
            memset(out, 0, (size_t)((p->reach + 1) * p->pitch) * sizeof *out);
        } else {
            pack_plane(p, input_plane(p, u.image, channel, input), u.y0, u.y1 - u.y0 + p->reach + 1, packed);
        }
    }
}

/* Zeros in front of row `first`: what the taps of its first pixel reach back to. */
static size_t delta_lead(const struct conv_plan *p)
{
    return p->direct ? 0 : up((size_t)(p->images > 1 ? p->reach * (p->pitch + 1) : p->reach));   /* whole cache lines: products runs along them */
}

struct conv_delta conv_delta_layout(const struct conv_plan *p, struct conv_unit u)
{
    struct conv_delta d = {.first = 0, .last = u.images * p->image_rows, .origin = delta_lead(p)};

    if (p->images == 1) {
        struct conv_rows in = conv_unit_input(p, u);
        d.first = (in.y0 + p->pad) / p->stride - p->reach;
        d.last = (in.y1 - 1 + p->pad) / p->stride + 1;
        if (d.first > u.y0) d.first = u.y0;
        if (d.last < u.y1) d.last = u.y1;
    }
    return d;
}

size_t conv_delta_stride(const struct conv_plan *p)
{
    int rows = 0;

    if (p->direct) return (size_t)p->oh * (size_t)p->ow;
    for (int b = 0; b < p->bands; ++b) {
        struct conv_delta d = conv_delta_layout(p, conv_plan_unit(p, b));
        if (d.last - d.first > rows) rows = d.last - d.first;
    }
    return up(delta_lead(p) + (size_t)rows * (size_t)p->pitch);
}

/* Rows first..last-1 of one filter of one image, zeros outside 0..oh-1. */
static void pack_delta_plane(const struct conv_plan *p, const float *delta, int first, int last, float *out)
{
    size_t pitch = (size_t)p->pitch, ow = (size_t)p->ow;
    int top = first < 0 ? -first : 0, bottom = last > p->oh ? p->oh - first : last - first;

    memset(out, 0, (size_t)top * pitch * sizeof *out);
    vector_ops()->copy_rows((size_t)(bottom - top), ow, delta + (size_t)(first + top) * ow, ow, out + (size_t)top * pitch, pitch, pitch - ow);
    memset(out + (size_t)bottom * pitch, 0, (size_t)(last - first - bottom) * pitch * sizeof *out);
}

void conv_pack_delta(const struct conv_plan *p, struct conv_unit u, struct conv_delta d, int group, const float *delta, float *packed)
{
    size_t plane = (size_t)p->oh * (size_t)p->ow, stride = conv_delta_stride(p);

    for (int f = 0; f < p->ng; ++f, packed += stride) {
        float *out = packed + d.origin;
        memset(packed, 0, d.origin * sizeof *packed);
        for (int i = 0; i < u.images; ++i, out += p->image_rows * p->pitch) {
            const float *in = delta + ((size_t)(u.image + i) * (size_t)p->n + (size_t)(group * p->ng + f)) * plane;
            if (p->images > 1) pack_delta_plane(p, in, 0, p->image_rows, out);
            else pack_delta_plane(p, in, d.first, d.last, out);
        }
    }
}

int conv_phase_taps(const struct conv_plan *p, int py, int px, int *ky, int *kx)
{
    int n = 0;

    for (int y = py; y < p->size; y += p->stride) {
        for (int x = px; x < p->size; x += p->stride) {
            ky[n] = y;
            kx[n++] = x;
        }
    }
    return n;
}

static size_t blocks(int n, int rows) { return (size_t)((n + rows - 1) / rows); }

size_t conv_forward_weights_size(const struct conv_plan *p, int rows)
{
    return (size_t)p->groups * blocks(p->ng, rows) * (size_t)p->terms * (size_t)rows;
}

struct weights_job { const struct conv_plan *p; int rows, blocks, tasks; const float *weights; float *packed; };

/* Blocks of filters, groups one after the other. */
static void forward_weights_task(void *arg, int task, int thread)
{
    const struct weights_job *j = arg;
    const struct conv_plan *p = j->p;
    size_t per_group = blocks(p->ng, j->rows), terms = (size_t)p->terms, last = pool_first((size_t)j->blocks, task + 1, j->tasks);

    (void)thread;
    for (size_t b = pool_first((size_t)j->blocks, task, j->tasks); b < last; ++b) {
        int f0 = (int)(b % per_group) * j->rows, n = p->ng - f0 < j->rows ? p->ng - f0 : j->rows;
        const float *w = j->weights + (b / per_group * (size_t)p->ng + (size_t)f0) * terms;
        float *packed = j->packed + b * terms * (size_t)j->rows;
        for (size_t t = 0; t < terms; ++t, packed += j->rows) {
            for (int r = 0; r < j->rows; ++r) packed[r] = r < n ? w[(size_t)r * terms + t] : 0;
        }
    }
}

static void pack_weights(struct weights_job j, pool_function *fn)
{
    j.tasks = pool_split((size_t)j.blocks, (size_t)j.p->n * (size_t)j.p->terms / 2);
    pool_run(j.tasks, fn, &j);
}

void conv_forward_weights(const struct conv_plan *p, int rows, const float *weights, float *packed)
{
    pack_weights((struct weights_job){.p = p, .rows = rows, .blocks = p->groups * (int)blocks(p->ng, rows), .weights = weights, .packed = packed},
                 forward_weights_task);
}

size_t conv_backward_weights_size(const struct conv_plan *p, int rows)
{
    return (size_t)p->groups * blocks(p->cg, rows) * (size_t)rows * (size_t)p->ng * (size_t)p->taps;
}

/* (ng * taps, rows) of n channels for the taps of one phase; w at the first channel of the group's first filter. */
static void pack_backward_block(const struct conv_plan *p, int rows, const float *w, int n, int taps, const int *ky, const int *kx, float *packed)
{
    for (int f = 0; f < p->ng; ++f, w += p->terms) {
        for (int t = 0; t < taps; ++t, packed += rows) {
            const float *tap = w + ky[t] * p->size + kx[t];
            for (int r = 0; r < rows; ++r) packed[r] = r < n ? tap[r * p->taps] : 0;
        }
    }
}

/* Blocks of channels, groups one after the other, each for all phases. */
static void backward_weights_task(void *arg, int task, int thread)
{
    const struct weights_job *j = arg;
    const struct conv_plan *p = j->p;
    size_t per_group = blocks(p->cg, j->rows), last = pool_first((size_t)j->blocks, task + 1, j->tasks);
    int ky[p->taps], kx[p->taps];
    float *packed = j->packed;

    (void)thread;
    for (int phase = 0; phase < p->phases * p->phases; ++phase) {
        int taps = conv_phase_taps(p, phase / p->phases, phase % p->phases, ky, kx);
        size_t size = (size_t)p->ng * (size_t)taps * (size_t)j->rows;
        for (size_t b = pool_first((size_t)j->blocks, task, j->tasks); b < last; ++b) {
            int c0 = (int)(b % per_group) * j->rows, n = p->cg - c0 < j->rows ? p->cg - c0 : j->rows;
            const float *w = j->weights + b / per_group * (size_t)p->ng * (size_t)p->terms + (size_t)(c0 * p->taps);
            pack_backward_block(p, j->rows, w, n, taps, ky, kx, packed + b * size);
        }
        packed += (size_t)j->blocks * size;
    }
}

void conv_backward_weights(const struct conv_plan *p, int rows, const float *weights, float *packed)
{
    pack_weights((struct weights_job){.p = p, .rows = rows, .blocks = p->groups * (int)blocks(p->cg, rows), .weights = weights, .packed = packed},
                 backward_weights_task);
}
