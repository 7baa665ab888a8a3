/* The pruning loop; see prune_loop.h. Scores are kept per unit of the present shape and follow it through a shrink. */
#include "prune_loop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/background.h"
#include "../base/progress.h"

/* Shrinking costs a reload; it pays once a quarter of the present multiply-adds is masked. A floor needs the old shape to roll back to. */
static const double SHRINK_BELOW = 0.75;
static const size_t ROOM_OF_JOBS = (size_t)128 << 20;   /* bytes that wait for the background worker */

struct loop {
    struct prune_work *w;
    const struct prune_loop_options *o;
    struct prune_loop_result *r;
    struct prune_score_input input;
    struct prune_weights weights;    /* open while input.weights is set */
    struct prune_scored scored;      /* of the criterion, for the present units */
    struct prune_background *background;   /* adds up what training delivers to criteria with much to add; else NULL */
    bool passes;                     /* fed by scoring passes; else by training (or by nothing) */
    struct prune_score_options signals;   /* of training */
    size_t trained_images;           /* in this iteration */
    size_t initial_units;
    uint8_t *held_removed;           /* last mask that kept the floors */
    bool held;
    struct prune_progress progress;
};

static bool has_floor(const struct prune_loop_options *o) { return !isnan(o->max_loss) || !isnan(o->min_accuracy); }

static bool interrupted(const struct prune_host *host) { return host->interrupted && host->interrupted(host->context); }

static enum prune_code on_signals(void *user, const struct prune_signals *signals, struct prune_status *st)
{
    struct loop *l = user;
    if (!isfinite(signals->loss)) return prune_fail(st, "loss is not finite in minibatch %llu", (unsigned long long)signals->minibatch);
    if (!l->passes && l->scored.state) l->scored.criterion->accumulate(l->scored.state, &l->input, signals);
    return PRUNE_OK;
}

/* Weight-only criteria read the weights as training has left them. */
static enum prune_code read_present_weights(struct loop *l, struct prune_status *st)
{
    char *path = prune_path_join(l->w->options.folder, "present.weights");
    if (!path) return prune_fail_memory(st, 0, "paths");
    enum prune_code rc = l->w->host->save_weights(l->w->host_net, path, st);
    if (!rc) rc = prune_weights_open(&l->weights, path, &l->w->net, st);
    if (!rc) l->input.weights = &l->weights;
    free(path);
    return rc;
}

static void release_weights(struct loop *l)
{
    if (l->input.weights) prune_weights_close(&l->weights);
    l->input.weights = NULL;
}

static enum prune_code criterion_begin(struct loop *l, struct prune_status *st)
{
    l->input = (struct prune_score_input){.net = &l->w->net, .units = &l->w->units, .seed = l->o->seed, .norm = l->o->norm,
                                           .scale = l->o->scale, .kfac = l->o->kfac, .background = l->background};
    return prune_scored_init(&l->scored, 1, &l->input, st);
}

static void criterion_free(struct loop *l)
{
    prune_background_drain(l->background);   /* its jobs write into the state */
    prune_scored_free(&l->scored, 1);
}

/* What K-FAC gathers in training must be there at once, and a worker adds it up. */
static enum prune_code prepare_feed(struct loop *l, struct prune_status *st)
{
    const struct prune_criterion *c = l->o->criterion;
    const struct prune_score_input input = {.net = &l->w->net, .units = &l->w->units, .kfac = l->o->kfac};
    if (l->passes || !(c->signals & PRUNE_SIGNAL_LAYERS)) return PRUNE_OK;
    if (c->passes && c->passes(&input) > 1)
        return prune_fail_usage(st, "the factors of criterion '%s' do not fit '-memory' at once, so training cannot feed it; give more, or add '-score pass'", c->name);
    return prune_background_start(&l->background, ROOM_OF_JOBS, st);
}

bool prune_has_statistics(const struct prune_net *net)
{
    for (size_t i = 0; i < net->layer_count; i++)
        if (net->layers[i].batch_normalize || net->layers[i].kind == PRUNE_BATCHNORM) return true;
    return false;
}

/* Rolling statistics are slow: after some steps at a high rate they are those of another network, whose loss is no guide. Training does not read them.
 * The gates of training are put back even after a failure: a run that is interrupted here still writes its pair. */
static enum prune_code scoring_pass(struct loop *l, struct prune_status *st)
{
    struct prune_work *w = l->w;
    float *z = prune_work_gate_values(w, st);
    if (!z) return PRUNE_FAILED;
    struct prune_scoring s = {.host = w->host, .host_net = w->host_net, .input = l->input, .set = w->options.train, .z = z};
    struct prune_scoring_facts facts = {0};
    s.set.drawn = true;
    s.set.first = l->r->score_images;
    s.set.limit = l->o->score_images ? l->o->score_images : l->trained_images;
    enum prune_code rc = prune_has_statistics(&w->net) ? w->host->recalibrate(w->host_net, &s.set, s.set.limit, st) : PRUNE_OK;
    if (!rc) rc = prune_scoring_feed(&s, &l->scored, 1, &facts, st);
    enum prune_code back = prune_work_regate(w, rc ? NULL : st);
    l->r->score_images += facts.images;
    l->r->score_minibatches += facts.minibatches;
    memcpy(l->r->differences, facts.differences, sizeof l->r->differences);
    free(z);
    return rc ? rc : back;
}

static enum prune_code fresh_scores(struct loop *l, struct prune_status *st)
{
    const double start = prune_now();
    enum prune_code rc = l->scored.criterion->needs_weights ? read_present_weights(l, st) : PRUNE_OK;
    if (!rc && l->passes) rc = scoring_pass(l, st);
    prune_background_drain(l->background);
    if (!rc) rc = prune_scored_finish(&l->scored, 1, &l->input, st);
    if (!rc && l->scored.criterion->note) l->r->noted += l->scored.criterion->note(l->scored.state, l->r->note, sizeof l->r->note);
    release_weights(l);
    l->r->score_seconds += prune_now() - start;
    return rc;
}

/* Smoothed scores; the first iteration has nothing to smooth with. */
static enum prune_code criterion_end(struct loop *l, struct prune_status *st)
{
    struct prune_work *w = l->w;
    enum prune_code rc = fresh_scores(l, st);
    if (rc) return rc;
    double keep = w->scored ? l->o->smoothing : 0;
    for (size_t u = 0; u < w->units.count; u++) w->scores[u] = keep * w->scores[u] + (1 - keep) * l->scored.scores[u];
    w->scored = true;
    return PRUNE_OK;
}

static double remaining(const struct loop *l, const struct prune_cost *cost)
{
    const struct prune_cost *original = &l->o->select.original;
    switch (l->o->select.target) {
    case PRUNE_TARGET_PARAMS: return (double)cost->parameters / (double)original->parameters;
    case PRUNE_TARGET_UNITS: return (double)cost->units / (double)original->units;
    case PRUNE_TARGET_MACS: break;
    }
    return (double)cost->macs / (double)original->macs;
}

static struct prune_cost present_cost(const struct loop *l)
{
    struct prune_cost cost;
    prune_units_cost(&l->w->net, &l->w->units, l->w->removed, &cost);
    return cost;
}

static enum prune_code train_some(struct loop *l, struct prune_status *st)
{
    double sum = 0;
    struct prune_cost cost = present_cost(l);
    double left = remaining(l, &cost), goal = 1 - l->o->select.remain;
    size_t done = goal > 0 ? (size_t)(1000 * fmin(1, (1 - left) / goal)) : 1000;
    l->trained_images = 0;
    for (size_t i = 0; i < l->o->batches_per_iteration; i++) {
        struct prune_step step;
        enum prune_code rc = l->w->host->train_step(l->w->host_net, &l->o->step, &step, st);
        if (rc) return rc;
        sum += step.loss;
        l->r->images += step.images;
        l->trained_images += step.images;
        l->r->steps++;
        prune_progress_update(&l->progress, done, "iteration %zu, step %zu, %.1f%% left, loss %.4f", l->r->iterations + 1, l->r->steps, 100 * left, step.loss);
        if (interrupted(l->w->host)) return prune_fail(st, "interrupted"), PRUNE_INTERRUPTED;
    }
    l->r->loss = sum / (double)l->o->batches_per_iteration;
    return PRUNE_OK;
}

static enum prune_code held_folder(const struct loop *l, char **path, struct prune_status *st)
{
    *path = prune_path_join(l->w->options.folder, "held");
    return *path ? PRUNE_OK : prune_fail_memory(st, 0, "paths");
}

static enum prune_code hold(struct loop *l, struct prune_status *st)
{
    char *path = NULL;
    enum prune_code rc = held_folder(l, &path, st);
    if (!rc) rc = l->w->host->export_state(l->w->host_net, path, st);
    if (!rc) memcpy(l->held_removed, l->w->removed, l->w->units.count);
    if (!rc) l->held = true;
    free(path);
    return rc;
}

static enum prune_code roll_back(struct loop *l, struct prune_status *st)
{
    if (!l->held)
        return prune_fail(st, "the network does not hold %s even before anything is removed: measured %g", l->r->stopped_by, l->r->floor_value);
    char *path = NULL;
    enum prune_code rc = held_folder(l, &path, st);
    if (!rc) rc = l->w->host->import_state(l->w->host_net, path, st);
    free(path);
    if (rc) return rc;
    memcpy(l->w->removed, l->held_removed, l->w->units.count);
    return prune_work_mask(l->w, st);
}

/* Sets r->stopped_by when a floor is broken. */
static enum prune_code check_floors(struct loop *l, struct prune_status *st)
{
    if (!isnan(l->o->max_loss) && l->r->loss > l->o->max_loss) {
        l->r->stopped_by = "-max-loss";
        l->r->floor_value = l->r->loss;
        return PRUNE_OK;
    }
    if (isnan(l->o->min_accuracy)) return PRUNE_OK;
    struct prune_evaluation e;
    enum prune_code rc = l->w->host->evaluate(l->w->host_net, &l->o->valid, &e, st);
    if (rc) return rc;
    double accuracy = isnan(e.top1) ? e.map50 : e.top1;
    prune_evaluation_release(&e);
    if (accuracy < l->o->min_accuracy) {
        l->r->stopped_by = "-min-accuracy";
        l->r->floor_value = accuracy;
    }
    return PRUNE_OK;
}

static enum prune_code shrink_if_it_pays(struct loop *l, struct prune_status *st)
{
    struct prune_cost whole, now = present_cost(l);
    uint8_t *none = calloc(l->w->units.count ? l->w->units.count : 1, 1);
    if (!none) return prune_fail_memory(st, l->w->units.count, "mask");
    prune_units_cost(&l->w->net, &l->w->units, none, &whole);
    free(none);
    if (has_floor(l->o) || !(l->w->host->capabilities & PRUNE_CAN_STATE) || (double)now.macs > SHRINK_BELOW * (double)whole.macs) return PRUNE_OK;
    return prune_work_shrink(l->w, &l->signals, on_signals, l, st);
}

/* The survivors of the layers that lose something to the mask, from the factors that chose it. */
static enum prune_code operate(struct loop *l, struct prune_status *st)
{
    struct prune_work *w = l->w;
    struct prune_plan plan = {0};
    struct prune_network_surgery s = {0};
    enum prune_code rc = prune_plan_build(&plan, &w->net, &w->units, w->removed, st);
    if (!rc) rc = read_present_weights(l, st);
    if (!rc) rc = prune_network_surgery(&s, l->scored.state, &l->input, &plan, &l->o->surgery, st);
    for (size_t i = 0; !rc && i < s.count; i++) {
        const struct prune_layer_surgery *cut = &s.layers[i];
        rc = w->host->parameters_set(w->host_net, cut->layer, PRUNE_WEIGHTS, cut->weights, cut->weight_count, st);
        if (!rc && cut->biases) rc = w->host->parameters_set(w->host_net, cut->layer, PRUNE_BIASES, cut->biases, cut->bias_count, st);
    }
    prune_network_surgery_free(&s);
    prune_plan_free(&plan);
    release_weights(l);
    return rc;
}

/* One removal; *met says whether the target is reached. */
static enum prune_code remove_some(struct loop *l, bool *met, struct prune_status *st)
{
    struct prune_select_options select = l->o->select;
    double wanted = ceil(l->o->remove_per_iteration * (double)l->initial_units);
    select.max_new = wanted < 1 ? 1 : (size_t)wanted;
    struct prune_select_result result;
    enum prune_code rc = prune_select(&l->w->net, &l->w->units, l->w->scores, &select, l->w->removed, &result, st);
    if (!rc && l->o->surgery.how != PRUNE_SURGERY_NONE) rc = operate(l, st);
    if (!rc) rc = prune_work_mask(l->w, st);
    if (rc) return rc;
    *met = result.target_met;
    if (!*met && !result.newly_removed) return prune_fail(st, "selection cannot go on: nothing more may be removed, %.3f remains", result.smallest);
    return PRUNE_OK;
}

static enum prune_code iterate(struct loop *l, bool *finished, struct prune_status *st)
{
    criterion_free(l);
    enum prune_code rc = criterion_begin(l, st);
    if (!rc) rc = train_some(l, st);
    if (!rc) rc = check_floors(l, st);
    if (rc) return rc;
    if (l->r->stopped_by) {
        *finished = true;
        return roll_back(l, st);
    }
    if (l->r->target_met) {   /* with a floor: the last removal has held */
        *finished = true;
        return PRUNE_OK;
    }
    if (has_floor(l->o)) rc = hold(l, st);
    if (!rc) rc = criterion_end(l, st);
    if (!rc) rc = remove_some(l, &l->r->target_met, st);
    criterion_free(l);
    if (rc) return rc;
    l->r->iterations++;
    *finished = l->r->target_met && !has_floor(l->o);
    return *finished ? PRUNE_OK : shrink_if_it_pays(l, st);
}

enum prune_code prune_loop(struct prune_work *w, const struct prune_loop_options *o, struct prune_loop_result *r, struct prune_status *st)
{
    *r = (struct prune_loop_result){.loss = NAN, .floor_value = NAN};
    struct loop l = {.w = w, .o = o, .r = r, .initial_units = w->units.count};
    l.scored.criterion = o->criterion;
    l.passes = prune_feeds_by_pass(o->criterion, o->feed);
    l.signals.signals = l.passes ? 0 : o->criterion->signals;
    l.signals.fisher = o->kfac.fisher;
    l.held_removed = calloc(w->units.count ? w->units.count : 1, 1);
    if (!l.held_removed) return prune_fail_memory(st, w->units.count, "mask");
    prune_progress_start(&l.progress, stderr, "prune", 1000);
    bool finished = false;
    enum prune_code rc = prepare_feed(&l, st);
    if (!rc) rc = prune_work_train(w, &l.signals, on_signals, &l, st);
    while (!rc && !finished) rc = iterate(&l, &finished, st);
    prune_progress_end(&l.progress);
    if (r->stopped_by) r->target_met = false;
    if (!rc) w->host->reset_momentum(w->host_net);
    criterion_free(&l);
    prune_background_stop(l.background);
    free(l.held_removed);
    return rc;
}
