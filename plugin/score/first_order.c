/* First-order Taylor criteria on gates (Molchanov et al. 2019). With E the mean loss per image and z_u the gate of unit u:
 *   taylor-fo  mean over minibatches of g_u^2,  g_u = (1/B) sum_b dE_b/dz_u       (eq. 9)
 *   taylor-fg  mean over images of (dE_b/dz_u)^2
 *   taylor-output  mean over images of |dE_b/dz_u|, gates behind the activation, divided by the root of the sum of squares over the layer
 *              (Molchanov et al. 2017)
 * State: units + 1 doubles: the sum of squares per unit, then how many squares are in each sum. Sums of squares in double, so
 * merging two halves of the images in either order agrees to rounding. */
#include <math.h>

#include "families.h"

size_t prune_sums_state_size(const struct prune_score_input *in)
{
    return (in->units->count + 1) * sizeof(double);
}

void prune_sums_init(void *state, const struct prune_score_input *in)
{
    double *sums = state;
    for (size_t i = 0; i <= in->units->count; i++) sums[i] = 0;
}

void prune_sums_merge(void *state, const void *other, const struct prune_score_input *in)
{
    double *sums = state;
    const double *more = other;
    for (size_t i = 0; i <= in->units->count; i++) sums[i] += more[i];
}

/* what: the signal's name for messages, in the singular */
enum prune_code prune_check_finite(const struct prune_score_input *in, const double *sums, const char *what, struct prune_status *st)
{
    for (size_t u = 0; u < in->units->count; u++) {
        if (isfinite(sums[u])) continue;
        const struct prune_channel *m = &in->units->members[in->units->items[u].first_member];
        return prune_fail(st, "%s of layer %d, channel %d is not finite; check the weights with 'darknet prune evaluate'", what, m->layer, m->channel);
    }
    return PRUNE_OK;
}

enum prune_code prune_sums_mean(const void *state, const struct prune_score_input *in, const char *what, double *scores, struct prune_status *st)
{
    const double *sums = state;
    size_t units = in->units->count;
    if (!(sums[units] > 0)) return prune_fail(st, "no %ss were delivered: no image was scored, or the host lacks this signal", what);
    enum prune_code rc = prune_check_finite(in, sums, what, st);
    for (size_t u = 0; !rc && u < units; u++) scores[u] = sums[u] / sums[units];
    return rc;
}

enum prune_code prune_sums_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return prune_sums_mean(state, in, "gate gradient", scores, st);
}

/* A signal on a device, or of another size, is one this family cannot read: finish() then finds no terms. */
bool prune_signal_readable(const struct prune_tensor *t, enum prune_dtype type, int rank)
{
    return t->data && t->device == PRUNE_DEVICE_CPU && t->type == type && t->rank == rank;
}

void prune_taylor_fo_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    double *sums = state;
    const struct prune_tensor *g = &signals->gate_batch;
    size_t units = in->units->count;
    if (!prune_signal_readable(g, PRUNE_F64, 1) || g->shape[0] != units) return;
    const double *value = g->data;
    for (size_t u = 0; u < units; u++, value += g->strides[0]) sums[u] += *value * *value;
    sums[units] += 1;
}

/* The terms of every image: the gradient's square, or its absolute value. */
static void add_images(double *sums, const struct prune_score_input *in, const struct prune_signals *signals, bool squared)
{
    const struct prune_tensor *g = &signals->gate_image;   /* (images, units) */
    size_t units = in->units->count;
    if (!prune_signal_readable(g, PRUNE_F32, 2) || g->shape[1] != units) return;
    for (size_t b = 0; b < g->shape[0]; b++) {
        const float *value = (const float *)g->data + (ptrdiff_t)b * g->strides[0];
        for (size_t u = 0; u < units; u++, value += g->strides[1]) sums[u] += squared ? (double)*value * (double)*value : fabs((double)*value);
    }
    sums[units] += (double)g->shape[0];
}

void prune_taylor_fg_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    add_images(state, in, signals, true);
}

/* The sum over the map of activation x gradient is the gradient of a gate behind the activation. */
void prune_taylor_output_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    add_images(state, in, signals, false);
}

/* The paper's 1 / area is the same for all units of a layer (one size of map), so dividing by the layer's norm takes it out. */
enum prune_code prune_taylor_output_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    enum prune_code rc = prune_sums_finish(state, in, scores, st);
    if (!rc) prune_divide_by_layer(in->units, false, scores);
    return rc;
}
