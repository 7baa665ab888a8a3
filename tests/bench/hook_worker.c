/* What the training hook costs: training steps of the same network with and without the signals of a criterion, in one process. Without: the layers' own
 * functions, no gates. With: gates on every unit, the hook around the pass, the criterion fed. Commands (worker.h): "on", "off" -> {"seconds"},
 * "peak" -> {"megabytes"}. Gates are attached before the first "on" only, so that a process which never hears "on" shows the memory without them.
 *   hook_worker cfg weights input truth threads criterion */
#include <darknet.h>

#include "../../darknet/context.h"
#include "../../darknet/network_open.h"
#include "../../darknet/train_hook.h"
#include "../../plugin/score/criteria.h"
#include "measure.h"
#include "worker.h"

typedef void layer_function(layer, network);
struct pointers { layer_function *forward, *backward; layer *field; };

struct bench {
    struct open_network open;
    struct prune_units units;
    const struct prune_criterion *criterion;
    struct prune_score_input score;
    void *state;
    struct train_hook hook;
    struct pointers *plain, *gated;
    double *image_loss;
    float *input, *truth;
};

static void *room(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p) exit(1);
    return p;
}

static struct pointers *pointers_of(const network *net)
{
    struct pointers *p = room((size_t)net->n, sizeof *p);
    for (int i = 0; i < net->n; ++i) p[i] = (struct pointers){net->layers[i].forward, net->layers[i].backward, net->layers[i].wg};
    return p;
}

static void put_pointers(network *net, const struct pointers *p)
{
    for (int i = 0; i < net->n; ++i) {
        net->layers[i].forward = p[i].forward;
        net->layers[i].backward = p[i].backward;
        net->layers[i].wg = p[i].field;
    }
}

static enum prune_code feed(void *user, const struct prune_signals *signals, struct prune_status *st)
{
    struct bench *b = user;
    (void)st;
    b->criterion->accumulate(b->state, &b->score, signals);
    return PRUNE_OK;
}

static void attach(struct bench *b)
{
    struct prune_status st;
    network *net = b->open.net;
    b->plain = pointers_of(net);
    check(prune_units_build(&b->units, &b->open.shape, &st), &st);
    b->score = (struct prune_score_input){.net = &b->open.shape, .units = &b->units};
    b->state = room(1, b->criterion->state_size(&b->score));
    b->criterion->init(b->state, &b->score);
    b->hook = (struct train_hook){.signals = b->criterion->signals, .sink = feed, .user = b};
    check(gate_attach(&b->hook.gates, net, b->units.sites, b->units.site_count, b->units.count, &st), &st);
    check(gate_collect(b->hook.gates, b->criterion->signals, (size_t)net->batch, &st), &st);
    b->gated = pointers_of(net);
}

static double step(struct bench *b, bool on)
{
    struct prune_status st;
    network *net = b->open.net;
    if (on && !b->hook.gates) attach(b);
    if (b->hook.gates) put_pointers(net, on ? b->gated : b->plain);
    memcpy(net->input, b->input, (size_t)net->inputs * (size_t)net->batch * sizeof *net->input);
    memcpy(net->truth, b->truth, (size_t)net->truths * (size_t)net->batch * sizeof *net->truth);
    double start = worker_now();
    *net->seen += (size_t)net->batch;
    net->train = 1;
    host_context()->image_loss = b->image_loss;
    if (on) train_hook_before(&b->hook);
    forward_network(net);
    host_context()->image_loss = NULL;
    backward_network(net);
    if (on) check(train_hook_after(&b->hook, (size_t)net->batch, 0, &st), &st);
    update_network(net);
    return worker_now() - start;
}

static void load(struct bench *b, char **argv)
{
    struct prune_status st;
    host_context()->threads = atoi(argv[5]);
    host_context()->quiet = true;
    b->criterion = prune_criterion_find(argv[6]);
    if (!b->criterion || !b->criterion->signals) {
        fprintf(stderr, "bench: '%s' is no criterion that reads signals\n", argv[6]);
        exit(2);
    }
    check(network_open(&b->open, argv[1], argv[2], false, 0, true, &st), &st);
    network *net = b->open.net;
    size_t inputs = (size_t)net->inputs * (size_t)net->batch, truths = (size_t)net->truths * (size_t)net->batch;
    b->image_loss = room((size_t)net->batch, sizeof *b->image_loss);
    b->input = room(inputs, sizeof *b->input);
    b->truth = room(truths, sizeof *b->truth);
    worker_read(argv[3], b->input, inputs);
    worker_read(argv[4], b->truth, truths);
}

int main(int argc, char **argv)
{
    static struct bench b;
    char line[64];
    FILE *answers = worker_answers();

    if (argc != 7 || !answers) {
        fprintf(stderr, "usage: hook_worker cfg weights input truth threads criterion\n");
        return 2;
    }
    load(&b, argv);
    fprintf(answers, "{\"ready\": true, \"batch\": %d}\n", b.open.net->batch);
    fflush(answers);
    while (worker_command(line, sizeof line)) {
        if (strcmp(line, "peak") == 0) fprintf(answers, "{\"megabytes\": %.3f}\n", worker_peak_megabytes());
        else fprintf(answers, "{\"seconds\": %.9f}\n", step(&b, strcmp(line, "on") == 0));
        fflush(answers);
    }
    return 0;
}
