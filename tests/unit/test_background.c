/* The worker: order, bounded memory, drain and stop. Nothing here depends on how long anything takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../../plugin/base/background.h"

static struct prune_status st;

struct log { size_t count; int order[1000]; };
struct append { struct log *log; int number; };

static void append(void *job)
{
    struct append *a = job;
    a->log->order[a->log->count++] = a->number;
}

static void put_append(struct prune_background *b, struct log *log, int number, size_t bytes)
{
    struct append *a = malloc(sizeof *a);
    assert_non_null(a);
    *a = (struct append){log, number};
    prune_background_put(b, append, a, bytes);
}

static void jobs_are_done_in_order(void **state)
{
    (void)state;
    struct prune_background *b;
    struct log log = {0};
    assert_int_equal(prune_background_start(&b, 64, &st), PRUNE_OK);
    for (int i = 0; i < 500; i++) put_append(b, &log, i, 16);
    prune_background_drain(b);
    assert_int_equal(log.count, 500);
    for (int i = 0; i < 500; i++) put_append(b, &log, 500 + i, (size_t)i % 100);   /* some larger than the room */
    prune_background_stop(b);
    assert_int_equal(log.count, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(log.order[i], i);
}

/* ---- room ---- */

struct gate { pthread_mutex_t lock; pthread_cond_t changed; int open, started; };
struct wait { struct gate *gate; };

static void wait_for_gate(void *job)
{
    struct gate *g = ((struct wait *)job)->gate;
    pthread_mutex_lock(&g->lock);
    g->started++;
    pthread_cond_broadcast(&g->changed);
    while (!g->open) pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

struct putter { struct prune_background *b; struct gate *gate; atomic_int put; };

static void put_wait(struct prune_background *b, struct gate *g, size_t bytes)
{
    struct wait *w = malloc(sizeof *w);
    assert_non_null(w);
    w->gate = g;
    prune_background_put(b, wait_for_gate, w, bytes);
}

static void *put_three(void *argument)
{
    struct putter *p = argument;
    for (int i = 0; i < 3; i++) {
        put_wait(p->b, p->gate, 40);
        atomic_fetch_add(&p->put, 1);
    }
    return NULL;
}

static void a_full_queue_makes_put_wait(void **state)
{
    (void)state;
    struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct prune_background *b;
    pthread_t thread;
    assert_int_equal(prune_background_start(&b, 100, &st), PRUNE_OK);
    struct putter p = {.b = b, .gate = &g};
    assert_int_equal(pthread_create(&thread, NULL, put_three, &p), 0);
    pthread_mutex_lock(&g.lock);
    while (!g.started) pthread_cond_wait(&g.changed, &g.lock);
    pthread_mutex_unlock(&g.lock);
    assert_true(atomic_load(&p.put) <= 2);       /* 40 + 40 bytes fit in 100, 40 more do not while the first is at work */
    pthread_mutex_lock(&g.lock);
    g.open = 1;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.lock);
    pthread_join(thread, NULL);
    prune_background_drain(b);
    assert_int_equal(atomic_load(&p.put), 3);
    assert_int_equal(g.started, 3);
    prune_background_stop(b);
}

static void nothing_is_accepted(void **state)
{
    (void)state;
    struct prune_background *b;
    prune_background_drain(NULL);
    prune_background_stop(NULL);
    assert_int_equal(prune_background_start(&b, 0, &st), PRUNE_OK);
    prune_background_drain(b);
    struct log log = {0};
    put_append(b, &log, 1, 8);                   /* no room at all: one job at a time */
    put_append(b, &log, 2, 8);
    prune_background_stop(b);
    assert_int_equal(log.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_are_done_in_order),
        cmocka_unit_test(a_full_queue_makes_put_wait),
        cmocka_unit_test(nothing_is_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
