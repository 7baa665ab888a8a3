/* Streaming slices; see slice.h. */
#include "slice.h"

#include <stdlib.h>
#include <string.h>

enum { BUFFER_FLOATS = 1 << 16, RELEASE_BYTES = 4 << 20 };

static enum prune_code flush(struct prune_stream *s)
{
    size_t n = s->used;
    s->used = 0;
    return n ? prune_writer_put(s->out, s->buffer, n * sizeof(float), s->st) : PRUNE_OK;
}

/* from NULL: zeros. */
static enum prune_code put(struct prune_stream *s, const float *from, size_t count)
{
    while (count) {
        size_t room = BUFFER_FLOATS - s->used, n = count < room ? count : room;
        if (from) memcpy(s->buffer + s->used, from, n * sizeof *from);
        else memset(s->buffer + s->used, 0, n * sizeof *s->buffer);
        s->used += n;
        count -= n;
        if (from) from += n;
        if (s->used == BUFFER_FLOATS) {
            enum prune_code rc = flush(s);
            if (rc) return rc;
        }
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

/* One row of b, in runs of channels that share their fate. */
static enum prune_code put_row(struct prune_stream *s, const float *row, const struct prune_axes *x, const uint8_t *keep)
{
    for (size_t i = 0; i < x->b;) {
        size_t end = i + 1;
        bool stays = !keep || keep[i];
        while (end < x->b && (!keep || keep[end]) == stays) end++;
        if (stays || x->zero_b) {
            enum prune_code rc = put(s, stays ? row + i * x->inner : NULL, (end - i) * x->inner);
            if (rc) return rc;
        }
        i = end;
    }
    return PRUNE_OK;
}

enum prune_code prune_stream_slice(struct prune_stream *s, const float *data, const struct prune_axes *x)
{
    size_t row = x->b * x->inner;
    for (size_t o = 0; o < x->outer; o++)
        for (size_t a = 0; a < x->a; a++) {
            const uint8_t *keep_b = x->keep_b && x->a_per_group ? x->keep_b + a / x->a_per_group * x->b : x->keep_b;
            bool stays = !x->keep_a || x->keep_a[a];
            for (size_t m = 0; m < x->mid; m++, data += row) {
                enum prune_code rc = PRUNE_OK;
                if (stays) rc = put_row(s, data, x, keep_b);
                else if (x->zero_a) rc = put(s, NULL, row);
                if (rc) return rc;
                release_behind(s, data);
            }
        }
    return PRUNE_OK;
}

enum prune_code prune_stream_copy(struct prune_stream *s, const float *data, size_t count)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0, n; !rc && i < count; i += n) {
        n = count - i < BUFFER_FLOATS ? count - i : BUFFER_FLOATS;
        rc = put(s, data + i, n);
        release_behind(s, data + i);
    }
    return rc;
}

enum prune_code prune_stream_open(struct prune_stream *s, const struct prune_weights *in, const char *path, struct prune_status *st)
{
    *s = (struct prune_stream){ .in = in, .st = st, .buffer = malloc(BUFFER_FLOATS * sizeof(float)) };
    if (!s->buffer) return prune_fail_memory(st, BUFFER_FLOATS * sizeof(float), "copy buffer");
    enum prune_code rc = prune_writer_open(&s->out, path, st);
    return rc ? rc : prune_weights_put_header(s->out, &in->header, st);
}

enum prune_code prune_stream_close(struct prune_stream *s, enum prune_code rc)
{
    if (!rc) rc = flush(s);
    if (rc) prune_writer_abort(s->out);
    else rc = prune_writer_commit(s->out, s->st);
    prune_map_release_pages(&s->in->map, 0, s->in->map.size);
    free(s->buffer);
    return rc;
}
