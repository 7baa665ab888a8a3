/* The main job, step by step; see run.h. Whatever happens after the rewrite, the pair on disk loads and works. */
#include "run.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../base/progress.h"
#include "../units/mask_file.h"
#include "reconstruct.h"
#include "report.h"
#include "scores.h"

struct run {
    const struct prune_host *host;
    const struct prune_run_options *o;
    struct prune_cfg cfg;                    /* the user's network */
    struct prune_net net;
    struct prune_units units;
    struct prune_mask_origin origin;
    struct prune_cost original;              /* of the user's network: what targets are fractions of */
    struct prune_loop_options loop;          /* the user's, with what was left open filled in */
    const char *chosen_for;                  /* networks the criterion is the default of; NULL: the user named it */
    struct prune_work work;
    struct prune_loop_result pruned;
    char *base, *folder;                     /* <out>/work */
    char *out_cfg, *out_weights, *out_mask, *out_scores, *out_report, *masked;
    struct prune_step_options step;          /* rate, momentum and decay as they are used */
    size_t images_per_step, train_images, finetune_steps;
    cJSON *report;
};

static struct prune_image_set valid_set(const struct run *r)
{
    return (struct prune_image_set){.data_path = r->o->job.data, .role = PRUNE_DATA_VALID, .limit = r->o->job.evaluate_images, .letterbox = r->o->job.letterbox};
}

static struct prune_image_set train_set(const struct run *r)
{
    return (struct prune_image_set){.data_path = r->o->job.data, .role = PRUNE_DATA_TRAIN, .letterbox = r->o->job.letterbox};
}

static enum prune_code evaluate(struct run *r, struct prune_host_net *net, const char *stage, struct prune_evaluation *e, struct prune_status *st)
{
    struct prune_image_set set = valid_set(r);
    return prune_report_evaluate(r->report, r->host, net, &set, stage, e, st);
}

static enum prune_code make_paths(struct run *r, struct prune_status *st)
{
    const char *out = r->o->job.out;
    r->base = prune_base_name(r->o->job.cfg);
    r->folder = prune_path_join(out, "work");
    if (!r->base || !r->folder) return prune_fail_memory(st, strlen(out), "paths");
    r->out_cfg = prune_format("%s/%s-pruned.cfg", out, r->base);
    r->out_weights = prune_format("%s/%s-pruned.weights", out, r->base);
    r->out_mask = prune_format("%s/%s-pruned.mask.json", out, r->base);
    r->out_scores = prune_format("%s/%s-scores.json", out, r->base);
    r->out_report = prune_path_join(out, "report.json");
    r->masked = prune_path_join(r->folder, "masked.weights");
    if (!r->out_cfg || !r->out_weights || !r->out_mask || !r->out_scores || !r->out_report || !r->masked) return prune_fail_memory(st, strlen(out), "paths");
    const char *outputs[] = {r->out_cfg, r->out_weights, r->out_mask, r->out_scores, r->out_report};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        if (prune_same_file(outputs[i], r->o->job.cfg) || prune_same_file(outputs[i], r->o->job.weights) || prune_same_file(outputs[i], r->o->job.data))
            return prune_fail(st, "'%s' is an input and would be overwritten; choose another folder with -out", outputs[i]);
    return prune_make_dirs(r->folder, st);
}

/* A target that cannot be reached is said before anything is trained. */
static enum prune_code check_target(struct run *r, struct prune_status *st)
{
    uint8_t *removed = calloc(r->units.count ? r->units.count : 1, 1);
    double *scores = calloc(r->units.count ? r->units.count : 1, sizeof *scores);
    struct prune_select_options select = r->o->loop.select;
    struct prune_select_result result;
    if (!removed || !scores) {
        free(removed);
        free(scores);
        return prune_fail_memory(st, r->units.count, "mask");
    }
    prune_units_cost(&r->net, &r->units, removed, &r->original);
    select.original = r->original;
    enum prune_code rc = prune_select(&r->net, &r->units, scores, &select, removed, &result, st);
    free(removed);
    free(scores);
    return rc;
}

static enum prune_code settle_criterion(struct run *r, struct prune_status *st)
{
    if (!r->loop.criterion) r->loop.criterion = prune_default_criterion(&r->net, &r->chosen_for);
    if (isnan(r->loop.smoothing)) r->loop.smoothing = prune_default_smoothing(r->loop.criterion);
    const struct prune_criterion *c = r->loop.criterion;
    enum prune_code rc = prune_feed_check(c, r->loop.feed, &r->net, st);
    if (!rc && r->loop.score_images && !prune_feeds_by_pass(c, r->loop.feed))
        rc = prune_fail_usage(st, "flag '-score-images' has no meaning without scoring passes: criterion '%s' %s", c->name,
                              c->signals ? "is fed by training; add '-score pass'" : "reads no images");
    if (!rc) rc = prune_surgery_check(c, &r->loop.surgery, st);
    unsigned needed = c->signals | (c->perturbs ? PRUNE_CAN_PERTURB : 0u) | (r->loop.surgery.how != PRUNE_SURGERY_NONE ? PRUNE_CAN_EDIT : 0u);
    return rc ? rc : prune_host_check(r->host, needed, st);
}

/* Everything that can be refused without the host is refused here. */
static enum prune_code check_inputs(struct run *r, struct prune_status *st)
{
    enum prune_code rc = prune_net_read(&r->cfg, &r->net, r->o->job.cfg, st);
    if (!rc) rc = prune_units_build(&r->units, &r->net, st);
    if (!rc && r->o->job.protect) rc = prune_units_protect(&r->units, &r->net, r->o->job.protect, st);
    if (rc) return rc;
    struct prune_weights weights;
    rc = prune_weights_open(&weights, r->o->job.weights, &r->net, st);
    if (rc) return rc;
    rc = prune_weights_check_finite(&weights, st);
    prune_weights_close(&weights);
    if (rc) return rc;
    if (r->net.task == PRUNE_TASK_OTHER)
        return prune_fail(st, "'%s' has no softmax, cost, yolo, region or detection layer at its end: nothing to train or evaluate", r->o->job.cfg);
    rc = settle_criterion(r, st);
    if (!rc) rc = check_target(r, st);
    if (rc) return rc;
    r->origin.cfg_path = r->o->job.cfg;
    r->origin.weights_path = r->o->job.weights;
    rc = prune_hash_file(r->o->job.cfg, r->origin.cfg_hash, st);
    return rc ? rc : prune_hash_file(r->o->job.weights, r->origin.weights_hash, st);
}

static enum prune_code open_work(struct run *r, struct prune_status *st)
{
    struct prune_work_options options = {.folder = r->folder, .base = r->base, .protect = r->o->job.protect, .train = train_set(r),
                                         .open = {.threads = r->o->job.threads, .seed = r->o->job.seed, .quiet = true}};
    return prune_work_open(&r->work, r->host, r->o->job.cfg, r->o->job.weights, &options, st);
}

static enum prune_code measure_before(struct run *r, struct prune_status *st)
{
    struct prune_evaluation e;
    enum prune_code rc = evaluate(r, r->work.host_net, "unpruned", &e, st);
    if (rc) return rc;
    cJSON_AddItemToObject(r->report, "before", prune_report_network(&r->net, r->o->job.weights, NAN, &e));
    prune_evaluation_release(&e);
    return PRUNE_OK;
}

static void read_facts(struct run *r)
{
    struct prune_net_facts facts;
    r->host->facts(r->work.host_net, &facts);
    r->step = prune_step_of(&r->o->loop.step, &facts);
    r->images_per_step = (size_t)facts.batch * (size_t)facts.subdivisions;
    r->train_images = facts.train_images;
}

static const char *fed_by(const struct prune_loop_options *loop)
{
    if (!loop->criterion->signals) return "weights";
    return prune_feeds_by_pass(loop->criterion, loop->feed) ? "pass" : "hook";
}

static void say_plan(const struct run *r)
{
    const struct prune_loop_options *loop = &r->loop;
    fprintf(stderr, "pruning with %s", loop->criterion->name);
    if (r->chosen_for) fprintf(stderr, " (the default for %s)", r->chosen_for);
    fprintf(stderr, ": %zu training steps, ", loop->batches_per_iteration);
    if (prune_feeds_by_pass(loop->criterion, loop->feed))
        fprintf(stderr, "a scoring pass over %zu images, ", loop->score_images ? loop->score_images : loop->batches_per_iteration * r->images_per_step);
    fprintf(stderr, "then %.1f%% of the units, until %.2f remain; rate %g\n", 100 * loop->remove_per_iteration, loop->select.remain, r->step.rate);
}

static enum prune_code prune_while_training(struct run *r, struct prune_status *st)
{
    struct prune_loop_options *loop = &r->loop;
    read_facts(r);
    loop->select.original = r->original;
    loop->valid = valid_set(r);
    loop->seed = r->o->job.seed;
    loop->step = r->step;
    say_plan(r);
    enum prune_code rc = prune_loop(&r->work, loop, &r->pruned, st);
    if (r->pruned.noted) fprintf(stderr, "note: %s in %zu of %zu iterations; in the last of them %s\n", loop->criterion->name, r->pruned.noted, r->pruned.iterations, r->pruned.note);
    if (*r->pruned.differences) fprintf(stderr, "note: %s by differences of gate gradients, not by exact products: %s\n", loop->criterion->name, r->pruned.differences);
    read_facts(r);   /* the training list is known now */
    if (!rc && r->pruned.stopped_by)
        fprintf(stderr, "removal stopped by %s (measured %g); rolled back to the last state that held\n", r->pruned.stopped_by, r->pruned.floor_value);
    return rc;
}

static enum prune_code write_pair(struct run *r, bool with_masked, struct prune_status *st)
{
    uint8_t *gone = malloc(r->units.count ? r->units.count : 1);
    if (!gone) return prune_fail_memory(st, r->units.count, "mask");
    prune_work_original_mask(&r->work, &r->units, gone);
    enum prune_code rc = prune_work_write(&r->work, r->out_cfg, r->out_weights, with_masked ? r->masked : NULL, st);
    if (!rc) rc = prune_mask_write(r->out_mask, &r->units, gone, &r->origin, st);
    if (!rc) rc = prune_run_scores_write(r->out_scores, &r->work, &r->units, &r->loop, &r->pruned, &r->origin, st);
    free(gone);
    return rc;
}

static enum prune_code verify_pair(struct run *r, struct prune_status *st)
{
    struct prune_verify_options options = {.images = 4, .data_path = r->o->job.data, .threads = r->o->job.threads, .seed = r->o->job.seed};
    struct prune_verify_result result;
    enum prune_code rc = prune_verify(r->host, r->work.cfg_path, r->masked, r->out_cfg, r->out_weights, &options, &result, st);
    if (rc) return rc;
    fprintf(stderr, "verified: masked and rewritten network agree to %.1e on %zu images\n", result.worst, result.images);
    prune_report_number(r->report, "verified", result.worst);
    return PRUNE_OK;
}

/* How many steps fine-tuning has: of its own, or what is left of -total. */
static enum prune_code plan_finetune(struct run *r, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    if (r->o->job.total) {
        rc = prune_parse_length("total", r->o->job.total, r->train_images, r->images_per_step, &r->finetune_steps, st);
        r->finetune_steps -= r->finetune_steps < r->pruned.steps ? r->finetune_steps : r->pruned.steps;
    } else if (r->o->job.finetune) {
        rc = prune_parse_length("finetune", r->o->job.finetune, r->train_images, r->images_per_step, &r->finetune_steps, st);
    }
    return rc;
}

static enum prune_code fit_to_original(struct run *r, struct prune_status *st)
{
    struct prune_reconstruct_options options = {.data = r->o->job.data, .images = r->o->reconstruct_images, .ridge = NAN, .threads = r->o->job.threads, .seed = r->o->job.seed,
                                                .letterbox = r->o->job.letterbox};
    struct prune_plan plan = {0};
    struct prune_reconstruct_input in = {.cfg = r->o->job.cfg, .weights = r->o->job.weights, .whole = &r->net, .net = &r->net, .plan = &plan, .pruned_cfg = r->out_cfg,
                                         .pruned_weights = r->out_weights, .trained = true};
    struct prune_reconstruct_result result = {0};
    uint8_t *gone = malloc(r->units.count ? r->units.count : 1);
    if (!gone) return prune_fail_memory(st, r->units.count, "mask");
    enum prune_code rc = prune_mask_read(r->out_mask, &r->units, &r->origin, gone, st);
    if (!rc) rc = prune_plan_build(&plan, &r->net, &r->units, gone, st);
    if (!rc) rc = prune_reconstruct(r->host, &in, &options, &result, st);
    if (!rc) fprintf(stderr, "reconstructed %zu layers from %zu images in %.1f s\n", result.solved, result.images, result.seconds);
    prune_reconstruct_free(&result);
    prune_plan_free(&plan);
    free(gone);
    return rc;
}

/* The weights on disk change, so the network is opened anew. */
static enum prune_code reconstruct(struct run *r, const struct prune_open_options *open, struct prune_host_net **net, struct prune_status *st)
{
    struct prune_evaluation e;
    if (!r->o->reconstruct_images) return PRUNE_OK;
    r->host->close(*net);
    *net = NULL;
    enum prune_code rc = fit_to_original(r, st);
    if (!rc) rc = r->host->open(r->host->context, r->out_cfg, r->out_weights, open, net, st);
    if (!rc) rc = evaluate(r, *net, "reconstructed", &e, st);
    if (!rc) prune_evaluation_release(&e);
    return rc;
}

static enum prune_code recalibrate(struct run *r, struct prune_host_net *net, struct prune_status *st)
{
    if (!r->o->job.recalibrate_images) return PRUNE_OK;
    struct prune_image_set set = train_set(r);
    struct prune_evaluation e;
    enum prune_code rc = r->host->recalibrate(net, &set, r->o->job.recalibrate_images, st);
    if (!rc) rc = r->host->save_weights(net, r->out_weights, st);
    if (!rc) rc = evaluate(r, net, "recalibrated", &e, st);
    if (!rc) prune_evaluation_release(&e);
    return rc;
}

static enum prune_code finetune(struct run *r, struct prune_host_net *net, struct prune_status *st)
{
    if (!r->finetune_steps) return PRUNE_OK;
    struct prune_image_set set = train_set(r);
    size_t epoch = r->train_images / (r->images_per_step ? r->images_per_step : 1);
    struct prune_finetune_options options = {.steps = r->finetune_steps, .step = r->step, .weights_path = r->out_weights, .save_every = epoch ? epoch : 100};
    struct prune_finetune_result result;
    if (r->o->job.finetune_rate > 0) options.step.rate = r->o->job.finetune_rate;
    enum prune_code rc = r->host->train_start(net, &set, NULL, NULL, NULL, st);
    if (!rc) rc = prune_finetune(r->host, net, &options, &result, st);
    r->host->train_stop(net);
    return rc;
}

/* Times of both networks, taken in turn at the same moment: minutes apart, a busy machine would make the ratio a lottery. Least of three. */
static enum prune_code measure_times(struct run *r, struct prune_host_net *pruned, double *after, struct prune_status *st)
{
    struct prune_open_options open = {.threads = r->o->job.threads, .seed = r->o->job.seed, .batch = 1, .quiet = true};
    struct prune_host_net *original = NULL;
    double before = INFINITY;
    *after = INFINITY;
    enum prune_code rc = r->host->open(r->host->context, r->o->job.cfg, r->o->job.weights, &open, &original, st);
    for (int i = 0; i < 3 && !rc; i++) {
        double a = NAN, b = NAN;
        rc = r->host->milliseconds(original, &a, st);
        if (!rc) rc = r->host->milliseconds(pruned, &b, st);
        before = fmin(before, a);
        *after = fmin(*after, b);
    }
    if (original) r->host->close(original);
    if (!rc) cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(r->report, "before"), "milliseconds", cJSON_CreateNumber(before));
    return rc;
}

/* From the rewritten pair on: evaluate, reconstruct, recalibrate, fine-tune, evaluate. */
static enum prune_code repair(struct run *r, struct prune_status *st)
{
    struct prune_open_options open = {.threads = r->o->job.threads, .seed = r->o->job.seed + 1, .quiet = true};
    struct prune_host_net *net = NULL;
    struct prune_cfg cfg;
    struct prune_net shape;
    struct prune_evaluation e;
    double milliseconds = NAN;
    enum prune_code rc = prune_net_read(&cfg, &shape, r->out_cfg, st);
    if (rc) return rc;
    rc = r->host->open(r->host->context, r->out_cfg, r->out_weights, &open, &net, st);
    if (!rc) rc = evaluate(r, net, "rewritten", &e, st);
    if (!rc) prune_evaluation_release(&e);
    if (!rc) rc = reconstruct(r, &open, &net, st);
    if (!rc) rc = recalibrate(r, net, st);
    if (!rc) rc = finetune(r, net, st);
    if (!rc) rc = measure_times(r, net, &milliseconds, st);
    if (!rc) rc = evaluate(r, net, "after", &e, st);
    if (!rc) {
        cJSON_AddItemToObject(r->report, "after", prune_report_network(&shape, r->out_weights, milliseconds, &e));
        prune_evaluation_release(&e);
    }
    r->host->close(net);
    prune_net_free(&shape);
    prune_cfg_free(&cfg);
    return rc;
}

static void describe(struct run *r)
{
    static const char *const targets[] = {"macs", "params", "units"};
    cJSON *report = r->report;
    cJSON_AddStringToObject(report, "format", "darknet-prune-report");
    cJSON_AddNumberToObject(report, "version", 1);
    cJSON_AddStringToObject(report, "host", r->host->name);
    cJSON_AddStringToObject(report, "cfg", r->o->job.cfg);
    cJSON_AddStringToObject(report, "cfg_hash", r->origin.cfg_hash);
    cJSON_AddStringToObject(report, "weights", r->o->job.weights);
    cJSON_AddStringToObject(report, "weights_hash", r->origin.weights_hash);
    cJSON_AddStringToObject(report, "criterion", r->loop.criterion->name);
    cJSON_AddBoolToObject(report, "criterion_chosen", r->chosen_for != NULL);
    cJSON_AddStringToObject(report, "score", fed_by(&r->loop));
    cJSON_AddNumberToObject(report, "momentum_score", r->loop.smoothing);
    cJSON_AddStringToObject(report, "target", targets[r->o->loop.select.target]);
    cJSON_AddNumberToObject(report, "remain", r->o->loop.select.remain);
    cJSON_AddNumberToObject(report, "seed", (double)r->o->job.seed);
    cJSON_AddStringToObject(report, "pruned_cfg", r->out_cfg);
    cJSON_AddStringToObject(report, "pruned_weights", r->out_weights);
    cJSON_AddStringToObject(report, "mask", r->out_mask);
    cJSON_AddStringToObject(report, "scores", r->out_scores);
}

static void describe_training(struct run *r)
{
    cJSON_AddNumberToObject(r->report, "iterations", (double)r->pruned.iterations);
    cJSON_AddNumberToObject(r->report, "pruning_steps", (double)r->pruned.steps);
    cJSON_AddNumberToObject(r->report, "score_images", (double)r->pruned.score_images);
    cJSON_AddNumberToObject(r->report, "score_seconds", r->pruned.score_seconds);
    cJSON_AddNumberToObject(r->report, "finetune_steps", (double)r->finetune_steps);
    cJSON_AddNumberToObject(r->report, "images_per_step", (double)r->images_per_step);
    cJSON_AddNumberToObject(r->report, "rate", r->step.rate);
    cJSON_AddNumberToObject(r->report, "finetune_rate", r->o->job.finetune_rate > 0 ? r->o->job.finetune_rate : r->step.rate);
    cJSON_AddNumberToObject(r->report, "momentum", r->step.momentum);
    cJSON_AddNumberToObject(r->report, "decay", r->step.decay);
    cJSON_AddBoolToObject(r->report, "target_met", r->pruned.target_met);
    if (r->pruned.stopped_by) cJSON_AddStringToObject(r->report, "stopped_by", r->pruned.stopped_by);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)type, (void)where;
    return remove(path);
}

static void run_free(struct run *r)
{
    prune_work_close(&r->work);
    prune_units_free(&r->units);
    prune_net_free(&r->net);
    prune_cfg_free(&r->cfg);
    if (r->folder && !r->o->keep_work) nftw(r->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    char *texts[] = {r->base, r->folder, r->out_cfg, r->out_weights, r->out_mask, r->out_scores, r->out_report, r->masked};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free(texts[i]);
}

static enum prune_code stop_early(struct run *r, struct prune_status *st)
{
    struct prune_status written = {0};
    if (write_pair(r, false, &written)) return prune_fail(st, "interrupted, and the pair could not be written: %s", written.message);
    prune_fail(st, "interrupted; the network pruned so far is in '%s' and '%s' (not fine-tuned)", r->out_cfg, r->out_weights);
    st->code = PRUNE_INTERRUPTED;
    return PRUNE_INTERRUPTED;
}

static enum prune_code steps(struct run *r, struct prune_status *st)
{
    enum prune_code rc = check_inputs(r, st);
    if (!rc) rc = make_paths(r, st);
    if (rc) return rc;
    describe(r);
    rc = open_work(r, st);
    if (!rc) rc = measure_before(r, st);
    if (!rc) rc = prune_while_training(r, st);
    if (rc == PRUNE_INTERRUPTED) return stop_early(r, st);
    if (!rc) rc = plan_finetune(r, st);
    if (!rc) rc = write_pair(r, true, st);
    if (rc) return rc;
    r->host->train_stop(r->work.host_net);
    rc = verify_pair(r, st);
    if (rc) return rc;
    prune_work_close(&r->work);
    rc = repair(r, st);
    if (rc) return rc;
    describe_training(r);
    return prune_report_write(r->report, r->out_report, st);
}

enum prune_code prune_run(const struct prune_host *host, const struct prune_run_options *o, cJSON **report, struct prune_status *st)
{
    struct run r = {.host = host, .o = o, .loop = o->loop, .report = cJSON_CreateObject()};
    *report = NULL;
    if (!r.report) return prune_fail_memory(st, 0, "report");
    enum prune_code rc = prune_host_check(host, PRUNE_CAN_TRAIN | PRUNE_CAN_STATE, st);
    if (!rc) rc = steps(&r, st);
    run_free(&r);
    if (rc) cJSON_Delete(r.report);
    else *report = r.report;
    return rc;
}
