/* Weights file: layout of a net's tensors, mapped reading with exact size, header writing; format in weights_file.h.
 * In: a checked net and a file. Out: views into the map, never a copy. Refuses files that are too short or too long by one
 * byte, naming the layer where they end; values that are not finite only when asked (prune_weights_check_finite). */
#include "weights_file.h"
#include "shapes.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *prune_role_name(enum prune_role role)
{
    static const char *const names[] = {"biases", "scales", "mean", "variance", "weights"};
    return names[role];
}

struct layout_builder {
    struct prune_weights_layout layout;
    size_t room;
    int layer, part;
    bool failed;   /* out of memory */
};

static void add_tensor(struct layout_builder *b, enum prune_role role, int rank, const size_t *shape)
{
    struct prune_weights_layout *l = &b->layout;
    if (b->failed) return;
    if (l->count == b->room) {
        size_t room = b->room ? 2 * b->room : 64;
        struct prune_weights_tensor *grown = realloc(l->tensors, room * sizeof *grown);
        b->failed = !grown;
        if (b->failed) return;
        l->tensors = grown;
        b->room = room;
    }
    struct prune_weights_tensor *t = &l->tensors[l->count++];
    *t = (struct prune_weights_tensor){.layer = b->layer, .part = b->part, .role = role, .rank = rank, .count = 1, .offset = l->floats};
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->count *= shape[i]; /* net_shape keeps every product below 2^31 */
    }
    l->floats += t->count;
}

static void add_vector(struct layout_builder *b, enum prune_role role, size_t n)
{
    add_tensor(b, role, 1, &n);
}

static void add_statistics(struct layout_builder *b, size_t n)
{
    add_vector(b, PRUNE_SCALES, n);
    add_vector(b, PRUNE_MEAN, n);
    add_vector(b, PRUNE_VARIANCE, n);
}

static void add_convolution(struct layout_builder *b, size_t n, size_t first, size_t second, size_t k, bool scales)
{
    add_vector(b, PRUNE_BIASES, n);
    if (scales) add_statistics(b, n);
    add_tensor(b, PRUNE_WEIGHTS, 4, (const size_t[]){first, second, k, k});
}

static void add_connected(struct layout_builder *b, size_t inputs, size_t outputs, bool scales)
{
    add_vector(b, PRUNE_BIASES, outputs);
    add_tensor(b, PRUNE_WEIGHTS, 2, (const size_t[]){outputs, inputs});
    if (scales) add_statistics(b, outputs);
}

static void add_recurrent(struct layout_builder *b, const struct prune_layer *l)
{
    struct shape_parts p;
    shape_parts(l, b->layout.dialect, &p);
    for (b->part = 0; b->part < p.count; b->part++) {
        size_t in = (size_t)p.items[b->part].in, out = (size_t)p.items[b->part].out;
        if (p.convolutions) add_convolution(b, out, out, in / (size_t)p.groups, (size_t)p.kernel, l->batch_normalize);
        else add_connected(b, in, out, l->batch_normalize);
    }
}

static void add_shortcut(struct layout_builder *b, const struct prune_layer *l)
{
    if (l->weights_type) add_tensor(b, PRUNE_WEIGHTS, l->weights_type == PRUNE_WEIGHTS_PER_CHANNEL ? 2 : 1, (const size_t[]){l->source_count, (size_t)l->c});
}

static void add_layer(struct layout_builder *b, const struct prune_layer *l)
{
    size_t n = (size_t)(l->numload ? l->numload : l->out_c), c = (size_t)l->c, k = (size_t)l->size;
    bool scales = l->batch_normalize && !l->dontloadscales;
    b->layer = l->index;
    b->part = 0;
    if (l->dontload || l->share >= 0) return;
    switch (l->kind) {
    case PRUNE_CONVOLUTIONAL: add_convolution(b, n, n, c / (size_t)l->groups, k, scales); break;
    case PRUNE_DECONVOLUTIONAL: add_convolution(b, n, c, n, k, scales); break;
    case PRUNE_CONNECTED: add_connected(b, (size_t)l->inputs, (size_t)l->outputs, scales); break;
    case PRUNE_BATCHNORM:
        if (b->layout.dialect == PRUNE_ALEXEYAB) add_vector(b, PRUNE_BIASES, c);
        add_statistics(b, c);
        break;
    case PRUNE_LOCAL:
        add_vector(b, PRUNE_BIASES, (size_t)l->outputs);
        add_tensor(b, PRUNE_WEIGHTS, 5, (const size_t[]){(size_t)l->out_w * (size_t)l->out_h, (size_t)l->out_c, c, k, k});
        break;
    case PRUNE_SHORTCUT: add_shortcut(b, l); break;
    case PRUNE_IMPLICIT: add_tensor(b, PRUNE_WEIGHTS, 2, (const size_t[]){(size_t)l->out_c, (size_t)l->atoms}); break;
    case PRUNE_RNN:
    case PRUNE_LSTM:
    case PRUNE_GRU:
    case PRUNE_CRNN:
    case PRUNE_CONV_LSTM: add_recurrent(b, l); break;
    default: break;
    }
}

static enum prune_code build_layout(struct prune_weights_layout *layout, const struct prune_net *net, int dialect, struct prune_status *st)
{
    struct layout_builder b = {.layout.dialect = dialect};
    for (size_t i = 0; i < net->layer_count; i++) add_layer(&b, &net->layers[i]);
    if (b.failed) {
        prune_layout_free(&b.layout);
        return prune_fail_memory(st, 2 * b.room * sizeof *b.layout.tensors, "the layout of a weights file");
    }
    *layout = b.layout;
    return PRUNE_OK;
}

enum prune_code prune_layout_build(struct prune_weights_layout *layout, const struct prune_net *net, struct prune_status *st)
{
    return build_layout(layout, net, net->dialects & PRUNE_PJREDDIE ? PRUNE_PJREDDIE : PRUNE_ALEXEYAB, st);
}

void prune_layout_free(struct prune_weights_layout *layout)
{
    free(layout->tensors);
    memset(layout, 0, sizeof *layout);
}

const struct prune_weights_tensor *prune_layout_find(const struct prune_weights_layout *layout, int layer, enum prune_role role)
{
    size_t lo = 0, hi = layout->count; /* tensors are ordered by layer: first tensor of the layer */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (layout->tensors[mid].layer < layer) lo = mid + 1;
        else hi = mid;
    }
    for (; lo < layout->count && layout->tensors[lo].layer == layer && layout->tensors[lo].part == 0; lo++)
        if (layout->tensors[lo].role == role) return &layout->tensors[lo];
    return NULL;
}

static enum prune_code read_header(struct prune_weights *w, struct prune_status *st)
{
    struct prune_weights_header *h = &w->header;
    int32_t numbers[3] = {0};
    if (w->map.size < 16) return prune_fail(st, "cannot read '%s': %zu bytes, the header alone needs 16; the file is cut off or no weights file", w->path, w->map.size);
    memcpy(numbers, w->map.bytes, sizeof numbers);
    enum { SANE = 1000000 }; /* versions above 1000 mark transposed files; other files start with letters */
    if (numbers[0] < 0 || numbers[1] < 0 || numbers[0] > SANE || numbers[1] > SANE) return prune_fail(st, "cannot read '%s': version %d.%d in its header, this is no weights file", w->path, numbers[0], numbers[1]);
    h->major = numbers[0];
    h->minor = numbers[1];
    h->revision = numbers[2];
    h->transposed = h->major > 1000 || h->minor > 1000;
    h->seen64 = (int64_t)h->major * 10 + h->minor >= 2 && h->major < 1000 && h->minor < 1000;
    h->size = h->seen64 ? 20 : 16;
    if (w->map.size < h->size) return prune_fail(st, "cannot read '%s': %zu bytes, the header alone needs %zu; the file is cut off", w->path, w->map.size, h->size);
    uint32_t seen32 = 0;
    if (h->seen64) memcpy(&h->seen, w->map.bytes + 12, 8);
    else memcpy(&seen32, w->map.bytes + 12, 4);
    if (!h->seen64) h->seen = seen32;
    return PRUNE_OK;
}

/* Keys that make the host read less than the layer holds: then a full file is "too long". */
static const char *partial_key(const struct prune_net *net)
{
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_layer *l = &net->layers[i];
        if (l->dontload) return "dontload";
        if (l->numload) return "numload";
        if (l->dontloadscales) return "dontloadscales";
    }
    return NULL;
}

static enum prune_code fail_long(const struct prune_weights *w, const struct prune_net *net, size_t needed, struct prune_status *st)
{
    const char *key = partial_key(net);
    if (key) return prune_fail(st, "cannot read '%s': %zu bytes left over after the last layer (%zu bytes, cfg needs %zu because it says %s); remove that key or use the file it was made for",
                               w->path, w->map.size - needed, w->map.size, needed, key);
    return prune_fail(st, "cannot read '%s': %zu bytes left over after the last layer (%zu bytes, cfg needs %zu); the weights belong to another cfg", w->path, w->map.size - needed, w->map.size, needed);
}

/* Number of whole tensors that `floats` floats hold. */
static size_t whole_tensors(const struct prune_weights_layout *layout, size_t floats)
{
    size_t lo = 0, hi = layout->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (layout->tensors[mid].offset + layout->tensors[mid].count <= floats) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* prefix: NULL, or where the number of layers goes that a shorter file holds */
static enum prune_code check_size(struct prune_weights *w, const struct prune_net *net, size_t *prefix, struct prune_status *st)
{
    size_t needed = w->header.size + 4 * w->layout.floats, floats = (w->map.size - w->header.size) / 4;
    if (w->map.size > needed) return fail_long(w, net, needed, st);
    if (prefix) *prefix = net->layer_count;
    if (w->map.size == needed) return PRUNE_OK;
    size_t whole = whole_tensors(&w->layout, floats);
    const struct prune_weights_tensor *next = &w->layout.tensors[whole];
    bool at_layer = whole && w->map.size == w->header.size + 4 * next->offset && next[-1].layer != next->layer;
    if (!prefix || !at_layer)
        return prune_fail(st, "cannot read '%s': %zu bytes, cfg needs %zu (ends in layer %d %s); the file is cut off or belongs to another cfg", w->path, w->map.size, needed, next->layer, prune_role_name(next->role));
    *prefix = (size_t)next->layer;
    w->layout.floats = next->offset;
    w->layout.count = whole;
    return PRUNE_OK;
}

/* Where the cfg leaves open which Darknet wrote the file, its size decides; when neither fits, the message is that of pjreddie's layout. */
static enum prune_code choose_layout(struct prune_weights *w, const struct prune_net *net, size_t *prefix, struct prune_status *st)
{
    enum prune_code code = prune_layout_build(&w->layout, net, st);
    if (!code) code = check_size(w, net, prefix, st);
    if (!code || net->dialects != PRUNE_EVERY_DARKNET || !w->layout.count) return code;
    struct prune_weights other = *w;
    other.layout = (struct prune_weights_layout){0};
    enum prune_code fits = build_layout(&other.layout, net, PRUNE_ALEXEYAB, NULL);
    if (!fits) fits = check_size(&other, net, prefix, NULL);
    if (fits) {
        prune_layout_free(&other.layout);
        return code;
    }
    prune_layout_free(&w->layout);
    w->layout = other.layout;
    return PRUNE_OK;
}

static enum prune_code open_weights(struct prune_weights *out, const char *path, const struct prune_net *net, size_t *prefix, struct prune_status *st)
{
    struct prune_weights w = {.path = strdup(path)};
    size_t layers = 0;
    enum prune_code code = w.path ? prune_map_open(&w.map, path, st) : prune_fail_memory(st, strlen(path), "a file name");
    if (!code) code = read_header(&w, st);
    if (!code) code = choose_layout(&w, net, prefix ? &layers : NULL, st);
    if (code) {
        prune_weights_close(&w);
        return code;
    }
    if (prefix) *prefix = layers;
    *out = w;
    return PRUNE_OK;
}

enum prune_code prune_weights_open(struct prune_weights *w, const char *path, const struct prune_net *net, struct prune_status *st)
{
    return open_weights(w, path, net, NULL, st);
}

enum prune_code prune_weights_open_prefix(struct prune_weights *w, const char *path, const struct prune_net *net, size_t *layers, struct prune_status *st)
{
    return open_weights(w, path, net, layers, st);
}

enum prune_code prune_weights_check_host(const struct prune_weights *w, struct prune_status *st)
{
    if (w->layout.dialect == PRUNE_PJREDDIE) return PRUNE_OK;
    return prune_fail(st, "cannot run '%s': it was written by AlexeyAB's or hank-ai's Darknet, which stores [batchnorm] and [rnn] otherwise, and networks run here on pjreddie's; 'inspect', 'select' and 'apply' work", w->path);
}

void prune_weights_close(struct prune_weights *w)
{
    free(w->path);
    prune_map_close(&w->map);
    prune_layout_free(&w->layout);
    memset(w, 0, sizeof *w);
}

const float *prune_weights_data(const struct prune_weights *w, const struct prune_weights_tensor *t)
{
    return (const float *)(const void *)(w->map.bytes + w->header.size) + t->offset;
}

/* 0 * x is 0, but NaN where x is infinite or NaN, and a NaN stays in its sum: eight sums side by side are one vector addition. */
static bool all_finite(const float *x, size_t n)
{
    enum { LANES = 8 };
    float sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) sums[k] += 0 * x[i + k];
    for (; i < n; i++) sum += 0 * x[i];
    for (size_t k = 0; k < LANES; k++) sum += sums[k];
    return sum == 0;
}

static enum prune_code check_values(const struct prune_weights *w, const struct prune_weights_tensor *t, size_t begin, size_t end, struct prune_status *st)
{
    const float *x = prune_weights_data(w, t);
    if (t->role != PRUNE_VARIANCE && all_finite(x + begin, end - begin)) return PRUNE_OK;
    for (size_t i = begin; i < end; i++) {
        if (isfinite(x[i]) && (t->role != PRUNE_VARIANCE || x[i] >= 0)) continue;
        return prune_fail(st, "cannot use '%s': layer %d %s[%zu] is %g; the training that wrote it diverged or the weights belong to another cfg", w->path, t->layer, prune_role_name(t->role), i, (double)x[i]);
    }
    return PRUNE_OK;
}

struct place { size_t tensor, value; };

/* Checks from `at` to float number `end` of the file, across tensors. */
static enum prune_code check_until(const struct prune_weights *w, struct place *at, size_t end, struct prune_status *st)
{
    enum prune_code code = PRUNE_OK;
    while (!code && at->tensor < w->layout.count) {
        const struct prune_weights_tensor *t = &w->layout.tensors[at->tensor];
        if (t->offset + at->value >= end) break;
        size_t stop = t->count < end - t->offset ? t->count : end - t->offset;
        code = check_values(w, t, at->value, stop, st);
        at->value = stop;
        if (stop == t->count) *at = (struct place){at->tensor + 1, 0};
    }
    return code;
}

/* The file's bytes are the header's and then the tensors', in the order of the layout, without gaps. What is checked is hashed while it is in the cache. */
enum prune_code prune_weights_check(const struct prune_weights *w, char hash[32], struct prune_status *st)
{
    enum { BLOCK = 1 << 14 };            /* floats: half a first or a fraction of a second level cache */
    enum prune_code code = PRUNE_OK;
    struct place at = {0, 0};
    struct prune_hash *h = hash ? prune_hash_begin() : NULL;
    if (hash && !h) return prune_fail_memory(st, 64, "a hash");
    if (h) prune_hash_add(h, w->map.bytes, w->header.size);
    for (size_t begin = 0, end; !code && begin < w->layout.floats; begin = end) {
        end = w->layout.floats - begin < BLOCK ? w->layout.floats : begin + BLOCK;
        code = check_until(w, &at, end, st);
        if (h) prune_hash_add(h, w->map.bytes + w->header.size + 4 * begin, 4 * (end - begin));
    }
    prune_hash_end(h, code ? NULL : hash);
    return code;
}

struct prune_weights_checking {
    const struct prune_weights *w;
    pthread_t thread;
    bool running;                        /* in its thread; else the check is made at the end */
    enum prune_code code;
    char hash[32];
    struct prune_status st;
};

static void *run_check(void *checking)
{
    struct prune_weights_checking *c = checking;
    c->code = prune_weights_check(c->w, c->hash, &c->st);
    return NULL;
}

enum prune_code prune_weights_check_begin(struct prune_weights_checking **out, const struct prune_weights *w, struct prune_status *st)
{
    struct prune_weights_checking *c = calloc(1, sizeof *c);
    if (!c) return prune_fail_memory(st, sizeof *c, "a check of weights");
    c->w = w;
    c->running = pthread_create(&c->thread, NULL, run_check, c) == 0;
    *out = c;
    return PRUNE_OK;
}

enum prune_code prune_weights_check_end(struct prune_weights_checking *c, char hash[32], struct prune_status *st)
{
    if (c->running) pthread_join(c->thread, NULL);
    else run_check(c);
    enum prune_code code = c->code;
    if (code && st) *st = c->st;
    if (!code) memcpy(hash, c->hash, sizeof c->hash);
    free(c);
    return code;
}

enum prune_code prune_weights_check_finite(const struct prune_weights *w, struct prune_status *st)
{
    return prune_weights_check(w, NULL, st);
}

enum prune_code prune_weights_put_header(struct prune_writer *out, const struct prune_weights_header *h, struct prune_status *st)
{
    const int32_t numbers[] = {h->major, h->minor, h->revision};
    uint32_t seen32 = (uint32_t)h->seen;
    enum prune_code code = prune_writer_put(out, numbers, sizeof numbers, st);
    if (code) return code;
    return h->seen64 ? prune_writer_put(out, &h->seen, 8, st) : prune_writer_put(out, &seen32, 4, st);
}
