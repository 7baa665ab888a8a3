/* The loop of fine-grained pruning; see sparse_loop.h. */
#include "sparse_loop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/background.h"
#include "../base/progress.h"
#include "../score/scoring.h"

static const size_t ROOM_OF_JOBS = (size_t)128 << 20;   /* bytes that wait for the background worker */

struct loop {
    struct prune_sparse_loop *l;
    struct prune_scored scored;              /* of the criterion whose state is read; criterion NULL: none */
    struct prune_score_input input;
    bool passes;
    struct prune_weights weights;            /* as training has left them */
    float *values, *scores;                  /* [sparse->weights] */
    size_t trained_images;                   /* in this iteration */
    struct prune_progress progress;
};

static enum prune_code on_signals(void *user, const struct prune_signals *signals, struct prune_status *st)
{
    struct loop *x = user;
    if (signals->images && !isfinite(signals->loss)) return prune_fail(st, "loss is not finite in minibatch %llu", (unsigned long long)signals->minibatch);
    if (!x->passes && x->scored.state) x->scored.criterion->accumulate(x->scored.state, &x->input, signals);
    return PRUNE_OK;
}

static enum prune_code train_some(struct loop *x, struct prune_status *st)
{
    struct prune_sparse_loop *l = x->l;
    const size_t steps = l->o->batches_per_iteration;
    double sum = 0;
    x->trained_images = 0;
    for (size_t i = 0; i < steps; i++) {
        struct prune_step_options step = l->step;
        struct prune_step done;
        if (l->o->anneal) step.rate = prune_cosine_rate(l->step.rate, i, steps);
        enum prune_code rc = l->host->train_step(l->host_net, &step, &done, st);
        if (rc) return rc;
        sum += done.loss;
        x->trained_images += done.images;
        l->result.images += done.images;
        l->result.steps++;
        prune_progress_update(&x->progress, (size_t)(1000 * (1 - (double)l->sparse->kept / (double)l->sparse->weights)), "iteration %zu, step %zu, %.2f%% left, loss %.4f",
                              l->result.iterations + 1, l->result.steps, 100 * (double)l->sparse->kept / (double)l->sparse->weights, done.loss);
        if (l->host->interrupted && l->host->interrupted(l->host->context)) return prune_fail(st, "interrupted"), PRUNE_INTERRUPTED;
    }
    l->result.loss = sum / (double)steps;
    return PRUNE_OK;
}

/* Factors by a pass between two steps, over images drawn as in training, other ones each time; batch-norm as it is on these images (prune_loop.h says why). */
static enum prune_code scoring_pass(struct loop *x, struct prune_status *st)
{
    struct prune_sparse_loop *l = x->l;
    struct prune_scoring s = {.host = l->host, .host_net = l->host_net, .input = x->input, .set = l->train};
    struct prune_scoring_facts facts = {0};
    s.set.drawn = true;
    s.set.first = l->result.score_images;
    s.set.limit = l->o->score_images ? l->o->score_images : x->trained_images;
    enum prune_code rc = prune_has_statistics(l->net) ? l->host->recalibrate(l->host_net, &s.set, s.set.limit, st) : PRUNE_OK;
    if (!rc) rc = prune_scoring_feed(&s, &x->scored, 1, &facts, st);
    l->result.score_images += facts.images;
    return rc;
}

static enum prune_code read_weights(struct loop *x, struct prune_status *st)
{
    const struct prune_sparse_loop *l = x->l;
    enum prune_code rc = l->host->save_weights(l->host_net, l->present, st);
    if (!rc) rc = prune_weights_open(&x->weights, l->present, l->net, st);
    for (size_t i = 0; i < l->sparse->count && !rc; i++) rc = prune_sparse_values(&l->sparse->layers[i], l->net, &x->weights, x->values + l->sparse->layers[i].first, st);
    return rc;
}

static const struct prune_weights_tensor *biases_of(const struct loop *x, int layer) { return prune_layout_find(&x->weights.layout, layer, PRUNE_BIASES); }

static enum prune_code score_layers(struct loop *x, struct prune_status *st)
{
    const struct prune_sparse_loop *l = x->l;
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; i < l->sparse->count && !rc; i++) {
        const struct prune_sparse_layer *s = &l->sparse->layers[i];
        const struct prune_weights_tensor *biases = biases_of(x, s->layer);
        struct prune_weight_layer layer = {.layer = s->layer, .weights = x->values + s->first, .biases = biases ? prune_weights_data(&x->weights, biases) : NULL,
                                           .keep = l->sparse->keep + s->first, .count = s->count};
        if (s->floor < s->count) rc = prune_weight_scores(l->o->criterion, &x->input, x->scored.state, l->o->normalise, &layer, x->scores + s->first, st);
        else memset(x->scores + s->first, 0, s->count * sizeof *x->scores);
    }
    return rc;
}

/* Scores of every weight into x->scores. */
static enum prune_code score(struct loop *x, struct prune_status *st)
{
    const double start = prune_now();
    enum prune_code rc = x->passes ? scoring_pass(x, st) : PRUNE_OK;
    prune_background_drain(x->input.background);   /* its jobs write into the state */
    if (!rc) rc = read_weights(x, st);
    if (!rc) rc = score_layers(x, st);
    x->l->result.score_seconds += prune_now() - start;
    return rc;
}

/* One group of a layer: w (n, d) with the column of biases, gone likewise. */
struct patch { float *w; uint8_t *gone; struct prune_kfac_damped damped; };

static enum prune_code repair_group(struct loop *x, const struct prune_kfac_factors *f, size_t g, float *weights, float *biases, const uint8_t *keep, struct patch *p,
                                    struct prune_status *st)
{
    const size_t n = f->shape.n, d = f->shape.d, inputs = d - f->shape.bias;
    struct prune_surgery_result result = {0};
    prune_kfac_weights(&f->shape, g, weights, biases, p->w);
    for (size_t r = 0; r < n; r++)
        for (size_t j = 0; j < d; j++) p->gone[r * d + j] = j < inputs && !keep[(g * n + r) * inputs + j];
    enum prune_code rc = prune_kfac_damp(&p->damped, f, g, prune_kfac_lambda(&x->input), st);
    if (!rc) rc = prune_kfac_factorise(&p->damped, st);
    if (!rc) rc = prune_surgery_weights(&p->damped, x->l->o->surgery, p->w, p->gone, &result, st);
    for (size_t r = 0; r < n && !rc; r++) {
        memcpy(weights + (g * n + r) * inputs, p->w + r * d, inputs * sizeof *weights);
        if (f->shape.bias) biases[g * n + r] = p->w[r * d + inputs];
    }
    x->l->result.surgery_before += result.before;
    x->l->result.surgery_after += result.after;
    prune_kfac_damped_free(&p->damped);
    return rc;
}

static enum prune_code repair_layer(struct loop *x, const struct prune_sparse_layer *s, const struct prune_kfac_factors *f, float *biases, struct prune_status *st)
{
    const struct prune_sparse_loop *l = x->l;
    struct patch p = {.w = malloc(f->shape.n * f->shape.d * sizeof *p.w), .gone = malloc(f->shape.n * f->shape.d)};
    enum prune_code rc = p.w && p.gone ? PRUNE_OK : prune_fail_memory(st, f->shape.n * f->shape.d * sizeof *p.w, "surgery");
    for (size_t g = 0; g < f->shape.groups && !rc; g++) {
        p.damped = (struct prune_kfac_damped){0};
        rc = repair_group(x, f, g, x->values + s->first, biases, l->sparse->keep + s->first, &p, st);
    }
    free(p.w);
    free(p.gone);
    if (!rc) rc = l->host->parameters_set(l->host_net, s->layer, PRUNE_WEIGHTS, x->values + s->first, s->count, st);
    if (!rc && f->shape.bias) rc = l->host->parameters_set(l->host_net, s->layer, PRUNE_BIASES, biases, f->shape.groups * f->shape.n, st);
    return rc;
}

/* The survivors of each layer make up for what its mask takes; layers without factors stay as they are. */
static enum prune_code repair(struct loop *x, struct prune_status *st)
{
    const struct prune_sparse_loop *l = x->l;
    enum prune_code rc = PRUNE_OK;
    if (l->o->surgery == PRUNE_SURGERY_NONE) return rc;
    for (size_t i = 0; i < l->sparse->count && !rc; i++) {
        const struct prune_sparse_layer *s = &l->sparse->layers[i];
        const struct prune_weights_tensor *t = biases_of(x, s->layer);
        struct prune_kfac_factors f;
        if (s->kept == s->count || !prune_kfac_factors(x->scored.state, &x->input, s->layer, &f)) continue;
        float *biases = t ? malloc((t->count + 1) * sizeof *biases) : NULL;
        if (t && !biases) return prune_fail_memory(st, t->count * sizeof *biases, "biases");
        if (t) memcpy(biases, prune_weights_data(&x->weights, t), t->count * sizeof *biases);
        rc = repair_layer(x, s, &f, biases, st);
        free(biases);
    }
    return rc;
}

size_t prune_sparse_next(const struct prune_sparse *s, const struct prune_sparse_options *o, size_t i)
{
    const size_t target = prune_sparse_target(s, o->remain);
    if (o->stage_count) return i + 1 < o->stage_count ? prune_sparse_target(s, o->stages[i]) : target;
    size_t going = (size_t)ceil(o->remove_per_iteration * (double)s->kept);
    return s->kept - target <= going || s->kept <= target ? target : s->kept - going;
}

static enum prune_code fresh_state(struct loop *x, struct prune_status *st)
{
    if (!x->scored.criterion) return PRUNE_OK;
    prune_background_drain(x->input.background);
    prune_scored_free(&x->scored, 1);
    return prune_scored_init(&x->scored, 1, &x->input, st);
}

static enum prune_code iterate(struct loop *x, bool *finished, struct prune_status *st)
{
    struct prune_sparse_loop *l = x->l;
    enum prune_code rc = fresh_state(x, st);
    if (!rc) rc = train_some(x, st);
    if (!rc) rc = score(x, st);
    const size_t next = prune_sparse_next(l->sparse, l->o, l->result.iterations);
    if (!rc) rc = prune_sparse_select(l->sparse, x->scores, next, l->o->per_layer, st);
    if (!rc) rc = repair(x, st);
    if (!rc) rc = prune_sparse_hold(l->sparse, l->host, l->host_net, st);
    prune_weights_close(&x->weights);
    x->weights = (struct prune_weights){0};
    if (rc) return rc;
    l->result.iterations++;
    *finished = l->o->stage_count ? l->result.iterations == l->o->stage_count : next == prune_sparse_target(l->sparse, l->o->remain);
    return PRUNE_OK;
}

static enum prune_code begin(struct loop *x, struct prune_status *st)
{
    const struct prune_sparse_loop *l = x->l;
    const struct prune_sparse_options *o = l->o;
    x->input = (struct prune_score_input){.net = l->net, .units = l->units, .seed = o->job.seed, .kfac = o->kfac};
    x->input.kfac.memory = SIZE_MAX;   /* scores and surgery want the factors of all layers at once */
    x->values = malloc((l->sparse->weights + 1) * sizeof *x->values);
    x->scores = malloc((l->sparse->weights + 1) * sizeof *x->scores);
    if (!x->values || !x->scores) return prune_fail_memory(st, l->sparse->weights * sizeof *x->scores, "scores of weights");
    x->scored.criterion = o->criterion->gathers ? prune_criterion_find(o->criterion->gathers) : NULL;
    x->passes = x->scored.criterion && prune_feeds_by_pass(x->scored.criterion, o->feed);
    struct prune_score_options signals = {.signals = x->scored.criterion && !x->passes ? x->scored.criterion->signals : 0, .fisher = o->kfac.fisher};
    enum prune_code rc = signals.signals ? prune_background_start(&x->input.background, ROOM_OF_JOBS, st) : PRUNE_OK;
    return rc ? rc : l->host->train_start(l->host_net, &l->train, &signals, on_signals, x, st);
}

enum prune_code prune_sparse_loop(struct prune_sparse_loop *l, struct prune_status *st)
{
    struct loop x = {.l = l};
    bool finished = false;
    l->result.loss = NAN;
    enum prune_code rc = begin(&x, st);
    prune_progress_start(&x.progress, stderr, "prune", 1000);
    while (!rc && !finished) rc = iterate(&x, &finished, st);
    prune_progress_end(&x.progress);
    l->host->train_stop(l->host_net);   /* the sink ends with this call */
    prune_background_stop(x.input.background);
    if (!rc) l->host->reset_momentum(l->host_net);
    if (x.scored.criterion) prune_scored_free(&x.scored, 1);
    free(x.values);
    free(x.scores);
    return rc;
}
