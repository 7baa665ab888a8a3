/* Shapes of recurrent layers: each is a list of parts, connected layers or convolutions in the order of the weights file. */
#include "shapes.h"

#include <limits.h>

static void add_parts(struct shape_parts *p, int count, int64_t in, int64_t out)
{
    for (int i = 0; i < count; i++) p->items[p->count++] = (struct shape_part){in, out};
}

void shape_parts(const struct prune_layer *l, int dialect, struct shape_parts *p)
{
    int64_t n = l->out_c, in = l->inputs, h = l->hidden;
    *p = (struct shape_parts){.kernel = 1, .groups = l->groups};
    if (l->kind == PRUNE_RNN && !(dialect & PRUNE_PJREDDIE)) {
        h = h ? h : 1; /* as Darknet where hidden= is missing */
        add_parts(p, 1, in, h);
        add_parts(p, 1, h, h);
        add_parts(p, 1, h, n);
    } else if (l->kind == PRUNE_RNN) {
        add_parts(p, 1, in, n);
        add_parts(p, 2, n, n);
    } else if (l->kind == PRUNE_LSTM || l->kind == PRUNE_GRU) {
        int gates = l->kind == PRUNE_LSTM ? 4 : 3;
        bool input_first = l->kind == PRUNE_GRU && !(dialect & PRUNE_PJREDDIE);
        add_parts(p, gates, input_first ? in : n, n);
        add_parts(p, gates, input_first ? n : in, n);
    } else if (l->kind == PRUNE_CRNN) {
        add_parts(p, 1, l->c, h);
        add_parts(p, 1, h, h);
        add_parts(p, 1, h, n);
    } else {
        if (l->peephole) add_parts(p, 3, n, n);
        add_parts(p, 1, l->bottleneck ? 2 * n : n, n);
        if (!l->bottleneck) add_parts(p, 3, n, n);
        add_parts(p, 4, l->c, n);
    }
    p->convolutions = l->kind == PRUNE_CRNN || l->kind == PRUNE_CONV_LSTM;
    if (p->convolutions) p->kernel = l->size;
}

enum prune_code shape_count_parts(struct shape_builder *b, struct prune_layer *l, int dialect)
{
    struct shape_parts p;
    uint64_t all = 0, biases = 0;
    shape_parts(l, dialect, &p);
    for (int i = 0; i < p.count; i++) {
        uint64_t weights = 0;
        const struct shape_part *part = &p.items[i];
        if (part->in % p.groups || part->out % p.groups)
            return shape_fail(b, "groups", "groups=%d does not divide the %lld inputs and %lld outputs of part %d; use a divisor of both", p.groups, (long long)part->in, (long long)part->out, i);
        enum prune_code code = shape_count(b, part->out, part->in / p.groups, (int64_t)p.kernel * p.kernel, &weights);
        if (code) return code;
        all += weights;
        biases += (uint64_t)part->out;
    }
    l->parameters = all + biases * (l->batch_normalize ? 2 : 1);
    shape_set_macs(b, l, all, (uint64_t)l->out_w * (uint64_t)l->out_h);
    return PRUNE_OK;
}

static enum prune_code shape_vectors(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_code code = shape_int(b, "output", 1, 1, INT_MAX, &n);
    if (!code) code = shape_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = shape_flat(b, l, n, false);
    return code ? code : shape_count_parts(b, l, PRUNE_PJREDDIE);
}

/* hidden= counts where the weights turn out to be AlexeyAB's: that layout must be countable too. */
enum prune_code shape_rnn(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_read_activation(b, "logistic", l);
    if (!code) code = shape_int(b, "hidden", 0, prune_cfg_find(b->section, "hidden") ? 1 : 0, INT_MAX, &l->hidden);
    if (!code) code = shape_vectors(b, l);
    struct prune_layer theirs = *l;
    return code ? code : shape_count_parts(b, &theirs, PRUNE_ALEXEYAB);
}

enum prune_code shape_lstm(struct shape_builder *b, struct prune_layer *l)
{
    return shape_vectors(b, l);
}

enum prune_code shape_gru(struct shape_builder *b, struct prune_layer *l)
{
    return shape_vectors(b, l);
}

/* Convolutions over a state: their windows must keep the map, for one reads what another wrote. */
static enum prune_code shape_maps(struct shape_builder *b, struct prune_layer *l, int n)
{
    l->stride_x = l->stride_y = l->stride;
    enum prune_code code = shape_dilation(b, l);
    if (!code) code = shape_windows(b, l, 2 * l->pad, n);
    if (code) return code;
    if (l->out_w != l->w || l->out_h != l->h)
        return shape_fail(b, "size", "[%s] turns %d x %d into %d x %d, and its parts read each other's maps; use stride=1 and pad=1 with an odd size", shape_kind_name(l), l->w, l->h, l->out_w, l->out_h);
    return shape_count_parts(b, l, PRUNE_EVERY_DARKNET);
}

/* AlexeyAB's keys, or pjreddie's (3x3, padding 1); check_keys refuses both together. */
enum prune_code shape_crnn(struct shape_builder *b, struct prune_layer *l)
{
    static const char *const keys[] = {"output", "hidden", "size", "stride", "dilation", "pad", "padding", "groups"};
    int n = 0;
    bool theirs = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) theirs |= prune_cfg_find(b->section, keys[i]) != NULL;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, theirs ? "output" : "output_filters", 1, 1, INT_MAX, &n);
    if (!code) code = shape_int(b, theirs ? "hidden" : "hidden_filters", 1, 1, INT_MAX, &l->hidden);
    if (!code) code = shape_read_activation(b, "logistic", l);
    if (!code) code = shape_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = shape_window(b, l, 3);
    if (!code) code = shape_int(b, "groups", 1, 1, INT_MAX, &l->groups);
    if (!theirs) l->pad = 1;
    return code ? code : shape_maps(b, l, n);
}

enum prune_code shape_conv_lstm(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_activation of_state;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "output", 1, 1, INT_MAX, &n);
    if (!code) code = shape_window(b, l, 3);
    if (!code) code = shape_int(b, "groups", 1, 1, INT_MAX, &l->groups);
    if (!code) code = shape_read_activation(b, "linear", l);
    if (!code) code = shape_activation_named(b, "lstm_activation", "tanh", &of_state);
    if (!code) code = shape_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = shape_flag(b, "peephole", &l->peephole);
    if (!code) code = shape_flag(b, "bottleneck", &l->bottleneck);
    return code ? code : shape_maps(b, l, n);
}
