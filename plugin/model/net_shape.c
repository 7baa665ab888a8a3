/* Network shape: the walk over a cfg's sections; see net_shape.h. Checks [net], the keys and numbers of every section,
 * binds [gate] sections, and hands each layer to its shape function (shapes.h). One pass, linear in the file's size.
 * Refuses with "cannot use 'file:line': cause; remedy" whatever would crash the host or make it go silently wrong. */
#include "../base/nearest.h"
#include "shapes.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum prune_code shape_fail(const struct shape_builder *b, const char *key, const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const struct prune_option *o = key ? prune_cfg_find(b->section, key) : NULL;
    return prune_fail(b->st, "cannot use '%s:%d': %s", b->cfg->path, o ? o->line : b->section->line, text);
}

enum prune_code shape_int(const struct shape_builder *b, const char *key, int fallback, int lo, int hi, int *out)
{
    int value = 0;
    enum prune_code code = prune_cfg_int(b->cfg, b->section, key, fallback, &value, b->st);
    if (code) return code;
    if (value < lo) return shape_fail(b, key, "%s is %d; use %d or more", key, value, lo);
    if (value > hi) return shape_fail(b, key, "%s is %d; use %d or less", key, value, hi);
    *out = value;
    return PRUNE_OK;
}

enum prune_code shape_float_list(const struct shape_builder *b, const char *key, size_t *count)
{
    const struct prune_option *o = prune_cfg_find(b->section, key);
    size_t n = 0;
    enum prune_code code = o ? prune_cfg_check_list(b->cfg, o, b->st) : PRUNE_OK;
    if (code) return code;
    for (const char *at = o ? o->value : NULL; at; n++) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !isfinite(value) || value <= 0)
            return shape_fail(b, key, "number %zu of %s is '%.20s', not a positive number; write numbers with commas between", n + 1, key, at);
        at = *end ? end + 1 : NULL;
    }
    *count = n;
    return PRUNE_OK;
}

enum prune_code shape_output(const struct shape_builder *b, struct prune_layer *l, int64_t w, int64_t h, int64_t c)
{
    int64_t outputs, batch = b->net->batch / b->net->subdivisions, all;
    if (__builtin_mul_overflow(batch, (int64_t)b->net->time_steps, &batch) || __builtin_mul_overflow(w, h, &outputs) || __builtin_mul_overflow(outputs, c, &outputs) ||
        __builtin_mul_overflow(outputs, batch, &all) || all > INT_MAX)
        return shape_fail(b, NULL, "the output of %lld x %lld x %lld for %lld images is beyond the %d numbers Darknet can count; use a smaller network, a smaller batch or more subdivisions",
                          (long long)w, (long long)h, (long long)c, (long long)batch, INT_MAX);
    l->out_w = (int)w; /* each factor is at least 1, so none exceeds the product */
    l->out_h = (int)h;
    l->out_c = (int)c;
    l->outputs = (int)outputs;
    return PRUNE_OK;
}

enum prune_code shape_dialect(struct shape_builder *b, const struct prune_option *o, int dialects)
{
    static const char theirs[] = "AlexeyAB's and hank-ai's Darknet", own[] = "pjreddie's";
    struct prune_net *net = b->net;
    if (dialects == PRUNE_EVERY_DARKNET) return PRUNE_OK;
    bool foreign = !(dialects & PRUNE_PJREDDIE);
    int *line = foreign ? &net->foreign_line : &b->own_line, here = o ? o->line : b->section->line;
    if (!*line || here < *line) { /* within a section, keys are not met in the order of their lines */
        char *text = foreign ? net->foreign : b->own;
        *line = here;
        if (o) snprintf(text, sizeof b->own, "%.30s=%.30s", o->key, o->value);
        else snprintf(text, sizeof b->own, "[%.60s]", b->section->name);
    }
    net->dialects &= dialects;
    if (net->dialects) return PRUNE_OK;
    return prune_fail(b->st, "cannot use '%s:%d': only %s knows %s, and only %s knows %s in line %d; no Darknet can load both, remove one", b->cfg->path, foreign ? net->foreign_line : b->own_line,
                      foreign ? theirs : own, foreign ? net->foreign : b->own, foreign ? own : theirs, foreign ? b->own : net->foreign, foreign ? b->own_line : net->foreign_line);
}

static enum prune_code check_number(const struct shape_builder *b, const struct prune_option *o)
{
    char *end;
    double value = strtod(o->value, &end);
    if (end != o->value && !*end && isfinite(value)) return PRUNE_OK;
    return prune_fail(b->st, "cannot use '%s:%d': %.40s is '%.60s', not a finite number", b->cfg->path, o->line, o->key, o->value);
}

static enum prune_code unknown_key(const struct shape_builder *b, const struct prune_option *o, const struct prune_kind_info *kind)
{
    const char *names[64];
    size_t count = 0;
    for (const struct prune_key *key = kind->keys; key->name && count < sizeof names / sizeof *names; key++) names[count++] = key->name;
    const char *near = prune_nearest(o->key, names, count);
    return prune_fail(b->st, "cannot use '%s:%d': unknown key '%.40s' in [%s], it could touch channels; correct or remove it%s%s%s", b->cfg->path, o->line, o->key, kind->name,
                      near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* Every key of a section is one its kind knows, and every number is a number. A key given twice: the first counts. */
static enum prune_code check_keys(struct shape_builder *b, const struct prune_kind_info *kind)
{
    for (size_t i = 0; i < b->section->option_count; i++) {
        const struct prune_option *o = &b->section->options[i];
        const struct prune_key *key = kind->keys;
        while (key->name && strcmp(key->name, o->key)) key++;
        if (!key->name && !kind->any_key && !(kind->is_layer && prune_key_is_common(o->key))) return unknown_key(b, o, kind);
        enum prune_code code = prune_key_is_number(o->key) ? check_number(b, o) : PRUNE_OK;
        if (!code && key->name && !prune_key_is_neutral(key, o->value)) code = shape_dialect(b, o, key->dialects);
        if (code) return code;
    }
    return PRUNE_OK;
}

static enum prune_code check_policy(struct shape_builder *b)
{
    static const char *const names[] = {"constant", "exp", "poly", "random", "sgdr", "sigmoid", "step", "steps"};
    const char *policy = prune_cfg_string(b->section, "policy", "constant");
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) known |= !strcmp(names[i], policy);
    if (!known) return shape_fail(b, "policy", "unknown policy '%.40s'; Darknet knows constant, exp, poly, random, sgdr, sigmoid, step and steps", policy);
    if (!strcmp(policy, "step")) {
        int step = 0;
        return shape_int(b, "step", 1, 1, INT_MAX, &step);
    }
    if (!strcmp(policy, "sgdr")) return shape_dialect(b, prune_cfg_find(b->section, "policy"), PRUNE_ALEXEYAB);
    if (strcmp(policy, "steps")) return PRUNE_OK;
    if (!prune_cfg_find(b->section, "steps") || !prune_cfg_find(b->section, "scales"))
        return shape_fail(b, "policy", "policy=steps without %s=; give both steps= and scales=", prune_cfg_find(b->section, "steps") ? "scales" : "steps");
    int *steps = NULL;
    size_t count = 0, scales = 0;
    enum prune_code code = prune_cfg_int_list(b->cfg, b->section, "steps", &steps, &count, b->st);
    free(steps);
    if (!code) code = shape_float_list(b, "scales", &scales);
    if (!code && count != scales) code = shape_fail(b, "scales", "%zu steps and %zu scales; give as many of each", count, scales);
    return code;
}

static enum prune_code read_input(struct shape_builder *b)
{
    struct prune_net *net = b->net;
    const char *const keys[] = {"height", "width", "channels"};
    int *const sizes[] = {&net->h, &net->w, &net->c};
    int given = 0, inputs = 0;
    enum prune_code code = PRUNE_OK;
    for (int i = 0; i < 3; i++) given += prune_cfg_find(b->section, keys[i]) != NULL;
    if (!given && !prune_cfg_find(b->section, "inputs")) return shape_fail(b, NULL, "[net] has no size of its input; give height=, width= and channels= (or inputs=)");
    code = shape_int(b, "inputs", 0, prune_cfg_find(b->section, "inputs") ? 1 : 0, INT_MAX, &inputs);
    for (int i = 0; i < 3 && given && !code; i++) code = shape_int(b, keys[i], 0, 1, INT_MAX, sizes[i]);
    if (code) return code;
    if (!given) {
        net->w = net->h = 1;
        net->c = inputs;
    }
    struct prune_layer input = {0};
    code = shape_output(b, &input, net->w, net->h, net->c);
    if (code) return code;
    if (inputs && inputs != input.outputs) return shape_fail(b, "inputs", "inputs=%d, but width * height * channels is %d; remove inputs=", inputs, input.outputs);
    net->inputs = input.outputs;
    b->input_is_map = given != 0;
    return PRUNE_OK;
}

static enum prune_code read_net(struct shape_builder *b)
{
    struct prune_net *net = b->net;
    const struct prune_cfg *cfg = b->cfg;
    if (!cfg->section_count) return prune_fail(b->st, "cannot use '%s': it holds no section; a cfg starts with [net]", cfg->path);
    b->section = &cfg->sections[0];
    const struct prune_kind_info *kind = prune_kind_by_name(b->section->name);
    if (kind->kind != PRUNE_NET) return shape_fail(b, NULL, "the first section is [%.40s]; a cfg starts with [net]", b->section->name);
    int adam = 0, ignored = 0;
    net->subdivisions = net->time_steps = 1; /* for messages until they are read */
    enum prune_code code = check_keys(b, kind);
    if (!code) code = shape_int(b, "batch", 1, 1, INT_MAX, &net->batch);
    if (!code) code = shape_int(b, "subdivisions", 1, 1, INT_MAX, &net->subdivisions);
    if (!code) code = shape_int(b, "time_steps", 1, 1, INT_MAX, &net->time_steps);
    if (!code) code = shape_int(b, "adam", 0, INT_MIN, INT_MAX, &adam);
    if (!code) code = shape_int(b, "max_crop", 1, 1, INT_MAX, &ignored);
    if (!code) code = shape_int(b, "min_crop", 1, 1, INT_MAX, &ignored);
    if (code) return code;
    if (net->subdivisions > net->batch)
        return shape_fail(b, "subdivisions", "subdivisions=%d is more than batch=%d, which leaves no image per pass; use at most the batch", net->subdivisions, net->batch);
    net->adam = adam != 0;
    code = check_policy(b);
    return code ? code : read_input(b);
}

/* A [gate] binds to the section right before it. */
static enum prune_code bind_gate(struct shape_builder *b, size_t section)
{
    struct prune_layer *last = b->net->layer_count ? &b->net->layers[b->net->layer_count - 1] : NULL;
    enum prune_code code = check_keys(b, prune_kind_info(PRUNE_GATE));
    if (code) return code;
    if (last && last->section + 1 == section && (last->kind == PRUNE_CONVOLUTIONAL || last->kind == PRUNE_CONNECTED || last->kind == PRUNE_BATCHNORM)) {
        last->gate_section = (int)section;
        return PRUNE_OK;
    }
    return shape_fail(b, NULL, "[gate] stands behind [%.40s]; put it right behind a convolutional, connected or batchnorm section", b->cfg->sections[section - 1].name);
}

static enum prune_code read_common(const struct shape_builder *b, struct prune_layer *l)
{
    const char *const keys[] = {"dontload", "dontsave", "dontloadscales"};
    bool *const flags[] = {&l->dontload, &l->dontsave, &l->dontloadscales};
    enum prune_code code = shape_int(b, "numload", 0, 0, INT_MAX, &l->numload);
    for (int i = 0; i < 3 && !code; i++) {
        int value = 0;
        code = shape_int(b, keys[i], 0, INT_MIN, INT_MAX, &value);
        *flags[i] = value != 0;
    }
    return code;
}

/* Input side of the layer: what the layer before gives. */
static enum prune_code connect_input(struct shape_builder *b, struct prune_layer *l)
{
    const struct prune_net *net = b->net;
    l->sources = malloc(sizeof *l->sources);
    if (!l->sources) return prune_fail_memory(b->st, sizeof *l->sources, "a layer");
    l->sources[0] = l->index - 1;
    l->source_count = 1;
    if (!l->index) {
        l->w = net->w;
        l->h = net->h;
        l->c = net->c;
        l->inputs = net->inputs;
        return PRUNE_OK;
    }
    const struct prune_layer *before = &net->layers[l->index - 1];
    b->input_is_map = b->is_map[l->index - 1] != 0;
    l->w = before->out_w;
    l->h = before->out_h;
    l->c = before->out_c;
    l->inputs = before->outputs;
    return PRUNE_OK;
}

static enum prune_code add_layer(struct shape_builder *b, size_t section, const struct prune_kind_info *kind)
{
    struct prune_net *net = b->net;
    struct prune_layer *l = &net->layers[net->layer_count++];
    l->index = (int)net->layer_count - 1;
    l->section = section;
    l->line = b->section->line;
    l->kind = kind->kind;
    l->groups = 1;
    l->stride = l->dilation = 1;
    l->share = l->refers_to = -1;
    l->activation = PRUNE_LINEAR;
    l->gate_section = -1;
    enum prune_code code = connect_input(b, l);
    if (!code) code = shape_dialect(b, NULL, kind->dialects);
    if (!code) code = check_keys(b, kind);
    if (!code) code = read_common(b, l);
    if (!code) code = shape_layer(b, l);
    if (code) return code;
    if (!l->stride_x) l->stride_x = l->stride_y = l->stride;
    if (!l->sharp_w) {
        l->sharp_w = l->out_w;
        l->sharp_h = l->out_h;
    }
    b->is_map[l->index] = b->output_is_map;
    return PRUNE_OK;
}

static enum prune_code unknown_section(struct shape_builder *b, const char *name)
{
    const char *names[PRUNE_KIND_COUNT];
    for (int k = 0; k < PRUNE_KIND_COUNT; k++) names[k] = prune_kind_info((enum prune_kind)k)->name;
    const char *near = prune_nearest(name, names + 1, PRUNE_KIND_COUNT - 1);   /* row 0 is the unknown kind */
    return shape_fail(b, NULL, "unknown section [%.40s]; %s[%s]%s", name, near ? "did you mean " : "names are written as in ", near ? near : "convolutional", near ? "?" : "");
}

static enum prune_code add_section(struct shape_builder *b, size_t section)
{
    b->section = &b->cfg->sections[section];
    const char *name = b->section->name;
    const struct prune_kind_info *kind = prune_kind_by_name(name);
    if (kind->kind == PRUNE_GATE) return bind_gate(b, section);
    if (kind->kind == PRUNE_NET) return shape_fail(b, NULL, "a second [%.40s] section; only the first section is one", name);
    if (kind->is_layer) return add_layer(b, section, kind);
    if (prune_section_is_unreadable(name)) return shape_fail(b, NULL, "no Darknet reads [%.40s] in a cfg, though some know the word; remove the section", name);
    return unknown_section(b, name);
}

/* What the network is for: its last detector head decides, else what it ends in. */
static void find_task(struct prune_net *net)
{
    bool recurrent = false;
    const struct prune_layer *head = NULL, *last = &net->layers[net->layer_count - 1];
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_layer *l = &net->layers[i];
        if (l->kind == PRUNE_YOLO || l->kind == PRUNE_GAUSSIAN_YOLO || l->kind == PRUNE_REGION || l->kind == PRUNE_DETECTION) head = l;
        recurrent |= l->kind == PRUNE_RNN || l->kind == PRUNE_LSTM || l->kind == PRUNE_GRU || l->kind == PRUNE_CRNN || l->kind == PRUNE_CONV_LSTM;
    }
    if (head) net->task = PRUNE_TASK_DETECTOR;
    else if (!recurrent && last->w == 1 && last->h == 1 && (last->kind == PRUNE_SOFTMAX || last->kind == PRUNE_COST)) net->task = PRUNE_TASK_CLASSIFIER;
    if (head) net->classes = head->classes;
    else if (net->task == PRUNE_TASK_CLASSIFIER) net->classes = last->inputs;
}

/* Where the Darknets store different things, a cfg that only AlexeyAB's line can load counts as there; any other as pjreddie's. */
static enum prune_code add_up(struct shape_builder *b)
{
    struct prune_net *net = b->net;
    for (size_t i = 0; i < net->layer_count; i++) {
        struct prune_layer *l = &net->layers[i];
        enum prune_code code = PRUNE_OK;
        b->section = &b->cfg->sections[l->section];
        if (!(net->dialects & PRUNE_PJREDDIE)) {
            if (l->kind == PRUNE_BATCHNORM) l->parameters = 2 * (uint64_t)l->c;
            if (l->kind == PRUNE_RNN) code = shape_count_parts(b, l, net->dialects);
        }
        if (code) return code;
        if (b->too_much_work || __builtin_add_overflow(net->macs, l->macs, &net->macs) || __builtin_add_overflow(net->parameters, l->parameters, &net->parameters))
            return shape_fail(b, NULL, "the work of this network does not fit 64 bits; make it smaller");
    }
    return PRUNE_OK;
}

static enum prune_code read_layers(struct shape_builder *b)
{
    struct prune_net *net = b->net;
    size_t room = b->cfg->section_count;
    net->layers = calloc(room, sizeof *net->layers);
    b->is_map = calloc(room, 1);
    if (!net->layers || !b->is_map) return prune_fail_memory(b->st, room * sizeof *net->layers, "the layers of a network");
    bool result = false; /* the host returns the last layer that is no [cost] */
    for (size_t i = 1; i < room; i++) {
        enum prune_code code = add_section(b, i);
        if (code) return code;
        result |= net->layer_count && net->layers[net->layer_count - 1].kind != PRUNE_COST;
    }
    if (!result) return prune_fail(b->st, "cannot use '%s': it holds no layer%s; add one", b->cfg->path, net->layer_count ? " but [cost]" : " behind [net]");
    find_task(net);
    return add_up(b);
}

enum prune_code prune_net_build(struct prune_net *out, const struct prune_cfg *cfg, struct prune_status *st)
{
    struct prune_net net = {.cfg = cfg, .dialects = PRUNE_EVERY_DARKNET};
    struct shape_builder b = {.net = &net, .cfg = cfg, .st = st};
    enum prune_code code = read_net(&b);
    if (!code) code = read_layers(&b);
    free(b.is_map);
    if (code) {
        prune_net_free(&net);
        return code;
    }
    *out = net;
    return PRUNE_OK;
}

void prune_net_free(struct prune_net *net)
{
    for (size_t i = 0; i < net->layer_count; i++) free(net->layers[i].sources);
    free(net->layers);
    memset(net, 0, sizeof *net);
}

enum prune_code prune_net_read(struct prune_cfg *cfg, struct prune_net *net, const char *path, struct prune_status *st)
{
    enum prune_code code = prune_cfg_read(cfg, path, st);
    if (code) return code;
    code = prune_net_build(net, cfg, st);
    if (code) prune_cfg_free(cfg);
    return code;
}

double prune_bflops(uint64_t macs)
{
    return 2 * (double)macs / 1e9;
}
