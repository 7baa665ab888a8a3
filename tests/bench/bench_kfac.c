/* What K-FAC costs. bench_kfac solve: the factors of ResNet-50's layers, filled with random positive definite statistics, become scores; seconds of each kind of layer,
 * in all, and the peak of memory (all factors in the state at once). bench_kfac hook data cfg weights images minibatch rounds: training steps without and with K-FAC
 * statistics, in turns, medians of seconds and their ratio; then the same for a scoring pass. */
#include <cblas.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "../../darknet/host_pjreddie.h"
#include "../../plugin/base/background.h"
#include "../../plugin/base/progress.h"
#include "../../plugin/base/random.h"
#include "../../plugin/model/weights_file.h"
#include "../../plugin/score/kfac.h"
#include "../../plugin/score/scoring.h"
#include "measure.h"

enum { ROUNDS = 99 };

static double peak_megabytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024 / 1e6;
}

/* ---- the solve ---- */

/* ResNet-50's cfg: a stem, four stages of bottleneck blocks, the classifier. malloc'd. */
static char *resnet50(void)
{
    static const struct { int blocks, width, stride; } STAGES[] = {{3, 64, 1}, {4, 128, 2}, {6, 256, 2}, {3, 512, 2}};
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) exit(1);
    const char *conv = "[convolutional]\nbatch_normalize=1\nfilters=%d\nsize=%d\nstride=%d\npad=1\nactivation=%s\n\n";
    fprintf(f, "[net]\nbatch=1\nsubdivisions=1\nheight=224\nwidth=224\nchannels=3\n\n");
    fprintf(f, conv, 64, 7, 2, "relu");
    fprintf(f, "[maxpool]\nsize=2\nstride=2\n\n");
    for (int s = 0; s < 4; s++)
        for (int b = 0; b < STAGES[s].blocks; b++) {
            int stride = b ? 1 : STAGES[s].stride, from = b ? -4 : -5;
            if (!b) fprintf(f, conv, 4 * STAGES[s].width, 1, stride, "linear");   /* the shortcut's own, then back to its input */
            if (!b) fprintf(f, "[route]\nlayers=-2\n\n");
            fprintf(f, conv, STAGES[s].width, 1, 1, "relu");
            fprintf(f, conv, STAGES[s].width, 3, stride, "relu");
            fprintf(f, conv, 4 * STAGES[s].width, 1, 1, "linear");
            fprintf(f, "[shortcut]\nfrom=%d\nactivation=relu\n\n", from);
        }
    fprintf(f, "[avgpool]\n\n[connected]\noutput=1000\nactivation=linear\n\n[softmax]\n");
    fclose(f);
    return text;
}

/* A mean of products of random vectors and a diagonal: positive definite, as many ranks as rows cost little. */
static void fill(float *m, size_t n, uint64_t seed)
{
    enum { RANK = 32 };
    float *x = malloc(RANK * n * sizeof *x);
    if (!x) exit(1);
    struct prune_random r = prune_random_make(seed, 9, 9);
    for (size_t i = 0; i < RANK * n; i++) x[i] = (float)prune_random_normal(&r);
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)n, RANK, 1.0f / RANK, x, (int)n, 0, m, (int)n);
    for (size_t i = 0; i < n; i++) {
        m[i * n + i] += 0.1f;
        for (size_t j = 0; j < i; j++) m[j * n + i] = m[i * n + j];
    }
    free(x);
}

static double seconds_of(const struct prune_kfac_factors *f, const float *weights, double *scores, double *cpu)
{
    struct prune_status st = {0};
    double start = prune_now(), processor = processor_now();
    for (size_t g = 0; g < f->shape.groups; g++) {
        struct prune_kfac_damped damped;
        check(prune_kfac_damp(&damped, f, g, 1e-3, &st), &st);
        check(prune_kfac_factorise(&damped, &st), &st);
        for (int form = 0; form <= PRUNE_KFAC_KRON_OBS; form++) prune_kfac_filter_scores(&damped, (enum prune_kfac_form)form, weights, scores);
        prune_kfac_damped_free(&damped);
    }
    *cpu += processor_now() - processor;
    return prune_now() - start;
}

static int solve(void)
{
    struct prune_status st = {0};
    struct prune_cfg cfg;
    struct prune_net net;
    char *text = resnet50();
    check(prune_cfg_parse(&cfg, "resnet50.cfg", text, strlen(text), &st), &st);
    check(prune_net_build(&net, &cfg, &st), &st);
    struct prune_kfac_shape shape;
    size_t floats = 0, largest = 0, layers = 0, most = 0, at = 0;
    for (int i = 0; i < (int)net.layer_count; i++)
        if (prune_kfac_shape(&net, i, &shape)) floats += shape.d * shape.d + shape.n * shape.n, layers++;
    float *all = calloc(floats, sizeof *all), *weights = calloc((size_t)4608 * 2048, sizeof *weights);
    double *scores = calloc(4096, sizeof *scores), total = 0, longest = 0, cpu = 0;
    if (!all || !weights || !scores) return 1;
    for (size_t i = 0; i < (size_t)4608 * 2048; i++) weights[i] = (float)(i % 7) * 0.01f;
    for (int i = 0; i < (int)net.layer_count; i++) {
        if (!prune_kfac_shape(&net, i, &shape)) continue;
        const struct prune_kfac_factors f = {shape, all + at, all + at + shape.d * shape.d, 1};
        fill(all + at, shape.d, (uint64_t)i);
        fill(all + at + shape.d * shape.d, shape.n, (uint64_t)i + 1000);
        at += shape.d * shape.d + shape.n * shape.n;
        double seconds = seconds_of(&f, weights, scores, &cpu);
        total += seconds;
        if (seconds > longest) longest = seconds;
        if (shape.d > largest) largest = shape.d;
        if (shape.n > most) most = shape.n;
    }
    printf("%zu layers, %.1f MB of factors, largest %zu and %zu: %.1f s in all (longest layer %.1f s), %.1f s of the processor, peak %.0f MB\n", layers, (double)floats * 4e-6, largest, most, total, longest, cpu,
           peak_megabytes());
    return 0;
}

/* ---- the hook and the pass ---- */

struct clocks { double wall, cpu; };

static struct clocks now(void) { return (struct clocks){prune_now(), processor_now()}; }

struct bench {
    struct prune_scoring s;
    struct prune_cfg cfg; struct prune_net net; struct prune_units units; struct prune_weights weights;
    const struct prune_criterion *nap;
    struct prune_scored item;
    struct prune_background *background;
};

static enum prune_code on_signals(void *user, const struct prune_signals *signals, struct prune_status *st)
{
    struct bench *b = user;
    (void)st;
    if (b->item.state) b->nap->accumulate(b->item.state, &b->s.input, signals);
    return PRUNE_OK;
}

static struct clocks train(struct bench *b, size_t images, bool statistics)
{
    struct prune_status st = {0};
    struct prune_image_set set = b->s.set;
    const struct prune_host *host = b->s.host;
    const struct prune_score_options o = {.signals = statistics ? PRUNE_SIGNAL_LAYERS : 0};
    const struct prune_step_options step = {1e-9, 0.9, 0};
    set.limit = 0;
    if (statistics) check(prune_scored_init(&b->item, 1, &b->s.input, &st), &st);
    check(host->train_start(b->s.host_net, &set, &o, statistics ? on_signals : NULL, b, &st), &st);
    struct prune_step done;
    check(host->train_step(b->s.host_net, &step, &done, &st), &st);           /* loaders and buffers are warm */
    prune_background_drain(b->background);
    struct clocks start = now(), end;
    for (size_t seen = 0; seen < images; seen += done.images) check(host->train_step(b->s.host_net, &step, &done, &st), &st);
    prune_background_drain(b->background);
    end = now();
    host->train_stop(b->s.host_net);
    if (statistics) prune_scored_free(&b->item, 1);
    return (struct clocks){end.wall - start.wall, end.cpu - start.cpu};
}

static struct clocks score(struct bench *b)
{
    struct prune_status st = {0};
    struct prune_scoring_facts facts = {0};
    check(prune_scored_init(&b->item, 1, &b->s.input, &st), &st);
    struct clocks start = now(), end;
    check(prune_scoring_feed(&b->s, &b->item, 1, &facts, &st), &st);
    end = now();
    prune_scored_free(&b->item, 1);
    return (struct clocks){end.wall - start.wall, end.cpu - start.cpu};
}

static int hook(char **argv)
{
    struct prune_status st = {0};
    struct bench b = {.nap = prune_criterion_find("nap")};
    size_t images = strtoul(argv[5], NULL, 10), minibatch = strtoul(argv[6], NULL, 10);
    int rounds = atoi(argv[7]);
    if (rounds > ROUNDS) rounds = ROUNDS;
    const struct prune_open_options o = {.seed = 1, .batch = (int)minibatch, .quiet = true};
    double plain[ROUNDS], hook_ratio[2][ROUNDS], pass_ratio[2][ROUNDS];
    b.item.criterion = b.nap;
    b.s.host = darknet_host();
    check(prune_net_read(&b.cfg, &b.net, argv[3], &st), &st);
    check(prune_units_build(&b.units, &b.net, &st), &st);
    check(prune_weights_open(&b.weights, argv[4], &b.net, &st), &st);
    check(prune_background_start(&b.background, (size_t)128 << 20, &st), &st);
    b.s.input = (struct prune_score_input){.net = &b.net, .units = &b.units, .weights = &b.weights, .seed = 1, .background = b.background};
    b.s.set = (struct prune_image_set){.data_path = argv[2], .role = PRUNE_DATA_TRAIN, .limit = images};
    b.s.minibatch = minibatch;
    check(b.s.host->open(b.s.host->context, argv[3], argv[4], &o, &b.s.host_net, &st), &st);
    for (int i = 0; i < rounds; i++) {
        struct clocks step = train(&b, images, false), fed = train(&b, images, true), pass = score(&b);
        plain[i] = step.wall;
        hook_ratio[0][i] = fed.wall / step.wall, hook_ratio[1][i] = fed.cpu / step.cpu;
        pass_ratio[0][i] = pass.wall / step.wall, pass_ratio[1][i] = pass.cpu / step.cpu;
    }
    printf("training %.3f s; with statistics %.2f times by the clock, %.2f of the processor; a scoring pass %.2f and %.2f times; %zu images, medians of %d\n", median(plain, rounds),
           median(hook_ratio[0], rounds), median(hook_ratio[1], rounds), median(pass_ratio[0], rounds), median(pass_ratio[1], rounds), images, rounds);
    b.s.host->close(b.s.host_net);
    prune_background_stop(b.background);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "solve") == 0) return solve();
    if (argc == 8 && strcmp(argv[1], "hook") == 0) return hook(argv);
    fprintf(stderr, "usage: bench_kfac solve | hook data cfg weights images minibatch rounds\n");
    return 2;
}
