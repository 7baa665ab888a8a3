/* K-FAC factors and Hessian-vector products that the host and its criteria gather, against the float64 values of scripts/reference_second_order.py. On networks of one
 * layer the factors of one image are the exact Fisher matrix. Unit scores: tests/cli/test_reference_second_order.py. */
#include "recorded.h"

#include "../../plugin/score/scoring.h"

/* Gradients times sqrt(KINDS p): the mean over all labels of their squares is then the expectation. Image i has label i % KINDS. */
static float *weighted(const struct prune_tensor *t, const double *p, size_t first)
{
    size_t each = t->shape[1] * t->shape[2] * t->shape[3];
    assert_true(t->type == PRUNE_F32 && t->rank == 4 && t->strides[0] == (ptrdiff_t)each && t->strides[3] == 1);
    float *copy = malloc(t->shape[0] * each * sizeof *copy + 1);
    for (size_t b = 0; b < t->shape[0]; b++)
        for (size_t k = 0; k < each; k++) copy[b * each + k] = ((float *)t->data)[b * each + k] * (float)sqrt(KINDS * p[first + b]);
    return copy;
}

static enum prune_code take(void *user, const struct prune_signals *given, struct prune_status *st)
{
    struct lab *l = user;
    struct prune_signals s = *given;
    struct prune_layer_signal layers[32];
    (void)st;
    assert_in_range(s.layer_count, 1, 32);
    for (size_t i = 0; i < s.layer_count; i++) {
        layers[i] = s.layers[i];
        if (l->p) layers[i].gradient.data = weighted(&s.layers[i].gradient, l->p, l->seen);
    }
    s.layers = layers;
    l->criterion->accumulate(l->state, &l->in, &s);
    for (size_t i = 0; l->p && i < s.layer_count; i++) free(layers[i].gradient.data);
    l->seen += s.layer_images;
    return PRUNE_OK;
}

/* One pass over all images of a data file, as one minibatch. */
static void gather(struct lab *l, const char *data, size_t images, enum prune_fisher fisher, const double *p)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = images};
    const struct prune_score_options o = {.minibatch = images, .signals = PRUNE_SIGNAL_LAYERS, .fisher = fisher};
    struct prune_status st = {0};
    l->in.kfac.fisher = fisher;
    l->p = p;
    l->seen = 0;
    free(l->state);
    l->state = calloc(1, l->criterion->state_size(&l->in));
    l->criterion->init(l->state, &l->in);
    ok(host()->score(l->net, &set, &o, take, l, &st), &st);
    assert_int_equal(l->seen, images);
}

static struct prune_kfac_factors factors_of(const struct lab *l, int layer)
{
    struct prune_kfac_factors f;
    assert_true(prune_kfac_factors(l->state, &l->in, layer, &f));
    return f;
}

/* Probabilities of a list's images, and their pixels if wanted. */
static double *probabilities(struct lab *l, const char *data, size_t images, float **pixels)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = images};
    size_t each = (size_t)(l->shape.w * l->shape.h * l->shape.c), got = 0;
    float *input = calloc(images * each, sizeof *input);
    double *p = calloc(images, sizeof *p);
    struct prune_status st = {0};
    struct prune_tensor view;
    ok(host()->load_images(l->net, &set, images, input, &got, &st), &st);
    assert_int_equal(got, images);
    for (size_t b = 0; b < images; b++) {
        ok(host()->forward(l->net, input + b * each, 1, &st), &st);
        ok(host()->output(l->net, (int)l->shape.layer_count - 1, &view, &st), &st);
        p[b] = (double)((float *)view.data)[b % KINDS];
    }
    if (pixels) *pixels = input;
    else free(input);
    return p;
}

/* ---- comparisons ---- */

/* Elements of a mean of products x_i x_j are measured by the sizes of x_i and x_j, and by a hundredth of the largest: a channel whose activation is saturated has
 * a gradient that float32 rounds to 0. */
static double worst_of(const float *ours, const struct recorded_matrix *theirs)
{
    double worst = 0, largest = 0;
    size_t n = theirs->rows;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, theirs->v[i * n + i]);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double scale = sqrt(theirs->v[i * n + i] * theirs->v[j * n + j]) + .01 * largest, off = fabs((double)ours[i * n + j] - theirs->v[i * n + j]);
            worst = fmax(worst, isfinite(off) ? off / scale : INFINITY);
        }
    return worst;
}

static void compare_factors(const struct lab *l, const struct recorded *r, const char *s_name, const char *network, double allowed)
{
    size_t layers = 0;
    double worst_a = 0, worst_s = 0;
    for (int i = 0; i < (int)l->shape.layer_count; i++) {
        struct prune_kfac_shape shape;
        bool has = prune_kfac_shape(&l->shape, i, &shape);
        assert_int_equal(has, look(r, "A", i, 0) != NULL);
        if (!has) continue;
        const struct prune_kfac_factors f = factors_of(l, i);
        for (size_t g = 0; g < shape.groups; g++) {
            double a = worst_of(f.a + g * shape.d * shape.d, find(r, "A", i, g, shape.d * shape.d));
            double s = worst_of(f.s + g * shape.n * shape.n, find(r, s_name, i, g, shape.n * shape.n));
            if (a > allowed || s > allowed) fail_msg("%s, layer %d group %zu: A is off by %.3g, %s by %.3g", network, i, g, a, s_name, s);
            worst_a = fmax(worst_a, a);
            worst_s = fmax(worst_s, s);
        }
        layers++;
    }
    assert_true(layers > 4);
    print_message("%s: A within %.1e, %s within %.1e of the recorded ones\n", network, worst_a, s_name, worst_s);
}

/* Single images and sums of 30 in float32. */
static const double FACTOR_SHARE = 1e-5;

static void factors_of_the_labels_are_the_recorded_ones(void **state)
{
    const char *data = tiles_data(false);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct recorded *r = recorded_read(FACTORED[i]);
        struct lab l;
        lab_golden(&l, FACTORED[i], 1);
        gather(&l, data, TILES, PRUNE_FISHER_EMPIRICAL, NULL);
        compare_factors(&l, r, "S", FACTORED[i], FACTOR_SHARE);
        lab_close(&l);
        recorded_free(r);
    }
}

static void the_expectation_over_labels_is_the_true_fisher(void **state)
{
    const char *data = tiles_data(true);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct recorded *r = recorded_read(FACTORED[i]);
        struct lab l;
        lab_golden(&l, FACTORED[i], 1);
        double *p = probabilities(&l, data, TILES * KINDS, NULL);
        gather(&l, data, TILES * KINDS, PRUNE_FISHER_EMPIRICAL, p);
        compare_factors(&l, r, "T", FACTORED[i], FACTOR_SHARE);
        free(p);
        lab_close(&l);
        recorded_free(r);
    }
}

/* ---- drawn labels ---- */

enum { SEEDS = 60, MOST_PLACES = 1 << 12 };

struct drawn { double sum, squares; };

/* Adds every S to sums, in the order of layers. */
static void add_drawn(const struct lab *l, struct drawn *sums)
{
    size_t place = 0;
    struct prune_kfac_shape shape;
    for (int i = 0; i < (int)l->shape.layer_count; i++) {
        if (!prune_kfac_shape(&l->shape, i, &shape)) continue;
        const struct prune_kfac_factors f = factors_of(l, i);
        for (size_t k = 0; k < shape.groups * shape.n * shape.n; k++, place++) {
            assert_true(place < MOST_PLACES);
            sums[place].sum += (double)f.s[k];
            sums[place].squares += (double)f.s[k] * (double)f.s[k];
        }
    }
}

static void compare_drawn(const struct lab *l, const struct recorded *r, const struct drawn *sums, const char *network)
{
    struct prune_kfac_shape shape;
    double variance = 0, largest = 0;
    size_t count = 0;
    for (int i = 0; i < (int)l->shape.layer_count; i++) {
        if (!prune_kfac_shape(&l->shape, i, &shape)) continue;
        for (size_t g = 0; g < shape.groups; g++) {
            const struct recorded_matrix *mean = find(r, "T", i, g, shape.n * shape.n), *spread = look(r, "spread", i, g);
            double widest = 0;
            for (size_t k = 0; spread && k < shape.n * shape.n; k++) widest = fmax(widest, spread->v[k]);
            for (size_t k = 0; k < shape.n * shape.n; k++, sums++) {
                double average = sums->sum / SEEDS, seen = (sums->squares / SEEDS - average * average) * SEEDS / (SEEDS - 1), s = spread ? spread->v[k] : sqrt(seen);
                assert_true(s > 0 || average == mean->v[k]);     /* no head predicts anything of it */
                if (!(s > 1e-3 * widest)) continue;              /* what float32 rounds away */
                largest = fmax(largest, fabs(average - mean->v[k]) / (s / sqrt(SEEDS)));
                variance += seen / (s * s);
                count++;
            }
        }
    }
    print_message("%s: %zu values of S from drawn targets: variance %.2f times what it should be, largest deviation of the mean %.2f standard errors\n", network, count,
                  variance / (double)count, largest);
    assert_true(largest < 5);
    assert_true(variance / (double)count > .6 && variance / (double)count < 1.6);
}

static void scatter(const char *network, const char *data)
{
    struct drawn *sums = calloc(MOST_PLACES, sizeof *sums);
    struct recorded *r = recorded_read(network);
    struct lab l;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        lab_golden(&l, network, seed);
        gather(&l, data, TILES, PRUNE_FISHER_SAMPLED, NULL);
        add_drawn(&l, sums);
        if (seed < SEEDS) lab_close(&l);
    }
    compare_drawn(&l, r, sums, network);
    lab_close(&l);
    recorded_free(r);
    free(sums);
}

static void drawn_labels_scatter_about_the_true_fisher(void **state)
{
    const char *data = tiles_data(false);
    (void)state;
    for (size_t i = 0; i < 3; i++) scatter(FACTORED[i], data);
}

/* Targets of a detector are drawn from what its heads predict: the expectation is J^T R J. Its variance is taken from the seeds. */
static void drawn_boxes_scatter_about_the_curvature_of_the_loss(void **state)
{
    (void)state;
    scatter("detector", scenes_data());
}

/* ---- networks of one layer: factors and exact Fisher matrix ---- */

static const struct { const char *what, *layers; bool pooled; } ONE_LAYER[] = {
    {"connected", "[connected]\noutput=4\nactivation=linear\n", false},
    {"convolution as large as the map", "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=0\nactivation=linear\n", false},
    {"1x1 convolution", "[avgpool]\n[convolutional]\nfilters=4\nsize=1\nstride=1\npad=0\nactivation=linear\n", true}};

/* F of one image in double: the sum over labels c of p_c vec(g_c) vec(g_c)^T with g_c = (p - e_c) a^T. */
static double exact_fisher(const double *p, const double *a, size_t d, size_t i, size_t j, size_t k, size_t m)
{
    (void)d;
    double sum = 0;
    for (size_t c = 0; c < KINDS; c++) sum += p[c] * (p[i] - (i == c)) * a[k] * (p[j] - (j == c)) * a[m];
    return sum;
}

static size_t patch_of(const float *pixels, bool pooled, double *a)
{
    for (size_t k = 0; k < 27; k++) {
        if (pooled) a[k / 9] = (k % 9 ? a[k / 9] : 0) + (double)pixels[k] / 9;
        else a[k] = (double)pixels[k];
    }
    a[pooled ? 3 : 27] = 1;
    return pooled ? 4 : 28;
}

static void one_layer_has_the_exact_fisher(void **state)
{
    const char *data = tiles_data(true);
    (void)state;
    for (size_t t = 0; t < sizeof ONE_LAYER / sizeof *ONE_LAYER; t++) {
        const char *cfg = write_text("one.cfg", "[net]\nbatch=4\nsubdivisions=1\nwidth=3\nheight=3\nchannels=3\nmax_batches=10\n%s[softmax]\n", ONE_LAYER[t].layers);
        struct lab l;
        float *pixels;
        double a[28], worst = 0, scale = 0;
        lab_open(&l, cfg, NULL, 5);
        double *p = probabilities(&l, data, KINDS, &pixels);       /* one image, each label */
        gather(&l, data, KINDS, PRUNE_FISHER_EMPIRICAL, p);
        size_t d = patch_of(pixels, ONE_LAYER[t].pooled, a);
        const struct prune_kfac_factors f = factors_of(&l, ONE_LAYER[t].pooled ? 1 : 0);
        assert_true(f.shape.groups == 1 && f.shape.n == KINDS && f.shape.d == d && f.shape.bias);
        for (size_t i = 0; i < KINDS; i++)
            for (size_t j = 0; j < KINDS; j++)
                for (size_t k = 0; k < d; k++)
                    for (size_t m = 0; m < d; m++) {
                        double exact = exact_fisher(p, a, d, i, j, k, m);
                        worst = fmax(worst, fabs((double)f.s[i * KINDS + j] * (double)f.a[k * d + m] - exact));
                        scale = fmax(scale, fabs(exact));
                    }
        print_message("%s: S (x) A is the exact Fisher matrix within %.1e of its largest value\n", ONE_LAYER[t].what, worst / scale);
        assert_true(scale > 1e-3 && worst < 1e-5 * scale);
        free(p);
        free(pixels);
        lab_close(&l);
    }
}

/* ---- Hessian-vector products ---- */

static enum prune_code take_product(void *user, const struct prune_signals *s, struct prune_status *st)
{
    double *out = user;
    (void)st;
    assert_true(s->gate_product.data && s->gate_product.type == PRUNE_F64 && s->gate_product.shape[s->gate_product.rank - 1] == s->units);
    memcpy(out, s->gate_product.data, s->units * sizeof *out);
    return PRUNE_OK;
}

static void attach_at(struct lab *l, enum prune_gate_choice place)
{
    struct prune_gate_site *sites;
    struct prune_status st = {0};
    size_t count;
    if (place == PRUNE_GATE_PRODUCERS) ok(prune_gate_producers(&l->units, &l->shape, &sites, &count, &st), &st);
    else ok(prune_gate_sites(&l->units, place, &sites, &count, &st), &st);
    ok(host()->gates_attach(l->net, sites, count, l->units.count, &st), &st);
    free(sites);
}

static double product_off(struct lab *l, const struct recorded *r, const char *data, enum prune_gate_choice place, double *largest)
{
    char name[2][40];
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    struct prune_score_options o = {.minibatch = TILES, .signals = PRUNE_SIGNAL_PRODUCT};
    struct prune_status st = {0};
    size_t n = l->units.count;
    double *ours = calloc(n, sizeof *ours), off = 0;
    snprintf(name[0], sizeof name[0], "direction.%s", prune_gate_choice_name(place));
    snprintf(name[1], sizeof name[1], "product.%s", prune_gate_choice_name(place));
    float *v = as_float(find(r, name[0], -1, 0, n));
    const struct recorded_matrix *theirs = find(r, name[1], -1, 0, n);
    o.direction = v;
    attach_at(l, place);
    ok(host()->score(l->net, &set, &o, take_product, ours, &st), &st);
    for (size_t u = 0; u < n; u++) {
        if (l->units.items[u].protected_because) continue;
        off = fmax(off, isfinite(ours[u]) ? fabs(ours[u] - theirs->v[u]) : INFINITY);
        *largest = fmax(*largest, fabs(theirs->v[u]));
    }
    free(v);
    free(ours);
    return off;
}

static void products_are_the_recorded_ones(void **state)
{
    static const enum prune_gate_choice PLACES[] = {PRUNE_GATE_AFTER_BN, PRUNE_GATE_BEFORE_BN, PRUNE_GATE_PRODUCERS};
    static const char *const NETWORKS[] = {"plain", "residual", "grouped", "kinked"};
    (void)state;
    if (!(host()->capabilities & PRUNE_SIGNAL_PRODUCT)) {
        print_message("skip: this host has no products\n");
        skip();
    }
    const char *data = tiles_data(false);
    for (size_t i = 0; i < 4; i++)
        for (size_t p = 0; p < 3; p++) {
            struct recorded *r = recorded_read(NETWORKS[i]);
            struct lab l;
            double largest = 0;
            lab_golden(&l, NETWORKS[i], 1);
            double off = product_off(&l, r, data, PLACES[p], &largest);
            print_message("%s, gates %s: H v within %.1e of its largest value\n", NETWORKS[i], prune_gate_choice_name(PLACES[p]), off / largest);
            assert_true(largest > 0 && off < 2e-5 * largest);
            lab_close(&l);
            recorded_free(r);
        }
}

/* ---- SOSP ---- */

struct pairs { double *sums, *gradient; size_t units, images, probes; };

static enum prune_code take_probes(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct pairs *x = user;
    const float *p = s->gate_probes.data;
    (void)st;
    assert_true(p && s->gate_probes.rank == 3 && s->gate_probes.shape[2] == x->units && s->gate_probes.strides[2] == 1);
    x->probes = s->gate_probes.shape[1];
    for (size_t b = 0; b < s->gate_probes.shape[0]; b++)
        for (size_t k = 0; k < x->probes; k++) {
            const float *row = p + (ptrdiff_t)b * s->gate_probes.strides[0] + (ptrdiff_t)k * s->gate_probes.strides[1];
            for (size_t i = 0; i < x->units; i++)
                for (size_t j = 0; j < x->units; j++) x->sums[i * x->units + j] += (double)row[i] * (double)row[j];
        }
    for (size_t u = 0; u < x->units; u++) x->gradient[u] += ((const double *)s->gate_batch.data)[u] * (double)s->images;
    x->images += s->images;
    return PRUNE_OK;
}

/* Q of two units from gates, with the columns of the curvature's root for probes. */
static double pair_of(const struct pairs *x, size_t i, size_t j)
{
    double images = (double)x->images;
    return fabs(x->sums[i * x->units + j]) / (images * (double)x->probes) / 2 + (i == j ? fabs(x->gradient[i]) / images : 0);
}

static double pairs_off(const struct lab *l, const struct recorded *r, const struct pairs *x)
{
    size_t free_count = 0, a = 0;
    double off = 0, largest = 0;
    for (size_t u = 0; u < l->units.count; u++) free_count += !l->units.items[u].protected_because;
    const struct recorded_matrix *q = find(r, "Q", -1, 0, free_count * free_count);
    for (size_t i = 0; i < l->units.count; i++) {
        if (l->units.items[i].protected_because) continue;
        for (size_t j = 0, b = 0; j < l->units.count; j++) {
            if (l->units.items[j].protected_because) continue;
            double theirs = q->v[a * free_count + b++];
            off = fmax(off, fabs(pair_of(x, i, j) - theirs));
            largest = fmax(largest, theirs);
        }
        a++;
    }
    return off / largest;
}

static void gates_on_producers_give_the_matrix_of_sosp(void **state)
{
    const char *data = tiles_data(false);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    const struct prune_score_options o = {.minibatch = 7, .signals = PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_GATE_BATCH, .probes = PRUNE_PROBES_EXACT};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct recorded *r = recorded_read(FACTORED[i]);
        struct lab l;
        struct prune_status st = {0};
        lab_golden(&l, FACTORED[i], 1);
        struct pairs x = {calloc(l.units.count * l.units.count, sizeof(double)), calloc(l.units.count, sizeof(double)), l.units.count, 0, 0};
        attach_at(&l, PRUNE_GATE_PRODUCERS);
        ok(host()->score(l.net, &set, &o, take_probes, &x, &st), &st);
        double off = pairs_off(&l, r, &x);
        print_message("%s: Q within %.1e of its largest value\n", FACTORED[i], off);
        assert_true(x.images == TILES && x.probes == KINDS && off < 5e-6);
        free(x.sums);
        free(x.gradient);
        lab_close(&l);
        recorded_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_of_the_labels_are_the_recorded_ones),
        cmocka_unit_test(the_expectation_over_labels_is_the_true_fisher),
        cmocka_unit_test(drawn_labels_scatter_about_the_true_fisher),
        cmocka_unit_test(drawn_boxes_scatter_about_the_curvature_of_the_loss),
        cmocka_unit_test(one_layer_has_the_exact_fisher),
        cmocka_unit_test(products_are_the_recorded_ones),
        cmocka_unit_test(gates_on_producers_give_the_matrix_of_sosp),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
