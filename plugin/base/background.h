/* One worker thread with a queue of jobs, done in the order they came: statistics are added up while training goes on. A full queue makes put wait, so memory is bounded. */
#ifndef PRUNE_BASE_BACKGROUND_H
#define PRUNE_BASE_BACKGROUND_H

#include <stddef.h>
#include "status.h"

struct prune_background;
/* room: bytes that jobs in the queue may hold together. */
enum prune_code prune_background_start(struct prune_background **out, size_t room, struct prune_status *st);
/* run(job) in the worker, which then frees job. Takes the job over. bytes: what it holds. */
void prune_background_put(struct prune_background *b, void (*run)(void *job), void *job, size_t bytes);
void prune_background_drain(struct prune_background *b);   /* until the queue is empty and the worker idle; accepts NULL */
void prune_background_stop(struct prune_background *b);    /* drains; accepts NULL */

#endif
