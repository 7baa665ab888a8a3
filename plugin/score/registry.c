/* THE table of criteria: name, formula, source, what it must be fed, and the functions of its family. A new criterion is a row here
 * and a function in a family file; commands, run and help read the table. */
#include <string.h>

#include "families.h"

static const struct prune_criterion CRITERIA[] = {
    {
        .name = "taylor-fo",
        .formula = "mean over minibatches of g_u^2, g_u = mean over the minibatch of dE_b/dz_u",
        .source = "Molchanov et al. 2019, eq. 9 (gate after batch-norm)",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "1 forward and backward pass",
        .state_size = prune_sums_state_size,
        .init = prune_sums_init,
        .accumulate = prune_taylor_fo_accumulate,
        .merge = prune_sums_merge,
        .finish = prune_sums_finish,
    },
    {
        .name = "taylor-fg",
        .formula = "mean over images of (dE_b/dz_u)^2",
        .source = "Molchanov et al. 2019, full gradient: a gradient per image",
        .signals = PRUNE_SIGNAL_GATE_IMAGE,
        .cost = "1 forward and backward pass",
        .state_size = prune_sums_state_size,
        .init = prune_sums_init,
        .accumulate = prune_taylor_fg_accumulate,
        .merge = prune_sums_merge,
        .finish = prune_sums_finish,
    },
    {
        .name = "magnitude",
        .formula = "L2 (or L1, -norm 1) norm of the filter, over all filters of the unit",
        .source = "Li et al. 2017",
        .needs_weights = true,
        .cost = "none: reads the weights",
        .state_size = prune_stateless_size,
        .init = prune_stateless_init,
        .accumulate = prune_stateless_accumulate,
        .merge = prune_stateless_merge,
        .finish = prune_magnitude_finish,
    },
    {
        .name = "bn-scale",
        .formula = "root of the sum over the unit's producers of gamma^2",
        .source = "Liu et al. 2017 (network slimming)",
        .needs_weights = true,
        .cost = "none: reads the weights",
        .state_size = prune_stateless_size,
        .init = prune_stateless_init,
        .accumulate = prune_stateless_accumulate,
        .merge = prune_stateless_merge,
        .finish = prune_bn_scale_finish,
    },
    {
        .name = "random",
        .formula = "uniform in [0, 1) from the seed and the unit's number",
        .source = "baseline",
        .cost = "none",
        .state_size = prune_stateless_size,
        .init = prune_stateless_init,
        .accumulate = prune_stateless_accumulate,
        .merge = prune_stateless_merge,
        .finish = prune_random_finish,
    },
};

const struct prune_criterion *prune_criteria(size_t *count)
{
    *count = sizeof CRITERIA / sizeof *CRITERIA;
    return CRITERIA;
}

const struct prune_criterion *prune_criterion_find(const char *name)
{
    for (size_t i = 0; i < sizeof CRITERIA / sizeof *CRITERIA; i++)
        if (strcmp(CRITERIA[i].name, name) == 0) return &CRITERIA[i];
    return NULL;
}
