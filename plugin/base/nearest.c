/* The name that was meant; see nearest.h. */
#include "nearest.h"

#include <string.h>

/* Edit distance in two rows; words longer than the rows count as far. */
static size_t distance(const char *a, const char *b)
{
    enum { WIDTH = 40 };
    size_t row[WIDTH + 1], n = strlen(b);
    if (n > WIDTH || strlen(a) > WIDTH) return WIDTH;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

const char *prune_nearest(const char *word, const char *const *names, size_t count)
{
    const char *near = NULL;
    size_t best = strlen(word) / 2 + 1;   /* more than half of the word wrong is no typing error */
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, names[i]);
        if (d < best) {
            best = d;
            near = names[i];
        }
    }
    return near;
}
