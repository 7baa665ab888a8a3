/* [cost] layers: the library's own arithmetic, and each image's loss for host_context()->image_loss. Darknet prints sum (t - x)^2 but
 * descends scale * (t - x), the gradient of half of it; the loss here is what is descended, times the layer's scale.
 * type=smooth is put right: where |t - x| >= 1 the library's delta has the wrong sign and drives the output away from the truth. */
#include "head_common.h"
#include "stock.h"
#include "../context.h"

void forward_cost_layer(layer l, network net);

/* Each line: the function of d = truth - input whose derivative in d is the layer's delta. */
static double element_loss(COST_TYPE type, double d)
{
    switch (type) {
    case L1: return fabs(d);
    case SMOOTH: return fabs(d) < 1 ? 0.5 * d * d : fabs(d) - 0.5;
    default: return 0.5 * d * d;
    }
}

void forward_cost_layer(layer l, network net)
{
    double *loss = host_context()->image_loss;
    if (loss && net.truth)
        for (int b = 0; b < l.batch; ++b) {
            const float *x = net.input + (size_t)b * (size_t)l.inputs, *t = net.truth + (size_t)b * (size_t)l.inputs;
            double sum = 0;
            for (int i = 0; i < l.inputs; ++i)
                if (l.cost_type != MASKED || t[i] != SECRET_NUM) sum += element_loss(l.cost_type, (double)t[i] - x[i]);
            loss[b] += l.scale * sum;
        }
    stock_layer_call("forward_cost_layer", l, net);
    if (l.cost_type == SMOOTH && net.truth)
        for (int i = 0; i < l.batch * l.inputs; ++i) l.delta[i] = fminf(fmaxf(net.truth[i] - net.input[i], -1), 1);
}
