/* Scores made comparable between layers. A unit belongs to the layer of its first producer; units are ordered by that, so a layer's stand together. */
#include <math.h>

#include "families.h"

static int layer_of(const struct prune_units *units, size_t unit)
{
    return units->members[units->items[unit].first_member].layer;
}

void prune_divide_by_layer(const struct prune_units *units, bool mean, double *scores)
{
    for (size_t u = 0, next; u < units->count; u = next) {
        double largest = 0, sum = 0;
        for (next = u; next < units->count && layer_of(units, next) == layer_of(units, u); next++)
            if (fabs(scores[next]) > largest) largest = fabs(scores[next]);
        if (!(largest > 0)) continue;                              /* all 0, and so they stay */
        for (size_t i = u; i < next; i++) sum += scores[i] / largest * (scores[i] / largest);
        double norm = sqrt(mean ? sum / (double)(next - u) : sum);
        for (size_t i = u; i < next; i++) scores[i] = scores[i] / largest / norm;
    }
}
