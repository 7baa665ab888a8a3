/* Oracles: what removing units really does to the loss, by forward passes (Molchanov et al. 2019, eq. 3: (E(W) - E(W | z_u = 0))^2).
 * One image set, rolling statistics; the host recomputes from the first gated layer on and spreads images over its threads. */
#ifndef PRUNE_SCORE_ORACLE_H
#define PRUNE_SCORE_ORACLE_H

#include "scoring.h"

/* Sums over the images so far, flat, so that a run can be stopped and resumed: loss[k] is the sum of candidate k's losses. */
struct prune_oracle { size_t images, count; double base; double *loss; };
/* Called after each piece of images: save, show progress, or stop by failing. */
typedef enum prune_code (*prune_oracle_step)(void *user, const struct prune_oracle *so_far, struct prune_status *st);

enum prune_code prune_oracle_init(struct prune_oracle *o, size_t candidates, struct prune_status *st);
void prune_oracle_free(struct prune_oracle *o);
/* Loss of every candidate on the images of s->set (skipping the o->images already in o) with s->z in force. step may be NULL. */
enum prune_code prune_oracle_feed(struct prune_oracle *o, const struct prune_scoring *s, const struct prune_candidates *candidates, prune_oracle_step step, void *user,
                                  struct prune_status *st);
/* The single-unit oracle: candidate k shuts units[k]. */
enum prune_code prune_oracle_units(struct prune_oracle *o, const struct prune_scoring *s, const int *units, size_t count, prune_oracle_step step, void *user,
                                   struct prune_status *st);
/* E(W | candidate k) - E(W), and its square. */
double prune_oracle_change(const struct prune_oracle *o, size_t k);
double prune_oracle_score(const struct prune_oracle *o, size_t k);

#endif
