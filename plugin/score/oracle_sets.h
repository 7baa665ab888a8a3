/* Oracles over sets of units: the greedy one (again and again the unit without which the loss is least) and the combinatorial one (every subset of a few
 * units), the "greedy oracle" and "combinatorial oracle" of Molchanov et al. 2019, Figure 2. Both keep their sums as struct prune_oracle does, so that a
 * run can be stopped after any piece of images and continued. */
#ifndef PRUNE_SCORE_ORACLE_SETS_H
#define PRUNE_SCORE_ORACLE_SETS_H

#include "oracle.h"

/* Step i removed the unit removed[i], places[i] of those left then, and left the mean loss loss[i]. The step at hand: candidate k of `round` is left[k] besides those removed. */
struct prune_greedy {
    int *removed; size_t *places; double *loss; size_t count, steps;
    double base;                         /* mean loss with nothing removed; NaN before the first step is done */
    int *left; size_t left_count;
    struct prune_oracle round;           /* count == 0: not begun */
};
enum prune_code prune_greedy_init(struct prune_greedy *g, const int *units, size_t count, size_t steps, struct prune_status *st);   /* steps <= count */
void prune_greedy_free(struct prune_greedy *g);
/* Begins the step at hand: room for its sums. For whoever restores them. */
enum prune_code prune_greedy_begin(struct prune_greedy *g, struct prune_status *st);
/* left[k] is removed, as step `count`: for whoever restores steps that are done. */
void prune_greedy_take(struct prune_greedy *g, size_t k, double loss);
/* Runs to the end. step may be NULL; it is called with &g->round. Units that s->z shuts stay shut. */
enum prune_code prune_greedy_run(struct prune_greedy *g, const struct prune_scoring *s, prune_oracle_step step, void *user, struct prune_status *st);

/* Candidate m of the sums is the subset whose unit i is removed where bit i of m is set. */
enum { PRUNE_SUBSET_UNITS = 20 };
struct prune_subset_size { uint64_t subsets; uint32_t best; double least, mean, most; };   /* mean losses: of the best subset, over all, of the worst */
/* 2^count sums; count <= PRUNE_SUBSET_UNITS. */
enum prune_code prune_subsets_init(struct prune_oracle *o, size_t count, struct prune_status *st);
enum prune_code prune_subsets_run(struct prune_oracle *o, const struct prune_scoring *s, const int *units, size_t count, prune_oracle_step step, void *user,
                                  struct prune_status *st);
/* sizes: count + 1 entries, by the number of units removed. */
void prune_subsets_result(const struct prune_oracle *o, size_t count, struct prune_subset_size *sizes);

#endif
