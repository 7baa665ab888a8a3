/* Criteria that read the weights alone (magnitude and its kin, bn-scale) or nothing (random): no images, no host, no state.
 * A unit of several producers: L2 and bn-scale are the root of the sum of squares over producers, L1 is the sum.
 * Protected units get a score too; where theirs cannot be had (recurrent layers, `dontload`) it is 0, and selection ignores it. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "../base/random.h"
#include "families.h"
#include "weights_view.h"

/* Stream of prune_random_make that belongs to the random criterion ("rand"). */
enum { RANDOM_STREAM = 0x72616e64 };

size_t prune_stateless_size(const struct prune_score_input *in)
{
    (void)in;
    return 0;
}

void prune_stateless_init(void *state, const struct prune_score_input *in)
{
    (void)state, (void)in;
}

void prune_stateless_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    (void)state, (void)in, (void)signals;
}

void prune_stateless_merge(void *state, const void *other, const struct prune_score_input *in)
{
    (void)state, (void)other, (void)in;
}

/* Values side by side, in four sums that fit vectors. */
static double run_sum(const float *x, size_t n, int norm)
{
    enum { LANES = 4 };
    double sums[LANES] = { 0 }, rest = 0;
    size_t i = 0;
    if (norm == 1)
        for (; i + LANES <= n; i += LANES)
            for (size_t k = 0; k < LANES; k++) sums[k] += fabs((double)x[i + k]);
    else
        for (; i + LANES <= n; i += LANES)
            for (size_t k = 0; k < LANES; k++) sums[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++) rest += norm == 1 ? fabs((double)x[i]) : (double)x[i] * (double)x[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest;
}

static double filter_sum(const float *w, const struct prune_filter_view *v, int norm)
{
    double sum = 0;
    for (size_t b = 0; b < v->blocks; b++) {
        const float *x = w + v->first + b * v->block_step;
        if (v->step == 1) sum += run_sum(x, v->run, norm);
        else for (size_t i = 0; i < v->run; i++, x += v->step) sum += norm == 1 ? fabs((double)*x) : (double)*x * (double)*x;
    }
    return sum;
}

/* Channels [begin, end) of a layer: the sums of their filters. */
struct part { const struct prune_score_input *in; int layer, begin, end; double *sums; };

static void *sum_part(void *part)
{
    const struct part *p = part;
    for (int c = p->begin; c < p->end; c++) {
        const struct prune_weights_tensor *t;
        struct prune_filter_view view;
        p->sums[c] = 0;
        if (prune_filter_of(p->in, (struct prune_channel){p->layer, c}, &t, &view)) p->sums[c] = filter_sum(prune_weights_data(p->in->weights, t), &view, p->in->norm);
    }
    return NULL;
}

/* Two halves of the channels side by side where there is enough to read; each sum is one thread's, so the numbers do not depend on it. */
static void sum_layer(const struct prune_score_input *in, int layer, double *sums)
{
    enum { ENOUGH = 1 << 20 };           /* values */
    const struct prune_weights_tensor *t = prune_layout_find(&in->weights->layout, layer, PRUNE_WEIGHTS);
    int n = in->net->layers[layer].out_c, half = t && t->count >= ENOUGH ? n / 2 : n;
    struct part first = { in, layer, 0, half, sums }, second = { in, layer, half, n, sums };
    pthread_t thread;
    bool threaded = half < n && pthread_create(&thread, NULL, sum_part, &second) == 0;
    sum_part(&first);
    if (threaded) pthread_join(thread, NULL);
    else sum_part(&second);
}

/* Layer by layer, not unit by unit: the file is read once from front to back. */
static enum prune_code filter_norms(const struct prune_score_input *in, const char *criterion, double *scores, struct prune_status *st)
{
    int widest = 0;
    enum prune_code rc = prune_check_filters(in, criterion, st);
    if (rc) return rc;
    for (size_t l = 0; l < in->net->layer_count; l++)
        if (in->net->layers[l].out_c > widest) widest = in->net->layers[l].out_c;
    double *sums = malloc(((size_t)widest + 1) * sizeof *sums);
    if (!sums) return prune_fail_memory(st, (size_t)widest * sizeof *sums, "sums of filters");
    for (size_t u = 0; u < in->units->count; u++) scores[u] = 0;
    for (size_t l = 0; l < in->net->layer_count; l++) {
        if (!prune_layout_find(&in->weights->layout, (int)l, PRUNE_WEIGHTS)) continue;
        sum_layer(in, (int)l, sums);
        for (int c = 0; c < in->net->layers[l].out_c; c++) {
            int unit = in->units->of_channel[l][c];
            if (unit >= 0) scores[unit] += sums[c];
        }
    }
    free(sums);
    for (size_t u = 0; u < in->units->count && in->norm != 1; u++) scores[u] = sqrt(scores[u]);
    return PRUNE_OK;
}

enum prune_code prune_magnitude_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    (void)state;
    return filter_norms(in, "magnitude", scores, st);
}

enum prune_code prune_magnitude_l1_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    (void)state;
    struct prune_score_input l1 = *in;
    l1.norm = 1;
    return filter_norms(&l1, "magnitude-l1", scores, st);
}

enum prune_code prune_magnitude_layer_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    (void)state;
    enum prune_code rc = filter_norms(in, "magnitude-layer", scores, st);
    if (!rc) prune_divide_by_layer(in->units, true, scores);
    return rc;
}

/* A producer without batch-norm passes its sum on unscaled: gamma = 1. */
enum prune_code prune_bn_scale_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    (void)state;
    bool any = false;
    if (!in->weights) return prune_fail(st, "criterion 'bn-scale' reads the weights, and none are given");
    for (size_t i = 0; i < in->weights->layout.count; i++) any |= in->weights->layout.tensors[i].role == PRUNE_SCALES;
    if (!any) return prune_fail(st, "no layer of '%s' has batch-norm, so 'bn-scale' has nothing to rank; use -criterion magnitude", in->net->cfg->path);
    for (size_t u = 0; u < in->units->count; u++) {
        const struct prune_unit *unit = &in->units->items[u];
        double sum = 0;
        for (size_t i = 0; i < unit->member_count; i++) {
            struct prune_channel m = in->units->members[unit->first_member + i];
            if (in->net->layers[m.layer].share >= 0) continue;
            const struct prune_weights_tensor *t = prune_layout_find(&in->weights->layout, m.layer, PRUNE_SCALES);
            double gamma = t && (size_t)m.channel < t->count ? (double)prune_weights_data(in->weights, t)[m.channel] : 1;
            sum += gamma * gamma;
        }
        scores[u] = sqrt(sum);
    }
    return PRUNE_OK;
}

enum prune_code prune_random_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    (void)state, (void)st;
    for (size_t u = 0; u < in->units->count; u++) {
        struct prune_random r = prune_random_make(in->seed, RANDOM_STREAM, u);
        scores[u] = prune_random_uniform(&r);
    }
    return PRUNE_OK;
}
