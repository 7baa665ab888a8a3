/* Stochastic gradient descent as Darknet does it: u -= decay*batch*x (weights only), x += rate/batch*u, u *= momentum, in one pass per array.
 * Adam goes to the host. Replaces update_convolutional_layer and update_connected_layer. */
#include "overrides.h"

#include "pool.h"
#include "stock.h"
#include "vector.h"

struct job { float *x, *u; float rate, momentum, decay; size_t n; int tasks; };

static void task_descend(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t first = pool_first(j->n, task, j->tasks), n = pool_first(j->n, task + 1, j->tasks) - first;

    (void)thread;
    vector_ops()->descend(n, j->x + first, j->u + first, j->rate, j->momentum, j->decay);
}

static void descend(float *x, float *u, size_t n, float rate, float momentum, float decay)
{
    struct job j = {x, u, rate, momentum, decay, n, pool_split(n, n)};

    pool_run(j.tasks, task_descend, &j);
}

static void update(layer l, update_args a, size_t biases, size_t weights)
{
    float rate = a.learning_rate * l.learning_rate_scale / (float)a.batch;

    descend(l.biases, l.bias_updates, biases, rate, a.momentum, 0);
    if (l.scales && l.scale_updates) descend(l.scales, l.scale_updates, biases, rate, a.momentum, 0);
    descend(l.weights, l.weight_updates, weights, rate, a.momentum, a.decay * (float)a.batch);
}

void update_convolutional_layer(layer l, update_args a)
{
    if (a.adam) stock_update_call("update_convolutional_layer", l, a);
    else update(l, a, (size_t)l.n, (size_t)l.nweights);
}

void update_connected_layer(layer l, update_args a)
{
    if (a.adam) stock_update_call("update_connected_layer", l, a);
    else update(l, a, (size_t)l.outputs, (size_t)l.inputs * (size_t)l.outputs);
}
