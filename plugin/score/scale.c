/* What scores are divided by (SOSP, sections 3.2 and 4): a bias towards small units is the price of one ranking over all of them.
 *   kernel  side of the unit's largest kernel (1, 3, 7; a connected layer: 1)      macs  multiply-adds of the network that go with the unit
 * Of the network as it is before anything is removed. Divisors are at least 1. */
#include "families.h"

static double kernel_side(const struct prune_score_input *in, size_t unit)
{
    const struct prune_unit *u = &in->units->items[unit];
    int side = 1;
    for (size_t m = 0; m < u->member_count; m++) {
        const struct prune_layer *l = &in->net->layers[in->units->members[u->first_member + m].layer];
        if (l->size > side) side = l->size;
    }
    return side;
}

static double macs_gone(const struct prune_score_input *in, size_t unit)
{
    struct prune_cost saving;
    prune_units_saving(in->net, in->units, NULL, unit, &saving);
    return saving.macs ? (double)saving.macs : 1;
}

double prune_scale_divisor(const struct prune_score_input *in, enum prune_scale fallback, size_t unit)
{
    switch (in->scale == PRUNE_SCALE_DEFAULT ? fallback : in->scale) {
    case PRUNE_SCALE_KERNEL: return kernel_side(in, unit);
    case PRUNE_SCALE_MACS: return macs_gone(in, unit);
    default: return 1;
    }
}

void prune_scale_scores(const struct prune_score_input *in, enum prune_scale fallback, double *scores)
{
    for (size_t u = 0; u < in->units->count; u++) scores[u] /= prune_scale_divisor(in, fallback, u);
}
