/* `darknet prune run -granularity weight`; see run_weights.h. */
#include "run_weights.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../run/sparse_run.h"
#include "common.h"
#include "job_flags.h"
#include "scoring_flags.h"
#include "surgery_flags.h"
#include "table.h"

enum { MOST_STAGES = 256 };

static bool one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0) names++;
    return *names != NULL;
}

enum prune_code prune_run_weights_asked(const struct prune_args *a, bool *asked, struct prune_status *st)
{
    static const char *const both[] = {"granularity", "out", "per-layer", "protect", "min-keep", "criterion", "score", "score-images", "surgery", "batches-per-iteration",
                                       "remove-per-iteration", "finetune", "total", "lr", "finetune-lr", "momentum", "decay", "recalibrate", "images", "letterbox", "threads",
                                       "seed", "kfac-samples", "kfac-decay", "damping", "fisher", "normalize", NULL};
    static const char *const weights[] = {"weights", "stages", "anneal", NULL};
    const char *granularity = prune_args_string(a, "granularity", "unit");
    const bool fine = strcmp(granularity, "weight") == 0;
    if (!fine && strcmp(granularity, "unit") != 0) return prune_fail_usage(st, "flag '-granularity': '%s' is not one of unit, weight", granularity);
    for (int i = 0; a->flags[i].name; i++) {
        const char *name = a->flags[i].name;
        if (!a->values[i] || one_of(name, both) || one_of(name, weights) == fine) continue;
        if (fine) return prune_fail_usage(st, "flag '-%s' has no meaning with '-granularity weight', whose target is -weights R; leave it away", name);
        return prune_fail_usage(st, "flag '-%s' is of fine-grained pruning; add '-granularity weight'", name);
    }
    *asked = fine;
    return PRUNE_OK;
}

static enum prune_code read_criterion(const struct prune_args *a, struct prune_sparse_options *o, struct prune_status *st)
{
    const char *name = prune_args_string(a, "criterion", "nap"), *normalize = prune_args_string(a, "normalize", NULL);
    enum prune_scale scale;
    o->criterion = prune_weight_criterion_find(strcmp(name, "auto") ? name : "nap");
    if (!o->criterion && prune_criterion_find(name))
        return prune_fail_usage(st, "criterion '%s' ranks channels, not single weights; with '-granularity weight' take nap, obd, magnitude or random", name);
    if (!o->criterion) return prune_fail_usage(st, "unknown criterion '%s'; with '-granularity weight' it is one of nap, obd, magnitude, random", name);
    o->normalise = normalize ? strcmp(normalize, "layer") == 0 : o->criterion->normalised;
    enum prune_code rc = prune_args_feed(a, &o->feed, &o->score_images, st);
    if (!rc) rc = prune_args_kfac(a, &o->kfac, &scale, st);
    struct prune_surgery_options surgery = {.how = PRUNE_SURGERY_NONE};
    if (!rc) rc = prune_args_surgery(a, PRUNE_SURGERY_NONE, &surgery, st);
    o->surgery = surgery.how;
    const char *unread = o->surgery != PRUNE_SURGERY_NONE ? "surgery" : o->feed != PRUNE_FEED_DEFAULT ? "score" : o->score_images ? "score-images" : NULL;
    if (!rc && !o->criterion->gathers && unread)
        rc = prune_fail_usage(st, "flag '-%s' has no meaning for criterion '%s', which reads no images; take nap or obd", unread, name);
    return rc;
}

/* "0.5,0.25,0.1" into stages[]; falling, none above 1. */
static enum prune_code read_stages(const char *text, double *stages, size_t *count, struct prune_status *st)
{
    double before = 1;
    for (*count = 0;; text++) {
        char *end;
        double value = strtod(text, &end);
        if (*count == MOST_STAGES) return prune_fail_usage(st, "flag '-stages': more than %d stages", MOST_STAGES);
        if (end == text || isspace((unsigned char)*text) || (*end && *end != ',') || !(value > 0 && value < before))
            return prune_fail_usage(st, "flag '-stages': '%s' does not go on with a fraction below %g; write falling fractions, for example 0.5,0.25,0.1", text, before);
        stages[(*count)++] = before = value;
        text = end;
        if (!*text) return PRUNE_OK;
    }
}

static enum prune_code read_target(const struct prune_args *a, struct prune_sparse_options *o, double *stages, struct prune_status *st)
{
    const char *list = prune_args_string(a, "stages", NULL);
    long min_keep = 1, batches = 10;
    if (!list && !prune_args_has(a, "weights")) return prune_fail_usage(st, "no target is given; add -weights R, the fraction of the weights that remains, for example -weights 0.1");
    if (list && prune_args_has(a, "remove-per-iteration")) return prune_fail_usage(st, "both '-stages' and '-remove-per-iteration' are given; one of them says how fast weights go");
    enum prune_code rc = list ? read_stages(list, stages, &o->stage_count, st) : PRUNE_OK;
    if (rc) return rc;
    o->stages = list ? stages : NULL;
    rc = prune_args_double(a, "weights", 0, 1, list ? stages[o->stage_count - 1] : 1, &o->remain, st);
    if (!rc && !(o->remain > 0)) rc = prune_fail_usage(st, "flag '-weights': 0 would leave nothing; give the fraction that remains, for example 0.1");
    if (!rc && list && fabs(o->remain - stages[o->stage_count - 1]) > 1e-12 * o->remain)
        rc = prune_fail_usage(st, "flag '-stages' ends at %g, and '-weights' asks for %g; let them end at the same fraction", stages[o->stage_count - 1], o->remain);
    if (!rc) rc = prune_args_double(a, "remove-per-iteration", 1e-6, 1, 0.2, &o->remove_per_iteration, st);
    if (!rc) rc = prune_args_switch(a, "anneal", list != NULL, &o->anneal, st);
    if (!rc) rc = prune_args_int(a, "min-keep", 1, INT_MAX, 1, &min_keep, st);
    if (!rc) rc = prune_args_int(a, "batches-per-iteration", 1, 1000000, 10, &batches, st);
    o->min_keep = (size_t)min_keep;
    o->batches_per_iteration = (size_t)batches;
    return rc;
}

enum prune_code prune_run_weights(const struct prune_args *a, const struct prune_host *host, struct prune_status *st)
{
    double stages[MOST_STAGES];
    struct prune_sparse_options o = {.per_layer = prune_args_has(a, "per-layer")};
    cJSON *report = NULL;
    enum prune_code rc = read_criterion(a, &o, st);
    if (!rc) rc = read_target(a, &o, stages, st);
    if (!rc) rc = prune_args_step(a, &o.step, st);
    if (!rc) rc = prune_args_job(a, 2560, &o.job, st);
    if (!rc) rc = prune_sparse_run(host, &o, &report, st);
    if (rc) return rc;
    prune_table_print(stdout, report);
    printf("wrote %s\n      %s/report.json\n", cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(report, "pruned_weights")), o.job.out);
    cJSON_Delete(report);
    return PRUNE_OK;
}
