/* OBS surgery: what the surviving weights become when others go, in the quadratic model 1/2 tr(S D A D^T) of one group of a layer (kfac.h, damped factors).
 *   columns J (inputs that are gone; survivors K):  D_K = W_J A_JK A_KK^-1          for every row
 *   rows R (filters that are gone; survivors K):    D_K = S_KK^-1 S_KR W_R
 *   both: first columns, then rows with the new W: that is the joint minimum over all survivors (docs/kfac.md)
 *   any set Q of weights: W + D, D the joint minimum with D_Q = -W_Q, by conjugate gradients on (S^-1 (x) A^-1)_QQ
 *   paper: D = - sum over q of Q of w_q / [H^-1]_qq H^-1[:, q], H^-1 = S^-1 (x) A^-1 (NAP eq. 6, summed), then D_Q = -W_Q */
#ifndef PRUNE_SCORE_SURGERY_H
#define PRUNE_SCORE_SURGERY_H

#include "kfac.h"

enum prune_surgery { PRUNE_SURGERY_NONE, PRUNE_SURGERY_JOINT, PRUNE_SURGERY_PAPER };

struct prune_surgery_result { double before, after; /* quadratic loss change of plain removal, and with surgery */ size_t iterations; };
/* weights (n, d) in place; removed entries end as exact 0. gone_rows (n), gone_columns (d): 1 = removed; either may be NULL. */
enum prune_code prune_surgery_structured(const struct prune_kfac_damped *f, float *weights, const uint8_t *gone_rows, const uint8_t *gone_columns,
                                         struct prune_surgery_result *r, struct prune_status *st);
/* gone (n, d). What is 0 already and stays so belongs to gone as well. f must be factorised. */
enum prune_code prune_surgery_weights(const struct prune_kfac_damped *f, enum prune_surgery how, float *weights, const uint8_t *gone,
                                      struct prune_surgery_result *r, struct prune_status *st);
/* 1/2 tr(S D A D^T), D = after - before, with the damped factors. */
double prune_kfac_loss_change(const struct prune_kfac_damped *f, const float *before, const float *after);

#endif
