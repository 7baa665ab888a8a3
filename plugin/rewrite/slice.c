/* Streaming slices; see slice.h. */
#include "slice.h"

#include <stdlib.h>
#include <string.h>

enum { RELEASE_BYTES = 4 << 20 };

/* What is filled becomes the writer's, which gives new room. */
static enum prune_code next_room(struct prune_stream *s)
{
    void *room;
    size_t bytes;
    prune_writer_filled(s->out, s->used * sizeof(float));
    s->used = s->room = 0;
    enum prune_code rc = prune_writer_room(s->out, &room, &bytes, s->st);
    if (rc) return rc;
    s->buffer = room;                    /* headers and blocks are whole numbers of floats */
    s->room = bytes / sizeof(float);
    return PRUNE_OK;
}

/* from NULL: zeros. */
static enum prune_code put(struct prune_stream *s, const float *from, size_t count)
{
    while (count) {
        enum prune_code rc = s->used == s->room ? next_room(s) : PRUNE_OK;
        if (rc) return rc;
        size_t n = count < s->room - s->used ? count : s->room - s->used;
        if (from) memcpy(s->buffer + s->used, from, n * sizeof *from);
        else memset(s->buffer + s->used, 0, n * sizeof *s->buffer);
        s->used += n;
        count -= n;
        if (from) from += n;
    }
    return PRUNE_OK;
}

static void release_behind(struct prune_stream *s, const float *reading)
{
    size_t at = (size_t)((const unsigned char *)reading - s->in->map.bytes);
    if (at < s->released + RELEASE_BYTES) return;
    prune_map_release_pages(&s->in->map, s->released, at);
    s->released = at;
}

/* Values of a row side by side that share their fate, found once for all rows: a mask of scattered channels makes as many runs as channels,
 * and a connected layer ten thousand rows of them. */
struct run { uint32_t from, count; };    /* from ZEROS: as many zeros */
static const uint32_t ZEROS = UINT32_MAX;

static size_t find_runs(struct run *runs, const struct prune_axes *x, const uint8_t *keep)
{
    size_t n = 0;
    for (size_t i = 0; i < x->b;) {
        size_t end = i + 1;
        bool stays = !keep || keep[i];
        while (end < x->b && (!keep || keep[end]) == stays) end++;
        if (stays || x->zero_b) runs[n++] = (struct run){ stays ? (uint32_t)(i * x->inner) : ZEROS, (uint32_t)((end - i) * x->inner) };
        i = end;
    }
    return n;
}

static enum prune_code put_row(struct prune_stream *s, const float *row, const struct run *runs, size_t count)
{
    enum { SHORT = 32 };                 /* values that a loop copies faster than a call */
    for (size_t r = 0; r < count; r++) {
        size_t n = runs[r].count;
        const float *from = runs[r].from == ZEROS ? NULL : row + runs[r].from;
        if (from && n <= SHORT && n <= s->room - s->used) {
            float *to = s->buffer + s->used;
            for (size_t i = 0; i < n; i++) to[i] = from[i];
            s->used += n;
            continue;
        }
        enum prune_code rc = put(s, from, n);
        if (rc) return rc;
    }
    return PRUNE_OK;
}

/* Scattered single values: their numbers, since runs of one and two would be guessed wrong by the processor half of the time. 0: runs do better. */
static size_t find_singles(uint32_t *singles, const struct prune_axes *x, const struct run *runs, size_t count)
{
    size_t n = 0;
    if (x->inner > 1 || x->zero_b || count < x->b / 16) return 0;
    for (size_t r = 0; r < count; r++)
        for (uint32_t i = 0; i < runs[r].count; i++) singles[n++] = runs[r].from + i;
    return n;
}

static enum prune_code put_singles(struct prune_stream *s, const float *row, const uint32_t *singles, size_t count)
{
    while (count) {
        enum prune_code rc = s->used == s->room ? next_room(s) : PRUNE_OK;
        if (rc) return rc;
        size_t n = count < s->room - s->used ? count : s->room - s->used;
        float *to = s->buffer + s->used;
        for (size_t i = 0; i < n; i++) to[i] = row[singles[i]];
        s->used += n;
        singles += n;
        count -= n;
    }
    return PRUNE_OK;
}

static enum prune_code put_rows(struct prune_stream *s, const float *data, const struct prune_axes *x, struct run *runs, uint32_t *singles)
{
    size_t row = x->b * x->inner, count = 0, single_count = 0;
    for (size_t o = 0; o < x->outer; o++)
        for (size_t a = 0; a < x->a; a++) {
            size_t group = x->keep_b && x->a_per_group ? a / x->a_per_group : 0;
            bool stays = !x->keep_a || x->keep_a[a], first = a == 0 || (x->a_per_group && a % x->a_per_group == 0);
            if (first) count = find_runs(runs, x, x->keep_b ? x->keep_b + group * x->b : NULL);
            if (first) single_count = find_singles(singles, x, runs, count);
            for (size_t m = 0; m < x->mid; m++, data += row) {
                enum prune_code rc = PRUNE_OK;
                if (stays) rc = single_count ? put_singles(s, data, singles, single_count) : put_row(s, data, runs, count);
                else if (x->zero_a) rc = put(s, NULL, row);
                if (rc) return rc;
                release_behind(s, data);
            }
        }
    return PRUNE_OK;
}

enum prune_code prune_stream_slice(struct prune_stream *s, const float *data, const struct prune_axes *x)
{
    struct run *runs = malloc((x->b + 1) * sizeof *runs);    /* a tensor has fewer than 2^31 values */
    uint32_t *singles = malloc((x->b + 1) * sizeof *singles);
    enum prune_code rc = runs && singles ? put_rows(s, data, x, runs, singles) : prune_fail_memory(s->st, x->b * sizeof *runs, "kept channels");
    free(runs);
    free(singles);
    return rc;
}

enum prune_code prune_stream_copy(struct prune_stream *s, const float *data, size_t count)
{
    enum { PIECE = 1 << 16 };            /* pages are given back in between */
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0, n; !rc && i < count; i += n) {
        n = count - i < PIECE ? count - i : PIECE;
        rc = put(s, data + i, n);
        release_behind(s, data + i);
    }
    return rc;
}

enum prune_code prune_stream_open(struct prune_stream *s, const struct prune_weights *in, const char *path, struct prune_status *st)
{
    *s = (struct prune_stream){ .in = in, .st = st };
    enum prune_code rc = prune_writer_open(&s->out, path, st);
    return rc ? rc : prune_weights_put_header(s->out, &in->header, st);
}

enum prune_code prune_stream_close(struct prune_stream *s, enum prune_code rc)
{
    if (!rc) prune_writer_filled(s->out, s->used * sizeof(float));
    if (rc) prune_writer_abort(s->out);
    else rc = prune_writer_commit(s->out, s->st);
    prune_map_release_pages(&s->in->map, 0, s->in->map.size);
    return rc;
}
