/* Average precision: found boxes and true boxes in, the area under each class's precision-recall curve out. The curve is made monotone from the
 * right (precision at recall r is the best precision at any recall >= r) and its area taken exactly, not at 11 or 101 points. */
#include "detections.h"
#include "heads.h"

#include <math.h>

double average_precision(const unsigned char *matched, size_t n, size_t truths)
{
    if (truths == 0) return NAN;
    size_t positives = 0;
    for (size_t i = 0; i < n; ++i) positives += matched[i];
    double area = 0, best = 0;
    for (size_t i = n; i-- > 0;) {   /* from the right: each true positive is a step of 1/truths in recall */
        double precision = (double)positives / (double)(i + 1);
        if (precision > best) best = precision;
        if (matched[i]) { area += best; --positives; }
    }
    return area / (double)truths;
}

static int by_class_and_score(const void *left, const void *right)
{
    const struct found_box *a = left, *b = right;
    if (a->class_id != b->class_id) return a->class_id < b->class_id ? -1 : 1;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->image != b->image) return a->image < b->image ? -1 : 1;   /* ties: the same order on every machine */
    if (a->where.x != b->where.x) return a->where.x < b->where.x ? -1 : 1;
    return a->where.y < b->where.y ? -1 : a->where.y > b->where.y;
}

static int by_class_and_image(const void *left, const void *right)
{
    const struct true_box *a = left, *b = right;
    if (a->class_id != b->class_id) return a->class_id < b->class_id ? -1 : 1;
    return a->image < b->image ? -1 : a->image > b->image;
}

/* First of n truths (one class, sorted by image) whose image is not below the given one. */
static size_t first_of_image(const struct true_box *truths, size_t n, size_t image)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (truths[middle].image < image) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* One class at one overlap; taken (truths) and matched (found) are scratch. */
static void match(const struct found_box *found, size_t n, const struct true_box *truths, size_t m, double overlap, unsigned char *taken,
                  unsigned char *matched)
{
    for (size_t i = 0; i < m; ++i) taken[i] = 0;
    for (size_t i = 0; i < n; ++i) {
        double best = overlap;
        size_t best_truth = m;
        for (size_t t = first_of_image(truths, m, found[i].image); t < m && truths[t].image == found[i].image; ++t) {
            double iou = (double)box_iou(found[i].where, truths[t].where);
            if (!taken[t] && iou >= best) { best = iou; best_truth = t; }
        }
        matched[i] = best_truth < m;
        if (best_truth < m) taken[best_truth] = 1;
    }
}

enum prune_code average_precisions(struct found_box *found, size_t found_count, struct true_box *truths, size_t truth_count, int classes,
                                   const double *overlaps, size_t T, double *ap, struct prune_status *st)
{
    unsigned char *scratch = malloc(found_count + truth_count + 1);
    if (!scratch) return prune_fail_memory(st, found_count + truth_count + 1, "matching boxes");
    if (found_count) qsort(found, found_count, sizeof *found, by_class_and_score);
    if (truth_count) qsort(truths, truth_count, sizeof *truths, by_class_and_image);
    size_t f = 0, t = 0;
    for (int c = 0; c < classes; ++c) {
        size_t n = 0, m = 0;
        while (f + n < found_count && found[f + n].class_id == c) ++n;
        while (t + m < truth_count && truths[t + m].class_id == c) ++m;
        for (size_t k = 0; k < T; ++k) {
            if (m) match(found + f, n, truths + t, m, overlaps[k], scratch, scratch + truth_count);
            ap[k * (size_t)classes + (size_t)c] = average_precision(scratch + truth_count, m ? n : 0, m);
        }
        f += n, t += m;
    }
    free(scratch);
    return PRUNE_OK;
}
