/* The installed library's own versions of functions that this room replaces, for layers we leave to it. */
#ifndef DARKNET_KERNELS_STOCK_H
#define DARKNET_KERNELS_STOCK_H

#include <darknet.h>

/* Runs the library's function of that name (forward, backward); ends the process when the library lacks it. */
void stock_layer_call(const char *name, layer l, network net);
void stock_update_call(const char *name, layer l, update_args a);

#endif
