/* The functions of each family of criteria; registry.c composes them into rows. See criteria.h for what each must do. */
#ifndef PRUNE_SCORE_FAMILIES_H
#define PRUNE_SCORE_FAMILIES_H

#include "criteria.h"

enum { PRUNE_DEFAULT_RIVALS = 4, PRUNE_DEFAULT_PROBES = 4 };   /* of the signals MARGINS and CURVATURE */

/* curvature.c: how far differences of gate gradients move a gate: the user's step or the estimator's own, the length of the whole move shared out over the
 * gates that move. 1 + step and 1 - step are floats. */
enum prune_step_kind { PRUNE_STEP_SINGLE, PRUNE_STEP_ALL };
double prune_gate_step(const struct prune_score_input *in, enum prune_step_kind kind);
/* z from the gates in force to those of a pass by differences (criteria.h, direction) */
void prune_gates_move(const struct prune_score_input *in, size_t pass, const float *v, float *z);

/* first_order.c: a running sum per unit and the number of terms in it */
size_t prune_sums_state_size(const struct prune_score_input *in);
void prune_sums_init(void *state, const struct prune_score_input *in);
void prune_sums_merge(void *state, const void *other, const struct prune_score_input *in);
enum prune_code prune_sums_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
/* The same; what: of what the sums are, for messages ("gate gradient"). */
enum prune_code prune_sums_mean(const void *state, const struct prune_score_input *in, const char *what, double *scores, struct prune_status *st);
void prune_taylor_fo_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_taylor_fg_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_taylor_output_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
enum prune_code prune_taylor_output_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* weight_gradients.c: the same state */
void prune_taylor_weight_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_taylor_weight_group_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_bn_taylor_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_grad_magnitude_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
enum prune_code prune_weight_gradients_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_grad_magnitude_layer_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* hrank.c: the same state */
void prune_hrank_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
enum prune_code prune_hrank_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* per_layer.c: each score divided by the root of the sum (mean: of the mean) of squares over the units of its layer, which is that of their first producer */
void prune_divide_by_layer(const struct prune_units *units, bool mean, double *scores);

/* scale.c: what a unit's score is divided by, in->scale or, where that is DEFAULT, fallback (DEFAULT: NONE); and all scores divided, in place */
double prune_scale_divisor(const struct prune_score_input *in, enum prune_scale fallback, size_t unit);
void prune_scale_scores(const struct prune_score_input *in, enum prune_scale fallback, double *scores);

/* A tensor on the CPU of that type and rank: what is elsewhere, or of another kind, is one that this room cannot read. */
bool prune_signal_readable(const struct prune_tensor *t, enum prune_dtype type, int rank);
/* Refuses a sum (units) that is not a finite number, by its unit's first channel. */
enum prune_code prune_check_finite(const struct prune_score_input *in, const double *sums, const char *what, struct prune_status *st);

/* curvature.c: sums of g per unit and of h per unit and pass, and how many images are in each */
size_t prune_curvature_size(const struct prune_score_input *in);
void prune_curvature_init(void *state, const struct prune_score_input *in);
bool prune_curvature_ok(const void *state, const void *fresh);
size_t prune_hutchinson_size(const struct prune_score_input *in);
void prune_hutchinson_init(void *state, const struct prune_score_input *in);
size_t prune_row_size(const struct prune_score_input *in);
void prune_row_init(void *state, const struct prune_score_input *in);
void prune_curvature_merge(void *state, const void *other, const struct prune_score_input *in);
void prune_curvature_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);   /* g of pass 0 alone */
void prune_exact_accumulate(void *state, const struct prune_score_input *in, const struct prune_perturbed *piece);
void prune_gauss_newton_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
size_t prune_hutchinson_passes(const struct prune_score_input *in);
void prune_hutchinson_direction(const struct prune_score_input *in, size_t pass, float *v);
void prune_hutchinson_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
size_t prune_row_passes(const struct prune_score_input *in);
void prune_row_direction(const struct prune_score_input *in, size_t pass, float *v);
void prune_row_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
enum prune_code prune_taylor_so_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_obd_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* sosp.c: S x S products of the curvature and an order; curvature.c: what sosp-h has of its own, beside the row's sums */
enum prune_code prune_sosp_i_check(const struct prune_score_input *in, struct prune_status *st);
size_t prune_sosp_i_size(const struct prune_score_input *in);
void prune_sosp_i_init(void *state, const struct prune_score_input *in);
bool prune_sosp_i_note(const void *state, char *text, size_t room);
bool prune_sosp_i_ok(const void *state, const void *fresh);
void prune_sosp_i_merge(void *state, const void *other, const struct prune_score_input *in);
int prune_sosp_i_probes(const struct prune_score_input *in);   /* exact for a softmax of at most 32 classes, else 10 */
void prune_sosp_i_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
enum prune_code prune_sosp_i_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_sosp_h_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* logits.c: the state of first_order.c */
void prune_taylor_logits_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
enum prune_code prune_taylor_logits_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* weights_only.c: no state, all work in finish */
size_t prune_stateless_size(const struct prune_score_input *in);
void prune_stateless_init(void *state, const struct prune_score_input *in);
void prune_stateless_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_stateless_merge(void *state, const void *other, const struct prune_score_input *in);
enum prune_code prune_magnitude_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_magnitude_l1_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_magnitude_layer_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_bn_scale_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_random_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* fpgm.c: no state either */
enum prune_code prune_fpgm_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* kfac.c, kfac_scores.c: one state of factors for all five */
size_t prune_kfac_state_size(const struct prune_score_input *in);
void prune_kfac_init(void *state, const struct prune_score_input *in);
bool prune_kfac_state_ok(const void *state, const void *fresh);
void prune_kfac_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_kfac_merge(void *state, const void *other, const struct prune_score_input *in);
size_t prune_kfac_passes(const struct prune_score_input *in);
bool prune_kfac_note(const void *state, char *text, size_t room);
enum prune_code prune_nap_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_c_obd_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_kron_obd_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_c_obs_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_kron_obs_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

/* logits_greedy.c: the same expansion for sets of units */
/* Loss of an image from margins x_k = a[k step_a] - d[k step_d] (d NULL: a alone): log(1 + sum_k exp x_k). */
double prune_margins_loss(const float *a, ptrdiff_t step_a, const float *d, ptrdiff_t step_d, size_t rivals);
size_t prune_logits_greedy_size(const struct prune_score_input *in);
void prune_logits_greedy_init(void *state, const struct prune_score_input *in);
bool prune_logits_greedy_ok(const void *state, const void *fresh);
void prune_logits_greedy_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_logits_greedy_merge(void *state, const void *other, const struct prune_score_input *in);
enum prune_code prune_logits_greedy_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

#endif
