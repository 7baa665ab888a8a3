/* Copies between Darknet's arrays and the packed planes and weights of conv_plan.h. */
#include "conv_plan.h"

#include <string.h>

static size_t up(size_t n) { return (n + 15) & ~(size_t)15; }

/* Rows of one packed phase of a whole unit, the rows below the last output that its taps still read included. */
static int phase_rows(const struct conv_plan *p)
{
    return (p->images > 1 ? p->images * p->image_rows : p->band) + p->reach + 1;
}

static size_t phase_stride(const struct conv_plan *p) { return up((size_t)phase_rows(p) * (size_t)p->pitch); }

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

void conv_pack_input(const struct conv_plan *p, struct conv_unit u, int group, const float *input, float *packed)
{
    size_t plane = (size_t)p->h * (size_t)p->w;
    int per_image = p->images > 1 ? p->image_rows : u.y1 - u.y0 + p->reach + 1;
    int rows = p->images > 1 ? u.images * p->image_rows + p->reach + 1 : per_image;

    for (int c = 0; c < p->cg; ++c) {
        for (int phase = 0; phase < p->phases * p->phases; ++phase) {
            float *out = packed + (size_t)c * conv_input_stride(p) + (size_t)phase * phase_stride(p);
            for (int r = 0; r < rows; ++r, out += p->pitch) {
                int image = r / per_image, y = (u.y0 + r % per_image) * p->stride + phase / p->phases - p->pad;
                bool inside = image < u.images && y >= 0 && y < p->h;
                const float *in = inside ? input + ((size_t)(u.image + image) * (size_t)p->c + (size_t)(group * p->cg + c)) * plane
                                               + (size_t)y * (size_t)p->w : NULL;
                pack_row(p, in, phase % p->phases, out);
            }
        }
    }
}

/* Zeros in front of row `first`: what the taps of its first pixel reach back to. */
static size_t delta_lead(const struct conv_plan *p)
{
    return p->direct ? 0 : (size_t)(p->images > 1 ? p->reach * (p->pitch + 1) : p->reach);
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

void conv_pack_delta(const struct conv_plan *p, struct conv_unit u, struct conv_delta d, int group, const float *delta, float *packed)
{
    size_t plane = (size_t)p->oh * (size_t)p->ow, width = (size_t)p->ow * sizeof *packed, rest = (size_t)(p->pitch - p->ow) * sizeof *packed;

    for (int f = 0; f < p->ng; ++f) {
        float *out = packed + (size_t)f * conv_delta_stride(p);
        memset(out, 0, d.origin * sizeof *out);
        out += d.origin;
        for (int r = d.first; r < d.last; ++r, out += p->pitch) {
            int image = p->images > 1 ? r / p->image_rows : 0, y = p->images > 1 ? r % p->image_rows : r;
            if (y < 0 || y >= p->oh) {
                memset(out, 0, width + rest);
                continue;
            }
            memcpy(out, delta + ((size_t)(u.image + image) * (size_t)p->n + (size_t)(group * p->ng + f)) * plane + (size_t)(y * p->ow), width);
            memset(out + p->ow, 0, rest);
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

void conv_forward_weights(const struct conv_plan *p, int rows, const float *weights, float *packed)
{
    for (int g = 0; g < p->groups; ++g) {
        for (int f0 = 0; f0 < p->ng; f0 += rows) {
            const float *w = weights + (size_t)(g * p->ng + f0) * (size_t)p->terms;
            int n = p->ng - f0 < rows ? p->ng - f0 : rows;
            for (int t = 0; t < p->terms; ++t, packed += rows) {
                for (int r = 0; r < rows; ++r) packed[r] = r < n ? w[(size_t)r * (size_t)p->terms + (size_t)t] : 0;
            }
        }
    }
}

size_t conv_backward_weights_size(const struct conv_plan *p, int rows)
{
    return (size_t)p->groups * blocks(p->cg, rows) * (size_t)rows * (size_t)p->ng * (size_t)p->taps;
}

/* (ng * taps, rows) of the channels c0.. of a group for the taps of one phase. */
static float *pack_backward_block(const struct conv_plan *p, int rows, const float *weights, int c0, int taps, const int *ky, const int *kx,
                                  float *packed)
{
    int n = p->cg - c0 < rows ? p->cg - c0 : rows;

    for (int f = 0; f < p->ng; ++f) {
        const float *w = weights + (size_t)f * (size_t)p->terms + (size_t)c0 * (size_t)p->taps;
        for (int t = 0; t < taps; ++t, packed += rows) {
            int tap = ky[t] * p->size + kx[t];
            for (int r = 0; r < rows; ++r) packed[r] = r < n ? w[r * p->taps + tap] : 0;
        }
    }
    return packed;
}

void conv_backward_weights(const struct conv_plan *p, int rows, const float *weights, float *packed)
{
    int ky[p->taps], kx[p->taps];

    for (int phase = 0; phase < p->phases * p->phases; ++phase) {
        int taps = conv_phase_taps(p, phase / p->phases, phase % p->phases, ky, kx);
        for (int g = 0; g < p->groups; ++g) {
            const float *w = weights + (size_t)g * (size_t)p->ng * (size_t)p->terms;
            for (int c0 = 0; c0 < p->cg; c0 += rows) packed = pack_backward_block(p, rows, w, c0, taps, ky, kx, packed);
        }
    }
}
