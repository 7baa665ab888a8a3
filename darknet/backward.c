/* Backward passes that serve gates alone; see backward.h. */
#include "backward.h"

#include <string.h>

#include "context.h"
#include "network_parameters.h"

void backward_gates(network *net, int lowest) { backward_walk(net, lowest, true, NULL, NULL); }

void backward_walk(network *all, int lowest, bool gates_only, backward_visit *visit, void *user)
{
    struct host_context *context = host_context();
    network net = *all;
    context->gates_only = gates_only;
    for (int i = net.n - 1; i >= lowest; i--) {
        layer l = net.layers[i];
        if (l.stopbackward) break;
        bool last = gates_only && i == lowest && (l.type == CONVOLUTIONAL || l.type == CONNECTED);   /* these can leave their input's gradient out */
        net.input = i ? net.layers[i - 1].output : all->input;
        net.delta = last ? NULL : i ? net.layers[i - 1].delta : all->delta;
        net.index = i;
        if (visit) visit(user, i);
        l.backward(l, net);
    }
    context->gates_only = false;
}

void backward_clear(network *net)
{
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (l->delta) memset(l->delta, 0, (size_t)l->outputs * (size_t)l->batch * sizeof *l->delta);
    }
}

bool backward_leaves_updates(const network *net)
{
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (parameters_part(l, 0) != l || l->type == LOCAL || l->type == DECONVOLUTIONAL) return false;
    }
    return true;
}
