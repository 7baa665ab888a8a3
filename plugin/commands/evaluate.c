/* `darknet prune evaluate`: loss and top-1/top-5 of a classifier, or average precision per class of a detector; with gates shut, of the
 * network as a mask would leave it. */
#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../run/report.h"
#include "common.h"
#include "data_file.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune evaluate <data> <cfg> <weights> [-flag value ...]\n"
    "\n"
    "Classifier: mean cross-entropy, top-1 and top-5. Detector: AP@0.5 (area under the precision-recall\n"
    "curve) and AP@[.5:.95] of each class and their means. Images are not augmented.\n"
    "\n"
    PRUNE_IMAGE_HELP("valid")
    "  -mask FILE        shut the gates of the units that this mask removes; a mask with whole blocks\n"
    "                    is refused\n"
    "  -other-weights 0|1\n"
    "                    1: the mask may have been made with other weights of the same cfg (default: 0)\n"
    "  -shut L:C[,L:C]   shut the gate of the unit that has channel C of layer L\n"
    "  -recalibrate N    first average batch-norm statistics over N training images, drawn as in\n"
    "                    training; no file changes (default: 0)\n"
    "  -batch B          images per forward pass (default: the cfg's batch / subdivisions)\n"
    "  -json FILE        all numbers, machine-readable\n"
    "  -predictions FILE what the network said, one line per image or detection (docs/evaluation.md)\n"
    PRUNE_HOST_HELP
    "\n"
    "examples:\n"
    "  darknet prune evaluate cifar.data resnet20.cfg resnet20.weights\n"
    "  darknet prune evaluate coco.data yolo.cfg yolo.weights -letterbox 0 -json yolo.json\n"
    "  darknet prune evaluate cifar.data resnet20.cfg resnet20.weights -shut 13:5\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

struct job {
    const struct prune_host *host;
    const char *data, *cfg, *weights, *mask, *shut, *json, *predictions;
    struct prune_project project;
    struct prune_image_set set;
    struct prune_open_options open;
    long recalibrate;              /* training images; 0: statistics as they are */
    bool other_weights;            /* the mask may be of other weights */
    uint8_t *removed;              /* [units] gates to shut; NULL: none */
    struct prune_lines names;      /* of the classes, as far as the data file has them */
    struct prune_evaluation result;
};

static enum prune_code check_output(const struct job *j, const char *path, struct prune_status *st)
{
    const char *inputs[] = {j->data, j->cfg, j->weights, j->mask, j->set.list};
    return prune_check_output(path, inputs, sizeof inputs / sizeof *inputs, st);
}

static enum prune_code read_options(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    long batch = 0;
    j->data = a->positional[0];
    j->cfg = a->positional[1];
    j->weights = a->positional[2];
    j->mask = prune_args_string(a, "mask", NULL);
    j->shut = prune_args_string(a, "shut", NULL);
    j->json = prune_args_string(a, "json", NULL);
    j->predictions = prune_args_string(a, "predictions", NULL);
    if (j->mask && j->shut) return prune_fail_usage(st, "'-mask' and '-shut' exclude each other");
    enum prune_code rc = prune_args_images(a, j->data, PRUNE_DATA_VALID, &j->set, st);
    if (!rc) rc = prune_args_host(a, &j->open, st);
    if (!rc) rc = prune_args_int(a, "batch", 1, INT_MAX, 0, &batch, st);
    if (!rc) rc = prune_args_int(a, "recalibrate", 0, 1000000000, 0, &j->recalibrate, st);
    if (!rc) rc = prune_args_switch(a, "other-weights", false, &j->other_weights, st);
    if (!rc && j->json) rc = check_output(j, j->json, st);
    if (!rc && j->predictions) rc = check_output(j, j->predictions, st);
    j->open.batch = (int)batch;
    return rc;
}

/* "L:C": the unit of channel C of layer L. */
static enum prune_code shut_one(struct job *j, const char *text, char **end, struct prune_status *st)
{
    const struct prune_net *net = &j->project.net;
    const struct prune_units *units = &j->project.units;
    char *colon;
    long layer = strtol(text, &colon, 10);
    if (colon == text || *colon != ':') return prune_fail_usage(st, "flag '-shut': '%s' is not LAYER:CHANNEL, for example 13:5", text);
    long channel = strtol(colon + 1, end, 10);
    if (*end == colon + 1 || (**end && **end != ',')) return prune_fail_usage(st, "flag '-shut': '%s' is not LAYER:CHANNEL, for example 13:5", text);
    if (layer < 0 || (size_t)layer >= net->layer_count) return prune_fail_usage(st, "flag '-shut': no layer %ld, '%s' has 0..%zu", layer, j->cfg, net->layer_count - 1);
    if (channel < 0 || channel >= net->layers[layer].out_c)
        return prune_fail_usage(st, "flag '-shut': layer %ld has no channel %ld, only 0..%d", layer, channel, net->layers[layer].out_c - 1);
    int unit = units->of_channel[layer][channel];
    if (unit < 0 || !units->items[unit].site_count) return prune_fail_usage(st, "flag '-shut': channel %ld of layer %ld has no gate", channel, layer);
    j->removed[unit] = 1;
    return PRUNE_OK;
}

static enum prune_code read_mask(struct job *j, struct prune_status *st)
{
    size_t n = j->project.units.count;
    if (!j->mask && !j->shut) return PRUNE_OK;
    j->removed = calloc(n ? n : 1, 1);
    if (!j->removed) return prune_fail_memory(st, n, "mask");
    j->project.origin.other_weights = j->other_weights;
    if (j->mask) return prune_mask_read(j->mask, &j->project.units, &j->project.origin, j->removed, st);
    enum prune_code rc = PRUNE_OK;
    char *end;
    for (const char *text = j->shut; !rc; text = end + 1) {
        rc = shut_one(j, text, &end, st);
        if (rc || !*end) break;
    }
    return rc;
}

static enum prune_code shut_gates(struct job *j, struct prune_host_net *net, struct prune_status *st)
{
    const struct prune_units *units = &j->project.units;
    if (!j->removed) return PRUNE_OK;
    float *z = malloc((units->count ? units->count : 1) * sizeof *z);
    if (!z) return prune_fail_memory(st, units->count * sizeof *z, "gates");
    for (size_t u = 0; u < units->count; u++) z[u] = j->removed[u] ? 0.0f : 1.0f;
    enum prune_code rc = j->host->gates_attach(net, units->sites, units->site_count, units->count, st);
    if (!rc) rc = j->host->gates_set(net, z, units->count, st);
    free(z);
    return rc;
}

static enum prune_code measure(struct job *j, struct prune_status *st)
{
    struct prune_host_net *net = NULL;
    enum prune_code rc = prune_host_check(j->host, 0, st);
    if (!rc && j->predictions && !j->host->write_predictions) rc = prune_fail(st, "host '%s' cannot write predictions", j->host->name);
    if (!rc) rc = j->host->open(j->host->context, j->cfg, j->weights, &j->open, &net, st);
    if (rc) return rc;
    const struct prune_image_set training = {.data_path = j->data, .role = PRUNE_DATA_TRAIN, .letterbox = j->set.letterbox};
    rc = shut_gates(j, net, st);
    if (!rc && j->recalibrate) rc = j->host->recalibrate(net, &training, (size_t)j->recalibrate, st);
    if (!rc) rc = j->host->evaluate(net, &j->set, &j->result, st);
    if (!rc && j->predictions) rc = j->host->write_predictions(net, &j->set, j->predictions, st);
    j->host->close(net);
    return rc;
}

/* Names are a convenience: a data file without them is fine, a file that it names and that cannot be read is not. */
static enum prune_code read_names(struct job *j, struct prune_status *st)
{
    static const char *const keys[] = {"names", "labels"};
    char *path = NULL;
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && !path && i < sizeof keys / sizeof *keys; i++) rc = prune_data_value(j->data, keys[i], &path, st);
    if (!rc && path) rc = prune_lines_read(&j->names, path, st);
    free(path);
    return rc;
}

static const char *class_name(const struct job *j, int class)
{
    return (size_t)class < j->names.count ? j->names.items[class] : "";
}

static void print_percent(double fraction)
{
    if (isnan(fraction)) printf("      -");
    else printf(" %6.2f", 100 * fraction);
}

static void print_result(const struct job *j)
{
    const struct prune_evaluation *e = &j->result;
    printf("%zu image%s, %.1f s of forward passes (%.2f ms per image)\n", e->images, e->images == 1 ? "" : "s", e->seconds, e->images ? 1000 * e->seconds / (double)e->images : 0);
    if (!isnan(e->loss)) printf("loss %.9g\n", e->loss);
    if (!isnan(e->top1)) printf("top-1 %.2f%% (%.0f of %zu)\n", 100 * e->top1, e->top1 * (double)e->images, e->images);
    if (!isnan(e->top5)) printf("top-%d %.2f%%\n", e->classes && e->classes < 5 ? e->classes : 5, 100 * e->top5);
    if (isnan(e->map50)) return;
    printf("%5s %7s %7s  %s\n", "class", "AP@.5", "AP", "name");
    for (int c = 0; e->ap50 && c < e->classes; c++) {
        printf("%5d ", c);
        print_percent(e->ap50[c]);
        print_percent(e->ap ? e->ap[c] : NAN);
        printf("  %s\n", class_name(j, c));
    }
    printf("mAP@0.5 %.2f%%, mAP@[.5:.95] %.2f%%\n", 100 * e->map50, 100 * e->map);
}

static void add_classes(cJSON *json, const struct job *j)
{
    const struct prune_evaluation *e = &j->result;
    if (!e->ap50) return;
    cJSON *list = cJSON_AddArrayToObject(json, "classes");
    for (int c = 0; c < e->classes; c++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", class_name(j, c));
        prune_report_number(item, "ap50", e->ap50[c]);
        prune_report_number(item, "ap", e->ap ? e->ap[c] : NAN);
        cJSON_AddItemToArray(list, item);
    }
}

static enum prune_code write_json(const struct job *j, struct prune_status *st)
{
    const struct prune_evaluation *e = &j->result;
    cJSON *json = cJSON_CreateObject();
    if (!json) return prune_fail_memory(st, 0, "evaluation");
    cJSON_AddStringToObject(json, "format", "darknet-prune-evaluation");
    cJSON_AddNumberToObject(json, "version", 1);
    cJSON_AddStringToObject(json, "data", j->data);
    cJSON_AddStringToObject(json, "cfg", j->cfg);
    cJSON_AddStringToObject(json, "cfg_hash", j->project.origin.cfg_hash);
    cJSON_AddStringToObject(json, "weights", j->weights);
    cJSON_AddStringToObject(json, "weights_hash", j->project.origin.weights_hash);
    cJSON_AddNumberToObject(json, "letterbox", j->set.letterbox);
    if (j->mask) cJSON_AddStringToObject(json, "mask", j->mask);
    if (j->shut) cJSON_AddStringToObject(json, "shut", j->shut);
    if (j->recalibrate) cJSON_AddNumberToObject(json, "recalibrated", (double)j->recalibrate);
    prune_report_number(json, "images", (double)e->images);
    prune_report_number(json, "seconds", e->seconds);
    prune_report_number(json, "loss", e->loss);
    prune_report_number(json, "top1", e->top1);
    prune_report_number(json, "top5", e->top5);
    prune_report_number(json, "map50", e->map50);
    prune_report_number(json, "map", e->map);
    add_classes(json, j);
    enum prune_code rc = prune_report_write(json, j->json, st);
    cJSON_Delete(json);
    return rc;
}

static void job_free(struct job *j)
{
    free(j->removed);
    prune_lines_free(&j->names);
    prune_evaluation_release(&j->result);
    prune_project_close(&j->project);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {PRUNE_IMAGE_FLAGS, {"mask", true}, {"other-weights", true}, {"shut", true}, {"batch", true}, {"recalibrate", true}, {"json", true},
                                              {"predictions", true}, PRUNE_HOST_FLAGS, {0}};
    struct job j = {.host = host};
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 3, 3, st);
    if (!rc) rc = read_options(&j, &a, st);
    if (!rc) rc = prune_project_open(&j.project, j.cfg, j.weights, NULL, st);
    if (!rc) rc = read_mask(&j, st);
    if (!rc) rc = read_names(&j, st);
    if (!rc) rc = measure(&j, st);
    if (!rc) print_result(&j);
    if (!rc && j.json) rc = write_json(&j, st);
    job_free(&j);
    return rc;
}

const struct prune_command prune_command_evaluate = {"evaluate", "loss and top-1/top-5, or average precision per class", USAGE, run};
