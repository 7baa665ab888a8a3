/* The functions of each family of criteria; registry.c composes them into rows. See criteria.h for what each must do. */
#ifndef PRUNE_SCORE_FAMILIES_H
#define PRUNE_SCORE_FAMILIES_H

#include "criteria.h"

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

#endif
