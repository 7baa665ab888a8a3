/* A loop over independent items on all processors. Items are handed out in order to whichever worker is free: what an item computes must not depend on
 * its worker, which is a number for scratch memory alone. Without threads (one processor, or none to be had) the caller does all of it. */
#ifndef PRUNE_BASE_PARALLEL_H
#define PRUNE_BASE_PARALLEL_H

#include <stddef.h>

/* Workers that prune_parallel uses for so many items: 1 .. 16, the caller included. */
size_t prune_parallel_workers(size_t items);
void prune_parallel(size_t items, void (*work)(void *user, size_t item, size_t worker), void *user);

#endif
