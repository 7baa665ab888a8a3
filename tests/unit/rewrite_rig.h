/* For tests of the rewriter: a network whose stored values are counted through, its pruned pair and its masked weights. */
#ifndef PRUNE_TESTS_REWRITE_RIG_H
#define PRUNE_TESTS_REWRITE_RIG_H

#include <unistd.h>

#include "../../plugin/rewrite/rewrite.h"
#include "../../plugin/units/mask_file.h"
#include "net_text.h"
#include "temp_folder.h"

static struct prune_status st;

static inline char *at(const char *name)
{
    static char path[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

struct rig { struct text_net t, small; struct prune_weights in, out, masked; uint8_t *removed; struct prune_plan plan; };

/* gone: pairs layer, channel; ends with -1. */
static inline void rig_open(struct rig *r, const char *text, const int *gone, int32_t major)
{
    memset(r, 0, sizeof *r);
    text_open(&r->t, text);
    write_counting(&r->t.net, at("in.weights"), major);
    r->removed = calloc(r->t.units.count + 1, 1);
    for (; *gone >= 0; gone += 2) r->removed[unit_of(&r->t, gone[0], gone[1])] = 1;
    char *bytes = NULL;
    size_t size;
    if (prune_weights_open(&r->in, at("in.weights"), &r->t.net, &st) || prune_plan_build(&r->plan, &r->t.net, &r->t.units, r->removed, &st) ||
        prune_rewrite_cfg(&r->plan, &r->t.net, &bytes, &size, &st) || prune_rewrite_weights(&r->plan, &r->t.net, &r->in, at("out.weights"), &st) ||
        prune_rewrite_masked(&r->plan, &r->t.net, &r->in, at("masked.weights"), &st))
        fail_msg("%s", st.message);
    text_open(&r->small, bytes);
    free(bytes);
    if (prune_weights_open(&r->out, at("out.weights"), &r->small.net, &st) || prune_weights_open(&r->masked, at("masked.weights"), &r->t.net, &st)) fail_msg("%s", st.message);
    assert_int_equal(r->out.header.seen, r->in.header.seen);
    assert_int_equal(r->out.header.major, major);
}

static inline void rig_close(struct rig *r)
{
    prune_weights_close(&r->in);
    prune_weights_close(&r->out);
    prune_weights_close(&r->masked);
    prune_plan_free(&r->plan);
    text_close(&r->small);
    text_close(&r->t);
    free(r->removed);
}

static inline const float *tensor(const struct prune_weights *w, int layer, enum prune_role role, size_t *count)
{
    const struct prune_weights_tensor *t = prune_layout_find(&w->layout, layer, role);
    assert_non_null(t);
    if (count) *count = t->count;
    return prune_weights_data(w, t);
}

/* Compares a tensor with the values at the given places of the original tensor. */
static inline void expect_places(const struct rig *r, int layer, enum prune_role role, const size_t *places, size_t n)
{
    size_t count;
    const float *a = tensor(&r->in, layer, role, NULL), *b = tensor(&r->out, layer, role, &count);
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++)
        if (b[i] != a[places[i]]) fail_msg("layer %d role %d value %zu is %g, expected %g", layer, (int)role, i, b[i], a[places[i]]);
}

/* Kernel positions of the pairs (row, column) of a matrix of kernels with `columns` columns. */
static inline size_t kernels(size_t *places, const int *rows, size_t row_count, const int *cols, size_t col_count, size_t columns, size_t kernel)
{
    size_t n = 0;
    for (size_t i = 0; i < row_count; i++)
        for (size_t j = 0; j < col_count; j++)
            for (size_t k = 0; k < kernel; k++) places[n++] = ((size_t)rows[i] * columns + (size_t)cols[j]) * kernel + k;
    return n;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

#endif
