/* A plain interpreter of the files of all three Darknets, for tests only: cfg bytes and weights bytes in, the output of every layer for one image
 * out, in double. Written from docs/cfg.md, docs/weights.md and docs/dialects.md for clearness, with its own shapes, defaults and weights reading:
 * of plugin/ it uses the cfg text reader and status alone, so that an error in the model, the channel graph or the rewriter shows as a difference.
 * Batch-norm divides by sqrt(variance) + 0.000001 in both dialects. Heads and losses are not run (no output); networks are compared at what they
 * read. Recurrent layers do one time step from a zero state. Letters: w, h, c input map; n filters; k side; s stride; p padding; g groups. */
#ifndef TESTS_REFERENCE_INTERPRETER_H
#define TESTS_REFERENCE_INTERPRETER_H

#include <stdint.h>
#include <stdlib.h>

#include "../../plugin/base/random.h"
#include "../../plugin/model/cfg_text.h"

/* One block of stored values (a convolution, one of the eight parts of an lstm, ...). `order` names what is stored, in the order of the file:
 * b biases, s scales, m means, v variances, w weights. */
enum { REF_BIASES, REF_SCALES, REF_MEANS, REF_VARIANCES, REF_WEIGHTS, REF_ROLES };
struct ref_part {
    const char *order;
    float *values[REF_ROLES]; size_t counts[REF_ROLES];
    int n, c, size, stride_x, stride_y, pad, dilation, groups;   /* as a convolution c -> n; connected: size 1, c = its inputs */
    bool batch_normalize, connected, borrowed;                   /* borrowed: the values belong to another layer (share_index) */
};

struct ref_net;
struct ref_layer;
struct ref_activation { const char *name, *alias; double (*f)(double); void (*across)(double *x, int c, size_t area); bool alexeyab; };

struct ref_kind {
    const char *name, *alias;
    void (*shape)(struct ref_net *net, struct ref_layer *l);     /* sets out_w, out_h, out_c, sources, parts */
    void (*run)(const struct ref_net *net, struct ref_layer *l); /* NULL: a head or a loss */
    bool alexeyab;                                               /* only AlexeyAB's line knows it */
};

struct ref_layer {
    const struct ref_kind *kind;
    const struct prune_section *section;
    int index, line;
    int w, h, c, out_w, out_h, out_c;
    size_t inputs, outputs;
    int *sources, source_count;                                  /* layer numbers, -1: the network input */
    int size, stride_x, stride_y, pad, antialiasing, sharp_w, sharp_h, groups, group_id, mode, share;
    double a, b, kappa;                                          /* alpha, beta, kappa; upsample: a = scale */
    bool flag, flag2, stored;
    const struct ref_activation *activation;
    struct ref_part *parts; int part_count;
    double *output;                                              /* out_c x out_h x out_w; NULL behind a head */
};

/* z per channel, multiplied after batch-norm and bias before the activation, or on the output; NULL rows: all 1. */
struct ref_gates { double **before, **after; };

struct ref_net {
    struct prune_cfg cfg;
    struct ref_layer *layers; int count;
    int w, h, c;
    size_t inputs;
    const double *input;                                         /* of the run at hand */
    const struct ref_gates *gates;
    bool alexeyab;                                               /* the cfg uses something that only AlexeyAB's line knows */
    bool their_files;                                            /* [batchnorm] stores biases, [rnn] has hidden units (default 1): AlexeyAB's line */
    struct prune_random *calibrate;                              /* not NULL: statistics and weights are adapted to the input of the run */
    struct prune_status *st; enum prune_code code;               /* the first error */
};

/* A cfg that both Darknets know is read as pjreddie's unless the size of the weights file says otherwise. weights NULL: all values 0, and size 1 demands
 * AlexeyAB's reading. Fails with a sentence. */
enum prune_code ref_load(struct ref_net *net, const char *path, const char *cfg, size_t cfg_size, const void *weights, size_t size, struct prune_status *st);
enum prune_code ref_load_files(struct ref_net *net, const char *cfg_path, const char *weights_path, struct prune_status *st);
void ref_free(struct ref_net *net);

/* input: c x h x w. gates NULL: all open. Outputs lie in net->layers[i].output until the next run. */
void ref_run(struct ref_net *net, const double *input, const struct ref_gates *gates);

/* Random weights whose statistics fit `input`, so that deep networks stay finite; leaves the outputs of that run. */
void ref_randomize(struct ref_net *net, uint64_t seed, const double *input);
/* The weights file; version 0: 0.1 (seen has 4 bytes), 1: 0.2.0, 2: 0.2.5, 3: 0.2.5 with the mark of transposed connected weights. malloc'd. */
void *ref_weights_bytes(const struct ref_net *net, int version, size_t *size);

/* Layers at whose outputs networks are compared: what heads read, and what nothing reads. malloc'd. */
int *ref_ends(const struct ref_net *net, int *count);
/* max|a-b| / max|a| over all ends, the n-th of a with the n-th of b (layers may be fewer in one), with the worst end of a in *at; infinite for other
 * shapes or values that are not finite, or when all is 0. */
double ref_difference(const struct ref_net *a, const struct ref_net *b, int *at);

double *ref_random_image(const struct ref_net *net, uint64_t seed, uint64_t ordinal);

#endif
