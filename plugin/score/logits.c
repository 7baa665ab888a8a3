/* `taylor-logits` (docs/taylor-logits.md): what removing a unit does to the loss, by the first-order change of the logits put into the exact loss. With
 * a_k = logit of rival k - logit of the true class, the loss of an image is log(1 + sum_k exp a_k), and without unit u about
 * log(1 + sum_k exp(a_k - da_k/dz_u)). Score: the square of the mean difference over images, over the likeliest rivals alone.
 * State: a sum per unit and the images in it (first_order.c). */
#include <math.h>

#include "families.h"

/* log(1 + sum_k exp x_k), x_k = a[k step_a] - d[k step_d] (d NULL: a alone); no overflow, and no loss of digits where all x are far below 0. */
double prune_margins_loss(const float *a, ptrdiff_t step_a, const float *d, ptrdiff_t step_d, size_t rivals)
{
    double top = 0, sum = 0;
    for (size_t k = 0; k < rivals; k++) top = fmax(top, (double)a[(ptrdiff_t)k * step_a] - (d ? (double)d[(ptrdiff_t)k * step_d] : 0));
    for (size_t k = 0; k < rivals; k++) sum += exp((double)a[(ptrdiff_t)k * step_a] - (d ? (double)d[(ptrdiff_t)k * step_d] : 0) - top);
    return top > 0 ? top + log(exp(-top) + sum) : log1p(sum);
}

void prune_taylor_logits_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    double *sums = state;
    const struct prune_tensor *a = &signals->margins, *d = &signals->gate_margins;   /* (images, rivals), (images, rivals, units) */
    size_t units = in->units->count, rivals = a->shape[1];
    if (!prune_signal_readable(a, PRUNE_F32, 2) || !prune_signal_readable(d, PRUNE_F32, 3)) return;
    if (d->shape[0] != a->shape[0] || d->shape[1] != rivals || d->shape[2] != units || !rivals) return;
    for (size_t b = 0; b < a->shape[0]; b++) {
        const float *margin = (const float *)a->data + (ptrdiff_t)b * a->strides[0], *slope = (const float *)d->data + (ptrdiff_t)b * d->strides[0];
        double loss = prune_margins_loss(margin, a->strides[1], NULL, 0, rivals);
        for (size_t u = 0; u < units; u++, slope += d->strides[2]) sums[u] += prune_margins_loss(margin, a->strides[1], slope, d->strides[1], rivals) - loss;
    }
    sums[units] += (double)a->shape[0];
}

enum prune_code prune_taylor_logits_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    enum prune_code rc = prune_sums_finish(state, in, scores, st);
    for (size_t u = 0; !rc && u < in->units->count; u++) scores[u] *= scores[u];
    return rc;
}
