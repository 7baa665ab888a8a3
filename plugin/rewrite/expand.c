/* Expand-pruning: which layers are widened, and the cfg with them; see expand.h. */
#include "expand.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool makes(const struct prune_layer *l)
{
    return prune_kind_info(l->kind)->rule == PRUNE_CH_PRODUCE;
}

static void count_removed(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, size_t *out)
{
    for (size_t i = 0; i < net->layer_count; i++)
        for (int c = 0; makes(&net->layers[i]) && c < net->layers[i].out_c; c++) {
            int u = units->of_channel[i][c];
            out[i] += u >= 0 && removed[u];
        }
}

/* Groups that may be widened, as candidates in the order of their first layers. */
static void list_groups(struct prune_expansion *e, const struct prune_net *net, int *of_group)
{
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_layer *l = &net->layers[i];
        int group = e->widths.group_of[i];
        e->candidate_of[i] = -1;
        if (!makes(l) || e->widths.fixed[group]) continue;
        if (of_group[group] < 0) {
            of_group[group] = (int)e->candidate_count;
            e->candidates[e->candidate_count++] = (struct prune_expand_candidate){ .layer = (int)i };
        }
        e->candidate_of[i] = of_group[group];
        struct prune_expand_candidate *c = &e->candidates[of_group[group]];
        if ((int64_t)l->out_w * l->out_h > (int64_t)c->w * c->h) {
            c->w = l->out_w;
            c->h = l->out_h;
        }
        c->channels += (size_t)l->out_c;
        c->removed += e->removed[i];
    }
}

/* Groups with maps of one size become one. */
static void join_stages(struct prune_expansion *e, int *joined)
{
    size_t stages = 0;
    for (size_t c = 0; c < e->candidate_count; c++) {
        struct prune_expand_candidate one = e->candidates[c];
        size_t s = 0;
        while (s < stages && (e->candidates[s].w != one.w || e->candidates[s].h != one.h)) s++;
        joined[c] = (int)s;
        if (s == stages) {
            e->candidates[stages++] = one;
            continue;
        }
        e->candidates[s].channels += one.channels;
        e->candidates[s].removed += one.removed;
    }
    e->candidate_count = stages;
    for (size_t i = 0; i < e->plan.layer_count; i++)
        if (e->candidate_of[i] >= 0) e->candidate_of[i] = joined[e->candidate_of[i]];
}

static int by_ratio(const void *a, const void *b)
{
    const struct prune_expand_candidate *x = a, *y = b;
    uint64_t left = (uint64_t)x->removed * y->channels, right = (uint64_t)y->removed * x->channels;
    return left != right ? (left < right ? -1 : 1) : x->layer - y->layer;
}

/* Least pruned first; candidate_of follows by way of the first layers, which differ. */
static void sort_candidates(struct prune_expansion *e, int *place)
{
    for (size_t c = 0; c < e->candidate_count; c++) place[c] = e->candidates[c].layer;
    for (size_t i = 0; i < e->plan.layer_count; i++)
        if (e->candidate_of[i] >= 0) e->candidate_of[i] = place[e->candidate_of[i]];
    qsort(e->candidates, e->candidate_count, sizeof *e->candidates, by_ratio);
    for (size_t c = 0; c < e->candidate_count; c++) place[e->candidates[c].layer] = (int)c;
    for (size_t i = 0; i < e->plan.layer_count; i++)
        if (e->candidate_of[i] >= 0) e->candidate_of[i] = place[e->candidate_of[i]];
}

static size_t widened(int width, double factor)
{
    return (size_t)ceil(width * factor - 1e-9);
}

static void plan_widths(struct prune_expansion *e, const struct prune_net *net, const struct prune_expand_options *o)
{
    for (size_t c = 0; c < e->candidate_count; c++) e->candidates[c].chosen = c < o->count;
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_layer *l = &net->layers[i];
        struct prune_layer_plan *p = &e->plan.layers[i];
        bool wider = e->candidate_of[i] >= 0 && e->candidates[e->candidate_of[i]].chosen;
        p->out_count = wider ? widened(l->out_c, o->factor) : (size_t)l->out_c;
        p->groups = l->groups;
        p->group_id = l->group_id;
        if (!wider || !prune_is_depthwise(l)) continue;
        p->groups = (int)widened(l->groups, o->factor);
        p->out_count = (size_t)p->groups * (size_t)(l->out_c / l->groups);
    }
}

static enum prune_code check_options(const struct prune_expand_options *o, struct prune_status *st)
{
    if (!(o->factor > 1) || o->factor > PRUNE_EXPAND_MOST) return prune_fail(st, "a factor of %g does not widen layers; use more than 1 and at most %d", o->factor, PRUNE_EXPAND_MOST);
    return o->count ? PRUNE_OK : prune_fail(st, "0 layers are to be widened; name 1 or more");
}

enum prune_code prune_expand_build(struct prune_expansion *e, const struct prune_net *net, const struct prune_units *units, const uint8_t *removed,
                                   const struct prune_expand_options *o, struct prune_status *st)
{
    size_t n = net->layer_count;
    memset(e, 0, sizeof *e);
    enum prune_code rc = check_options(o, st);
    if (rc) return rc;
    int *scratch = malloc((n + 1) * sizeof *scratch);
    e->plan = (struct prune_plan){ calloc(n + 1, sizeof *e->plan.layers), n };
    e->candidates = malloc((n + 1) * sizeof *e->candidates);
    e->candidate_of = malloc((n + 1) * sizeof *e->candidate_of);
    e->removed = calloc(n + 1, sizeof *e->removed);
    if (!scratch || !e->plan.layers || !e->candidates || !e->candidate_of || !e->removed) rc = prune_fail_memory(st, n * sizeof *e->candidates, "layers to widen");
    if (!rc) rc = prune_widths_build(&e->widths, net, units, st);
    if (!rc) {
        for (size_t i = 0; i <= n; i++) scratch[i] = -1;
        count_removed(net, units, removed, e->removed);
        list_groups(e, net, scratch);
        if (o->by == PRUNE_EXPAND_STAGES) join_stages(e, scratch);
        sort_candidates(e, scratch);
        plan_widths(e, net, o);
        if (!e->candidate_count) rc = prune_fail(st, "no layer of '%s' can be widened: each has its width fixed; 'darknet prune inspect' says by what", net->cfg->path);
    }
    free(scratch);
    if (rc) prune_expand_free(e);
    return rc;
}

void prune_expand_free(struct prune_expansion *e)
{
    prune_widths_free(&e->widths);
    prune_plan_free(&e->plan);
    free(e->candidates);
    free(e->candidate_of);
    free(e->removed);
    memset(e, 0, sizeof *e);
}

static int width_of(const struct prune_net *net, int layer)
{
    return layer < 0 ? net->c : net->layers[layer].out_c;
}

static enum prune_code check_layer(const struct prune_layer_plan *p, const struct prune_net *net, const struct prune_net *new_net, size_t i, struct prune_status *st)
{
    const struct prune_layer *l = &net->layers[i], *now = &new_net->layers[i];
    if (makes(l) && p->out_count != (size_t)now->out_c) return prune_fail(st, "layer %zu of the new cfg has %d channels instead of %zu", i, now->out_c, p->out_count);
    for (size_t k = 1; prune_kind_info(l->kind)->rule == PRUNE_CH_ADD && k < l->source_count; k++) {
        int a = l->sources[0], b = l->sources[k];
        if (width_of(net, a) == width_of(net, b) && width_of(new_net, a) != width_of(new_net, b))
            return prune_fail(st, "the shortcut at layer %zu would add %d channels onto %d, where both were %d; use a whole factor", i, width_of(new_net, b), width_of(new_net, a), width_of(net, a));
    }
    return PRUNE_OK;
}

enum prune_code prune_expand_cfg(const struct prune_expansion *e, const struct prune_net *net, const char *path, struct prune_cfg *cfg, struct prune_net *new_net, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_rewrite_cfg(&e->plan, net, &bytes, &size, st);
    if (rc) return rc;
    rc = prune_cfg_parse(cfg, path, bytes, size, st);
    free(bytes);
    if (rc) return rc;
    rc = prune_net_build(new_net, cfg, st);
    for (size_t i = 0; !rc && i < net->layer_count; i++) {
        rc = check_layer(&e->plan.layers[i], net, new_net, i, st);
        if (rc) prune_net_free(new_net);
    }
    if (rc) prune_cfg_free(cfg);
    return rc;
}
