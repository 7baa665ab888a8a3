/* Pruning curves against a host whose loss is a formula of the gates: orders, rows and ends are known in advance. */
#include <math.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/run/curve_file.h"
#include "net_text.h"
#include "temp_folder.h"

enum { MAX_UNITS = 64, IMAGES = 4 };

struct prune_host_net { float z[MAX_UNITS]; size_t units; bool recalibrated; uint64_t seed; };

/* E(z) = 8 + sum_u damage[u] (1 - z_u) + sum_u pair[u] (1 - z_u) (1 - z_{u + 1}), so that what a unit is worth depends on what is gone. */
static struct { double damage[MAX_UNITS], pair[MAX_UNITS]; size_t opened, closed, passes, evaluations, interrupt_at, asked; } fake;

static double fake_loss(const float *z, size_t units)
{
    double e = 8;
    for (size_t u = 0; u < units; u++) e += fake.damage[u] * (1 - (double)z[u]) + (u + 1 < units ? fake.pair[u] * (1 - (double)z[u]) * (1 - (double)z[u + 1]) : 0);
    return e;
}

static double fake_slope(const float *z, size_t units, size_t u)
{
    double g = -fake.damage[u];
    if (u + 1 < units) g -= fake.pair[u] * (1 - (double)z[u + 1]);
    if (u) g -= fake.pair[u - 1] * (1 - (double)z[u - 1]);
    return g;
}

static enum prune_code fake_open(void *context, const char *cfg, const char *weights, const struct prune_open_options *o, struct prune_host_net **out, struct prune_status *st)
{
    (void)context, (void)cfg, (void)weights, (void)st;
    *out = calloc(1, sizeof **out);
    (*out)->seed = o->seed;
    fake.opened++;
    return PRUNE_OK;
}

static void fake_close(struct prune_host_net *net)
{
    fake.closed += net != NULL;
    free(net);
}

static void fake_facts(const struct prune_host_net *net, struct prune_net_facts *out)
{
    (void)net;
    *out = (struct prune_net_facts){.w = 8, .h = 8, .c = 3, .classes = 5, .batch = IMAGES, .subdivisions = 1};
}

static enum prune_code fake_attach(struct prune_host_net *net, const struct prune_gate_site *sites, size_t n, size_t units, struct prune_status *st)
{
    (void)sites, (void)n, (void)st;
    assert_true(units <= MAX_UNITS);
    net->units = units;
    for (size_t u = 0; u < units; u++) net->z[u] = 1;
    return PRUNE_OK;
}

static enum prune_code fake_set(struct prune_host_net *net, const float *z, size_t units, struct prune_status *st)
{
    (void)st;
    assert_int_equal(units, net->units);
    memcpy(net->z, z, units * sizeof *z);
    return PRUNE_OK;
}

static enum prune_code fake_score(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st)
{
    double g[MAX_UNITS];
    (void)set, (void)o;
    assert_false(net->recalibrated);     /* scores are of the user's network */
    for (size_t u = 0; u < net->units; u++) g[u] = fake_slope(net->z, net->units, u);
    struct prune_signals s = {.images = IMAGES, .units = net->units, .loss = fake_loss(net->z, net->units),
                              .gate_batch = {.data = g, .type = PRUNE_F64, .rank = 1, .shape = {net->units}, .strides = {1}}};
    fake.passes++;
    return sink(user, &s, st);
}

static enum prune_code fake_perturb(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_candidates *c, bool gradients, prune_perturb_sink sink, void *user,
                                    struct prune_status *st)
{
    double base[1] = {fake_loss(net->z, net->units)};
    float loss[MAX_UNITS], z[MAX_UNITS];
    (void)set;
    assert_false(gradients);
    for (size_t k = 0; k < c->count; k++) {
        memcpy(z, net->z, sizeof z);
        for (size_t i = c->first[k]; i < c->first[k + 1]; i++) z[c->units[i]] = c->z[k];
        loss[k] = (float)fake_loss(z, net->units);
    }
    const struct prune_perturbed piece = {.images = 1, .base = base, .loss = loss};
    return sink(user, &piece, st);
}

static enum prune_code fake_evaluate(struct prune_host_net *net, const struct prune_image_set *set, struct prune_evaluation *out, struct prune_status *st)
{
    (void)st;
    double loss = fake_loss(net->z, net->units) + (set->role == PRUNE_DATA_VALID ? 1000 : 0) - (net->recalibrated ? 0.25 : 0);
    *out = (struct prune_evaluation){.images = IMAGES, .loss = loss, .top1 = 1 / loss, .top5 = NAN, .map50 = NAN, .map = NAN};
    fake.evaluations++;
    return PRUNE_OK;
}

static enum prune_code fake_recalibrate(struct prune_host_net *net, const struct prune_image_set *set, size_t images, struct prune_status *st)
{
    (void)st;
    assert_int_equal(set->role, PRUNE_DATA_TRAIN);
    assert_int_equal(images, 32);
    net->recalibrated = true;
    return PRUNE_OK;
}

static const struct prune_host HOST = {.version = PRUNE_HOST_VERSION, .size = sizeof(struct prune_host), .capabilities = PRUNE_SIGNALS | PRUNE_CAN_PERTURB, .name = "fake",
                                       .open = fake_open, .close = fake_close, .facts = fake_facts, .gates_attach = fake_attach, .gates_set = fake_set, .score = fake_score,
                                       .perturb = fake_perturb, .evaluate = fake_evaluate, .recalibrate = fake_recalibrate};

/* A network of 6 + 8 units that may go and 5 that may not, and a set of curves on it. */
struct rig {
    struct text_net t;
    struct prune_curve_setup s;
    struct prune_curve_lab lab;
    struct prune_curves set;
    struct prune_mask_origin origin;
    struct prune_status st;
};
static const double LOSSES[] = {9, 1e9};

static void start(struct rig *r)
{
    memset(r, 0, sizeof *r);
    memset(&fake, 0, sizeof fake);
    text_open(&r->t, NET CONV(6) CONV(8) HEAD);
    for (size_t u = 0; u < r->t.units.count; u++) fake.damage[u] = (double)((u * 7) % 19) / 16 + 0.0625;    /* all different, exact in float */
    r->s = (struct prune_curve_setup){.host = &HOST, .cfg = "net.cfg", .weights_path = "net.weights", .input = {.net = &r->t.net, .units = &r->t.units, .norm = 2},
                                      .eval = {.role = PRUNE_DATA_VALID}, .eval_every = 1, .until_loss = NAN,
                                      .select = {.open_ended = true, .remain = 1, .min_keep = 1, .multiple = 1, .max_new = 1}};
    r->lab.setup = &r->s;
    r->origin = (struct prune_mask_origin){.cfg_path = "net.cfg", .cfg_hash = "xxh64:1", .weights_path = "net.weights", .weights_hash = "xxh64:2"};
    r->set = (struct prune_curves){.settings = strdup("as they are"), .data = "a.data", .origin = &r->origin, .loss_at = LOSSES, .loss_at_count = 2, .accuracy = "top-1"};
}

static void stop(struct rig *r)
{
    prune_curve_lab_close(&r->lab);
    assert_int_equal(fake.opened, fake.closed);
    prune_curves_free(&r->set);
    text_close(&r->t);
}

static struct prune_curve *curve(struct rig *r, const char *criterion, bool recomputed)
{
    struct prune_curve *c = prune_curves_add(&r->set, criterion, recomputed, 1);
    assert_non_null(c);
    return c;
}

static struct prune_curve *whole(struct rig *r, const char *criterion, bool recomputed)
{
    struct prune_curve *c = curve(r, criterion, recomputed);
    if (prune_curve_extend(&r->lab, c, NULL, NULL, &r->st)) fail_msg("%s", r->st.message);
    assert_true(c->done);
    return c;
}

static void mask_of(const struct rig *r, const struct prune_curve *c, size_t row, uint8_t *removed, float *z)
{
    memset(removed, 0, MAX_UNITS);
    for (size_t i = 0; i < c->rows[row].removed; i++) removed[c->order[i]] = 1;
    for (size_t u = 0; u < r->t.units.count; u++) z[u] = removed[u] ? 0.0f : 1.0f;
}

/* Every row is what the formula and the cost model say of its mask, and no layer is emptied. */
static void check_rows(const struct rig *r, const struct prune_curve *c, int min_keep)
{
    uint8_t removed[MAX_UNITS];
    float z[MAX_UNITS];
    for (size_t k = 0; k < c->count; k++) {
        struct prune_cost cost;
        mask_of(r, c, k, removed, z);
        prune_units_cost(&r->t.net, &r->t.units, removed, &cost);
        assert_int_equal(c->rows[k].step, k);
        assert_memory_equal(&c->rows[k].cost, &cost, sizeof cost);
        assert_true(fabs(c->rows[k].values[PRUNE_CURVE_LOSS] - fake_loss(z, r->t.units.count)) < 1e-12);
        for (int layer = 0; layer < 2; layer++) {
            int kept = 0;
            for (int channel = 0; channel < r->t.net.layers[layer].out_c; channel++) kept += !removed[unit_of(&r->t, layer, channel)];
            assert_true(kept >= min_keep);
        }
    }
}

/* The unit that must go next by the rule `worth`, told from the formula. */
static int expected_next(const struct rig *r, const uint8_t *removed, int min_keep, double (*worth)(const float *z, size_t units, size_t u))
{
    float z[MAX_UNITS];
    int best = -1;
    for (size_t u = 0; u < r->t.units.count; u++) z[u] = removed[u] ? 0.0f : 1.0f;
    for (int layer = 0; layer < 2; layer++) {
        int kept = 0, n = r->t.net.layers[layer].out_c;
        for (int channel = 0; channel < n; channel++) kept += !removed[unit_of(&r->t, layer, channel)];
        for (int channel = 0; channel < n && kept > min_keep; channel++) {
            int u = unit_of(&r->t, layer, channel);
            if (!removed[u] && (best < 0 || worth(z, r->t.units.count, (size_t)u) < worth(z, r->t.units.count, (size_t)best))) best = u;
        }
    }
    return best;
}

static double slope_squared(const float *z, size_t units, size_t u) { return fake_slope(z, units, u) * fake_slope(z, units, u); }

static double change(const float *z, size_t units, size_t u)
{
    float without[MAX_UNITS];
    memcpy(without, z, units * sizeof *z);
    without[u] = 0;
    return fake_loss(without, units) - fake_loss(z, units);
}

static double change_squared(const float *z, size_t units, size_t u) { return change(z, units, u) * change(z, units, u); }

static void check_order(const struct rig *r, const struct prune_curve *c, int min_keep, bool recomputed, double (*worth)(const float *z, size_t units, size_t u))
{
    uint8_t removed[MAX_UNITS] = {0};
    float open[MAX_UNITS];
    for (int u = 0; u < MAX_UNITS; u++) open[u] = 1;
    for (size_t i = 0; i < c->removed; i++) {
        int u = expected_next(r, removed, min_keep, worth);
        if (recomputed) assert_int_equal(c->order[i], u);
        else if (i) assert_true(worth(open, r->t.units.count, (size_t)c->order[i - 1]) <= worth(open, r->t.units.count, (size_t)c->order[i]));
        removed[c->order[i]] = 1;
    }
    assert_int_equal(expected_next(r, removed, min_keep, worth), -1);
}

static void a_fixed_order_is_the_order_of_the_scores_and_no_layer_is_emptied(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    const struct prune_curve *c = whole(&r, "taylor-fo", false);
    assert_int_equal(c->count, 13);              /* 14 units may go, one of each layer stays: 12 steps */
    assert_int_equal(c->removed, 12);
    check_rows(&r, c, 1);
    check_order(&r, c, 1, false, slope_squared);
    assert_int_equal(fake.passes, 1);
    stop(&r);
}

static void recomputed_scores_follow_what_is_gone(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    for (size_t u = 0; u + 1 < r.t.units.count; u++) fake.pair[u] = u % 3 == 0 ? 4 : 0.03125;
    r.s.select.min_keep = 2;
    const struct prune_curve *fixed = whole(&r, "taylor-fo", false);
    int first[MAX_UNITS];
    memcpy(first, fixed->order, fixed->removed * sizeof *first);
    size_t n = fixed->removed;
    const struct prune_curve *c = whole(&r, "taylor-fo", true);
    assert_int_equal(c->removed, n);
    assert_memory_not_equal(c->order, first, n * sizeof *first);
    check_rows(&r, c, 2);
    check_order(&r, c, 2, true, slope_squared);
    assert_int_equal(fake.evaluations, n);       /* the fixed curve's rows but the first: a scoring pass knows its own loss */
    stop(&r);
}

static void the_oracle_recomputed_is_greedy_and_the_signed_one_takes_what_lowers_the_loss(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    for (size_t u = 0; u + 1 < r.t.units.count; u++) fake.pair[u] = u % 2 ? 0.5 : -0.75;
    fake.damage[3] = -2;
    check_order(&r, whole(&r, "oracle", true), 1, true, change_squared);
    check_order(&r, whole(&r, "oracle", false), 1, false, change_squared);
    const struct prune_curve *c = whole(&r, "oracle-loss", true);
    check_order(&r, c, 1, true, change);
    assert_int_equal(c->order[0], 3);
    check_rows(&r, c, 1);
    stop(&r);
}

static void a_curve_ends_at_its_loss_or_target_and_evaluates_the_last_row(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    r.s.evaluates = true;
    r.s.eval_every = 4;
    r.s.until_loss = 10;
    const struct prune_curve *c = whole(&r, "taylor-fo", true);
    const struct prune_curve_row *last = &c->rows[c->count - 1];
    assert_true(last->values[PRUNE_CURVE_LOSS] >= 10 && c->rows[c->count - 2].values[PRUNE_CURVE_LOSS] < 10);
    assert_true((c->count - 1) % 4 != 0);        /* or the last row would be evaluated anyway */
    for (size_t k = 0; k < c->count; k++) {
        bool due = k % 4 == 0 || k + 1 == c->count;
        assert_int_equal(!isnan(c->rows[k].values[PRUNE_CURVE_EVAL_LOSS]), due);
        if (due) assert_true(fabs(c->rows[k].values[PRUNE_CURVE_EVAL_LOSS] - c->rows[k].values[PRUNE_CURVE_LOSS] - 1000) < 1e-9);
        if (due) assert_true(fabs(c->rows[k].values[PRUNE_CURVE_ACCURACY] * c->rows[k].values[PRUNE_CURVE_EVAL_LOSS] - 1) < 1e-12);
        assert_true(isnan(c->rows[k].values[PRUNE_CURVE_RECAL_LOSS]));
    }
    assert_true(prune_curve_reaches(c, PRUNE_CURVE_LOSS, 10) == (double)last->removed);
    assert_true(prune_curve_reaches(c, PRUNE_CURVE_LOSS, 8) == 0);
    assert_true(isnan(prune_curve_reaches(c, PRUNE_CURVE_LOSS, 1e9)));
    r.s.until_loss = NAN;
    r.s.select.open_ended = false;
    r.s.select.target = PRUNE_TARGET_MACS;
    r.s.select.remain = 0.5;
    r.s.select.max_new = 3;
    c = whole(&r, "random", false);
    assert_true(c->rows[c->count - 1].cost.macs <= c->rows[0].cost.macs / 2);
    assert_true(c->rows[c->count - 2].cost.macs > c->rows[0].cost.macs / 2);
    assert_int_equal(c->rows[1].removed, 3);
    stop(&r);
}

static void recalibrated_statistics_do_not_stay(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    r.s.evaluates = true;
    r.s.eval_every = 3;
    r.s.recalibrate = 32;
    const struct prune_curve *c = whole(&r, "taylor-fo", true);
    check_rows(&r, c, 1);                        /* no row is of a recalibrated network; the host checks it of the scores */
    for (size_t k = 0; k < c->count; k += 3) {
        const double *v = c->rows[k].values;
        assert_true(fabs(v[PRUNE_CURVE_LOSS] - v[PRUNE_CURVE_RECAL_LOSS] - 0.25) < 1e-9);
        assert_true(fabs(v[PRUNE_CURVE_EVAL_LOSS] - v[PRUNE_CURVE_RECAL_EVAL_LOSS] - 0.25) < 1e-9);
        assert_true(v[PRUNE_CURVE_RECAL_ACCURACY] > v[PRUNE_CURVE_ACCURACY]);
    }
    assert_int_equal(fake.opened, 5);            /* rows 0, 3, 6, 9 and 12 */
    stop(&r);
}

static enum prune_code interrupt(void *user, const struct prune_curve *c, struct prune_status *st)
{
    (void)user, (void)c;
    if (++fake.asked != fake.interrupt_at) return PRUNE_OK;
    prune_fail(st, "interrupted");
    return PRUNE_INTERRUPTED;
}

static char *bytes_of(const char *name, size_t *size)
{
    char path[128], *bytes = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(prune_read_file(path, &bytes, size, NULL), PRUNE_OK);
    return bytes;
}

static void assert_same(const char *a, const char *b)
{
    size_t n, m;
    char *x = bytes_of(a, &n), *y = bytes_of(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void write_all(const struct prune_curves *set, const char *base)
{
    char path[128];
    struct prune_status st = {0};
    snprintf(path, sizeof path, "%s/%s.json", folder, base);
    if (prune_curves_write_json(set, path, &st)) fail_msg("%s", st.message);
    snprintf(path, sizeof path, "%s/%s.csv", folder, base);
    if (prune_curves_write_csv(set, path, &st)) fail_msg("%s", st.message);
    snprintf(path, sizeof path, "%s/%s.svg", folder, base);
    if (prune_curves_write_svg(set, path, &st)) fail_msg("%s", st.message);
}

static enum prune_code read_back(struct rig *r, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return prune_curves_read(&r->set, path, &r->t.net, &r->t.units, &r->st);
}

static enum prune_code three_curves(struct rig *r)
{
    for (size_t u = 0; u + 1 < r->t.units.count; u++) fake.pair[u] = u % 3 == 0 ? 4 : 0.03125;
    r->s.evaluates = true;
    r->s.eval_every = 2;
    curve(r, "taylor-fo", true);
    curve(r, "oracle", false);
    curve(r, "random", false);
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < 3; i++) rc = prune_curve_extend(&r->lab, &r->set.items[i], interrupt, NULL, &r->st);
    return rc;
}

/* Stopped after each of the rows in turn, and continued by another process from the file. */
static void stopped_and_continued_leaves_the_same_bytes(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    assert_int_equal(three_curves(&r), PRUNE_OK);
    write_all(&r.set, "whole");
    size_t rows = r.set.items[0].count + r.set.items[1].count + r.set.items[2].count;
    stop(&r);
    for (size_t at = 1; at <= rows; at += 4) {
        start(&r);
        fake.interrupt_at = at;
        assert_int_equal(three_curves(&r), PRUNE_INTERRUPTED);
        write_all(&r.set, "part");
        stop(&r);
        start(&r);
        curve(&r, "taylor-fo", true);
        if (read_back(&r, "part.json")) fail_msg("%s", r.st.message);
        assert_int_equal(three_curves(&r), PRUNE_OK);
        assert_int_equal(fake.asked, rows - at); /* nothing is measured twice */
        write_all(&r.set, "again");
        stop(&r);
        assert_same("whole.json", "again.json");
        assert_same("whole.csv", "again.csv");
        assert_same("whole.svg", "again.svg");
    }
}

/* The file with the first `from` replaced by `to`. */
static void spoil(const char *from, const char *to)
{
    size_t size;
    char *text = bytes_of("whole.json", &size), *at = strstr(text, from), path[128];
    assert_non_null(at);
    char *spoilt = prune_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    snprintf(path, sizeof path, "%s/spoilt.json", folder);
    assert_int_equal(prune_write_file(path, spoilt, strlen(spoilt), NULL), PRUNE_OK);
    free(spoilt);
    free(text);
}

static void files_of_something_else_are_refused(void **state)
{
    (void)state;
    static const struct { const char *from, *to, *says; } CASES[] = {
        {"darknet-prune-curve", "darknet-prune-scores", "not a file of curves"},
        {"\"version\": 1", "\"version\": 2", "version"},
        {"xxh64:1", "xxh64:3", "another cfg"},
        {"xxh64:2", "xxh64:3", "other weights"},
        {"as they are", "otherwise", "it was made with 'otherwise', and this is 'as they are'"},
        {"taylor-fo", "tailor", "no known 'criterion'"},
        {"\"order\": [", "\"order\": [18, ", "cannot go"},
        {"\"order\": [", "\"order\": [99, ", "cannot go"},
        {"\"order\": [", "\"order\": [-1, ", "cannot go"},
        {"\"order\": [", "\"order\": [0.5, ", "cannot go"},
        {"\"curve\": 0", "\"curve\": 7", "of no curve"},
        {"\"step\": 0", "\"step\": 1", "not in order"},
        {"\"step\": 0, \"removed\": 0", "\"step\": 0, \"removed\": 1000", "not in order"},
        {"\"eval_loss\"", "\"evil_loss\"", "not whole"},
        {"{", "[", "not JSON"},
    };
    struct rig r;
    start(&r);
    assert_int_equal(three_curves(&r), PRUNE_OK);
    write_all(&r.set, "whole");
    stop(&r);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        start(&r);
        spoil(CASES[i].from, CASES[i].to);
        assert_int_equal(read_back(&r, "spoilt.json"), PRUNE_FAILED);
        if (!strstr(r.st.message, CASES[i].says)) fail_msg("'%s' is not in: %s", CASES[i].says, r.st.message);
        if (!strstr(r.st.message, "name another -out")) fail_msg("no remedy: %s", r.st.message);
        stop(&r);
    }
}

static void units_of_several_layers_can_be_left_alone(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(6) CONV(4) CONV(6) SHORTCUT(-3) HEAD);
    prune_units_protect_spanning(&t.units);
    assert_string_equal(reason_of(&t, 1, 0), "");
    for (int c = 0; c < 6; c++) assert_non_null(strstr(reason_of(&t, 0, c), "-no-spanning"));
    assert_non_null(strstr(reason_of(&t, 4, 0), "softmax"));     /* who is protected anyway keeps its reason */
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fixed_order_is_the_order_of_the_scores_and_no_layer_is_emptied),
        cmocka_unit_test(recomputed_scores_follow_what_is_gone),
        cmocka_unit_test(the_oracle_recomputed_is_greedy_and_the_signed_one_takes_what_lowers_the_loss),
        cmocka_unit_test(a_curve_ends_at_its_loss_or_target_and_evaluates_the_last_row),
        cmocka_unit_test(recalibrated_statistics_do_not_stay),
        cmocka_unit_test(stopped_and_continued_leaves_the_same_bytes),
        cmocka_unit_test(files_of_something_else_are_refused),
        cmocka_unit_test(units_of_several_layers_can_be_left_alone),
    };
    return cmocka_run_group_tests_name("curve", tests, make_folder, remove_folder);
}
