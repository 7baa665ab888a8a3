/* Detectors: gate gradients of small yolo and region networks against central differences of the loss that the heads report, image by image. The loss
 * jumps where a box enters or leaves the neighbourhood of a truth: images in which the trained entries change within the step are left out, and few
 * may be. Tolerance as for classifiers: 2% of the gradient or 0.1% of the network's largest. */
#include "detector_nets.h"

struct picture { double loss[BATCH]; unsigned char *trained; };   /* trained: of every head's entries, (heads, batch, outputs) */

static void look(struct bench *t, struct picture *p)
{
    memset(p->loss, 0, sizeof p->loss);
    host_context()->image_loss = p->loss;
    forward_network(t->net);
    host_context()->image_loss = NULL;
    if (!p->trained) p->trained = malloc(entries(t));
    for (size_t k = 0, at = 0; k < (size_t)t->head_count; k++)
        for (size_t i = 0; i < (size_t)head(t, (int)k)->outputs * BATCH; i++) p->trained[at++] = head(t, (int)k)->delta[i] != 0;
}

static bool same_terms(const struct bench *t, const struct picture *a, const struct picture *b, int image)
{
    for (size_t k = 0, at = 0; k < (size_t)t->head_count; at += (size_t)head(t, (int)k++)->outputs * BATCH) {
        size_t n = (size_t)head(t, (int)k)->outputs;
        if (memcmp(a->trained + at + (size_t)image * n, b->trained + at + (size_t)image * n, n)) return false;
    }
    return true;
}

/* Slopes (units, B), NAN where the terms change. */
static void differences(struct bench *t, double *slopes)
{
    struct picture up = {0}, down = {0};
    for (size_t u = 0; u < t->units; u++) {
        float *z = gate_values(t->gates) + u, keep = *z;
        *z = keep + 2e-3f;
        double step = (double)*z;
        look(t, &up);
        *z = keep - 2e-3f;
        step -= (double)*z;
        look(t, &down);
        *z = keep;
        for (int b = 0; b < BATCH; b++) slopes[u * BATCH + (size_t)b] = same_terms(t, &up, &down, b) ? (up.loss[b] - down.loss[b]) / step : NAN;
    }
    free(up.trained);
    free(down.trained);
}

/* Objectness entries that some truth keeps from being pushed to 0. */
static size_t let_go(const struct bench *t)
{
    size_t n = 0;
    for (int k = 0; k < t->head_count; k++) {
        const layer *l = head(t, k);
        for (int i = 0; i < l->outputs * BATCH; i++) n += i / (l->w * l->h) % (5 + l->classes) == 4 && l->delta[i] == 0;
    }
    return n;
}

static void take_gradients(struct bench *t, float *out)
{
    struct prune_status st = {0};
    assert_int_equal(gate_collect(t->gates, PRUNE_SIGNAL_GATE_IMAGE, BATCH, &st), PRUNE_OK);
    forward_network(t->net);
    backward_network(t->net);
    memcpy(out, gate_image_sums(t->gates), t->units * BATCH * sizeof *out);
    assert_int_equal(gate_collect(t->gates, 0, BATCH, &st), PRUNE_OK);
}

static void compare(struct bench *t, const char *what)
{
    double slopes[MOST_UNITS * BATCH], top = 0;
    float gradients[MOST_UNITS * BATCH];
    int compared = 0;
    differences(t, slopes);
    take_gradients(t, gradients);
    if (let_go(t) < 10) fail_msg("%s: %zu boxes near a truth", what, let_go(t));
    for (size_t i = 0; i < t->units * BATCH; i++) top = fmax(top, fabs((double)gradients[i]));
    assert_true(top > .1);
    for (size_t u = 0; u < t->units; u++)
        for (size_t b = 0; b < BATCH; b++) {
            double slope = slopes[u * BATCH + b], got = (double)gradients[b * t->units + u];
            if (isnan(slope)) continue;
            compared++;
            if (fabs(got - slope) > fmax(.02 * fabs(slope), 1e-3 * top)) fail_msg("%s: unit %zu, image %zu: dE/dz %.7g, by differences %.7g (largest %.3g)", what, u, b, got, slope, top);
        }
    if (compared * 4 < (int)t->units * BATCH * 3) fail_msg("%s: only %d of %zu could be compared", what, compared, t->units * BATCH);
}

static void yolo_gate_gradients_equal_differences_of_the_loss_of_each_image(void **state)
{
    (void)state;
    static const char *const positive[] = {"1", ".45"};
    for (int k = 0; k < 2; k++) {
        struct bench t;
        open_yolo(&t, positive[k]);
        compare(&t, k ? "yolo, good boxes trained" : "yolo");
        close_bench(&t);
    }
}

static void region_gate_gradients_equal_differences_of_the_loss_of_each_image(void **state)
{
    (void)state;
    for (int k = 0; k < 5; k++) {
        struct bench t;
        char what[64];
        snprintf(what, sizeof what, "region, bias_match=%d softmax=%d%s", k & 1, k >> 1 & 1, k == 4 ? ", warm-up" : "");
        open_region(&t, k & 1, k >> 1 & 1, 0);
        if (k == 4) *t.net->seen = 12799;
        compare(&t, what);
        close_bench(&t);
    }
}

/* With rescore=1 the target of objectness is an overlap that moves with z; delta holds it constant. So hold delta, and take differences of the head's input. */
static void rescored_gate_gradients_are_delta_times_differences_of_the_heads_input(void **state)
{
    (void)state;
    struct bench t;
    open_region(&t, 1, 1, 1);
    float gradients[MOST_UNITS * BATCH], *delta = malloc(entries(&t) * sizeof *delta), *above = malloc(entries(&t) * sizeof *above);
    take_gradients(&t, gradients);
    memcpy(delta, head(&t, 0)->delta, entries(&t) * sizeof *delta);
    const float *y = t.net->layers[t.heads[0] - 1].output;
    size_t n = (size_t)head(&t, 0)->outputs;
    for (size_t u = 0; u < t.units; u++) {
        float *z = gate_values(t.gates) + u, keep = *z;
        *z = keep + 1e-2f;
        double step = (double)*z;
        forward_network(t.net);
        memcpy(above, y, entries(&t) * sizeof *above);
        *z = keep - 1e-2f;
        step -= (double)*z;
        forward_network(t.net);
        *z = keep;
        for (size_t b = 0; b < BATCH; b++) {
            double sum = 0, got = (double)gradients[b * t.units + u];
            for (size_t i = b * n; i < (b + 1) * n; i++) sum -= (double)delta[i] * ((double)above[i] - (double)y[i]) / step;
            if (fabs(got - sum) > fmax(.01 * fabs(sum), .01)) fail_msg("unit %zu, image %zu: dE/dz %.7g, by differences %.7g", u, b, got, sum);
        }
    }
    free(delta);
    free(above);
    close_bench(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yolo_gate_gradients_equal_differences_of_the_loss_of_each_image),
        cmocka_unit_test(region_gate_gradients_equal_differences_of_the_loss_of_each_image),
        cmocka_unit_test(rescored_gate_gradients_are_delta_times_differences_of_the_heads_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
