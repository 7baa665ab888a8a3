/* HRank (Lin, Ji, Wang, Zhang, Zhang, Tian, Shao, CVPR 2020): mean over images of the rank of the unit's feature maps behind the activation; several
 * producers: mean over producers. The rank of an h x w map is the number of singular values above max(h, w) 2^-23 of the largest, the usual tolerance for
 * float32 values. They are computed in double from the map itself: the Gram matrix would square them, and what lies below 1e-7 of the largest would drown.
 * Saved work: rows and columns of zeros (relu leaves many) are left out, which changes no singular value; maps with at most one row or column left need none.
 * State: as first_order.c. LAPACKE is linked like the host's libraries: whoever opens a host that delivers maps has opened it (darknet/host_library.c). */
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

#include "../base/parallel.h"
#include "families.h"

/* Of one worker, for maps of up to `area` values. */
struct scratch { double *map, *singular, *work; lapack_int *whole; size_t *columns; };

struct pass {
    const struct prune_score_input *in;
    const struct prune_signals *signals;
    double *sums;                        /* (units) of the state */
    struct scratch *scratch;             /* (workers) */
    lapack_int room;                     /* doubles in work */
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

static float at(const float *map, const struct prune_tensor *t, size_t y, size_t x)
{
    return map[(ptrdiff_t)y * t->strides[2] + (ptrdiff_t)x * t->strides[3]];
}

/* The map without its rows and columns of zeros, in s->map (rows one after the other). false: a value is not finite. */
static bool compact(const float *map, const struct prune_tensor *t, const struct scratch *s, size_t *rows, size_t *columns)
{
    size_t n = 0, m = 0;
    for (size_t x = 0; x < t->shape[3]; x++) {
        bool any = false;
        for (size_t y = 0; y < t->shape[2]; y++) {
            float value = at(map, t, y, x);
            if (!isfinite(value)) return false;
            any |= value != 0;
        }
        if (any) s->columns[n++] = x;
    }
    for (size_t y = 0; y < t->shape[2]; y++) {
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            float value = at(map, t, y, s->columns[i]);
            s->map[m * n + i] = (double)value;
            any |= value != 0;
        }
        m += any;
    }
    *rows = m;
    *columns = n;
    return true;
}

/* NaN: not finite, or the singular values did not converge. */
static double rank_of(const float *map, const struct prune_tensor *t, const struct scratch *s, lapack_int room)
{
    size_t rows, columns, rank = 0, longer = t->shape[2] > t->shape[3] ? t->shape[2] : t->shape[3];
    if (!compact(map, t, s, &rows, &columns)) return NAN;
    size_t n = rows < columns ? rows : columns;
    if (n <= 1) return (double)n;
    lapack_int info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, 'N', (lapack_int)columns, (lapack_int)rows, s->map, (lapack_int)columns, s->singular, NULL, 1, NULL, 1,
                                          s->work, room, s->whole);
    if (info) return NAN;
    double least = s->singular[0] * (double)longer * 0x1p-23;
    while (rank < n && s->singular[rank] > least) rank++;
    return (double)rank;
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
            sum += rank_of((const float *)t->data + (ptrdiff_t)b * t->strides[0] + (ptrdiff_t)m.channel * t->strides[1], t, &p->scratch[worker], p->room);
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

/* All or nothing in one piece of memory per worker. */
static bool scratch_make(struct scratch *s, size_t area, size_t side, size_t room)
{
    s->map = malloc((area + side + room) * sizeof(double) + 8 * side * sizeof(lapack_int) + side * sizeof(size_t));
    if (!s->map) return false;
    s->singular = s->map + area;
    s->work = s->singular + side;
    s->columns = (size_t *)(s->work + room);
    s->whole = (lapack_int *)(s->columns + side);
    return true;
}

void prune_hrank_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    double *sums = state;
    size_t units = in->units->count, workers = prune_parallel_workers(units), area, side, ready = 0;
    if (!largest_map(in, signals, &area, &side)) return;
    size_t room = 16 * side + 2 * side * 64;      /* dgesdd: 3 n + max(m, 7 n) at least, (m + n) blocks to be quick */
    struct scratch *scratch = calloc(workers, sizeof *scratch);
    while (scratch && ready < workers && scratch_make(&scratch[ready], area, side, room)) ready++;
    if (ready == workers) {
        struct pass pass = {in, signals, sums, scratch, (lapack_int)room};
        prune_parallel(units, unit_ranks, &pass);
        sums[units] += (double)signals->images;
    } else for (size_t u = 0; u < units; u++) sums[u] = NAN;
    for (size_t i = 0; i < ready; i++) free(scratch[i].map);
    free(scratch);
}

enum prune_code prune_hrank_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return prune_sums_mean(state, in, "feature-map rank", scores, st);
}
