/* Curvature of heads through whole networks: the mean over probes of (v . dy/dz)^2 against J^T R J, image by image, J = dy/dz by differences of the heads'
 * inputs and R by differences of their deltas. Probes are signs, so the mean of N of them is off by at most sqrt(2 / N) of the value (one deviation). */
#include "detector_nets.h"

#include "../../darknet/backward.h"
#include "../../darknet/curvature.h"

enum { PROBES = 1500 };

/* (units, B) of one head: J^T R J. */
static void gauss_newton_of_head(struct bench *t, int index, double *out)
{
    const layer *l = &t->net->layers[index];
    const size_t n = (size_t)l->inputs, all = n * BATCH;
    const float *y = t->net->layers[index - 1].output;
    float *J = malloc(5 * all * sizeof *J), *up = J + all, *input = up + all, *at = input + all, *above = at + all;
    network head_net = *t->net;
    head_net.input = input;
    head_net.index = index;
    forward_network(t->net);
    memcpy(at, y, all * sizeof *at);
    for (size_t u = 0; u < t->units; u++) {
        float *z = gate_values(t->gates) + u, keep = *z, top = 0;
        *z = keep + 5e-3f;
        forward_network(t->net);
        memcpy(above, y, all * sizeof *above);
        *z = keep - 5e-3f;
        forward_network(t->net);
        *z = keep;
        for (size_t i = 0; i < all; i++) {
            J[i] = (above[i] - y[i]) / 1e-2f;
            top = fmaxf(top, fabsf(J[i]));
        }
        const float step = top > 0 ? 3e-4f / top : 0;
        for (size_t i = 0; i < all; i++) input[i] = at[i] + step * J[i];
        l->forward(*l, head_net);
        memcpy(up, l->delta, all * sizeof *up);
        for (size_t i = 0; i < all; i++) input[i] = at[i] - step * J[i];
        l->forward(*l, head_net);
        for (size_t i = 0; i < all && step > 0; i++) {
            assert_true((up[i] != 0) == (l->delta[i] != 0));
            out[u * BATCH + i / n] -= (double)J[i] * ((double)up[i] - (double)l->delta[i]) / (2 * (double)step);
        }
    }
    free(J);
}

static void mean_squares_of_probes(struct bench *t, double *out)
{
    float *rows = malloc(BATCH * t->units * sizeof *rows);
    struct curvature_draw d = {.seed = 11, .first = 100};
    forward_network(t->net);
    for (d.probe = 0; d.probe < PROBES; d.probe++) {
        backward_clear(t->net);
        for (int i = 0; i < t->net->n; i++) if (curvature_of(&t->net->layers[i])) curvature_of(&t->net->layers[i])(t->net, i, &d);
        memset(rows, 0, BATCH * t->units * sizeof *rows);
        gate_redirect(t->gates, rows, t->units);
        backward_gates(t->net, gate_lowest(t->gates));
        gate_redirect(t->gates, NULL, 0);
        for (size_t b = 0; b < BATCH; b++)
            for (size_t u = 0; u < t->units; u++) out[u * BATCH + b] += (double)rows[b * t->units + u] * (double)rows[b * t->units + u] / PROBES;
    }
    free(rows);
}

/* factor: by which the layer's backward pass multiplies delta. */
static void compare(struct bench *t, const char *what, double factor)
{
    double exact[MOST_UNITS * BATCH] = {0}, got[MOST_UNITS * BATCH] = {0}, top = 0, worst = 0, sum = 0, sum_exact = 0;
    struct prune_status st = {0};
    if (curvature_check(t->net, &st)) fail_msg("%s", st.message);
    for (int k = 0; k < t->head_count; k++) gauss_newton_of_head(t, t->heads[k], exact);
    mean_squares_of_probes(t, got);
    for (size_t i = 0; i < t->units * BATCH; i++) {
        exact[i] *= factor;
        top = fmax(top, exact[i]);
        sum += got[i];
        sum_exact += exact[i];
    }
    assert_true(top > 1e-3);
    for (size_t i = 0; i < t->units * BATCH; i++) worst = fmax(worst, fabs(got[i] - exact[i]) / (exact[i] + 1e-3 * top));
    if (worst > .25 || fabs(sum / sum_exact - 1) > .05) fail_msg("%s: worst unit %.3g off, the sum %.3g", what, worst, sum / sum_exact - 1);
}

static void probes_of_yolo_heads_have_the_gauss_newton_diagonal_as_mean_square(void **state)
{
    (void)state;
    static const char *const positive[] = {"1", ".45"};
    for (int k = 0; k < 2; k++) {
        struct bench t;
        open_yolo(&t, positive[k]);
        compare(&t, k ? "yolo, good boxes trained" : "yolo", 1);
        close_bench(&t);
    }
}

static void probes_of_a_region_head_have_it(void **state)
{
    (void)state;
    for (int softmax = 0; softmax < 2; softmax++) {
        struct bench t;
        open_region(&t, 1, softmax, 0);
        if (softmax) *t.net->seen = 12799;
        compare(&t, softmax ? "region, softmax, warm-up" : "region, logistic", 1);
        close_bench(&t);
    }
}

/* Rescoring moves the target, not the curvature with the target held. */
static void rescoring_changes_no_probe(void **state)
{
    (void)state;
    double got[2][MOST_UNITS * BATCH] = {{0}};
    for (int rescore = 0; rescore < 2; rescore++) {
        struct bench t;
        open_region(&t, 1, 1, rescore);
        mean_squares_of_probes(&t, got[rescore]);
        close_bench(&t);
    }
    assert_true(got[0][0] > 0);
    assert_memory_equal(got[0], got[1], sizeof got[0]);
}

static void open_classes(struct bench *t, const char *head)
{
    char text[4096];
    int n = snprintf(text, sizeof text, BODY, BATCH);
    snprintf(text + n, sizeof text - (size_t)n, "[connected]\noutput=6\nactivation=linear\n%s", head);
    open_bench(t, text);
    t->heads[t->head_count++] = t->net->n - 1;
    struct prune_random r = prune_random_make(4, 4, 4);
    fill_random(t->net->truth, (size_t)(t->net->truths * BATCH), &r, 0, 1);
}

static void probes_of_logistic_and_cost_heads_have_it(void **state)
{
    (void)state;
    static const struct { const char *head; double scale; } cases[] = {
        {"[logistic]\n", 1}, {"[cost]\ntype=sse\nscale=.25\n", .25}, {"[cost]\ntype=smooth\nscale=3\n", 3}, {"[cost]\ntype=masked\n", 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct bench t;
        open_classes(&t, cases[k].head);
        if (k == 3) t.net->truth[2] = t.net->truth[9] = SECRET_NUM;
        compare(&t, cases[k].head, cases[k].scale);
        close_bench(&t);
    }
}

static void absolute_errors_have_no_curvature(void **state)
{
    (void)state;
    struct bench t;
    double got[MOST_UNITS * BATCH] = {0};
    open_classes(&t, "[cost]\ntype=L1\n");
    mean_squares_of_probes(&t, got);
    for (size_t i = 0; i < MOST_UNITS * BATCH; i++) assert_true(got[i] == 0);
    close_bench(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes_of_yolo_heads_have_the_gauss_newton_diagonal_as_mean_square),
        cmocka_unit_test(probes_of_a_region_head_have_it),
        cmocka_unit_test(rescoring_changes_no_probe),
        cmocka_unit_test(probes_of_logistic_and_cost_heads_have_it),
        cmocka_unit_test(absolute_errors_have_no_curvature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
