/* Worker threads of the kernels. Workers wait on a condition variable (they never spin: on a busy machine spinning threads steal the time
 * of those that work). Tasks are dealt out statically, one contiguous range per thread, so whatever a thread sums up in task order is
 * the same on every run at the same number of threads. A call from inside a task runs its tasks one after the other on that thread;
 * a second thread that calls waits for the first. */
#ifndef DARKNET_KERNELS_POOL_H
#define DARKNET_KERNELS_POOL_H

#include <stddef.h>

/* Runs fn(arg, task, thread) for every task of 0..tasks-1 and returns when all are done; 0 <= thread < pool_threads(). */
typedef void pool_function(void *arg, int task, int thread);
void pool_run(int tasks, pool_function *fn, void *arg);

/* Threads that pool_run will use: host_context()->threads, or 1 inside a task. */
int pool_threads(void);

/* How many tasks `items` should become: one per thread, or a single one when they hold too few elements in all to be worth waking threads. */
int pool_split(size_t items, size_t elements);

/* First item of task of tasks over n items; pool_first(n, tasks, tasks) == n. */
size_t pool_first(size_t n, int task, int tasks);

/* Memory of one thread, 64-byte aligned, kept between calls and grown as needed; a second call with the same slot reuses it.
 * The process ends when memory runs out, as everywhere in the host. */
enum pool_slot { POOL_INPUT, POOL_DELTA, POOL_TILE, POOL_PARTIAL, POOL_TAIL, POOL_SLOTS };
float *pool_scratch(int thread, enum pool_slot slot, size_t floats);

/* Memory shared by all threads during one kernel, kept between calls; used outside tasks only. */
enum pool_shared { POOL_WEIGHTS, POOL_WEIGHTS_BACK, POOL_SUMS, POOL_OFFSETS, POOL_COPY, POOL_SHARED };
void *pool_buffer(enum pool_shared which, size_t bytes);

/* Releases threads and memory; the next call starts them again. For leak checkers. */
void pool_stop(void);

#endif
