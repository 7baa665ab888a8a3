/* "Did you mean": the name nearest to a misspelt word, for messages. */
#ifndef PRUNE_BASE_NEAREST_H
#define PRUNE_BASE_NEAREST_H

#include <stddef.h>

/* The name nearest to `word` by edit distance; NULL when none is near, or the word is longer than any name. */
const char *prune_nearest(const char *word, const char *const *names, size_t count);

#endif
