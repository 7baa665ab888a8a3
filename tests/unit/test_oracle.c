/* The oracles on a host whose loss is a formula: image b has loss w_b times a cost of the set of units that are shut, so every loss, every step of the greedy
 * oracle and every best subset is known; stopping after any piece and continuing from the state file changes no bit; state files that do not fit, or are damaged, are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/base/state_file.h"
#include "../../plugin/score/oracle_state.h"
#include "temp_folder.h"

enum { UNITS = 5, IMAGES = 7, PIECE = 3 };

/* Alone each unit costs ALONE. Units 1 and 2 stand in for each other's absence: without both the network is as with 1 gone. 3 and 4 both gone: dearer. */
static const double ALONE[UNITS] = {1, 1.5, 1.75, 2, 4}, WEIGHT[IMAGES] = {1, 0.5, 2, 1.25, 0.1, 3, 0.75}, BASE = 0.25;

static struct prune_status st;

static double cost(const float *z)
{
    double sum = 0;
    for (int u = 0; u < UNITS; u++) sum += z[u] == 0 ? ALONE[u] : 0;
    if (z[1] == 0 && z[2] == 0) sum -= 1.75;
    if (z[3] == 0 && z[4] == 0) sum += 3;
    return BASE + sum;
}

static double mean_weight(void)
{
    double sum = 0;
    for (int b = 0; b < IMAGES; b++) sum += WEIGHT[b];
    return sum / IMAGES;
}

struct fake { float z[UNITS]; size_t calls, pieces, stop_after; bool broken; };
static struct fake *fake_of(struct prune_host_net *net) { return (struct fake *)(void *)net; }

static enum prune_code fake_attach(struct prune_host_net *net, const struct prune_gate_site *sites, size_t count, size_t units, struct prune_status *s)
{
    (void)sites, (void)s;
    assert_true(count == UNITS && units == UNITS);
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

static void one_piece(struct fake *f, const struct prune_candidates *c, size_t first, size_t n, double *base, float *loss)
{
    for (size_t b = 0; b < n; b++) base[b] = WEIGHT[first + b] * cost(f->z);
    for (size_t k = 0; k < c->count; k++) {
        float z[UNITS];
        memcpy(z, f->z, sizeof z);
        for (size_t i = c->first[k]; i < c->first[k + 1]; i++) z[c->units[i]] = c->z[k];
        for (size_t b = 0; b < n; b++) loss[k * n + b] = f->broken && k == 1 ? NAN : (float)(WEIGHT[first + b] * cost(z));
    }
}

static enum prune_code fake_perturb(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_candidates *c, bool gradients, prune_perturb_sink sink,
                                    void *user, struct prune_status *s)
{
    struct fake *f = fake_of(net);
    size_t end = set->first + set->limit;
    assert_true(!gradients && end == IMAGES && c->count <= 1 << UNITS);
    f->calls++;
    for (size_t at = set->first, n; at < end; at += n) {
        double base[PIECE];
        float loss[PIECE << UNITS];
        n = end - at < PIECE ? end - at : PIECE;
        one_piece(f, c, at, n, base, loss);
        f->pieces++;
        enum prune_code rc = sink(user, &(struct prune_perturbed){at - set->first, n, base, loss, NULL}, s);
        if (rc) return rc;
    }
    return PRUNE_OK;
}

static bool fake_interrupted(void *context)
{
    const struct fake *f = context;
    return f->stop_after && f->pieces >= f->stop_after;
}

static struct prune_channel MEMBERS[] = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}};
static struct prune_gate_site SITES[] = {{0, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION}, {0, 1, 1, PRUNE_GATE_BEFORE_ACTIVATION}, {0, 2, 2, PRUNE_GATE_BEFORE_ACTIVATION},
                                         {1, 0, 3, PRUNE_GATE_BEFORE_ACTIVATION}, {1, 1, 4, PRUNE_GATE_BEFORE_ACTIVATION}};
static struct prune_unit ITEMS[] = {{0, 1, 0, 1, NULL}, {1, 1, 1, 1, NULL}, {2, 1, 2, 1, NULL}, {3, 1, 3, 1, NULL}, {4, 1, 4, 1, NULL}};
static const struct prune_units FIVE = {.items = ITEMS, .count = UNITS, .members = MEMBERS, .member_count = UNITS, .sites = SITES, .site_count = UNITS};
static const int ALL[UNITS] = {0, 1, 2, 3, 4};

struct rig { struct fake fake; struct prune_host host; struct prune_scoring s; };

static void rig_open(struct rig *r)
{
    *r = (struct rig){.host = {.version = PRUNE_HOST_VERSION, .size = sizeof r->host, .capabilities = PRUNE_CAN_PERTURB, .name = "fake", .gates_attach = fake_attach,
                               .gates_set = fake_set, .perturb = fake_perturb, .interrupted = fake_interrupted}};
    r->host.context = &r->fake;
    r->s = (struct prune_scoring){.host = &r->host, .host_net = (struct prune_host_net *)(void *)&r->fake, .input = {.units = &FIVE}, .set = {.limit = IMAGES}};
}

static void ok(enum prune_code rc)
{
    if (rc) fail_msg("%s", st.message);
}

static void near(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-6 * fabs(wanted))) fail_msg("%.12g, expected %.12g", got, wanted);   /* losses of candidates are floats */
}

static void a_unit_scores_the_square_of_what_its_removal_changes(void **state)
{
    (void)state;
    struct rig r;
    struct prune_oracle o;
    static const int units[] = {4, 1};
    rig_open(&r);
    ok(prune_oracle_init(&o, 2, &st));
    assert_true(isnan(prune_oracle_change(&o, 0)));
    ok(prune_oracle_units(&o, &r.s, units, 2, NULL, NULL, &st));
    assert_int_equal(o.images, IMAGES);
    near(o.base / IMAGES, BASE * mean_weight());
    near(prune_oracle_change(&o, 0), 4 * mean_weight());
    near(prune_oracle_score(&o, 1), pow(1.5 * mean_weight(), 2));
    prune_oracle_free(&o);
}

static void gates_in_force_stay_shut(void **state)
{
    (void)state;
    struct rig r;
    struct prune_oracle o;
    static const int unit = 2;
    static const float z[UNITS] = {1, 0, 1, 1, 1};
    rig_open(&r);
    r.s.z = z;
    ok(prune_oracle_init(&o, 1, &st));
    ok(prune_oracle_units(&o, &r.s, &unit, 1, NULL, NULL, &st));
    near(o.base / IMAGES, (BASE + 1.5) * mean_weight());
    assert_true(fabs(prune_oracle_change(&o, 0)) < 1e-6);   /* 1 is gone: without 2 nothing changes */
    prune_oracle_free(&o);
}

/* Greedy: 0 (cost 1), then 1 (1.5), then 2, which is free by now, then 3, then 4. */
static void the_greedy_oracle_measures_again_after_every_removal(void **state)
{
    (void)state;
    struct rig r;
    struct prune_greedy g;
    static const int order[] = {0, 1, 2, 3, 4};
    static const double costs[] = {1, 2.5, 2.5, 4.5, 11.5};
    rig_open(&r);
    ok(prune_greedy_init(&g, (const int[]){4, 3, 2, 1, 0}, UNITS, UNITS, &st));
    ok(prune_greedy_run(&g, &r.s, NULL, NULL, &st));
    assert_int_equal(g.count, UNITS);
    near(g.base, BASE * mean_weight());
    for (int i = 0; i < UNITS; i++) {
        assert_int_equal(g.removed[i], order[i]);
        near(g.loss[i], (BASE + costs[i]) * mean_weight());
    }
    prune_greedy_free(&g);
    assert_int_equal(prune_greedy_init(&g, ALL, UNITS, UNITS + 1, &st), PRUNE_FAILED);
}

/* Of two units the best pair is {1, 2} at 1.5, which greed does not find (2.5). */
static void the_combinatorial_oracle_finds_the_best_subset_of_every_size(void **state)
{
    (void)state;
    struct rig r;
    struct prune_oracle o;
    struct prune_subset_size sizes[UNITS + 1];
    static const uint32_t best[] = {0, 1, 2 | 4, 1 | 2 | 4, 1 | 2 | 4 | 8, 31};
    static const double least[] = {0, 1, 1.5, 2.5, 4.5, 11.5}, most[] = {0, 4, 9, 10.75, 11.75, 11.5};
    static const int ways[] = {1, 5, 10, 10, 5, 1};
    rig_open(&r);
    ok(prune_subsets_init(&o, UNITS, &st));
    ok(prune_subsets_run(&o, &r.s, ALL, UNITS, NULL, NULL, &st));
    prune_subsets_result(&o, UNITS, sizes);
    for (int k = 0; k <= UNITS; k++) {
        assert_int_equal(sizes[k].subsets, ways[k]);
        assert_int_equal(sizes[k].best, best[k]);
        near(sizes[k].least, (BASE + least[k]) * mean_weight());
        near(sizes[k].most, (BASE + most[k]) * mean_weight());
    }
    /* of two: every unit is in 4 of 10 pairs; the pairs {1,2} and {3,4} once */
    near(sizes[2].mean, (BASE + (4 * 10.25 - 1.75 + 3) / 10) * mean_weight());
    prune_oracle_free(&o);
    assert_int_equal(prune_subsets_init(&o, PRUNE_SUBSET_UNITS + 1, &st), PRUNE_FAILED);
}

struct stopping { const char *path; struct prune_oracle *o; struct prune_greedy *g; size_t left; };

static enum prune_code save_and_stop(void *user, const struct prune_oracle *so_far, struct prune_status *s)
{
    struct stopping *x = user;
    if (--x->left) return PRUNE_OK;
    enum prune_code rc = prune_oracle_state_write(x->path, "made up", so_far, x->g, s);
    return rc ? rc : PRUNE_INTERRUPTED;
}

/* Stopped after every piece in turn: the numbers are those of one go, to the bit. */
static void stopped_and_continued_is_one_go(void **state)
{
    (void)state;
    struct rig r;
    struct prune_oracle whole, o;
    char path[128];
    snprintf(path, sizeof path, "%s/a.state", folder);
    rig_open(&r);
    ok(prune_oracle_init(&whole, UNITS, &st));
    ok(prune_oracle_units(&whole, &r.s, ALL, UNITS, NULL, NULL, &st));
    for (size_t after = 1; after <= 3; after++) {
        struct stopping stop = {.path = path, .left = after};
        ok(prune_oracle_init(&o, UNITS, &st));
        assert_int_equal(prune_oracle_units(&o, &r.s, ALL, UNITS, save_and_stop, &stop, &st), PRUNE_INTERRUPTED);
        prune_oracle_free(&o);
        ok(prune_oracle_init(&o, UNITS, &st));
        ok(prune_oracle_state_read(path, "made up", &o, NULL, &st));
        assert_int_equal(o.images, after * PIECE < IMAGES ? after * PIECE : IMAGES);
        ok(prune_oracle_units(&o, &r.s, ALL, UNITS, NULL, NULL, &st));
        assert_int_equal(o.images, IMAGES);
        assert_memory_equal(&o.base, &whole.base, sizeof o.base);
        assert_memory_equal(o.loss, whole.loss, UNITS * sizeof *o.loss);
        prune_oracle_free(&o);
    }
    prune_oracle_free(&whole);
}

static void a_greedy_run_continues_in_the_middle_of_a_step(void **state)
{
    (void)state;
    struct rig r;
    struct prune_greedy whole, g;
    char path[128];
    snprintf(path, sizeof path, "%s/g.state", folder);
    rig_open(&r);
    ok(prune_greedy_init(&whole, ALL, UNITS, 3, &st));
    ok(prune_greedy_run(&whole, &r.s, NULL, NULL, &st));
    for (size_t after = 1; after <= 9; after++) {
        ok(prune_greedy_init(&g, ALL, UNITS, 3, &st));
        struct stopping stop = {.path = path, .g = &g, .left = after};
        assert_int_equal(prune_greedy_run(&g, &r.s, save_and_stop, &stop, &st), PRUNE_INTERRUPTED);
        prune_greedy_free(&g);
        ok(prune_greedy_init(&g, ALL, UNITS, 3, &st));
        ok(prune_oracle_state_read(path, "made up", NULL, &g, &st));
        assert_int_equal(g.count, (after - 1) / 3);
        ok(prune_greedy_run(&g, &r.s, NULL, NULL, &st));
        assert_memory_equal(g.removed, whole.removed, 3 * sizeof *g.removed);
        assert_memory_equal(g.loss, whole.loss, 3 * sizeof *g.loss);
        assert_memory_equal(&g.base, &whole.base, sizeof g.base);
        prune_greedy_free(&g);
    }
    prune_greedy_free(&whole);
}

static void ctrl_c_stops_behind_a_piece_and_a_broken_loss_is_an_error(void **state)
{
    (void)state;
    struct rig r;
    struct prune_oracle o;
    rig_open(&r);
    r.fake.stop_after = 2;
    ok(prune_oracle_init(&o, UNITS, &st));
    assert_int_equal(prune_oracle_units(&o, &r.s, ALL, UNITS, NULL, NULL, &st), PRUNE_INTERRUPTED);
    assert_int_equal(o.images, 2 * PIECE);
    prune_oracle_free(&o);
    rig_open(&r);
    r.fake.broken = true;
    ok(prune_oracle_init(&o, UNITS, &st));
    assert_int_equal(prune_oracle_units(&o, &r.s, ALL, UNITS, NULL, NULL, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "candidate 1"));
    assert_int_equal(prune_oracle_units(&o, &r.s, ALL, UNITS - 1, NULL, NULL, &st), PRUNE_FAILED);
    r.host.capabilities = 0;
    assert_int_equal(prune_oracle_units(&o, &r.s, ALL, UNITS, NULL, NULL, &st), PRUNE_FAILED);
    prune_oracle_free(&o);
}

struct forged { const char *facts; double bases[2], steps[2], sums[3]; size_t steps_size, sums_size; };

/* A state of the right hash, into an oracle of two candidates. */
static void refused(const struct forged *x, const char *why)
{
    char path[128], *bytes;
    size_t size;
    struct prune_oracle o;
    const struct prune_state_part parts[] = {{"bases", x->bases, sizeof x->bases}, {"steps", x->steps, x->steps_size}, {"sums", x->sums, x->sums_size}};
    snprintf(path, sizeof path, "%s/bad.state", folder);
    ok(prune_state_encode(x->facts, parts, 3, &bytes, &size, &st));
    ok(prune_write_file(path, bytes, size, &st));
    ok(prune_oracle_init(&o, 2, &st));
    assert_int_equal(prune_oracle_state_read(path, "k", &o, NULL, &st), PRUNE_FAILED);
    if (!strstr(st.message, why)) fail_msg("'%s' does not say '%s'", st.message, why);
    assert_int_equal(o.images, 0);
    bytes[size / 2] ^= 1;
    ok(prune_write_file(path, bytes, size, &st));
    assert_int_equal(prune_oracle_state_read(path, "k", &o, NULL, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "is damaged or cut"));
    prune_oracle_free(&o);
    free(bytes);
}

#define GOOD "kind oracle\nkey k\nimages 1\n"
static void a_state_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct prune_oracle o;
    ok(prune_oracle_init(&o, 2, &st));
    ok(prune_oracle_state_read("/nowhere/at.all", "k", &o, NULL, &st));   /* nothing to continue */
    prune_oracle_free(&o);
    refused(&(struct forged){"kind score\nkey k\nimages 1\n", .sums_size = 16}, "another command");
    refused(&(struct forged){"kind oracle\nkey other\nimages 1\n", .sums_size = 16}, "another command");
    refused(&(struct forged){"kind oracle\nkey k\nimages -1\n", .sums_size = 16}, "a part is missing");
    refused(&(struct forged){GOOD, .bases = {0, NAN}, .sums_size = 16}, "a part is missing");
    refused(&(struct forged){GOOD, .steps_size = 16, .sums_size = 16}, "more steps");
    refused(&(struct forged){GOOD, .sums_size = 24}, "another number of candidates");
    refused(&(struct forged){GOOD, .sums_size = 8}, "another number of candidates");
    refused(&(struct forged){GOOD, .sums = {1, NAN}, .sums_size = 16}, "a sum of losses is not finite");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_scores_the_square_of_what_its_removal_changes), cmocka_unit_test(gates_in_force_stay_shut),
        cmocka_unit_test(the_greedy_oracle_measures_again_after_every_removal), cmocka_unit_test(the_combinatorial_oracle_finds_the_best_subset_of_every_size),
        cmocka_unit_test(stopped_and_continued_is_one_go), cmocka_unit_test(a_greedy_run_continues_in_the_middle_of_a_step),
        cmocka_unit_test(ctrl_c_stops_behind_a_piece_and_a_broken_loss_is_an_error), cmocka_unit_test(a_state_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
