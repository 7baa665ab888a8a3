/* Convolution by oneDNN 2 (Debian's libdnnl-dev), formats chosen by the library. Two methods: `trial_onednn` takes and gives plain NCHW activations,
 * with every reorder counted; `trial_onednn_bare` has the activations in oneDNN's own formats already, as if the whole network were kept in them.
 * Weights and their gradients are plain in both. Without the library: absent. */
#include <stdlib.h>
#include <string.h>

#include "conv_trials.h"

#ifdef HAVE_ONEDNN
#include <dnnl.h>
#if DNNL_VERSION_MAJOR != 2
#undef HAVE_ONEDNN
#endif
#endif

#ifndef HAVE_ONEDNN
static void *absent(const struct trial_shape *s, const struct trial_tensors *t)
{
    (void)s;
    (void)t;
    return NULL;
}
const bool trial_onednn_present = false;
const struct trial_method trial_onednn = {"oneDNN", absent, NULL, NULL, NULL, NULL};
const struct trial_method trial_onednn_bare = {"oneDNN, activations kept", absent, NULL, NULL, NULL, NULL};
#else

/* A tensor of a primitive: our plain memory, the primitive's, and the way there or back (NULL where both are the same). */
struct side { dnnl_memory_t plain, inner; dnnl_primitive_t move; };

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t forward, data, weights;
    dnnl_memory_t bias, bias_updates;
    struct side f_x, f_w, f_y, d_dy, d_w, d_dx, w_x, w_dy, w_dw;
    bool bare, same_delta;      /* same_delta: both gradients read the delta in one format */
};

static void ok(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success) return;
    fprintf(stderr, "oneDNN: %s failed (%d)\n", what, (int)status);
    exit(1);
}

static dnnl_memory_t memory(struct onednn *m, const dnnl_memory_desc_t *d, void *handle)
{
    dnnl_memory_t made;
    ok(dnnl_memory_create(&made, d, m->engine, handle), "memory");
    return made;
}

static dnnl_primitive_t reorder(struct onednn *m, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to, bool add)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t post;
    dnnl_primitive_desc_t d;
    dnnl_primitive_t made;

    ok(dnnl_primitive_attr_create(&attr), "attr");
    ok(dnnl_post_ops_create(&post), "post-ops");
    if (add) {
        ok(dnnl_post_ops_append_sum(post, 1), "sum");
        ok(dnnl_primitive_attr_set_post_ops(attr, post), "set post-ops");
    }
    ok(dnnl_reorder_primitive_desc_create(&d, from, m->engine, to, m->engine, attr), "reorder descriptor");
    ok(dnnl_primitive_create(&made, d), "reorder");
    dnnl_primitive_desc_destroy(d);
    dnnl_post_ops_destroy(post);
    dnnl_primitive_attr_destroy(attr);
    return made;
}

static void execute(struct onednn *m, dnnl_primitive_t p, int count, const dnnl_exec_arg_t *args)
{
    ok(dnnl_primitive_execute(p, m->stream, count, args), "execute");
    ok(dnnl_stream_wait(m->stream), "wait");
}

static void move_in(struct onednn *m, const struct side *s)
{
    if (s->move) execute(m, s->move, 2, (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, s->plain}, {DNNL_ARG_TO, s->inner}});
}

static void move_out(struct onednn *m, const struct side *s)
{
    if (s->move) execute(m, s->move, 2, (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, s->inner}, {DNNL_ARG_TO, s->plain}});
}

enum way { IN, OUT, ADD };

/* What is added to must be computed elsewhere first. */
static struct side side(struct onednn *m, dnnl_primitive_desc_t p, dnnl_query_t what, const dnnl_memory_desc_t *plain, float *handle, enum way way)
{
    const dnnl_memory_desc_t *inner = dnnl_primitive_desc_query_md(p, what, 0);
    struct side s = {.plain = memory(m, plain, handle)};

    if (way != ADD && dnnl_memory_desc_equal(inner, plain)) {
        s.inner = s.plain;
        return s;
    }
    s.inner = memory(m, inner, DNNL_MEMORY_ALLOCATE);
    s.move = way == IN ? reorder(m, plain, inner, false) : reorder(m, inner, plain, way == ADD);
    return s;
}

static void drop(struct side *s)
{
    if (s->move) dnnl_primitive_destroy(s->move);
    if (s->inner != s->plain) dnnl_memory_destroy(s->inner);
    dnnl_memory_destroy(s->plain);
}

struct descs { dnnl_memory_desc_t x, w, y, b, any_x, any_w, any_y; };

static void describe(const struct trial_shape *s, struct descs *d)
{
    dnnl_dims_t x = {s->batch, s->c, s->h, s->w}, y = {s->batch, s->n, s->oh, s->ow}, b = {s->n};
    dnnl_dims_t w = {s->n, s->c, s->size, s->size}, gw = {s->groups, s->n / s->groups, s->c / s->groups, s->size, s->size};
    bool grouped = s->groups > 1;

    ok(dnnl_memory_desc_init_by_tag(&d->x, 4, x, dnnl_f32, dnnl_nchw), "x");
    ok(dnnl_memory_desc_init_by_tag(&d->y, 4, y, dnnl_f32, dnnl_nchw), "y");
    ok(dnnl_memory_desc_init_by_tag(&d->b, 1, b, dnnl_f32, dnnl_a), "b");
    ok(dnnl_memory_desc_init_by_tag(&d->w, grouped ? 5 : 4, grouped ? gw : w, dnnl_f32, grouped ? dnnl_goihw : dnnl_oihw), "w");
    ok(dnnl_memory_desc_init_by_tag(&d->any_x, 4, x, dnnl_f32, dnnl_format_tag_any), "any x");
    ok(dnnl_memory_desc_init_by_tag(&d->any_y, 4, y, dnnl_f32, dnnl_format_tag_any), "any y");
    ok(dnnl_memory_desc_init_by_tag(&d->any_w, grouped ? 5 : 4, grouped ? gw : w, dnnl_f32, dnnl_format_tag_any), "any w");
}

static dnnl_primitive_desc_t plan(struct onednn *m, const dnnl_convolution_desc_t *c, dnnl_primitive_desc_t hint, dnnl_primitive_t *made)
{
    dnnl_primitive_desc_t d;
    const char *info = "";

    ok(dnnl_primitive_desc_create(&d, c, NULL, m->engine, hint), "convolution descriptor");
    ok(dnnl_primitive_create(made, d), "convolution");
    dnnl_primitive_desc_query(d, dnnl_query_impl_info_str, 0, &info);
    if (!m->bare) fprintf(stderr, " %s", info);
    return d;
}

static void *open_onednn(const struct trial_shape *s, const struct trial_tensors *t, bool bare)
{
    struct onednn *m = calloc(1, sizeof *m);
    struct descs d;
    dnnl_dims_t strides = {s->stride, s->stride}, pad = {s->pad, s->pad};
    dnnl_convolution_desc_t c;

    if (!m) abort();
    m->bare = bare;
    ok(dnnl_engine_create(&m->engine, dnnl_cpu, 0), "engine");
    ok(dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags), "stream");
    describe(s, &d);
    m->bias = memory(m, &d.b, t->biases);
    m->bias_updates = memory(m, &d.b, DNNL_MEMORY_ALLOCATE);
    ok(dnnl_convolution_forward_desc_init(&c, dnnl_forward_training, dnnl_convolution_auto, &d.any_x, &d.any_w, &d.b, &d.any_y, strides, pad, pad), "forward");
    dnnl_primitive_desc_t f = plan(m, &c, NULL, &m->forward);
    m->f_x = side(m, f, dnnl_query_src_md, &d.x, t->input, IN);
    m->f_w = side(m, f, dnnl_query_weights_md, &d.w, t->weights, IN);
    m->f_y = side(m, f, dnnl_query_dst_md, &d.y, t->output, OUT);
    ok(dnnl_convolution_backward_data_desc_init(&c, dnnl_convolution_direct, &d.any_x, &d.any_w, &d.any_y, strides, pad, pad), "backward data");
    dnnl_primitive_desc_t b = plan(m, &c, f, &m->data);
    m->d_dy = side(m, b, dnnl_query_diff_dst_md, &d.y, t->delta, IN);
    m->d_w = side(m, b, dnnl_query_weights_md, &d.w, t->weights, IN);
    m->d_dx = side(m, b, dnnl_query_diff_src_md, &d.x, t->input_delta, ADD);
    ok(dnnl_convolution_backward_weights_desc_init(&c, dnnl_convolution_direct, &d.any_x, &d.any_w, &d.b, &d.any_y, strides, pad, pad), "backward weights");
    dnnl_primitive_desc_t w = plan(m, &c, f, &m->weights);
    m->same_delta = dnnl_memory_desc_equal(dnnl_primitive_desc_query_md(b, dnnl_query_diff_dst_md, 0), dnnl_primitive_desc_query_md(w, dnnl_query_diff_dst_md, 0));
    m->w_x = side(m, w, dnnl_query_src_md, &d.x, t->input, IN);
    m->w_dy = m->same_delta ? m->d_dy : side(m, w, dnnl_query_diff_dst_md, &d.y, t->delta, IN);
    m->w_dw = side(m, w, dnnl_query_diff_weights_md, &d.w, t->weight_updates, ADD);
    dnnl_primitive_desc_destroy(f);
    dnnl_primitive_desc_destroy(b);
    dnnl_primitive_desc_destroy(w);
    return m;
}

static void *open_counted(const struct trial_shape *s, const struct trial_tensors *t) { return open_onednn(s, t, false); }
static void *open_bare(const struct trial_shape *s, const struct trial_tensors *t) { return open_onednn(s, t, true); }

static void close_onednn(void *method)
{
    struct onednn *m = method;
    struct side *all[] = {&m->f_x, &m->f_w, &m->f_y, &m->d_dy, &m->d_w, &m->d_dx, &m->w_x, &m->w_dw};

    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) drop(all[i]);
    if (!m->same_delta) drop(&m->w_dy);
    dnnl_memory_destroy(m->bias);
    dnnl_memory_destroy(m->bias_updates);
    dnnl_primitive_destroy(m->forward);
    dnnl_primitive_destroy(m->data);
    dnnl_primitive_destroy(m->weights);
    dnnl_stream_destroy(m->stream);
    dnnl_engine_destroy(m->engine);
    free(m);
}

static void before_onednn(void *method)
{
    struct onednn *m = method;

    if (!m->bare) return;
    move_in(m, &m->f_x);
    move_in(m, &m->d_dy);
    move_in(m, &m->w_x);
    move_in(m, &m->w_dy);
}

static void after_onednn(void *method, enum trial_pass pass)
{
    struct onednn *m = method;

    if (m->bare && pass == TRIAL_FORWARD) move_out(m, &m->f_y);
    if (m->bare && pass == TRIAL_BOTH) move_out(m, &m->d_dx);
}

static void run_onednn(void *method, enum trial_pass pass)
{
    struct onednn *m = method;
    bool moves = !m->bare;

    if (pass == TRIAL_FORWARD) {
        if (moves) move_in(m, &m->f_x);
        move_in(m, &m->f_w);
        execute(m, m->forward, 4, (dnnl_exec_arg_t[]){{DNNL_ARG_SRC, m->f_x.inner}, {DNNL_ARG_WEIGHTS, m->f_w.inner}, {DNNL_ARG_BIAS, m->bias},
                                                      {DNNL_ARG_DST, m->f_y.inner}});
        if (moves) move_out(m, &m->f_y);
        return;
    }
    if (pass == TRIAL_BOTH) {
        if (moves) move_in(m, &m->d_dy);
        move_in(m, &m->d_w);
        execute(m, m->data, 3, (dnnl_exec_arg_t[]){{DNNL_ARG_DIFF_DST, m->d_dy.inner}, {DNNL_ARG_WEIGHTS, m->d_w.inner}, {DNNL_ARG_DIFF_SRC, m->d_dx.inner}});
        if (moves) move_out(m, &m->d_dx);
    }
    if (moves) move_in(m, &m->w_x);
    if (moves && (pass == TRIAL_WEIGHTS || !m->same_delta)) move_in(m, &m->w_dy);
    execute(m, m->weights, 4, (dnnl_exec_arg_t[]){{DNNL_ARG_SRC, m->w_x.inner}, {DNNL_ARG_DIFF_DST, m->w_dy.inner}, {DNNL_ARG_DIFF_WEIGHTS, m->w_dw.inner},
                                                  {DNNL_ARG_DIFF_BIAS, m->bias_updates}});
    move_out(m, &m->w_dw);
}

const bool trial_onednn_present = true;
const struct trial_method trial_onednn = {"oneDNN", open_counted, run_onednn, before_onednn, after_onednn, close_onednn};
const struct trial_method trial_onednn_bare = {"oneDNN, activations kept", open_bare, run_onednn, before_onednn, after_onednn, close_onednn};
#endif
