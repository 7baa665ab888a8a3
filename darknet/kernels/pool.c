/* The thread pool of pool.h: T - 1 workers and the caller, one job at a time. A job has a generation number; a worker sleeps until it
 * changes, runs its share and counts itself off. */
#include "pool.h"

#include <cblas.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../context.h"

struct scratch { float *data; size_t floats; };

struct worker {
    pthread_t thread;
    int index;
};

struct pool {
    pthread_mutex_t user;        /* held by the thread whose job runs */
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    struct worker *workers;      /* threads - 1 */
    int threads;                 /* 0: not started */
    unsigned long generation;
    int running;
    bool stop;
    int tasks;
    pool_function *fn;
    void *arg;
    struct scratch (*scratch)[POOL_SLOTS];   /* one row per thread */
    struct { void *data; size_t bytes; } shared[POOL_SHARED];
};

static struct pool pool = {
    .user = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER,
    .start = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER,
};
static _Thread_local int current = -1;   /* index of the thread inside a task, -1 outside */

static void die(const char *what)
{
    fprintf(stderr, "kernels: %s\n", what);
    exit(1);
}

static void *aligned(size_t bytes)
{
    void *p = NULL;

    if (posix_memalign(&p, 64, (bytes + 63) & ~(size_t)63)) die("out of memory");
    return p;
}

size_t pool_first(size_t n, int task, int tasks)
{
    return n / (size_t)tasks * (size_t)task + n % (size_t)tasks * (size_t)task / (size_t)tasks;
}

static void run_share(int thread)
{
    size_t n = (size_t)pool.tasks;
    size_t first = pool_first(n, thread, pool.threads), last = pool_first(n, thread + 1, pool.threads);

    current = thread;
    for (size_t i = first; i < last; ++i) pool.fn(pool.arg, (int)i, thread);
    current = -1;
}

static void *work(void *arg)
{
    const struct worker *self = arg;
    unsigned long seen = 0;

    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.generation == seen && !pool.stop) pthread_cond_wait(&pool.start, &pool.lock);
        if (pool.stop) break;
        seen = pool.generation;
        pthread_mutex_unlock(&pool.lock);
        run_share(self->index);
        pthread_mutex_lock(&pool.lock);
        if (--pool.running == 0) pthread_cond_signal(&pool.done);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

static void stop_workers(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stop = true;
    pthread_cond_broadcast(&pool.start);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 1; i < pool.threads; ++i) pthread_join(pool.workers[i - 1].thread, NULL);
    for (int t = 0; t < pool.threads; ++t) {
        for (int s = 0; s < POOL_SLOTS; ++s) free(pool.scratch[t][s].data);
    }
    free(pool.scratch);
    free(pool.workers);
    pool.scratch = NULL;
    pool.workers = NULL;
    pool.threads = 0;
    pool.generation = 0;
    pool.stop = false;
}

static void start_workers(int threads)
{
    openblas_set_num_threads(1);   /* we split the work; its own threads would only compete */
    pool.workers = threads > 1 ? calloc((size_t)threads - 1, sizeof *pool.workers) : NULL;
    pool.scratch = calloc((size_t)threads, sizeof *pool.scratch);
    if (!pool.scratch || (threads > 1 && !pool.workers)) die("out of memory");
    pool.threads = threads;
    for (int i = 1; i < threads; ++i) {
        pool.workers[i - 1].index = i;
        if (pthread_create(&pool.workers[i - 1].thread, NULL, work, &pool.workers[i - 1])) die("cannot start a thread");
    }
}

static void ready(void)
{
    int threads = host_context()->threads;

    if (pool.threads == threads) return;
    if (pool.threads) stop_workers();
    start_workers(threads);
}

int pool_threads(void)
{
    return current >= 0 ? 1 : host_context()->threads;
}

int pool_split(size_t items, size_t elements)
{
    enum { WORTH_WAKING = 16384 };
    int threads = pool_threads();

    if (elements < WORTH_WAKING || items < 2) return 1;
    return items < (size_t)threads ? (int)items : threads;
}

static void run_alone(int tasks, pool_function *fn, void *arg)
{
    int was = current;

    current = was < 0 ? 0 : was;
    for (int i = 0; i < tasks; ++i) fn(arg, i, current);
    current = was;
}

void pool_run(int tasks, pool_function *fn, void *arg)
{
    if (tasks < 1) return;
    if (current >= 0) {
        run_alone(tasks, fn, arg);
        return;
    }
    pthread_mutex_lock(&pool.user);
    ready();
    pool.tasks = tasks;
    pool.fn = fn;
    pool.arg = arg;
    if (tasks == 1 || pool.threads == 1) {
        run_alone(tasks, fn, arg);
    } else {
        pthread_mutex_lock(&pool.lock);
        pool.running = pool.threads - 1;
        pool.generation++;
        pthread_cond_broadcast(&pool.start);
        pthread_mutex_unlock(&pool.lock);
        run_share(0);
        pthread_mutex_lock(&pool.lock);
        while (pool.running) pthread_cond_wait(&pool.done, &pool.lock);
        pthread_mutex_unlock(&pool.lock);
    }
    pthread_mutex_unlock(&pool.user);
}

float *pool_scratch(int thread, enum pool_slot slot, size_t floats)
{
    struct scratch *s = &pool.scratch[thread][slot];

    if (s->floats < floats) {
        free(s->data);
        s->data = aligned(floats * sizeof(float));
        s->floats = floats;
    }
    return s->data;
}

void *pool_buffer(enum pool_shared which, size_t bytes)
{
    if (pool.shared[which].bytes < bytes) {
        free(pool.shared[which].data);
        pool.shared[which].data = aligned(bytes);
        pool.shared[which].bytes = bytes;
    }
    return pool.shared[which].data;
}

void pool_stop(void)
{
    pthread_mutex_lock(&pool.user);
    if (pool.threads) stop_workers();
    for (int i = 0; i < POOL_SHARED; ++i) {
        free(pool.shared[i].data);
        pool.shared[i].data = NULL;
        pool.shared[i].bytes = 0;
    }
    pthread_mutex_unlock(&pool.user);
}
