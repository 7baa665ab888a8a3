/* Choice and feeding of a run's criterion; see feed.h. */
#include "feed.h"

#include "../host.h"

/* What the hook of training delivers, at the gates that training has. */
static const unsigned HOOK_SIGNALS = PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_PARAMETERS | PRUNE_SIGNAL_LAYERS;

/* A softmax whose loss is that of the margins: PRUNE_SIGNAL_MARGINS can be had. */
static bool has_margins(const struct prune_net *net)
{
    const struct prune_layer *last = net->layer_count ? &net->layers[net->layer_count - 1] : NULL;
    if (net->task != PRUNE_TASK_CLASSIFIER || !last || last->kind != PRUNE_SOFTMAX || last->inputs < 2) return false;
    const struct prune_section *s = &net->cfg->sections[last->section];
    int groups = 0, noloss = 0;
    double temperature = 0;
    if (prune_cfg_int(net->cfg, s, "groups", 1, &groups, NULL) || prune_cfg_int(net->cfg, s, "noloss", 0, &noloss, NULL)) return false;
    if (prune_cfg_float(net->cfg, s, "temperature", 1, &temperature, NULL)) return false;
    return groups == 1 && !noloss && !(temperature < 1 || temperature > 1) && !prune_cfg_find(s, "tree");
}

static bool any_head(const struct prune_net *net)
{
    (void)net;
    return true;
}

/* The first row that fits. */
static const struct { bool (*fits)(const struct prune_net *net); const char *criterion, *head; } DEFAULTS[] = {
    {has_margins, "taylor-logits-greedy", "classifiers with a softmax"},
    {any_head, "taylor-fo", "networks without a softmax at the end"},
};

const struct prune_criterion *prune_default_criterion(const struct prune_net *net, const char **head)
{
    size_t i = 0;
    while (!DEFAULTS[i].fits(net)) i++;
    *head = DEFAULTS[i].head;
    return prune_criterion_find(DEFAULTS[i].criterion);
}

double prune_default_smoothing(const struct prune_criterion *criterion) { return criterion->is_order ? 0 : 0.9; }

/* Passes of LAYERS are one where factors fit the memory; that is checked when a run knows both (prune_loop.c). */
static bool hook_can(const struct prune_criterion *c)
{
    bool own_passes = c->passes && !(c->signals & PRUNE_SIGNAL_LAYERS);
    bool own_gates = c->gate != PRUNE_GATE_ANY && c->gate != PRUNE_GATE_AFTER_BN;
    return !(c->signals & ~HOOK_SIGNALS) && !own_gates && !own_passes && !c->perturbs;
}

bool prune_feeds_by_pass(const struct prune_criterion *c, enum prune_feed feed) { return c->signals && (feed == PRUNE_FEED_PASS || !hook_can(c)); }

enum prune_code prune_feed_check(const struct prune_criterion *c, enum prune_feed feed, const struct prune_net *net, struct prune_status *st)
{
    if ((c->signals & PRUNE_SIGNAL_MARGINS) && !has_margins(net))
        return prune_fail_usage(st, "criterion '%s' needs a classifier whose last layer is a [softmax] of one group, without tree and temperature; take another one, or none: "
                                "a run then chooses by the network", c->name);
    if (feed != PRUNE_FEED_DEFAULT && !c->signals) return prune_fail_usage(st, "flag '-score' has no meaning for criterion '%s', which reads no images", c->name);
    if (feed == PRUNE_FEED_HOOK && !hook_can(c)) return prune_fail_usage(st, "criterion '%s' cannot be fed by training itself; leave '-score hook' away", c->name);
    return PRUNE_OK;
}
