/* Criteria from weights times their gradients (PRUNE_SIGNAL_PARAMETERS). With w g the product of a weight and dE/dw of the minibatch:
 *   taylor-weight         mean over minibatches of the sum over the unit's filter weights of (w g)^2           (Molchanov et al. 2019, eq. 8)
 *   taylor-weight-group   mean over minibatches of (sum over the unit's filter weights of w g)^2               (eq. 7)
 *   bn-taylor             mean over minibatches of (sum over the unit's producers of gamma dE/dgamma)^2
 *   grad-magnitude        mean over minibatches of the sum over the unit's filter weights of |w g|
 * Filter weights alone: no biases, no batch-norm (paper: gates are what brings the bias in). A producer without batch-norm has gamma = 1 in
 * front of all its weights, so gamma dE/dgamma is its sum of w g. Shared filters count once, where they are stored. State: as first_order.c. */
#include <math.h>

#include "families.h"
#include "weights_view.h"

static bool readable(const struct prune_tensor *t)
{
    return prune_signal_readable(t, PRUNE_F32, 1) && t->strides[0] == 1;
}

/* Signals are in the order of the weights file, so their layers rise. */
static const struct prune_parameter_signal *find(const struct prune_signals *signals, int layer, enum prune_role role)
{
    size_t lo = 0, hi = signals->parameter_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (signals->parameters[mid].layer < layer) lo = mid + 1;
        else hi = mid;
    }
    for (; lo < signals->parameter_count && signals->parameters[lo].layer == layer; lo++) {
        const struct prune_parameter_signal *p = &signals->parameters[lo];
        if (p->role == (int)role && readable(&p->values) && readable(&p->gradients) && p->values.shape[0] == p->gradients.shape[0]) return p;
    }
    return NULL;
}

static bool filter(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m, const struct prune_parameter_signal **p,
                   struct prune_filter_view *view)
{
    const struct prune_layer *layer = &in->net->layers[m.layer];
    *p = find(signals, m.layer, PRUNE_WEIGHTS);
    return *p && prune_filter_view(layer, (size_t)layer->out_c, (*p)->values.shape[0], false, m.channel, view);
}

struct sums { double plain, squares, absolute; };    /* of w g over one filter */

static bool filter_sums(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m, struct sums *out)
{
    const struct prune_parameter_signal *p;
    struct prune_filter_view v;
    struct sums s = {0, 0, 0};
    if (!filter(in, signals, m, &p, &v)) return false;
    for (size_t b = 0; b < v.blocks; b++) {
        const float *w = (const float *)p->values.data + v.first + b * v.block_step, *g = (const float *)p->gradients.data + v.first + b * v.block_step;
        for (size_t i = 0; i < v.run; i++) {
            double x = (double)w[i * v.step] * (double)g[i * v.step];
            s.plain += x;
            s.squares += x * x;
            s.absolute += fabs(x);
        }
    }
    *out = s;
    return true;
}

/* What a producer adds to its unit; 0 where it has no weights. */
typedef double (*producer_term)(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m);

static double sum_of_squares(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m)
{
    struct sums s;
    return filter_sums(in, signals, m, &s) ? s.squares : 0;
}

static double plain_sum(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m)
{
    struct sums s;
    return filter_sums(in, signals, m, &s) ? s.plain : 0;
}

static double absolute_sum(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m)
{
    struct sums s;
    return filter_sums(in, signals, m, &s) ? s.absolute : 0;
}

static double scale_term(const struct prune_score_input *in, const struct prune_signals *signals, struct prune_channel m)
{
    const struct prune_parameter_signal *p = find(signals, m.layer, PRUNE_SCALES);
    if (!p || (size_t)m.channel >= p->values.shape[0]) return plain_sum(in, signals, m);
    return (double)((const float *)p->values.data)[m.channel] * (double)((const float *)p->gradients.data)[m.channel];
}

/* A host that leaves out the weights of something that may be removed has not delivered the signal: finish() then finds no terms. */
static bool complete(const struct prune_score_input *in, const struct prune_signals *signals)
{
    for (size_t u = 0; u < in->units->count; u++) {
        const struct prune_unit *unit = &in->units->items[u];
        for (size_t i = 0; i < unit->member_count && !unit->protected_because; i++) {
            const struct prune_parameter_signal *p;
            struct prune_filter_view view;
            struct prune_channel m = in->units->members[unit->first_member + i];
            if (in->net->layers[m.layer].share < 0 && !filter(in, signals, m, &p, &view)) return false;
        }
    }
    return true;
}

static void accumulate(double *sums, const struct prune_score_input *in, const struct prune_signals *signals, producer_term term, bool squared)
{
    size_t units = in->units->count;
    if (!complete(in, signals)) return;
    for (size_t u = 0; u < units; u++) {
        const struct prune_unit *unit = &in->units->items[u];
        double sum = 0;
        for (size_t i = 0; i < unit->member_count; i++) {
            struct prune_channel m = in->units->members[unit->first_member + i];
            if (in->net->layers[m.layer].share < 0) sum += term(in, signals, m);
        }
        sums[u] += squared ? sum * sum : sum;
    }
    sums[units] += 1;
}

void prune_taylor_weight_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    accumulate(state, in, signals, sum_of_squares, false);
}

void prune_taylor_weight_group_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    accumulate(state, in, signals, plain_sum, true);
}

void prune_bn_taylor_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    accumulate(state, in, signals, scale_term, true);
}

void prune_grad_magnitude_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    accumulate(state, in, signals, absolute_sum, false);
}

enum prune_code prune_weight_gradients_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return prune_sums_mean(state, in, "weight gradient", scores, st);
}

enum prune_code prune_grad_magnitude_layer_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    enum prune_code rc = prune_weight_gradients_finish(state, in, scores, st);
    if (!rc) prune_divide_by_layer(in->units, true, scores);
    return rc;
}
