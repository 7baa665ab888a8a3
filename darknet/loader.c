/* The loader's threads: a request of n images is read, augmented and packed by workers into one of two buffers while the caller computes on
 * the other; see loader.h. What an image becomes depends on (seed, ordinal) alone, never on which worker took it. Decoded pixels are kept
 * in memory as long as a bounded budget lasts, so a small data set is decoded once. */
#include "loader_parts.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../plugin/base/random.h"

static const size_t cache_limit = (size_t)512 << 20;
static const uint64_t image_stream = 0x696d616765u; /* separates these random numbers from dropout's and the others' */

struct buffer { float *X, *y; int (*sizes)[2]; size_t x_room, y_room, size_room; };

struct loader {
    struct loader_options o;
    pthread_t *threads;
    int started;
    pthread_mutex_t lock;                 /* guards everything below */
    pthread_cond_t work, done;
    bool stop, busy;
    uint64_t first;                       /* the request */
    size_t n, next, finished;
    int w, h, slot;
    struct buffer buffers[2];
    struct prune_status failure;          /* of the lowest index that failed */
    size_t failed;
    struct pixels *cache;                 /* (images->count), bytes NULL: not kept */
    size_t cache_room;
};

size_t loader_truths(const struct loader_options *o)
{
    if (o->mode == LOAD_CLASSIFIER_TRAIN || o->mode == LOAD_CLASSIFIER_PLAIN) return (size_t)o->classes;
    if (o->side) return (size_t)o->side * (size_t)o->side * (size_t)(1 + o->classes + 4);
    return (size_t)o->max_boxes * 5;
}

size_t loader_item(const struct loader *l, uint64_t ordinal)
{
    uint64_t count = l->o.images->count;
    bool train = l->o.mode == LOAD_CLASSIFIER_TRAIN || l->o.mode == LOAD_DETECTOR_TRAIN;
    return (size_t)(train ? prune_random_permute(l->o.seed, ordinal / count, ordinal % count, count) : ordinal % count);
}

/* *kept: the bytes belong to the cache. */
static enum prune_code get_pixels(struct loader *l, size_t i, struct pixels *p, bool *kept, struct prune_status *st)
{
    pthread_mutex_lock(&l->lock);
    *p = l->cache[i];
    pthread_mutex_unlock(&l->lock);
    *kept = p->bytes != NULL;
    if (*kept) return PRUNE_OK;
    enum prune_code rc = pixels_read(l->o.images->items[i], l->o.augment.c, p, st);
    if (rc) return rc;
    size_t bytes = (size_t)p->w * (size_t)p->h * (size_t)p->c;
    pthread_mutex_lock(&l->lock);
    if (!l->cache[i].bytes && bytes <= l->cache_room) { /* a list may name an image twice: another worker may have been first */
        l->cache[i] = *p;
        l->cache_room -= bytes;
        *kept = true;
    }
    pthread_mutex_unlock(&l->lock);
    return PRUNE_OK;
}

static enum prune_code classifier_truth(const struct loader *l, const char *path, float *y, struct prune_status *st)
{
    int class = 0;
    memset(y, 0, (size_t)l->o.classes * sizeof *y);
    if (!l->o.labels) return PRUNE_OK;
    enum prune_code rc = class_of_path(path, l->o.labels, &class, st);
    if (rc) return rc;
    if (class >= l->o.classes) return prune_fail(st, "image '%s' is of class %d, but there are %d classes", path, class, l->o.classes);
    y[class] = 1;
    return PRUNE_OK;
}

static enum prune_code detector_truth(const struct loader *l, const char *path, struct placement where, struct prune_random *r, float *y, struct prune_status *st)
{
    bool plain = l->o.mode == LOAD_DETECTOR_PLAIN;
    box_label *boxes = NULL;
    int n = 0;
    if (!l->o.max_boxes && !l->o.side) return PRUNE_OK;
    char *labels = label_path(path);
    if (!labels) return prune_fail_memory(st, strlen(path), "a path");
    enum prune_code rc = labels_read(labels, l->o.classes, &boxes, &n, st);
    if (!rc && plain && !l->o.net_truths && !l->o.side && n > l->o.max_boxes) rc = prune_fail(st, "'%s' holds %d boxes; there is room for %d", labels, n, l->o.max_boxes);
    if (!rc && plain && !l->o.net_truths) where = (struct placement){1, 0, 1, 0, false};
    if (!rc && l->o.side) truths_pack_grid(boxes, n, &where, plain ? NULL : r, l->o.side, l->o.classes, y);
    else if (!rc) truths_pack_list(boxes, n, &where, plain ? NULL : r, l->o.max_boxes, y);
    free(boxes);
    free(labels);
    return rc;
}

static enum prune_code load_one(struct loader *l, size_t i, struct prune_status *st)
{
    const struct augmentation *a = &l->o.augment;
    size_t item = loader_item(l, l->first + i), input = (size_t)a->c * (size_t)l->w * (size_t)l->h;
    const char *path = l->o.images->items[item];
    struct buffer *b = &l->buffers[l->slot];
    float *out = b->X + i * input, *y = b->y + i * loader_truths(&l->o);
    struct prune_random r = prune_random_make(l->o.seed, image_stream, l->first + i);
    struct placement where = {1, 0, 1, 0, false};
    struct pixels p;
    bool kept = false, classifier = l->o.mode == LOAD_CLASSIFIER_TRAIN || l->o.mode == LOAD_CLASSIFIER_PLAIN;
    enum prune_code rc = get_pixels(l, item, &p, &kept, st);
    if (rc) return rc;
    b->sizes[i][0] = p.w;
    b->sizes[i][1] = p.h;
    switch (l->o.mode) {
    case LOAD_CLASSIFIER_TRAIN: rc = augment_classifier(&p, a, l->w, l->h, &r, out, st); break;
    case LOAD_CLASSIFIER_PLAIN: rc = plain_classifier(&p, l->w, l->h, out, st); break;
    case LOAD_DETECTOR_TRAIN: rc = augment_detector(&p, a, l->w, l->h, &r, out, &where, st); break;
    case LOAD_DETECTOR_PLAIN: rc = plain_detector(&p, l->w, l->h, l->o.letterbox != 0, out, &where, st); break;
    }
    if (!kept) pixels_free(&p);
    if (!rc) rc = classifier ? classifier_truth(l, path, y, st) : detector_truth(l, path, where, &r, y, st);
    return rc;
}

static void *worker(void *arg)
{
    struct loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && l->next >= l->n) pthread_cond_wait(&l->work, &l->lock);
        if (l->stop) break;
        size_t i = l->next++;
        bool skip = l->failed < l->n; /* indices are taken in order: every lower one is already in work */
        struct prune_status st = {0};
        pthread_mutex_unlock(&l->lock);
        enum prune_code rc = skip ? PRUNE_OK : load_one(l, i, &st);
        pthread_mutex_lock(&l->lock);
        if (rc && i < l->failed) {
            l->failed = i;
            l->failure = st;
        }
        if (++l->finished == l->n) pthread_cond_signal(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static size_t cache_budget(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t share = pages > 0 && page > 0 ? (size_t)pages / 8 * (size_t)page : 0;
    return share < cache_limit ? share : cache_limit;
}

/* Signals are for the main thread: a Ctrl-C must not land in a worker. */
static enum prune_code start_threads(struct loader *l, struct prune_status *st)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int why = 0;
    while (!why && l->started < l->o.threads) {
        why = pthread_create(&l->threads[l->started], NULL, worker, l);
        if (!why) l->started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return l->started ? PRUNE_OK : prune_fail(st, "cannot start a loader thread: %s", strerror(why));
}

enum prune_code loader_open(struct loader **out, const struct loader_options *o, struct prune_status *st)
{
    if (o->augment.c != 1 && o->augment.c != 3) return prune_fail(st, "the network reads %d channels; images have 1 or 3", o->augment.c);
    struct loader *l = calloc(1, sizeof *l);
    if (!l) return prune_fail_memory(st, sizeof *l, "the loader");
    l->o = *o;
    if (l->o.threads < 1) l->o.threads = 1;
    l->cache_room = cache_budget();
    l->cache = calloc(o->images->count, sizeof *l->cache);
    l->threads = calloc((size_t)l->o.threads, sizeof *l->threads);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    enum prune_code rc = PRUNE_OK;
    if (!l->cache || !l->threads) rc = prune_fail_memory(st, o->images->count * sizeof *l->cache, "the loader");
    if (!rc) rc = start_threads(l, st);
    if (rc) loader_close(l);
    else *out = l;
    return rc;
}

void loader_reseed(struct loader *l, uint64_t seed)
{
    l->o.seed = seed;
}

static enum prune_code grow(void **p, size_t *room, size_t bytes, struct prune_status *st)
{
    if (bytes <= *room) return PRUNE_OK;
    void *bigger = realloc(*p, bytes);
    if (!bigger) return prune_fail_memory(st, bytes, "a minibatch");
    *p = bigger;
    *room = bytes;
    return PRUNE_OK;
}

enum prune_code loader_start(struct loader *l, uint64_t first, size_t n, int w, int h, struct prune_status *st)
{
    if (l->busy) return prune_fail(st, "the loader is still reading the batch before");
    struct buffer *b = &l->buffers[1 - l->slot];
    size_t input = (size_t)l->o.augment.c * (size_t)w * (size_t)h, truths = loader_truths(&l->o);
    void *X = b->X, *y = b->y, *sizes = b->sizes;
    enum prune_code rc = grow(&X, &b->x_room, n * input * sizeof *b->X, st);
    b->X = X;
    if (!rc) rc = grow(&y, &b->y_room, n * (truths ? truths : 1) * sizeof *b->y, st);
    b->y = y;
    if (!rc) rc = grow(&sizes, &b->size_room, n * sizeof *b->sizes, st);
    b->sizes = sizes;
    if (rc) return rc;
    pthread_mutex_lock(&l->lock);
    l->slot = 1 - l->slot;
    l->first = first;
    l->w = w;
    l->h = h;
    l->n = l->failed = n;
    l->next = l->finished = 0;
    l->busy = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return PRUNE_OK;
}

enum prune_code loader_wait(struct loader *l, float **X, float **y, const int (**sizes)[2], struct prune_status *st)
{
    if (!l->busy) return prune_fail(st, "the loader has nothing to wait for");
    pthread_mutex_lock(&l->lock);
    while (l->finished < l->n) pthread_cond_wait(&l->done, &l->lock);
    l->busy = false;
    bool failed = l->failed < l->n;
    pthread_mutex_unlock(&l->lock);
    if (failed) {
        if (st) *st = l->failure;
        return l->failure.code;
    }
    struct buffer *b = &l->buffers[l->slot];
    *X = b->X;
    *y = b->y;
    if (sizes) *sizes = (const int (*)[2])b->sizes;
    return PRUNE_OK;
}

void loader_close(struct loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->started; i++) pthread_join(l->threads[i], NULL);
    for (size_t i = 0; l->cache && i < l->o.images->count; i++)
        if (l->cache[i].bytes) pixels_free(&l->cache[i]);
    for (int i = 0; i < 2; i++) {
        free(l->buffers[i].X);
        free(l->buffers[i].y);
        free(l->buffers[i].sizes);
    }
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->done);
    pthread_mutex_destroy(&l->lock);
    free(l->cache);
    free(l->threads);
    free(l);
}
