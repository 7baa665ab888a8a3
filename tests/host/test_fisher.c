/* Targets drawn from a head's own predictive distribution: over many draws the gradient's mean is 0 and its second moment R, the derivative of the head's deltas,
 * entry by entry and along random directions (which see the entries' correlations), within five standard errors. */
#include "detector_nets.h"

#include "../../darknet/fisher.h"

enum { DRAWS = 3000, DIRECTIONS = 12 };

/* A head alone, as its network's last forward pass left it. */
struct lone { layer *l; network net; int index; size_t n; float *input; };

static struct lone lone_head(struct bench *t, int index)
{
    struct lone h = {.l = &t->net->layers[index], .index = index};
    forward_network(t->net);
    h.n = (size_t)h.l->inputs * BATCH;
    h.input = malloc(h.n * sizeof *h.input);
    assert_non_null(h.input);
    memcpy(h.input, t->net->layers[index - 1].output, h.n * sizeof *h.input);
    h.net = *t->net;
    h.net.input = h.input;
    h.net.index = index;
    return h;
}

/* -d delta / d input times w, as (n); false where a target or an assignment changes within the step. */
static bool curvature_times(const struct lone *h, const float *w, float step, double *out)
{
    float *keep = malloc(2 * h->n * sizeof *keep), *up = keep + h->n;
    bool smooth = true;
    memcpy(keep, h->input, h->n * sizeof *keep);
    for (size_t i = 0; i < h->n; i++) h->input[i] = keep[i] + step * w[i];
    h->l->forward(*h->l, h->net);
    memcpy(up, h->l->delta, h->n * sizeof *up);
    for (size_t i = 0; i < h->n; i++) h->input[i] = keep[i] - step * w[i];
    h->l->forward(*h->l, h->net);
    for (size_t i = 0; i < h->n; i++) {
        smooth = smooth && (up[i] != 0) == (h->l->delta[i] != 0) && fabsf(up[i] - h->l->delta[i]) < .3f;
        out[i] = -((double)up[i] - (double)h->l->delta[i]) / (2 * (double)step);
    }
    memcpy(h->input, keep, h->n * sizeof *keep);
    h->l->forward(*h->l, h->net);
    free(keep);
    return smooth;
}

/* Sums of g and of its powers, in some coordinates. */
struct moments_of { double one, two, four; };

static void add_moments(struct moments_of *m, double g)
{
    m->one += g;
    m->two += g * g;
    m->four += g * g * g * g;
}

/* Largest distance from mean 0 and second moment `want`, in standard errors. */
static double deviation(const struct moments_of *m, double want, double noise)
{
    double second = m->two / DRAWS, error = sqrt(fmax(m->four / DRAWS - second * second, want * want / 4) / DRAWS) + noise;
    return fmax(fabs(m->one / DRAWS) / (sqrt(want / DRAWS) + noise), fabs(second - want) / error);
}

/* The entries' own second moments (one coordinate of all images at a time), then directions of +-1. factor: by which the backward pass multiplies. */
static void check_head(struct bench *t, int index, double factor, const char *what)
{
    struct lone h = lone_head(t, index);
    const size_t n = h.n, each = n / BATCH;
    struct moments_of *m = calloc(n + DIRECTIONS, sizeof *m);
    double *R = calloc(n, sizeof *R), *product = malloc(n * sizeof *product), along[DIRECTIONS] = {0}, worst = 0;
    float *w = calloc(n * (DIRECTIONS + 1), sizeof *w);
    size_t left_out = 0, curved = 0;
    for (size_t e = 0; e < each; e++) {
        for (size_t b = 0; b < BATCH; b++) w[b * each + e] = 1;
        bool smooth = curvature_times(&h, w, 2e-3f, product);
        left_out += !smooth;
        for (size_t b = 0; b < BATCH; b++) {
            R[b * each + e] = smooth ? factor * product[b * each + e] : NAN;
            w[b * each + e] = 0;
        }
    }
    struct prune_random r = prune_random_make(5, 5, 5);
    for (size_t k = 0; k < DIRECTIONS; k++) {
        float *v = w + (k + 1) * n;
        for (size_t i = 0; i < n; i++) v[i] = prune_random_u64(&r) >> 63 ? 1 : -1;
        if (!curvature_times(&h, v, 5e-4f, product)) along[k] = NAN;
        for (size_t i = 0; i < n; i++) along[k] += factor * (double)v[i] * product[i];
    }
    for (int k = 0; k < DRAWS; k++) {
        const struct fisher_draw d = {.seed = 17, .first = (uint64_t)(k * BATCH)};
        fisher_of(h.l)(&h.net, index, &d);
        for (size_t i = 0; i < n; i++) add_moments(&m[i], factor * (double)h.l->delta[i]);
        for (size_t q = 0; q < DIRECTIONS; q++) {
            double g = 0;
            for (size_t i = 0; i < n; i++) g += factor * (double)h.l->delta[i] * (double)w[(q + 1) * n + i];
            add_moments(&m[n + q], g);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (isnan(R[i])) continue;
        curved += R[i] > 1e-3;
        double off = deviation(&m[i], fmax(R[i], 0), 1e-4);
        if (off > 5) fail_msg("%s: entry %zu: R = %.5g, second moment %.5g, mean %.3g: %.2f standard errors", what, i, R[i], m[i].two / DRAWS, m[i].one / DRAWS, off);
        worst = fmax(worst, off);
    }
    assert_true(curved > n / 16);
    assert_true(worst > 1);   /* chance was at work */
    assert_true(left_out <= each / 20);
    size_t directions = 0;
    for (size_t q = 0; q < DIRECTIONS; q++) {
        if (isnan(along[q])) continue;
        directions++;
        double off = deviation(&m[n + q], along[q], 1e-3 * along[q]);
        if (off > 5) fail_msg("%s: direction %zu: %.5g, second moment %.5g: %.2f standard errors", what, q, along[q], m[n + q].two / DRAWS, off);
    }
    assert_true(directions >= DIRECTIONS / 2);
    free(h.input);
    free(m);
    free(R);
    free(product);
    free(w);
}

static void draws_of_yolo_heads_have_mean_zero_and_second_moment_R(void **state)
{
    (void)state;
    static const char *const positive[] = {"1", ".45"};
    for (int k = 0; k < 2; k++) {
        struct bench t;
        open_yolo(&t, positive[k]);
        for (int i = 0; i < 2; i++) check_head(&t, t.heads[i], 1, "yolo");
        close_bench(&t);
    }
}

static void draws_of_region_heads_have_them(void **state)
{
    (void)state;
    for (int softmax = 0; softmax < 2; softmax++) {
        struct bench t;
        open_region(&t, 1, softmax, 0);
        if (softmax) *t.net->seen = 12799;   /* warm-up */
        check_head(&t, t.heads[0], 1, softmax ? "region, softmax, warm-up" : "region, logistic");
        close_bench(&t);
    }
}

static int tree_sizes[] = {3, 2, 3}, tree_offsets[] = {0, 3, 5}, tree_parents[] = {-1, -1, -1, 0, 0, 4, 4, 4}, tree_groups[] = {0, 0, 0, 1, 1, 2, 2, 2};
static tree hierarchy = {.n = 8, .parent = tree_parents, .group = tree_groups, .groups = 3, .group_size = tree_sizes, .group_offset = tree_offsets};

static void open_classes(struct bench *t, int outputs, const char *head)
{
    char text[4096];
    int n = snprintf(text, sizeof text, BODY, BATCH);
    snprintf(text + n, sizeof text - (size_t)n, "[connected]\noutput=%d\nactivation=linear\n%s", outputs, head);
    open_bench(t, text);
    struct prune_random r = prune_random_make(4, 4, 4);
    fill_random(t->net->truth, (size_t)(t->net->truths * BATCH), &r, 0, 1);
}

static void draws_of_heads_of_classes_have_them(void **state)
{
    (void)state;
    static const struct { const char *head; double factor; int outputs; bool tree; } cases[] = {
        {"[softmax]\n", 1, 6, false}, {"[softmax]\ngroups=2\ntemperature=2.5\n", 1, 6, false}, {"[softmax]\n", 1, 8, true}, {"[logistic]\n", 1, 6, false},
        {"[cost]\ntype=sse\nscale=.25\n", .25, 6, false}, {"[cost]\ntype=smooth\nscale=3\n", 3, 6, false}, {"[cost]\ntype=masked\n", 1, 6, false}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct bench t;
        open_classes(&t, cases[k].outputs, cases[k].head);
        int last = t.net->n - 1;
        if (cases[k].tree) t.net->layers[last].softmax_tree = &hierarchy;
        if (k == 6) t.net->truth[2] = t.net->truth[9] = SECRET_NUM;
        check_head(&t, last, cases[k].factor, cases[k].head);
        t.net->layers[last].softmax_tree = NULL;
        close_bench(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_of_yolo_heads_have_mean_zero_and_second_moment_R),
        cmocka_unit_test(draws_of_region_heads_have_them),
        cmocka_unit_test(draws_of_heads_of_classes_have_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
