/* Fine-grained pruning, step by step; see sparse_run.h. */
#include "sparse_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/file_io.h"
#include "report.h"
#include "sparse_loop.h"

struct job {
    const struct prune_host *host;
    const struct prune_sparse_options *o;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    struct prune_sparse sparse;
    struct prune_sparse_loop loop;
    struct prune_host_net *host_net;
    char *base, *out_weights, *out_report, *present;
    char cfg_hash[32], weights_hash[32];
    struct prune_step_options step;
    size_t finetune_steps, images_per_step;
    cJSON *report;
};

static const char *const SURGERY[] = {[PRUNE_SURGERY_NONE] = "none", [PRUNE_SURGERY_JOINT] = "joint", [PRUNE_SURGERY_PAPER] = "paper"};

static struct prune_image_set image_set(const struct job *j, enum prune_data_role role)
{
    return (struct prune_image_set){.data_path = j->o->job.data, .role = role, .limit = role == PRUNE_DATA_VALID ? j->o->job.evaluate_images : 0, .letterbox = j->o->job.letterbox};
}

/* What is asked for, said before anything is trained. */
static enum prune_code check_target(struct job *j, struct prune_status *st)
{
    const struct prune_sparse_options *o = j->o;
    if (!j->sparse.weights) return prune_fail(st, "'%s' has no convolutional or connected layer that stores its weights: nothing to prune", o->job.cfg);
    enum prune_code rc = prune_sparse_floors(&j->sparse, &j->net, o->min_keep, o->job.protect, st);
    if (rc) return rc;
    float *none = calloc(j->sparse.weights, sizeof *none);
    uint8_t *keep = malloc(j->sparse.weights);
    struct prune_sparse trial = j->sparse;
    trial.keep = keep;
    trial.layers = malloc(j->sparse.count * sizeof *trial.layers);
    if (none && keep && trial.layers) {
        memcpy(keep, j->sparse.keep, j->sparse.weights);
        memcpy(trial.layers, j->sparse.layers, j->sparse.count * sizeof *trial.layers);
        rc = prune_sparse_select(&trial, none, prune_sparse_target(&j->sparse, o->remain), o->per_layer, st);
    } else {
        rc = prune_fail_memory(st, j->sparse.weights * sizeof *none, "masks of weights");
    }
    free(trial.layers);
    free(keep);
    free(none);
    return rc;
}

/* Can this host, on this network, feed the criterion? */
static enum prune_code check_feed(const struct job *j, struct prune_status *st)
{
    const char *name = j->o->criterion->gathers;
    if (!name) return PRUNE_OK;
    const struct prune_criterion *c = prune_criterion_find(name);
    if (!c) return prune_fail(st, "criterion '%s' reads what '%s' gathers, which this program does not have", j->o->criterion->name, name);
    enum prune_code rc = prune_feed_check(c, j->o->feed, &j->net, st);
    if (!rc && j->o->score_images && !prune_feeds_by_pass(c, j->o->feed))
        rc = prune_fail_usage(st, "flag '-score-images' has no meaning where training feeds criterion '%s'; add '-score pass'", j->o->criterion->name);
    return rc ? rc : prune_host_check(j->host, c->signals, st);
}

static enum prune_code check_inputs(struct job *j, struct prune_status *st)
{
    const struct prune_sparse_options *o = j->o;
    struct prune_weights weights = {0};
    enum prune_code rc = prune_net_read(&j->cfg, &j->net, o->job.cfg, st);
    if (!rc) rc = prune_units_build(&j->units, &j->net, st);
    if (!rc) rc = prune_weights_open(&weights, o->job.weights, &j->net, st);
    if (rc) return rc;
    rc = prune_weights_check(&weights, j->weights_hash, st);
    if (!rc) rc = prune_sparse_init(&j->sparse, &j->net, &weights.layout, st);
    prune_weights_close(&weights);
    if (!rc && j->net.task == PRUNE_TASK_OTHER)
        rc = prune_fail(st, "'%s' has no softmax, cost, yolo, region or detection layer at its end: nothing to train or evaluate", o->job.cfg);
    if (!rc) rc = check_feed(j, st);
    if (!rc) rc = check_target(j, st);
    return rc ? rc : prune_hash_file(o->job.cfg, j->cfg_hash, st);
}

static enum prune_code make_paths(struct job *j, struct prune_status *st)
{
    const char *out = j->o->job.out;
    j->base = prune_base_name(j->o->job.cfg);
    if (!j->base) return prune_fail_memory(st, strlen(out), "paths");
    j->out_weights = prune_format("%s/%s-sparse.weights", out, j->base);
    j->present = prune_format("%s/%s-present.weights", out, j->base);
    j->out_report = prune_path_join(out, "report.json");
    if (!j->out_weights || !j->present || !j->out_report) return prune_fail_memory(st, strlen(out), "paths");
    const char *outputs[] = {j->out_weights, j->present, j->out_report};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        if (prune_same_file(outputs[i], j->o->job.cfg) || prune_same_file(outputs[i], j->o->job.weights) || prune_same_file(outputs[i], j->o->job.data))
            return prune_fail(st, "'%s' is an input and would be overwritten; choose another folder with -out", outputs[i]);
    return prune_make_dirs(out, st);
}

static enum prune_code evaluate(struct job *j, const char *stage, struct prune_evaluation *e, struct prune_status *st)
{
    struct prune_image_set set = image_set(j, PRUNE_DATA_VALID);
    return prune_report_evaluate(j->report, j->host, j->host_net, &set, stage, e, st);
}

static enum prune_code evaluate_stage(struct job *j, const char *stage, struct prune_status *st)
{
    struct prune_evaluation e;
    enum prune_code rc = evaluate(j, stage, &e, st);
    if (!rc) prune_evaluation_release(&e);
    return rc;
}

/* Parameters and multiply-adds of "before" and "after" are those whose weight is not 0. */
static enum prune_code measure(struct job *j, const char *name, const char *stage, const char *file, struct prune_status *st)
{
    struct prune_evaluation e;
    enum prune_code rc = evaluate(j, stage, &e, st);
    if (rc) return rc;
    cJSON *object = prune_report_network(&j->net, file, NAN, &e);
    const double macs = prune_sparse_macs(&j->sparse, &j->net);
    const struct { const char *key; double value; } nonzero[] = {{"parameters", (double)j->net.parameters - (double)(j->sparse.weights - j->sparse.kept)}, {"macs", macs},
                                                                 {"bflops", prune_bflops(1) * macs}};
    for (size_t i = 0; i < sizeof nonzero / sizeof *nonzero; i++) cJSON_ReplaceItemInObjectCaseSensitive(object, nonzero[i].key, cJSON_CreateNumber(nonzero[i].value));
    cJSON_AddItemToObject(j->report, name, object);
    prune_evaluation_release(&e);
    return PRUNE_OK;
}

static enum prune_code open_host(struct job *j, struct prune_status *st)
{
    const struct prune_open_options open = {.threads = j->o->job.threads, .seed = j->o->job.seed, .quiet = true};
    struct prune_net_facts facts;
    enum prune_code rc = j->host->open(j->host->context, j->o->job.cfg, j->o->job.weights, &open, &j->host_net, st);
    if (rc) return rc;
    j->host->facts(j->host_net, &facts);
    j->step = prune_step_of(&j->o->step, &facts);
    j->images_per_step = (size_t)facts.batch * (size_t)facts.subdivisions;
    return PRUNE_OK;
}

static enum prune_code prune_while_training(struct job *j, struct prune_status *st)
{
    const struct prune_sparse_options *o = j->o;
    j->loop = (struct prune_sparse_loop){.host = j->host, .host_net = j->host_net, .o = o, .net = &j->net, .units = &j->units, .sparse = &j->sparse,
                                         .train = image_set(j, PRUNE_DATA_TRAIN), .step = j->step, .present = j->present};
    fprintf(stderr, "pruning weights with %s: %zu training steps each, until %zu of %zu remain; rate %g\n", o->criterion->name, o->batches_per_iteration,
            prune_sparse_target(&j->sparse, o->remain), j->sparse.weights, j->step.rate);
    return prune_sparse_loop(&j->loop, st);
}

static enum prune_code recalibrate(struct job *j, struct prune_status *st)
{
    if (!j->o->job.recalibrate_images || !prune_has_statistics(&j->net)) return PRUNE_OK;
    struct prune_image_set set = image_set(j, PRUNE_DATA_TRAIN);
    enum prune_code rc = j->host->recalibrate(j->host_net, &set, j->o->job.recalibrate_images, st);
    return rc ? rc : evaluate_stage(j, "recalibrated", st);
}

/* The zeros are held. */
static enum prune_code finetune(struct job *j, struct prune_status *st)
{
    const char *flag = j->o->job.total ? "total" : "finetune", *length = j->o->job.total ? j->o->job.total : j->o->job.finetune;
    struct prune_net_facts facts;
    struct prune_finetune_result result;
    if (!length) return PRUNE_OK;
    j->host->facts(j->host_net, &facts);
    size_t steps, epoch = facts.train_images / (j->images_per_step ? j->images_per_step : 1), done = j->o->job.total ? j->loop.result.steps : 0;
    enum prune_code rc = prune_parse_length(flag, length, facts.train_images, j->images_per_step, &steps, st);
    if (rc) return rc;
    j->finetune_steps = steps > done ? steps - done : 0;
    struct prune_finetune_options options = {.steps = j->finetune_steps, .step = j->step, .weights_path = j->out_weights, .save_every = epoch ? epoch : 100};
    if (j->o->job.finetune_rate > 0) options.step.rate = j->o->job.finetune_rate;
    if (!j->finetune_steps) return PRUNE_OK;
    struct prune_image_set set = image_set(j, PRUNE_DATA_TRAIN);
    rc = j->host->train_start(j->host_net, &set, NULL, NULL, NULL, st);
    if (!rc) rc = prune_finetune(j->host, j->host_net, &options, &result, st);
    j->host->train_stop(j->host_net);
    return rc;
}

/* What is on disk has exactly the zeros that were decided on (others only if training has made a value exactly 0). */
static enum prune_code check_zeros(struct job *j, struct prune_status *st)
{
    struct prune_weights w;
    struct prune_sparse file = {0};
    enum prune_code rc = prune_weights_open(&w, j->out_weights, &j->net, st);
    if (rc) return rc;
    rc = prune_weights_check_finite(&w, st);
    if (!rc) rc = prune_sparse_init(&file, &j->net, &w.layout, st);
    if (!rc) rc = prune_sparse_from_zeros(&file, &j->net, &w, st);
    for (size_t k = 0; k < j->sparse.weights && !rc; k++)
        if (file.keep[k] && !j->sparse.keep[k]) rc = prune_fail(st, "'%s': weight %zu was pruned and is not 0; the host does not hold zeros", j->out_weights, k);
    prune_sparse_free(&file);
    prune_weights_close(&w);
    return rc;
}

static void describe(struct job *j)
{
    const struct prune_sparse_options *o = j->o;
    cJSON *r = j->report;
    const struct { const char *key, *value; } texts[] = {
        {"format", "darknet-prune-report"}, {"granularity", "weight"}, {"host", j->host->name}, {"cfg", o->job.cfg}, {"cfg_hash", j->cfg_hash}, {"weights", o->job.weights},
        {"weights_hash", j->weights_hash}, {"criterion", o->criterion->name}, {"target", "weights"}, {"surgery", SURGERY[o->surgery]}, {"pruned_cfg", o->job.cfg},
        {"pruned_weights", j->out_weights}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) cJSON_AddStringToObject(r, texts[i].key, texts[i].value);
    cJSON_AddNumberToObject(r, "version", 1);
    cJSON_AddBoolToObject(r, "normalised", o->normalise);
    cJSON_AddBoolToObject(r, "per_layer", o->per_layer);
    cJSON_AddNumberToObject(r, "remain", o->remain);
    if (o->stage_count) cJSON_AddItemToObject(r, "schedule", cJSON_CreateDoubleArray(o->stages, (int)o->stage_count));
    cJSON_AddNumberToObject(r, "seed", (double)o->job.seed);
}

static void describe_training(struct job *j)
{
    const struct { const char *key; double value; } numbers[] = {
        {"iterations", (double)j->loop.result.iterations}, {"pruning_steps", (double)j->loop.result.steps}, {"score_images", (double)j->loop.result.score_images},
        {"score_seconds", j->loop.result.score_seconds}, {"surgery_before", j->loop.result.surgery_before}, {"surgery_after", j->loop.result.surgery_after},
        {"finetune_steps", (double)j->finetune_steps}, {"images_per_step", (double)j->images_per_step}, {"rate", j->step.rate},
        {"finetune_rate", j->o->job.finetune_rate > 0 ? j->o->job.finetune_rate : j->step.rate}, {"momentum", j->step.momentum}, {"decay", j->step.decay}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) prune_report_number(j->report, numbers[i].key, numbers[i].value);
    cJSON_AddItemToObject(j->report, "sparsity", prune_sparse_json(&j->sparse, &j->net));
}

static enum prune_code stop_early(struct job *j, struct prune_status *st)
{
    struct prune_status written = {0};
    if (j->host->save_weights(j->host_net, j->out_weights, &written)) return prune_fail(st, "interrupted, and the weights could not be written: %s", written.message);
    prune_fail(st, "interrupted; the weights so far, %zu of %zu left, are in '%s'", j->sparse.kept, j->sparse.weights, j->out_weights);
    st->code = PRUNE_INTERRUPTED;
    return PRUNE_INTERRUPTED;
}

static enum prune_code steps(struct job *j, struct prune_status *st)
{
    enum prune_code rc = check_inputs(j, st);
    if (!rc) rc = make_paths(j, st);
    if (rc) return rc;
    describe(j);
    rc = open_host(j, st);
    if (!rc) rc = measure(j, "before", "unpruned", j->o->job.weights, st);
    if (!rc) rc = prune_while_training(j, st);
    if (rc == PRUNE_INTERRUPTED) return stop_early(j, st);
    if (!rc) rc = evaluate_stage(j, "pruned", st);
    if (!rc) rc = recalibrate(j, st);
    if (!rc) rc = finetune(j, st);
    if (!rc) rc = j->host->save_weights(j->host_net, j->out_weights, st);
    if (!rc) rc = check_zeros(j, st);
    if (!rc) rc = measure(j, "after", "after", j->out_weights, st);
    if (rc) return rc;
    describe_training(j);
    return prune_report_write(j->report, j->out_report, st);
}

static void job_free(struct job *j)
{
    if (j->host_net) j->host->close(j->host_net);
    if (j->present) unlink(j->present);
    prune_sparse_free(&j->sparse);
    prune_units_free(&j->units);
    prune_net_free(&j->net);
    prune_cfg_free(&j->cfg);
    free(j->base);
    free(j->out_weights);
    free(j->out_report);
    free(j->present);
}

enum prune_code prune_sparse_run(const struct prune_host *host, const struct prune_sparse_options *o, cJSON **report, struct prune_status *st)
{
    struct job j = {.host = host, .o = o, .report = cJSON_CreateObject()};
    *report = NULL;
    if (!j.report) return prune_fail_memory(st, 0, "report");
    enum prune_code rc = prune_host_check(host, PRUNE_CAN_TRAIN | PRUNE_CAN_EDIT, st);
    if (!rc) rc = steps(&j, st);
    job_free(&j);
    if (rc) cJSON_Delete(j.report);
    else *report = j.report;
    return rc;
}
