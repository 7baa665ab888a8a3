/* The driver of criteria on a host made up here, whose loss is a quadratic function of the gates: E_b(z) = c_b . z + z A z / 2 with known A, so that
 * every derivative is known. The host keeps a log of what it was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/score/scoring.h"

enum { UNITS = 3, IMAGES = 5, MAX_PASSES = 64 };

static const double A[UNITS][UNITS] = {{2, 0.5, -1}, {0.5, -1, 0.25}, {-1, 0.25, 4}};
static const double C[IMAGES][UNITS] = {{1, 0, 2}, {-1, 1, 0}, {0.5, 2, -3}, {0, 1, 1}, {2, -1, 0}};

struct pass { struct prune_score_options options; float z[UNITS], direction[UNITS]; enum prune_gate_place place; };
struct fake { float z[UNITS]; enum prune_gate_place place; struct pass passes[MAX_PASSES]; size_t count, attached, perturbs, stop_after, fail_at; struct prune_candidates seen; const char *no_products; };

static struct prune_status st;

static double gradient(int b, int u, const float *z)
{
    double g = C[b][u];
    for (int k = 0; k < UNITS; k++) g += A[u][k] * (double)z[k];
    return g;
}

static double loss(int b, const float *z)
{
    double e = 0;
    for (int u = 0; u < UNITS; u++) e += (double)z[u] * (C[b][u] + gradient(b, u, z)) / 2;
    return e;
}

static struct fake *fake_of(struct prune_host_net *net) { return (struct fake *)(void *)net; }

static void fake_facts(const struct prune_host_net *net, struct prune_net_facts *out)
{
    const struct fake *f = (const struct fake *)(const void *)net;
    *out = (struct prune_net_facts){.batch = 2, .classes = 10, .no_products = f->no_products};
}

static enum prune_code fake_attach(struct prune_host_net *net, const struct prune_gate_site *sites, size_t count, size_t units, struct prune_status *s)
{
    (void)s;
    assert_int_equal(units, UNITS);
    assert_int_equal(count, UNITS);
    fake_of(net)->place = sites[0].place;
    fake_of(net)->attached++;
    for (int u = 0; u < UNITS; u++) fake_of(net)->z[u] = 1;
    return PRUNE_OK;
}

static enum prune_code fake_set(struct prune_host_net *net, const float *z, size_t units, struct prune_status *s)
{
    (void)s;
    assert_int_equal(units, UNITS);
    memcpy(fake_of(net)->z, z, sizeof fake_of(net)->z);
    return PRUNE_OK;
}

/* One probe or rival after the other: probes have the squares 1, 4, 9, ... times the image's number, the same for each unit. */
static enum prune_code minibatch(struct fake *f, size_t first, size_t n, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *s)
{
    double batch[UNITS] = {0}, product[UNITS] = {0};
    float image[IMAGES * UNITS], margins[IMAGES * 16], gate_margins[IMAGES * 16 * UNITS], probes[IMAGES * 16 * UNITS];
    size_t rivals = (size_t)o->rivals, probe_count = (size_t)o->probes;
    struct prune_signals signals = {.minibatch = first, .images = n, .units = UNITS};
    for (size_t b = 0; b < n; b++) {
        signals.loss += loss((int)(first + b), f->z) / (double)n;
        for (int u = 0; u < UNITS; u++) {
            image[b * UNITS + (size_t)u] = (float)gradient((int)(first + b), u, f->z);
            batch[u] += gradient((int)(first + b), u, f->z) / (double)n;
        }
        for (size_t k = 0; k < rivals; k++) margins[b * rivals + k] = (float)k;
        for (size_t k = 0; k < rivals * UNITS; k++) gate_margins[b * rivals * UNITS + k] = (float)(k % UNITS);
        for (size_t k = 0; k < probe_count * UNITS; k++) probes[b * probe_count * UNITS + k] = (float)(k % UNITS + 1);
    }
    if (o->signals & PRUNE_SIGNAL_GATE_BATCH) signals.gate_batch = (struct prune_tensor){.data = batch, .type = PRUNE_F64, .rank = 1, .shape = {UNITS}, .strides = {1}};
    if (o->signals & PRUNE_SIGNAL_PRODUCT) {
        for (int u = 0; u < UNITS; u++)
            for (int k = 0; k < UNITS; k++) product[u] += A[u][k] * (double)o->direction[k];
        signals.gate_product = (struct prune_tensor){.data = product, .type = PRUNE_F64, .rank = 1, .shape = {UNITS}, .strides = {1}};
    }
    if (o->signals & PRUNE_SIGNAL_GATE_IMAGE)
        signals.gate_image = (struct prune_tensor){.data = image, .type = PRUNE_F32, .rank = 2, .shape = {n, UNITS}, .strides = {UNITS, 1}};
    if (rivals) {
        signals.margins = (struct prune_tensor){.data = margins, .type = PRUNE_F32, .rank = 2, .shape = {n, rivals}, .strides = {(ptrdiff_t)rivals, 1}};
        signals.gate_margins = (struct prune_tensor){.data = gate_margins, .type = PRUNE_F32, .rank = 3, .shape = {n, rivals, UNITS}, .strides = {(ptrdiff_t)rivals * UNITS, UNITS, 1}};
    }
    if (probe_count)
        signals.gate_probes = (struct prune_tensor){.data = probes, .type = PRUNE_F32, .rank = 3, .shape = {n, probe_count, UNITS}, .strides = {(ptrdiff_t)probe_count * UNITS, UNITS, 1}};
    return sink(user, &signals, s);
}

static enum prune_code fake_score(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *s)
{
    struct fake *f = fake_of(net);
    size_t end = set->limit ? set->first + set->limit : IMAGES;
    assert_true(f->count < MAX_PASSES && end <= IMAGES && o->minibatch);
    struct pass *p = &f->passes[f->count++];
    *p = (struct pass){.options = *o, .place = f->place};
    memcpy(p->z, f->z, sizeof p->z);
    if (o->signals & PRUNE_SIGNAL_PRODUCT) memcpy(p->direction, o->direction, sizeof p->direction);
    if (f->fail_at == f->count) return prune_fail(s, "the host broke");
    for (size_t at = set->first; at < end; at += o->minibatch) {
        enum prune_code rc = minibatch(f, at, at + o->minibatch < end ? o->minibatch : end - at, o, sink, user, s);
        if (rc) return rc;
    }
    return PRUNE_OK;
}

/* Pieces of one image each. */
static enum prune_code fake_perturb(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_candidates *c, bool gradients, prune_perturb_sink sink,
                                    void *user, struct prune_status *s)
{
    struct fake *f = fake_of(net);
    size_t end = set->limit ? set->first + set->limit : IMAGES;
    f->perturbs++;
    assert_true(gradients && c->count <= 16);
    for (size_t b = set->first; b < end; b++) {
        double g[16], base = loss((int)b, f->z);
        float l[16];
        for (size_t k = 0; k < c->count; k++) {
            float z[UNITS];
            memcpy(z, f->z, sizeof z);
            for (size_t i = c->first[k]; i < c->first[k + 1]; i++) z[c->units[i]] = c->z[k];
            l[k] = (float)loss((int)b, z);
            g[k] = gradient((int)b, c->units[c->first[k]], z);
        }
        enum prune_code rc = sink(user, &(struct prune_perturbed){b - set->first, 1, &base, l, g}, s);
        if (rc) return rc;
    }
    return PRUNE_OK;
}

static bool fake_interrupted(void *context)
{
    struct fake *f = context;
    return f->stop_after && f->count >= f->stop_after;
}

/* Three units of one gate each. */
static struct prune_channel MEMBERS[] = {{0, 0}, {0, 1}, {1, 0}};
static struct prune_gate_site SITES[] = {{0, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION}, {0, 1, 1, PRUNE_GATE_AFTER_OUTPUT}, {1, 0, 2, PRUNE_GATE_BEFORE_ACTIVATION}};
static struct prune_unit ITEMS[] = {{0, 1, 0, 1, NULL}, {1, 1, 1, 1, NULL}, {2, 1, 2, 1, NULL}};
static const struct prune_units THREE = {.items = ITEMS, .count = UNITS, .members = MEMBERS, .member_count = UNITS, .sites = SITES, .site_count = UNITS};

struct rig { struct fake fake; struct prune_host host; struct prune_scoring s; struct prune_scored items[16]; size_t count; struct prune_scoring_facts facts; };

static void rig_open(struct rig *r, const char *const *names, size_t count)
{
    *r = (struct rig){.host = {.version = PRUNE_HOST_VERSION, .size = sizeof r->host, .capabilities = (PRUNE_SIGNALS & ~(unsigned)PRUNE_SIGNAL_PRODUCT) | PRUNE_CAN_PERTURB, .name = "fake", .facts = fake_facts,
                               .gates_attach = fake_attach, .gates_set = fake_set, .score = fake_score, .perturb = fake_perturb, .interrupted = fake_interrupted}};
    r->host.context = &r->fake;
    r->s = (struct prune_scoring){.host = &r->host, .host_net = (struct prune_host_net *)(void *)&r->fake, .input = {.units = &THREE, .seed = 1}};
    r->count = count;
    for (size_t i = 0; i < count; i++) {
        r->items[i].criterion = prune_criterion_find(names[i]);
        assert_non_null(r->items[i].criterion);
    }
}

static void rig_feed(struct rig *r)
{
    assert_int_equal(prune_scored_init(r->items, r->count, &r->s.input, &st), PRUNE_OK);
    if (prune_scoring_feed(&r->s, r->items, r->count, &r->facts, &st)) fail_msg("%s", st.message);
    if (prune_scored_finish(r->items, r->count, &r->s.input, &st)) fail_msg("%s", st.message);
}

static void rig_close(struct rig *r)
{
    prune_scored_free(r->items, r->count);
    assert_null(r->items[0].state);
    prune_scored_free(r->items, r->count);
}

#define OPEN(rig, ...) rig_open(rig, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.17g, expected %.17g", value, expected);
}

/* Mean over images of gate u's gradient at gates z. */
static double mean_gradient(int u, const float *z)
{
    double sum = 0;
    for (int b = 0; b < IMAGES; b++) sum += gradient(b, u, z);
    return sum / IMAGES;
}

static const float OPEN_GATES[UNITS] = {1, 1, 1};

static void plain_signals_share_one_pass(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-fo", "taylor-fg", "taylor-so-gn", "taylor-logits", "random");
    rig_feed(&r);
    assert_int_equal(r.fake.count, 1);
    assert_int_equal(r.fake.attached, 1);
    assert_int_equal(r.fake.perturbs, 0);
    const struct prune_score_options *o = &r.fake.passes[0].options;
    assert_int_equal(o->signals, PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE);
    assert_int_equal(o->minibatch, 2);
    assert_int_equal(o->rivals, 4);
    assert_int_equal(o->probes, 4);
    double squares = 0, mean = 0;
    for (int b = 0; b < IMAGES; b++) {
        squares += pow(gradient(b, 0, OPEN_GATES), 2) / IMAGES;
        mean += loss(b, OPEN_GATES) / IMAGES;
    }
    near(r.items[1].scores[0], squares, 1e-12);
    assert_int_equal(r.facts.images, IMAGES);
    assert_int_equal(r.facts.minibatches, 3);
    assert_int_equal(r.facts.passes, 1);
    near(r.facts.loss, mean, 1e-12);
    rig_close(&r);
}

static void criteria_without_images_need_no_host(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "random");
    r.s.host = NULL;
    rig_feed(&r);
    assert_true(r.items[0].scores[0] > 0 && r.items[0].scores[0] < 1);
    assert_int_equal(r.facts.passes, 0);
    rig_close(&r);
}

static void criteria_get_their_gates_where_they_are_defined(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-fo", "taylor-fg", "taylor-so-row");
    struct prune_criterion before = *prune_criterion_find("taylor-fg"), maps = before;
    before.gate = PRUNE_GATE_BEFORE_BN;
    maps.signals = PRUNE_SIGNAL_MAPS | PRUNE_SIGNAL_GATE_IMAGE;
    r.items[1].criterion = &before;
    r.items[3].criterion = &maps;
    r.count = 4;
    r.s.gate = PRUNE_GATE_AFTER_ACTIVATION;
    rig_feed(&r);
    assert_int_equal(r.fake.attached, 2);
    assert_int_equal(r.fake.count, 1 + 1 + 1 + 2);
    assert_int_equal(r.fake.passes[0].place, PRUNE_GATE_BEFORE_NORM);
    assert_int_equal(r.fake.passes[0].options.signals, PRUNE_SIGNAL_GATE_IMAGE);
    for (int p = 1; p < 5; p++) assert_int_equal(r.fake.passes[p].place, PRUNE_GATE_AFTER_OUTPUT);
    assert_int_equal(r.fake.passes[1].options.signals, PRUNE_SIGNAL_GATE_BATCH);
    assert_int_equal(r.fake.passes[2].options.signals, PRUNE_SIGNAL_MAPS | PRUNE_SIGNAL_GATE_IMAGE);
    assert_int_equal(r.facts.images, IMAGES);
    assert_int_equal(r.facts.minibatches, 3);
    rig_close(&r);
}

static void one_gate_at_a_time_gives_the_second_derivative(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-so", "obd");
    rig_feed(&r);
    assert_int_equal(r.fake.count, 1);
    assert_int_equal(r.fake.perturbs, 1);
    for (int u = 0; u < UNITS; u++) {
        near(r.items[0].scores[u], pow(mean_gradient(u, OPEN_GATES) - A[u][u] / 2, 2), 1e-9);
        near(r.items[1].scores[u], A[u][u] / 2, 1e-9);
    }
    assert_true(r.items[1].scores[1] < 0);
    rig_close(&r);
}

static void all_gates_at_once_give_the_row(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-so-row");
    rig_feed(&r);
    assert_int_equal(r.fake.count, 3);
    for (int u = 0; u < UNITS; u++) {
        near(r.items[0].scores[u], pow(mean_gradient(u, OPEN_GATES) - (A[u][0] + A[u][1] + A[u][2]) / 2, 2), 1e-9);
        float up = r.fake.passes[1].z[u], down = r.fake.passes[2].z[u];
        assert_true(up > 1 && up - 1 == 1 - down);                     /* exact floats */
        near((double)up - 1, 1e-2 / sqrt(3), 1e-7);
    }
    rig_close(&r);
}

/* A pass a direction, gates as they are; shut ones do not move. */
static void products_take_the_place_of_differences(void **state)
{
    (void)state;
    const float z[UNITS] = {1, 0, 1};
    for (int shut = 0; shut < 2; shut++) {
        struct rig r;
        OPEN(&r, "taylor-so-row", "obd-hutchinson");
        r.host.capabilities |= PRUNE_SIGNAL_PRODUCT;
        r.s.z = shut ? z : NULL;
        rig_feed(&r);
        assert_int_equal(r.fake.count, 1 + 1 + 8);
        for (size_t p = 0; p < r.fake.count; p++) {
            assert_int_equal(r.fake.passes[p].options.signals, p ? PRUNE_SIGNAL_PRODUCT : PRUNE_SIGNAL_GATE_BATCH);
            assert_memory_equal(r.fake.passes[p].z, shut ? z : OPEN_GATES, sizeof z);
            if (p) assert_true(fabsf(r.fake.passes[p].direction[1]) == (shut ? 0 : 1) && fabsf(r.fake.passes[p].direction[0]) == 1);
        }
        for (int u = 0; u < UNITS; u++) {
            double row = A[u][0] + (shut ? 0 : A[u][1]) + A[u][2], diagonal = 0;
            for (size_t p = 2; p < 10; p++)
                for (int k = 0; k < UNITS; k++) diagonal += A[u][k] * (double)r.fake.passes[p].direction[k] * (double)r.fake.passes[p].direction[u] / 8;
            near(r.items[0].scores[u], shut && u == 1 ? 0 : pow(mean_gradient(u, shut ? z : OPEN_GATES) - row / 2, 2), 1e-12);
            near(r.items[1].scores[u], diagonal / 2, 1e-12);
        }
        rig_close(&r);
    }
}

static void differences_where_the_network_has_no_products_or_a_step_is_given(void **state)
{
    (void)state;
    for (int step = 0; step < 2; step++) {
        struct rig r;
        OPEN(&r, "taylor-so-row");
        r.host.capabilities |= PRUNE_SIGNAL_PRODUCT;
        if (step) r.s.input.step = .02;
        else r.fake.no_products = "[normalization] has no tangent pass";
        rig_feed(&r);
        assert_int_equal(r.fake.count, 3);
        assert_int_equal(r.fake.passes[1].options.signals, PRUNE_SIGNAL_GATE_BATCH);
        assert_string_equal(r.facts.differences, step ? "" : "[normalization] has no tangent pass");
        near((double)r.fake.passes[1].z[0] - 1, (step ? .02 : .01) / sqrt(3), 1e-7);
        for (int u = 0; u < UNITS; u++) near(r.items[0].scores[u], pow(mean_gradient(u, OPEN_GATES) - (A[u][0] + A[u][1] + A[u][2]) / 2, 2), 1e-9);
        rig_close(&r);
    }
}

/* v_u (H v)_u = H_uu + sum over others of v_u v_k H_uk: with 8 probes off the diagonal by the mean of 8 products of signs. */
static void hutchinson_shares_its_passes_and_averages_over_signs(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "obd-hutchinson", "taylor-so-hutchinson", "taylor-fo");
    rig_feed(&r);
    assert_int_equal(r.fake.count, 17);
    for (int u = 0; u < UNITS; u++) {
        double expected = 0;
        for (int probe = 0; probe < 8; probe++) {
            const float *z = r.fake.passes[1 + 2 * probe].z;
            for (int k = 0; k < UNITS; k++) expected += (z[u] > 1) == (z[k] > 1) ? A[u][k] / 8 : -A[u][k] / 8;
        }
        near(r.items[0].scores[u], expected / 2, 1e-9);
        near(r.items[1].scores[u], pow(mean_gradient(u, OPEN_GATES) - expected / 2, 2), 1e-9);
    }
    bool both = false;
    for (int probe = 1; probe < 8; probe++) both |= (r.fake.passes[1 + 2 * probe].z[0] > 1) != (r.fake.passes[1].z[0] > 1);
    assert_true(both);
    rig_close(&r);
}

static void hutchinson_comes_to_the_diagonal_with_many_probes_and_depends_on_the_seed_alone(void **state)
{
    (void)state;
    double scores[3][UNITS];
    for (int run = 0; run < 3; run++) {
        struct rig r;
        OPEN(&r, "obd-hutchinson");
        r.s.input.probes = 31;
        r.s.input.seed = run == 2 ? 7 : 1;
        rig_feed(&r);
        assert_int_equal(r.fake.count, 63);
        memcpy(scores[run], r.items[0].scores, sizeof scores[run]);
        for (int u = 0; u < UNITS; u++) near(scores[run][u], A[u][u] / 2, 0.5);
        rig_close(&r);
    }
    assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
    assert_true(scores[0][0] != scores[2][0]);
}

static void shut_gates_stay_shut_and_score_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"taylor-fo", "taylor-fg", "taylor-so", "obd", "taylor-so-row", "taylor-so-hutchinson", "obd-hutchinson", "taylor-so-gn", "obd-gn", "taylor-logits"};
    const float z[UNITS] = {1, 0, 1};
    struct rig r;
    rig_open(&r, names, 10);
    r.s.z = z;
    rig_feed(&r);
    for (size_t p = 0; p < r.fake.count; p++) assert_true(r.fake.passes[p].z[1] == 0 && r.fake.passes[p].z[0] != 0);
    for (size_t i = 0; i < r.count; i++)
        if (r.items[i].scores[1] != 0 || r.items[i].scores[2] == 0) fail_msg("%s: %g, %g", names[i], r.items[i].scores[1], r.items[i].scores[2]);
    near(r.items[2].scores[0], pow(mean_gradient(0, z) - A[0][0] / 2, 2), 1e-9);
    near(r.items[4].scores[0], pow(mean_gradient(0, z) - (A[0][0] + A[0][2]) / 2, 2), 1e-9);
    assert_memory_equal(r.fake.z, z, sizeof z);                        /* left as they were in force */
    rig_close(&r);
}

static void gauss_newton_averages_squares_of_probes(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "obd-gn", "taylor-so-gn");
    r.s.input.probes = 3;
    rig_feed(&r);
    assert_int_equal(r.fake.passes[0].options.probes, 3);
    for (int u = 0; u < UNITS; u++) {
        near(r.items[0].scores[u], (u + 1) * (u + 1) / 2.0, 1e-12);
        near(r.items[1].scores[u], pow(mean_gradient(u, OPEN_GATES) - (u + 1) * (u + 1) / 2.0, 2), 1e-12);
    }
    rig_close(&r);
}

static void logits_are_expanded_and_the_loss_is_exact(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-logits");
    r.s.input.rivals = 3;
    rig_feed(&r);
    assert_int_equal(r.fake.passes[0].options.rivals, 3);
    for (int u = 0; u < UNITS; u++)                                    /* margins 0, 1, 2, each falling by u */
        near(r.items[0].scores[u], pow(log(1 + exp(-u) + exp(1 - u) + exp(2 - u)) - log(1 + 1 + exp(1) + exp(2)), 2), 1e-12);
    rig_close(&r);
}

static void far_margins_neither_overflow_nor_vanish(void **state)
{
    (void)state;
    const struct prune_criterion *c = prune_criterion_find("taylor-logits");
    struct prune_score_input in = {.units = &THREE};
    double sums[UNITS + 1], scores[UNITS];
    float margins[] = {-40}, slopes[] = {-1000, 2, 1000};
    struct prune_signals s = {.images = 1, .units = UNITS, .margins = {.data = margins, .type = PRUNE_F32, .rank = 2, .shape = {1, 1}, .strides = {1, 1}},
                              .gate_margins = {.data = slopes, .type = PRUNE_F32, .rank = 3, .shape = {1, 1, UNITS}, .strides = {UNITS, UNITS, 1}}};
    assert_int_equal(c->state_size(&in), sizeof sums);
    c->init(sums, &in);
    c->accumulate(sums, &in, &s);
    assert_int_equal(c->finish(sums, &in, scores, &st), PRUNE_OK);
    near(scores[0], 960.0 * 960, 1e-6);
    near(scores[1] / pow(exp(-42) - exp(-40), 2), 1, 1e-12);
    near(scores[2] / pow(exp(-40), 2), 1, 1e-12);
}

static void steps_are_the_users_or_the_estimators_own(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-so-row");
    r.s.input.step = 0.25;
    rig_feed(&r);
    near((double)r.fake.passes[1].z[0] - 1, 0.25 / sqrt(3), 1e-7);
    rig_close(&r);
    OPEN(&r, "taylor-so-row");
    r.s.input.step = 1e-30;                                            /* the least that a float gate can move */
    rig_feed(&r);
    assert_true(r.fake.passes[1].z[0] == 1 + 0x1p-23f && r.fake.passes[2].z[0] == 1 - 0x1p-23f);
    rig_close(&r);
}

static void more_images_continue_the_sums(void **state)
{
    (void)state;
    static const char *const names[] = {"taylor-so", "taylor-so-row", "taylor-so-hutchinson", "taylor-so-gn", "taylor-logits", "obd"};
    struct rig whole, parts;
    rig_open(&whole, names, 6);
    rig_open(&parts, names, 6);
    rig_feed(&whole);
    assert_int_equal(prune_scored_init(parts.items, parts.count, &parts.s.input, &st), PRUNE_OK);
    for (size_t first = 0; first < IMAGES; first += 3) {
        parts.s.set.first = first;
        parts.s.set.limit = first ? 2 : 3;
        assert_int_equal(prune_scoring_feed(&parts.s, parts.items, parts.count, &parts.facts, &st), PRUNE_OK);
    }
    assert_int_equal(prune_scored_finish(parts.items, parts.count, &parts.s.input, &st), PRUNE_OK);
    for (size_t i = 0; i < 6; i++)
        for (int u = 0; u < UNITS; u++) near(parts.items[i].scores[u], whole.items[i].scores[u], 1e-9);
    assert_int_equal(parts.facts.images, IMAGES);
    near(parts.facts.loss, whole.facts.loss, 1e-12);
    rig_close(&whole);
    rig_close(&parts);
}

static void a_host_that_lacks_something_or_fails_is_told_and_facts_stay(void **state)
{
    (void)state;
    struct rig r;
    OPEN(&r, "taylor-so", "taylor-so-row");
    assert_int_equal(prune_scored_init(r.items, r.count, &r.s.input, &st), PRUNE_OK);
    r.host.capabilities = PRUNE_SIGNALS;
    assert_int_equal(prune_scoring_feed(&r.s, r.items, r.count, &r.facts, &st), PRUNE_FAILED);
    assert_int_equal(r.fake.count, 0);
    r.host.capabilities = PRUNE_SIGNALS | PRUNE_CAN_PERTURB;
    r.fake.fail_at = 2;
    assert_int_equal(prune_scoring_feed(&r.s, r.items, r.count, &r.facts, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "the host broke");
    r.fake.fail_at = 0;
    r.fake.stop_after = r.fake.count + 2;
    assert_int_equal(prune_scoring_feed(&r.s, r.items, r.count, &r.facts, &st), PRUNE_INTERRUPTED);
    assert_int_equal(r.facts.images, 0);
    assert_int_equal(r.facts.passes, 0);
    assert_true(r.fake.z[0] == 1);                                     /* a failed pass does not leave its gates */
    rig_close(&r);
}

static void nothing_delivered_is_an_error_not_a_score(void **state)
{
    (void)state;
    static const char *const names[] = {"taylor-so", "obd", "taylor-so-gn", "obd-gn", "taylor-logits"};
    struct prune_score_input in = {.units = &THREE};
    for (size_t i = 0; i < 5; i++) {
        struct prune_scored item = {.criterion = prune_criterion_find(names[i])};
        assert_int_equal(prune_scored_init(&item, 1, &in, &st), PRUNE_OK);
        item.criterion->accumulate(item.state, &in, &(struct prune_signals){.images = 3});
        assert_int_equal(prune_scored_finish(&item, 1, &in, &st), PRUNE_FAILED);
        assert_non_null(strstr(st.message, "delivered: no image was scored"));
        prune_scored_free(&item, 1);
    }
}

static void sites_move_with_the_choice(void **state)
{
    (void)state;
    static const struct { const char *name; enum prune_gate_choice gate; enum prune_gate_place first, second; } cases[] = {
        {"after-bn", PRUNE_GATE_AFTER_BN, PRUNE_GATE_BEFORE_ACTIVATION, PRUNE_GATE_AFTER_OUTPUT},
        {"before-bn", PRUNE_GATE_BEFORE_BN, PRUNE_GATE_BEFORE_NORM, PRUNE_GATE_AFTER_OUTPUT},
        {"after-activation", PRUNE_GATE_AFTER_ACTIVATION, PRUNE_GATE_AFTER_OUTPUT, PRUNE_GATE_AFTER_OUTPUT}};
    for (size_t i = 0; i < 3; i++) {
        enum prune_gate_choice gate = PRUNE_GATE_ANY;
        struct prune_gate_site *sites;
        size_t count;
        assert_true(prune_gate_choice_parse(cases[i].name, &gate));
        assert_int_equal(gate, cases[i].gate);
        assert_int_equal(prune_gate_sites(&THREE, gate, &sites, &count, &st), PRUNE_OK);
        assert_int_equal(count, UNITS);
        assert_int_equal(sites[0].place, cases[i].first);
        assert_int_equal(sites[1].place, cases[i].second);
        assert_int_equal(sites[2].unit, 2);
        free(sites);
    }
    enum prune_gate_choice gate = PRUNE_GATE_ANY;
    assert_false(prune_gate_choice_parse("after", &gate));
    assert_int_equal(gate, PRUNE_GATE_ANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_signals_share_one_pass), cmocka_unit_test(criteria_without_images_need_no_host),
        cmocka_unit_test(criteria_get_their_gates_where_they_are_defined), cmocka_unit_test(one_gate_at_a_time_gives_the_second_derivative),
        cmocka_unit_test(all_gates_at_once_give_the_row), cmocka_unit_test(products_take_the_place_of_differences),
        cmocka_unit_test(differences_where_the_network_has_no_products_or_a_step_is_given), cmocka_unit_test(hutchinson_shares_its_passes_and_averages_over_signs),
        cmocka_unit_test(hutchinson_comes_to_the_diagonal_with_many_probes_and_depends_on_the_seed_alone), cmocka_unit_test(shut_gates_stay_shut_and_score_nothing),
        cmocka_unit_test(gauss_newton_averages_squares_of_probes), cmocka_unit_test(logits_are_expanded_and_the_loss_is_exact),
        cmocka_unit_test(far_margins_neither_overflow_nor_vanish), cmocka_unit_test(steps_are_the_users_or_the_estimators_own),
        cmocka_unit_test(more_images_continue_the_sums), cmocka_unit_test(a_host_that_lacks_something_or_fails_is_told_and_facts_stay),
        cmocka_unit_test(nothing_delivered_is_an_error_not_a_score), cmocka_unit_test(sites_move_with_the_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
