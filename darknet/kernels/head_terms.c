/* Loss and curvature of the entries of yolo and region heads (head_terms.h), in double, and targets drawn for them. */
#include "head_terms.h"

#include "head_common.h"

static int group_count(const struct head_shape *s)
{
    return s->classes_tree ? s->classes_tree->groups : 1;
}

static size_t group_size(const struct head_shape *s, int g)
{
    return (size_t)(s->classes_tree ? s->classes_tree->group_size[g] : s->classes);
}

void head_classes_softmax(const struct head_shape *s, float *x)
{
    for (int g = 0; g < group_count(s); x += group_size(s, g++) * s->plane)
        for (size_t place = 0; place < s->plane; ++place) {
            float largest = x[place], sum = 0, *last = x + place + group_size(s, g) * s->plane;
            for (const float *p = x + place; p < last; p += s->plane) if (*p > largest) largest = *p;
            for (float *p = x + place; p < last; p += s->plane) sum += *p = expf(*p - largest);
            for (float *p = x + place; p < last; p += s->plane) *p /= sum;
        }
}

/* A row of `plane` entries of one kind. */
static double logistic_row(const struct head_shape *s, const struct head_term *t, const float *a)
{
    double sum = 0;
    for (size_t i = 0; i < s->plane; ++i)
        if (t[i].scale != 0) sum += (double)t[i].scale * (logistic_loss((double)a[i], (double)t[i].target) + negative_entropy((double)t[i].target));
    return sum;
}

static double square_row(const struct head_shape *s, const struct head_term *t, const float *a)
{
    double sum = 0;
    for (size_t i = 0; i < s->plane; ++i) {
        double d = (double)t[i].target - (double)a[i];
        if (t[i].scale != 0) sum += (double)t[i].scale * .5 * d * d;
    }
    return sum;
}

/* One group of `size` classes; targets sum to 1 where the group takes part, which its first class tells. */
static double softmax_rows(const struct head_shape *s, size_t size, const struct head_term *t, const float *a)
{
    double sum = 0;
    for (size_t place = 0; place < s->plane; ++place) {
        if (t[place].scale == 0) continue;
        double loss = log_sum_exp(a + place, size, s->plane, 1);
        for (size_t c = 0; c < size; ++c) {
            size_t at = place + c * s->plane;
            if (t[at].target != 0) loss -= (double)t[at].target * (double)a[at];
        }
        sum += (double)t[place].scale * loss;
    }
    return sum;
}

double head_terms_loss(const struct head_shape *s, const struct head_term *terms, const float *a)
{
    size_t plane = s->plane;
    double sum = 0;
    for (int n = 0; n < s->n; ++n) {
        for (size_t k = 0; k < 5; ++k, terms += plane, a += plane) sum += k == 2 || k == 3 ? square_row(s, terms, a) : logistic_row(s, terms, a);
        if (s->softmax) {
            for (int g = 0; g < group_count(s); ++g) {
                size_t size = group_size(s, g);
                sum += softmax_rows(s, size, terms, a);
                terms += size * plane;
                a += size * plane;
            }
        } else {
            for (int c = 0; c < s->classes; ++c, terms += plane, a += plane) sum += logistic_row(s, terms, a);
        }
    }
    return sum;
}

static void curve_row(const struct head_shape *s, const struct head_term *t, const float *x, bool logistic, bool whole, float *v)
{
    for (size_t i = 0; i < s->plane; ++i) {
        double p = (double)x[i], second = (double)t[i].scale * (logistic ? p * (1 - p) : 1);
        v[i] = second > 0 ? (float)((whole ? second : sqrt(second)) * (double)v[i]) : 0;
    }
}

static void curve_softmax(const struct head_shape *s, size_t size, const struct head_term *t, const float *x, bool whole, float *v)
{
    for (size_t place = 0; place < s->plane; ++place) {
        double scale = (double)t[place].scale;
        softmax_curve(x + place, v + place, size, s->plane, whole ? scale : sqrt(scale), whole);
    }
}

void head_terms_curve(const struct head_shape *s, const struct head_term *terms, const float *x, bool whole, float *v)
{
    size_t plane = s->plane;
    for (int n = 0; n < s->n; ++n) {
        for (size_t k = 0; k < 5; ++k, terms += plane, x += plane, v += plane) curve_row(s, terms, x, k != 2 && k != 3, whole, v);
        for (int g = 0; s->softmax && g < group_count(s); ++g) {
            size_t step = group_size(s, g) * plane;
            curve_softmax(s, group_size(s, g), terms, x, whole, v);
            terms += step;
            x += step;
            v += step;
        }
        for (int c = 0; !s->softmax && c < s->classes; ++c, terms += plane, x += plane, v += plane) curve_row(s, terms, x, true, whole, v);
    }
}

struct draw { const struct head_shape *s; const struct head_term *terms; const float *x; const struct prune_random *r; float *v; };

static struct prune_random entry_random(const struct draw *d, size_t entry) { return (struct prune_random){d->r->key, d->r->counter + 2 * entry}; }

static void draw_row(const struct draw *d, size_t first, bool logistic)
{
    for (size_t i = first; i < first + d->s->plane; ++i) {
        struct prune_random r = entry_random(d, i);
        double scale = sqrt((double)d->terms[i].scale);
        if (!(scale > 0)) d->v[i] = 0;
        else if (logistic) d->v[i] = bernoulli_draw(d->x[i], scale, prune_random_uniform(&r));
        else d->v[i] = (float)(scale * prune_random_normal(&r));
    }
}

static void draw_group(const struct draw *d, size_t first, size_t size)
{
    size_t plane = d->s->plane;
    for (size_t i = first; i < first + plane; ++i) {
        struct prune_random r = entry_random(d, i);
        categorical_draw(d->x + i, d->v + i, size, plane, sqrt((double)d->terms[i].scale), prune_random_uniform(&r));
    }
}

void head_terms_draw(const struct head_shape *s, const struct head_term *terms, const float *x, const struct prune_random *r, float *v)
{
    const struct draw d = {s, terms, x, r, v};
    size_t at = 0, plane = s->plane;
    for (int n = 0; n < s->n; ++n) {
        for (size_t k = 0; k < 5; ++k, at += plane) draw_row(&d, at, k != 2 && k != 3);
        for (int g = 0; s->softmax && g < group_count(s); at += group_size(s, g++) * plane) draw_group(&d, at, group_size(s, g));
        for (int c = 0; !s->softmax && c < s->classes; ++c, at += plane) draw_row(&d, at, true);
    }
}
