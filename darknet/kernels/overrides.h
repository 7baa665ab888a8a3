/* Functions of Darknet that this room replaces and that darknet.h does not declare, with the signatures of the installed library
 * (HOST: pjreddie 2018-09). The executable is linked with -rdynamic, so the library's own calls come here as well.
 * Layers are passed by value. Every backward function ADDS to net.delta; delta holds the NEGATIVE gradient. */
#ifndef DARKNET_KERNELS_OVERRIDES_H
#define DARKNET_KERNELS_OVERRIDES_H

#include <darknet.h>

/* gemm.c: C = ALPHA op(A) op(B) + BETA C, row-major, op = transpose when TA (TB) is 1. */
void gemm(int TA, int TB, int M, int N, int K, float ALPHA, float *A, int lda, float *B, int ldb, float BETA, float *C, int ldc);
void im2col_cpu(float *data_im, int channels, int height, int width, int ksize, int stride, int pad, float *data_col);
void col2im_cpu(float *data_col, int channels, int height, int width, int ksize, int stride, int pad, float *data_im);

/* activation.c: gradient_array multiplies delta by f' expressed through the OUTPUT x of f. */
void activate_array(float *x, const int n, const ACTIVATION a);
void gradient_array(const float *x, const int n, const ACTIVATION a, float *delta);

/* elementwise.c: (batch, n, size) arrays and one value per n. */
void add_bias(float *output, float *biases, int batch, int n, int size);
void scale_bias(float *output, float *scales, int batch, int n, int size);
void backward_bias(float *bias_updates, float *delta, int batch, int n, int size);

/* batchnorm.c */
layer make_batchnorm_layer(int batch, int w, int h, int c);
void resize_batchnorm_layer(layer *l, int w, int h);
void forward_batchnorm_layer(layer l, network net);
void backward_batchnorm_layer(layer l, network net);
void update_batchnorm_layer(layer l, update_args a);   /* the host has none */

/* convolution.c, connected.c, update.c */
void forward_convolutional_layer(layer l, network net);
void backward_convolutional_layer(layer l, network net);
void update_convolutional_layer(layer l, update_args a);
void forward_connected_layer(layer l, network net);
void backward_connected_layer(layer l, network net);
void update_connected_layer(layer l, update_args a);

/* pooling.c */
void forward_maxpool_layer(layer l, network net);
void backward_maxpool_layer(layer l, network net);
void forward_avgpool_layer(layer l, network net);
void backward_avgpool_layer(layer l, network net);
void upsample_cpu(float *in, int w, int h, int c, int batch, int stride, int forward, float scale, float *out);

/* joins.c */
void shortcut_cpu(int batch, int w1, int h1, int c1, float *add, int w2, int h2, int c2, float s1, float s2, float *out);
void forward_shortcut_layer(layer l, network net);
void backward_shortcut_layer(layer l, network net);
void forward_route_layer(layer l, network net);
void backward_route_layer(layer l, network net);

/* simple_layers.c */
void forward_activation_layer(layer l, network net);
void backward_activation_layer(layer l, network net);
void forward_dropout_layer(layer l, network net);
void backward_dropout_layer(layer l, network net);
void backward_reorg_layer(layer l, network net);
void backward_normalization_layer(layer l, network net);

#endif
