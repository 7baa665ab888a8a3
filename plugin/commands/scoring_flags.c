/* Criteria and flags of the verbs that score; see scoring_flags.h. */
#include "scoring_flags.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum prune_code add(struct prune_criteria_list *l, const char *flag, const struct prune_criterion *c, struct prune_status *st)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->items[i].criterion == c) return prune_fail_usage(st, "flag '-%s': '%s' is listed twice", flag, c->name);
    if (l->count == PRUNE_MAX_CRITERIA) return prune_fail_usage(st, "flag '-%s': more than %d criteria", flag, PRUNE_MAX_CRITERIA);
    l->items[l->count++].criterion = c;
    l->signals |= c->signals;
    l->needs_weights |= c->needs_weights;
    return PRUNE_OK;
}

static enum prune_code add_all(struct prune_criteria_list *l, const char *flag, struct prune_status *st)
{
    size_t count;
    const struct prune_criterion *all = prune_criteria(&count);
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < count; i++) rc = add(l, flag, &all[i], st);
    l->all = true;
    return rc;
}

enum prune_code prune_criteria_read(struct prune_criteria_list *l, const char *flag, const char *names, struct prune_status *st)
{
    memset(l, 0, sizeof *l);
    if (strcmp(names, "all") == 0) return add_all(l, flag, st);
    enum prune_code rc = PRUNE_OK;
    char *copy = strdup(names);
    if (!copy) return prune_fail_memory(st, strlen(names), "criteria");
    for (char *name = copy, *next; !rc && name; name = next) {
        const struct prune_criterion *c = NULL;
        next = strchr(name, ',');
        if (next) *next++ = 0;
        rc = prune_args_criterion(name, &c, st);
        if (!rc) rc = add(l, flag, c, st);
    }
    free(copy);
    return rc;
}

static void drop(struct prune_criteria_list *l, size_t i, const char *why)
{
    printf("%s: left out: %s\n", l->items[i].criterion->name, why);
    prune_scored_free(&l->items[i], 1);
    memmove(&l->items[i], &l->items[i + 1], (--l->count - i) * sizeof *l->items);
    memset(&l->items[l->count], 0, sizeof *l->items);
    l->signals = 0;
    l->needs_weights = false;
    for (size_t k = 0; k < l->count; k++) {
        l->signals |= l->items[k].criterion->signals;
        l->needs_weights |= l->items[k].criterion->needs_weights;
    }
}

/* What is missing for a criterion, in st. */
static enum prune_code allowed(const struct prune_criterion *c, const struct prune_host *host, bool data, bool weights, enum prune_task task, struct prune_status *st)
{
    if (c->signals && !data) return prune_fail_usage(st, "criterion '%s' needs images: give <data> <cfg> <weights>", c->name);
    if ((c->signals || c->needs_weights) && !weights) return prune_fail_usage(st, "no weights file is given: <cfg> <weights>");
    if ((c->signals & PRUNE_SIGNAL_MARGINS) && task == PRUNE_TASK_DETECTOR)
        return prune_fail_usage(st, "criterion '%s' needs a classifier with a softmax; for detectors take taylor-so-gn", c->name);
    return c->signals ? prune_host_check(host, c->signals | (c->perturbs ? PRUNE_CAN_PERTURB : 0u), st) : PRUNE_OK;
}

enum prune_code prune_criteria_allowed(struct prune_criteria_list *l, const struct prune_host *host, bool data, bool weights, enum prune_task task, struct prune_status *st)
{
    for (size_t i = 0; i < l->count;) {
        struct prune_status why = {0};
        enum prune_code rc = allowed(l->items[i].criterion, host, data, weights, task, l->all ? &why : st);
        if (!rc) i++;
        else if (l->all) drop(l, i, why.message);
        else return rc;
    }
    return l->count ? PRUNE_OK : prune_fail(st, "no criterion is left that these inputs allow");
}

enum prune_code prune_criteria_init(struct prune_criteria_list *l, const struct prune_score_input *in, struct prune_status *st)
{
    for (size_t i = 0; l->all && i < l->count;) {
        const struct prune_criterion *c = l->items[i].criterion;
        struct prune_status why = {0};
        if (c->check && c->check(in, &why)) drop(l, i, why.message);
        else i++;
    }
    return prune_scored_init(l->items, l->count, in, st);
}

enum prune_code prune_criteria_finish(struct prune_criteria_list *l, const struct prune_score_input *in, struct prune_status *st)
{
    if (!l->all) return prune_scored_finish(l->items, l->count, in, st);
    for (size_t i = 0; i < l->count;) {
        struct prune_status why = {0};
        if (prune_scored_finish(&l->items[i], 1, in, &why)) drop(l, i, why.message);
        else i++;
    }
    return l->count ? PRUNE_OK : prune_fail(st, "no criterion is left that this network allows");
}

enum prune_code prune_args_probes(const struct prune_args *a, int *out, struct prune_status *st)
{
    long probes = 0;
    enum prune_code rc = PRUNE_OK;
    if (strcmp(prune_args_string(a, "probes", ""), "exact") == 0) probes = PRUNE_PROBES_EXACT;
    else rc = prune_args_int(a, "probes", 1, 1 << 16, 0, &probes, st);
    if (!rc) *out = (int)probes;
    return rc;
}

static enum prune_code read_numbers(const struct prune_args *a, struct prune_scoring *s, struct prune_status *st)
{
    long norm = 2, minibatch = 0, rivals = 0;
    enum prune_code rc = prune_args_int(a, "norm", 1, 2, 2, &norm, st);
    if (!rc) rc = prune_args_int(a, "minibatch", 1, INT_MAX, 0, &minibatch, st);
    if (!rc) rc = prune_args_int(a, "rivals", 1, 1 << 16, 0, &rivals, st);
    if (!rc) rc = prune_args_probes(a, &s->input.probes, st);
    if (!rc) rc = prune_args_double(a, "step", 1e-6, 0.5, 0, &s->input.step, st);
    if (rc) return rc;
    s->minibatch = (size_t)minibatch;
    s->input.norm = (int)norm;
    s->input.rivals = (int)rivals;
    return PRUNE_OK;
}

void prune_differences_note(const char *differences)
{
    if (*differences) fprintf(stderr, "note: second order by differences of gate gradients, not by exact products: %s\n", differences);
}

void prune_criteria_notes(const struct prune_scored *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[512];
        bool said = false;
        for (size_t k = 0; k < i; k++) said |= items[k].state == items[i].state;
        if (!said && items[i].criterion->note && items[i].criterion->note(items[i].state, text, sizeof text)) fprintf(stderr, "note: %s: %s\n", items[i].criterion->name, text);
    }
}

/* ---- K-FAC ---- */

/* One of `names` (NULL behind the last) by its number; the first where the flag is not given. */
static enum prune_code read_choice(const struct prune_args *a, const char *flag, const char *const *names, int *out, struct prune_status *st)
{
    const char *value = prune_args_string(a, flag, names[0]);
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], value) != 0) continue;
        *out = i;
        return PRUNE_OK;
    }
    return prune_fail_usage(st, "flag '-%s': '%s' is not one of %s, %s%s%s", flag, value, names[0], names[1], names[2] ? ", " : "", names[2] ? names[2] : "");
}

enum prune_code prune_args_kfac(const struct prune_args *a, struct prune_kfac_options *kfac, enum prune_scale *scale, struct prune_status *st)
{
    static const char *const fisher_names[] = {"sampled", "empirical", NULL}, *const normalize_names[] = {"layer", "none", NULL},
                      *const scale_names[] = {"none", "kernel", "macs", NULL};
    int fisher = 0, normalize = 0, divisor = 0;
    enum prune_code rc = prune_args_double(a, "kfac-samples", 1e-6, 1, 0, &kfac->samples, st);
    if (!rc) rc = prune_args_double(a, "kfac-decay", 1e-6, 1, 0, &kfac->decay, st);
    if (!rc) rc = prune_args_double(a, "damping", 1e-30, 1e30, 0, &kfac->damping, st);
    if (!rc) rc = read_choice(a, "fisher", fisher_names, &fisher, st);
    if (!rc) rc = read_choice(a, "normalize", normalize_names, &normalize, st);
    if (!rc) rc = read_choice(a, "scale", scale_names, &divisor, st);
    if (!rc) rc = prune_args_size(a, "memory", kfac->memory, &kfac->memory, st);
    if (rc) return rc;
    kfac->fisher = fisher ? PRUNE_FISHER_EMPIRICAL : PRUNE_FISHER_SAMPLED;
    kfac->unnormalised = normalize == 1;
    if (prune_args_has(a, "scale")) *scale = (enum prune_scale)(PRUNE_SCALE_NONE + divisor);
    return PRUNE_OK;
}

enum prune_code prune_args_scoring(const struct prune_args *a, const char *data, struct prune_scoring *s, struct prune_open_options *open, struct prune_status *st)
{
    const char *gate = prune_args_string(a, "gate", "after-bn");
    if (!prune_gate_choice_parse(gate, &s->gate)) return prune_fail_usage(st, "flag '-gate': '%s' is not one of after-bn, before-bn, after-activation, producers", gate);
    enum prune_code rc = prune_args_images(a, data, PRUNE_DATA_TRAIN, &s->set, st);
    if (!rc) rc = read_numbers(a, s, st);
    if (!rc) rc = prune_args_kfac(a, &s->input.kfac, &s->input.scale, st);
    if (!rc) rc = prune_args_host(a, open, st);
    if (rc) return rc;
    s->input.seed = open->seed;
    open->batch = (int)s->minibatch;
    return PRUNE_OK;
}
