/* Importance of single weights; see weight_scores.h. */
#include "weight_scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/random.h"
#include "kfac.h"

enum { RANDOM_STREAM = 0x57e1 };

static const struct prune_weight_criterion CRITERIA[] = {
    {.name = "nap", .formula = "w^2 / (2 [A^-1]_jj [S^-1]_ii), divided by the layer's sum", .source = "Zeng et al. (NAP), eq. 6 with 13", .form = PRUNE_WEIGHT_OBS,
     .gathers = "nap", .normalised = true},
    {.name = "obd", .formula = "w^2 A_jj S_ii / 2: the diagonal of the Kronecker-factored Fisher matrix", .source = "LeCun et al. 1990; Martens & Grosse 2015",
     .form = PRUNE_WEIGHT_OBD, .gathers = "nap"},
    {.name = "magnitude", .formula = "|w|", .source = "Han et al. 2015", .form = PRUNE_WEIGHT_MAGNITUDE},
    {.name = "random", .formula = "uniform in [0, 1) from the seed, the layer and the weight's place", .source = "baseline", .form = PRUNE_WEIGHT_RANDOM},
};

const struct prune_weight_criterion *prune_weight_criteria(size_t *count)
{
    *count = sizeof CRITERIA / sizeof *CRITERIA;
    return CRITERIA;
}

const struct prune_weight_criterion *prune_weight_criterion_find(const char *name)
{
    for (size_t i = 0; i < sizeof CRITERIA / sizeof *CRITERIA; i++)
        if (strcmp(CRITERIA[i].name, name) == 0) return &CRITERIA[i];
    return NULL;
}

/* One group's damped factors, its weights with the column of biases, and their scores. */
struct group { struct prune_kfac_damped damped; float *weights; double *scores; };

static enum prune_code score_group(struct group *g, const struct prune_kfac_factors *f, size_t index, double lambda, enum prune_kfac_form form,
                                   const struct prune_weight_layer *layer, struct prune_status *st)
{
    enum prune_code rc = prune_kfac_damp(&g->damped, f, index, lambda, st);
    if (!rc) rc = prune_kfac_factorise(&g->damped, st);
    if (rc) return rc;
    prune_kfac_weights(&f->shape, index, layer->weights, layer->biases, g->weights);
    prune_kfac_weight_scores(&g->damped, form, g->weights, g->scores);
    return PRUNE_OK;
}

static enum prune_code curvature_scores(const struct prune_kfac_factors *f, double lambda, enum prune_kfac_form form, const struct prune_weight_layer *layer, double *scores,
                                        struct prune_status *st)
{
    size_t n = f->shape.n, d = f->shape.d, inputs = d - f->shape.bias;
    if (f->shape.groups * n * inputs != layer->count)
        return prune_fail(st, "layer %d has %zu weights, its factors are of %zu", layer->layer, layer->count, f->shape.groups * n * inputs);
    struct group g = {.weights = malloc(n * d * sizeof *g.weights), .scores = malloc(n * d * sizeof *g.scores)};
    enum prune_code rc = g.weights && g.scores ? PRUNE_OK : prune_fail_memory(st, n * d * sizeof *g.scores, "scores of weights");
    for (size_t i = 0; i < f->shape.groups && !rc; i++) {
        rc = score_group(&g, f, i, lambda, form, layer, st);
        for (size_t row = 0; row < n && !rc; row++) memcpy(scores + (i * n + row) * inputs, g.scores + row * d, inputs * sizeof *scores);
        prune_kfac_damped_free(&g.damped);
        g.damped = (struct prune_kfac_damped){0};
    }
    free(g.weights);
    free(g.scores);
    return rc;
}

static enum prune_code raw_scores(const struct prune_weight_criterion *c, const struct prune_score_input *in, const void *state, const struct prune_weight_layer *layer,
                                  double *scores, struct prune_status *st)
{
    struct prune_random random = prune_random_make(in->seed, RANDOM_STREAM, (uint64_t)layer->layer);
    struct prune_kfac_factors f;
    switch (c->form) {
    case PRUNE_WEIGHT_MAGNITUDE:
        for (size_t i = 0; i < layer->count; i++) scores[i] = fabs((double)layer->weights[i]);
        return PRUNE_OK;
    case PRUNE_WEIGHT_RANDOM:
        for (size_t i = 0; i < layer->count; i++) scores[i] = prune_random_uniform(&random);
        return PRUNE_OK;
    case PRUNE_WEIGHT_OBS:
    case PRUNE_WEIGHT_OBD: break;
    }
    if (!prune_kfac_factors(state, in, layer->layer, &f))
        return prune_fail(st, "criterion '%s' has no Kronecker factors of layer %d; keep the layer with -protect %d", c->name, layer->layer, layer->layer);
    return curvature_scores(&f, prune_kfac_lambda(in), c->form == PRUNE_WEIGHT_OBS ? PRUNE_KFAC_OBS : PRUNE_KFAC_OBD, layer, scores, st);
}

enum prune_code prune_weight_scores(const struct prune_weight_criterion *c, const struct prune_score_input *in, const void *state, bool normalise,
                                    const struct prune_weight_layer *layer, float *scores, struct prune_status *st)
{
    double *raw = malloc((layer->count ? layer->count : 1) * sizeof *raw), sum = 0;
    if (!raw) return prune_fail_memory(st, layer->count * sizeof *raw, "scores of weights");
    enum prune_code rc = raw_scores(c, in, state, layer, raw, st);
    for (size_t i = 0; i < layer->count && !rc; i++)
        if (layer->keep[i]) sum += raw[i];
    if (!rc && !isfinite(sum)) rc = prune_fail(st, "scores of layer %d by '%s' are not finite; raise -damping", layer->layer, c->name);
    double scale = normalise && sum > 0 ? 1 / sum : 1;
    for (size_t i = 0; i < layer->count && !rc; i++) scores[i] = layer->keep[i] ? (float)(raw[i] * scale) : 0;
    free(raw);
    return rc;
}
