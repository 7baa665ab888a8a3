/* HRank (Lin, Ji, Wang, Zhang, Zhang, Tian, Shao, CVPR 2020): mean over images of the rank of the unit's feature maps behind the activation
 * (matrix_rank.h); several producers: mean over producers. State: as first_order.c. */
#include <math.h>
#include <stdlib.h>

#include "../base/parallel.h"
#include "families.h"
#include "matrix_rank.h"

struct pass {
    const struct prune_score_input *in;
    const struct prune_signals *signals;
    double *sums;                        /* (units) of the state */
    struct prune_rank_room **rooms;      /* (workers) */
};

static const struct prune_tensor *map_of(const struct prune_score_input *in, const struct prune_signals *signals, int layer)
{
    for (size_t i = 0; i < signals->map_count; i++) {
        const struct prune_tensor *t = &signals->maps[i].map;
        if (signals->maps[i].layer != layer) continue;
        bool fits = t->data && t->device == PRUNE_DEVICE_CPU && t->type == PRUNE_F32 && t->rank == 4 && t->shape[1] == (size_t)in->net->layers[layer].out_c;
        return fits && t->shape[0] == signals->images ? t : NULL;
    }
    return NULL;
}

static void unit_ranks(void *user, size_t unit, size_t worker)
{
    const struct pass *p = user;
    const struct prune_unit *u = &p->in->units->items[unit];
    double sum = 0;
    size_t producers = 0;
    for (size_t i = 0; i < u->member_count; i++) {
        struct prune_channel m = p->in->units->members[u->first_member + i];
        const struct prune_tensor *t = map_of(p->in, p->signals, m.layer);
        if (!t) continue;
        producers++;
        for (size_t b = 0; b < t->shape[0]; b++)
            sum += prune_matrix_rank((const float *)t->data + (ptrdiff_t)b * t->strides[0] + (ptrdiff_t)m.channel * t->strides[1], t->shape[2], t->shape[3],
                                     t->strides[2], t->strides[3], p->rooms[worker]);
    }
    if (producers) p->sums[unit] += sum / (double)producers;
}

/* Also true: every unit that may be removed has all its maps. */
static bool largest_map(const struct prune_score_input *in, const struct prune_signals *signals, size_t *area, size_t *side)
{
    *area = *side = 1;
    for (size_t u = 0; u < in->units->count; u++) {
        const struct prune_unit *unit = &in->units->items[u];
        for (size_t i = 0; i < unit->member_count; i++) {
            const struct prune_tensor *t = map_of(in, signals, in->units->members[unit->first_member + i].layer);
            if (!t && !unit->protected_because) return false;
            if (!t) continue;
            if (t->shape[2] * t->shape[3] > *area) *area = t->shape[2] * t->shape[3];
            for (int k = 2; k < 4; k++)
                if (t->shape[k] > *side) *side = t->shape[k];
        }
    }
    return true;
}

void prune_hrank_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    double *sums = state;
    size_t units = in->units->count, workers = prune_parallel_workers(units), area, side, ready = 0;
    if (!largest_map(in, signals, &area, &side)) return;
    struct prune_rank_room **rooms = calloc(workers, sizeof *rooms);
    while (rooms && ready < workers && (rooms[ready] = prune_rank_room_make(area, side))) ready++;
    if (ready == workers) {
        struct pass pass = {in, signals, sums, rooms};
        prune_parallel(units, unit_ranks, &pass);
        sums[units] += (double)signals->images;
    }                                    /* without memory nothing is counted, and finish() says that nothing came */
    for (size_t i = 0; i < ready; i++) prune_rank_room_free(rooms[i]);
    free(rooms);
}

enum prune_code prune_hrank_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return prune_sums_mean(state, in, "feature-map rank", scores, st);
}
