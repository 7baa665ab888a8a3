/* One progress line in Darknet's voice: "<what>: <done>/<total> (<percent>%), <text>, <time left>".
 * On a terminal it rewrites itself; elsewhere it prints at most one line every ten seconds. */
#ifndef PRUNE_BASE_PROGRESS_H
#define PRUNE_BASE_PROGRESS_H

#include <stdio.h>
#include <stddef.h>
#include "status.h"

struct prune_progress { FILE *file; const char *what; size_t total; double started, printed; int terminal, open; };

void prune_progress_start(struct prune_progress *p, FILE *file, const char *what, size_t total);
void prune_progress_update(struct prune_progress *p, size_t done, const char *format, ...) PRUNE_PRINTF(3, 4);
void prune_progress_end(struct prune_progress *p);   /* closes the line; accepts a progress that never printed */
double prune_now(void);                              /* monotonic seconds */

#endif
