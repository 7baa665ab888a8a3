/* What several verbs share; see common.h. */
#include "common.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../score/scoring.h"

enum prune_code prune_project_open_unchecked(struct prune_project *p, const char *cfg, const char *weights, const char *protect, struct prune_status *st)
{
    memset(p, 0, sizeof *p);
    enum prune_code rc = prune_net_read(&p->cfg, &p->net, cfg, st);
    if (rc) {
        memset(p, 0, sizeof *p);   /* nothing of a failed read is ours */
        return rc;
    }
    p->origin.cfg_path = cfg;
    p->origin.weights_path = weights;
    rc = prune_units_build(&p->units, &p->net, st);
    if (rc) {
        memset(&p->units, 0, sizeof p->units);
        prune_project_close(p);
        return rc;
    }
    if (protect) rc = prune_units_protect(&p->units, &p->net, protect, st);
    if (!rc) rc = prune_hash_file(cfg, p->origin.cfg_hash, st);
    if (!rc && weights) {
        rc = prune_weights_open(&p->weights, weights, &p->net, st);
        p->has_weights = !rc;
    }
    if (rc) prune_project_close(p);
    return rc;
}

enum prune_code prune_project_open(struct prune_project *p, const char *cfg, const char *weights, const char *protect, struct prune_status *st)
{
    enum prune_code rc = prune_project_open_unchecked(p, cfg, weights, protect, st);
    if (rc || !p->has_weights) return rc;
    rc = prune_weights_check(&p->weights, p->origin.weights_hash, st);
    if (rc) prune_project_close(p);
    return rc;
}

void prune_project_close(struct prune_project *p)
{
    if (p->has_weights) prune_weights_close(&p->weights);
    prune_units_free(&p->units);
    prune_net_free(&p->net);
    prune_cfg_free(&p->cfg);
    memset(p, 0, sizeof *p);
}

static const struct target_flag { const char *flag; enum prune_target_kind kind; } TARGETS[] = {
    {"macs", PRUNE_TARGET_MACS}, {"params", PRUNE_TARGET_PARAMS}, {"units", PRUNE_TARGET_UNITS}};
enum { TARGET_COUNT = sizeof TARGETS / sizeof *TARGETS };

bool prune_args_has_target(const struct prune_args *a)
{
    for (int i = 0; i < TARGET_COUNT; i++)
        if (prune_args_has(a, TARGETS[i].flag)) return true;
    return false;
}

static enum prune_code read_target(const struct prune_args *a, bool optional, struct prune_select_options *out, struct prune_status *st)
{
    const char *given = NULL;
    for (int i = 0; i < TARGET_COUNT; i++) {
        if (!prune_args_has(a, TARGETS[i].flag)) continue;
        if (given) return prune_fail_usage(st, "both '-%s' and '-%s' are given; a selection has one target", given, TARGETS[i].flag);
        given = TARGETS[i].flag;
        out->target = TARGETS[i].kind;
        enum prune_code rc = prune_args_double(a, given, 0, 1, 1, &out->remain, st);
        if (rc) return rc;
        if (!(out->remain > 0)) return prune_fail_usage(st, "flag '-%s': 0 would leave nothing; give the fraction that remains, for example 0.5", given);
    }
    if (!given && !optional) return prune_fail_usage(st, "no target is given; add -macs R, -params R or -units R, for example -macs 0.5");
    return PRUNE_OK;
}

static enum prune_code read_cost(const struct prune_args *a, struct prune_select_options *out, struct prune_status *st)
{
    static const struct { const char *name; enum prune_cost_kind kind; } COSTS[] = {
        {"none", PRUNE_COST_NONE}, {"macs", PRUNE_COST_MACS}, {"params", PRUNE_COST_PARAMS}};
    const char *cost = prune_args_string(a, "cost", "none");
    size_t i = 0;
    while (i < sizeof COSTS / sizeof *COSTS && strcmp(cost, COSTS[i].name) != 0) i++;
    if (i == sizeof COSTS / sizeof *COSTS) return prune_fail_usage(st, "flag '-cost': '%s' is not one of none, macs, params", cost);
    out->cost = COSTS[i].kind;
    if (prune_args_has(a, "cost-power") && out->cost == PRUNE_COST_NONE)
        return prune_fail_usage(st, "flag '-cost-power' has no meaning without '-cost macs' or '-cost params'");
    return prune_args_double(a, "cost-power", 0, 16, 1, &out->cost_power, st);
}

enum prune_code prune_args_select(const struct prune_args *a, bool target_optional, struct prune_select_options *out, struct prune_status *st)
{
    struct prune_select_options o = {.remain = 1, .per_layer = prune_args_has(a, "per-layer")};
    long min_keep = 1, multiple = 1;
    enum prune_code rc = read_target(a, target_optional, &o, st);
    if (!rc) rc = prune_args_int(a, "min-keep", 1, INT_MAX, 1, &min_keep, st);
    if (!rc) rc = prune_args_double(a, "max-removed", 0, 1, 0, &o.max_removed, st);
    if (!rc) rc = prune_args_int(a, "multiple", 1, INT_MAX, 1, &multiple, st);
    if (!rc) rc = read_cost(a, &o, st);
    if (rc) return rc;
    o.min_keep = (int)min_keep;
    o.multiple = (int)multiple;
    *out = o;
    return PRUNE_OK;
}

enum prune_code prune_args_switch(const struct prune_args *a, const char *flag, bool fallback, bool *out, struct prune_status *st)
{
    long value = fallback;
    enum prune_code rc = prune_args_int(a, flag, 0, 1, fallback, &value, st);
    if (!rc) *out = value != 0;
    return rc;
}

enum prune_code prune_args_role(const struct prune_args *a, const char *flag, enum prune_data_role fallback, enum prune_data_role *out, struct prune_status *st)
{
    const char *role = prune_args_string(a, flag, fallback == PRUNE_DATA_TRAIN ? "train" : "valid");
    bool train = strcmp(role, "train") == 0;
    if (!train && strcmp(role, "valid") != 0) return prune_fail_usage(st, "flag '-%s': '%s' is not one of train, valid", flag, role);
    *out = train ? PRUNE_DATA_TRAIN : PRUNE_DATA_VALID;
    return PRUNE_OK;
}

enum prune_code prune_args_images(const struct prune_args *a, const char *data, enum prune_data_role role, struct prune_image_set *out, struct prune_status *st)
{
    long images = 0, first = 0;
    bool letterbox = true, drawn = false;
    enum prune_code rc = prune_args_int(a, "images", 1, LONG_MAX, 0, &images, st);
    if (!rc) rc = prune_args_switch(a, "letterbox", true, &letterbox, st);
    if (!rc) rc = prune_args_role(a, "role", role, &role, st);
    if (!rc) rc = prune_args_int(a, "first", 0, LONG_MAX, 0, &first, st);
    if (!rc) rc = prune_args_switch(a, "drawn", false, &drawn, st);
    if (rc) return rc;
    *out = (struct prune_image_set){.data_path = data, .role = role, .list = prune_args_string(a, "list", NULL), .first = (size_t)first, .limit = (size_t)images,
                                    .drawn = drawn, .letterbox = letterbox};
    return PRUNE_OK;
}

enum prune_code prune_args_host(const struct prune_args *a, struct prune_open_options *out, struct prune_status *st)
{
    long threads = 0, seed = 1;
    enum prune_code rc = prune_args_int(a, "threads", 1, 1024, 0, &threads, st);
    if (!rc) rc = prune_args_int(a, "seed", 0, LONG_MAX, 1, &seed, st);
    if (rc) return rc;
    *out = (struct prune_open_options){.threads = (int)threads, .seed = (uint64_t)seed, .quiet = true};
    return PRUNE_OK;
}

enum prune_code prune_check_output(const char *out, const char *const *inputs, size_t count, struct prune_status *st)
{
    for (size_t i = 0; i < count; i++)
        if (inputs[i] && prune_same_file(out, inputs[i])) return prune_fail_usage(st, "'%s' is an input and would be overwritten; name another file", out);
    return PRUNE_OK;
}

enum prune_code prune_args_criterion(const char *name, const struct prune_criterion **out, struct prune_status *st)
{
    *out = prune_criterion_find(name);
    if (*out) return PRUNE_OK;
    size_t count;
    const struct prune_criterion *all = prune_criteria(&count);
    const char *names[64];
    if (count > sizeof names / sizeof *names) count = sizeof names / sizeof *names;
    for (size_t i = 0; i < count; i++) names[i] = all[i].name;
    const char *near = prune_nearest(name, names, count);
    return prune_fail_usage(st, "unknown criterion '%s'%s%s%s; see 'darknet prune criteria'", name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

enum prune_code prune_project_score(const struct prune_project *p, const struct prune_criterion *criterion, int norm, uint64_t seed, double *scores, struct prune_status *st)
{
    if (criterion->signals)
        return prune_fail_usage(st, "criterion '%s' needs images; run 'darknet prune score <data> <cfg> <weights> -criterion %s -out scores.json' and give -scores scores.json",
                                criterion->name, criterion->name);
    if (criterion->needs_weights && !p->has_weights) return prune_fail_usage(st, "criterion '%s' reads the weights, and no weights file is given", criterion->name);
    struct prune_score_input in = {.net = &p->net, .units = &p->units, .weights = p->has_weights ? &p->weights : NULL, .seed = seed, .norm = norm};
    struct prune_scored item = {.criterion = criterion};
    enum prune_code rc = prune_scored_init(&item, 1, &in, st);
    if (!rc) rc = prune_scored_finish(&item, 1, &in, st);
    if (!rc) memcpy(scores, item.scores, p->units.count * sizeof *scores);
    prune_scored_free(&item, 1);
    return rc;
}
