/* A queue between one or several threads that put and one that works; see background.h. */
#include "background.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct entry { struct entry *next; void (*run)(void *job); void *job; size_t bytes; };

struct prune_background {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;              /* a job came, one is done, or the end */
    struct entry *first, **last;
    size_t room, held;                   /* bytes of queued jobs, the one at work included */
    bool working, stopping;
};

static void *work(void *argument)
{
    struct prune_background *b = argument;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->first && !b->stopping) pthread_cond_wait(&b->changed, &b->lock);
        struct entry *e = b->first;
        if (!e) break;
        if (!(b->first = e->next)) b->last = &b->first;
        b->working = true;
        pthread_mutex_unlock(&b->lock);
        e->run(e->job);
        free(e->job);
        pthread_mutex_lock(&b->lock);
        b->held -= e->bytes;
        b->working = false;
        pthread_cond_broadcast(&b->changed);
        free(e);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

enum prune_code prune_background_start(struct prune_background **out, size_t room, struct prune_status *st)
{
    struct prune_background *b = calloc(1, sizeof *b);
    if (!b) return prune_fail_memory(st, sizeof *b, "background worker");
    b->room = room;
    b->last = &b->first;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    if (pthread_create(&b->thread, NULL, work, b) != 0) {
        pthread_cond_destroy(&b->changed);
        pthread_mutex_destroy(&b->lock);
        free(b);
        return prune_fail(st, "cannot start a thread for statistics in the background; raise the limit of processes (ulimit -u)");
    }
    *out = b;
    return PRUNE_OK;
}

/* A job larger than the room waits until it is alone. Without memory for its place in the queue it is done here, after all before it. */
void prune_background_put(struct prune_background *b, void (*run)(void *job), void *job, size_t bytes)
{
    struct entry *e = malloc(sizeof *e);
    if (!e) {
        prune_background_drain(b);
        run(job);
        free(job);
        return;
    }
    *e = (struct entry){.run = run, .job = job, .bytes = bytes};
    pthread_mutex_lock(&b->lock);
    while (b->held && (bytes > b->room || b->held > b->room - bytes)) pthread_cond_wait(&b->changed, &b->lock);
    b->held += bytes;
    *b->last = e;
    b->last = &e->next;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void prune_background_drain(struct prune_background *b)
{
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    while (b->first || b->working) pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void prune_background_stop(struct prune_background *b)
{
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}
