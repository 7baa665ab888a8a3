/* Damped factors, scores of weights and filters, and surgery, from recorded factors, against the float64 values of scripts/reference_second_order.py: every minimum there
 * is one solve with the whole Kronecker product as a dense matrix. */
#include "recorded.h"

#include "../../plugin/score/surgery.h"

/* ---- damped factors, scores and surgery, from recorded factors ---- */

/* Recorded numbers have seven digits; inverses multiply their error by the condition of the damped factors. */
static const double ALGEBRA = 2e-5;

struct group { struct prune_kfac_shape shape; size_t g; float *a, *s, *w; struct prune_kfac_damped f; };

static void group_open(struct group *q, const struct lab *l, const struct recorded *r, const struct prune_kfac_shape *shape, size_t g)
{
    struct prune_status st = {0};
    const struct prune_weights_layout *layout = &l->weights.layout;
    const float *weights = prune_weights_data(&l->weights, prune_layout_find(layout, shape->layer, PRUNE_WEIGHTS));
    const float *biases = prune_weights_data(&l->weights, prune_layout_find(layout, shape->layer, PRUNE_BIASES));
    *q = (struct group){.shape = *shape, .g = g};
    q->a = as_float(find(r, "A", shape->layer, g, shape->d * shape->d));
    q->s = as_float(find(r, "S", shape->layer, g, shape->n * shape->n));
    q->w = calloc(shape->n * shape->d, sizeof *q->w);
    prune_kfac_weights(shape, g, weights, biases, q->w);
    const struct prune_kfac_factors f = {*shape, q->a, q->s, TILES};
    ok(prune_kfac_damp(&q->f, &f, 0, DAMPING, &st), &st);
    ok(prune_kfac_factorise(&q->f, &st), &st);
    assert_true(q->f.added == 0);
}

static void group_close(struct group *q)
{
    prune_kfac_damped_free(&q->f);
    free(q->a);
    free(q->s);
    free(q->w);
}

/* Largest difference, of each value's own size (but of 1e-6 of the largest at least). */
static double relative(const double *ours, const struct recorded_matrix *theirs)
{
    double largest = 0, worst = 0;
    size_t n = theirs->rows * theirs->columns;
    for (size_t k = 0; k < n; k++) largest = fmax(largest, fabs(theirs->v[k]));
    for (size_t k = 0; k < n; k++) worst = fmax(worst, isfinite(ours[k]) ? fabs(ours[k] - theirs->v[k]) / (fabs(theirs->v[k]) + 1e-6 * largest) : INFINITY);
    return worst;
}

static double check_values(const struct recorded *r, const struct group *q, const char *what, const double *ours, size_t n)
{
    double off = relative(ours, find(r, what, q->shape.layer, q->g, n));
    if (off > ALGEBRA) fail_msg("%s of layer %d group %zu is off by %.3g", what, q->shape.layer, q->g, off);
    return off;
}

static double check_scores(const struct recorded *r, const struct group *q)
{
    static const struct { const char *name; enum prune_kfac_form form; } FILTER[] = {
        {"c-obd", PRUNE_KFAC_OBD}, {"kron-obd", PRUNE_KFAC_KRON_OBD}, {"c-obs", PRUNE_KFAC_OBS}, {"kron-obs", PRUNE_KFAC_KRON_OBS}};
    size_t n = q->shape.n, d = q->shape.d;
    double *out = calloc(n * d, sizeof *out), worst = check_values(r, q, "pi", &q->f.pi, 1);
    worst = fmax(worst, check_values(r, q, "Ai", q->f.a_inverse_diagonal, d));
    worst = fmax(worst, check_values(r, q, "Si", q->f.s_inverse_diagonal, n));
    prune_kfac_weight_scores(&q->f, PRUNE_KFAC_OBD, q->w, out);
    worst = fmax(worst, check_values(r, q, "obd", out, n * d));
    prune_kfac_weight_scores(&q->f, PRUNE_KFAC_OBS, q->w, out);
    worst = fmax(worst, check_values(r, q, "obs", out, n * d));
    for (size_t i = 0; i < 4; i++) {
        prune_kfac_filter_scores(&q->f, FILTER[i].form, q->w, out);
        worst = fmax(worst, check_values(r, q, FILTER[i].name, out, n));
    }
    free(out);
    return worst;
}

static void each_group(const char *network, double (*check)(const struct recorded *, const struct group *), const char *what, size_t *groups)
{
    struct recorded *r = recorded_read(network);
    struct lab l;
    double worst = 0;
    lab_golden(&l, network, 1);
    for (int i = 0; i < (int)l.shape.layer_count; i++) {
        struct prune_kfac_shape shape;
        if (!prune_kfac_shape(&l.shape, i, &shape)) continue;
        for (size_t g = 0; g < shape.groups; g++, ++*groups) {
            struct group q;
            group_open(&q, &l, r, &shape, g);
            worst = fmax(worst, check(r, &q));
            group_close(&q);
        }
    }
    print_message("%s: %s within %.1e of the recorded values\n", network, what, worst);
    lab_close(&l);
    recorded_free(r);
}

static void damped_factors_and_scores_are_the_recorded_ones(void **state)
{
    size_t groups = 0;
    (void)state;
    for (size_t i = 0; i < 3; i++) each_group(FACTORED[i], check_scores, "damped factors and scores", &groups);
    assert_int_equal(groups, 6 + 8 + 29);
}

/* ---- surgery ---- */

static uint8_t *marks(const struct recorded *r, const struct group *q, const char *what, size_t n)
{
    const struct recorded_matrix *m = find(r, what, q->shape.layer, q->g, n);
    uint8_t *out = calloc(n, 1);
    for (size_t k = 0; k < n; k++) out[k] = m->v[k] != 0;
    return out;
}

static double check_case(const struct recorded *r, const struct group *q, const char *name, const float *ours, const uint8_t *gone,
                         const struct prune_surgery_result *result)
{
    char key[32];
    size_t n = q->shape.n * q->shape.d;
    double largest = 0, worst = 0;
    snprintf(key, sizeof key, "W-%s", name);
    const struct recorded_matrix *w = find(r, key, q->shape.layer, q->g, n);
    snprintf(key, sizeof key, "loss-%s", name);
    const struct recorded_matrix *loss = find(r, key, q->shape.layer, q->g, 2);
    for (size_t k = 0; k < n; k++) {
        largest = fmax(largest, fabs(w->v[k]));
        worst = fmax(worst, fabs((double)ours[k] - w->v[k]));
        if (gone && gone[k] && ours[k] != 0) fail_msg("%s: weight %zu is gone and %g", name, k, (double)ours[k]);
    }
    worst = fmax(worst / largest, relative((double[]){result->before, result->after}, loss));
    double change = prune_kfac_loss_change(&q->f, q->w, ours);
    worst = fmax(worst, fabs(change / loss->v[1] - 1));
    assert_true(strcmp(name, "paper") == 0 || result->after < result->before);
    if (!(worst <= ALGEBRA))
        fail_msg("surgery '%s' of layer %d group %zu: weights or losses (%g, %g; from the weights %g) are off by %.3g", name, q->shape.layer, q->g, result->before,
                 result->after, change, worst);
    return worst;
}

static double structured(const struct recorded *r, const struct group *q, const char *name, const uint8_t *rows, const uint8_t *columns)
{
    size_t bytes = q->shape.n * q->shape.d * sizeof(float);
    float *w = malloc(bytes);
    struct prune_surgery_result result = {0};
    struct prune_status st = {0};
    memcpy(w, q->w, bytes);
    ok(prune_surgery_structured(&q->f, w, rows, columns, &result, &st), &st);
    double off = check_case(r, q, name, w, NULL, &result);
    free(w);
    return off;
}

static double single(const struct recorded *r, const struct group *q, const char *name, enum prune_surgery how, const uint8_t *gone)
{
    size_t bytes = q->shape.n * q->shape.d * sizeof(float);
    float *w = malloc(bytes);
    struct prune_surgery_result result = {0};
    struct prune_status st = {0};
    memcpy(w, q->w, bytes);
    ok(prune_surgery_weights(&q->f, how, w, gone, &result, &st), &st);
    double off = check_case(r, q, name, w, gone, &result);
    free(w);
    return off;
}

/* Without its largest weight: by eq. 6 the loss grows by that weight's score. */
static double check_one(const struct recorded *r, const struct group *q)
{
    size_t n = q->shape.n * q->shape.d, largest = 0;
    uint8_t *gone = calloc(n, 1);
    for (size_t k = 0; k < n; k++)
        if (fabsf(q->w[k]) > fabsf(q->w[largest])) largest = k;
    gone[largest] = 1;
    double off = single(r, q, "one", PRUNE_SURGERY_JOINT, gone);
    double score = find(r, "obs", q->shape.layer, q->g, n)->v[largest], loss = find(r, "loss-one", q->shape.layer, q->g, 2)->v[1];
    assert_true(fabs(loss / score - 1) < 1e-6);
    off = fmax(off, single(r, q, "one", PRUNE_SURGERY_PAPER, gone));
    free(gone);
    return off;
}

static double check_surgery(const struct recorded *r, const struct group *q)
{
    if (!look(r, "rows", q->shape.layer, q->g)) return 0;
    uint8_t *rows = marks(r, q, "rows", q->shape.n), *columns = marks(r, q, "columns", q->shape.d), *set = marks(r, q, "set", q->shape.n * q->shape.d);
    double off = structured(r, q, "rows", rows, NULL);
    off = fmax(off, structured(r, q, "columns", NULL, columns));
    off = fmax(off, structured(r, q, "both", rows, columns));
    off = fmax(off, check_one(r, q));
    off = fmax(off, single(r, q, "set", PRUNE_SURGERY_JOINT, set));
    off = fmax(off, single(r, q, "paper", PRUNE_SURGERY_PAPER, set));
    free(rows);
    free(columns);
    free(set);
    return off;
}

static void surgery_reaches_the_recorded_weights(void **state)
{
    size_t groups = 0;
    (void)state;
    for (size_t i = 0; i < 3; i++) each_group(FACTORED[i], check_surgery, "surgery", &groups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damped_factors_and_scores_are_the_recorded_ones),
        cmocka_unit_test(surgery_reaches_the_recorded_weights),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
