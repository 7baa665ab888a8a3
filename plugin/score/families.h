/* The functions of each family of criteria; registry.c composes them into rows. See criteria.h for what each must do. */
#ifndef PRUNE_SCORE_FAMILIES_H
#define PRUNE_SCORE_FAMILIES_H

#include "criteria.h"

/* first_order.c: a running sum per unit and the number of terms in it */
size_t prune_sums_state_size(const struct prune_score_input *in);
void prune_sums_init(void *state, const struct prune_score_input *in);
void prune_sums_merge(void *state, const void *other, const struct prune_score_input *in);
enum prune_code prune_sums_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
void prune_taylor_fo_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_taylor_fg_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);

/* weights_only.c: no state, all work in finish */
size_t prune_stateless_size(const struct prune_score_input *in);
void prune_stateless_init(void *state, const struct prune_score_input *in);
void prune_stateless_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
void prune_stateless_merge(void *state, const void *other, const struct prune_score_input *in);
enum prune_code prune_magnitude_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_bn_scale_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
enum prune_code prune_random_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);

#endif
