/* Recurrent layers for one time step from a zero state; see kinds.h. All their channels stay in every rewritten network, so what matters is that each stored
 * value and each input takes part; rnn, lstm, gru and pjreddie's crnn follow the host exactly, conv_lstm docs/dialects.md. */
#include "kinds.h"

#include <math.h>
#include <string.h>

/* One part on an input (NULL: zeros), without activation; malloc'd. */
static double *step(const struct ref_net *net, struct ref_layer *l, int part, const double *in, int w, int h)
{
    struct ref_part *p = &l->parts[part];
    size_t area = (size_t)l->out_w * (size_t)l->out_h;
    double *out = ref_alloc((size_t)p->n * area, sizeof *out), *zeros = in ? NULL : ref_alloc((size_t)p->c * (size_t)w * (size_t)h, sizeof *zeros);
    ref_convolve(p, in ? in : zeros, w, h, out, l->out_w, l->out_h);
    ref_finish(net, p, out, area);
    free(zeros);
    return out;
}

static double *activated(const struct ref_activation *f, double *x, int c, size_t area)
{
    ref_activate(f, x, c, area);
    return x;
}

/* x += y; frees y. */
static void add(double *x, double *y, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] += y[i];
    free(y);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- rnn, crnn: input, self, output ---- */

static void shape_rnn(struct ref_net *net, struct ref_layer *l)
{
    int n = ref_int(net, l, "output", 1), hidden = net->their_files ? ref_int(net, l, "hidden", 1) : n;
    bool norm = ref_int(net, l, "batch_normalize", 0) != 0;
    l->activation = ref_activation_of(net, l, "activation", "logistic");
    ref_add_connected(net, l, hidden, (int)l->inputs, norm);
    ref_add_connected(net, l, hidden, hidden, norm);
    ref_add_connected(net, l, n, hidden, norm);
    ref_set_output(l, 1, 1, n);
}

bool ref_crnn_is_theirs(const struct ref_layer *l)
{
    static const char *const keys[] = {"output", "hidden", "size", "stride", "dilation", "pad", "padding", "groups"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (ref_has(l, keys[i])) return true;
    return false;
}

static void shape_crnn(struct ref_net *net, struct ref_layer *l)
{
    bool old = !ref_crnn_is_theirs(l), norm = ref_int(net, l, "batch_normalize", 0) != 0;
    int n = ref_int(net, l, old ? "output_filters" : "output", 1), hidden = ref_int(net, l, old ? "hidden_filters" : "hidden", 1);
    int size = old ? 3 : ref_int(net, l, "size", 3), groups = old ? 1 : ref_int(net, l, "groups", 1);
    int pad = old || ref_int(net, l, "pad", 0) ? size / 2 : ref_int(net, l, "padding", 0);
    l->activation = ref_activation_of(net, l, "activation", "logistic");
    ref_add_convolution(net, l, hidden, l->c, size, groups, norm);
    ref_add_convolution(net, l, hidden, hidden, size, groups, norm);
    ref_add_convolution(net, l, n, hidden, size, groups, norm);
    for (int i = 0; i < 3; i++) {
        l->parts[i].pad = pad;
        l->parts[i].dilation = old || size == 1 ? 1 : ref_int(net, l, "dilation", 1);
    }
    if (2 * pad != size - 1 || (!old && ref_int(net, l, "stride", 1) != 1)) ref_fail(net, l, "the map changes its size");
    ref_set_output(l, l->w, l->h, n);
}

static void run_rnn(const struct ref_net *net, struct ref_layer *l)
{
    size_t area = (size_t)l->out_w * (size_t)l->out_h;
    int w = l->out_w, h = l->out_h, hidden = l->parts[0].n;
    double *state = activated(l->activation, step(net, l, 0, ref_input(net, l, 0), w, h), hidden, area);
    add(state, activated(l->activation, step(net, l, 1, NULL, w, h), hidden, area), (size_t)hidden * area);
    double *out = activated(l->activation, step(net, l, 2, state, w, h), l->out_c, area);
    memcpy(l->output, out, l->outputs * sizeof *out);
    free(state);
    free(out);
}

/* ---- lstm: wi wf wo wg ui uf uo ug; gru: wz wr wh uz ur uh ---- */

static void shape_gates(struct ref_net *net, struct ref_layer *l, int gates)
{
    int n = ref_int(net, l, "output", 1);
    bool norm = ref_int(net, l, "batch_normalize", 0) != 0;
    for (int i = 0; i < gates; i++) ref_add_connected(net, l, n, n, norm);
    for (int i = 0; i < gates; i++) ref_add_connected(net, l, n, (int)l->inputs, norm);
    l->flag = ref_int(net, l, "tanh", 0) != 0;
    ref_set_output(l, 1, 1, n);
}

static void shape_lstm(struct ref_net *net, struct ref_layer *l) { shape_gates(net, l, 4); }
static void shape_gru(struct ref_net *net, struct ref_layer *l) { shape_gates(net, l, 3); }

static void gate_sums(const struct ref_net *net, struct ref_layer *l, int gates, double **sums)
{
    for (int i = 0; i < gates; i++) {
        sums[i] = step(net, l, i, NULL, 1, 1);
        add(sums[i], step(net, l, gates + i, ref_input(net, l, 0), 1, 1), l->outputs);
    }
}

/* c = i g, h = o tanh(c): the forget gate meets a zero state */
static void run_lstm(const struct ref_net *net, struct ref_layer *l)
{
    double *s[4];
    gate_sums(net, l, 4, s);
    for (size_t k = 0; k < l->outputs; k++) l->output[k] = sigmoid(s[2][k]) * tanh(sigmoid(s[0][k]) * tanh(s[3][k]));
    for (int i = 0; i < 4; i++) free(s[i]);
}

/* (1 - z) h: the state is zero, and so is what the reset gate multiplies */
static void run_gru(const struct ref_net *net, struct ref_layer *l)
{
    double *s[3];
    gate_sums(net, l, 3, s);
    for (size_t k = 0; k < l->outputs; k++) l->output[k] = (1 - sigmoid(s[0][k])) * (l->flag ? tanh(s[2][k]) : sigmoid(s[2][k]));
    for (int i = 0; i < 3; i++) free(s[i]);
}

/* ---- conv_lstm: [peephole: vf vi vo] wf [unless bottleneck: wi wg wo] uf ui ug uo ---- */

static void shape_conv_lstm(struct ref_net *net, struct ref_layer *l)
{
    int n = ref_int(net, l, "output", 1), size = ref_int(net, l, "size", 3), stride = ref_int(net, l, "stride", 1), groups = ref_int(net, l, "groups", 1);
    int pad = ref_int(net, l, "pad", 0) ? size / 2 : ref_int(net, l, "padding", 0);
    bool norm = ref_int(net, l, "batch_normalize", 0) != 0;
    l->flag = ref_int(net, l, "peephole", 0) != 0;
    l->flag2 = ref_int(net, l, "bottleneck", 0) != 0;
    l->activation = ref_activation_of(net, l, "activation", "linear");
    int v = l->flag ? 3 : 0, w = l->flag2 ? 1 : 4;
    for (int i = 0; i < v + w; i++) ref_add_convolution(net, l, n, i == v && l->flag2 ? 2 * n : n, size, groups, norm);
    for (int i = 0; i < 4; i++) ref_add_convolution(net, l, n, l->c, size, groups, norm);
    for (int i = 0; i < l->part_count; i++) {
        l->parts[i].pad = pad;
        l->parts[i].dilation = size == 1 ? 1 : ref_int(net, l, "dilation", 1);
        if (i >= v + w) l->parts[i].stride_x = l->parts[i].stride_y = stride;
    }
    if (stride < 1 || l->w + 2 * pad < size) ref_fail(net, l, "stride %d", stride);
    else ref_set_output(l, (l->w + 2 * pad - size) / stride + 1, (l->h + 2 * pad - size) / stride + 1, n);
}

/* Sums of all parts for gates f, i, g, o; h = activation(o tanh(i g + what the forget gate leaves of c = 0)). */
static void run_conv_lstm(const struct ref_net *net, struct ref_layer *l)
{
    int v = l->flag ? 3 : 0, w = l->flag2 ? 1 : 4;
    double *s[4], *rest = ref_alloc(l->outputs, sizeof *rest);
    for (int k = 0; k < 4; k++) s[k] = step(net, l, v + w + k, ref_input(net, l, 0), l->w, l->h);
    for (int k = 0; k < v + w; k++) {
        int gate = k < v ? (k == 2 ? 3 : k) : k - v;
        add(w == 1 && k == v ? rest : s[gate], step(net, l, k, NULL, l->out_w, l->out_h), l->outputs);
    }
    for (size_t i = 0; i < l->outputs; i++)
        l->output[i] = sigmoid(s[3][i] + rest[i]) * tanh(sigmoid(s[1][i] + rest[i]) * tanh(s[2][i] + rest[i]) + 1e-3 * sigmoid(s[0][i] + rest[i]));
    ref_activate(l->activation, l->output, l->out_c, (size_t)l->out_w * (size_t)l->out_h);
    for (int k = 0; k < 4; k++) free(s[k]);
    free(rest);
}

/* ---- history: the last part is the present ---- */

static void shape_history(struct ref_net *net, struct ref_layer *l)
{
    l->size = ref_int(net, l, "history_size", 4);
    ref_set_output(l, l->w, l->h, l->c * l->size);
}

static void run_history(const struct ref_net *net, struct ref_layer *l)
{
    memset(l->output, 0, l->outputs * sizeof *l->output);
    memcpy(l->output + l->outputs - l->inputs, ref_input(net, l, 0), l->inputs * sizeof *l->output);
}

const struct ref_kind ref_recurrents[] = {
    {"rnn", NULL, shape_rnn, run_rnn, false},
    {"crnn", NULL, shape_crnn, run_rnn, false},
    {"lstm", NULL, shape_lstm, run_lstm, false},
    {"gru", NULL, shape_gru, run_gru, false},
    {"conv_lstm", NULL, shape_conv_lstm, run_conv_lstm, true},
    {"history", NULL, shape_history, run_history, true},
    {NULL, NULL, NULL, NULL, false},
};
