/* What the tests of heads share: repeatable numbers, captured prints, and each image's loss against differences. */
#ifndef TESTS_HOST_HEAD_FIXTURE_H
#define TESTS_HOST_HEAD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../../darknet/context.h"
#include "../../darknet/kernels/head_boxes.h"
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

static inline void assert_quiet(layer l, network net)
{
    char text[64];
    host_context()->quiet = true;
    run_captured(l.forward, l, net, text, sizeof text);
    host_context()->quiet = false;
    assert_string_equal(text, "");
    assert_true(*l.cost > 1);
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

static inline void assert_nan_of_first_image(layer l, network net)
{
    assert_true(isnan(loss_of_image(l, net, 0)));
    assert_true(!isnan(loss_of_image(l, net, 1)));
    assert_true(isnan(*l.cost));
}

/* J^T R J of one image for a random J, R the second derivative of the head's loss with targets held constant: once by differences of delta along J, once
 * from every column of the square root of R. The step is small enough that no target changes, which is asserted. */
static inline void assert_curvature(const struct box_head *h, int image, uint64_t stream)
{
    const layer *l = h->l;
    const int n = l->outputs, first = image * n;
    float *J = malloc((size_t)n * 4 * sizeof *J), *up = J + n, *v = up + n, *before = v + n, *input = h->net->input + first;
    const float *delta = l->delta + first;
    double slope = 0, sum = 0;
    fill_random(J, n, -1, 1, stream);
    memcpy(before, input, (size_t)n * sizeof *before);
    for (int i = 0; i < n; ++i) input[i] = before[i] + 1e-3f * J[i];
    l->forward(*l, *h->net);
    memcpy(up, delta, (size_t)n * sizeof *up);
    for (int i = 0; i < n; ++i) input[i] = before[i] - 1e-3f * J[i];
    l->forward(*l, *h->net);
    for (int i = 0; i < n; ++i) {
        assert_true((up[i] != 0) == (delta[i] != 0));
        slope -= (double)J[i] * ((double)up[i] - (double)delta[i]) / 2e-3;
    }
    memcpy(input, before, (size_t)n * sizeof *before);
    l->forward(*l, *h->net);
    for (int k = 0; k < n; ++k) {
        double along = 0;
        for (int i = 0; i < n; ++i) v[i] = i == k;
        box_head_probe(h, image, 0, v);
        for (int i = 0; i < n; ++i) along += (double)v[i] * (double)J[i];
        sum += along * along;
    }
    free(J);
    if (!(sum > 1) || fabs(sum - slope) > 2e-3 * sum) fail_msg("image %d: J'RJ %.9g from its root, %.9g by differences", image, sum, slope);
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
