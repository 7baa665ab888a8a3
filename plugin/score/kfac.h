/* Kronecker-factored curvature (docs/kfac.md). The Fisher matrix of a layer's weights W (n, d), d = c/groups * k * k, plus a column of biases where the layer has no
 * batch-norm, is taken for S (x) A (papers: Martens & Grosse 2015; Grosse & Martens 2016 for convolutions; NAP, Zeng et al., eq. 9 - 13):
 *   A = E_b [ sum over locations of a a^T ]      (d, d)  a: input patch, with a last 1 where biases count
 *   S = E_b [ mean over locations of ds ds^T ]   (n, n)  ds: dE_b/ds at the sums of weight x input, before batch-norm
 * The loss change of W -> W + D is then 1/2 tr(S D A D^T). A grouped convolution has one pair (n/groups, d) per group. Damping (factored Tikhonov):
 * A + pi sqrt(lambda) I and S + sqrt(lambda) / pi I, pi = sqrt((tr A / dim A) / (tr S / dim S)).
 * Symmetric matrices are full squares in row order, float32. Statistics are an exponential average over minibatches, divided by its total weight
 * (1 - decay^t), so that the first minibatches count in full. */
#ifndef PRUNE_SCORE_KFAC_H
#define PRUNE_SCORE_KFAC_H

#include "criteria.h"

/* What one layer's factors look like; groups pairs. False: the layer has no factors (no weights of this kind, or dontsave). */
struct prune_kfac_shape { int layer; size_t groups, n, d; bool bias; };   /* n, d of one group; d counts the column of biases */
bool prune_kfac_shape(const struct prune_net *net, int layer, struct prune_kfac_shape *out);

/* The factors of one layer as a state holds them: A (groups, d, d), S (groups, n, n), undamped means. Valid while the state is. */
struct prune_kfac_factors { struct prune_kfac_shape shape; const float *a, *s; double images; };
/* False: that layer is not in the state (or not in this pass's share of the layers). Waits for nothing: drain the background first. */
bool prune_kfac_factors(const void *state, const struct prune_score_input *in, int layer, struct prune_kfac_factors *out);

/* Which layers (of the cfg) pass `pass` of these criteria gathers: 1 or 0 each. */
void prune_kfac_wanted(const struct prune_score_input *in, size_t pass, uint8_t *layers);

/* lambda: what the user gave, or the default. */
static inline double prune_kfac_lambda(const struct prune_score_input *in) { return in->kfac.damping > 0 ? in->kfac.damping : 1e-3; }

/* One group's damped factors with what its scores need. Double precision. */
struct prune_kfac_damped {
    size_t n, d;
    double pi, lambda;
    double *a, *s;                       /* damped (d, d), (n, n) */
    double *a_chol, *s_chol;             /* lower Cholesky factors, LAPACK row order; NULL until prune_kfac_factorise */
    double *a_inverse_diagonal, *s_inverse_diagonal;   /* (d), (n); as above */
    double a_damping, s_damping;         /* on the diagonals of a and s: pi sqrt(lambda), sqrt(lambda) / pi, and what had to be added */
    double added;                        /* the larger addition that a factor needed to be positive definite: 0 as a rule; reported */
};
/* Copies and damps group g. A layer that never saw a gradient or an input (all zeros) has lambda alone. */
enum prune_code prune_kfac_damp(struct prune_kfac_damped *out, const struct prune_kfac_factors *f, size_t group, double lambda, struct prune_status *st);
enum prune_code prune_kfac_factorise(struct prune_kfac_damped *f, struct prune_status *st);
void prune_kfac_damped_free(struct prune_kfac_damped *f);

/* Per weight of one group, weights (n, d) with the biases as last column where they count; out (n, d).
 *   OBD: 1/2 w^2 A_jj S_ii       OBS (NAP eq. 6 with 13): 1/2 w^2 / ([A^-1]_jj [S^-1]_ii)
 * and per filter, out (n):
 *   C_OBD, C_OBS: their sums over the filter     KRON_OBD: 1/2 S_ii w_i^T A w_i     KRON_OBS: 1/2 w_i^T A w_i / [S^-1]_ii
 * OBD forms use the undamped factors' diagonal of `f` as it is (damped a, s minus the damping). */
enum prune_kfac_form { PRUNE_KFAC_OBD, PRUNE_KFAC_OBS, PRUNE_KFAC_KRON_OBD, PRUNE_KFAC_KRON_OBS };
void prune_kfac_weight_scores(const struct prune_kfac_damped *f, enum prune_kfac_form form, const float *weights, double *out);   /* OBD, OBS */
void prune_kfac_filter_scores(const struct prune_kfac_damped *f, enum prune_kfac_form form, const float *weights, double *out);

/* Weights of group g as (n, d), the biases as last column where they count; malloc'd by the caller. */
void prune_kfac_weights(const struct prune_kfac_shape *shape, size_t group, const float *weights, const float *biases, float *out);

#endif
