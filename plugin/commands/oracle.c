/* `darknet prune oracle`: what removing units really does to the loss, measured. In: data file, cfg, weights. Out: a score file of criterion "oracle" or a
 * table (docs/oracle.md). A run that is stopped leaves a state file beside its output; the same command line continues. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/file_io.h"
#include "../base/progress.h"
#include "../score/correlation.h"
#include "../score/oracle_state.h"
#include "data_file.h"
#include "oracle.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune oracle <data> <cfg> <weights> [-flag value ...] (-out FILE | -csv FILE)\n"
    "\n"
    "Measures the loss of a set of images without each unit: the oracle that criteria are judged by,\n"
    "(E(W) - E(W | unit removed))^2. Batch-norm uses its rolling statistics, nothing is trained. A run\n"
    "that is stopped goes on when the same command is given (its state file is at most 20 s old).\n"
    "\n"
    PRUNE_IMAGE_HELP("training")
    "  -role R           train or valid: the list of the data file that the images are of\n"
    "                    (default: train)\n"
    "  -first N          skip N images of the list (default: 0)\n"
    "  -drawn 0|1        1: images permuted and augmented as in training (default: 0)\n"
    "  -sample N         N units only, drawn from each layer in proportion to its size; -csv alone\n"
    "  -only L           units of these layers only: \"2\", \"2,5-8\"; -csv alone\n"
    "  -protect L        layers whose units are left out: \"0\", \"0,81-83\" (default: none)\n"
    "  -greedy N         remove N units one after another, each time the one without which the loss is\n"
    "                    least, measured again after every removal\n"
    "  -subsets L        every subset of the units of layer L (20 at most): best, mean and worst by size\n"
    "  -batch B          images at a time, 32 at most (default: what memory allows)\n"
    PRUNE_HOST_HELP
    "  -out FILE         score file (JSON) for 'select', 'apply' and 'correlate'; with -greedy or\n"
    "                    -subsets their result (docs/oracle.md)\n"
    "  -csv FILE         a row per unit (step, size) with the losses\n"
    "\n"
    "examples:\n"
    "  darknet prune oracle cifar.data resnet20.cfg resnet20.weights -images 1000 -out oracle.json\n"
    "  darknet prune oracle cifar.data vgg.cfg vgg.weights -images 200 -sample 300 -csv oracle.csv\n"
    "  darknet prune oracle cifar.data lenet3.cfg lenet3.weights -images 200 -subsets 0 -csv subsets.csv\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

static const double SAVE_SECONDS = 20;

/* ---- options ---- */

static enum prune_code check_output(const struct prune_oracle_job *j, const char *path, struct prune_status *st)
{
    const char *inputs[] = {j->data, j->cfg, j->weights, j->scoring.set.list};
    struct prune_writer *w;
    enum prune_code rc = prune_check_output(path, inputs, sizeof inputs / sizeof *inputs, st);
    if (!rc) rc = prune_writer_open(&w, path, st);
    if (!rc) prune_writer_abort(w);
    return rc;
}

static enum prune_code check_combination(const struct prune_oracle_job *j, const struct prune_args *a, struct prune_status *st)
{
    bool sets = j->greedy || j->subsets >= 0;
    if (!j->out && !j->csv) return prune_fail_usage(st, "no output is given; add -out oracle.json or -csv oracle.csv");
    if (j->greedy && j->subsets >= 0) return prune_fail_usage(st, "'-greedy' and '-subsets' exclude each other");
    if (j->subsets >= 0 && (j->sample || prune_args_has(a, "only"))) return prune_fail_usage(st, "'-subsets' names the units; '-sample' and '-only' have no meaning with it");
    if (j->out && !sets && (j->sample || prune_args_has(a, "only")))
        return prune_fail_usage(st, "a score file holds every unit: '-sample' and '-only' go with -csv oracle.csv");
    return PRUNE_OK;
}

static enum prune_code read_options(struct prune_oracle_job *j, const struct prune_args *a, struct prune_status *st)
{
    long batch = 0;
    j->data = a->positional[0];
    j->cfg = a->positional[1];
    j->weights = a->positional[2];
    j->out = prune_args_string(a, "out", NULL);
    j->csv = prune_args_string(a, "csv", NULL);
    enum prune_code rc = prune_args_int(a, "sample", 1, LONG_MAX, 0, &j->sample, st);
    if (!rc) rc = prune_args_int(a, "greedy", 1, LONG_MAX, 0, &j->greedy, st);
    if (!rc) rc = prune_args_int(a, "subsets", 0, INT_MAX, -1, &j->subsets, st);
    if (!rc) rc = prune_args_int(a, "batch", 1, INT_MAX, 0, &batch, st);
    if (!rc) rc = prune_args_images(a, j->data, PRUNE_DATA_TRAIN, &j->scoring.set, st);
    if (!rc) rc = prune_args_host(a, &j->open, st);
    if (!rc) rc = check_combination(j, a, st);
    if (!rc && j->out) rc = check_output(j, j->out, st);
    if (!rc && j->csv) rc = check_output(j, j->csv, st);
    j->open.batch = (int)batch;
    return rc;
}

/* ---- candidates ---- */

/* Units with a gate, of the layers that are named (NULL: all), in order. */
static enum prune_code list_units(struct prune_oracle_job *j, const uint8_t *named, struct prune_status *st)
{
    const struct prune_units *units = &j->project.units;
    j->units = malloc((units->count + 1) * sizeof *j->units);
    if (!j->units) return prune_fail_memory(st, units->count * sizeof *j->units, "units");
    for (size_t u = 0; u < units->count; u++) {
        const struct prune_unit *unit = &units->items[u];
        if (unit->protected_because || !unit->site_count || (named && !named[units->members[unit->first_member].layer])) continue;
        j->units[j->count++] = (int)u;
    }
    return j->count ? PRUNE_OK : prune_fail(st, "no unit of '%s' is left to remove", j->cfg);
}

static enum prune_code draw_sample(struct prune_oracle_job *j, struct prune_status *st)
{
    const struct prune_units *units = &j->project.units;
    int *layer = malloc(j->count * sizeof *layer);
    unsigned char *picked = calloc(j->count, 1);
    enum prune_code rc = layer && picked ? PRUNE_OK : prune_fail_memory(st, j->count * sizeof *layer, "sample");
    for (size_t i = 0; !rc && i < j->count; i++) layer[i] = units->members[units->items[j->units[i]].first_member].layer;
    if (!rc) rc = prune_sample_units(layer, j->count, (size_t)j->sample, j->open.seed, picked, st);
    size_t kept = 0;
    for (size_t i = 0; !rc && i < j->count; i++)
        if (picked[i]) j->units[kept++] = j->units[i];
    if (!rc) j->count = kept;
    free(layer);
    free(picked);
    return rc;
}

static enum prune_code check_counts(const struct prune_oracle_job *j, struct prune_status *st)
{
    if (j->subsets >= 0 && j->count > PRUNE_SUBSET_UNITS)
        return prune_fail_usage(st, "flag '-subsets': layer %ld has %zu units that may go; the subsets of at most %d can be tried", j->subsets, j->count, PRUNE_SUBSET_UNITS);
    if ((size_t)j->greedy > j->count) return prune_fail_usage(st, "flag '-greedy': %ld of %zu units cannot be removed", j->greedy, j->count);
    return PRUNE_OK;
}

static enum prune_code choose_units(struct prune_oracle_job *j, const struct prune_args *a, struct prune_status *st)
{
    const char *only = prune_args_string(a, "only", NULL);
    uint8_t *named = only || j->subsets >= 0 ? calloc(j->project.net.layer_count + 1, 1) : NULL;
    enum prune_code rc = PRUNE_OK;
    if ((only || j->subsets >= 0) && !named) return prune_fail_memory(st, j->project.net.layer_count, "layers");
    if (only) rc = prune_units_named(&j->project.net, only, named, st);
    if (!rc && j->subsets >= 0) {
        if ((size_t)j->subsets >= j->project.net.layer_count) rc = prune_fail_usage(st, "flag '-subsets': no layer %ld, '%s' has 0..%zu", j->subsets, j->cfg, j->project.net.layer_count - 1);
        else named[j->subsets] = 1;
    }
    if (!rc) rc = list_units(j, named, st);
    if (!rc && j->sample) rc = draw_sample(j, st);
    free(named);
    return rc ? rc : check_counts(j, st);
}

/* ---- images and state ---- */

/* Images at a time: the host holds outputs, gradients and sums of every layer for as many. */
static int batch_that_fits(const struct prune_net *net)
{
    enum { MOST = 32 };
    const double budget = 2e9;
    double bytes = 0;
    for (size_t i = 0; i < net->layer_count; i++) bytes += 12.0 * net->layers[i].outputs;
    return bytes * MOST <= budget ? MOST : bytes >= budget ? 1 : (int)(budget / bytes);
}

static enum prune_code make_key(struct prune_oracle_job *j, struct prune_status *st)
{
    const struct prune_image_set *set = &j->scoring.set;
    char list[32];
    enum prune_code rc = prune_hash_file(j->list, list, st);
    if (rc) return rc;
    uint64_t units = prune_hash_bytes(j->units, j->count * sizeof *j->units);
    const char *base = j->out ? j->out : j->csv;
    j->state = prune_format("%s.state", base);
    j->key = prune_format("cfg %s weights %s list %s first %zu images %zu drawn %d letterbox %d seed %llu batch %d units %zu xxh64:%016llx greedy %ld subsets %ld",
                          j->project.origin.cfg_hash, j->project.origin.weights_hash, list, set->first, set->limit, (int)set->drawn, set->letterbox,
                          (unsigned long long)j->open.seed, j->open.batch, j->count, (unsigned long long)units, j->greedy, j->subsets);
    return j->state && j->key ? PRUNE_OK : prune_fail_memory(st, 256, "paths");
}

static const struct prune_oracle *sums(const struct prune_oracle_job *j) { return j->greedy ? &j->steps.round : &j->oracle; }

static enum prune_code save_state(struct prune_oracle_job *j, struct prune_status *st)
{
    j->saved = prune_now();
    return prune_oracle_state_write(j->state, j->key, &j->oracle, j->greedy ? &j->steps : NULL, st);
}

static enum prune_code on_piece(void *user, const struct prune_oracle *so_far, struct prune_status *st)
{
    struct prune_oracle_job *j = user;
    (void)so_far;
    return prune_now() - j->saved < SAVE_SECONDS ? PRUNE_OK : save_state(j, st);
}

static enum prune_code restore(struct prune_oracle_job *j, struct prune_status *st)
{
    enum prune_code rc = j->greedy ? prune_greedy_init(&j->steps, j->units, j->count, (size_t)j->greedy, st)
                                   : j->subsets >= 0 ? prune_subsets_init(&j->oracle, j->count, st) : prune_oracle_init(&j->oracle, j->count, st);
    if (!rc) rc = prune_oracle_state_read(j->state, j->key, &j->oracle, j->greedy ? &j->steps : NULL, st);
    if (rc || !prune_path_exists(j->state)) return rc;
    if (j->greedy) fprintf(stderr, "oracle: continues '%s' after %zu units and %zu images\n", j->state, j->steps.count, j->steps.round.images);
    else fprintf(stderr, "oracle: continues '%s' after %zu images\n", j->state, j->oracle.images);
    return PRUNE_OK;
}

static enum prune_code measure(struct prune_oracle_job *j, struct prune_status *st)
{
    struct prune_scoring *s = &j->scoring;
    enum prune_code rc = prune_host_check(j->host, PRUNE_CAN_PERTURB, st);
    if (!rc) rc = j->host->open(j->host->context, j->cfg, j->weights, &j->open, &s->host_net, st);
    if (rc) return rc;
    s->host = j->host;
    s->input = (struct prune_score_input){.net = &j->project.net, .units = &j->project.units, .weights = &j->project.weights, .seed = j->open.seed};
    j->saved = prune_now();
    if (j->greedy) rc = prune_greedy_run(&j->steps, s, on_piece, j, st);
    else if (j->subsets >= 0) rc = prune_subsets_run(&j->oracle, s, j->units, j->count, on_piece, j, st);
    else rc = prune_oracle_units(&j->oracle, s, j->units, j->count, on_piece, j, st);
    j->host->close(s->host_net);
    if (rc != PRUNE_INTERRUPTED) return rc;
    rc = save_state(j, st);
    if (rc) return rc;
    prune_fail(st, "interrupted after %zu images; '%s' holds what is done, and the same command continues", sums(j)->images, j->state);
    return PRUNE_INTERRUPTED;
}

static void job_free(struct prune_oracle_job *j)
{
    prune_oracle_free(&j->oracle);
    prune_greedy_free(&j->steps);
    free(j->units);
    free(j->list);
    free(j->state);
    free(j->key);
    prune_project_close(&j->project);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"out", true}, {"csv", true}, {"sample", true}, {"only", true}, {"protect", true}, {"greedy", true}, {"subsets", true},
                                              {"batch", true}, PRUNE_SET_FLAGS, PRUNE_IMAGE_FLAGS, PRUNE_HOST_FLAGS, {0}};
    struct prune_oracle_job j = {.host = host};
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 3, 3, st);
    if (!rc) rc = read_options(&j, &a, st);
    if (!rc) rc = prune_project_open(&j.project, j.cfg, j.weights, prune_args_string(&a, "protect", NULL), st);
    if (!rc) rc = choose_units(&j, &a, st);
    if (!rc) rc = prune_set_count(&j.scoring.set, &j.list, st);
    if (!rc && !j.open.batch) j.open.batch = batch_that_fits(&j.project.net);
    if (!rc) rc = make_key(&j, st);
    if (!rc) rc = restore(&j, st);
    if (!rc) rc = measure(&j, st);
    if (!rc) rc = prune_oracle_report(&j, st);
    if (!rc) unlink(j.state);
    job_free(&j);
    return rc;
}

const struct prune_command prune_command_oracle = {"oracle", "what removing each unit really does to the loss", USAGE, run};
