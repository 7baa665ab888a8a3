/* See reconstruct_samples.h. */
#include "reconstruct_samples.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "../base/parallel.h"
#include "../base/random.h"

enum { LEAST_PLACES = 64, PANEL = 4096 };
static const uint64_t PLACE_STREAM = 0x706c616365u;

size_t prune_sample_places(size_t area, double fraction)
{
    size_t least = area < LEAST_PLACES ? area : LEAST_PLACES, n = (size_t)((double)area * fraction + .5);
    return n < least ? least : n > area ? area : n;
}

size_t prune_sample_place(uint64_t seed, int layer, uint64_t image, size_t j, size_t places, size_t area)
{
    if (places == area) return j;
    struct prune_random r = prune_random_make(seed, PLACE_STREAM + (uint64_t)layer, image * places + j);
    size_t begin = area * j / places, end = area * (j + 1) / places;
    return begin + (size_t)prune_random_below(&r, end - begin);
}

/* Windows hang over the edge: what lies outside is 0. */
void prune_patch(const float *map, const struct prune_patches *p, size_t place, float *out)
{
    ptrdiff_t top = (ptrdiff_t)(place / p->out_w * p->stride) - (ptrdiff_t)p->pad, left = (ptrdiff_t)(place % p->out_w * p->stride) - (ptrdiff_t)p->pad;
    for (size_t c = 0; c < p->c; c++) {
        for (size_t ky = 0; ky < p->size; ky++) {
            ptrdiff_t y = top + (ptrdiff_t)ky;
            bool inside = y >= 0 && y < (ptrdiff_t)p->h;
            const float *row = map + (ptrdiff_t)(c * p->h * p->w) + (inside ? y * (ptrdiff_t)p->w : 0);
            for (size_t kx = 0; kx < p->size; kx++) {
                ptrdiff_t x = left + (ptrdiff_t)kx;
                *out++ = inside && x >= 0 && x < (ptrdiff_t)p->w ? row[x] : 0;
            }
        }
    }
}

static size_t patch_values(const struct prune_patches *p) { return p->c * p->size * p->size; }

enum prune_code prune_samples_open(struct prune_samples *s, struct prune_status *st)
{
    s->images = s->places < PANEL ? PANEL / s->places : 1;
    size_t rows = s->images * s->places, values = patch_values(&s->original) + patch_values(&s->pruned) + s->groups * s->n;
    s->original_rows = s->pruned_rows = s->sums = NULL;
    if (values && rows > SIZE_MAX / 8 / values) return prune_fail_memory(st, SIZE_MAX, "samples of a layer");
    s->original_rows = malloc(rows * patch_values(&s->original) * sizeof(float) + 1);
    s->pruned_rows = malloc(rows * patch_values(&s->pruned) * sizeof(float) + 1);
    s->sums = malloc(rows * s->groups * s->n * sizeof(float) + 1);
    if (s->original_rows && s->pruned_rows && s->sums) return PRUNE_OK;
    prune_samples_close(s);
    return prune_fail_memory(st, rows * values * sizeof(float), "samples of a layer");
}

void prune_samples_close(struct prune_samples *s)
{
    free(s->original_rows);
    free(s->pruned_rows);
    free(s->sums);
    s->original_rows = s->pruned_rows = s->sums = NULL;
}

struct taking { struct prune_samples *s; const struct prune_sample_batch *b; size_t at; /* first image of the panel, within the batch */ };

static void add_stream_error(const struct taking *t, size_t image, size_t place, float *sums)
{
    const struct prune_stream_error *e = &t->s->stream;
    size_t area = t->s->original.out_w * t->s->original.out_h;
    const float *original = t->b->stream[0] + image * t->b->stream_values[0] + place, *pruned = t->b->stream[1] + image * t->b->stream_values[1] + place;
    for (size_t f = 0; f < t->s->groups * t->s->n; f++) {
        if (e->channel[0][f] < 0) continue;
        double error = (double)original[(size_t)e->channel[0][f] * area] - (double)pruned[(size_t)e->channel[1][f] * area];
        sums[f] += (float)(e->factor[f] * error);
    }
}

/* The rows of one image. */
static void take_image(void *user, size_t item, size_t worker)
{
    const struct taking *t = user;
    const struct prune_samples *s = t->s;
    const struct prune_sample_batch *b = t->b;
    size_t image = t->at + item, first = item * s->places, area = s->original.out_w * s->original.out_h, filters = s->groups * s->n;
    size_t width = patch_values(&s->original), small = patch_values(&s->pruned);
    float *rows = s->original_rows + first * width, *sums = s->sums + first * filters;
    (void)worker;
    for (size_t j = 0; j < s->places; j++) {
        size_t place = prune_sample_place(s->seed, s->layer, b->first + image, j, s->places, area);
        prune_patch(b->input[0] + image * b->values[0], &s->original, place, rows + j * width);
        prune_patch(b->input[1] + image * b->values[1], &s->pruned, place, s->pruned_rows + (first + j) * small);
    }
    for (size_t g = 0; g < s->groups; g++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)s->places, (int)s->n, (int)s->original_d, 1, rows + s->original_group[g] * s->original_d, (int)width,
                    s->filters + g * s->n * s->original_d, (int)s->original_d, 0, sums + g * s->n, (int)filters);
    for (size_t j = 0; s->stream.factor && j < s->places; j++)
        add_stream_error(t, image, prune_sample_place(s->seed, s->layer, b->first + image, j, s->places, area), sums + j * filters);
}

void prune_samples_add(struct prune_samples *s, const struct prune_sample_batch *b, struct prune_moments *m)
{
    for (size_t at = 0; at < b->images; at += s->images) {
        size_t n = b->images - at < s->images ? b->images - at : s->images;
        struct taking t = {s, b, at};
        prune_parallel(n, take_image, &t);
        prune_moments_add(m, n * s->places, s->pruned_rows, s->sums);
    }
}
