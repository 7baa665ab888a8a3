/* Connected layers as one matrix product each way. Weights are (outputs, inputs). Replaces forward/backward_connected_layer. */
#include "../context.h"
#include "batchnorm.h"
#include "overrides.h"

void forward_connected_layer(layer l, network net)
{
    gemm(0, 1, l.batch, l.outputs, l.inputs, 1, net.input, l.inputs, l.weights, l.inputs, 0, l.output, l.outputs);
    if (l.batch_normalize) forward_batchnorm_layer(l, net);
    else add_bias(l.output, l.biases, l.batch, l.outputs, 1);
    activate_array(l.output, l.outputs * l.batch, l.activation);
}

void backward_connected_layer(layer l, network net)
{
    batchnorm_backward_delta(l, net, l.activation, l.batch_normalize);
    if (!host_context()->gates_only)
        gemm(1, 0, l.outputs, l.inputs, l.batch, 1, l.delta, l.outputs, net.input, l.inputs, 1, l.weight_updates, l.inputs);
    if (net.delta) gemm(0, 0, l.batch, l.inputs, l.outputs, 1, l.delta, l.outputs, l.weights, l.inputs, 1, net.delta, l.inputs);
}
