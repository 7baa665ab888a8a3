/* Trials of convolution methods: what a method offers and what it works on. Dimensions: batch images of (c, h, w) -> (n, oh, ow), groups, size x size
 * taps; weights (n, c / groups, size, size). Everything is plain NCHW, single precision; delta is multiplied by -1 nowhere: gradients are plain sums. */
#ifndef TESTS_BENCH_CONV_TRIALS_H
#define TESTS_BENCH_CONV_TRIALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { TRIAL_THREADS = 2 };

struct trial_shape {
    int batch, c, h, w, n, groups, size, stride, pad, oh, ow;
    int count;                  /* layers of this shape in the network */
    bool first;                 /* the network's first layer: no input gradient is wanted */
};

/* WEIGHTS: weight gradient alone; BOTH: weight and input gradient, as a training step needs them. */
enum trial_pass { TRIAL_FORWARD, TRIAL_WEIGHTS, TRIAL_BOTH, TRIAL_PASSES };

struct trial_tensors {
    float *input, *input_delta, *weights, *weight_updates, *biases, *bias_updates, *output, *delta;
};

/* run: output = convolution + bias; weight_updates, bias_updates and input_delta are ADDED to, as Darknet's layers do.
 * before, after (may be NULL): what a method does outside its timed part to take the plain tensors and give them back. */
struct trial_method {
    const char *name;
    void *(*open)(const struct trial_shape *s, const struct trial_tensors *t);  /* NULL: this shape is not for this method */
    void (*run)(void *method, enum trial_pass pass);
    void (*before)(void *method);
    void (*after)(void *method, enum trial_pass pass);
    void (*close)(void *method);
};

enum { TRIAL_OURS, TRIAL_IM2COL, TRIAL_BATCHED, TRIAL_ONEDNN, TRIAL_ONEDNN_BARE, TRIAL_METHODS };
extern const struct trial_method trial_ours, trial_im2col, trial_batched, trial_onednn, trial_onednn_bare;
extern const bool trial_onednn_present;

double trial_macs(const struct trial_shape *s);          /* multiply-adds of one forward pass of the batch */

/* Largest error of sampled elements against double precision sums, relative to the sum of the absolute terms; gradients must have started from 0. */
double trial_error(const struct trial_shape *s, const struct trial_tensors *t, enum trial_pass pass);

/* Rows as conv_trials prints them -> markdown tables and totals per network. Returns the process's exit code. */
int trial_tables(FILE *rows);

#endif
