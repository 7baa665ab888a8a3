/* Which way of computing convolutions is the fastest, shape by shape: our kernels, im2col + OpenBLAS per image and for several images at once,
 * and oneDNN. Every result is checked against double precision sums before it is timed; methods take turns; medians; two threads each.
 *   conv_trials NAME net.cfg batch [-size S] [-part I N] [-rounds R]   every distinct convolution of a network (part I of N), one row each
 *   conv_trials NAME -pruned batch [-part I N] [-rounds R]             shapes with irregular widths, as pruned networks have
 *   conv_trials -table < rows                                          the rows as markdown, with totals per network
 * A row: network, count, first, batch, c, h, w, n, groups, size, stride, pad, oh, ow, then milliseconds per method and pass ('-': not for it). */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conv_trials.h"
#include "../../darknet/context.h"
#include "../../darknet/kernels/overrides.h"
#include "../../plugin/model/net_shape.h"

enum { MAX_SHAPES = 512, MAX_ROUNDS = 101 };

layer make_convolutional_layer(int batch, int h, int w, int c, int n, int groups, int size, int stride, int padding, ACTIVATION activation,
                               int batch_normalize, int binary, int xnor, int adam);

static const struct trial_method *const methods[TRIAL_METHODS] = {&trial_ours, &trial_im2col, &trial_batched, &trial_onednn, &trial_onednn_bare};

/* Ours: the layer's own functions. */
struct ours { layer l; struct trial_tensors t; };

static void *open_ours(const struct trial_shape *s, const struct trial_tensors *t)
{
    struct ours *m = calloc(1, sizeof *m);

    if (!m) abort();
    m->l = make_convolutional_layer(s->batch, s->h, s->w, s->c, s->n, s->groups, s->size, s->stride, s->pad, LINEAR, 0, 0, 0, 0);
    m->t = *t;
    float **own[] = {&m->l.weights, &m->l.weight_updates, &m->l.biases, &m->l.bias_updates, &m->l.output, &m->l.delta};
    float *given[] = {t->weights, t->weight_updates, t->biases, t->bias_updates, t->output, t->delta};
    for (size_t i = 0; i < sizeof own / sizeof *own; ++i) {
        free(*own[i]);
        *own[i] = given[i];
    }
    return m;
}

static void run_ours(void *method, enum trial_pass pass)
{
    struct ours *m = method;
    network net = {.input = m->t.input, .delta = pass == TRIAL_BOTH ? m->t.input_delta : NULL, .train = 1};

    if (pass == TRIAL_FORWARD) forward_convolutional_layer(m->l, net);
    else backward_convolutional_layer(m->l, net);
}

const struct trial_method trial_ours = {"ours", open_ours, run_ours, NULL, NULL, free};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *noise(size_t n, unsigned seed)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);

    if (!p) abort();
    for (size_t i = 0; i < n; ++i) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (float)(int)(seed >> 8) * 0x1p-23f - 1;
    }
    return p;
}

static size_t input_floats(const struct trial_shape *s) { return (size_t)s->batch * (size_t)(s->c * s->h * s->w); }
static size_t output_floats(const struct trial_shape *s) { return (size_t)s->batch * (size_t)(s->n * s->oh * s->ow); }
static size_t weight_floats(const struct trial_shape *s) { return (size_t)s->n * (size_t)(s->c / s->groups * s->size * s->size); }

static struct trial_tensors make_tensors(const struct trial_shape *s)
{
    size_t ins = input_floats(s), outs = output_floats(s), weights = weight_floats(s), n = (size_t)s->n;

    return (struct trial_tensors){noise(ins, 1), noise(ins, 2), noise(weights, 3), noise(weights, 4), noise(n, 5), noise(n, 6), noise(outs, 7), noise(outs, 8)};
}

static void free_tensors(struct trial_tensors *t)
{
    float *all[] = {t->input, t->input_delta, t->weights, t->weight_updates, t->biases, t->bias_updates, t->output, t->delta};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) free(all[i]);
}

/* Runs once from cleared results and compares; returns how often to repeat a call so that it can be timed. */
static int check(const struct trial_method *m, void *method, const struct trial_shape *s, const struct trial_tensors *t, enum trial_pass pass)
{
    memset(t->output, 0x7f, output_floats(s) * sizeof(float));
    memset(t->input_delta, 0, input_floats(s) * sizeof(float));
    memset(t->weight_updates, 0, weight_floats(s) * sizeof(float));
    if (m->before) m->before(method);
    m->run(method, pass);
    if (m->after) m->after(method, pass);
    double error = trial_error(s, t, pass), start = now();
    if (!(error < 1e-5)) {
        fprintf(stderr, "%s: wrong results: error %g of the sum of absolute terms, pass %d\n", m->name, error, (int)pass);
        exit(1);
    }
    m->run(method, pass);
    double seconds = now() - start;
    return seconds > 2e-3 ? 1 : (int)(2e-3 / (seconds + 1e-7)) + 1;
}

/* The pause lets the spinning threads of the method before go to sleep; one call warms up. */
static double milliseconds(const struct trial_method *m, void *method, enum trial_pass pass, int repeats)
{
    usleep(5000);
    m->run(method, pass);
    double start = now();
    for (int i = 0; i < repeats; ++i) m->run(method, pass);
    return (now() - start) * 1e3 / repeats;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *network, const struct trial_shape *s, int rounds)
{
    static double ms[TRIAL_METHODS][TRIAL_PASSES][MAX_ROUNDS];
    struct trial_tensors t = make_tensors(s);
    void *opened[TRIAL_METHODS];
    int repeats[TRIAL_METHODS][TRIAL_PASSES];

    fprintf(stderr, "%s %d->%d %dx%d/%d groups %d at %dx%d:", network, s->c, s->n, s->size, s->size, s->stride, s->groups, s->w, s->h);
    for (int m = 0; m < TRIAL_METHODS; ++m) {
        opened[m] = methods[m]->open(s, &t);
        for (int p = 0; opened[m] && p < TRIAL_PASSES; ++p) repeats[m][p] = check(methods[m], opened[m], s, &t, (enum trial_pass)p);
    }
    fprintf(stderr, "\n");
    for (int r = 0; r < rounds; ++r) for (int m = 0; m < TRIAL_METHODS; ++m) for (int p = 0; opened[m] && p < TRIAL_PASSES; ++p) {
        ms[m][p][r] = milliseconds(methods[m], opened[m], (enum trial_pass)p, repeats[m][p]);
    }
    printf("%s %d %d %d %d %d %d %d %d %d %d %d %d %d", network, s->count, s->first, s->batch, s->c, s->h, s->w, s->n, s->groups, s->size, s->stride, s->pad,
           s->oh, s->ow);
    for (int m = 0; m < TRIAL_METHODS; ++m) for (int p = 0; p < TRIAL_PASSES; ++p) {
        qsort(ms[m][p], (size_t)rounds, sizeof(double), by_value);
        if (opened[m]) printf(" %.4f", ms[m][p][rounds / 2]);
        else printf(" -");
    }
    printf("\n");
    fflush(stdout);
    for (int m = 0; m < TRIAL_METHODS; ++m) if (opened[m]) methods[m]->close(opened[m]);
    free_tensors(&t);
}

static void add_shape(struct trial_shape *shapes, int *count, struct trial_shape s)
{
    s.oh = (s.h + 2 * s.pad - s.size) / s.stride + 1;
    s.ow = (s.w + 2 * s.pad - s.size) / s.stride + 1;
    for (int i = 0; i < *count; ++i) {
        struct trial_shape known = shapes[i];
        known.count = s.count;
        if (memcmp(&known, &s, sizeof s) != 0) continue;
        ++shapes[i].count;
        return;
    }
    if (*count < MAX_SHAPES) shapes[(*count)++] = s;
}

/* The cfg does not own its values one by one: `size` is lent to it. */
static void set_size(struct prune_cfg *cfg, char *size)
{
    for (size_t i = 0; i < cfg->sections[0].option_count; ++i) {
        struct prune_option *o = &cfg->sections[0].options[i];
        if (strcmp(o->key, "width") != 0 && strcmp(o->key, "height") != 0) continue;
        o->value = size;
    }
}

static int network_shapes(struct trial_shape *shapes, const char *path, int batch, char *size)
{
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_status st;
    int count = 0;

    if (prune_cfg_read(&cfg, path, &st)) goto failed;
    if (size) set_size(&cfg, size);
    if (prune_net_build(&net, &cfg, &st)) goto failed;
    for (size_t i = 0; i < net.layer_count; ++i) {
        const struct prune_layer *l = &net.layers[i];
        struct trial_shape s;
        if (l->kind != PRUNE_CONVOLUTIONAL) continue;
        memset(&s, 0, sizeof s);
        s = (struct trial_shape){.batch = batch, .c = l->c, .h = l->h, .w = l->w, .n = l->out_c, .groups = l->groups, .size = l->size, .stride = l->stride,
                                 .pad = l->pad, .count = 1, .first = i == 0};
        add_shape(shapes, &count, s);
    }
    prune_net_free(&net);
    prune_cfg_free(&cfg);
    return count;
failed:
    fprintf(stderr, "%s\n", st.message);
    exit(1);
}

static int pruned_shapes(struct trial_shape *shapes, int batch)
{
    static const int widths[][4] = {{11, 23, 32, 1}, {23, 11, 32, 1}, {19, 45, 16, 1}, {45, 19, 16, 1}, {57, 57, 8, 1}, {23, 45, 32, 2}, {37, 150, 28, 0}, {13, 13, 14, -1}};
    int count = 0;

    for (size_t i = 0; i < sizeof widths / sizeof *widths; ++i) {
        const int *v = widths[i];
        struct trial_shape s = {.batch = batch, .c = v[0], .h = v[2], .w = v[2], .n = v[1], .groups = 1, .size = 3, .stride = v[3] > 1 ? v[3] : 1, .pad = 1, .count = 1};
        if (v[3] == 0) s.size = 1, s.pad = 0;
        if (v[3] < 0) s.groups = v[0];
        add_shape(shapes, &count, s);
    }
    return count;
}

/* OpenMP reads its settings when the program is loaded. */
static void need_openmp_threads(char **argv)
{
    char text[16], *set = getenv("OMP_NUM_THREADS");

    snprintf(text, sizeof text, "%d", TRIAL_THREADS);
    if (set && strcmp(set, text) == 0) return;
    setenv("OMP_NUM_THREADS", text, 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    static struct trial_shape shapes[MAX_SHAPES];
    int part = 0, parts = 1, rounds = 5;
    char *size = NULL;

    if (argc == 2 && strcmp(argv[1], "-table") == 0) return trial_tables(stdin);
    for (int i = 4; i < argc; ++i) {
        if (strcmp(argv[i], "-size") == 0 && i + 1 < argc) size = argv[++i];
        else if (strcmp(argv[i], "-rounds") == 0 && i + 1 < argc) rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "-part") == 0 && i + 2 < argc) part = atoi(argv[i + 1]), parts = atoi(argv[i + 2]), i += 2;
        else argc = 0;
    }
    int batch = argc > 3 ? atoi(argv[3]) : 0;
    if (batch < TRIAL_THREADS || rounds < 1 || rounds > MAX_ROUNDS || parts < 1) {
        fprintf(stderr, "usage: conv_trials NAME net.cfg|-pruned batch [-size S] [-part I N] [-rounds R]\n       conv_trials -table < rows\n");
        return 2;
    }
    need_openmp_threads(argv);
    host_context()->threads = TRIAL_THREADS;
    openblas_set_num_threads(1);
    if (!trial_onednn_present) fprintf(stderr, "oneDNN not installed: skipped\n");
    int count = strcmp(argv[2], "-pruned") == 0 ? pruned_shapes(shapes, batch) : network_shapes(shapes, argv[2], batch, size);
    for (int i = part * count / parts; i < (part + 1) * count / parts; ++i) measure(argv[1], &shapes[i], rounds);
    return 0;
}
