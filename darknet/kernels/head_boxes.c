/* Assignment of truths to predictors, activations and deltas of yolo and region heads; see head_boxes.h. The rule of the training host:
 *   every predictor: objectness is pushed to 0, unless its box overlaps some truth by more than free_above (then not at all) or by more than
 *   truth_above (then it is trained towards that truth);
 *   every truth: the anchor of best shape, if it is one of this head's, is trained at the truth's cell: box, objectness, class. */
#include "head_boxes.h"

#include <math.h>
#include <string.h>

#include "../context.h"
#include "head_terms.h"
#include "pool.h"
#include "vector.h"

enum { TRUTH = 5, IMAGES_AT_ONCE = 64 };

struct job { const struct box_head *h; int first, tasks; double *loss; struct box_totals totals[IMAGES_AT_ONCE]; };

/* One image: x are its outputs, d its deltas (NULL: not wanted), terms its targets (NULL: not wanted). */
struct view { const struct box_head *h; const float *x; float *d; struct head_term *terms; const float *truths; int truth_count, plane; };

static size_t entry(const struct view *v, int predictor, int which)
{
    int n = predictor / v->plane, place = predictor % v->plane;
    return ((size_t)n * (size_t)(5 + v->h->l->classes) + (size_t)which) * (size_t)v->plane + (size_t)place;
}

static void aim(const struct view *v, size_t at, double scale, double target)
{
    v->d[at] = (float)(scale * (target - (double)v->x[at]));
    if (v->terms) v->terms[at] = (struct head_term){(float)scale, (float)target};
}

static void let_go(const struct view *v, size_t at)
{
    v->d[at] = 0;
    if (v->terms) v->terms[at] = (struct head_term){0, 0};
}

static box truth_box(const float *t)
{
    return (box){t[0], t[1], t[2], t[3]};
}

static int truth_class(const struct view *v, const float *t)
{
    int id = (int)t[4];
    return v->h->l->map ? v->h->l->map[id] : id;
}

/* Width and height of anchor k of the cfg, in images. */
static box anchor(const struct view *v, int k)
{
    const float *size = v->h->l->biases + 2 * k;
    return (box){0, 0, size[0] / v->h->rules.unit_w, size[1] / v->h->rules.unit_h};
}

static box anchor_of(const struct view *v, int predictor)
{
    int n = predictor / v->plane;
    return anchor(v, v->h->rules.mask ? v->h->rules.mask[n] : n);
}

static box predicted_box(const struct view *v, int predictor)
{
    const layer *l = v->h->l;
    int place = predictor % v->plane;
    size_t at = entry(v, predictor, 0), plane = (size_t)v->plane;
    box shape = anchor_of(v, predictor);
    return (box){((float)(place % l->w) + v->x[at]) / (float)l->w, ((float)(place / l->w) + v->x[at + plane]) / (float)l->h,
                 expf(v->x[at + 2 * plane]) * shape.w, expf(v->x[at + 3 * plane]) * shape.h};
}

/* The predictor that a truth trains, -1 when its best anchor belongs to another head. */
static int assigned_predictor(const struct view *v, const float *t)
{
    const layer *l = v->h->l;
    const struct box_rules *r = &v->h->rules;
    int column = (int)(t[0] * (float)l->w), row = (int)(t[1] * (float)l->h), best = 0;
    if (column >= l->w) column = l->w - 1;   /* a box centred on the right or lower border */
    if (row >= l->h) row = l->h - 1;
    if (column < 0 || row < 0) return -1;
    int place = row * l->w + column;
    float best_iou = 0;
    for (int n = 0; n < r->anchors; ++n) {
        box shape = r->seen_shape ? predicted_box(v, n * v->plane + place) : anchor(v, n);
        float iou = box_iou((box){0, 0, shape.w, shape.h}, (box){0, 0, t[2], t[3]});
        if (iou > best_iou) { best_iou = iou; best = n; }
    }
    if (!r->mask) return best * v->plane + place;
    for (int n = 0; n < l->n; ++n) if (r->mask[n] == best) return n * v->plane + place;
    return -1;
}

/* Returns the overlap of the prediction with the truth. */
static float train_box(const struct view *v, int predictor, const float *t, double scale)
{
    const layer *l = v->h->l;
    int place = predictor % v->plane;
    size_t at = entry(v, predictor, 0), plane = (size_t)v->plane;
    box shape = anchor_of(v, predictor);
    aim(v, at, scale, (double)(t[0] * (float)l->w) - place % l->w);
    aim(v, at + plane, scale, (double)(t[1] * (float)l->h) - place / l->w);
    aim(v, at + 2 * plane, scale, log((double)(t[2] / shape.w)));
    aim(v, at + 3 * plane, scale, log((double)(t[3] / shape.h)));
    return box_iou(predicted_box(v, predictor), truth_box(t));
}

static double box_scale(const struct view *v, const float *t)
{
    return v->h->rules.box * (2. - (double)(t[2] * t[3]));
}

/* The class and all its ancestors, each within its group; returns the product of their outputs. */
static double train_path(const struct view *v, int predictor, int id)
{
    const tree *classes = v->h->l->softmax_tree;
    double product = 1;
    for (; id >= 0; id = classes->parent[id]) {
        int first = classes->group_offset[classes->group[id]], size = classes->group_size[classes->group[id]];
        for (int c = first; c < first + size; ++c) aim(v, entry(v, predictor, 5 + c), v->h->rules.classes, c == id);
        product *= (double)v->x[entry(v, predictor, 5 + id)];
    }
    return product;
}

/* A predictor that has a class already keeps its other classes, if they are logistic: boxes of two classes in one cell make both targets 1. */
static void train_class(const struct view *v, int predictor, int id, struct box_totals *sums)
{
    const struct box_rules *r = &v->h->rules;
    size_t at = entry(v, predictor, 5), plane = (size_t)v->plane;
    double seen = (double)v->x[at + (size_t)id * plane];
    if (v->h->l->softmax_tree) {
        seen = train_path(v, predictor, id);
    } else if (!r->softmax && v->d[at] != 0) {
        aim(v, at + (size_t)id * plane, r->classes, 1);
    } else {
        for (int c = 0; c < v->h->l->classes; ++c) aim(v, at + (size_t)c * plane, r->classes, c == id);
    }
    if (sums) { sums->category += seen; ++sums->categories; }
}

/* What a predictor is trained towards before the truths choose theirs. */
static void train_predictor(const struct view *v, int predictor, struct box_totals *sums)
{
    const struct box_rules *r = &v->h->rules;
    box seen = predicted_box(v, predictor);
    float best_iou = 0;
    const float *best = NULL;
    for (int t = 0; t < v->truth_count; ++t) {
        float iou = box_iou(seen, truth_box(v->truths + t * TRUTH));
        if (iou > best_iou) { best_iou = iou; best = v->truths + t * TRUTH; }
    }
    size_t at = entry(v, predictor, 4), plane = (size_t)v->plane;
    sums->anywhere += (double)v->x[at];
    if (best_iou > r->free_above) let_go(v, at);
    else aim(v, at, r->noobject, 0);
    if (r->warm_up > 0)
        for (size_t k = 0; k < 4; ++k) aim(v, entry(v, predictor, 0) + k * plane, r->warm_up, k < 2 ? .5 : 0);
    if (!(best_iou > r->truth_above) || !best) return;
    aim(v, at, r->object, 1);
    train_class(v, predictor, truth_class(v, best), NULL);
    train_box(v, predictor, best, box_scale(v, best));
}

static void train_truth(const struct view *v, const float *t, struct box_totals *sums)
{
    const struct box_rules *r = &v->h->rules;
    int predictor = assigned_predictor(v, t);
    if (predictor < 0) return;
    float iou = train_box(v, predictor, t, box_scale(v, t));
    size_t at = entry(v, predictor, 4);
    sums->object += (double)v->x[at];
    aim(v, at, r->object, r->rescore && iou < 1 ? (double)iou : 1);   /* rounding can make it 1.0000001 */
    train_class(v, predictor, truth_class(v, t), sums);
    ++sums->count;
    sums->iou += (double)iou;
    sums->over_half += iou > .5f;
    sums->over_three_quarters += iou > .75f;
}

/* v->d (and v->terms) of an image; both zeroed. */
static void train_image(const struct view *v, struct box_totals *sums)
{
    int predictors = v->h->l->n * v->plane;
    for (int p = 0; p < predictors; ++p) train_predictor(v, p, sums);
    for (int t = 0; t < v->truth_count; ++t) train_truth(v, v->truths + t * TRUTH, sums);
}

static struct view view_of(const struct box_head *h, size_t image, float *d, struct head_term *terms)
{
    const layer *l = h->l;
    struct view v = {h, l->output + image * (size_t)l->outputs, d, terms, h->net->truth + image * (size_t)l->truths, 0, l->w * l->h};
    while (v.truth_count < h->rules.max_truths && v.truths[v.truth_count * TRUTH] != 0) ++v.truth_count;
    return v;
}

static struct head_shape shape_of(const struct box_head *h)
{
    return (struct head_shape){h->l->n, h->l->classes, (size_t)h->l->w * (size_t)h->l->h, h->rules.softmax, h->l->softmax_tree};
}

static void one_image(void *arg, int task, int thread)
{
    struct job *job = arg;
    const layer *l = job->h->l;
    size_t b = (size_t)(job->first + task), n = (size_t)l->outputs;
    struct box_totals *sums = &job->totals[task];
    float *d = l->delta + b * n;
    memset(d, 0, n * sizeof *d);
    if (!job->h->net->truth) return;
    struct head_term *terms = job->loss ? (struct head_term *)(void *)pool_scratch(thread, POOL_INPUT, 2 * n) : NULL;
    if (terms) memset(terms, 0, n * sizeof *terms);
    struct view v = view_of(job->h, b, d, terms);
    train_image(&v, sums);
    for (size_t i = 0; i < n; ++i) sums->squares += (double)d[i] * (double)d[i];
    struct head_shape shape = shape_of(job->h);
    if (terms) job->loss[b] += head_terms_loss(&shape, terms, job->h->net->input + b * n);
}

/* A task: some of the images' blocks, one per anchor. */
static void activate(void *arg, int task, int thread)
{
    const struct job *job = arg;
    const layer *l = job->h->l;
    const struct head_shape shape = shape_of(job->h);
    size_t plane = shape.plane, block = plane * (size_t)(5 + l->classes), blocks = (size_t)l->batch * (size_t)l->n;
    size_t first = pool_first(blocks, task, job->tasks), last = pool_first(blocks, task + 1, job->tasks);
    (void)thread;
    memcpy(l->output + first * block, job->h->net->input + first * block, (last - first) * block * sizeof *l->output);
    for (float *x = l->output + first * block; x < l->output + last * block; x += block) {
        vector_ops()->logistic(2 * plane, x);
        vector_ops()->logistic(shape.softmax ? plane : block - 4 * plane, x + 4 * plane);
        if (shape.softmax) head_classes_softmax(&shape, x + 5 * plane);
    }
}

static void add_totals(struct box_totals *to, const struct box_totals *from)
{
    to->iou += from->iou; to->category += from->category; to->object += from->object; to->anywhere += from->anywhere; to->squares += from->squares;
    to->over_half += from->over_half; to->over_three_quarters += from->over_three_quarters;
    to->count += from->count; to->categories += from->categories;
}

void box_head_forward(const struct box_head *h, struct box_totals *sums)
{
    const layer *l = h->l;
    struct job job = {.h = h, .loss = host_context()->image_loss};
    *sums = (struct box_totals){0};
    job.tasks = pool_split((size_t)l->batch * (size_t)l->n, (size_t)l->batch * (size_t)l->outputs);
    pool_run(job.tasks, activate, &job);
    if (!h->net->train) return;
    for (job.first = 0; job.first < l->batch; job.first += IMAGES_AT_ONCE) {
        int images = l->batch - job.first < IMAGES_AT_ONCE ? l->batch - job.first : IMAGES_AT_ONCE;
        memset(job.totals, 0, sizeof job.totals);
        pool_run(images, one_image, &job);
        for (int i = 0; i < images; ++i) add_totals(sums, &job.totals[i]);
    }
    *l->cost = (float)sums->squares;   /* what the host prints; not the integral of delta */
}

/* Targets of one image, in the thread's scratch. */
static const struct head_term *terms_of(const struct box_head *h, int image, int thread)
{
    size_t n = (size_t)h->l->outputs;
    struct box_totals unused = {0};
    struct head_term *terms = (struct head_term *)(void *)pool_scratch(thread, POOL_INPUT, 2 * n);
    float *d = pool_scratch(thread, POOL_DELTA, n);
    memset(terms, 0, n * sizeof *terms);
    memset(d, 0, n * sizeof *d);
    struct view seen = view_of(h, (size_t)image, d, terms);
    train_image(&seen, &unused);
    return terms;
}

static void curve(const struct box_head *h, int image, int thread, bool whole, float *v)
{
    const struct head_shape shape = shape_of(h);
    head_terms_curve(&shape, terms_of(h, image, thread), h->l->output + (size_t)image * (size_t)h->l->outputs, whole, v);
}

void box_head_draw(const struct box_head *h, int image, int thread, const struct prune_random *r, float *v)
{
    const struct head_shape shape = shape_of(h);
    head_terms_draw(&shape, terms_of(h, image, thread), h->l->output + (size_t)image * (size_t)h->l->outputs, r, v);
}

void box_head_probe(const struct box_head *h, int image, int thread, float *v) { curve(h, image, thread, false, v); }
void box_head_product(const struct box_head *h, int image, int thread, float *v) { curve(h, image, thread, true, v); }
