/* Depthwise convolutions (groups == channels == filters), sizes 3 and 5, strides 1 and 2: kernels of their own, channel by channel, so that
 * batch statistics and what is made of them find the channel's planes still in the cache. Called by convolution.c and conv_back.c. */
#ifndef DARKNET_KERNELS_DEPTHWISE_H
#define DARKNET_KERNELS_DEPTHWISE_H

#include <darknet.h>
#include <stdbool.h>

bool depthwise_fits(const layer *l);
void depthwise_forward(layer l, network net);
void depthwise_backward(layer l, network net);

#endif
