/* What the random graphs contain: every section, key and activation that the generator is meant to draw, counted over the graphs in which a mask removed something. */
#ifndef TESTS_REFERENCE_COVERAGE_H
#define TESTS_REFERENCE_COVERAGE_H

#include "graphs.h"

enum { COVERAGE_MOST = 256 };
struct coverage { unsigned seen[COVERAGE_MOST]; };
void coverage_add(struct coverage *c, const struct graph *g, const char *text);
/* Prints all counts; returns how many are 0. */
int coverage_print(const struct coverage *c);

#endif
