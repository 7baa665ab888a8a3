/* What a criterion costs, as a multiple of plain training steps over the same number of images: criteria_cost data cfg weights images minibatch rounds criterion...
 * For each criterion, in a process of its own (so that its peak of memory is its own): `rounds` times plain training over `images` images, then the passes of
 * the criterion over as many, in turns; medians of the ratios, of seconds by the clock and of the processor. Reading images is part of both. A row per criterion. */
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../darknet/host_pjreddie.h"
#include "../../plugin/base/progress.h"
#include "../../plugin/model/weights_file.h"
#include "../../plugin/score/scoring.h"
#include "measure.h"

enum { ROUNDS = 99 };

struct clocks { double wall, cpu; };

struct bench {
    struct prune_scoring s;
    struct prune_cfg cfg; struct prune_net net; struct prune_units units; struct prune_weights weights;
    size_t images, minibatch;
    int rounds;
};

static struct clocks now(void)
{
    return (struct clocks){prune_now(), processor_now()};
}

static struct clocks since(struct clocks start)
{
    struct clocks end = now();
    return (struct clocks){end.wall - start.wall, end.cpu - start.cpu};
}

static double peak_megabytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024 / 1e6;
}

static void open_all(struct bench *b, char **argv)
{
    struct prune_status st = {0};
    const struct prune_open_options o = {.seed = 1, .batch = (int)b->minibatch, .quiet = true};
    b->s.host = darknet_host();
    check(prune_net_read(&b->cfg, &b->net, argv[2], &st), &st);
    check(prune_units_build(&b->units, &b->net, &st), &st);
    check(prune_weights_open(&b->weights, argv[3], &b->net, &st), &st);
    check(b->s.host->open(NULL, argv[2], argv[3], &o, &b->s.host_net, &st), &st);
    b->s.input = (struct prune_score_input){.net = &b->net, .units = &b->units, .weights = &b->weights, .seed = 1, .norm = 2};
    b->s.set = (struct prune_image_set){.data_path = argv[1], .limit = b->images, .letterbox = 1};
    b->s.minibatch = b->minibatch;
}

static struct clocks train(const struct bench *b)
{
    struct prune_status st = {0};
    const struct prune_host *host = b->s.host;
    const struct prune_step_options o = {.rate = 1e-6, .momentum = 0.9, .decay = 0};
    struct prune_image_set all = b->s.set;
    all.limit = 0;
    check(host->gates_attach(b->s.host_net, NULL, 0, b->units.count, &st), &st);
    check(host->train_start(b->s.host_net, &all, NULL, NULL, NULL, &st), &st);
    struct prune_step step = {0};
    check(host->train_step(b->s.host_net, &o, &step, &st), &st);      /* the loader has the next images ready from now on */
    struct clocks start = now();
    for (size_t done = 0; done < b->images; done += step.images) check(host->train_step(b->s.host_net, &o, &step, &st), &st);
    struct clocks sum = since(start);
    host->train_stop(b->s.host_net);
    return sum;
}

static struct clocks score(const struct bench *b, struct prune_scored *item)
{
    struct prune_status st = {0};
    struct prune_scoring_facts facts = {0};
    struct clocks start = now();
    check(prune_scored_init(item, 1, &b->s.input, &st), &st);
    check(prune_scoring_feed(&b->s, item, 1, &facts, &st), &st);
    check(prune_scored_finish(item, 1, &b->s.input, &st), &st);
    struct clocks sum = since(start);
    prune_scored_free(item, 1);
    return sum;
}

static void measure(char **argv, struct bench *b, const char *name)
{
    double wall[ROUNDS], cpu[ROUNDS], seconds[ROUNDS];
    struct prune_scored item = {.criterion = prune_criterion_find(name)};
    if (!item.criterion) {
        fprintf(stderr, "criteria_cost: no criterion '%s'\n", name);
        exit(2);
    }
    open_all(b, argv);
    (void)train(b);
    double plain_peak = peak_megabytes();
    (void)score(b, &item);
    for (int i = 0; i < b->rounds; i++) {
        struct clocks plain = train(b), passes = score(b, &item);
        wall[i] = passes.wall / plain.wall;
        cpu[i] = passes.cpu / plain.cpu;
        seconds[i] = passes.wall;
    }
    double middle = median(wall, b->rounds);
    printf("| `%s` | %.2f | %.3f (%.3f to %.3f) | %.3f | %.0f | %.0f |\n", name, median(seconds, b->rounds), middle, wall[0], wall[b->rounds - 1], median(cpu, b->rounds),
           peak_megabytes(), plain_peak);
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 8) {
        fprintf(stderr, "usage: criteria_cost data cfg weights images minibatch rounds criterion...\n");
        return 2;
    }
    struct bench b = {.images = (size_t)atoi(argv[4]), .minibatch = (size_t)atoi(argv[5]), .rounds = atoi(argv[6])};
    if (b.images < 1 || b.minibatch < 1 || b.rounds < 1 || b.rounds > ROUNDS) {
        fprintf(stderr, "criteria_cost: images and minibatch are whole numbers above 0, rounds is in 1..%d\n", ROUNDS);
        return 2;
    }
    printf("| criterion (%zu images) | seconds | of plain training steps, median (range of %d) | of their processor time | peak MB | of plain training, MB |\n|---|---|---|---|---|---|\n", b.images, b.rounds);
    for (int i = 7; i < argc; i++) {
        int status;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) measure(argv, &b, argv[i]);
        if (child < 0 || waitpid(child, &status, 0) < 0 || status) return 1;
    }
    return 0;
}
