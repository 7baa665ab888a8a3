/* Small networks of the reference interpreter with values of a test's choice; for test_equivalences and test_formulas. Needs cmocka. */
#ifndef TESTS_REFERENCE_RIG_H
#define TESTS_REFERENCE_RIG_H

#include "interpreter.h"

struct rig { struct ref_net net; struct prune_status st; double *image; };

/* Loads the text with random values and fails the test unless the program's own reader gives every layer the same map and sources, and the net
 * the same dialect and number of stored values. The image is drawn from -1 .. 1 and depends on its size alone. */
struct rig *rig_open(const char *text);
void rig_close(struct rig *r);
void rig_run(struct rig *r);

struct ref_layer *rig_layer(struct rig *r, int layer);
float *rig_values(struct rig *r, int layer, int role, size_t count);         /* of part 0; fails unless there are `count` of them */
double rig_at(struct rig *r, int layer, int c, int y, int x);                /* output */
size_t rig_stored(struct rig *r);                                            /* floats in the weights file */

/* All values of part 0, whose counts must be equal. */
void rig_copy(struct rig *to, int layer, struct rig *from, int source);
/* Makes a convolution linear in front: no biases, every filter `kernel` of `count` weights. */
void rig_set_filters(struct rig *r, int layer, const double *kernel, size_t count);
/* ... one weight per filter (depthwise 1x1). */
void rig_set_factors(struct rig *r, int layer, const double *factors);

void rig_expect_map(struct rig *r, int layer, int w, int h, int c);
/* |a - b| <= tolerance * max|a|, and a is not flat. */
void rig_expect_same(struct rig *a, int layer_a, struct rig *b, int layer_b, double tolerance);
void rig_expect_value(double got, double wanted, double tolerance, const char *what, int place);

#endif
