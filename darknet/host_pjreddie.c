/* The pruning host on pjreddie Darknet: opening, gates, training, state; the passes that do not train are in host_passes.c. Darknet's replaced functions
 * read the process context, so every entry sets threads and quiet of the network it works on. */
#include "host_pjreddie.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../plugin/base/file_io.h"
#include "context.h"
#include "gates_file.h"
#include "heads.h"
#include "host_net.h"
#include "network_parameters.h"

enum { DEFAULT_RIVALS = 2, DEFAULT_PROBES = 1 };   /* in training, where its caller leaves them open */

/* Set by SIGINT; a signal handler can reach nothing else. */
static volatile sig_atomic_t stop_requested;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    stop_requested = 1;
}

/* The first Ctrl-C asks long loops to stop, the second one ends the process. */
static void catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    if (!stop_requested) sigaction(SIGINT, &action, NULL);
}

/* Who asks means to end in good order: from then on Ctrl-C waits for the next question. */
static bool host_interrupted(void *context)
{
    (void)context;
    catch_interrupt();
    return stop_requested != 0;
}

static void use_context(const struct prune_host_net *n)
{
    host_context()->threads = n->threads;
    host_context()->quiet = n->quiet;
    host_context()->seed = n->seed;
}

static enum prune_code host_open(void *context, const char *cfg, const char *weights, const struct prune_open_options *o, struct prune_host_net **out, struct prune_status *st)
{
    (void)context;
    enum prune_code rc = host_library_open(st);
    if (rc) return rc;
    struct prune_host_net *n = calloc(1, sizeof *n);
    if (!n) return prune_fail_memory(st, sizeof *n, "network");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    n->threads = o->threads > 0 ? o->threads : cores > 1 ? (int)cores : 1;
    n->seed = o->seed;
    n->quiet = o->quiet;
    use_context(n);
    rc = network_open(&n->open, cfg, weights, false, o->batch, o->quiet, st);
    if (rc) {
        free(n);
        return rc;
    }
    n->batch = n->open.net->batch;
    (void)tangent_check(&n->open, &n->products);
    *out = n;
    return PRUNE_OK;
}

static void release_extra(struct prune_host_net *n)
{
    extra_close(n->hook.extra);
    n->hook.extra = NULL;
}

static void host_train_stop(struct prune_host_net *n)
{
    if (!n->trainer) return;
    trainer_close(n->trainer);
    n->trainer = NULL;
    release_extra(n);
    /* multi-scale training leaves the size of its last step */
    struct host_pause pause;
    host_pause_begin(n, &pause);
}

static void host_close(struct prune_host_net *n)
{
    if (!n) return;
    if (n->trainer) trainer_close(n->trainer);
    release_extra(n);
    gate_detach(n->attached);
    host_zeros_free(n);
    network_close(&n->open);
    free(n);
}

static void host_facts(const struct prune_host_net *n, struct prune_net_facts *out)
{
    const network *net = n->open.net;
    *out = (struct prune_net_facts){
        .w = n->open.shape.w, .h = n->open.shape.h, .c = n->open.shape.c, .classes = n->open.shape.classes, .batch = n->batch, .subdivisions = net->subdivisions,
        .detector = n->open.shape.task == PRUNE_TASK_DETECTOR, .learning_rate = (double)net->learning_rate, .momentum = (double)net->momentum,
        .decay = (double)net->decay, .seen = *net->seen, .train_images = n->train_images,
        .no_products = n->products.code ? n->products.message : NULL,
    };
}

static enum prune_code host_gates_attach(struct prune_host_net *n, const struct prune_gate_site *sites, size_t count, size_t units, struct prune_status *st)
{
    release_extra(n);
    gate_detach(n->attached);
    gate_detach(n->open.gates);
    n->attached = NULL;
    n->open.gates = NULL;
    n->hook.gates = NULL;
    return gate_attach(&n->attached, n->open.net, sites, count, units, st);
}

static enum prune_code host_gates_set(struct prune_host_net *n, const float *z, size_t units, struct prune_status *st)
{
    struct gate_table *gates = host_gates(n);
    if (!gates) return prune_fail(st, "no gates are attached to '%s'", n->open.cfg.path);
    if (units != gate_units(gates)) return prune_fail(st, "%zu gate values given, '%s' has %zu", units, n->open.cfg.path, gate_units(gates));
    for (size_t u = 0; u < units; u++)
        if (!isfinite(z[u])) return prune_fail(st, "gate value of unit %zu is not a finite number", u);
    memcpy(gate_values(gates), z, units * sizeof *z);
    return PRUNE_OK;
}

static enum prune_code open_hook(struct prune_host_net *n, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st)
{
    n->hook = (struct train_hook){.gates = host_gates(n), .signals = o->signals, .sink = sink, .user = user};
    if (!sink) return PRUNE_OK;
    struct extra_options extra = {.score = *o, .images = (size_t)n->batch, .seed = n->seed, .between_updates = true};
    if (!o->rivals) extra.score.rivals = DEFAULT_RIVALS;
    if (!o->probes) extra.score.probes = DEFAULT_PROBES;
    enum prune_code rc = o->signals & EXTRA_SIGNALS ? extra_open(&n->hook.extra, n->open.net, n->hook.gates, &extra, st) : PRUNE_OK;
    if (rc) return rc;
    struct trainer_hook hook = train_hook_interface(&n->hook);
    trainer_set_hook(n->trainer, &hook);
    return PRUNE_OK;
}

static enum prune_code host_train_start(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user,
                                        struct prune_status *st)
{
    static const struct prune_score_options none;
    struct gate_table *gates = host_gates(n);
    if (!o) o = &none;
    enum prune_code rc = host_signals_check(n, o->signals, st);
    if (!rc && o->signals & PRUNE_SIGNAL_PRODUCT) rc = prune_fail(st, "products with the Hessian are taken by scoring passes alone, not in training");
    if (rc) return rc;
    host_train_stop(n);
    use_context(n);
    rc = gates ? gate_collect(gates, sink ? o->signals : 0, (size_t)n->batch, st) : PRUNE_OK;
    if (rc) return rc;
    struct trainer_options options = {.set = *set, .seed = n->seed, .threads = n->threads, .multi_scale = true};
    rc = trainer_open(&n->trainer, n->open.net, &options, st);
    if (rc) return rc;
    n->train_images = trainer_images(n->trainer);
    rc = open_hook(n, o, sink, user, st);
    if (rc) {
        host_train_stop(n);
        return rc;
    }
    catch_interrupt();
    return PRUNE_OK;
}

static enum prune_code host_train_step(struct prune_host_net *n, const struct prune_step_options *o, struct prune_step *out, struct prune_status *st)
{
    if (!n->trainer) return prune_fail(st, "'%s' is not in training", n->open.cfg.path);
    use_context(n);
    n->forward_images = 0;
    double momentum = isfinite(o->momentum) ? o->momentum : (double)n->open.net->momentum, decay = isfinite(o->decay) ? o->decay : (double)n->open.net->decay;
    enum prune_code rc = trainer_step(n->trainer, o->rate, momentum, decay, out, st);
    if (!rc) host_zeros_apply(n);
    return rc;
}

static void host_reset_momentum(struct prune_host_net *n) { parameters_updates_zero(n->open.net); }

static enum prune_code host_evaluate(struct prune_host_net *n, const struct prune_image_set *set, struct prune_evaluation *out, struct prune_status *st)
{
    struct host_pause pause;
    use_context(n);
    host_pause_begin(n, &pause);
    enum prune_code rc = evaluate_network(n->open.net, set, n->threads, out, st);
    host_pause_end(n, &pause);
    return rc;
}

static enum prune_code host_perturb_entry(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_candidates *candidates, bool gradients,
                                          prune_perturb_sink sink, void *user, struct prune_status *st)
{
    use_context(n);
    catch_interrupt();
    return host_perturb(n, set, candidates, gradients, sink, user, st);
}

static enum prune_code host_score_entry(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user,
                                        struct prune_status *st)
{
    catch_interrupt();
    return host_score(n, set, o, sink, user, st);
}

static enum prune_code host_write_predictions(struct prune_host_net *n, const struct prune_image_set *set, const char *path, struct prune_status *st)
{
    struct host_pause pause;
    use_context(n);
    host_pause_begin(n, &pause);
    enum prune_code rc = evaluate_write_predictions(n->open.net, set, n->threads, path, st);
    host_pause_end(n, &pause);
    return rc;
}

/* Gates of the cfg's own sections go to a file beside the weights; those of the pipeline live in its mask. */
static enum prune_code host_save_weights(struct prune_host_net *n, const char *path, struct prune_status *st)
{
    enum prune_code rc = weights_save(n->open.net, path, st);
    if (rc || !n->open.gates) return rc;
    char *gates = gates_path(path);
    if (!gates) return prune_fail_memory(st, strlen(path), "paths");
    rc = gates_write(gates, &n->open.units, gate_values(n->open.gates), st);
    free(gates);
    return rc;
}

static enum prune_code host_export_state(struct prune_host_net *n, const char *dir, struct prune_status *st)
{
    struct gate_table *gates = host_gates(n);
    return state_save(n->open.net, n->trainer, gates ? gate_values(gates) : NULL, gates ? gate_units(gates) : 0, dir, st);
}

static enum prune_code host_import_state(struct prune_host_net *n, const char *dir, struct prune_status *st)
{
    struct gate_table *gates = host_gates(n);
    n->forward_images = 0;
    enum prune_code rc = state_load(n->open.net, n->trainer, gates ? gate_values(gates) : NULL, gates ? gate_units(gates) : 0, dir, st);
    if (!rc) host_zeros_apply(n);
    return rc;
}

const struct prune_host *darknet_host(void)
{
    static const struct prune_host host = {
        .version = PRUNE_HOST_VERSION,
        .size = sizeof(struct prune_host),
        .capabilities = PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | EXTRA_SIGNALS | PRUNE_CAN_TRAIN | PRUNE_CAN_STATE | PRUNE_CAN_PERTURB |
                        PRUNE_CAN_EDIT | PRUNE_SIGNAL_PRODUCT,
        .name = "darknet (CPU)",
        .open = host_open,
        .close = host_close,
        .facts = host_facts,
        .gates_attach = host_gates_attach,
        .gates_set = host_gates_set,
        .train_start = host_train_start,
        .train_step = host_train_step,
        .train_stop = host_train_stop,
        .reset_momentum = host_reset_momentum,
        .score = host_score_entry,
        .perturb = host_perturb_entry,
        .parameters_set = host_parameters_set,
        .zeros_hold = host_zeros_hold,
        .evaluate = host_evaluate,
        .recalibrate = host_recalibrate,
        .forward = host_forward,
        .output = host_output,
        .forward_layers = host_forward_layers,
        .load_images = host_load_images,
        .milliseconds = host_milliseconds,
        .save_weights = host_save_weights,
        .export_state = host_export_state,
        .import_state = host_import_state,
        .write_predictions = host_write_predictions,
        .interrupted = host_interrupted,
    };
    return &host;
}
