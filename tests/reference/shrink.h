/* Finding and shrinking failures of random graphs; the smallest cfg with its mask is kept in tests/golden/graphs. */
#ifndef TESTS_REFERENCE_SHRINK_H
#define TESTS_REFERENCE_SHRINK_H

#include "graphs.h"
#include "proof.h"

struct finding { char words[1024]; bool has_mask; enum mask_kind kind; uint64_t mask_seed; };

struct proof_counts { size_t masks, units, groups, effects, silent, unfit; };   /* unfit: runs without finite numbers, nothing compared */
/* Opens the text, keeps all, then `rounds` masks of every kind. true: something fails, said in *f. counts may be NULL. */
bool find_failure(const char *text, const char *folder, uint64_t seed, int rounds, struct finding *f, struct proof_counts *counts);
/* Drops layers and halves filters while the same thing (but for numbers) fails, gives back units while it still fails, and writes SEED.cfg and SEED.mask.json
 * into `keep`. Changes *g; *layers: how many are left. */
bool shrink_failure(struct graph *g, const char *folder, const struct finding *f, const char *keep, int *layers);

#endif
