/* The training verbs; see train_verb.h. Flow: arguments, cfg and weights through our own checks, data file and every image and label checked,
 * then iterations up to max_batches. Weights are saved atomically; a failure names the last weights on disk; Ctrl-C finishes the iteration,
 * saves <base>.backup and says so. */
#include "train_verb.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../plugin/base/file_io.h"
#include "../plugin/base/progress.h"
#include "../plugin/commands/args.h"
#include "context.h"
#include "gates_file.h"
#include "loader.h"
#include "network_open.h"
#include "train.h"

struct run {
    const struct train_manner *manner;
    struct prune_args args;
    const char *data, *cfg, *weights;
    uint64_t seed;
    long iterations;                  /* 0: not given */
    struct open_network open;
    struct trainer *trainer;
    char *base, *folder, *last_saved;
    uint64_t first, last;             /* iterations to do: first .. last - 1 */
};

static volatile sig_atomic_t stop_asked;   /* a signal handler has no argument of ours */

static void ask_to_stop(int number)
{
    (void)number;
    stop_asked = 1;
}

static const int stop_signals[] = {SIGINT, SIGTERM};
enum { STOP_SIGNALS = 2 };

/* The first Ctrl-C (or SIGTERM of a job queue) asks, the second one ends the process at once. */
static void catch_interrupt(struct sigaction old[STOP_SIGNALS])
{
    struct sigaction action = {0};
    action.sa_handler = ask_to_stop;
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    stop_asked = 0;
    for (int i = 0; i < STOP_SIGNALS; i++) sigaction(stop_signals[i], &action, &old[i]);
}

static enum prune_code read_arguments(struct run *r, int argc, char **argv, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"clear", false}, {"iterations", true}, {"threads", true}, {"seed", true},
                                              {"gpus", true},   {"i", true},          {"nogpu", false},  {0}};
    long threads = 0, seed = 1;
    enum prune_code rc = prune_args_parse(&r->args, argc, argv, flags, 2, 3, st);
    if (!rc) rc = prune_args_int(&r->args, "iterations", 1, 1000000000, 0, &r->iterations, st);
    if (!rc) rc = prune_args_int(&r->args, "threads", 1, 1024, 0, &threads, st);
    if (!rc) rc = prune_args_int(&r->args, "seed", 0, 2147483647, 1, &seed, st);
    if (rc) return rc;
    if (threads) host_context()->threads = (int)threads;
    host_context()->seed = r->seed = (uint64_t)seed;
    r->data = r->args.positional[0];
    r->cfg = r->args.positional[1];
    r->weights = r->args.positional[2];
    if (prune_args_has(&r->args, "gpus")) fprintf(stderr, "-gpus: this program trains on the CPU\n");
    return PRUNE_OK;
}

static enum prune_code open_backup_folder(struct run *r, struct prune_status *st)
{
    struct data_file data;
    enum prune_code rc = data_file_read(&data, r->data, st);
    if (rc) return rc;
    r->folder = strdup(data.backup ? data.backup : "backup");
    data_file_free(&data);
    r->base = prune_base_name(r->cfg);
    if (!r->folder || !r->base) return prune_fail_memory(st, strlen(r->cfg), "paths");
    rc = prune_make_dirs(r->folder, st);
    return rc ? prune_explain(st, "backup folder: ") : PRUNE_OK;
}

static enum prune_code open_net(struct run *r, struct prune_status *st)
{
    enum prune_code rc = network_open(&r->open, r->cfg, r->weights, true, 0, false, st);
    if (rc) return rc;
    network *net = r->open.net;
    bool detector = network_detector_head(net) != NULL;
    if (detector != r->manner->detector)
        return prune_fail(st, "'%s' is a %s: use 'darknet %s train'", r->cfg, detector ? "detector" : "classifier", detector ? "detector" : "classifier");
    if (r->weights && r->open.loaded_layers < (size_t)net->n)
        fprintf(stderr, "NOTE: '%s' holds layers 0 to %zu of %d only; layers %zu to %d start from random numbers\n", r->weights, r->open.loaded_layers - 1, net->n,
                r->open.loaded_layers, net->n - 1);
    if (net->adam) fprintf(stderr, "NOTE: adam=1 has no effect on the CPU: the host trains by SGD with momentum\n");
    if (prune_args_has(&r->args, "clear")) *net->seen = 0;
    return PRUNE_OK;
}

static enum prune_code open_trainer(struct run *r, struct prune_status *st)
{
    network *net = r->open.net;
    struct trainer_options o = {.set = {.data_path = r->data, .role = PRUNE_DATA_TRAIN}, .seed = r->seed, .threads = 0, .multi_scale = true};
    enum prune_code rc = trainer_open(&r->trainer, net, &o, st);
    if (rc) return rc;
    int w, h;
    const layer *head = network_detector_head(net);
    bool random = head ? head->random != 0 : net->random != 0;
    if (random && !trainer_size(r->trainer, 0, &w, &h))
        fprintf(stderr, "NOTE: random=1, but a layer of '%s' cannot be resized: training at %d x %d\n", r->cfg, net->w, net->h);
    return PRUNE_OK;
}

/* Where in the schedule this run stands. */
static enum prune_code find_position(struct run *r, struct prune_status *st)
{
    const network *net = r->open.net;
    uint64_t per_step = (uint64_t)net->batch * (uint64_t)net->subdivisions, done = *net->seen / per_step, most = net->max_batches > 0 ? (uint64_t)net->max_batches : 0;
    if (r->iterations) {
        r->last = (uint64_t)r->iterations;
        return PRUNE_OK;
    }
    if (!most) return prune_fail(st, "'%s' has no max_batches= in its first section: add it, or say -iterations N", r->cfg);
    if (done >= most)
        return prune_fail(st,
                          "'%s' has seen %zu images, that is %" PRIu64 " iterations of %" PRIu64 " images, past max_batches=%" PRIu64
                          " of '%s'; -iterations N trains N iterations more, -clear starts over",
                          r->weights ? r->weights : r->cfg, *net->seen, done, per_step, most, r->cfg);
    r->first = done;
    r->last = most;
    trainer_set_position(r->trainer, done, done * per_step, r->seed);
    return PRUNE_OK;
}

static enum prune_code save(struct run *r, const char *suffix, struct prune_status *st)
{
    char *name = prune_format("%s%s", r->base, suffix), *path = name ? prune_path_join(r->folder, name) : NULL;
    free(name);
    if (!path) return prune_fail_memory(st, strlen(r->folder), "paths");
    fprintf(stderr, "Saving weights to %s\n", path);
    enum prune_code rc = weights_save(r->open.net, path, st);
    if (!rc && r->open.gates) {
        char *gates = gates_path(path);
        rc = gates ? gates_write(gates, &r->open.units, gate_values(r->open.gates), st) : prune_fail_memory(st, strlen(path), "paths");
        free(gates);
    }
    if (rc) {
        free(path);
        return rc;
    }
    free(r->last_saved);
    r->last_saved = path;
    return PRUNE_OK;
}

static enum prune_code save_what_is_due(struct run *r, uint64_t before, struct prune_status *st)
{
    uint64_t iteration = trainer_iteration(r->trainer), number = 0;
    char suffix[64];
    enum prune_code rc = PRUNE_OK;
    if (r->manner->numbered_due(iteration, before, trainer_ordinal(r->trainer), trainer_images(r->trainer), &number)) {
        snprintf(suffix, sizeof suffix, "_%" PRIu64 ".weights", number);
        rc = save(r, suffix, st);
    }
    if (!rc && r->manner->backup_due(iteration)) rc = save(r, ".backup", st);
    return rc;
}

static enum prune_code explain_failure(const struct run *r, struct prune_status *st)
{
    size_t used = strlen(st->message);
    if (r->last_saved) snprintf(st->message + used, sizeof st->message - used, "; last good weights: %s", r->last_saved);
    else snprintf(st->message + used, sizeof st->message - used, "; no weights had been saved yet");
    return st->code;
}

static enum prune_code one_iteration(struct run *r, double *average, struct prune_status *st)
{
    const network *net = r->open.net;
    struct prune_step step;
    uint64_t before = trainer_ordinal(r->trainer);
    double started = prune_now(), rate = schedule_rate(net, trainer_iteration(r->trainer));
    enum prune_code rc = trainer_step(r->trainer, rate, (double)net->momentum, (double)net->decay, &step, st);
    if (rc) return rc;
    *average = *average < 0 ? step.loss : *average * .9 + step.loss * .1;
    struct train_report line = {step.iteration, *net->seen, (double)trainer_ordinal(r->trainer) / (double)trainer_images(r->trainer), step.loss, *average, rate,
                                prune_now() - started};
    r->manner->print(&line);
    fflush(stdout);
    return save_what_is_due(r, before, st);
}

static enum prune_code loop(struct run *r, struct prune_status *st)
{
    double average = -1;
    enum prune_code rc = PRUNE_OK;
    while (!rc && !stop_asked && trainer_iteration(r->trainer) < r->last) rc = one_iteration(r, &average, st);
    if (rc) return explain_failure(r, st);
    if (trainer_iteration(r->trainer) >= r->last) {
        rc = save(r, "_final.weights", st);
        return rc ? explain_failure(r, st) : PRUNE_OK;
    }
    rc = save(r, ".backup", st);
    if (rc) return explain_failure(r, st);
    prune_fail(st, "interrupted after iteration %" PRIu64 " of %" PRIu64 "; the weights so far are in '%s'", trainer_iteration(r->trainer), r->last, r->last_saved);
    st->code = PRUNE_INTERRUPTED;
    return PRUNE_INTERRUPTED;
}

static enum prune_code train(struct run *r, int argc, char **argv, struct prune_status *st)
{
    struct sigaction old[STOP_SIGNALS];
    enum prune_code rc = read_arguments(r, argc, argv, st);
    if (!rc) rc = open_net(r, st);
    if (!rc) rc = open_trainer(r, st);
    if (!rc) rc = find_position(r, st);
    if (!rc) rc = open_backup_folder(r, st);
    if (rc) return rc;
    const network *net = r->open.net;
    fprintf(stderr, "%s\nLearning Rate: %g, Momentum: %g, Decay: %g\n", r->base, (double)net->learning_rate, (double)net->momentum, (double)net->decay);
    fprintf(stderr, "%zu images, iterations %" PRIu64 " to %" PRIu64 ", %d threads, seed %" PRIu64 "\n", trainer_images(r->trainer), r->first + 1, r->last,
            host_context()->threads, r->seed);
    catch_interrupt(old);
    rc = loop(r, st);
    for (int i = 0; i < STOP_SIGNALS; i++) sigaction(stop_signals[i], &old[i], NULL);
    return rc;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-help") || !strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) return true;
    return false;
}

int train_verb(const struct train_manner *manner, int argc, char **argv)
{
    struct run r = {.manner = manner};
    struct prune_status st = {0};
    if (asks_for_help(argc, argv)) {
        fputs(manner->usage, stdout);
        return 0;
    }
    enum prune_code rc = train(&r, argc, argv, &st);
    trainer_close(r.trainer);
    network_close(&r.open);
    free(r.base);
    free(r.folder);
    free(r.last_saved);
    if (rc) fprintf(stderr, "darknet %s train: %s\n", manner->noun, st.message);
    if (rc == PRUNE_USAGE) fputs(manner->usage, stderr);
    return rc == PRUNE_OK ? 0 : rc == PRUNE_USAGE ? 2 : 1;
}
