/* The yolo head: activations, deltas, statistics and loss, one thread per image. Input and output are (batch, n * (4 + 1 + classes), h, w):
 * per predictor x, y, w, h, objectness, classes. Deltas follow the rule of the training host, so training is unchanged:
 *   every predictor: objectness is pushed to 0, unless its box overlaps some truth by more than ignore_thresh (then not at all) or by more
 *   than truth_thresh (then it is trained towards that truth);
 *   every truth: the anchor of best shape, if it is one of this head's, is trained at the truth's cell: box, objectness 1, class.
 * host_context()->image_loss gets the loss whose negative gradient (in the pre-activations) delta is; see docs/evaluation.md. */
#include "head_common.h"
#include "pool.h"
#include "vector.h"
#include "../context.h"

#include <darknet.h>
#include <stdio.h>
#include <string.h>

enum { TRUTH = 5, IMAGES_AT_ONCE = 64 };

void forward_yolo_layer(layer l, network net);

/* Sums over the predictors of one image, for the statistics line. */
struct totals { double iou, category, object, anywhere, squares; int over_half, over_three_quarters, count, categories; };

struct job { const layer *l; const network *net; const float *input; int first, tasks; double *loss; struct totals totals[IMAGES_AT_ONCE]; };

/* One image: x are its outputs, a its pre-activations, d its deltas. */
struct view { const layer *l; const network *net; const float *a; float *x, *d; const float *truths; int truth_count, plane; };

static size_t entry(const struct view *v, int predictor, int which)
{
    int n = predictor / v->plane, place = predictor % v->plane;
    return ((size_t)n * (size_t)(5 + v->l->classes) + (size_t)which) * (size_t)v->plane + (size_t)place;
}

static box truth_box(const float *t)
{
    return (box){t[0], t[1], t[2], t[3]};
}

static int truth_class(const struct view *v, const float *t)
{
    int id = (int)t[4];
    if (v->l->map) id = v->l->map[id];
    return id;
}

static box predicted_box(const struct view *v, int predictor)
{
    const layer *l = v->l;
    int place = predictor % v->plane, anchor = l->mask[predictor / v->plane];
    size_t at = entry(v, predictor, 0), plane = (size_t)v->plane;
    return (box){((float)(place % l->w) + v->x[at]) / (float)l->w, ((float)(place / l->w) + v->x[at + plane]) / (float)l->h,
                 expf(v->x[at + 2 * plane]) * l->biases[2 * anchor] / (float)v->net->w,
                 expf(v->x[at + 3 * plane]) * l->biases[2 * anchor + 1] / (float)v->net->h};
}

/* The predictor that a truth trains, -1 when its best anchor belongs to another head. */
static int assigned_predictor(const struct view *v, const float *t)
{
    const layer *l = v->l;
    box shape = {0, 0, t[2], t[3]};
    float best_iou = 0;
    int best = 0;
    for (int n = 0; n < l->total; ++n) {
        float iou = box_iou((box){0, 0, l->biases[2 * n] / (float)v->net->w, l->biases[2 * n + 1] / (float)v->net->h}, shape);
        if (iou > best_iou) { best_iou = iou; best = n; }
    }
    int column = (int)(t[0] * (float)l->w), row = (int)(t[1] * (float)l->h);
    if (column >= l->w) column = l->w - 1;   /* a box centred on the right or lower border */
    if (row >= l->h) row = l->h - 1;
    if (column < 0 || row < 0) return -1;
    for (int n = 0; n < l->n; ++n) if (l->mask[n] == best) return n * v->plane + row * l->w + column;
    return -1;
}

struct box_target { double scale, x, y, w, h; };

static struct box_target box_target(const struct view *v, int predictor, const float *t)
{
    const layer *l = v->l;
    int place = predictor % v->plane, anchor = l->mask[predictor / v->plane];
    return (struct box_target){2. - (double)(t[2] * t[3]), (double)(t[0] * (float)l->w) - place % l->w, (double)(t[1] * (float)l->h) - place / l->w,
                               log((double)(t[2] * (float)v->net->w / l->biases[2 * anchor])),
                               log((double)(t[3] * (float)v->net->h / l->biases[2 * anchor + 1]))};
}

/* Returns the overlap of the prediction with the truth. */
static float train_box(const struct view *v, int predictor, const float *t)
{
    struct box_target g = box_target(v, predictor, t);
    size_t at = entry(v, predictor, 0), plane = (size_t)v->plane;
    const float *x = v->x + at;
    float *d = v->d + at;
    d[0] = (float)(g.scale * (g.x - x[0]));
    d[plane] = (float)(g.scale * (g.y - x[plane]));
    d[2 * plane] = (float)(g.scale * (g.w - x[2 * plane]));
    d[3 * plane] = (float)(g.scale * (g.h - x[3 * plane]));
    return box_iou(predicted_box(v, predictor), truth_box(t));
}

/* A predictor that has a class already keeps its other classes: boxes of two classes in one cell make both targets 1. */
static void train_class(const struct view *v, int predictor, int id, struct totals *sums)
{
    size_t at = entry(v, predictor, 5), plane = (size_t)v->plane;
    const float *x = v->x + at;
    float *d = v->d + at;
    if (d[0] != 0) {
        d[(size_t)id * plane] = 1 - x[(size_t)id * plane];
    } else {
        for (int c = 0; c < v->l->classes; ++c) d[(size_t)c * plane] = (float)(c == id) - x[(size_t)c * plane];
    }
    if (sums) { sums->category += x[(size_t)id * plane]; ++sums->categories; }
}

/* What the no-object rule finds for a predictor: the truth to train it towards, or NULL. */
static const float *train_objectness(const struct view *v, int predictor, struct totals *sums)
{
    box seen = predicted_box(v, predictor);
    float best_iou = 0;
    const float *best = NULL;
    for (int t = 0; t < v->truth_count; ++t) {
        float iou = box_iou(seen, truth_box(v->truths + t * TRUTH));
        if (iou > best_iou) { best_iou = iou; best = v->truths + t * TRUTH; }
    }
    size_t at = entry(v, predictor, 4);
    sums->anywhere += v->x[at];
    v->d[at] = best_iou > v->l->ignore_thresh ? 0 : -v->x[at];
    if (!(best_iou > v->l->truth_thresh) || !best) return NULL;
    v->d[at] = 1 - v->x[at];
    train_class(v, predictor, truth_class(v, best), NULL);
    train_box(v, predictor, best);
    return best;
}

static void train_truth(const struct view *v, const float *t, struct totals *sums)
{
    int predictor = assigned_predictor(v, t);
    if (predictor < 0) return;
    float iou = train_box(v, predictor, t);
    size_t at = entry(v, predictor, 4);
    sums->object += v->x[at];
    v->d[at] = 1 - v->x[at];
    train_class(v, predictor, truth_class(v, t), sums);
    ++sums->count;
    sums->iou += iou;
    sums->over_half += iou > .5f;
    sums->over_three_quarters += iou > .75f;
}

/* Objectness and classes have targets 0 or 1, told by the sign of delta; delta 0 means "not trained" (or fitted to the last bit). */
static double signed_loss(float a, float d)
{
    return d > 0 ? softplus(-(double)a) : softplus((double)a);
}

/* Box and class loss of a predictor whose box was trained towards t. */
static double predictor_loss(const struct view *v, int predictor, const float *t)
{
    struct box_target g = box_target(v, predictor, t);
    size_t plane = (size_t)v->plane;
    const float *a = v->a + entry(v, predictor, 0), *d = v->d + entry(v, predictor, 0);
    double w = g.w - a[2 * plane], h = g.h - a[3 * plane];
    double loss = logistic_loss(a[0], g.x) + negative_entropy(g.x) + logistic_loss(a[plane], g.y) + negative_entropy(g.y) + 0.5 * (w * w + h * h);
    loss *= g.scale;
    for (int c = 5; c < 5 + v->l->classes; ++c)
        if (d[(size_t)c * plane] != 0) loss += signed_loss(a[(size_t)c * plane], d[(size_t)c * plane]);
    return loss;
}

/* True when a truth after the given one trains the same predictor: it overwrote the box. */
static bool overwritten(const struct view *v, int predictor, int after)
{
    for (int t = after + 1; t < v->truth_count; ++t)
        if (assigned_predictor(v, v->truths + t * TRUTH) == predictor) return true;
    return false;
}

static double truths_loss(const struct view *v)
{
    double loss = 0;
    for (int t = 0; t < v->truth_count; ++t) {
        int predictor = assigned_predictor(v, v->truths + t * TRUTH);
        if (predictor >= 0 && !overwritten(v, predictor, t)) loss += predictor_loss(v, predictor, v->truths + t * TRUTH);
    }
    return loss;
}

static void train_image(const struct view *v, double *loss, struct totals *sums)
{
    int predictors = v->l->n * v->plane;
    double sum = 0;
    for (int p = 0; p < predictors; ++p) {
        const float *t = train_objectness(v, p, sums);
        if (loss && t && !overwritten(v, p, -1)) sum += predictor_loss(v, p, t);
    }
    for (int t = 0; t < v->truth_count; ++t) train_truth(v, v->truths + t * TRUTH, sums);
    for (int i = 0; i < v->l->outputs; ++i) sums->squares += (double)v->d[i] * v->d[i];
    if (!loss) return;
    for (int p = 0; p < predictors; ++p)
        if (v->d[entry(v, p, 4)] != 0) sum += signed_loss(v->a[entry(v, p, 4)], v->d[entry(v, p, 4)]);
    *loss += sum + truths_loss(v);
}

/* x, y, objectness and classes are logistic; w and h pass through. A task: some of the images' blocks, one per anchor. */
static void activate(void *arg, int task, int thread)
{
    const struct job *job = arg;
    const layer *l = job->l;
    size_t plane = (size_t)l->w * (size_t)l->h, block = plane * (size_t)(5 + l->classes), blocks = (size_t)l->batch * (size_t)l->n;
    size_t first = pool_first(blocks, task, job->tasks), last = pool_first(blocks, task + 1, job->tasks);
    (void)thread;
    memcpy(l->output + first * block, job->input + first * block, (last - first) * block * sizeof *l->output);
    for (float *x = l->output + first * block; x < l->output + last * block; x += block) {
        vector_ops()->logistic(2 * plane, x);
        vector_ops()->logistic(block - 4 * plane, x + 4 * plane);
    }
}

static void one_image(void *arg, int task, int thread)
{
    (void)thread;
    struct job *job = arg;
    const layer *l = job->l;
    size_t b = (size_t)(job->first + task), at = b * (size_t)l->outputs;
    memset(l->delta + at, 0, (size_t)l->outputs * sizeof *l->delta);
    if (!job->net->truth) return;
    struct view v = {l, job->net, job->input + at, l->output + at, l->delta + at, job->net->truth + b * (size_t)l->truths, 0, l->w * l->h};
    int room = l->truths / TRUTH;   /* the host believes [yolo] max= beyond the room it has */
    if (l->max_boxes < room) room = l->max_boxes;
    while (v.truth_count < room && v.truths[v.truth_count * TRUTH] != 0) ++v.truth_count;
    train_image(&v, job->loss ? job->loss + b : NULL, &job->totals[task]);
}

static void print_statistics(const layer *l, int index, const struct totals *s)
{
    double count = s->count;
    printf("Region %d Avg IOU: %f, Class: %f, Obj: %f, No Obj: %f, .5R: %f, .75R: %f,  count: %d\n", index, s->iou / count,
           s->category / s->categories, s->object / count, s->anywhere / ((double)l->w * l->h * l->n * l->batch), s->over_half / count,
           s->over_three_quarters / count, s->count);
}

static void add_totals(struct totals *to, const struct totals *from)
{
    to->iou += from->iou; to->category += from->category; to->object += from->object; to->anywhere += from->anywhere; to->squares += from->squares;
    to->over_half += from->over_half; to->over_three_quarters += from->over_three_quarters;
    to->count += from->count; to->categories += from->categories;
}

void forward_yolo_layer(layer l, network net)
{
    struct totals sums = {0};
    struct job job = {.l = &l, .net = &net, .input = net.input, .loss = host_context()->image_loss};
    job.tasks = pool_split((size_t)l.batch * (size_t)l.n, (size_t)l.batch * (size_t)l.outputs);
    pool_run(job.tasks, activate, &job);
    if (!net.train) return;
    for (job.first = 0; job.first < l.batch; job.first += IMAGES_AT_ONCE) {
        int images = l.batch - job.first < IMAGES_AT_ONCE ? l.batch - job.first : IMAGES_AT_ONCE;
        memset(job.totals, 0, sizeof job.totals);
        pool_run(images, one_image, &job);
        for (int i = 0; i < images; ++i) add_totals(&sums, &job.totals[i]);
    }
    *l.cost = (float)sums.squares;   /* what the host prints; not the integral of delta */
    if (!host_context()->quiet) print_statistics(&l, net.index, &sums);
}
