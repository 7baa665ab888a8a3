/* What the signal LAYERS costs: layers_cost data cfg weights batch steps rounds. Training steps without and with it, and scoring passes over as many images with
 * other signals and with it, in turns; the least seconds per batch of each (by the clock, of the processor) over the rounds, and the ratio to its plain row. The sink looks at nothing. */
#include <math.h>

#include "../../darknet/host_pjreddie.h"
#include "../../plugin/base/progress.h"
#include "measure.h"

static const struct { const char *name; bool training; unsigned signals; enum prune_fisher fisher; int plain; } ROWS[] = {
    {"training step", true, 0, 0, 0},
    {"training step, the labels' layers", true, PRUNE_SIGNAL_LAYERS, PRUNE_FISHER_EMPIRICAL, 0},
    {"training step, sampled layers", true, PRUNE_SIGNAL_LAYERS, PRUNE_FISHER_SAMPLED, 0},
    {"scoring, gradients of parameters", false, PRUNE_SIGNAL_PARAMETERS, 0, 3},
    {"scoring, the labels' layers", false, PRUNE_SIGNAL_LAYERS, PRUNE_FISHER_EMPIRICAL, 3},
    {"scoring, sampled layers", false, PRUNE_SIGNAL_LAYERS, PRUNE_FISHER_SAMPLED, 3},
};
enum { ROW_COUNT = sizeof ROWS / sizeof *ROWS };

static enum prune_code look(void *user, const struct prune_signals *s, struct prune_status *st)
{
    (void)user, (void)s, (void)st;
    return PRUNE_OK;
}

struct times { double wall, cpu; };

static void keep_least(struct times *t, double wall, double cpu, int steps)
{
    wall = (prune_now() - wall) / steps;
    cpu = (processor_now() - cpu) / steps;
    if (wall < t->wall) t->wall = wall;
    if (cpu < t->cpu) t->cpu = cpu;
}

static void train(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, int steps, struct times *t)
{
    const struct prune_step_options move = {.rate = 1e-6, .momentum = .9};
    struct prune_status st = {0};
    struct prune_step out;
    check(darknet_host()->train_start(net, set, o, look, NULL, &st), &st);
    check(darknet_host()->train_step(net, &move, &out, &st), &st);   /* the loader has the next images ready from now on */
    double wall = prune_now(), cpu = processor_now();
    for (int i = 0; i < steps; i++) check(darknet_host()->train_step(net, &move, &out, &st), &st);
    keep_least(t, wall, cpu, steps);
    darknet_host()->train_stop(net);
}

static void score(struct prune_host_net *net, struct prune_image_set set, const struct prune_score_options *o, int steps, struct times *t)
{
    struct prune_status st = {0};
    set.limit = (size_t)steps * o->minibatch;
    double wall = prune_now(), cpu = processor_now();
    check(darknet_host()->score(net, &set, o, look, NULL, &st), &st);
    keep_least(t, wall, cpu, steps);
}

int main(int argc, char **argv)
{
    struct prune_host_net *net;
    struct prune_status st = {0};
    struct times times[ROW_COUNT];
    if (argc != 7) return fprintf(stderr, "usage: layers_cost data cfg weights batch steps rounds\n"), 2;
    const int batch = atoi(argv[4]), steps = atoi(argv[5]), rounds = atoi(argv[6]);
    const struct prune_open_options open = {.seed = 1, .batch = batch, .quiet = true};
    const struct prune_image_set set = {.data_path = argv[1], .role = PRUNE_DATA_TRAIN};
    check(darknet_host()->open(NULL, argv[2], argv[3], &open, &net, &st), &st);
    for (int r = 0; r < ROW_COUNT; r++) times[r] = (struct times){INFINITY, INFINITY};
    for (int round = 0; round < rounds; round++)
        for (int r = 0; r < ROW_COUNT; r++) {
            const struct prune_score_options o = {.minibatch = (size_t)batch, .signals = ROWS[r].signals, .fisher = ROWS[r].fisher};
            if (ROWS[r].training) train(net, &set, &o, steps, &times[r]);
            else score(net, set, &o, steps, &times[r]);
        }
    printf("%-36s %10s %10s %8s %8s\n", "per batch", "clock ms", "cpu ms", "ratio", "of cpu");
    for (int r = 0; r < ROW_COUNT; r++)
        printf("%-36s %10.1f %10.1f %8.3f %8.3f\n", ROWS[r].name, 1e3 * times[r].wall, 1e3 * times[r].cpu, times[r].wall / times[ROWS[r].plain].wall,
               times[r].cpu / times[ROWS[r].plain].cpu);
    darknet_host()->close(net);
    return 0;
}
