/* Pruning curves; see curve.h. */
#include "curve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../score/oracle.h"

const char *prune_curve_value_name(enum prune_curve_value v)
{
    static const char *const NAMES[PRUNE_CURVE_VALUES] = {"loss", "eval_loss", "accuracy", "recal_loss", "recal_eval_loss", "recal_accuracy"};
    return NAMES[v];
}

void prune_curve_free(struct prune_curve *c)
{
    free(c->rows);
    free(c->order);
    memset(c, 0, sizeof *c);
}

bool prune_curve_ranking(const char *name, struct prune_curve_ranking *out)
{
    static const struct prune_curve_ranking ORACLES[] = {{"oracle", NULL, false}, {"oracle-loss", NULL, true}};
    for (size_t i = 0; i < sizeof ORACLES / sizeof *ORACLES; i++)
        if (strcmp(name, ORACLES[i].name) == 0) {
            *out = ORACLES[i];
            return true;
        }
    const struct prune_criterion *c = prune_criterion_find(name);
    if (c) *out = (struct prune_curve_ranking){c->name, c, c->is_signed};
    return c != NULL;
}

bool prune_curve_needs_images(const struct prune_curve_ranking *r)
{
    return !r->criterion || r->criterion->signals || r->criterion->perturbs;
}

unsigned prune_curve_capabilities(const struct prune_curve_ranking *r)
{
    return !r->criterion || r->criterion->perturbs ? PRUNE_CAN_PERTURB : r->criterion->signals;
}

double prune_curve_reaches(const struct prune_curve *c, enum prune_curve_value v, double x)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->rows[i].values[v] >= x) return (double)c->rows[i].removed;
    return NAN;
}

void prune_curve_lab_close(struct prune_curve_lab *lab)
{
    if (lab->net) lab->setup->host->close(lab->net);
    lab->net = NULL;
}

struct walk {
    struct prune_curve_lab *lab;
    const struct prune_curve_setup *s;
    struct prune_curve *c;
    struct prune_curve_ranking ranking;
    const struct prune_units *units;
    uint8_t *removed, *next;         /* [units] now, and after the step that is due */
    float *z;                        /* [units] */
    double *scores;                  /* [units] */
    int *rest;                       /* room for [units] */
    bool scored;
};

static enum prune_code open_net(struct walk *w, struct prune_status *st)
{
    struct prune_curve_lab *lab = w->lab;
    if (lab->net && lab->seed == w->c->seed) return PRUNE_OK;
    prune_curve_lab_close(lab);
    struct prune_open_options o = w->s->open;
    struct prune_net_facts facts;
    o.seed = lab->seed = w->c->seed;
    enum prune_code rc = w->s->host->open(w->s->host->context, w->s->cfg, w->s->weights_path, &o, &lab->net, st);
    if (rc) return lab->net = NULL, rc;
    w->s->host->facts(lab->net, &facts);
    lab->detector = facts.detector;
    return PRUNE_OK;
}

static void gates_of(const struct walk *w, const uint8_t *removed)
{
    for (size_t u = 0; u < w->units->count; u++) w->z[u] = removed && removed[u] ? 0.0f : 1.0f;
}

/* The network as it is now. Scoring may have left the gates elsewhere. */
static enum prune_code silence(struct walk *w, struct prune_status *st)
{
    const struct prune_host *host = w->s->host;
    enum prune_code rc = open_net(w, st);
    if (!rc) rc = host->gates_attach(w->lab->net, w->units->sites, w->units->site_count, w->units->count, st);
    gates_of(w, w->removed);
    if (!rc) rc = host->gates_set(w->lab->net, w->z, w->units->count, st);
    return rc;
}

static struct prune_scoring scoring_of(const struct walk *w)
{
    struct prune_scoring scoring = {.host = w->s->host, .host_net = w->lab->net, .input = w->s->input, .set = w->s->scored, .minibatch = w->s->minibatch, .z = w->z};
    scoring.input.seed = w->c->seed;
    return scoring;
}

static enum prune_code score_by_criterion(struct walk *w, double *loss, struct prune_status *st)
{
    const struct prune_scoring scoring = scoring_of(w);
    struct prune_scored item = {.criterion = w->ranking.criterion};
    struct prune_scoring_facts facts = {0};
    enum prune_code rc = prune_scored_init(&item, 1, &scoring.input, st);
    if (rc) return rc;
    if (prune_curve_needs_images(&w->ranking)) rc = prune_scoring_feed(&scoring, &item, 1, &facts, st);
    if (!rc) rc = prune_scored_finish(&item, 1, &scoring.input, st);
    if (!rc) memcpy(w->scores, item.scores, w->units->count * sizeof *w->scores);
    /* a gate in front of batch-norm does not silence its channel: that pass saw another network */
    bool silences = w->ranking.criterion->gate != PRUNE_GATE_BEFORE_BN && w->ranking.criterion->gate != PRUNE_GATE_PRODUCERS;
    if (!rc && facts.images && silences) *loss = facts.loss;
    if (*facts.differences) memcpy(w->lab->differences, facts.differences, sizeof facts.differences);
    prune_scored_free(&item, 1);
    return rc;
}

static enum prune_code score_by_oracle(struct walk *w, double *loss, struct prune_status *st)
{
    const struct prune_scoring scoring = scoring_of(w);
    struct prune_oracle oracle;
    size_t n = 0;
    for (size_t u = 0; u < w->units->count; u++) {
        w->scores[u] = 0;
        if (w->z[u] > 0 && !w->units->items[u].protected_because) w->rest[n++] = (int)u;
    }
    enum prune_code rc = n ? prune_oracle_init(&oracle, n, st) : PRUNE_OK;
    if (rc || !n) return rc;
    rc = prune_oracle_units(&oracle, &scoring, w->rest, n, NULL, NULL, st);
    for (size_t k = 0; !rc && k < n; k++) w->scores[w->rest[k]] = w->ranking.is_signed ? prune_oracle_change(&oracle, k) : prune_oracle_score(&oracle, k);
    if (!rc && oracle.images) *loss = oracle.base / (double)oracle.images;
    prune_oracle_free(&oracle);
    return rc;
}

/* Scores of the units that are left; *loss is set where the pass saw the present network. */
static enum prune_code score(struct walk *w, double *loss, struct prune_status *st)
{
    bool whole = !w->c->recomputed || !prune_curve_needs_images(&w->ranking);
    double seen = NAN;
    if (w->scored && whole) return PRUNE_OK;
    enum prune_code rc = prune_curve_needs_images(&w->ranking) ? open_net(w, st) : PRUNE_OK;
    gates_of(w, whole ? NULL : w->removed);
    if (!rc) rc = w->ranking.criterion ? score_by_criterion(w, &seen, st) : score_by_oracle(w, &seen, st);
    if (rc) return rc;
    for (size_t u = 0; u < w->units->count; u++)
        if (!whole && w->removed[u]) w->scores[u] = 0;
    w->scored = true;
    if (!whole || !w->c->removed) *loss = seen;
    return PRUNE_OK;
}

struct loss_sum { double sum; size_t images; };

static enum prune_code add_loss(void *user, const struct prune_signals *signals, struct prune_status *st)
{
    struct loss_sum *l = user;
    (void)st;
    l->sum += signals->loss * (double)signals->images;
    l->images += signals->images;
    return PRUNE_OK;
}

/* Of a detector the loss whose gradient is descended: only a gradient pass knows it. */
static enum prune_code loss_on(struct walk *w, const struct prune_image_set *set, double *loss, struct prune_status *st)
{
    const struct prune_host *host = w->s->host;
    if (!w->lab->detector) {
        struct prune_evaluation e;
        enum prune_code rc = host->evaluate(w->lab->net, set, &e, st);
        if (rc) return rc;
        *loss = e.loss;
        prune_evaluation_release(&e);
        return PRUNE_OK;
    }
    struct prune_net_facts facts;
    struct loss_sum l = {0};
    host->facts(w->lab->net, &facts);
    const struct prune_score_options o = {.minibatch = w->s->minibatch ? w->s->minibatch : (size_t)facts.batch};
    enum prune_code rc = host->score(w->lab->net, set, &o, add_loss, &l, st);
    if (!rc && l.images) *loss = l.sum / (double)l.images;
    return rc;
}

static enum prune_code evaluate(struct walk *w, double *loss, double *accuracy, struct prune_status *st)
{
    struct prune_evaluation e;
    if (!w->s->evaluates) return PRUNE_OK;
    enum prune_code rc = w->s->host->evaluate(w->lab->net, &w->s->eval, &e, st);
    if (rc) return rc;
    *loss = e.loss;
    *accuracy = isnan(e.top1) ? e.map50 : e.top1;
    prune_evaluation_release(&e);
    return PRUNE_OK;
}

/* The network is closed afterwards: its statistics are no longer the user's. */
static enum prune_code recalibrated(struct walk *w, double *values, struct prune_status *st)
{
    enum prune_code rc = w->s->host->recalibrate(w->lab->net, &w->s->recalibration, w->s->recalibrate, st);
    if (!rc) rc = loss_on(w, &w->s->scored, &values[PRUNE_CURVE_RECAL_LOSS], st);
    if (!rc) rc = evaluate(w, &values[PRUNE_CURVE_RECAL_EVAL_LOSS], &values[PRUNE_CURVE_RECAL_ACCURACY], st);
    prune_curve_lab_close(w->lab);
    return rc;
}

/* One row of the network as it is now; *last in: nothing more can go, out: nor does the loss allow it. loss: on the scored images, or NaN. */
static enum prune_code measure(struct walk *w, double loss, bool *last, struct prune_status *st)
{
    struct prune_curve *c = w->c;
    struct prune_curve_row row = {.step = c->count, .removed = c->removed};
    for (int v = 0; v < PRUNE_CURVE_VALUES; v++) row.values[v] = NAN;
    prune_units_cost(w->s->input.net, w->units, w->removed, &row.cost);
    enum prune_code rc = silence(w, st);
    if (!rc && isnan(loss)) rc = loss_on(w, &w->s->scored, &loss, st);
    if (rc) return rc;
    row.values[PRUNE_CURVE_LOSS] = loss;
    *last |= loss >= w->s->until_loss;
    if (row.step % w->s->eval_every == 0 || *last) {
        rc = evaluate(w, &row.values[PRUNE_CURVE_EVAL_LOSS], &row.values[PRUNE_CURVE_ACCURACY], st);
        if (!rc && w->s->recalibrate) rc = recalibrated(w, row.values, st);
    }
    if (rc) return rc;
    struct prune_curve_row *rows = realloc(c->rows, (c->count + 1) * sizeof *rows);
    if (!rows) return prune_fail_memory(st, (c->count + 1) * sizeof *rows, "rows of a curve");
    c->rows = rows;
    rows[c->count++] = row;
    return PRUNE_OK;
}

struct going { double score; int unit; };

static int by_score(const void *a, const void *b)
{
    const struct going *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

static enum prune_code remove_next(struct walk *w, struct prune_status *st)
{
    struct prune_curve *c = w->c;
    struct going *going = malloc((w->units->count + 1) * sizeof *going);
    size_t n = 0;
    if (!going) return prune_fail_memory(st, w->units->count * sizeof *going, "units of a step");
    for (size_t u = 0; u < w->units->count; u++)
        if (w->next[u] && !w->removed[u]) going[n++] = (struct going){w->scores[u], (int)u};
    qsort(going, n, sizeof *going, by_score);
    for (size_t i = 0; i < n; i++) c->order[c->removed++] = going[i].unit;
    memcpy(w->removed, w->next, w->units->count);
    free(going);
    return PRUNE_OK;
}

/* Scores and selection come before the row, so that it is known which row is the last. A row that is there from an earlier call is not measured again. */
static enum prune_code advance(struct walk *w, prune_curve_step step, void *user, struct prune_status *st)
{
    struct prune_curve *c = w->c;
    struct prune_select_result r;
    double loss = NAN;
    enum prune_code rc = score(w, &loss, st);
    memcpy(w->next, w->removed, w->units->count);
    if (!rc) rc = prune_select(w->s->input.net, w->units, w->scores, &w->s->select, w->next, &r, st);
    if (rc) return rc;
    bool last = !r.newly_removed, missing = !c->count || c->rows[c->count - 1].removed != c->removed;
    if (missing) rc = measure(w, loss, &last, st);
    if (rc) return rc;
    c->done = last;
    if (missing && step) rc = step(user, c, st);
    return rc || last ? rc : remove_next(w, st);
}

static void walk_free(struct walk *w)
{
    free(w->removed);
    free(w->next);
    free(w->z);
    free(w->scores);
    free(w->rest);
}

static enum prune_code walk_make(struct walk *w, struct prune_status *st)
{
    size_t n = w->units->count + 1;
    w->removed = calloc(n, 1);
    w->next = calloc(n, 1);
    w->z = malloc(n * sizeof *w->z);
    w->scores = calloc(n, sizeof *w->scores);
    w->rest = malloc(n * sizeof *w->rest);
    int *order = realloc(w->c->order, n * sizeof *order);
    if (order) w->c->order = order;
    if (!w->removed || !w->next || !w->z || !w->scores || !w->rest || !order) return prune_fail_memory(st, n * sizeof *w->scores, "a curve");
    for (size_t i = 0; i < w->c->removed; i++) w->removed[order[i]] = 1;
    return PRUNE_OK;
}

enum prune_code prune_curve_extend(struct prune_curve_lab *lab, struct prune_curve *c, prune_curve_step step, void *user, struct prune_status *st)
{
    struct walk w = {.lab = lab, .s = lab->setup, .c = c, .units = lab->setup->input.units};
    if (!prune_curve_ranking(c->criterion, &w.ranking)) return prune_fail(st, "unknown criterion '%s'", c->criterion);
    enum prune_code rc = walk_make(&w, st);
    while (!rc && !c->done) rc = advance(&w, step, user, st);
    walk_free(&w);
    return rc;
}
