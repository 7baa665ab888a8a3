/* Evaluation: a network and a list of images in; loss, top-1 and top-5, or mean average precision out; or every prediction as text. Images are read
 * by the loader in the background while the network runs. Classifier or detector is told by the network's heads.
 * Dimension letters: B images per forward pass, C classes. */
#include "context.h"
#include "detections.h"
#include "heads.h"
#include "kernels/inference.h"
#include "loader.h"
#include "../plugin/base/file_io.h"
#include "../plugin/base/progress.h"

#include <math.h>

#define SCORE_THRESHOLD .001f
#define MAX_OVERLAP .45f
enum { OVERLAPS = 10, TOP = 5 };

/* A pass over the images of a set. */
struct walk {
    network *net;
    struct image_source source;
    struct loader *loader;
    size_t count;       /* images */
    int batch, classes, letterbox;
    bool detector;
    double *loss;       /* (B): each image's, NaN where a head has none */
    double seconds;
};
/* One batch after its forward pass: n images from ordinal `first`; y (n, truths): one-hot classes, or boxes as the heads want them. */
struct batch { size_t first, n; float *y; const int (*sizes)[2]; };
typedef enum prune_code visitor(void *user, const struct walk *w, const struct batch *b, struct prune_status *st);

static void walk_close(struct walk *w)
{
    loader_close(w->loader);
    free(w->loss);
    image_source_close(&w->source);
}

/* with_truths false: label files of a detector are not read. */
static enum prune_code walk_open(struct walk *w, network *net, const struct prune_image_set *set, int threads, bool with_truths, struct prune_status *st)
{
    *w = (struct walk){.net = net, .batch = net->batch, .letterbox = set->letterbox, .detector = network_detector_head(net) != NULL};
    enum prune_code code = image_source_open(&w->source, set, net, st);
    if (code) return code;
    if (w->detector && set->drawn)
        return prune_fail(st, "augmented images cannot be held against the boxes of their label files; evaluate a detector on images as they are");
    w->count = w->source.count;
    w->classes = w->source.data.classes;
    if (!w->detector && get_network_output_layer(net).outputs != w->classes)
        return prune_fail(st, "the network's last layer has %d outputs for %d classes: a classifier's output is one value per class",
                          get_network_output_layer(net).outputs, w->classes);
    w->loss = calloc((size_t)w->batch, sizeof *w->loss);
    if (!w->loss) return prune_fail_memory(st, (size_t)w->batch * sizeof *w->loss, "losses");
    struct loader_options o = image_source_options(&w->source, net, set->drawn, set->letterbox);
    o.threads = threads;
    o.seed = host_context()->seed;
    if (w->detector && !with_truths) o.max_boxes = o.side = 0;
    return loader_open(&w->loader, &o, st);
}

static size_t batch_size(const struct walk *w, size_t first)
{
    return w->count - first < (size_t)w->batch ? w->count - first : (size_t)w->batch;
}

/* The classifier's truths go in with the images: its heads compute their loss in inference as well. */
static void forward(struct walk *w, float *X, float *y)
{
    for (int b = 0; b < w->batch; ++b) w->loss[b] = 0;
    host_context()->image_loss = w->loss;
    w->net->input = X;
    w->net->truth = w->detector ? NULL : y;
    w->net->train = 0;
    w->net->delta = NULL;
    double started = prune_now();
    inference_forward(w->net);
    w->seconds += prune_now() - started;
}

static enum prune_code run_batches(struct walk *w, visitor *visit, void *user, struct prune_status *st)
{
    int width = w->net->w, height = w->net->h;
    enum prune_code code = loader_start(w->loader, w->source.first, batch_size(w, 0), width, height, st);
    for (size_t first = 0, n; code == PRUNE_OK && first < w->count; first += n) {
        struct batch b = {.first = first, .n = n = batch_size(w, first)};
        float *X, *y;
        code = loader_wait(w->loader, &X, &y, &b.sizes, st);
        if (code == PRUNE_OK && first + n < w->count) code = loader_start(w->loader, w->source.first + first + n, batch_size(w, first + n), width, height, st);
        if (code) break;
        b.y = y;
        if ((int)n != w->net->batch) set_batch_network(w->net, (int)n);
        forward(w, X, y);
        code = visit(user, w, &b, st);
    }
    return code;
}

/* Leaves network and context as they were. */
static enum prune_code walk_run(struct walk *w, visitor *visit, void *user, struct prune_status *st)
{
    const network before = *w->net;
    double *const image_loss = host_context()->image_loss;
    const bool quiet = host_context()->quiet;
    host_context()->quiet = true;
    struct inference inference;
    inference_begin(&inference);
    enum prune_code code = run_batches(w, visit, user, st);
    inference_end(&inference);
    host_context()->quiet = quiet;
    host_context()->image_loss = image_loss;
    int batch = w->net->batch;
    *w->net = before;
    if (batch != before.batch) set_batch_network(w->net, before.batch);
    return code;
}

/* Classifiers */

struct tally { double loss; size_t top1, top5; };

/* Outputs of image b, (C). */
static const float *class_scores(const struct walk *w, size_t b)
{
    return get_network_output_layer(w->net).output + b * (size_t)w->classes;
}

static int class_of_row(const float *y, int classes)
{
    int best = 0;
    for (int c = 1; c < classes; ++c) if (y[c] > y[best]) best = c;
    return best;
}

/* Classes that come before `id` by score; of equals the lower index first. A NaN anywhere puts it last. */
static int rank_of(const float *scores, int classes, int id)
{
    int rank = 0;
    for (int c = 0; c < classes; ++c) {
        if (isnan(scores[c])) return classes;
        rank += scores[c] > scores[id] || (scores[c] == scores[id] && c < id);
    }
    return rank;
}

static enum prune_code tally_batch(void *user, const struct walk *w, const struct batch *b, struct prune_status *st)
{
    (void)st;
    struct tally *t = user;
    for (size_t i = 0; i < b->n; ++i) {
        int rank = rank_of(class_scores(w, i), w->classes, class_of_row(b->y + i * (size_t)w->classes, w->classes));
        t->top1 += rank == 0;
        t->top5 += rank < TOP && rank < w->classes;
        t->loss += w->loss[i];
    }
    return PRUNE_OK;
}

static enum prune_code evaluate_classifier(struct walk *w, struct prune_evaluation *out, struct prune_status *st)
{
    struct tally t = {0};
    enum prune_code code = walk_run(w, tally_batch, &t, st);
    if (code) return code;
    double images = (double)w->count;
    *out = (struct prune_evaluation){.images = w->count, .loss = t.loss / images, .top1 = (double)t.top1 / images, .top5 = (double)t.top5 / images,
                                     .map50 = NAN, .map = NAN, .classes = w->classes, .seconds = w->seconds};
    return PRUNE_OK;
}

/* Detectors */

struct gathered { struct found_list found; struct true_box *truths; size_t truth_count, truth_capacity; double loss; };

static struct framing framing_of(const struct walk *w, const int size[2])
{
    return (struct framing){size[0], size[1], w->net->w, w->net->h, w->letterbox};
}

static enum prune_code gather_truths(struct gathered *g, const struct walk *w, size_t image, struct prune_status *st)
{
    char *path = label_path(w->source.images.items[image]);
    if (!path) return prune_fail_memory(st, strlen(w->source.images.items[image]) + 1, "a label path");
    box_label *boxes = NULL;
    int n = 0;
    enum prune_code code = labels_read(path, w->classes, &boxes, &n, st);
    free(path);
    if (code) return code;
    if (g->truth_count + (size_t)n > g->truth_capacity) {
        size_t wanted = 2 * (g->truth_count + (size_t)n);
        struct true_box *truths = realloc(g->truths, wanted * sizeof *truths);
        if (!truths) {
            free(boxes);
            return prune_fail_memory(st, wanted * sizeof *truths, "true boxes");
        }
        g->truths = truths;
        g->truth_capacity = wanted;
    }
    for (int i = 0; i < n; ++i)
        g->truths[g->truth_count++] = (struct true_box){{boxes[i].x, boxes[i].y, boxes[i].w, boxes[i].h}, boxes[i].id, image};
    free(boxes);
    return PRUNE_OK;
}

/* Runs the heads once more on the inputs they just had, in training mode: the loss of the network in inference mode. */
static void losses_of_heads(const struct walk *w, float *truth)
{
    for (int i = 0; i < w->net->n; ++i) {
        layer *l = &w->net->layers[i];
        if (!is_detection_head(l)) continue;
        if (head_has_loss(l)) {
            network as_training = *w->net;
            as_training.train = 1;
            as_training.truth = truth;
            as_training.index = i;
            as_training.input = i ? w->net->layers[i - 1].output : w->net->input;
            l->forward(*l, as_training);
        } else {
            for (int b = 0; b < l->batch; ++b) w->loss[b] = NAN;
        }
    }
}

static enum prune_code gather_batch(void *user, const struct walk *w, const struct batch *b, struct prune_status *st)
{
    struct gathered *g = user;
    for (size_t i = 0; i < b->n; ++i) {
        struct framing f = framing_of(w, b->sizes[i]);
        size_t box_start = g->found.count;
        enum prune_code code = detections_decode(w->net, (int)i, &f, b->first + i, SCORE_THRESHOLD, &g->found, st);
        if (code) return code;
        detections_suppress(&g->found, box_start, MAX_OVERLAP);
        code = gather_truths(g, w, b->first + i, st);
        if (code) return code;
    }
    losses_of_heads(w, b->y);
    for (size_t i = 0; i < b->n; ++i) g->loss += w->loss[i];
    return PRUNE_OK;
}

static double mean_of_known(const double *values, int n)
{
    double sum = 0;
    int known = 0;
    for (int i = 0; i < n; ++i) if (!isnan(values[i])) { sum += values[i]; ++known; }
    return known ? sum / known : NAN;
}

static enum prune_code score_detections(struct gathered *g, const struct walk *w, struct prune_evaluation *out, struct prune_status *st)
{
    size_t C = (size_t)w->classes;
    double overlaps[OVERLAPS], *all = malloc(OVERLAPS * C * sizeof *all), *ap50 = malloc(C * sizeof *ap50), *ap = malloc(C * sizeof *ap);
    for (int k = 0; k < OVERLAPS; ++k) overlaps[k] = (50 + 5 * k) / 100.;
    enum prune_code code = all && ap50 && ap ? PRUNE_OK : prune_fail_memory(st, (OVERLAPS + 2) * C * sizeof *all, "average precisions");
    if (code == PRUNE_OK)
        code = average_precisions(g->found.items, g->found.count, g->truths, g->truth_count, w->classes, overlaps, OVERLAPS, all, st);
    if (code) {
        free(ap);
        free(ap50);
    } else {
        for (size_t c = 0; c < C; ++c) {
            ap[c] = 0;
            for (size_t k = 0; k < OVERLAPS; ++k) ap[c] += all[k * C + c] / OVERLAPS;
            ap50[c] = all[c];
        }
        *out = (struct prune_evaluation){.images = w->count, .loss = g->loss / (double)w->count, .top1 = NAN, .top5 = NAN,
                                         .map50 = mean_of_known(ap50, w->classes), .map = mean_of_known(ap, w->classes), .classes = w->classes,
                                         .ap50 = ap50, .ap = ap, .seconds = w->seconds};
    }
    free(all);
    return code;
}

static enum prune_code evaluate_detector(struct walk *w, struct prune_evaluation *out, struct prune_status *st)
{
    struct gathered g = {0};
    enum prune_code code = walk_run(w, gather_batch, &g, st);
    if (code == PRUNE_OK) code = score_detections(&g, w, out, st);
    found_list_free(&g.found);
    free(g.truths);
    return code;
}

enum prune_code evaluate_network(network *net, const struct prune_image_set *set, int threads, struct prune_evaluation *out, struct prune_status *st)
{
    struct walk w;
    enum prune_code code = walk_open(&w, net, set, threads, true, st);
    if (code == PRUNE_OK) code = w.detector ? evaluate_detector(&w, out, st) : evaluate_classifier(&w, out, st);
    walk_close(&w);
    return code;
}

/* Predictions as text */

struct report { struct prune_writer *writer; struct found_list found; };

static enum prune_code put_line(struct prune_writer *writer, char *line, struct prune_status *st)
{
    if (!line) return prune_fail_memory(st, 256, "a line of predictions");
    enum prune_code code = prune_writer_put(writer, line, strlen(line), st);
    free(line);
    return code;
}

static enum prune_code write_classes(void *user, const struct walk *w, const struct batch *b, struct prune_status *st)
{
    struct report *r = user;
    enum prune_code code = PRUNE_OK;
    for (size_t i = 0; code == PRUNE_OK && i < b->n; ++i) {
        const float *scores = class_scores(w, i);
        int id = class_of_row(scores, w->classes);
        code = put_line(r->writer, prune_format("%s\t%d\t%d\t%.9g\n", w->source.images.items[loader_item(w->loader, w->source.first + b->first + i)], class_of_row(b->y + i * (size_t)w->classes, w->classes),
                                                id, (double)scores[id]), st);
    }
    return code;
}

static enum prune_code write_boxes(void *user, const struct walk *w, const struct batch *b, struct prune_status *st)
{
    struct report *r = user;
    enum prune_code code = PRUNE_OK;
    for (size_t i = 0; code == PRUNE_OK && i < b->n; ++i) {
        struct framing f = framing_of(w, b->sizes[i]);
        r->found.count = 0;
        code = detections_decode(w->net, (int)i, &f, b->first + i, SCORE_THRESHOLD, &r->found, st);
        if (code) break;
        detections_suppress(&r->found, 0, MAX_OVERLAP);
        for (size_t k = 0; code == PRUNE_OK && k < r->found.count; ++k) {
            const struct found_box *d = &r->found.items[k];
            code = put_line(r->writer, prune_format("%s\t%d\t%.9g\t%.9g\t%.9g\t%.9g\t%.9g\n", w->source.images.items[d->image], d->class_id, (double)d->score,
                                                    (double)d->where.x, (double)d->where.y, (double)d->where.w, (double)d->where.h), st);
        }
    }
    return code;
}

static enum prune_code write_all(struct walk *w, const char *path, struct prune_status *st)
{
    struct report r = {0};
    enum prune_code code = prune_writer_open(&r.writer, path, st);
    if (code == PRUNE_OK) {
        const char *header = w->detector ? "image\tclass\tscore\tx\ty\tw\th\n" : "image\tclass\tpredicted\tprobability\n";
        code = prune_writer_put(r.writer, header, strlen(header), st);
        if (code == PRUNE_OK) code = walk_run(w, w->detector ? write_boxes : write_classes, &r, st);
        if (code == PRUNE_OK) code = prune_writer_commit(r.writer, st);
        else prune_writer_abort(r.writer);
    }
    found_list_free(&r.found);
    return code;
}

enum prune_code evaluate_write_predictions(network *net, const struct prune_image_set *set, int threads, const char *path, struct prune_status *st)
{
    if (!path) return PRUNE_OK;
    struct walk w;
    enum prune_code code = walk_open(&w, net, set, threads, false, st);
    if (code == PRUNE_OK) code = write_all(&w, path, st);
    walk_close(&w);
    return code;
}
