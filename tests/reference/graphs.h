/* Random valid cfgs over the whole dialect, for proofs: a graph of sections with references as layer numbers, so that a failing one can be shrunk, and
 * its text with everything a cfg may look like. Everything follows from the seed. A graph is pjreddie's or AlexeyAB's, never both. */
#ifndef TESTS_REFERENCE_GRAPHS_H
#define TESTS_REFERENCE_GRAPHS_H

#include <stdbool.h>
#include <stddef.h>

#include "../../plugin/base/random.h"

enum { GRAPH_OPTIONS = 16, GRAPH_REFS = 4, GRAPH_SECTIONS = 112 };
struct graph_option { char key[24], value[48]; int refs[GRAPH_REFS], ref_count; bool relative[GRAPH_REFS]; };
struct graph_section {
    char name[24];
    struct graph_option options[GRAPH_OPTIONS]; int count;
    int w, h, c;                       /* what the section gives */
    bool flat, head, unnumbered;       /* a vector; nothing may read it; only the next layer may (antialiasing) */
};
struct graph {
    uint64_t seed;
    bool alexeyab;
    bool tame;                         /* mostly what OpenCV reads, too */
    struct graph_section sections[GRAPH_SECTIONS]; int count;    /* the first is [net]; layer i is sections[i + 1] */
};

struct graph *graph_make(uint64_t seed, bool tame);             /* freed with free */
/* The text, malloc'd: LF or CRLF, order of keys, comments, blanks and aliases as the seed says; plain: none of that. */
char *graph_text(const struct graph *g, bool plain);
/* Takes out layer i: what read it reads the layer before. false: layer 0, or something reads it that could not. */
bool graph_drop(struct graph *g, int layer);
/* Halves every count of channels of layer i that is above 1; false: there is none. */
bool graph_halve(struct graph *g, int layer);

#endif
