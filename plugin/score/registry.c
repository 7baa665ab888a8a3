/* THE table of criteria: name, formula, source, what it must be fed, and the functions of its family. A new criterion is a row here
 * and a function in a family file; commands, run and help read the table. */
#include <string.h>

#include "families.h"

/* The state of a family, in a row. */
#define SUMS .state_size = prune_sums_state_size, .init = prune_sums_init, .merge = prune_sums_merge
#define CURVATURE_SUMS .merge = prune_curvature_merge, .state_ok = prune_curvature_ok
#define CURVATURE .state_size = prune_curvature_size, .init = prune_curvature_init, CURVATURE_SUMS
#define HUTCHINSON .state_size = prune_hutchinson_size, .init = prune_hutchinson_init, CURVATURE_SUMS, .passes = prune_hutchinson_passes, \
    .direction = prune_hutchinson_direction
#define ROW .state_size = prune_row_size, .init = prune_row_init, CURVATURE_SUMS, .passes = prune_row_passes, .direction = prune_row_direction
#define KFAC .signals = PRUNE_SIGNAL_LAYERS, .needs_weights = true, .state_size = prune_kfac_state_size, .init = prune_kfac_init, \
             .accumulate = prune_kfac_accumulate, .merge = prune_kfac_merge, .passes = prune_kfac_passes, .note = prune_kfac_note, \
             .state_ok = prune_kfac_state_ok
#define STATELESS .state_size = prune_stateless_size, .init = prune_stateless_init, .accumulate = prune_stateless_accumulate, .merge = prune_stateless_merge
#define ONE_PASS "1 forward and backward pass"
#define ONE_PASS_AND_SOLVE "1 forward and backward pass (several where factors exceed -memory), and a Cholesky factor per layer"
#define READS_WEIGHTS "none: reads the weights"

static const struct prune_criterion CRITERIA[] = {
    {
        .name = "taylor-fo",
        .formula = "mean over minibatches of g_u^2, g_u = mean over the minibatch of dE_b/dz_u",
        .source = "Molchanov et al. 2019, eq. 9",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_taylor_fo_accumulate, .finish = prune_sums_finish,
    },
    {
        .name = "taylor-fg",
        .formula = "mean over images of (dE_b/dz_u)^2",
        .source = "Molchanov et al. 2019, full gradient: a gradient per image",
        .signals = PRUNE_SIGNAL_GATE_IMAGE,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_taylor_fg_accumulate, .finish = prune_sums_finish,
    },
    {
        .name = "taylor-weight",
        .formula = "mean over minibatches of the sum over the unit's filter weights of (w dE/dw)^2",
        .source = "Molchanov et al. 2019, eq. 8",
        .signals = PRUNE_SIGNAL_PARAMETERS,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_taylor_weight_accumulate, .finish = prune_weight_gradients_finish,
    },
    {
        .name = "taylor-weight-group",
        .formula = "mean over minibatches of (sum over the unit's filter weights of w dE/dw)^2",
        .source = "Molchanov et al. 2019, eq. 7",
        .signals = PRUNE_SIGNAL_PARAMETERS,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_taylor_weight_group_accumulate, .finish = prune_weight_gradients_finish,
    },
    {
        .name = "bn-taylor",
        .formula = "mean over minibatches of (sum over the unit's producers of gamma dE/dgamma)^2",
        .source = "Molchanov et al. 2019, table 2 (BN scale, Taylor FO)",
        .signals = PRUNE_SIGNAL_PARAMETERS,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_bn_taylor_accumulate, .finish = prune_weight_gradients_finish,
    },
    {
        .name = "taylor-output",
        .formula = "mean over images of |sum over the map of activation x gradient|, divided by its root of the sum of squares over the layer",
        .source = "Molchanov et al. 2017",
        .signals = PRUNE_SIGNAL_GATE_IMAGE,
        .cost = ONE_PASS,
        .gate = PRUNE_GATE_AFTER_ACTIVATION,
        SUMS, .accumulate = prune_taylor_output_accumulate, .finish = prune_taylor_output_finish,
    },
    {
        .name = "taylor-so",
        .formula = "(g_u - H_uu / 2)^2, H_uu by central differences of g_u at z_u = 1 +- step",
        .source = "Molchanov et al. 2019, eq. 4 (diagonal)",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "1 pass, and 2 per unit from its gate on",
        CURVATURE, .accumulate = prune_curvature_accumulate, .finish = prune_taylor_so_finish,
        .perturbs = true,
        .accumulate_perturbed = prune_exact_accumulate,
    },
    {
        .name = "taylor-so-hutchinson",
        .formula = "(g_u - H_uu / 2)^2, H_uu as mean over random signs v of v_u (H v)_u",
        .source = "Molchanov et al. 2019, eq. 4; Hutchinson 1990",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "1 pass, and a product at twice its cost per probe (8 probes)",
        HUTCHINSON, .accumulate = prune_hutchinson_accumulate, .finish = prune_taylor_so_finish,
    },
    {
        .name = "taylor-so-gn",
        .formula = "(g_u - G_uu / 2)^2, G the Gauss-Newton matrix, by random probes of the head",
        .source = "Molchanov et al. 2019, eq. 4; Schraudolph 2002",
        .signals = PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_CURVATURE,
        .cost = "1 pass, and a backward pass to the gates per probe (4 probes)",
        CURVATURE, .accumulate = prune_gauss_newton_accumulate, .finish = prune_taylor_so_finish,
    },
    {
        .name = "taylor-so-row",
        .formula = "(g_u - (H 1)_u / 2)^2, the whole row by one product",
        .source = "Molchanov et al. 2019, eq. 4",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "1 pass, and a product at twice its cost",
        ROW, .accumulate = prune_row_accumulate, .finish = prune_taylor_so_finish,
    },
    {
        .name = "obd",
        .formula = "H_uu / 2, as in taylor-so",
        .source = "LeCun et al. 1990",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "as taylor-so",
        .is_signed = true,
        CURVATURE, .accumulate = prune_curvature_accumulate, .finish = prune_obd_finish,
        .perturbs = true,
        .accumulate_perturbed = prune_exact_accumulate,
    },
    {
        .name = "obd-hutchinson",
        .formula = "H_uu / 2, as in taylor-so-hutchinson",
        .source = "LeCun et al. 1990; Hutchinson 1990",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "as taylor-so-hutchinson",
        .is_signed = true,
        HUTCHINSON, .accumulate = prune_hutchinson_accumulate, .finish = prune_obd_finish,
    },
    {
        .name = "obd-gn",
        .formula = "G_uu / 2, as in taylor-so-gn",
        .source = "LeCun et al. 1990; Schraudolph 2002",
        .signals = PRUNE_SIGNAL_CURVATURE,
        .cost = "as taylor-so-gn",
        .is_signed = true,
        CURVATURE, .accumulate = prune_gauss_newton_accumulate, .finish = prune_obd_finish,
    },
    {
        .name = "sosp-i",
        .formula = "sum of Q_ss + 2 sum_s' Q_ss' over the units s gone, s' gone before s, the smallest first; Q_ss' = |theta_s^T H theta_s'| / 2 + |theta_s^T dE/dtheta| [s = s']",
        .source = "SOSP, eq. 2 - 6 (H Gauss-Newton)",
        .signals = PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_CURVATURE,
        .cost = "1 pass, and a backward pass to the gates per class (softmax of at most 32) or for 10 random probes",
        .gate = PRUNE_GATE_PRODUCERS,
        .is_order = true,
        .probes = prune_sosp_i_probes,
        .scales = true,
        .check = prune_sosp_i_check,
        .state_size = prune_sosp_i_size, .init = prune_sosp_i_init, .merge = prune_sosp_i_merge, .state_ok = prune_sosp_i_ok,
        .note = prune_sosp_i_note,
        .accumulate = prune_sosp_i_accumulate, .finish = prune_sosp_i_finish,
    },
    {
        .name = "sosp-h",
        .formula = "|theta_s^T dE/dtheta| + |theta_s^T H theta| / 2, theta the weights into all units that may go",
        .source = "SOSP, eq. 7",
        .signals = PRUNE_SIGNAL_GATE_BATCH,
        .cost = "1 pass, and a product at twice its cost",
        .gate = PRUNE_GATE_PRODUCERS,
        ROW, .accumulate = prune_row_accumulate, .finish = prune_sosp_h_finish,
    },
    {
        .name = "taylor-logits",
        .formula = "dE_u^2, dE_u = mean over images of log(1 + sum_k exp(a_k - da_k/dz_u)) - log(1 + sum_k exp a_k)",
        .source = "docs/taylor-logits.md; a_k: logit of rival k - logit of the true class",
        .signals = PRUNE_SIGNAL_MARGINS,
        .cost = "1 forward pass, and a backward pass to the gates per rival (4 rivals)",
        SUMS, .accumulate = prune_taylor_logits_accumulate, .finish = prune_taylor_logits_finish,
    },
    {
        .name = "taylor-logits-greedy",
        .formula = "loss change at the expanded logits when the unit goes, units going one after the other, the least change first",
        .source = "docs/taylor-logits.md",
        .signals = PRUNE_SIGNAL_MARGINS,
        .cost = "as taylor-logits",
        .is_order = true,
        .state_size = prune_logits_greedy_size, .init = prune_logits_greedy_init, .merge = prune_logits_greedy_merge,
        .state_ok = prune_logits_greedy_ok,
        .accumulate = prune_logits_greedy_accumulate, .finish = prune_logits_greedy_finish,
    },
    {
        .name = "random",
        .formula = "uniform in [0, 1) from the seed and the unit's number",
        .source = "baseline",
        .cost = "none",
        STATELESS, .finish = prune_random_finish,
    },
    {
        .name = "magnitude",
        .formula = "L2 (or L1, -norm 1) norm of the filter, over all filters of the unit",
        .source = "Li et al. 2017",
        .needs_weights = true,
        .cost = READS_WEIGHTS,
        STATELESS, .finish = prune_magnitude_finish,
    },
    {
        .name = "magnitude-l1",
        .formula = "L1 norm of the filter, over all filters of the unit",
        .source = "Li et al. 2017",
        .needs_weights = true,
        .cost = READS_WEIGHTS,
        STATELESS, .finish = prune_magnitude_l1_finish,
    },
    {
        .name = "magnitude-layer",
        .formula = "magnitude divided by its root mean square over the layer",
        .source = "Blalock et al. 2020 (layerwise magnitude)",
        .needs_weights = true,
        .cost = READS_WEIGHTS,
        STATELESS, .finish = prune_magnitude_layer_finish,
    },
    {
        .name = "grad-magnitude",
        .formula = "mean over minibatches of the sum over the unit's filter weights of |w dE/dw|",
        .source = "Blalock et al. 2020 (global gradient magnitude)",
        .signals = PRUNE_SIGNAL_PARAMETERS,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_grad_magnitude_accumulate, .finish = prune_weight_gradients_finish,
    },
    {
        .name = "grad-magnitude-layer",
        .formula = "grad-magnitude divided by its root mean square over the layer",
        .source = "Blalock et al. 2020 (layerwise gradient magnitude)",
        .signals = PRUNE_SIGNAL_PARAMETERS,
        .cost = ONE_PASS,
        SUMS, .accumulate = prune_grad_magnitude_accumulate, .finish = prune_grad_magnitude_layer_finish,
    },
    {
        .name = "bn-scale",
        .formula = "root of the sum over the unit's producers of gamma^2",
        .source = "Liu et al. 2017 (network slimming)",
        .needs_weights = true,
        .cost = READS_WEIGHTS,
        STATELESS, .finish = prune_bn_scale_finish,
    },
    {
        .name = "fpgm",
        .formula = "sum of the L2 distances of the filter to all filters of its layer; root of the sum of squares over producers",
        .source = "He et al. 2019 (geometric median)",
        .needs_weights = true,
        .cost = "none: reads the weights; n^2 d / 2 for n filters of d weights",
        STATELESS, .finish = prune_fpgm_finish,
    },
    {
        .name = "hrank",
        .formula = "mean over images and producers of the rank of the feature map behind the activation",
        .source = "Lin et al. 2020",
        .signals = PRUNE_SIGNAL_MAPS,
        .cost = "1 forward pass, and the singular values of every map",
        SUMS, .accumulate = prune_hrank_accumulate, .finish = prune_hrank_finish,
    },
    {
        .name = "nap",
        .formula = "sum over the unit's filter weights of w^2 / (2 [A^-1]_jj [S^-1]_ii), over its layer's sum; over producers; divided by its MACs",
        .source = "Zeng et al. (NAP), eq. 6 and 13",
        .cost = ONE_PASS_AND_SOLVE,
        .scale = PRUNE_SCALE_MACS,
        KFAC, .finish = prune_nap_finish,
    },
    {
        .name = "c-obd",
        .formula = "sum over the unit's filter weights of w^2 A_jj S_ii / 2",
        .source = "Wang et al. 2019 (C-OBD); K-FAC as in nap",
        .cost = ONE_PASS_AND_SOLVE,
        KFAC, .finish = prune_c_obd_finish,
    },
    {
        .name = "kron-obd",
        .formula = "sum over producers of S_ii w_i^T A w_i / 2",
        .source = "Wang et al. 2019 (Kron-OBD)",
        .cost = ONE_PASS_AND_SOLVE,
        KFAC, .finish = prune_kron_obd_finish,
    },
    {
        .name = "c-obs",
        .formula = "sum over the unit's filter weights of w^2 / (2 [A^-1]_jj [S^-1]_ii)",
        .source = "Wang et al. 2019 (C-OBS)",
        .cost = ONE_PASS_AND_SOLVE,
        KFAC, .finish = prune_c_obs_finish,
    },
    {
        .name = "kron-obs",
        .formula = "sum over producers of w_i^T A w_i / (2 [S^-1]_ii)",
        .source = "Wang et al. 2019 (Kron-OBS)",
        .cost = ONE_PASS_AND_SOLVE,
        KFAC, .finish = prune_kron_obs_finish,
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
