/* Shortcut and route layers: sums and concatenations of earlier outputs. Replaces the host's functions; both backward passes add to the
 * deltas of all sources. A shortcut of unequal shapes joins the first min(c1, c2) channels on the coarser of the two grids. */
#include <stdbool.h>
#include <string.h>

#include "overrides.h"
#include "pool.h"
#include "activation.h"

struct shape { int w, h, c; };
struct shortcut_job { struct shape from, to; const float *add; float s1, s2; float *out; int tasks; size_t planes; };

/* Planes of the `to` grid; channels beyond the `from` side's stay as they are (scaled by nothing). */
static void shortcut_task(void *arg, int task, int thread)
{
    const struct shortcut_job *j = arg;
    int stride = j->from.w / j->to.w > 1 ? j->from.w / j->to.w : 1, sample = j->to.w / j->from.w > 1 ? j->to.w / j->from.w : 1;
    struct shape least = {j->from.w < j->to.w ? j->from.w : j->to.w, j->from.h < j->to.h ? j->from.h : j->to.h, j->from.c < j->to.c ? j->from.c : j->to.c};
    size_t last = pool_first(j->planes, task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(j->planes, task, j->tasks); i < last; ++i) {
        size_t b = i / (size_t)least.c, c = i % (size_t)least.c;
        for (int y = 0; y < least.h; ++y) {
            const float *in = j->add + ((b * (size_t)j->from.c + c) * (size_t)j->from.h + (size_t)(y * stride)) * (size_t)j->from.w;
            float *out = j->out + ((b * (size_t)j->to.c + c) * (size_t)j->to.h + (size_t)(y * sample)) * (size_t)j->to.w;
            for (int x = 0; x < least.w; ++x) out[x * sample] = j->s1 * out[x * sample] + j->s2 * in[x * stride];
        }
    }
}

void shortcut_cpu(int batch, int w1, int h1, int c1, float *add, int w2, int h2, int c2, float s1, float s2, float *out)
{
    struct shortcut_job j = {.from = {w1, h1, c1}, .to = {w2, h2, c2}, .add = add, .s1 = s1, .s2 = s2, .out = out,
                             .planes = (size_t)batch * (size_t)(c1 < c2 ? c1 : c2)};

    j.tasks = pool_split(j.planes, (size_t)batch * (size_t)(w2 * h2) * (size_t)c2 / 4);
    pool_run(j.tasks, shortcut_task, &j);
}

struct sum_job { const float *x, *y; float a, b; enum vector_activation f; float *out, *xd, *yd; size_t n; int tasks; };

static void sum_task(void *arg, int task, int thread)
{
    const struct sum_job *j = arg;
    size_t i = pool_first(j->n, task, j->tasks), n = pool_first(j->n, task + 1, j->tasks) - i;

    (void)thread;
    vector_ops()->blend(n, j->x + i, j->a, j->y + i, j->b, j->f, j->out + i);
}

static void sum_back_task(void *arg, int task, int thread)
{
    const struct sum_job *j = arg;
    size_t i = pool_first(j->n, task, j->tasks), n = pool_first(j->n, task + 1, j->tasks) - i;

    (void)thread;
    vector_ops()->unblend(n, j->out + i, j->x + i, j->f, j->a, j->xd ? j->xd + i : NULL, j->b, j->yd + i);
}

static bool equal_shape(layer l) { return l.w == l.out_w && l.h == l.out_h && l.c == l.out_c; }

/* output = f(alpha * input + beta * from); alpha scales only what the source reaches. */
void forward_shortcut_layer(layer l, network net)
{
    struct sum_job j = {.x = net.input, .y = net.layers[l.index].output, .a = l.alpha, .b = l.beta, .out = l.output,
                        .n = (size_t)l.outputs * (size_t)l.batch};
    bool fused = activation_fuses(l.activation, &j.f);

    j.tasks = pool_split(j.n, j.n);
    if (equal_shape(l)) {
        pool_run(j.tasks, sum_task, &j);
        if (!fused) activate_array(l.output, l.outputs * l.batch, l.activation);
    } else {
        copy_cpu(l.outputs * l.batch, net.input, 1, l.output, 1);
        shortcut_cpu(l.batch, l.w, l.h, l.c, net.layers[l.index].output, l.out_w, l.out_h, l.out_c, l.alpha, l.beta, l.output);
        activate_array(l.output, l.outputs * l.batch, l.activation);
    }
}

void backward_shortcut_layer(layer l, network net)
{
    struct sum_job j = {.x = l.output, .a = l.alpha, .b = l.beta, .out = l.delta, .xd = net.delta, .yd = net.layers[l.index].delta,
                        .n = (size_t)l.outputs * (size_t)l.batch};
    bool fused = activation_fuses(l.activation, &j.f);

    j.tasks = pool_split(j.n, j.n);
    if (!fused) gradient_array(l.output, l.outputs * l.batch, l.activation, l.delta);
    if (equal_shape(l)) {
        pool_run(j.tasks, sum_back_task, &j);
    } else {
        if (fused) gradient_array(l.output, l.outputs * l.batch, l.activation, l.delta);
        if (net.delta) axpy_cpu(l.outputs * l.batch, l.alpha, l.delta, 1, net.delta, 1);
        shortcut_cpu(l.batch, l.out_w, l.out_h, l.out_c, l.delta, l.w, l.h, l.c, 1, l.beta, net.layers[l.index].delta);
    }
}

struct route_job { layer l; network net; int tasks; bool forward; };

static void route_task(void *arg, int task, int thread)
{
    const struct route_job *j = arg;
    const layer *l = &j->l;
    int last = (int)pool_first((size_t)l->batch, task + 1, j->tasks);

    (void)thread;
    for (int b = (int)pool_first((size_t)l->batch, task, j->tasks); b < last; ++b) {
        size_t offset = (size_t)b * (size_t)l->outputs;
        for (int i = 0; i < l->n; ++i) {
            const layer *from = &j->net.layers[l->input_layers[i]];
            size_t n = (size_t)l->input_sizes[i], at = (size_t)b * n;
            if (j->forward) memcpy(l->output + offset, from->output + at, n * sizeof(float));
            else vector_ops()->add(n, 1, l->delta + offset, from->delta + at);
            offset += n;
        }
    }
}

static void route(layer l, network net, bool forward)
{
    struct route_job j = {.l = l, .net = net, .forward = forward};

    j.tasks = pool_split((size_t)l.batch, (size_t)l.batch * (size_t)l.outputs / 4);
    pool_run(j.tasks, route_task, &j);
}

void forward_route_layer(layer l, network net) { route(l, net, true); }
void backward_route_layer(layer l, network net) { route(l, net, false); }
