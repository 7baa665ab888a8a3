/* The stored values of one layer: those of the new file are those of the old one at the places that the kept channels give; see proof.h.
 * Places are computed here from the layer's own description (docs/weights.md), not by the code that wrote the file. Small tensors are compared
 * whole; of a large one its beginning, its end and a few values from each of some equal parts. Values are read in pieces, not through the
 * map: a piece costs less than the page faults of a sparse walk, and the process stays small. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proof_private.h"

enum {
    WHOLE = 4096,                        /* tensors up to this are compared whole */
    AHEAD = 4096,                        /* numbers read at once while walking through one */
    PARTS = 4, PART = 1 << 17, RUN = 16, /* of larger ones RUN values in each of PARTS parts, and of one more for every PART values */
    LEAST = 64,                          /* and never fewer values than this */
    SPAN = 256,                          /* over which the old places of a run may lie */
    ROWS = 4
};

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

enum prune_code proof_reader_open(struct proof_reader *r, const struct prune_weights *w, struct prune_status *st)
{
    *r = (struct proof_reader){ .weights = w, .fd = open(w->path, O_RDONLY | O_CLOEXEC), .buffer = malloc(AHEAD * sizeof(float)) };
    if (r->fd < 0) return prune_fail(st, "cannot read '%s' again: %s", w->path, strerror(errno));
    return r->buffer ? PRUNE_OK : prune_fail_memory(st, AHEAD * sizeof(float), "the proof of a rewrite");
}

void proof_reader_close(struct proof_reader *r)
{
    if (r->weights && r->fd >= 0) close(r->fd);
    free(r->buffer);
    *r = (struct proof_reader){ .fd = -1 };
}

/* Values [at, at + n) behind the header, n <= AHEAD (a layout may leave out layers of its file); where they are not in the buffer, `ahead` of them are read. NULL: not readable. */
static const float *values_at(struct proof_reader *r, size_t at, size_t n, size_t ahead)
{
    if (at >= r->begin && at + n <= r->end) return r->buffer + (at - r->begin);
    size_t left = (r->weights->map.size - r->weights->header.size) / sizeof(float) - at, want = ahead > n ? ahead : n, got = 0;
    if (want > AHEAD) want = AHEAD;
    if (want > left) want = left;
    r->begin = r->end = 0;
    while (got < want * sizeof(float)) {
        ssize_t k = pread(r->fd, (char *)r->buffer + got, want * sizeof(float) - got, (off_t)(r->weights->header.size + at * sizeof(float) + got));
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return NULL;
        got += (size_t)k;
    }
    r->begin = at;
    r->end = at + want;
    return n <= want ? r->buffer : NULL;
}

struct tensors {
    struct proof_reader *old, *new;
    const struct prune_weights_tensor *was, *is;
    struct places places;
};

/* Values [at, at + run) of the new tensor, which lie together in the old one. */
static bool same_run(const struct tensors *t, size_t at, size_t run)
{
    size_t from = old_place(&t->places, at), sparse = t->was->count / t->is->count;
    if (from >= t->was->count || run > t->was->count - from) return false;
    const float *a = values_at(t->old, t->was->offset + from, run, sparse > 4 ? SPAN : AHEAD), *b = values_at(t->new, t->is->offset + at, run, AHEAD);
    return a && b && !memcmp(a, b, run * sizeof(float));
}

/* Up to RUN values from place `at` of the new tensor, as long as their old places are near each other. Returns how many are the same
 * before the first that is not; *tried: how many were compared. */
static size_t same_sample(const struct tensors *t, size_t at, size_t *tried)
{
    size_t from[RUN], lo = SIZE_MAX, hi = 0, n = 0;
    for (; n < RUN && at + n < t->is->count; n++) {
        from[n] = old_place(&t->places, at + n);
        size_t l = from[n] < lo ? from[n] : lo, h = from[n] > hi ? from[n] : hi;
        if (from[n] >= t->was->count || h - l >= SPAN) break;
        lo = l;
        hi = h;
    }
    *tried = n ? n : 1;
    if (!n) return 0;
    const float *a = values_at(t->old, t->was->offset + lo, hi - lo + 1, 0), *b = values_at(t->new, t->is->offset + at, n, 0);
    for (size_t i = 0; i < n; i++)
        if (!a || !b || memcmp(&a[from[i] - lo], &b[i], sizeof *a)) return i;
    return n;
}

/* A small tensor whole, and with it the small ones that follow: a layer's vectors lie together. */
static const float *small_tensor(struct proof_reader *r, const struct prune_weights_tensor *t)
{
    const struct prune_weights_layout *l = &r->weights->layout;
    size_t all = 0;
    if (t->offset >= r->begin && t->offset + t->count <= r->end) return values_at(r, t->offset, t->count, 0);
    for (const struct prune_weights_tensor *x = t; x < l->tensors + l->count && all + x->count <= AHEAD; x++) all += x->count;
    return values_at(r, t->offset, t->count, all);
}

/* One number for each channel: both tensors lie in the buffers at once. */
static size_t compare_vector(const struct tensors *t, uint64_t *compared)
{
    const int *keep = t->places.axes[0].keep;
    const float *a = small_tensor(t->old, t->was), *b = small_tensor(t->new, t->is);
    for (size_t i = 0; i < t->is->count; i++)
        if (!a || !b || memcmp(&a[keep ? (size_t)keep[i] : i], &b[i], sizeof *a)) return i;
    *compared += t->is->count;
    return SIZE_MAX;
}

static size_t compare_whole(const struct tensors *t, uint64_t *compared)
{
    if (t->places.rank == 1 && t->was->count <= AHEAD) return compare_vector(t, compared);
    const struct places *x = &t->places;
    const struct axis *last = x->rank ? &x->axes[x->rank - 1] : NULL;
    bool grouped = x->rank && x->axes[0].per_group;              /* inputs before filters: neighbours come from different rows */
    size_t run = last && !last->keep && !grouped ? last->is : 1;
    for (size_t i = 0; i < t->is->count; i += run) {
        if (same_run(t, i, run)) continue;
        while (run-- > 1 && same_run(t, i, 1)) i++;
        return i;
    }
    *compared += t->is->count;
    return SIZE_MAX;
}

static size_t compare_sample(const struct tensors *t, uint64_t *compared)
{
    size_t parts = PARTS + t->is->count / PART, each = t->is->count / parts, total = 0;
    for (size_t k = 0; k < parts || total < LEAST; k++) {
        size_t place = (size_t)(proof_symbol(t->is->layer, t->is->offset + k) % (each - RUN)), at = k % parts * each + place, tried;
        if (k == 0) at = 0;
        if (k == parts - 1) at = t->is->count - RUN;
        size_t same = same_sample(t, at, &tried);
        if (same < tried) return at + same;
        total += tried;
    }
    *compared += total;
    return same_run(t, t->is->count - 1, 1) ? SIZE_MAX : t->is->count - 1;
}

/* First place found that differs, or SIZE_MAX. */
static size_t compare(const struct tensors *t, uint64_t *compared)
{
    return t->is->count <= WHOLE ? compare_whole(t, compared) : compare_sample(t, compared);
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
    const float *a = values_at(t->old, t->was->offset + from, 1, 0), *b = values_at(t->new, t->is->offset + at, 1, 0);
    if (!a || !b) return prune_fail(st, "cannot read '%s' or '%s' again while proving the rewrite", t->old->weights->path, t->new->weights->path);
    return proof_wrong(st, pair->was, pair->is, "has other %s than the original: %s[%zu] is %.9g, and the original has %.9g at %s[%zu], where it comes from", prune_role_name(t->is->role),
                       prune_role_name(t->is->role), at, (double)*b, (double)*a, prune_role_name(t->is->role), from);
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

enum prune_code proof_weights(struct proof_reader *was, struct proof_reader *is, const struct proof_pair *pair, size_t *tensor, uint64_t *compared, struct prune_status *st)
{
    const struct prune_weights_layout *olds = &was->weights->layout, *news = &is->weights->layout;
    size_t old = first_tensor(olds, pair->was->index), new = *tensor;
    enum prune_code rc = PRUNE_OK;
    for (; !rc && is_of(news, new, pair->is) && is_of(olds, old, pair->was); new++, old++) {
        struct tensors t = { .old = was, .new = is, .was = &olds->tensors[old], .is = &news->tensors[new] };
        rc = compare_tensor(&t, pair, was->weights->header.transposed, compared, st);
    }
    if (!rc && (is_of(news, new, pair->is) || is_of(olds, old, pair->was))) rc = proof_wrong(st, pair->was, pair->is, "stores other tensors than the original");
    *tensor = new;
    return rc;
}
