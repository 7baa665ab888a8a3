/* The steps of the random generator; private to graphs.c and graph_steps.c. Each appends sections that fit what is there, or does nothing. */
#ifndef TESTS_REFERENCE_GRAPH_STEPS_H
#define TESTS_REFERENCE_GRAPH_STEPS_H

#include "graphs.h"
#include "kinds.h"

struct maker { struct graph *g; struct prune_random r; };
enum { MOST_CHANNELS = 48, ROOM_FOR_ENDS = 24 };

static inline int below(struct maker *m, int n) { return (int)prune_random_below(&m->r, (uint64_t)n); }
static inline int between(struct maker *m, int low, int high) { return low + below(m, high - low + 1); }
static inline bool chance(struct maker *m, double p) { return prune_random_uniform(&m->r) < p; }

static inline int layers(const struct maker *m) { return m->g->count - 1; }
static inline struct graph_section *layer_at(const struct maker *m, int i) { return &m->g->sections[i + 1]; }
static inline struct graph_section *last(const struct maker *m) { return &m->g->sections[m->g->count - 1]; }      /* [net] gives the input */

/* A section of the shape of the last one, without options. */
struct graph_section *add(struct maker *m, const char *name);
void set(struct graph_section *s, const char *key, const char *format, ...) PRUNE_PRINTF(3, 4);
void set_refs(struct maker *m, struct graph_section *s, const char *key, const int *refs, int count);
void set_ref(struct maker *m, struct graph_section *s, const char *key, int ref);
const char *activation(struct maker *m);
/* Any layer whose map has this size (channels 0: any number) and may be named; -1: none. */
int find_map(struct maker *m, int w, int h, int c);

struct convolution { int filters, size, stride, groups; const char *activation; };      /* activation NULL: any, and AlexeyAB's keys */
struct graph_section *convolve(struct maker *m, struct convolution c);
int random_filters(struct maker *m);
void convolution(struct maker *m);
void depthwise(struct maker *m);
void grouped(struct maker *m);
void grouped_chain(struct maker *m);
void shared(struct maker *m);
void deconvolution(struct maker *m);
void local(struct maker *m);
void connected(struct maker *m);
void pool(struct maker *m);
void pool_depth(struct maker *m);
void upsample(struct maker *m);
void reorg(struct maker *m);
void reorg3d(struct maker *m);
void simple(struct maker *m);
void avgpool(struct maker *m);

#endif
