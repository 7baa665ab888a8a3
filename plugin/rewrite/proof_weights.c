/* The stored values of one layer: those of the new file are those of the old one at the places that the kept channels give; see proof.h.
 * Places are computed here from the layer's own description (docs/weights.md), not by the code that wrote the file. Small tensors are compared
 * whole; of a large one its first and last value and one from each of many equal parts, so that little of the files is read. */
#include <stdlib.h>
#include <string.h>

#include "proof_private.h"

enum { WHOLE = 4096, SAMPLES = 64, ROWS = 4 };

/* One axis of a stored tensor, outermost first. keep: old number of each; per_group: numbers start anew in each group of filters. */
struct axis { size_t was, is; const int *keep; bool per_group; };

struct places {
    struct axis axes[ROWS];
    size_t rank, filters;                /* filters: which axis has them */
    size_t group_was, group_is;          /* filters in a group */
};

static void axis(struct places *x, size_t was, size_t is, const int *keep)
{
    if (was == 1 && is == 1 && !keep) return;
    x->axes[x->rank++] = (struct axis){ was, is, keep, false };
}

/* The axes of the weights of a producer, in the order of the file. */
static void weight_axes(struct places *x, const struct proof_pair *pair, bool transposed)
{
    const struct prune_layer *was = pair->was, *is = pair->is;
    size_t kernel = (size_t)was->size * (size_t)was->size, n = (size_t)was->out_c, m = (size_t)is->out_c;
    const int *out = pair->cut.out, *in = pair->cut.in;
    if (was->kind == PRUNE_CONNECTED) {
        size_t area = pair->cut.area, c = (size_t)was->inputs / area, d = (size_t)is->inputs / area;
        if (!transposed) axis(x, n, m, out);
        axis(x, c, d, in);
        axis(x, area, area, NULL);
        if (transposed) axis(x, n, m, out);
        return;
    }
    size_t c = (size_t)(was->c / was->groups), d = (size_t)(is->c / is->groups);
    bool inputs_first = was->kind == PRUNE_DECONVOLUTIONAL || was->flipped;
    const struct axis filters = { n, m, out, false }, inputs = { c, d, in, in && was->groups > 1 };      /* kept where they are 1: groups need both */
    if (was->kind == PRUNE_LOCAL) x->axes[x->rank++] = (struct axis){ (size_t)was->out_w * (size_t)was->out_h, (size_t)was->out_w * (size_t)was->out_h, NULL, false };
    if (inputs_first) x->axes[x->rank++] = inputs;
    if (was->flipped) axis(x, kernel, kernel, NULL);
    x->filters = x->rank;
    x->axes[x->rank++] = filters;
    if (!inputs_first) x->axes[x->rank++] = inputs;
    if (!was->flipped) axis(x, kernel, kernel, NULL);
    x->group_was = n / (size_t)was->groups;
    x->group_is = m / (size_t)is->groups;
}

static struct places find_places(const struct proof_pair *pair, const struct prune_weights_tensor *was, const struct prune_weights_tensor *is, bool transposed)
{
    struct places x = { .group_was = 1, .group_is = 1 };
    bool cut = pair->cut.out || pair->cut.in, produces = prune_kind_info(pair->was->kind)->rule == PRUNE_CH_PRODUCE;
    if (!cut) axis(&x, was->count, is->count, NULL);
    else if (is->role == PRUNE_WEIGHTS && produces && pair->was->kind != PRUNE_IMPLICIT) weight_axes(&x, pair, transposed);
    else if (is->role == PRUNE_WEIGHTS && !produces) {          /* a weighted shortcut: rows of its channels */
        axis(&x, was->shape[0], is->shape[0], NULL);
        if (is->rank > 1) axis(&x, was->shape[1], is->shape[1], pair->cut.out);
    } else {                                                    /* so many numbers for each channel */
        size_t n = (size_t)pair->was->out_c, each = was->count / n;
        axis(&x, n, (size_t)pair->is->out_c, pair->cut.out);
        axis(&x, each, each, NULL);
    }
    return x;
}

static bool fits(const struct places *x, size_t was, size_t is)
{
    size_t a = 1, b = 1;
    for (size_t i = 0; i < x->rank; i++) {
        a *= x->axes[i].was;
        b *= x->axes[i].is;
    }
    return a == was && b == is;
}

/* Old number of number i along an axis, in the row of filter `filter` of the new tensor. Beyond the axis when nothing fits. */
static size_t old_number(const struct places *x, const struct axis *a, size_t i, size_t filter)
{
    if (!a->keep) return i;
    if (!a->per_group) return (size_t)a->keep[i];
    size_t filter_was = x->axes[x->filters].keep ? (size_t)x->axes[x->filters].keep[filter] : filter;
    return (size_t)a->keep[filter / x->group_is * a->is + i] - filter_was / x->group_was * a->was;
}

/* Place in the old tensor of place `at` in the new one; SIZE_MAX: none. */
static size_t old_place(const struct places *x, size_t at)
{
    size_t number[ROWS] = { 0 }, place = 0;
    for (size_t i = x->rank; i-- > 0; at /= x->axes[i].is) number[i] = at % x->axes[i].is;
    for (size_t i = 0; i < x->rank; i++) {
        size_t k = old_number(x, &x->axes[i], number[i], number[x->filters]);
        if (k >= x->axes[i].was) return SIZE_MAX;
        place = place * x->axes[i].was + k;
    }
    return place;
}

struct tensors {
    const struct prune_weights_tensor *was, *is;
    const float *old, *new;              /* their values */
    struct places places;
};

/* values [at, at + run) of the new tensor, which lie together in the old one */
static bool same_run(const struct tensors *t, size_t at, size_t run)
{
    size_t from = old_place(&t->places, at);
    return from < t->was->count && run <= t->was->count - from && !memcmp(t->new + at, t->old + from, run * sizeof(float));
}

/* First place that differs, or SIZE_MAX. */
static size_t compare(const struct tensors *t, uint64_t *compared)
{
    size_t count = t->is->count, run = 1;
    if (count <= WHOLE) {
        const struct axis *last = t->places.rank ? &t->places.axes[t->places.rank - 1] : NULL;
        if (last && !last->keep) run = last->is;
        for (size_t i = 0; i < count; i += run)
            if (!same_run(t, i, run)) return i;
        *compared += count;
        return SIZE_MAX;
    }
    size_t parts = SAMPLES + count / (WHOLE * 16);
    if (!same_run(t, 0, 1)) return 0;
    if (!same_run(t, count - 1, 1)) return count - 1;
    for (size_t k = 0; k < parts; k++) {
        size_t begin = count / parts * k, at = begin + (size_t)(proof_symbol(t->is->layer, t->is->offset + k) % (count / parts));
        if (!same_run(t, at, 1)) return at;
    }
    *compared += parts + 2;
    return SIZE_MAX;
}

static enum prune_code compare_tensor(struct tensors *t, const struct proof_pair *pair, bool transposed, uint64_t *compared, struct prune_status *st)
{
    if (t->was->role != t->is->role || t->was->part != t->is->part) return proof_wrong(st, pair->was, pair->is, "stores %s where the original stores %s", prune_role_name(t->is->role), prune_role_name(t->was->role));
    t->places = find_places(pair, t->was, t->is, transposed);
    if (!fits(&t->places, t->was->count, t->is->count))
        return proof_wrong(st, pair->was, pair->is, "stores %zu %s, which do not follow from the original's %zu", t->is->count, prune_role_name(t->is->role), t->was->count);
    size_t at = compare(t, compared), from = at < t->is->count ? old_place(&t->places, at) : 0;
    if (at == SIZE_MAX) return PRUNE_OK;
    if (from >= t->was->count) return proof_wrong(st, pair->was, pair->is, "has %s[%zu], which no value of the original belongs to", prune_role_name(t->is->role), at);
    return proof_wrong(st, pair->was, pair->is, "has other %s than the original: %s[%zu] is %.9g, and the original has %.9g at %s[%zu], where it comes from", prune_role_name(t->is->role),
                       prune_role_name(t->is->role), at, (double)t->new[at], (double)t->old[from], prune_role_name(t->is->role), from);
}

/* Index of the first tensor of a layer, by halving. */
static size_t first_tensor(const struct prune_weights_layout *layout, int layer)
{
    size_t lo = 0, hi = layout->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (layout->tensors[mid].layer < layer) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static bool is_of(const struct prune_weights_layout *layout, size_t i, const struct prune_layer *l)
{
    return i < layout->count && layout->tensors[i].layer == l->index;
}

static void release(const struct prune_weights *w, const struct prune_weights_tensor *t)
{
    size_t begin = w->header.size + t->offset * sizeof(float);
    prune_map_release_pages(&w->map, begin, begin + t->count * sizeof(float));
}

enum prune_code proof_weights(const struct prune_weights *was, const struct prune_weights *is, const struct proof_pair *pair, size_t *tensor, uint64_t *compared, struct prune_status *st)
{
    size_t old = first_tensor(&was->layout, pair->was->index), new = *tensor;
    enum prune_code rc = PRUNE_OK;
    for (; !rc && is_of(&is->layout, new, pair->is); new++, old++) {
        if (!is_of(&was->layout, old, pair->was)) break;
        struct tensors t = { .was = &was->layout.tensors[old], .is = &is->layout.tensors[new] };
        t.old = prune_weights_data(was, t.was);
        t.new = prune_weights_data(is, t.is);
        rc = compare_tensor(&t, pair, was->header.transposed, compared, st);
        if (t.is->count > WHOLE) {
            release(was, t.was);
            release(is, t.is);
        }
    }
    if (!rc && (is_of(&is->layout, new, pair->is) || is_of(&was->layout, old, pair->was))) rc = proof_wrong(st, pair->was, pair->is, "stores other tensors than the original");
    *tensor = new;
    return rc;
}
