/* Counter-based random numbers: a value depends on (seed, stream, counter) only, never on thread or order.
 * Streams of the project: image ordinal, dropout, initialisation, random criterion, bootstrap. */
#ifndef PRUNE_BASE_RANDOM_H
#define PRUNE_BASE_RANDOM_H

#include <stdint.h>

struct prune_random { uint64_t key, counter; };

struct prune_random prune_random_make(uint64_t seed, uint64_t stream, uint64_t ordinal);
uint64_t prune_random_u64(struct prune_random *r);
double prune_random_uniform(struct prune_random *r);               /* [0, 1), 53 bits */
double prune_random_range(struct prune_random *r, double lo, double hi);
uint64_t prune_random_below(struct prune_random *r, uint64_t n);   /* unbiased, n >= 1 */
double prune_random_normal(struct prune_random *r);                /* mean 0, deviation 1; keeps no spare */
/* position i (0 <= i < n) of a permutation of 0..n-1 that depends on (seed, epoch) only; O(1) memory. */
uint64_t prune_random_permute(uint64_t seed, uint64_t epoch, uint64_t i, uint64_t n);

#endif
