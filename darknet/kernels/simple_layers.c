/* Activation and dropout layers, and the backward passes of reorg and normalization, which the host writes over net.delta instead of adding.
 * Dropout's numbers depend on (seed, iteration, images seen, layer, position) alone, so a run repeats at any number of threads. */
#include <stdbool.h>

#include "../../plugin/base/random.h"
#include "../context.h"
#include "overrides.h"
#include "pool.h"
#include "stock.h"
#include "vector.h"

void forward_activation_layer(layer l, network net)
{
    copy_cpu(l.outputs * l.batch, net.input, 1, l.output, 1);
    activate_array(l.output, l.outputs * l.batch, l.activation);
}

void backward_activation_layer(layer l, network net)
{
    gradient_array(l.output, l.outputs * l.batch, l.activation, l.delta);
    if (net.delta) axpy_cpu(l.outputs * l.batch, 1, l.delta, 1, net.delta, 1);
}

static bool dropout_is_identity(network net) { return !net.train || host_context()->rolling_statistics; }

struct dropout_job { layer l; network net; size_t per_image; int tasks; };

static void dropout_task(void *arg, int task, int thread)
{
    const struct dropout_job *j = arg;
    const struct host_context *context = host_context();
    uint64_t seen = j->net.seen ? (uint64_t)*j->net.seen : 0;
    size_t last = pool_first((size_t)j->l.batch, task + 1, j->tasks);

    (void)thread;
    for (size_t b = pool_first((size_t)j->l.batch, task, j->tasks); b < last; ++b) {
        struct prune_random r = prune_random_make(context->seed ^ context->iteration * 0x9e3779b97f4a7c15u, (uint64_t)j->net.index, seen + b);
        float *x = j->net.input + b * j->per_image, *numbers = j->l.rand + b * j->per_image;
        uint64_t key = prune_random_u64(&r);
        enum { CHUNK = 2048 };   /* one pass over memory */
        for (size_t i = 0; i < j->per_image; i += CHUNK) {
            size_t n = j->per_image - i < CHUNK ? j->per_image - i : CHUNK;
            vector_ops()->drop(n, key, (uint32_t)i, j->l.probability, j->l.scale, x + i, numbers + i);
        }
    }
}

static void dropout_back_task(void *arg, int task, int thread)
{
    const struct dropout_job *j = arg;
    size_t n = (size_t)j->l.batch * j->per_image, last = pool_first(n, task + 1, j->tasks);

    size_t first = pool_first(n, task, j->tasks);

    (void)thread;
    vector_ops()->drop_again(last - first, j->l.rand + first, j->l.probability, j->l.scale, j->net.delta + first);
}

/* Changes its input in place: the host makes the output an alias of the layer before. */
void forward_dropout_layer(layer l, network net)
{
    struct dropout_job j = {.l = l, .net = net, .per_image = (size_t)l.inputs};

    if (dropout_is_identity(net)) return;
    j.tasks = pool_split((size_t)l.batch, (size_t)l.batch * j.per_image);
    pool_run(j.tasks, dropout_task, &j);
}

void backward_dropout_layer(layer l, network net)
{
    struct dropout_job j = {.l = l, .net = net, .per_image = (size_t)l.inputs};

    if (!net.delta || dropout_is_identity(net)) return;
    j.tasks = pool_split((size_t)l.batch * j.per_image, (size_t)l.batch * j.per_image);
    pool_run(j.tasks, dropout_back_task, &j);
}

/* Lets the host write the gradient over a cleared array and adds that to what other layers have contributed. */
static void add_stock_gradient(const char *name, layer l, network net)
{
    int n = l.inputs * l.batch;
    float *delta = net.delta;

    if (!delta) return;
    net.delta = pool_buffer(POOL_COPY, (size_t)n * sizeof(float));
    fill_cpu(n, 0, net.delta, 1);
    stock_layer_call(name, l, net);
    axpy_cpu(n, 1, net.delta, 1, delta, 1);
}

void backward_reorg_layer(layer l, network net) { add_stock_gradient("backward_reorg_layer", l, net); }
void backward_normalization_layer(layer l, network net) { add_stock_gradient("backward_normalization_layer", l, net); }
