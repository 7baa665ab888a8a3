/* What the tests of criteria share: made-up units, states, and a network on disk whose weights are a function of their place. */
#ifndef TESTS_UNIT_CRITERIA_RIG_H
#define TESTS_UNIT_CRITERIA_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../plugin/score/criteria.h"

static struct prune_status st;

static inline void close_to(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-12 * fabs(expected))) fail_msg("%.17g, expected %.17g", value, expected);
}

static inline void *new_state(const struct prune_criterion *c, const struct prune_score_input *in)
{
    size_t bytes = c->state_size(in);
    void *state = malloc(bytes ? bytes : 1);
    assert_non_null(state);
    c->init(state, in);
    return state;
}

/* A network on disk and its weights, value i of the file behind the header = value(i). */
struct fixture { char path[64]; struct prune_cfg cfg; struct prune_net net; struct prune_units units; struct prune_weights weights; struct prune_score_input in; };

static inline void fixture_open(struct fixture *f, const char *cfg, float (*value)(size_t), int major)
{
    memset(f, 0, sizeof *f);
    strcpy(f->path, "/tmp/prune-criteria-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    FILE *out = fdopen(fd, "wb");
    int32_t version[3] = {major, 2, 0};
    uint64_t seen = 0;
    assert_int_equal(prune_cfg_parse(&f->cfg, "test.cfg", cfg, strlen(cfg), &st), PRUNE_OK);
    if (prune_net_build(&f->net, &f->cfg, &st)) fail_msg("%s", st.message);
    if (prune_units_build(&f->units, &f->net, &st)) fail_msg("%s", st.message);
    struct prune_weights_layout layout;
    assert_int_equal(prune_layout_build(&layout, &f->net, &st), PRUNE_OK);
    fwrite(version, sizeof version, 1, out);
    fwrite(&seen, major > 1000 ? 4 : 8, 1, out);   /* old and transposed files count images in 32 bits */
    for (size_t i = 0; i < layout.floats; i++) {
        float x = value(i);
        fwrite(&x, sizeof x, 1, out);
    }
    assert_int_equal(fclose(out), 0);
    prune_layout_free(&layout);
    if (prune_weights_open(&f->weights, f->path, &f->net, &st)) fail_msg("%s", st.message);
    f->in = (struct prune_score_input){.net = &f->net, .units = &f->units, .weights = &f->weights, .norm = 2};
}

static inline void fixture_close(struct fixture *f)
{
    prune_weights_close(&f->weights);
    prune_units_free(&f->units);
    prune_net_free(&f->net);
    prune_cfg_free(&f->cfg);
    unlink(f->path);
}

/* Score of the unit that has this channel. */
static inline double score_at(struct fixture *f, const char *criterion, int norm, int layer, int channel)
{
    const struct prune_criterion *c = prune_criterion_find(criterion);
    double *scores = calloc(f->units.count, sizeof *scores);
    void *s = new_state(c, &f->in);
    f->in.norm = norm;
    if (c->finish(s, &f->in, scores, &st)) fail_msg("%s", st.message);
    int unit = f->units.of_channel[layer][channel];
    assert_true(unit >= 0);
    double score = scores[unit];
    free(s);
    free(scores);
    return score;
}

static inline float counting(size_t i) { return (i % 2 ? -1.0f : 1.0f) * (float)(i + 1); }

#endif
