/* `darknet prune surgery`: what the channels that stay become when those of a mask go, by the curvature of the network. In: data file, cfg, weights, mask.
 * Out: weights of the same cfg, silenced as masked weights are, and a mask for them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_set.h"
#include "scoring_flags.h"
#include "surgery_flags.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune surgery <data> <cfg> <weights> -mask FILE -out FILE.weights [-flag value ...]\n"
    "\n"
    "Lets the channels that stay make up for those that a mask removes, without training: their weights\n"
    "become those that change the loss least, by a quadratic model from Kronecker-factored statistics of\n"
    "images (docs/surgery.md). Writes weights for the same cfg, in which every reader of a removed\n"
    "channel is silenced; 'apply' with the mask for them then takes the channels out. Batch-norm\n"
    "statistics stay as they are: 'finetune -recalibrate N' averages them anew.\n"
    "\n"
    "  -mask FILE        which channels go; a mask with whole blocks is refused\n"
    "  -other-weights 0|1\n"
    "                    1: the mask may have been made with other weights of the same cfg (default: 0)\n"
    "  -out FILE         the new weights; never an input\n"
    "  -out-mask FILE    the same mask for the new weights, for 'apply -mask' (default: none; then\n"
    "                    'apply -mask FILE -other-weights 1')\n"
    PRUNE_SURGERY_HELP("joint")
    "  -damping L        of the factors (default: 0.00001: 'inputs' bear less than scores do)\n"
    "  -fisher F         sampled: targets drawn from the network's own predictions; empirical: labels\n"
    "                    (default: sampled)\n"
    "  -kfac-samples F   fraction of a map's locations that statistics are made of (default: as many as\n"
    "                    they need; docs/kfac.md)\n"
    "  -kfac-decay D     of the exponential average over minibatches (default: 1, the plain mean)\n"
    "  -memory SIZE      of the factors, with K, M or G; what is beyond takes more passes (default: 2G)\n"
    "  -list FILE        image paths, one per line (default: the training list of the data file)\n"
    "  -images N         how many images (default: 2560)\n"
    "  -letterbox 0|1    detectors: 1 keeps the aspect ratio (gray borders), 0 stretches (default: 1)\n"
    "  -minibatch B      images per minibatch (default: the cfg's batch / subdivisions)\n"
    PRUNE_SET_HELP
    PRUNE_HOST_HELP
    "\n"
    "example:\n"
    "  darknet prune surgery cifar.data net.cfg net.weights -mask mask.json -drawn 1 \\\n"
    "      -out cut.weights -out-mask cut.json\n"
    "  darknet prune apply net.cfg cut.weights -mask cut.json -out pruned\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

enum { DEFAULT_IMAGES = 2560 };
static const double DEFAULT_DAMPING = 1e-5;

struct job {
    const char *data, *cfg, *weights, *mask, *out, *out_mask;
    struct prune_project project;
    struct prune_scoring scoring;
    struct prune_open_options open;
    struct prune_surgery_options options;
    struct prune_scored factors;         /* of the criterion that gathers them */
    size_t pass, images;
    double loss;                         /* sum over the images */
    struct prune_plan plan;
    struct prune_network_surgery surgery;
    uint8_t *removed;
    bool other_weights;
};

static enum prune_code check_outputs(const struct job *j, struct prune_status *st)
{
    const char *inputs[] = {j->data, j->cfg, j->weights, j->mask, j->scoring.set.list};
    enum prune_code rc = prune_check_output(j->out, inputs, sizeof inputs / sizeof *inputs, st);
    if (!rc && j->out_mask) rc = prune_check_output(j->out_mask, inputs, sizeof inputs / sizeof *inputs, st);
    return rc;
}

static enum prune_code read_options(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    j->data = a->positional[0];
    j->cfg = a->positional[1];
    j->weights = a->positional[2];
    j->mask = prune_args_string(a, "mask", NULL);
    j->out = prune_args_string(a, "out", NULL);
    j->out_mask = prune_args_string(a, "out-mask", NULL);
    if (!j->mask) return prune_fail_usage(st, "flag '-mask FILE' is missing; 'darknet prune select' makes one");
    if (!j->out) return prune_fail_usage(st, "flag '-out FILE' is missing");
    enum prune_code rc = prune_args_surgery(a, PRUNE_SURGERY_JOINT, &j->options, st);
    if (!rc && j->options.how == PRUNE_SURGERY_NONE) return prune_fail_usage(st, "'-surgery none' would be surgery without surgery; 'apply -mask' removes and leaves the rest as it is");
    if (!rc) rc = prune_args_switch(a, "other-weights", false, &j->other_weights, st);
    if (!rc) rc = prune_args_scoring(a, j->data, &j->scoring, &j->open, st);
    struct prune_kfac_options *kfac = &j->scoring.input.kfac;
    if (!prune_args_has(a, "images")) j->scoring.set.limit = DEFAULT_IMAGES;
    if (!prune_args_has(a, "damping")) kfac->damping = DEFAULT_DAMPING;
    if (!prune_args_has(a, "kfac-decay")) kfac->decay = 1;   /* nothing is trained meanwhile: what came first is worth as much */
    return rc ? rc : check_outputs(j, st);
}

/* Before any image is read: does the mask fit? */
static enum prune_code read_mask(struct job *j, struct prune_status *st)
{
    struct prune_project *p = &j->project;
    j->removed = calloc(p->units.count + 1, 1);
    if (!j->removed) return prune_fail_memory(st, p->units.count, "mask");
    p->origin.other_weights = j->other_weights;
    enum prune_code rc = prune_mask_read(j->mask, &p->units, &p->origin, j->removed, st);
    if (rc) return rc;
    rc = prune_plan_build(&j->plan, &p->net, &p->units, j->removed, st);
    return rc ? prune_explain(st, "mask '%s': ", j->mask) : PRUNE_OK;
}

/* ---- factors ---- */

static enum prune_code on_images(void *user, const struct prune_signals *given, struct prune_status *st)
{
    struct job *j = user;
    const struct prune_host *host = j->scoring.host;
    struct prune_signals signals = *given;
    if (!isfinite(signals.loss)) return prune_fail(st, "loss of minibatch %llu is not finite; check the weights and the labels of its images", (unsigned long long)signals.minibatch);
    signals.pass = j->pass;
    j->factors.criterion->accumulate(j->factors.state, &j->scoring.input, &signals);
    if (j->pass == 0) {
        j->images += signals.images;
        j->loss += signals.loss * (double)signals.images;
    }
    return host->interrupted && host->interrupted(host->context) ? (prune_fail(st, "interrupted"), PRUNE_INTERRUPTED) : PRUNE_OK;
}

/* A pass over the images for each share of the layers that fits the memory, and surgery on it before the next share takes its place. */
static enum prune_code operate(struct job *j, struct prune_status *st)
{
    struct prune_scoring *s = &j->scoring;
    const struct prune_criterion *c = j->factors.criterion;
    uint8_t *layers = calloc(j->project.net.layer_count + 1, 1);
    const struct prune_score_options options = {.minibatch = s->minibatch, .signals = PRUNE_SIGNAL_LAYERS, .fisher = s->input.kfac.fisher, .layers = layers};
    enum prune_code rc = layers ? PRUNE_OK : prune_fail_memory(st, j->project.net.layer_count, "layers");
    for (j->pass = 0; !rc && j->pass < c->passes(&s->input); j->pass++) {
        prune_kfac_wanted(&s->input, j->pass, layers);
        rc = s->host->score(s->host_net, &s->set, &options, on_images, j, st);
        if (!rc) rc = prune_network_surgery(&j->surgery, j->factors.state, &s->input, &j->plan, &j->options, st);
    }
    free(layers);
    return rc;
}

static enum prune_code gather(struct job *j, struct prune_status *st)
{
    struct prune_scoring *s = &j->scoring;
    struct prune_net_facts facts;
    j->factors.criterion = prune_criterion_find("nap");   /* any that holds factors */
    s->input.net = &j->project.net;
    s->input.units = &j->project.units;
    s->input.weights = &j->project.weights;
    enum prune_code rc = prune_host_check(s->host, j->factors.criterion->signals, st);
    if (!rc) rc = prune_scored_init(&j->factors, 1, &s->input, st);
    if (!rc) rc = s->host->open(s->host->context, j->cfg, j->weights, &j->open, &s->host_net, st);
    if (rc) return rc;
    s->host->facts(s->host_net, &facts);
    if (!s->minibatch) s->minibatch = (size_t)facts.batch;
    rc = operate(j, st);
    s->host->close(s->host_net);
    return rc;
}

/* ---- files ---- */

/* Silenced as the rewriter does it, then with the new values. */
static enum prune_code write_weights(const struct job *j, const char *path, struct prune_status *st)
{
    const struct prune_net *net = &j->project.net;
    struct prune_weights masked;
    char *silenced = prune_format("%s.masked", path);
    if (!silenced) return prune_fail_memory(st, strlen(path), "paths");
    enum prune_code rc = prune_rewrite_masked(&j->plan, net, &j->project.weights, silenced, st);
    if (!rc) rc = prune_weights_open(&masked, silenced, net, st);
    if (!rc) {
        rc = prune_network_surgery_write(&j->surgery, net, &masked, path, st);
        prune_weights_close(&masked);
    }
    remove(silenced);
    free(silenced);
    return rc;
}

static enum prune_code write_files(const struct job *j, struct prune_status *st)
{
    struct prune_file_set set = {0};
    struct prune_mask_origin origin = j->project.origin;
    const char *weights = NULL, *mask = NULL;
    enum prune_code rc = prune_set_add(&set, j->out, &weights, st);
    if (!rc && j->out_mask) rc = prune_set_add(&set, j->out_mask, &mask, st);
    if (!rc) rc = write_weights(j, weights, st);
    if (!rc && mask) {
        origin.weights_path = j->out;
        rc = prune_hash_file(weights, origin.weights_hash, st);
        if (!rc) rc = prune_mask_write(mask, &j->project.units, j->removed, &origin, st);
    }
    if (!rc) rc = prune_set_publish(&set, st);
    prune_set_free(&set);
    return rc;
}

static void print(const struct job *j)
{
    struct prune_surgery_result sum = {0};
    printf("%zu images, loss %.6g\n", j->images, j->loss / (double)j->images);
    printf("quadratic loss of the removal, layer by layer:\n%5s %7s %8s %14s %14s %7s\n", "layer", "inputs", "filters", "plain", "with surgery", "ratio");
    for (size_t i = 0; i < j->surgery.count; i++) {
        const struct prune_layer_surgery *l = &j->surgery.layers[i];
        printf("%5d %7zu %8zu %14.6g %14.6g %7.4f", l->layer, l->inputs, l->filters, l->result.before, l->result.after, l->result.before > 0 ? l->result.after / l->result.before : 1);
        if (l->added > 0) printf("  (needed %.2g more damping)", l->added);
        putchar('\n');
        sum.before += l->result.before;
        sum.after += l->result.after;
    }
    printf("%5s %7s %8s %14.6g %14.6g %7.4f\n", "all", "", "", sum.before, sum.after, sum.before > 0 ? sum.after / sum.before : 1);
    printf("saved weights to %s\n", j->out);
    if (j->out_mask) printf("saved the mask for them to %s\n", j->out_mask);
}

static void job_free(struct job *j)
{
    prune_network_surgery_free(&j->surgery);
    prune_plan_free(&j->plan);
    prune_scored_free(&j->factors, 1);
    free(j->removed);
    prune_project_close(&j->project);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"mask", true}, {"other-weights", true}, {"out", true}, {"out-mask", true}, PRUNE_SURGERY_FLAGS, {"damping", true}, {"fisher", true},
                                              {"kfac-samples", true}, {"kfac-decay", true}, {"memory", true}, {"minibatch", true}, PRUNE_SET_FLAGS, PRUNE_IMAGE_FLAGS, PRUNE_HOST_FLAGS, {0}};
    struct job j = {.scoring.host = host};
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 3, 3, st);
    if (!rc) rc = read_options(&j, &a, st);
    if (!rc) rc = prune_project_open(&j.project, j.cfg, j.weights, NULL, st);
    if (!rc) rc = read_mask(&j, st);
    if (!rc) rc = gather(&j, st);
    if (!rc) rc = write_files(&j, st);
    if (!rc) print(&j);
    if (rc == PRUNE_INTERRUPTED) prune_explain(st, "nothing is written: ");
    job_free(&j);
    return rc;
}

const struct prune_command prune_command_surgery = {"surgery", "let what stays make up for what a mask removes", USAGE, run};
