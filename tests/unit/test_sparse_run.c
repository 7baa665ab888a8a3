/* The whole job of fine-grained pruning against a fake host whose training adds noise to every value, and scores by Kronecker factors from made-up signals. */
#include "kfac_rig.h"

#include "../../plugin/run/sparse_run.h"
#include "../../plugin/score/weight_scores.h"
#include "temp_folder.h"

static const char CFG[] = "[net]\nbatch=4\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\nlearning_rate=0.1\n\n"
                          "[convolutional]\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=relu\n\n[connected]\noutput=10\nactivation=linear\n\n[softmax]\n";
enum { B0 = 16, W0 = B0 * 27, B1 = 10, W1 = B1 * 1024, FLOATS = B0 + W0 + B1 + W1, WEIGHTS = W0 + W1, HEADER = 20 };

/* ---- the fake host ---- */

struct prune_host_net { float values[FLOATS]; const uint8_t *keep[2]; uint8_t *held[2]; };

struct fake { size_t steps, starts, stops, resets, holds, interrupt_after; bool lets_zeros_grow; double rates[64]; struct prune_host_net *net; };
static struct fake fake;

static const size_t FIRST[2] = {B0, B0 + W0 + B1}, COUNT[2] = {W0, W1};

static void apply_zeros(struct prune_host_net *n)
{
    for (int l = 0; l < 2 && !fake.lets_zeros_grow; l++)
        for (size_t i = 0; i < COUNT[l] && n->held[l]; i++)
            if (!n->held[l][i]) n->values[FIRST[l] + i] = 0;
}

static enum prune_code fake_open(void *context, const char *cfg, const char *weights, const struct prune_open_options *o, struct prune_host_net **out, struct prune_status *status)
{
    (void)context, (void)cfg, (void)o;
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file(weights, &bytes, &size, status);
    assert_int_equal(size, HEADER + sizeof(float) * FLOATS);
    fake.net = *out = calloc(1, sizeof **out);
    memcpy((*out)->values, bytes + HEADER, sizeof (*out)->values);
    free(bytes);
    return rc;
}

static void fake_close(struct prune_host_net *n)
{
    for (int l = 0; n && l < 2; l++) free(n->held[l]);
    free(n);
}

static void fake_facts(const struct prune_host_net *n, struct prune_net_facts *out)
{
    (void)n;
    *out = (struct prune_net_facts){.batch = 4, .subdivisions = 1, .classes = 10, .learning_rate = 0.1, .momentum = 0.9, .decay = 0.001, .train_images = 40};
}

static enum prune_code fake_start(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *status)
{
    (void)n, (void)set, (void)sink, (void)user, (void)status;
    assert_true(!o || o->signals == 0);
    fake.starts++;
    return PRUNE_OK;
}

static enum prune_code fake_step(struct prune_host_net *n, const struct prune_step_options *o, struct prune_step *out, struct prune_status *status)
{
    (void)status;
    struct prune_random r = prune_random_make(7, 1, fake.steps);
    assert_true(fake.starts == fake.stops + 1);
    for (size_t i = 0; i < FLOATS; i++) n->values[i] += (float)(1e-4 * prune_random_normal(&r));
    apply_zeros(n);
    if (fake.steps < 64) fake.rates[fake.steps] = o->rate;
    *out = (struct prune_step){.loss = 0.5, .images = 4, .iteration = ++fake.steps};
    return PRUNE_OK;
}

static void fake_stop(struct prune_host_net *n)
{
    (void)n;
    fake.stops++;
}

static void fake_reset(struct prune_host_net *n)
{
    (void)n;
    fake.resets++;
}

static enum prune_code fake_hold(struct prune_host_net *n, int layer, const uint8_t *keep, size_t count, struct prune_status *status)
{
    (void)status;
    assert_int_equal(count, COUNT[layer]);
    for (size_t i = 0; i < count && n->held[layer]; i++) assert_true(n->held[layer][i] || !keep[i]);   /* what is gone stays gone */
    if (!n->held[layer]) n->held[layer] = malloc(count);
    memcpy(n->held[layer], keep, count);
    apply_zeros(n);
    fake.holds++;
    return PRUNE_OK;
}

static enum prune_code fake_evaluate(struct prune_host_net *n, const struct prune_image_set *set, struct prune_evaluation *out, struct prune_status *status)
{
    (void)n, (void)set, (void)status;
    *out = (struct prune_evaluation){.images = 10, .loss = 0.1, .top1 = 0.9, .top5 = 1, .map50 = NAN, .map = NAN};
    return PRUNE_OK;
}

static enum prune_code fake_save(struct prune_host_net *n, const char *path, struct prune_status *status)
{
    char *bytes = calloc(1, HEADER + sizeof n->values);
    bytes[4] = 2;   /* version 0.2.0 */
    memcpy(bytes + HEADER, n->values, sizeof n->values);
    enum prune_code rc = prune_write_file(path, bytes, HEADER + sizeof n->values, status);
    free(bytes);
    return rc;
}

static bool fake_interrupted(void *context)
{
    (void)context;
    return fake.interrupt_after && fake.steps >= fake.interrupt_after;
}

static const struct prune_host HOST = {
    .version = PRUNE_HOST_VERSION, .size = sizeof HOST, .capabilities = PRUNE_CAN_TRAIN | PRUNE_CAN_EDIT, .name = "fake", .open = fake_open, .close = fake_close, .facts = fake_facts,
    .train_start = fake_start, .train_step = fake_step, .train_stop = fake_stop, .reset_momentum = fake_reset, .zeros_hold = fake_hold, .evaluate = fake_evaluate,
    .save_weights = fake_save, .interrupted = fake_interrupted};

/* ---- the job ---- */

struct paths { char cfg[96], weights[96], out[96], sparse[128]; };

static int set_up(void **state)
{
    struct paths *p = calloc(1, sizeof *p);
    if (make_folder(NULL)) return -1;
    snprintf(p->cfg, sizeof p->cfg, "%s/net.cfg", folder);
    snprintf(p->weights, sizeof p->weights, "%s/net.weights", folder);
    snprintf(p->out, sizeof p->out, "%s/out", folder);
    snprintf(p->sparse, sizeof p->sparse, "%s/net-sparse.weights", p->out);
    assert_int_equal(prune_write_file(p->cfg, CFG, sizeof CFG - 1, NULL), PRUNE_OK);
    struct prune_host_net n = {0};
    for (size_t i = 0; i < FLOATS; i++) n.values[i] = (float)((i % 2 ? 1 : -1) * (0.1 + (double)((i * 7919) % 10007) / 10007));
    assert_int_equal(fake_save(&n, p->weights, NULL), PRUNE_OK);
    fake = (struct fake){0};
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return remove_folder(NULL);
}

static struct prune_sparse_options options(const struct paths *p)
{
    return (struct prune_sparse_options){.job = {.data = "none.data", .cfg = p->cfg, .weights = p->weights, .out = p->out, .seed = 1}, .criterion = prune_weight_criterion_find("magnitude"), .min_keep = 1,
                                         .remain = 0.1, .remove_per_iteration = 0.5, .batches_per_iteration = 3, .step = {.momentum = NAN, .decay = NAN}};
}

/* Positions of weights that are not 0 in a file: how many, and whether they are among the largest of the file the job began with. */
static size_t count_kept(const char *path, float *smallest_kept, float *largest_gone, const char *original)
{
    struct prune_host_net *now, *then;
    size_t kept = 0;
    assert_int_equal(fake_open(NULL, NULL, path, NULL, &now, NULL), PRUNE_OK);
    assert_int_equal(fake_open(NULL, NULL, original, NULL, &then, NULL), PRUNE_OK);
    *smallest_kept = INFINITY;
    *largest_gone = 0;
    for (int l = 0; l < 2; l++)
        for (size_t i = FIRST[l]; i < FIRST[l] + COUNT[l]; i++) {
            float size = fabsf(then->values[i]);
            bool here = now->values[i] < 0 || now->values[i] > 0;
            kept += here;
            if (here) *smallest_kept = fminf(*smallest_kept, size);
            else *largest_gone = fmaxf(*largest_gone, size);
        }
    for (size_t i = 0; i < B0; i++) assert_true(now->values[i] < 0 || now->values[i] > 0);   /* biases stay */
    fake_close(now);
    fake_close(then);
    return kept;
}

static void the_smallest_weights_go_to_the_weight_and_zeros_stay_through_fine_tuning(void **state)
{
    const struct paths *p = *state;
    struct prune_sparse_options o = options(p);
    cJSON *report = NULL;
    float smallest_kept, largest_gone;
    o.job.finetune = "2";
    enum prune_code rc = prune_sparse_run(&HOST, &o, &report, &st);
    if (rc) print_message("%s\n", st.message);
    assert_int_equal(rc, PRUNE_OK);
    const size_t target = (size_t)llround(0.1 * WEIGHTS);
    assert_int_equal(count_kept(p->sparse, &smallest_kept, &largest_gone, p->weights), target);
    assert_true(largest_gone < smallest_kept + 0.01f);   /* up to the noise of 12 + 20 steps */
    assert_int_equal(fake.steps, 4 * 3 + 20);            /* 0.5^4 < 0.1; two epochs of 40 images */
    assert_true(fake.starts == 2 && fake.resets == 1 && fake.holds == 8);
    const cJSON *sparsity = cJSON_GetObjectItem(report, "sparsity"), *after = cJSON_GetObjectItem(report, "after");
    assert_int_equal(cJSON_GetObjectItem(sparsity, "remaining")->valueint, target);
    assert_int_equal(cJSON_GetObjectItem(sparsity, "weights")->valueint, WEIGHTS);
    assert_int_equal(cJSON_GetObjectItem(after, "parameters")->valueint, target + B0 + B1);
    assert_int_equal(cJSON_GetObjectItem(report, "iterations")->valueint, 4);
    assert_int_equal(cJSON_GetObjectItem(report, "finetune_steps")->valueint, 20);
    assert_string_equal(cJSON_GetObjectItem(report, "granularity")->valuestring, "weight");
    cJSON_Delete(report);
}

static void stages_and_annealed_rates(void **state)
{
    const struct paths *p = *state;
    static const double stages[] = {0.4, 0.2, 0.05};
    struct prune_sparse_options o = options(p);
    cJSON *report = NULL;
    float a, b;
    o.stages = stages;
    o.stage_count = 3;
    o.remain = 0.05;
    o.anneal = true;
    o.step.rate = 0.2;
    assert_int_equal(prune_sparse_run(&HOST, &o, &report, NULL), PRUNE_OK);
    assert_int_equal(fake.steps, 9);
    for (size_t i = 0; i < 9; i++) assert_true(fabs(fake.rates[i] - 0.1 * (1 + cos(3.14159265358979 * (double)(i % 3) / 3))) < 1e-12);
    assert_int_equal(count_kept(p->sparse, &a, &b, p->weights), llround(0.05 * WEIGHTS));
    cJSON_Delete(report);
}

static void a_target_that_cannot_be_met_is_refused_before_training(void **state)
{
    const struct paths *p = *state;
    struct prune_sparse_options o = options(p);
    cJSON *report = NULL;
    o.job.protect = "1";
    assert_int_equal(prune_sparse_run(&HOST, &o, &report, &st), PRUNE_USAGE);
    assert_non_null(strstr(st.message, "raise -weights"));
    assert_true(fake.steps == 0 && !report);
}

static void a_host_that_does_not_hold_zeros_is_found_out(void **state)
{
    const struct paths *p = *state;
    struct prune_sparse_options o = options(p);
    cJSON *report = NULL;
    fake.lets_zeros_grow = true;
    assert_int_equal(prune_sparse_run(&HOST, &o, &report, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "does not hold zeros"));
    struct prune_host blind = HOST;
    blind.capabilities = PRUNE_CAN_TRAIN;
    assert_int_equal(prune_sparse_run(&blind, &o, &report, &st), PRUNE_FAILED);
}

static void an_interrupted_job_leaves_what_it_has(void **state)
{
    const struct paths *p = *state;
    struct prune_sparse_options o = options(p);
    cJSON *report = NULL;
    float a, b;
    fake.interrupt_after = 5;
    assert_int_equal(prune_sparse_run(&HOST, &o, &report, &st), PRUNE_INTERRUPTED);
    assert_non_null(strstr(st.message, "net-sparse.weights"));
    assert_int_equal(count_kept(p->sparse, &a, &b, p->weights), WEIGHTS / 2);
}

/* ---- scores by factors ---- */

/* The diagonal of the inverse of a (d, d), by Gauss-Jordan elimination. */
static void inverse_diagonal(const double *a, size_t d, double *out)
{
    double *m = calloc(2 * d * d, sizeof *m);
    for (size_t i = 0; i < d; i++) {
        memcpy(m + i * 2 * d, a + i * d, d * sizeof *m);
        m[i * 2 * d + d + i] = 1;
    }
    for (size_t k = 0; k < d; k++)
        for (size_t i = 0; i < d; i++) {
            double f = i == k ? 0 : m[i * 2 * d + k] / m[k * 2 * d + k];
            for (size_t j = 0; j < 2 * d && i != k; j++) m[i * 2 * d + j] -= f * m[k * 2 * d + j];
        }
    for (size_t i = 0; i < d; i++) out[i] = m[i * 2 * d + d + i] / m[i * 2 * d + i];
    free(m);
}

static void damp(const struct prune_kfac_factors *f, size_t g, double lambda, double *a, double *s)
{
    size_t d = f->shape.d, n = f->shape.n;
    double ta = 0, ts = 0;
    for (size_t i = 0; i < d * d; i++) a[i] = (double)f->a[g * d * d + i];
    for (size_t i = 0; i < n * n; i++) s[i] = (double)f->s[g * n * n + i];
    for (size_t i = 0; i < d; i++) ta += a[i * d + i] / (double)d;
    for (size_t i = 0; i < n; i++) ts += s[i * n + i] / (double)n;
    double pi = sqrt(ta / ts);
    for (size_t i = 0; i < d; i++) a[i * d + i] += pi * sqrt(lambda);
    for (size_t i = 0; i < n; i++) s[i * n + i] += sqrt(lambda) / pi;
}

static void check_layer(struct fixture *x, const void *k, int index)
{
    enum { MOST = 64 };
    static double a[MOST * MOST], s[MOST * MOST], ia[MOST], is[MOST];
    struct prune_kfac_factors f;
    assert_true(prune_kfac_factors(k, &x->in, index, &f));
    const size_t n = f.shape.n, d = f.shape.d, inputs = d - f.shape.bias, count = f.shape.groups * n * inputs;
    float w[1024], biases[16], obd[1024], nap[1024];
    uint8_t keep[1024];
    double expected[1024], sum = 0, found = 0;
    assert_true(count <= 1024);
    for (size_t i = 0; i < count; i++) w[i] = wave(i), keep[i] = i % 7 != 0;
    for (size_t i = 0; i < 16; i++) biases[i] = 100;   /* not scored, so of no weight in the layer's sum */
    struct prune_weight_layer layer = {.layer = index, .weights = w, .biases = biases, .keep = keep, .count = count};
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("obd"), &x->in, k, false, &layer, obd, NULL), PRUNE_OK);
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("nap"), &x->in, k, true, &layer, nap, NULL), PRUNE_OK);
    for (size_t g = 0; g < f.shape.groups; g++) {
        damp(&f, g, x->in.kfac.damping, a, s);
        inverse_diagonal(a, d, ia);
        inverse_diagonal(s, n, is);
        for (size_t r = 0; r < n; r++)
            for (size_t j = 0; j < inputs; j++) {
                size_t at = (g * n + r) * inputs + j;
                double half = keep[at] ? 0.5 * (double)w[at] * (double)w[at] : 0, plain = half * (double)f.a[g * d * d + j * d + j] * (double)f.s[g * n * n + r * n + r];
                assert_true(fabs((double)obd[at] - plain) <= 1e-5 * plain);
                sum += expected[at] = half / (ia[j] * is[r]);
            }
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(fabs((double)nap[i] - expected[i] / sum) <= 1e-4 * expected[i] / sum);
        found += (double)nap[i];
    }
    assert_true(fabs(found - 1) < 1e-5);
}

static void scores_by_factors_are_those_of_the_formulas(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x, MIXED_NET, wave, 0);
    x.in.kfac.samples = 1;
    x.in.kfac.damping = 0.05;
    const struct prune_criterion *row = prune_criterion_find(prune_weight_criterion_find("nap")->gathers);
    struct layers l = layers_make(&x.net, 5, 3, false);
    struct prune_signals signals = signals_of(&l, 5, true);
    void *k = new_state(row, &x.in);
    row->accumulate(k, &x.in, &signals);
    for (int i = 0; i < 3; i++) check_layer(&x, k, i);
    struct prune_weight_layer none = {.layer = 4, .count = 1};
    float score;
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("nap"), &x.in, k, true, &none, &score, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "-protect 4"));
    free(k);
    layers_free(&l);
    fixture_close(&x);
}

int main(void)
{
#define JOB(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        JOB(the_smallest_weights_go_to_the_weight_and_zeros_stay_through_fine_tuning), JOB(stages_and_annealed_rates), JOB(a_target_that_cannot_be_met_is_refused_before_training),
        JOB(a_host_that_does_not_hold_zeros_is_found_out), JOB(an_interrupted_job_leaves_what_it_has), cmocka_unit_test(scores_by_factors_are_those_of_the_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
