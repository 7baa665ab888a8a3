/* Shared by the kernel tests: filled arrays, comparison with a tolerance relative to what was summed, and the stock library's own functions,
 * taken from a second copy of it that our replacements do not reach. */
#ifndef TEST_KERNELS_H
#define TEST_KERNELS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <link.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../darknet/context.h"
#include "../../darknet/kernels/overrides.h"
#include "../../darknet/kernels/pool.h"
#include "../../darknet/kernels/vector.h"

/* Repeatable numbers in -1..1. */
static inline float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.f - 1;
}

static inline void fill_noise(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; ++i) x[i] = noise(&seed);
}

static inline float *noise_array(size_t n, uint32_t seed)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    fill_noise(x, n, seed);
    return x;
}

static inline float *copy_array(const float *x, size_t n)
{
    float *y = malloc((n ? n : 1) * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* max |a - b| / max |b| */
static inline double difference(const float *a, const float *b, size_t n)
{
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < n; ++i) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;   /* NaN counts */
        if (fabs((double)b[i]) > largest) largest = fabs((double)b[i]);
    }
    return worst / largest;
}

#define assert_close(a, b, n, tolerance)                                                                        \
    do {                                                                                                        \
        double d_ = difference(a, b, n);                                                                        \
        if (!(d_ <= (tolerance))) fail_msg("%s differs from %s by %g (%s:%d)", #a, #b, d_, __FILE__, __LINE__); \
    } while (0)

/* The second copy: a copy of the file, opened so that it prefers its own symbols. sanitizers forbid that. */
static inline void *stock_library(void)
{
    static void *library;
    char path[] = "/tmp/stock-darknet-XXXXXX";
    struct link_map *map;
    void *loaded = dlopen("libdarknet.so", RTLD_NOW | RTLD_NOLOAD);
    if (library) return library;
    assert_non_null(loaded);
    assert_int_equal(dlinfo(loaded, RTLD_DI_LINKMAP, &map), 0);
    FILE *in = fopen(map->l_name, "rb"), *out = fdopen(mkstemp(path), "wb");
    assert_true(in && out);
    for (int c; (c = getc(in)) != EOF;) putc(c, out);
    fclose(in);
    assert_int_equal(fclose(out), 0);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!library) fail_msg("%s", dlerror());
    unlink(path);
    return library;
}

static inline void *stock(const char *name)
{
    void *p = dlsym(stock_library(), name);
    assert_non_null(p);
    return p;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_WITHOUT_STOCK() do { print_message("comparison with the stock library skipped under a sanitizer\n"); skip(); } while (0)
#else
#define SKIP_WITHOUT_STOCK() do { } while (0)
#endif

typedef void layer_function(layer, network);
#define STOCK(type, name) ((type *)(uintptr_t)stock(#name))

typedef network *parse_function(char *path);

static inline network *parse_text(parse_function *parser, const char *text)
{
    char path[] = "/tmp/prune-net-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    network *net = parser(path);
    unlink(path);
    return net;
}

/* Not in darknet.h */
layer make_convolutional_layer(int batch, int h, int w, int c, int n, int groups, int size, int stride, int padding, ACTIVATION activation,
                               int batch_normalize, int binary, int xnor, int adam);
layer make_connected_layer(int batch, int inputs, int outputs, ACTIVATION activation, int batch_normalize, int adam);
layer make_maxpool_layer(int batch, int h, int w, int c, int size, int stride, int padding);
layer make_avgpool_layer(int batch, int w, int h, int c);
layer make_shortcut_layer(int batch, int index, int w, int h, int c, int w2, int h2, int c2);
layer make_reorg_layer(int batch, int w, int h, int c, int stride, int reverse, int flatten, int extra);
layer make_normalization_layer(int batch, int w, int h, int c, int size, float alpha, float beta, float kappa);
layer make_upsample_layer(int batch, int w, int h, int c, int stride);
layer make_activation_layer(int batch, int inputs, ACTIVATION activation);
layer make_dropout_layer(int batch, int inputs, float probability);

/* On every instruction set of this machine, with one to three threads. */
static inline void for_every_table(void (*check)(void))
{
    const struct vector_ops *ops;

    for (int k = 0; (ops = vector_ops_at(k)); ++k) {
        vector_ops_force(ops);
        for (int threads = 1; threads <= 3; ++threads) {
            host_context()->threads = threads;
            check();
        }
    }
    vector_ops_force(NULL);
    host_context()->threads = 2;
}

#endif
