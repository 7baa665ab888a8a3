/* `darknet prune expand`: the cfg with those layers widened that a selection prunes least; see rewrite/expand.h. Needs no host, no data and no weights. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../rewrite/expand.h"
#include "../run/report.h"
#include "../score/criteria.h"
#include "common.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune expand <cfg> -scores FILE -out NEW.cfg [-factor F] [-by layer|stage]\n"
    "                            [-count N] [-macs R | -params R | -units R] [-flag value ...]\n"
    "\n"
    "Selects units by the scores, as 'select' does, finds where the fewest would go, and writes the cfg\n"
    "with these layers widened: the network is too narrow there. NEW.cfg is to be trained from scratch,\n"
    "then pruned; no weights are made. Layers that shortcuts of equal width, products, depthwise or\n"
    "grouped convolutions tie count as one and are widened together; what a head or an output fixes\n"
    "keeps its width.\n"
    "\n"
    "  -scores FILE      scores of the cfg, as 'darknet prune score' writes them\n"
    "  -out NEW.cfg      cfg to write\n"
    "  -factor F         new width = width * F, rounded up, 1 < F <= 8 (default: 2)\n"
    "  -by B             layer: the least pruned layers; stage: all layers whose maps have the size that\n"
    "                    lost least (default: layer)\n"
    "  -count N          so many layers or stages (default: 5 layers, 1 stage; more than there are: all)\n"
    "  -json FILE        the table, machine-readable (docs/expand.md)\n"
    PRUNE_SELECT_HELP
    PRUNE_CAP_HELP
    "Without a target, -units 0.5.\n"
    "\n"
    "example:\n"
    "  darknet prune expand resnet20.cfg -scores scores.json -macs 0.5 -protect 0 -by stage -out wide.cfg\n"
    "\n"
    "exit codes: 0 done, 1 failed or nothing can be widened, 2 wrong usage\n";

struct request {
    const char *cfg, *scores, *out, *json, *protect;
    struct prune_select_options select;
    struct prune_expand_options expand;
};

static enum prune_code read_by(const struct prune_args *a, struct prune_expand_options *o, struct prune_status *st)
{
    static const struct { const char *name; enum prune_expand_by by; size_t count; } WAYS[] = { { "layer", PRUNE_EXPAND_LAYERS, 5 }, { "stage", PRUNE_EXPAND_STAGES, 1 } };
    const char *by = prune_args_string(a, "by", "layer");
    size_t i = 0;
    while (i < sizeof WAYS / sizeof *WAYS && strcmp(by, WAYS[i].name) != 0) i++;
    if (i == sizeof WAYS / sizeof *WAYS) return prune_fail_usage(st, "flag '-by': '%s' is not one of layer, stage", by);
    long count = 0;
    enum prune_code rc = prune_args_int(a, "count", 1, 1000000, (long)WAYS[i].count, &count, st);
    o->by = WAYS[i].by;
    o->count = (size_t)count;
    return rc;
}

static enum prune_code read_request(const struct prune_args *a, struct request *r, struct prune_status *st)
{
    *r = (struct request){ .cfg = a->positional[0], .scores = prune_args_string(a, "scores", NULL), .out = prune_args_string(a, "out", NULL),
                           .json = prune_args_string(a, "json", NULL), .protect = prune_args_string(a, "protect", NULL) };
    if (!r->scores) return prune_fail_usage(st, "flag '-scores FILE' is missing; 'darknet prune score' makes the file");
    if (!r->out) return prune_fail_usage(st, "flag '-out NEW.cfg' is missing: the cfg to write");
    const char *inputs[] = { r->cfg, r->scores, r->out };
    enum prune_code rc = prune_check_output(r->out, inputs, 2, st);
    if (!rc && r->json) rc = prune_check_output(r->json, inputs, 2, st);
    if (!rc && r->json && strcmp(r->json, r->out) == 0) rc = prune_fail_usage(st, "'-json' and '-out' name one file, '%s'", r->out);
    if (!rc) rc = prune_args_select(a, true, &r->select, st);
    if (!rc && !prune_args_has_target(a)) {
        r->select.target = PRUNE_TARGET_UNITS;
        r->select.remain = 0.5;
    }
    if (!rc) rc = read_by(a, &r->expand, st);
    if (!rc) rc = prune_args_double(a, "factor", 0, 1e9, 2, &r->expand.factor, st);
    if (!rc && (!(r->expand.factor > 1) || r->expand.factor > PRUNE_EXPAND_MOST))
        rc = prune_fail_usage(st, "flag '-factor': %g is not a factor that widens; use more than 1 and at most %d", r->expand.factor, PRUNE_EXPAND_MOST);
    return rc;
}

static double ratio(const struct prune_expand_candidate *c)
{
    return c->channels ? (double)c->removed / (double)c->channels : 0;
}

static void print_layers(const struct prune_project *p, const struct prune_expansion *e)
{
    printf("%6s %11s %7s %8s %7s %7s  %s\n", "layer", "map", "width", "removed", "ratio", "new", "widened together, or why not");
    for (size_t i = 0; i < p->net.layer_count; i++) {
        const struct prune_layer *l = &p->net.layers[i];
        char map[32];
        if (prune_kind_info(l->kind)->rule != PRUNE_CH_PRODUCE) continue;
        int group = e->widths.group_of[i];
        snprintf(map, sizeof map, "%dx%d", l->out_w, l->out_h);
        printf("%6zu %11s %7d %8zu %7.4f %7zu", i, map, l->out_c, e->removed[i], l->out_c ? (double)e->removed[i] / l->out_c : 0, e->plan.layers[i].out_count);
        if (e->candidate_of[i] < 0) printf("  stays: %s\n", e->widths.fixed[group]);
        else if (group != (int)i) printf("  with layer %d\n", group);
        else printf("%s\n", e->candidates[e->candidate_of[i]].chosen ? "  widened" : "");
    }
}

static void print_candidates(const struct prune_expansion *e, enum prune_expand_by by)
{
    printf("\nleast pruned first:\n");
    for (size_t c = 0; c < e->candidate_count; c++) {
        const struct prune_expand_candidate *k = &e->candidates[c];
        if (by == PRUNE_EXPAND_STAGES) printf("  stage of %dx%d maps", k->w, k->h);
        else printf("  layer %d", k->layer);
        printf(": %zu of %zu channels, %.4f%s\n", k->removed, k->channels, ratio(k), k->chosen ? ", widened" : "");
    }
}

static void print_next(const struct prune_project *p, const char *out)
{
    const char *task = p->net.task == PRUNE_TASK_DETECTOR ? "detector" : "classifier";
    printf("\n%s has no weights: train it from scratch, then prune it:\n"
           "  darknet %s train <data> %s\n"
           "  darknet prune run <data> %s <weights> -macs 0.5 -out pruned\n", out, task, out, out);
}

static void print_all(const struct prune_project *p, const struct prune_expansion *e, const struct request *r, const struct prune_net *now)
{
    print_layers(p, e);
    print_candidates(e, r->expand.by);
    printf("\n%-16s %14s %14s\n%-16s %14llu %14llu\n%-16s %14llu %14llu\nwritten: %s\n", "", "before", "after", "multiply-adds", (unsigned long long)p->net.macs, (unsigned long long)now->macs,
           "parameters", (unsigned long long)p->net.parameters, (unsigned long long)now->parameters, r->out);
    print_next(p, r->out);
}

static enum prune_code expand(const struct prune_project *p, const struct request *r, struct prune_expansion *e, struct prune_status *st)
{
    struct prune_select_result result;
    uint8_t *removed = calloc(p->units.count + 1, 1);
    double *scores = malloc((p->units.count + 1) * sizeof *scores);
    enum prune_code rc = removed && scores ? prune_scores_read(r->scores, &p->units, &p->origin, scores, st) : prune_fail_memory(st, p->units.count * sizeof *scores, "scores");
    if (!rc) rc = prune_select(&p->net, &p->units, scores, &r->select, removed, &result, st);
    if (!rc) rc = prune_expand_build(e, &p->net, &p->units, removed, &r->expand, st);
    free(scores);
    free(removed);
    return rc;
}

static void add_cost(cJSON *json, const char *key, const struct prune_net *net)
{
    cJSON *o = cJSON_AddObjectToObject(json, key);
    cJSON_AddNumberToObject(o, "macs", (double)net->macs);
    cJSON_AddNumberToObject(o, "parameters", (double)net->parameters);
}

static void add_layer(cJSON *list, const struct prune_layer *l, const struct prune_expansion *e)
{
    cJSON *o = cJSON_CreateObject();
    int group = e->widths.group_of[l->index], candidate = e->candidate_of[l->index];
    cJSON_AddNumberToObject(o, "layer", l->index);
    cJSON_AddNumberToObject(o, "width", l->out_c);
    cJSON_AddNumberToObject(o, "removed", (double)e->removed[l->index]);
    cJSON_AddNumberToObject(o, "new_width", (double)e->plan.layers[l->index].out_count);
    cJSON_AddNumberToObject(o, "with_layer", group);
    if (candidate < 0) cJSON_AddStringToObject(o, "fixed", e->widths.fixed[group]);
    else cJSON_AddNumberToObject(o, "candidate", candidate);
    cJSON_AddItemToArray(list, o);
}

static enum prune_code write_json(const struct prune_project *p, const struct prune_expansion *e, const struct request *r, const struct prune_net *now, struct prune_status *st)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "format", "darknet-prune-expand");
    cJSON_AddNumberToObject(json, "version", 1);
    cJSON_AddStringToObject(json, "cfg", r->cfg);
    cJSON_AddStringToObject(json, "cfg_hash", p->origin.cfg_hash);
    cJSON_AddStringToObject(json, "out", r->out);
    cJSON_AddNumberToObject(json, "factor", r->expand.factor);
    cJSON_AddStringToObject(json, "by", r->expand.by == PRUNE_EXPAND_STAGES ? "stage" : "layer");
    cJSON *list = cJSON_AddArrayToObject(json, "candidates");
    for (size_t c = 0; c < e->candidate_count; c++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "layer", e->candidates[c].layer);
        cJSON_AddNumberToObject(o, "channels", (double)e->candidates[c].channels);
        cJSON_AddNumberToObject(o, "removed", (double)e->candidates[c].removed);
        cJSON_AddBoolToObject(o, "widened", e->candidates[c].chosen);
        cJSON_AddItemToArray(list, o);
    }
    list = cJSON_AddArrayToObject(json, "layers");
    for (size_t i = 0; i < p->net.layer_count; i++)
        if (prune_kind_info(p->net.layers[i].kind)->rule == PRUNE_CH_PRODUCE) add_layer(list, &p->net.layers[i], e);
    add_cost(json, "before", &p->net);
    add_cost(json, "after", now);
    enum prune_code rc = json ? prune_report_write(json, r->json, st) : prune_fail_memory(st, 0, "the table");
    cJSON_Delete(json);
    return rc;
}

static enum prune_code write_all(const struct prune_project *p, const struct prune_expansion *e, const struct request *r, struct prune_status *st)
{
    struct prune_cfg cfg;
    struct prune_net net;
    enum prune_code rc = prune_expand_cfg(e, &p->net, r->out, &cfg, &net, st);
    if (rc) return rc;
    rc = prune_write_file(r->out, cfg.bytes, cfg.size, st);
    if (!rc && r->json) rc = write_json(p, e, r, &net, st);
    if (!rc) print_all(p, e, r, &net);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = { { "scores", true }, { "out", true }, { "factor", true }, { "by", true }, { "count", true }, { "json", true },
                                               PRUNE_SELECT_FLAGS, PRUNE_CAP_FLAGS, { 0 } };
    struct prune_args a;
    struct request r;
    struct prune_project p = { 0 };
    struct prune_expansion e = { 0 };
    (void)host;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 1, 1, st);
    if (!rc) rc = read_request(&a, &r, st);
    if (!rc) rc = prune_project_open(&p, r.cfg, NULL, r.protect, st);
    if (!rc) rc = expand(&p, &r, &e, st);
    if (!rc) rc = write_all(&p, &e, &r, st);
    prune_expand_free(&e);
    prune_project_close(&p);
    return rc;
}

const struct prune_command prune_command_expand = { "expand", "the cfg with its least pruned layers widened, to train anew", USAGE, run };
