/* cfg text -> layers of the reference interpreter, and its runs; see interpreter.h. */
#include "kinds.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../plugin/base/file_io.h"
#include "weights.h"

void *ref_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (p) return p;
    fprintf(stderr, "out of memory: %zu * %zu bytes\n", count, size);
    exit(1);
}

void ref_fail(struct ref_net *net, const struct ref_layer *l, const char *format, ...)
{
    char text[512];
    va_list args;
    if (net->code) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    net->code = prune_fail(net->st, "reference interpreter: %s:%d: layer %d: %s", net->cfg.path, l->line, l->index, text);
}

/* ---- options ---- */

int ref_int(struct ref_net *net, const struct ref_layer *l, const char *key, int fallback)
{
    int value = fallback;
    if (!net->code) net->code = prune_cfg_int(&net->cfg, l->section, key, fallback, &value, net->st);
    return value;
}

double ref_number(struct ref_net *net, const struct ref_layer *l, const char *key, double fallback)
{
    double value = fallback;
    if (!net->code) net->code = prune_cfg_float(&net->cfg, l->section, key, fallback, &value, net->st);
    return value;
}

bool ref_has(const struct ref_layer *l, const char *key)
{
    return prune_cfg_find(l->section, key) != NULL;
}

int ref_layer_number(struct ref_net *net, const struct ref_layer *l, int number)
{
    int at = number < 0 ? l->index + number : number;
    if (at >= 0 && at < l->index) return at;
    ref_fail(net, l, "%d is no layer before this one", number);
    return 0;
}

void ref_set_sources(struct ref_net *net, struct ref_layer *l, const char *key, bool previous_first)
{
    int *list = NULL, first = previous_first ? 1 : 0;
    size_t count = 0;
    if (!net->code) net->code = prune_cfg_int_list(&net->cfg, l->section, key, &list, &count, net->st);
    if (!count) ref_fail(net, l, "no %s=", key);
    free(l->sources);
    l->sources = ref_alloc(count + 1, sizeof *l->sources);
    l->sources[0] = l->index - 1;
    l->source_count = (int)count + first;
    for (size_t i = 0; i < count; i++) l->sources[i + (size_t)first] = ref_layer_number(net, l, list[i]);
    free(list);
}

void ref_set_output(struct ref_layer *l, int w, int h, int c)
{
    l->out_w = w;
    l->out_h = h;
    l->out_c = c;
}

const double *ref_input(const struct ref_net *net, const struct ref_layer *l, int source)
{
    int at = l->sources[source];
    return at < 0 ? net->input : net->layers[at].output;
}

size_t ref_source_outputs(const struct ref_net *net, int source)
{
    return source < 0 ? net->inputs : net->layers[source].outputs;
}

/* ---- building ---- */

static const struct ref_kind *find_kind(const char *name)
{
    const struct ref_kind *const tables[] = {ref_producers, ref_planes, ref_joins, ref_recurrents};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct ref_kind *k = tables[t]; k->name; k++)
            if (!strcmp(k->name, name) || (k->alias && !strcmp(k->alias, name))) return k;
    return NULL;
}

static bool is_net(const char *name)
{
    return !strcmp(name, "net") || !strcmp(name, "network");
}

/* Keys that only AlexeyAB's line knows. Outside of [route] a value that means nothing (stride_x = stride) says nothing: both Darknets build the same. */
static bool has_their_keys(struct ref_net *net, const struct ref_layer *l)
{
    static const struct { const char *key; int neutral; } keys[] = {{"antialiasing", 0}, {"maxpool_depth", 0}, {"cbn", 0}};
    int stride = ref_int(net, l, "stride", 1);
    if (!strcmp(l->kind->name, "route")) return ref_has(l, "groups") || ref_has(l, "group_id");
    if (!strcmp(l->kind->name, "crnn")) return ref_crnn_is_theirs(l);
    if (!strcmp(l->kind->name, "shortcut"))
        return ref_has(l, "layers") || strchr(prune_cfg_string(l->section, "from", ""), ',') || strcmp(prune_cfg_string(l->section, "weights_type", "none"), "none");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (ref_int(net, l, keys[i].key, keys[i].neutral) != keys[i].neutral) return true;
    if (ref_int(net, l, "size", 1) > 1 && ref_int(net, l, "dilation", 1) > 1) return true;
    return ref_has(l, "share_index") || ref_int(net, l, "stride_x", stride) != stride || ref_int(net, l, "stride_y", stride) != stride;
}

static void find_dialect(struct ref_net *net)
{
    for (int i = 0; i < net->count; i++) {
        const struct ref_layer *l = &net->layers[i];
        if (l->kind->alexeyab || has_their_keys(net, l)) net->alexeyab = true;
        if (ref_has(l, "activation") && ref_activation_of(net, l, "activation", "linear")->alexeyab) net->alexeyab = true;
    }
}

static void read_size(struct ref_net *net, const struct prune_section *s)
{
    struct ref_layer l = {.section = s, .line = s->line, .index = -1};
    int inputs = ref_int(net, &l, "inputs", 0);
    net->w = ref_int(net, &l, "width", 0);
    net->h = ref_int(net, &l, "height", 0);
    net->c = ref_int(net, &l, "channels", 0);
    if (net->w < 1 || net->h < 1 || net->c < 1) {
        net->w = net->h = 1;
        net->c = inputs;
    }
    net->inputs = (size_t)net->w * (size_t)net->h * (size_t)net->c;
    if (!net->inputs) ref_fail(net, &l, "no input size");
}

static void list_layers(struct ref_net *net)
{
    net->layers = ref_alloc(net->cfg.section_count, sizeof *net->layers);
    for (size_t i = 0; i < net->cfg.section_count && !net->code; i++) {
        const struct prune_section *s = &net->cfg.sections[i];
        if (is_net(s->name)) read_size(net, s);
        if (is_net(s->name) || !strcmp(s->name, "gate")) continue;
        struct ref_layer *l = &net->layers[net->count];
        *l = (struct ref_layer){.kind = find_kind(s->name), .section = s, .line = s->line, .index = net->count, .share = -1, .stored = true, .groups = 1};
        if (!l->kind) ref_fail(net, l, "unknown section '%s'", s->name);
        net->count++;
    }
}

static void free_parts(struct ref_layer *l)
{
    for (int p = 0; p < l->part_count; p++)
        for (int role = 0; role < REF_ROLES && !l->parts[p].borrowed; role++) free(l->parts[p].values[role]);
    free(l->parts);
    l->parts = NULL;
    l->part_count = 0;
}

void ref_shape(struct ref_net *net)
{
    for (int i = 0; i < net->count && !net->code; i++) {
        struct ref_layer *l = &net->layers[i], *before = i ? &net->layers[i - 1] : NULL;
        free_parts(l);
        free(l->sources);
        l->w = before ? before->out_w : net->w;
        l->h = before ? before->out_h : net->h;
        l->c = before ? before->out_c : net->c;
        l->inputs = before ? before->outputs : net->inputs;
        l->sources = ref_alloc(1, sizeof *l->sources);
        l->sources[0] = i - 1;
        l->source_count = 1;
        l->stored = !ref_int(net, l, "dontload", 0);
        ref_set_output(l, l->w, l->h, l->c);
        l->kind->shape(net, l);
        if (l->out_w < 1 || l->out_h < 1 || l->out_c < 1) ref_fail(net, l, "the output is %d x %d x %d", l->out_w, l->out_h, l->out_c);
        l->outputs = (size_t)l->out_w * (size_t)l->out_h * (size_t)l->out_c;
    }
}

enum prune_code ref_load(struct ref_net *net, const char *path, const char *cfg, size_t cfg_size, const void *weights, size_t size, struct prune_status *st)
{
    memset(net, 0, sizeof *net);
    net->st = st;
    net->code = prune_cfg_parse(&net->cfg, path, cfg, cfg_size, st);
    if (net->code) return net->code;
    list_layers(net);
    if (!net->code) find_dialect(net);
    if (!net->code) ref_read_weights(net, weights, size);
    enum prune_code code = net->code;
    if (code) ref_free(net);
    return code;
}

enum prune_code ref_load_files(struct ref_net *net, const char *cfg_path, const char *weights_path, struct prune_status *st)
{
    char *cfg = NULL, *weights = NULL;
    size_t cfg_size = 0, size = 0;
    enum prune_code code = prune_read_file(cfg_path, &cfg, &cfg_size, st);
    if (!code && weights_path) code = prune_read_file(weights_path, &weights, &size, st);
    if (!code) code = ref_load(net, cfg_path, cfg, cfg_size, weights, size, st);
    free(cfg);
    free(weights);
    return code;
}

void ref_free(struct ref_net *net)
{
    for (int i = 0; i < net->count; i++) {
        free_parts(&net->layers[i]);
        free(net->layers[i].sources);
        free(net->layers[i].output);
    }
    free(net->layers);
    prune_cfg_free(&net->cfg);
    memset(net, 0, sizeof *net);
}

/* ---- running ---- */

void ref_run(struct ref_net *net, const double *input, const struct ref_gates *gates)
{
    net->input = input;
    net->gates = gates;
    for (int i = 0; i < net->count; i++) {
        struct ref_layer *l = &net->layers[i];
        bool known = l->kind->run != NULL;
        for (int k = 0; k < l->source_count; k++)
            if (!ref_input(net, l, k)) known = false;
        if (!known) continue;
        if (!l->output) l->output = ref_alloc(l->outputs, sizeof *l->output);
        l->kind->run(net, l);
        if (gates && gates->after) ref_gate(l->output, gates->after[i], l->out_c, (size_t)l->out_w * (size_t)l->out_h);
    }
    net->input = NULL;
    net->gates = NULL;
}

/* ---- comparing ---- */

int *ref_ends(const struct ref_net *net, int *count)
{
    bool *is_end = ref_alloc((size_t)net->count, sizeof *is_end);
    int *ends = ref_alloc((size_t)net->count, sizeof *ends);
    for (int i = 0; i < net->count; i++) is_end[i] = true;
    for (int i = 0; i < net->count; i++)
        for (int k = 0; k < net->layers[i].source_count; k++)
            if (net->layers[i].sources[k] >= 0 && net->layers[i].kind->run) is_end[net->layers[i].sources[k]] = false;
    for (int i = 0; i < net->count; i++)
        for (int k = 0; k < net->layers[i].source_count; k++)
            if (net->layers[i].sources[k] >= 0 && !net->layers[i].kind->run) is_end[net->layers[i].sources[k]] = true;
    *count = 0;
    for (int i = 0; i < net->count; i++)
        if (is_end[i] && net->layers[i].kind->run) ends[(*count)++] = i;
    free(is_end);
    return ends;
}

/* max|a-b| / max|a| of one layer */
static double layer_difference(const struct ref_layer *a, const struct ref_layer *b)
{
    double top = 0, gap = 0;
    if (!a->output || !b->output || a->out_c != b->out_c || a->out_w != b->out_w || a->out_h != b->out_h) return INFINITY;
    for (size_t i = 0; i < a->outputs; i++) {
        if (!isfinite(a->output[i]) || !isfinite(b->output[i])) return INFINITY;
        top = fmax(top, fabs(a->output[i]));
        gap = fmax(gap, fabs(a->output[i] - b->output[i]));
    }
    return gap > 0 ? gap / top : 0;
}

double ref_difference(const struct ref_net *a, const struct ref_net *b, int *at)
{
    int count = 0, count_b = 0, *ends = ref_ends(a, &count), *ends_b = ref_ends(b, &count_b);
    double worst = count == count_b && count ? 0 : INFINITY;
    for (int i = 0; i < count && count == count_b; i++) {
        double gap = layer_difference(&a->layers[ends[i]], &b->layers[ends_b[i]]);
        if (!(gap > worst)) continue;
        worst = gap;
        if (at) *at = ends[i];
    }
    free(ends);
    free(ends_b);
    return worst;
}

double *ref_random_image(const struct ref_net *net, uint64_t seed, uint64_t ordinal)
{
    struct prune_random r = prune_random_make(seed, 77, ordinal);
    double *image = ref_alloc(net->inputs, sizeof *image);
    for (size_t i = 0; i < net->inputs; i++) image[i] = (double)(float)prune_random_uniform(&r);
    return image;
}
