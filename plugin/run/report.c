/* The machine-readable report of a run; see report.h. */
#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/file_io.h"

void prune_report_number(cJSON *object, const char *name, double value)
{
    if (isfinite(value)) cJSON_AddNumberToObject(object, name, value);
    else cJSON_AddNullToObject(object, name);
}

static void add_evaluation(cJSON *object, const struct prune_evaluation *e)
{
    prune_report_number(object, "top1", e ? e->top1 : NAN);
    prune_report_number(object, "top5", e ? e->top5 : NAN);
    prune_report_number(object, "map50", e ? e->map50 : NAN);
    prune_report_number(object, "map", e ? e->map : NAN);
    prune_report_number(object, "loss", e ? e->loss : NAN);
    prune_report_number(object, "images", e ? (double)e->images : NAN);
}

cJSON *prune_report_network(const struct prune_net *net, const char *weights_path, double milliseconds, const struct prune_evaluation *e)
{
    cJSON *object = cJSON_CreateObject();
    struct stat info;
    prune_report_number(object, "parameters", (double)net->parameters);
    prune_report_number(object, "macs", (double)net->macs);
    prune_report_number(object, "bflops", prune_bflops(net->macs));
    prune_report_number(object, "megabytes", stat(weights_path, &info) == 0 ? (double)info.st_size / 1e6 : NAN);
    prune_report_number(object, "milliseconds", milliseconds);
    add_evaluation(object, e);
    return object;
}

void prune_report_stage(cJSON *report, const char *name, const struct prune_evaluation *e)
{
    cJSON *stages = cJSON_GetObjectItemCaseSensitive(report, "stages");
    if (!stages) stages = cJSON_AddArrayToObject(report, "stages");
    cJSON *stage = cJSON_CreateObject();
    cJSON_AddStringToObject(stage, "name", name);
    add_evaluation(stage, e);
    cJSON_AddItemToArray(stages, stage);
}

enum prune_code prune_report_evaluate(cJSON *report, const struct prune_host *host, struct prune_host_net *net, const struct prune_image_set *set, const char *stage,
                                      struct prune_evaluation *e, struct prune_status *st)
{
    enum prune_code rc = host->evaluate(net, set, e, st);
    if (rc) return rc;
    prune_report_stage(report, stage, e);
    const bool classifier = !isnan(e->top1);
    fprintf(stderr, "%s: %s %.2f%%, loss %.4f on %zu images\n", stage, classifier ? "top-1" : "mAP@0.5", 100 * (classifier ? e->top1 : e->map50), e->loss, e->images);
    return PRUNE_OK;
}

enum prune_code prune_report_write(const cJSON *report, const char *path, struct prune_status *st)
{
    char *text = cJSON_Print(report);
    if (!text) return prune_fail_memory(st, 0, "report");
    size_t n = strlen(text);
    text[n] = '\n';   /* in place of the NUL: the file ends in a newline */
    enum prune_code rc = prune_write_file(path, text, n + 1, st);
    cJSON_free(text);
    return rc;
}
