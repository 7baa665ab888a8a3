/* Which of Darknet's activations fuse with other passes over the data. */
#ifndef DARKNET_KERNELS_ACTIVATION_H
#define DARKNET_KERNELS_ACTIVATION_H

#include <darknet.h>
#include <stdbool.h>
#include "vector.h"

/* True, with the vector form in *f, for linear, relu and leaky. Otherwise *f is VECTOR_LINEAR: run that, then activate_array. */
bool activation_fuses(ACTIVATION a, enum vector_activation *f);

#endif
