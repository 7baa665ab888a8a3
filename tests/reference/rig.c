/* See rig.h. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/model/weights_file.h"
#include "kinds.h"

static void expect_same_layer(const struct prune_layer *l, const struct ref_layer *m)
{
    bool same = l->out_w == m->out_w && l->out_h == m->out_h && l->out_c == m->out_c && l->source_count == (size_t)m->source_count;
    for (size_t i = 0; same && i < l->source_count; i++) same = l->sources[i] == m->sources[i];
    if (!same)
        fail_msg("layer %d [%s]: %d x %d x %d from %zu sources in the program, %d x %d x %d from %d in the interpreter, or other sources", l->index, m->kind->name,
                 l->out_w, l->out_h, l->out_c, l->source_count, m->out_w, m->out_h, m->out_c, m->source_count);
}

static void expect_same_reading(struct rig *r, const char *text)
{
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_weights_layout layout;
    if (prune_cfg_parse(&cfg, "test.cfg", text, strlen(text), &r->st) || prune_net_build(&net, &cfg, &r->st) || prune_layout_build(&layout, &net, &r->st))
        fail_msg("%s\n%s", r->st.message, text);
    assert_int_equal(net.layer_count, r->net.count);
    for (size_t i = 0; i < net.layer_count; i++) expect_same_layer(&net.layers[i], &r->net.layers[i]);
    assert_int_equal(layout.floats, rig_stored(r));
    assert_int_equal(!(net.dialects & PRUNE_PJREDDIE), r->net.alexeyab);
    prune_layout_free(&layout);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
}

struct rig *rig_open(const char *text)
{
    struct rig *r = ref_alloc(1, sizeof *r);
    if (ref_load(&r->net, "test.cfg", text, strlen(text), NULL, 0, &r->st)) fail_msg("%s\n%s", r->st.message, text);
    expect_same_reading(r, text);
    r->image = ref_random_image(&r->net, 11, 0);
    for (size_t i = 0; i < r->net.inputs; i++) r->image[i] = 2 * r->image[i] - 1;
    ref_randomize(&r->net, 21, r->image);
    return r;
}

void rig_close(struct rig *r)
{
    ref_free(&r->net);
    free(r->image);
    free(r);
}

void rig_run(struct rig *r)
{
    ref_run(&r->net, r->image, NULL);
}

struct ref_layer *rig_layer(struct rig *r, int layer)
{
    assert_in_range(layer, 0, r->net.count - 1);
    return &r->net.layers[layer];
}

float *rig_values(struct rig *r, int layer, int role, size_t count)
{
    struct ref_layer *l = rig_layer(r, layer);
    assert_int_equal(l->part_count, 1);
    if (!l->parts[0].values[role] || l->parts[0].counts[role] != count)
        fail_msg("layer %d has %zu values of role %d, not %zu", layer, l->parts[0].values[role] ? l->parts[0].counts[role] : 0, role, count);
    return l->parts[0].values[role];
}

double rig_at(struct rig *r, int layer, int c, int y, int x)
{
    const struct ref_layer *l = rig_layer(r, layer);
    assert_true(c >= 0 && c < l->out_c && y >= 0 && y < l->out_h && x >= 0 && x < l->out_w);
    return l->output[(c * l->out_h + y) * l->out_w + x];
}

size_t rig_stored(struct rig *r)
{
    size_t size = 0;
    free(ref_weights_bytes(&r->net, 2, &size));
    return (size - 20) / 4;
}

void rig_copy(struct rig *to, int layer, struct rig *from, int source)
{
    const struct ref_part *p = rig_layer(from, source)->parts;
    assert_string_equal(rig_layer(to, layer)->parts->order, p->order);
    for (int role = 0; role < REF_ROLES; role++)
        if (p->values[role]) memcpy(rig_values(to, layer, role, p->counts[role]), p->values[role], p->counts[role] * sizeof(float));
}

void rig_set_filters(struct rig *r, int layer, const double *kernel, size_t count)
{
    size_t n = (size_t)rig_layer(r, layer)->out_c;
    float *weights = rig_values(r, layer, REF_WEIGHTS, n * count), *biases = rig_values(r, layer, REF_BIASES, n);
    for (size_t i = 0; i < n * count; i++) weights[i] = (float)kernel[i % count];
    memset(biases, 0, n * sizeof *biases);
}

void rig_set_factors(struct rig *r, int layer, const double *factors)
{
    size_t n = (size_t)rig_layer(r, layer)->out_c;
    rig_set_filters(r, layer, (const double[]){0}, 1);
    for (size_t i = 0; i < n; i++) rig_values(r, layer, REF_WEIGHTS, n)[i] = (float)factors[i];
}

void rig_expect_map(struct rig *r, int layer, int w, int h, int c)
{
    const struct ref_layer *l = rig_layer(r, layer);
    if (l->out_w != w || l->out_h != h || l->out_c != c)
        fail_msg("layer %d [%s] gives %d x %d x %d, not %d x %d x %d", layer, l->kind->name, l->out_w, l->out_h, l->out_c, w, h, c);
}

void rig_expect_same(struct rig *a, int layer_a, struct rig *b, int layer_b, double tolerance)
{
    const struct ref_layer *p = rig_layer(a, layer_a), *q = rig_layer(b, layer_b);
    double top = 0, low = INFINITY, gap = 0;
    rig_expect_map(b, layer_b, p->out_w, p->out_h, p->out_c);
    for (size_t i = 0; i < p->outputs; i++) {
        double d = fabs(p->output[i] - q->output[i]);
        top = fmax(top, fabs(p->output[i]));
        low = fmin(low, fabs(p->output[i]));
        if (!(d <= gap)) gap = d;
    }
    assert_true(top > .1 && low < .99 * top);
    if (!(gap <= tolerance * top)) fail_msg("layer %d [%s] differs by %.2g of %.2g from its equivalent", layer_a, p->kind->name, gap, top);
}

void rig_expect_value(double got, double wanted, double tolerance, const char *what, int place)
{
    if (!(fabs(got - wanted) <= tolerance)) fail_msg("%s, place %d: %.12g, and %.12g is right", what, place, got, wanted);
}
