/* What the tests of heads share: repeatable numbers, captured prints, and each image's loss against differences. */
#ifndef TESTS_HOST_HEAD_FIXTURE_H
#define TESTS_HOST_HEAD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../../darknet/context.h"
#include "../../darknet/kernels/stock.h"
#include "../../plugin/base/random.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static inline void fill_random(float *x, int n, double lo, double hi, uint64_t stream)
{
    struct prune_random r = prune_random_make(7, stream, 0);
    for (int i = 0; i < n; ++i) x[i] = (float)prune_random_range(&r, lo, hi);
}

static inline void assert_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.9g is not %.9g", a, b);
}

typedef void layer_function(layer l, network net);

/* Runs f with stdout in a file and returns what it printed, at most size - 1 bytes. */
static inline void run_captured(layer_function *f, layer l, network net, char *text, size_t size)
{
    fflush(stdout);
    FILE *file = tmpfile();
    int kept = dup(STDOUT_FILENO);
    assert_non_null(file);
    assert_true(kept >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    f(l, net);
    fflush(stdout);
    assert_true(dup2(kept, STDOUT_FILENO) >= 0);
    close(kept);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
}

/* A layer's batch is at most this. */
enum { MOST_IMAGES = 8 };

static inline double loss_of_image(layer l, network net, int image)
{
    double loss[MOST_IMAGES] = {0};
    assert_true(l.batch <= MOST_IMAGES);
    host_context()->image_loss = loss;
    l.forward(l, net);
    host_context()->image_loss = NULL;
    return loss[image];
}

/* Several truths per cell: t rows of (x, y, w, h, class), the first box twice and again with the next class. */
static inline void random_truths(float *rows, int t, int classes, struct prune_random *r)
{
    for (int i = 0; i < t; ++i) {
        float *row = rows + 5 * i;
        row[0] = (float)prune_random_range(r, .02, .98);
        row[1] = (float)prune_random_range(r, .02, .98);
        row[2] = (float)prune_random_range(r, .05, .8);
        row[3] = (float)prune_random_range(r, .05, .8);
        row[4] = (float)prune_random_below(r, (uint64_t)classes);
    }
    if (t < 3) return;
    memcpy(rows + 5, rows, 5 * sizeof *rows);
    memcpy(rows + 10, rows, 4 * sizeof *rows);
    rows[14] = (float)(((int)rows[4] + 1) % classes);
}

#endif
