/* Private to the reference interpreter: shapes and weights go together, because the size of the file decides between two readings. */
#ifndef TESTS_REFERENCE_WEIGHTS_H
#define TESTS_REFERENCE_WEIGHTS_H

#include "interpreter.h"

void ref_shape(struct ref_net *net);
/* Shapes the net in the reading whose values fill the file exactly, allocates and reads them. weights NULL: zeros, the first reading. */
void ref_read_weights(struct ref_net *net, const void *weights, size_t size);

#endif
