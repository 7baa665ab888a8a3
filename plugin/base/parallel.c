#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST_WORKERS = 16 };

struct shared { size_t items; atomic_size_t next; void (*work)(void *, size_t, size_t); void *user; };
struct worker { struct shared *shared; size_t number; pthread_t thread; };

size_t prune_parallel_workers(size_t items)
{
    cpu_set_t set;
    size_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
    if (n > MOST_WORKERS) n = MOST_WORKERS;
    if (n > items) n = items;
    return n ? n : 1;
}

static void *run(void *argument)
{
    const struct worker *w = argument;
    struct shared *s = w->shared;
    for (size_t i; (i = atomic_fetch_add(&s->next, 1)) < s->items;) s->work(s->user, i, w->number);
    return NULL;
}

void prune_parallel(size_t items, void (*work)(void *user, size_t item, size_t worker), void *user)
{
    struct shared shared = {.items = items, .work = work, .user = user};
    struct worker workers[MOST_WORKERS];
    size_t count = prune_parallel_workers(items), started = 1;
    atomic_init(&shared.next, 0);
    for (size_t i = 0; i < count; i++) workers[i] = (struct worker){.shared = &shared, .number = i};
    while (started < count && pthread_create(&workers[started].thread, NULL, run, &workers[started]) == 0) started++;
    run(&workers[0]);
    while (--started > 0) pthread_join(workers[started].thread, NULL);
}
