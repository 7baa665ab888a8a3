/* The plan: kept output and input channels of every layer, from a mask. See rewrite.h.
 * Refuses masks that would break the network: a protected unit, an emptied layer, parts of a grouped convolution of unequal size. */
#include "rewrite.h"

#include <stdlib.h>
#include <string.h>

static bool is_kept(int unit, const uint8_t *removed)
{
    return unit < 0 || !removed[unit];
}

static enum prune_code keep_list(const int *of, size_t n, const uint8_t *removed, int **list, size_t *count, struct prune_status *st)
{
    int *v = malloc((n + 1) * sizeof *v);
    if (!v) return prune_fail_memory(st, n * sizeof *v, "kept channels");
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (is_kept(of[i], removed)) v[k++] = (int)i;
    *list = v;
    *count = k;
    return PRUNE_OK;
}

static enum prune_code check_mask(const struct prune_units *units, const uint8_t *removed, struct prune_status *st)
{
    for (size_t u = 0; u < units->count; u++) {
        const struct prune_unit *unit = &units->items[u];
        if (!removed[u] || !unit->protected_because) continue;
        const struct prune_channel *m = &units->members[unit->first_member];
        return prune_fail(st, "the mask removes layer %d channel %d, which must stay: %s", m->layer, m->channel, unit->protected_because);
    }
    return PRUNE_OK;
}

static enum prune_code plan_layer(struct prune_layer_plan *p, const struct prune_net *net, const struct prune_units *units, int layer, const uint8_t *removed, struct prune_status *st)
{
    const struct prune_layer *l = &net->layers[layer];
    int *in = NULL;
    size_t n = 0;
    enum prune_code rc = keep_list(units->of_channel[layer], (size_t)l->out_c, removed, &p->out_keep, &p->out_count, st);
    if (!rc) rc = prune_units_of_input(units, net, layer, &in, &n, &p->in_area, st);
    if (!rc) rc = keep_list(in, n, removed, &p->in_keep, &p->in_count, st);
    free(in);
    if (rc) return rc;
    if (l->out_c > 0 && !p->out_count) return prune_fail(st, "the mask removes every channel of layer %d; keep at least one", layer);
    return prune_units_groups(units, net, layer, removed, &p->groups, &p->group_id, st);
}

enum prune_code prune_plan_build(struct prune_plan *plan, const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_status *st)
{
    plan->layer_count = net->layer_count;
    plan->layers = calloc(net->layer_count + 1, sizeof *plan->layers);
    if (!plan->layers) return prune_fail_memory(st, net->layer_count * sizeof *plan->layers, "rewrite plan");
    enum prune_code rc = check_mask(units, removed, st);
    for (size_t i = 0; !rc && i < net->layer_count; i++) rc = plan_layer(&plan->layers[i], net, units, (int)i, removed, st);
    if (rc) prune_plan_free(plan);
    return rc;
}

void prune_plan_free(struct prune_plan *plan)
{
    for (size_t i = 0; plan->layers && i < plan->layer_count; i++) {
        free(plan->layers[i].out_keep);
        free(plan->layers[i].in_keep);
    }
    free(plan->layers);
    memset(plan, 0, sizeof *plan);
}
