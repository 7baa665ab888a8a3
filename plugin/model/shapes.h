/* Private to plugin/model: the functions of layer kinds, by file, and what they share; see shape_builder.h for what one has to do. */
#ifndef PRUNE_MODEL_SHAPES_H
#define PRUNE_MODEL_SHAPES_H

#include "shape_builder.h"

const char *shape_kind_name(const struct prune_layer *l);
/* Refuses a flat vector as input. */
enum prune_code shape_need_map(const struct shape_builder *b, const struct prune_layer *l);
/* Output as the input. */
enum prune_code shape_keep(const struct shape_builder *b, struct prune_layer *l);
/* map: the host knows the vector as 1 x 1 x outputs. */
enum prune_code shape_flat(struct shape_builder *b, struct prune_layer *l, int64_t outputs, bool map);

/* Keys */
enum prune_code shape_flag(const struct shape_builder *b, const char *key, bool *out);
enum prune_code shape_activation_named(struct shape_builder *b, const char *key, const char *fallback, enum prune_activation *out);
enum prune_code shape_read_activation(struct shape_builder *b, const char *fallback, struct prune_layer *l);
/* size, stride and (convolutions) pad or padding in pixels; then stride_x and stride_y; then dilation */
enum prune_code shape_window(const struct shape_builder *b, struct prune_layer *l, int size);
enum prune_code shape_strides(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_dilation(struct shape_builder *b, struct prune_layer *l);
/* Darknet's layer numbers: absolute, or negative from the layer at hand. */
enum prune_code shape_resolve(const struct shape_builder *b, const struct prune_layer *l, const char *key, int number, int *out);
/* The same of a layer whose output is read. */
enum prune_code shape_source(const struct shape_builder *b, const struct prune_layer *l, const char *key, int number, int *out);

/* Sizes */
/* (w + padding - k) / s + 1, before the blur of antialiasing */
enum prune_code shape_windows(const struct shape_builder *b, struct prune_layer *l, int padding, int channels);
/* What is left of out_w x out_h behind the blur of antialiasing; fills sharp_w, sharp_h. */
enum prune_code shape_blur(const struct shape_builder *b, struct prune_layer *l);
/* Weights of a layer: a product the host keeps in an int. */
enum prune_code shape_count(const struct shape_builder *b, int64_t a, int64_t c, int64_t kk, uint64_t *out);
void shape_set_macs(struct shape_builder *b, struct prune_layer *l, uint64_t per_location, uint64_t locations);

/* A recurrent layer (rnn, lstm, gru, crnn, conv_lstm) is a list of connected layers or convolutions, in the order of the weights file. */
struct shape_part { int64_t in, out; };
struct shape_parts { struct shape_part items[11]; int count, kernel, groups; bool convolutions; };
void shape_parts(const struct prune_layer *l, int dialect, struct shape_parts *parts);
/* Sets parameters and macs from the parts; checks groups. */
enum prune_code shape_count_parts(struct shape_builder *b, struct prune_layer *l, int dialect);

/* Kinds */
enum prune_code shape_convolutional(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_deconvolutional(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_local(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_connected(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_maxpool(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_avgpool(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_crop(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_dropout(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_route(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_shortcut(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_upsample(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_reorg(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_batchnorm(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_activation(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_same(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_normalization(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_softmax(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_cost(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_region(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_yolo(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_iseg(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_detection(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_rnn(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_lstm(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_gru(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_crnn(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_scale_channels(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_sam(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_local_avgpool(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_reorg3d(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_empty(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_implicit(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_gaussian_yolo(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_contrastive(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_conv_lstm(struct shape_builder *b, struct prune_layer *l);
enum prune_code shape_history(struct shape_builder *b, struct prune_layer *l);

#endif
