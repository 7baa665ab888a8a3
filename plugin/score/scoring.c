/* The driver of criteria; see scoring.h. For each place that gates are wanted at: one pass shared by all criteria (pass 0, gates as they are), one of maps
 * (the host calls back once per forward pass there, so minibatches of other signals would fall apart), one of criteria that want probes of their own, the further passes of criteria that have some (shared
 * by those of the same directions), and the candidates of those that move one gate at a time. What is delivered of gates that are shut is zero: gone units
 * cannot matter, and every criterion scores them 0. */
#include "scoring.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../base/background.h"
#include "families.h"
#include "kfac.h"

/* One feed at one place of gates. items[i] takes part while part[i] is set. */
struct feed {
    const struct prune_scoring *s;
    struct prune_scored *items;
    size_t count;
    uint8_t *here, *part;                /* (items) gates of this place; fed by the pass at hand */
    uint8_t *layers;                     /* (layers of the cfg) what LAYERS is wanted of */
    float *z;                            /* (units) gates in force, then those of the pass */
    float *v;                            /* (units) direction of the pass's product */
    const char *no_products;             /* NULL, or why the host has none of this network */
    bool shut;                           /* some gate in force is 0 */
    size_t pass, minibatch;
    int classes;
    int probes;                          /* of the pass at hand, where the user does not say */
    bool counting;                       /* the first pass tells images and loss */
    struct prune_scoring_facts *facts;
};

static float in_force(const struct prune_scoring *s, size_t unit) { return s->z ? s->z[unit] : 1; }

static enum prune_code check_room(const struct prune_scored *items, size_t count, const struct prune_score_input *in, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < count; i++)
        if (items[i].criterion->check) rc = items[i].criterion->check(in, st);
    return rc;
}

/* ---- states ---- */

/* Criteria that gather the same share one state: users counts them, in front of it. */
struct kept { size_t users; max_align_t state[]; };

static struct kept *kept_of(const void *state) { return (struct kept *)(uintptr_t)((const char *)state - offsetof(struct kept, state)); }

static bool gather_alike(const struct prune_criterion *a, const struct prune_criterion *b)
{
    return a->signals && a->signals == b->signals && a->gate == b->gate && a->state_size == b->state_size && a->init == b->init && a->accumulate == b->accumulate &&
           a->passes == b->passes && a->direction == b->direction && a->probes == b->probes && a->perturbs == b->perturbs && a->accumulate_perturbed == b->accumulate_perturbed;
}

static bool share_state(struct prune_scored *items, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (!gather_alike(items[k].criterion, items[i].criterion)) continue;
        items[i].state = items[k].state;
        kept_of(items[i].state)->users++;
        return true;
    }
    return false;
}

static bool own_state(struct prune_scored *item, const struct prune_score_input *in, size_t bytes)
{
    struct kept *kept = calloc(1, sizeof *kept + (bytes ? bytes : 1));
    if (!kept) return false;
    kept->users = 1;
    item->state = kept->state;
    item->criterion->init(item->state, in);
    return true;
}

enum prune_code prune_scored_init(struct prune_scored *items, size_t count, const struct prune_score_input *in, struct prune_status *st)
{
    size_t n = in->units->count ? in->units->count : 1;
    for (size_t i = 0; i < count; i++) items[i].state = items[i].scores = NULL;
    enum prune_code rc = check_room(items, count, in, st);
    if (rc) return rc;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = items[i].criterion->state_size(in);
        bool done = share_state(items, i) || own_state(&items[i], in, bytes);
        items[i].scores = calloc(n, sizeof *items[i].scores);
        if (!done || !items[i].scores) {
            prune_scored_free(items, count);
            return prune_fail_memory(st, bytes + n * sizeof *items[i].scores, "scores");
        }
    }
    return PRUNE_OK;
}

void prune_scored_free(struct prune_scored *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct kept *kept = items[i].state ? kept_of(items[i].state) : NULL;
        if (kept && --kept->users == 0) free(kept);
        free(items[i].scores);
        items[i].state = NULL;
        items[i].scores = NULL;
    }
}

/* The first of the items at hand that have this state. */
static bool leads(const struct feed *f, size_t item)
{
    for (size_t k = 0; k < item; k++)
        if (f->part[k] && f->items[k].state == f->items[item].state) return false;
    return f->part[item];
}

enum prune_code prune_scored_finish(struct prune_scored *items, size_t count, const struct prune_score_input *in, struct prune_status *st)
{
    for (size_t i = 0; i < count; i++) {
        const struct prune_criterion *c = items[i].criterion;
        enum prune_code rc = c->finish(items[i].state, in, items[i].scores, st);
        if (rc) return rc;
        if (!c->scales) prune_scale_scores(in, c->scale, items[i].scores);
    }
    return PRUNE_OK;
}

/* ---- where gates sit ---- */

static const struct { const char *name; enum prune_gate_choice gate; } PLACES[] = {
    {"after-bn", PRUNE_GATE_AFTER_BN}, {"before-bn", PRUNE_GATE_BEFORE_BN}, {"after-activation", PRUNE_GATE_AFTER_ACTIVATION}, {"producers", PRUNE_GATE_PRODUCERS}};
enum { PLACE_COUNT = sizeof PLACES / sizeof *PLACES };

bool prune_gate_choice_parse(const char *name, enum prune_gate_choice *out)
{
    for (int i = 0; i < PLACE_COUNT; i++) {
        if (strcmp(PLACES[i].name, name) != 0) continue;
        *out = PLACES[i].gate;
        return true;
    }
    return false;
}

const char *prune_gate_choice_name(enum prune_gate_choice gate)
{
    for (int i = 0; i < PLACE_COUNT; i++)
        if (PLACES[i].gate == gate) return PLACES[i].name;
    return PLACES[0].name;
}

/* A site that must sit on an output (its layer does not pass zeros on) stays there: in front of batch-norm it would not even silence the channel. */
enum prune_code prune_gate_sites(const struct prune_units *units, enum prune_gate_choice gate, struct prune_gate_site **sites, size_t *count, struct prune_status *st)
{
    struct prune_gate_site *all = calloc(units->site_count + 1, sizeof *all);
    if (!all) return prune_fail_memory(st, units->site_count * sizeof *all, "gate sites");
    for (size_t i = 0; i < units->site_count; i++) {
        all[i] = units->sites[i];
        if (gate == PRUNE_GATE_AFTER_ACTIVATION) all[i].place = PRUNE_GATE_AFTER_OUTPUT;
        else if (gate == PRUNE_GATE_BEFORE_BN && all[i].place == PRUNE_GATE_BEFORE_ACTIVATION) all[i].place = PRUNE_GATE_BEFORE_NORM;
    }
    *sites = all;
    *count = units->site_count;
    return PRUNE_OK;
}

enum prune_code prune_gate_producers(const struct prune_units *units, const struct prune_net *net, struct prune_gate_site **sites, size_t *count, struct prune_status *st)
{
    struct prune_gate_site *all = calloc(units->member_count + 1, sizeof *all);
    size_t n = 0;
    if (!all) return prune_fail_memory(st, units->member_count * sizeof *all, "gate sites");
    for (size_t u = 0; u < units->count; u++) {
        const struct prune_channel *members = units->members + units->items[u].first_member;
        for (size_t i = 0; !units->items[u].protected_because && i < units->items[u].member_count; i++) {
            enum prune_kind kind = net->layers[members[i].layer].kind;
            bool sums = kind == PRUNE_CONVOLUTIONAL || kind == PRUNE_CONNECTED;
            all[n++] = (struct prune_gate_site){members[i].layer, members[i].channel, (int)u, sums ? PRUNE_GATE_BEFORE_NORM : PRUNE_GATE_AFTER_OUTPUT};
        }
    }
    *sites = all;
    *count = n;
    return PRUNE_OK;
}

static enum prune_gate_choice place_of(const struct prune_scoring *s, const struct prune_criterion *c)
{
    enum prune_gate_choice gate = c->gate == PRUNE_GATE_ANY ? s->gate : c->gate;
    return gate == PRUNE_GATE_ANY ? PRUNE_GATE_AFTER_BN : gate;
}

static enum prune_code attach(struct feed *f, enum prune_gate_choice gate, struct prune_status *st)
{
    const struct prune_units *units = f->s->input.units;
    struct prune_gate_site *sites;
    size_t count;
    enum prune_code rc = gate == PRUNE_GATE_PRODUCERS ? prune_gate_producers(units, f->s->input.net, &sites, &count, st) : prune_gate_sites(units, gate, &sites, &count, st);
    if (rc) return rc;
    rc = f->s->host->gates_attach(f->s->host_net, sites, count, units->count, st);
    free(sites);
    return rc;
}

/* ---- what a pass delivers ---- */

static enum prune_code check_interrupted(const struct feed *f, struct prune_status *st)
{
    const struct prune_host *host = f->s->host;
    if (!host->interrupted || !host->interrupted(host->context)) return PRUNE_OK;
    prune_fail(st, "interrupted after %zu images", f->facts->images);
    return PRUNE_INTERRUPTED;
}

/* A copy whose values of shut gates are 0; the last axis is units. NULL: no memory. */
static void *without_shut(const struct feed *f, struct prune_tensor *t)
{
    size_t total = 1, bytes = t->type == PRUNE_F64 ? sizeof(double) : sizeof(float), last = (size_t)t->rank - 1;
    ptrdiff_t dense = 1;
    for (int a = 0; a < t->rank; a++) total *= t->shape[a];
    char *copy = calloc(total + 1, bytes);
    if (!copy) return NULL;
    for (size_t i = 0; i < total; i++) {
        size_t unit = i % t->shape[last], rest = i;
        ptrdiff_t at = 0;
        for (int a = t->rank; a-- > 0; rest /= t->shape[a]) at += (ptrdiff_t)(rest % t->shape[a]) * t->strides[a];
        if (in_force(f->s, unit) != 0) memcpy(copy + i * bytes, (const char *)t->data + at * (ptrdiff_t)bytes, bytes);
    }
    for (int a = t->rank; a-- > 0; dense *= (ptrdiff_t)t->shape[a]) t->strides[a] = dense;
    t->data = copy;
    return copy;
}

static void deliver(struct feed *f, const struct prune_signals *signals)
{
    for (size_t i = 0; i < f->count; i++)
        if (leads(f, i)) f->items[i].criterion->accumulate(f->items[i].state, &f->s->input, signals);
}

static enum prune_code deliver_open(struct feed *f, struct prune_signals *signals, struct prune_status *st)
{
    struct prune_tensor *gated[] = {&signals->gate_batch, &signals->gate_image, &signals->gate_margins, &signals->gate_probes, &signals->gate_product};
    enum { GATED = sizeof gated / sizeof *gated };
    void *copies[GATED] = {NULL};
    bool done = true;
    for (size_t k = 0; k < GATED; k++) {
        bool here = gated[k]->data && gated[k]->device == PRUNE_DEVICE_CPU && gated[k]->rank > 0 && gated[k]->shape[gated[k]->rank - 1] == f->s->input.units->count;
        if (here && done) done = (copies[k] = without_shut(f, gated[k])) != NULL;
    }
    if (done) deliver(f, signals);
    for (size_t k = 0; k < GATED; k++) free(copies[k]);
    return done ? PRUNE_OK : prune_fail_memory(st, 0, "signals without the shut gates");
}

static void count_images(struct feed *f, const struct prune_signals *signals)
{
    struct prune_scoring_facts *facts = f->facts;
    if (!signals->images) return;
    facts->loss_sum += signals->loss * (double)signals->images;
    facts->images += signals->images;
    facts->minibatches++;
}

static enum prune_code on_minibatch(void *user, const struct prune_signals *given, struct prune_status *st)
{
    struct feed *f = user;
    struct prune_signals signals = *given;
    enum prune_code rc = PRUNE_OK;
    if (!isfinite(signals.loss))
        return prune_fail(st, "loss of minibatch %llu is not finite; check the weights and the labels of its images", (unsigned long long)signals.minibatch);
    signals.pass = f->pass;
    if (f->shut) rc = deliver_open(f, &signals, st);
    else deliver(f, &signals);
    if (rc) return rc;
    if (f->counting) count_images(f, &signals);
    return check_interrupted(f, st);
}

/* One pass over the images for the items in part. */
static enum prune_code run_pass(struct feed *f, unsigned signals, struct prune_status *st)
{
    const struct prune_score_input *in = &f->s->input;
    int rivals = in->rivals ? in->rivals : PRUNE_DEFAULT_RIVALS, probes = in->probes ? in->probes : f->probes;
    if (!in->rivals && f->classes > 1 && rivals > f->classes - 1) rivals = f->classes - 1;
    const struct prune_score_options options = {.minibatch = f->minibatch, .signals = signals, .direction = f->v, .rivals = signals & PRUNE_SIGNAL_MARGINS ? rivals : 0,
                                                .probes = signals & PRUNE_SIGNAL_CURVATURE ? probes : 0, .fisher = in->kfac.fisher,
                                                .layers = signals & PRUNE_SIGNAL_LAYERS ? f->layers : NULL};
    if (options.layers) prune_kfac_wanted(in, f->pass, f->layers);
    f->counting = f->facts->passes == 0;
    enum prune_code rc = f->s->host->gates_set(f->s->host_net, f->z, in->units->count, st);
    if (!rc) rc = f->s->host->score(f->s->host_net, &f->s->set, &options, on_minibatch, f, st);
    if (!rc) f->facts->passes++;
    return rc;
}

static void gates_in_force(struct feed *f)
{
    f->shut = false;
    for (size_t u = 0; u < f->s->input.units->count; u++) {
        f->z[u] = in_force(f->s, u);
        if (f->z[u] == 0) f->shut = true;
    }
}

/* ---- the kinds of pass ---- */

/* Criteria of different kinds cannot share pass 0. */
enum kind { COMMON, MAPS, OWN_PROBES, KINDS };

static enum kind kind_of(const struct feed *f, const struct prune_criterion *c)
{
    if (c->signals & PRUNE_SIGNAL_MAPS) return MAPS;
    return c->probes && !f->s->input.probes ? OWN_PROBES : COMMON;
}

static enum prune_code first_pass(struct feed *f, enum kind kind, struct prune_status *st)
{
    unsigned signals = 0;
    f->probes = PRUNE_DEFAULT_PROBES;
    for (size_t i = 0; i < f->count; i++) {
        const struct prune_criterion *c = f->items[i].criterion;
        f->part[i] = f->here[i] && c->signals && kind_of(f, c) == kind;
        if (!f->part[i]) continue;
        signals |= c->signals;
        if (kind == OWN_PROBES) f->probes = c->probes(&f->s->input);
    }
    f->pass = 0;
    return signals ? run_pass(f, signals, st) : PRUNE_OK;
}

static bool alike(const struct prune_criterion *a, const struct prune_criterion *b) { return a->passes && a->passes == b->passes && a->direction == b->direction; }

/* Products, not differences; the facts tell why not where the user has not asked for these. */
static bool takes_products(struct feed *f, const struct prune_criterion *c)
{
    if (!c->direction || f->s->input.step > 0) return false;
    if (f->no_products) snprintf(f->facts->differences, sizeof f->facts->differences, "%s", f->no_products);
    return !f->no_products;
}

/* Passes 1, 2, ... of items[first] and of those behind it that have its directions. Without directions the gates are as they are. */
static enum prune_code further_passes(struct feed *f, size_t first, struct prune_status *st)
{
    const struct prune_criterion *c = f->items[first].criterion;
    size_t passes = c->passes(&f->s->input);
    unsigned signals = 0;
    bool products = takes_products(f, c);
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; i < f->count; i++) {
        f->part[i] = f->here[i] && alike(c, f->items[i].criterion);
        if (f->part[i]) signals |= f->items[i].criterion->signals;
    }
    for (f->pass = 1; !rc && f->pass < passes; f->pass += products ? 2 : 1) {
        gates_in_force(f);
        if (c->direction) c->direction(&f->s->input, f->pass, f->v);
        if (c->direction && !products) prune_gates_move(&f->s->input, f->pass, f->v, f->z);
        for (size_t u = 0; products && u < f->s->input.units->count; u++) f->v[u] *= f->z[u];   /* in shares of the gate: a shut one does not move */
        rc = run_pass(f, products ? PRUNE_SIGNAL_PRODUCT : signals, st);
    }
    gates_in_force(f);
    return rc;
}

static enum prune_code on_piece(void *user, const struct prune_perturbed *piece, struct prune_status *st)
{
    struct feed *f = user;
    size_t candidates = 2 * f->s->input.units->count;
    struct prune_perturbed open = *piece;
    double *gradient = NULL;
    if (!piece->gradient) return prune_fail(st, "host '%s' gives no gate gradients of candidates", f->s->host->name);
    if (f->shut) {
        gradient = calloc(candidates + 1, sizeof *gradient);
        if (!gradient) return prune_fail_memory(st, candidates * sizeof *gradient, "signals without the shut gates");
        for (size_t k = 0; k < candidates; k++) gradient[k] = in_force(f->s, k / 2) != 0 ? piece->gradient[k] : 0;
        open.gradient = gradient;
    }
    for (size_t i = 0; i < f->count; i++)
        if (leads(f, i)) f->items[i].criterion->accumulate_perturbed(f->items[i].state, &f->s->input, &open);
    free(gradient);
    return check_interrupted(f, st);
}

/* Candidates 2u and 2u + 1: gate u a step below and above its value. */
static enum prune_code perturb_units(struct feed *f, struct prune_status *st)
{
    size_t units = f->s->input.units->count, n = 2 * units;
    double step = prune_gate_step(&f->s->input, PRUNE_STEP_SINGLE);
    int *unit = calloc(n + 1, sizeof *unit);
    size_t *first = calloc(n + 1, sizeof *first);
    float *z = calloc(n + 1, sizeof *z);
    enum prune_code rc = PRUNE_OK;
    if (!unit || !first || !z) rc = prune_fail_memory(st, n * (sizeof *unit + sizeof *first + sizeof *z), "candidates");
    for (size_t k = 0; !rc && k < n; k++) {
        unit[k] = (int)(k / 2);
        first[k + 1] = k + 1;
        z[k] = (float)((double)in_force(f->s, k / 2) * (k % 2 ? 1 + step : 1 - step));
    }
    const struct prune_candidates candidates = {unit, first, z, n};
    if (!rc) rc = f->s->host->gates_set(f->s->host_net, f->z, units, st);
    if (!rc) rc = f->s->host->perturb(f->s->host_net, &f->s->set, &candidates, true, on_piece, f, st);
    if (!rc) f->facts->passes += n;
    free(unit);
    free(first);
    free(z);
    return rc;
}

static enum prune_code feed_perturbing(struct feed *f, struct prune_status *st)
{
    bool any = false;
    for (size_t i = 0; i < f->count; i++) {
        f->part[i] = f->here[i] && f->items[i].criterion->perturbs;
        any |= f->part[i] != 0;
    }
    return any ? perturb_units(f, st) : PRUNE_OK;
}

static enum prune_code feed_place(struct feed *f, enum prune_gate_choice gate, struct prune_status *st)
{
    bool any = false;
    for (size_t i = 0; i < f->count; i++) {
        const struct prune_criterion *c = f->items[i].criterion;
        f->here[i] = c->signals && place_of(f->s, c) == gate;
        any |= f->here[i] != 0;
    }
    if (!any) return PRUNE_OK;
    gates_in_force(f);
    enum prune_code rc = attach(f, gate, st);
    for (enum kind k = COMMON; !rc && k < KINDS; k++) rc = first_pass(f, k, st);
    for (size_t i = 0; !rc && i < f->count; i++) {
        bool led = false;
        for (size_t k = 0; k < i; k++) led |= f->here[k] && alike(f->items[k].criterion, f->items[i].criterion);
        if (f->here[i] && f->items[i].criterion->passes && !led) rc = further_passes(f, i, st);
    }
    if (!rc) rc = feed_perturbing(f, st);
    enum prune_code back = f->s->host->gates_set(f->s->host_net, f->z, f->s->input.units->count, rc ? NULL : st);
    return rc ? rc : back;
}

static enum prune_code check_host(const struct prune_scoring *s, const struct prune_scored *items, size_t count, struct prune_status *st)
{
    unsigned needed = 0;
    for (size_t i = 0; i < count; i++) needed |= items[i].criterion->signals | (items[i].criterion->perturbs ? PRUNE_CAN_PERTURB : 0u);
    return needed ? prune_host_check(s->host, needed, st) : PRUNE_OK;
}

enum prune_code prune_scoring_feed(const struct prune_scoring *s, struct prune_scored *items, size_t count, struct prune_scoring_facts *facts, struct prune_status *st)
{
    struct prune_net_facts net;
    struct prune_scoring_facts more = {.loss_sum = facts->loss_sum};   /* the sum goes on: in parts it is the same to the last bit */
    size_t units = s->input.units->count;
    bool any = false;
    for (size_t i = 0; i < count; i++) any |= items[i].criterion->signals != 0;
    if (!any) return PRUNE_OK;
    enum prune_code rc = check_host(s, items, count, st);
    if (rc) return rc;
    s->host->facts(s->host_net, &net);
    struct feed f = {.s = s, .items = items, .count = count, .minibatch = s->minibatch ? s->minibatch : (size_t)net.batch, .classes = net.classes, .facts = &more};
    f.here = calloc(count, 1);
    f.part = calloc(count, 1);
    f.z = calloc(units + 1, sizeof *f.z);
    f.layers = calloc((s->input.net ? s->input.net->layer_count : 0) + 1, 1);
    f.v = calloc(units + 1, sizeof *f.v);
    f.no_products = s->host->capabilities & PRUNE_SIGNAL_PRODUCT ? net.no_products : "the host has none";
    if (!f.here || !f.part || !f.z || !f.layers || !f.v) rc = prune_fail_memory(st, 2 * count + 2 * units * sizeof *f.z, "scores");
    for (int p = 0; !rc && p < PLACE_COUNT; p++) rc = feed_place(&f, PLACES[p].gate, st);
    prune_background_drain(s->input.background);   /* after a failure too: its jobs write into states */
    free(f.layers);
    free(f.here);
    free(f.part);
    free(f.z);
    free(f.v);
    if (rc) return rc;
    facts->images += more.images;
    facts->loss_sum = more.loss_sum;
    if (facts->images) facts->loss = facts->loss_sum / (double)facts->images;
    facts->minibatches += more.minibatches;
    facts->passes += more.passes;
    if (*more.differences) memcpy(facts->differences, more.differences, sizeof facts->differences);
    return PRUNE_OK;
}
