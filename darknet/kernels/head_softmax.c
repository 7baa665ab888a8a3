/* Softmax and logistic heads of classifiers: the library's own arithmetic, and each image's cross-entropy for host_context()->image_loss.
 * The loss is taken from the pre-activations in double, where -log of a float probability would be infinite for a hopeless image.
 * At a temperature T the library's delta is t - p without the factor 1/T, which is the gradient of T times the cross-entropy. */
#include "head_common.h"
#include "stock.h"
#include "../context.h"

void forward_softmax_layer(layer l, network net);
void forward_logistic_layer(layer l, network net);

/* T log(sum_i exp(a_i / T)) - sum_i t_i a_i over n pre-activations. */
static double group_loss(const float *a, const float *t, int n, double temperature)
{
    double loss = log_sum_exp(a, (size_t)n, 1, temperature);
    for (int i = 0; i < n; ++i) if (t[i] != 0) loss -= (double)t[i] * (double)a[i];
    return loss;
}

static double softmax_loss(const layer *l, const float *a, const float *t)
{
    double loss = 0;
    if (l->softmax_tree) {
        for (int g = 0, first = 0; g < l->softmax_tree->groups; first += l->softmax_tree->group_size[g++])
            loss += group_loss(a + first, t + first, l->softmax_tree->group_size[g], l->temperature);
    } else {
        int size = l->inputs / l->groups;
        for (int g = 0; g < l->groups; ++g) loss += group_loss(a + g * size, t + g * size, size, l->temperature);
    }
    return loss;
}

void forward_softmax_layer(layer l, network net)
{
    double *loss = host_context()->image_loss;
    if (loss && net.truth && !l.noloss)
        for (int b = 0; b < l.batch; ++b)
            loss[b] += softmax_loss(&l, net.input + (size_t)b * (size_t)l.inputs, net.truth + (size_t)b * (size_t)l.inputs);
    stock_layer_call("forward_softmax_layer", l, net);
}

void forward_logistic_layer(layer l, network net)
{
    double *loss = host_context()->image_loss;
    if (loss && net.truth)
        for (int b = 0; b < l.batch; ++b)
            for (int i = 0; i < l.inputs; ++i) {
                size_t at = (size_t)b * (size_t)l.inputs + (size_t)i;
                loss[b] += logistic_loss(net.input[at], net.truth[at]);
            }
    stock_layer_call("forward_logistic_layer", l, net);
}
