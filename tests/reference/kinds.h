/* Shared by the layers of the reference interpreter: options, inputs, and what every producing layer does behind its sums. */
#ifndef TESTS_REFERENCE_KINDS_H
#define TESTS_REFERENCE_KINDS_H

#include "interpreter.h"

extern const struct ref_kind ref_producers[], ref_planes[], ref_joins[], ref_recurrents[];   /* end with a NULL name */

void *ref_alloc(size_t count, size_t size);                     /* zeroed; ends the test program when memory is out */
void ref_fail(struct ref_net *net, const struct ref_layer *l, const char *format, ...) PRUNE_PRINTF(3, 4);
int ref_int(struct ref_net *net, const struct ref_layer *l, const char *key, int fallback);
double ref_number(struct ref_net *net, const struct ref_layer *l, const char *key, double fallback);
bool ref_has(const struct ref_layer *l, const char *key);
bool ref_crnn_is_theirs(const struct ref_layer *l);             /* keys of AlexeyAB's; else pjreddie's, with 3x3 convolutions */
int ref_layer_number(struct ref_net *net, const struct ref_layer *l, int number);      /* negative: from here */
void ref_set_sources(struct ref_net *net, struct ref_layer *l, const char *key, bool previous_first);
void ref_set_output(struct ref_layer *l, int w, int h, int c);

const struct ref_activation *ref_activation_of(struct ref_net *net, const struct ref_layer *l, const char *key, const char *fallback);
void ref_activate(const struct ref_activation *f, double *x, int c, size_t area);

const double *ref_input(const struct ref_net *net, const struct ref_layer *l, int source);
size_t ref_source_outputs(const struct ref_net *net, int source);
/* A new part; biases n, and with batch-norm scales, means, variances n. */
struct ref_part *ref_add_part(struct ref_net *net, struct ref_layer *l, const char *order, int n, int c, int size, int groups, size_t weights);
struct ref_part *ref_add_convolution(struct ref_net *net, struct ref_layer *l, int n, int c, int size, int groups, bool batch_normalize);
struct ref_part *ref_add_connected(struct ref_net *net, struct ref_layer *l, int n, int c, bool batch_normalize);
void ref_convolve(const struct ref_part *p, const double *in, int w, int h, double *out, int out_w, int out_h);
/* What antialiasing does behind a layer: sharp_w x sharp_h -> out_w x out_h at its strides. */
void ref_blur(const struct ref_layer *l, const double *in, double *out);
/* Batch-norm, biases. While calibrating the part's statistics (or its weights, where it has none) are fitted to x first. */
void ref_finish(const struct ref_net *net, struct ref_part *p, double *x, size_t area);
void ref_gate(double *x, const double *z, int c, size_t area);
const double *ref_gate_before(const struct ref_net *net, const struct ref_layer *l);

#endif
