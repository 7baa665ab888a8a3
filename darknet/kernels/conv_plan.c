/* Cutting a convolution into units of work (conv_plan.h): how many images or rows go together, and whether threads share units or channels. */
#include "conv_plan.h"

#include "pool.h"
#include "vector.h"
#include "whole_numbers.h"

/* Small planes: enough images that the inner loops run over some hundred pixels, shared evenly by the threads. */
static void plan_images(struct conv_plan *p, int threads, int width)
{
    enum { PIXELS = 640, ENOUGH = 144, FLOATS = 128 * 1024 };
    int plane = p->image_rows * p->pitch, share = at_least(1, p->batch / threads);
    int wanted = at_most(share, at_least(ceiling(ENOUGH, plane), at_most(ceiling(PIXELS, plane), (int)(FLOATS / ((long)plane * width)))));

    if (plane >= (p->direct ? ENOUGH : PIXELS) || wanted < 2) return;
    p->images = ceiling(share, ceiling(share, wanted));
    p->direct = false;
}

/* Large planes: bands of rows whose packed input stays in the second-level cache, and enough of them for every thread. */
static void plan_bands(struct conv_plan *p, int threads, int width)
{
    enum { FLOATS = 96 * 1024, FEWEST_ROWS = 8, FEWEST_PIXELS = 192 };
    int fewest = p->direct ? ceiling(FEWEST_PIXELS, p->w) : FEWEST_ROWS;
    int rows = at_least(fewest, (int)(FLOATS / ((long)width * p->pitch)));

    if (p->batch < threads) rows = at_most(rows, at_least(fewest, ceiling(p->oh * p->batch, threads)));
    p->bands = ceiling(p->oh, at_most(rows, p->oh));
    p->band = ceiling(p->oh, p->bands);
    p->bands = ceiling(p->oh, p->band);
}

struct conv_plan conv_plan_make(const layer *l, bool backward)
{
    enum { MANY_WEIGHTS = 512 * 1024 };   /* partial sums per thread would not pay */
    int threads = pool_threads();
    struct conv_plan p = {
        .batch = l->batch, .c = l->c, .h = l->h, .w = l->w, .n = l->n, .oh = l->out_h, .ow = l->out_w, .size = l->size,
        .stride = l->stride, .pad = l->pad, .groups = l->groups, .cg = l->c / l->groups, .ng = l->n / l->groups,
        .taps = l->size * l->size, .images = 1, .bands = 1, .band = l->out_h,
    };
    /* the input gradient reads delta up to `reach` left of (above) column 0: zeros at the end of the row (image) before */
    p.terms = p.cg * p.taps;
    p.reach = (p.size - 1) / p.stride;
    int gap = at_least(0, p.reach - p.pad / p.stride);
    p.phases = at_most(p.size, p.stride);
    p.direct = p.size == 1 && p.stride == 1 && p.pad == 0;
    p.pitch = at_least(ceiling(p.w + p.pad, p.stride), p.ow + gap);
    p.image_rows = at_least(ceiling(p.h + p.pad, p.stride), p.oh + gap);
    int width = p.cg * p.phases * p.phases;   /* floats per pixel of what a unit reads */
    if (backward) width = at_least(width, p.ng);
    p.narrow = p.ng < vector_ops()->rows;
    p.narrow_back = p.cg < vector_ops()->rows;
    plan_images(&p, threads, width);
    if (p.images == 1) plan_bands(&p, threads, width);
    p.flat = p.pitch == p.ow && (p.images == 1 || p.image_rows == p.oh);
    p.units = p.images > 1 ? ceiling(p.batch, p.images) : p.batch * p.bands;
    p.by_channel = threads > 1 && (p.units < threads || (backward && (long)p.n * p.terms > MANY_WEIGHTS));
    p.tasks = p.by_channel ? threads : at_most(threads, p.units);
    return p;
}

struct conv_unit conv_plan_unit(const struct conv_plan *p, int unit)
{
    struct conv_unit u = {.images = 1, .y0 = 0, .y1 = p->oh};

    if (p->images > 1) {
        u.image = unit * p->images;
        u.images = at_most(p->images, p->batch - u.image);
    } else {
        u.image = unit / p->bands;
        u.y0 = unit % p->bands * p->band;
        u.y1 = at_most(p->oh, u.y0 + p->band);
    }
    return u;
}

int conv_unit_lines(const struct conv_plan *p, struct conv_unit u)
{
    int rows = p->images > 1 ? (u.images - 1) * p->image_rows + p->oh : u.y1 - u.y0;

    return p->flat ? rows * p->pitch : rows;
}

int conv_plan_share(const struct conv_plan *p, int groups, int per_group, int task)
{
    int block = vector_ops()->rows, blocks = ceiling(per_group, block);
    int b = (int)pool_first((size_t)(groups * blocks), task, p->tasks), within = b % blocks * block;

    return b / blocks * per_group + at_most(within, per_group);
}

struct conv_tile conv_tile_make(int lines, int line, int floats_per_pixel)
{
    enum { INPUTS = 48 * 1024, OUTPUTS = 24 * 1024, FEWEST = 96, MOST = 768 };
    int lanes = vector_ops()->lanes, block = vector_ops()->rows;
    int pixels = at_most(MOST, at_least(FEWEST, INPUTS / floats_per_pixel)), panel = line == 1 ? 3 * lanes : 1;
    struct conv_tile t = {.lines = at_least(1, pixels / line)};

    t.lines = ceiling(ceiling(lines, ceiling(lines, t.lines)), panel) * panel;   /* even pieces of whole panels */
    t.rows = at_least(1, OUTPUTS / (t.lines * line) / block) * block;
    t.stride = (size_t)(t.lines * line) + 2 * VECTOR_MAX_LANES;
    return t;
}

struct conv_rows conv_unit_input(const struct conv_plan *p, struct conv_unit u)
{
    struct conv_rows in = {at_most(p->h, u.y0 * p->stride), u.y1 == p->oh ? p->h : at_most(p->h, u.y1 * p->stride)};

    return in;
}
