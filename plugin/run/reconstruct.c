/* See reconstruct.h. Which layers are touched: those whose inputs lost a channel, or are no longer exactly the unpruned network's.
 * Letters of a layer: n filters, d values of a patch; whole: the unpruned network. */
#include "reconstruct.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/progress.h"
#include "reconstruct_samples.h"
#include "reconstruct_walk.h"

static const char NO_ERROR[] = "its input is that of the unpruned network", NOT_STORED[] = "its weights are not in both files", TOO_LARGE[] = "its moments do not fit the memory";
static const double RELATIVE_GAMMA = 0.01;   /* of a layer's root mean square: scales far below cannot make up for anything */

struct job {
    const struct prune_host *host;
    const struct prune_reconstruct_input *in;
    struct prune_reconstruct_options o;
    struct prune_cfg cfg;                /* of the pruned network */
    struct prune_net net;
    struct prune_weights weights[PRUNE_SIDES];
    bool open[PRUNE_SIDES], read;
    struct prune_walk walk;
    uint8_t *exact;                      /* [layer of the pruned net] gives what the unpruned network gives, on the channels that are left */
    struct prune_progress progress;
};

/* The layer at hand. */
struct fit {
    struct job *job;
    int at[PRUNE_SIDES], source[PRUNE_SIDES], stream[PRUNE_SIDES];     /* layers; stream -1: none */
    const struct prune_layer *whole, *layer;
    const struct prune_layer_plan *plan;
    struct prune_samples samples;
    struct prune_moments moments;
    size_t *groups;                      /* (groups) of the original layer */
    float *filters, *w;                  /* targets' filters (n, whole d); the layer's own (n, d) */
    double *constant;                    /* (n) */
    struct prune_solution solution;
};

static int old_layer(const struct prune_reconstruct_input *in, int layer) { return in->old_of ? in->old_of[layer] : layer; }

static bool has_sums(const struct prune_layer *l) { return l->kind == PRUNE_CONVOLUTIONAL || l->kind == PRUNE_CONNECTED; }

/* Sources of a layer are those of the original and exact. */
static bool exact_sources(const struct job *j, int layer)
{
    const struct prune_layer *l = &j->net.layers[layer], *old = &j->in->whole->layers[old_layer(j->in, layer)];
    if (l->source_count != old->source_count) return false;
    for (size_t k = 0; k < l->source_count; k++) {
        int s = l->sources[k];
        if (s < 0 ? old->sources[k] >= 0 : old_layer(j->in, s) != old->sources[k] || !j->exact[s]) return false;
    }
    return true;
}

static size_t input_channels(const struct prune_net *net, const struct prune_layer *l, size_t area)
{
    int s = l->sources[0];
    if (l->kind != PRUNE_CONNECTED) return (size_t)l->c;
    return (size_t)(s < 0 ? net->inputs : net->layers[s].outputs) / (area ? area : 1);
}

static const float *tensor(const struct job *j, int side, int layer, enum prune_role role, size_t count)
{
    const struct prune_weights_tensor *t = prune_layout_find(&j->weights[side].layout, layer, role);
    return t && t->count == count ? prune_weights_data(&j->weights[side], t) : NULL;
}

static size_t weight_count(const struct prune_layer *l)
{
    if (l->kind == PRUNE_CONNECTED) return (size_t)l->inputs * (size_t)l->outputs;
    return (size_t)l->out_c * (size_t)(l->c / l->groups) * (size_t)l->size * (size_t)l->size;
}

/* Filters row by row, whatever the order of the file. rows: which of the filters; count of them. */
static float *read_filters(const struct job *j, int side, int layer, const int *rows, size_t count, struct prune_status *st)
{
    const struct prune_net *net = side == PRUNE_ORIGINAL ? j->in->whole : &j->net;
    const struct prune_layer *l = &net->layers[layer];
    const float *from = tensor(j, side, layer, PRUNE_WEIGHTS, weight_count(l));
    size_t n = (size_t)l->out_c, d = weight_count(l) / n;
    bool turned = l->flipped || (l->kind == PRUNE_CONNECTED && j->weights[side].header.transposed);
    float *out = malloc(count * d * sizeof *out + 1);
    if (!out) {
        prune_fail_memory(st, count * d * sizeof *out, "filters");
        return NULL;
    }
    for (size_t f = 0; f < count; f++) {
        size_t row = rows ? (size_t)rows[f] : f;
        for (size_t i = 0; i < d; i++) out[f * d + i] = turned ? from[i * n + row] : from[row * d + i];
    }
    return out;
}

static struct prune_patches patches_of(const struct prune_layer *l)
{
    if (l->kind == PRUNE_CONNECTED) return (struct prune_patches){1, 1, (size_t)l->inputs, 1, 1, 0, 1, 1};
    return (struct prune_patches){(size_t)l->w, (size_t)l->h, (size_t)l->c, (size_t)l->size, (size_t)l->stride, (size_t)l->pad, (size_t)l->out_w, (size_t)l->out_h};
}

/* The stream that a [shortcut] right behind adds the layer's sums to: its layer in both networks. false: there is none that can be made up for. */
static bool find_stream(const struct job *j, struct fit *f)
{
    const struct prune_net *whole = j->in->whole, *nets[PRUNE_SIDES] = {whole, &j->net};
    for (int side = 0; side < PRUNE_SIDES; side++) {
        const struct prune_layer *l = &nets[side]->layers[f->at[side]], *next = l + 1;
        if ((size_t)f->at[side] + 1 >= nets[side]->layer_count || next->kind != PRUNE_SHORTCUT || next->source_count != 2 || next->weights_type != PRUNE_WEIGHTS_NONE)
            return false;
        if (l->kind != PRUNE_CONVOLUTIONAL || l->activation != PRUNE_LINEAR || next->sources[0] != f->at[side] || next->sources[1] < 0) return false;
        const struct prune_layer *stream = &nets[side]->layers[next->sources[1]];
        if (stream->out_w != l->out_w || stream->out_h != l->out_h) return false;
        f->stream[side] = next->sources[1];
    }
    if (old_layer(j->in, f->at[PRUNE_PRUNED] + 1) != f->at[PRUNE_ORIGINAL] + 1) return false;
    return !(j->exact[f->stream[PRUNE_PRUNED]] && old_layer(j->in, f->stream[PRUNE_PRUNED]) == f->stream[PRUNE_ORIGINAL]);
}

/* What one unit of the filter's sum is worth in the stream, in the unpruned network: scale / sigma, with [shortcut] alpha. */
static double *worths(const struct job *j, const struct fit *f, double *beta, struct prune_status *st)
{
    size_t n = (size_t)f->whole->out_c;
    int at = f->at[PRUNE_ORIGINAL];
    const struct prune_cfg *cfg = j->in->whole->cfg;
    const struct prune_section *section = &cfg->sections[f->whole[1].section];
    double alpha = 1, *worth = malloc(n * sizeof *worth);
    if (!worth) {
        prune_fail_memory(st, n * sizeof *worth, "scales");
        return NULL;
    }
    const float *scales = tensor(j, PRUNE_ORIGINAL, at, PRUNE_SCALES, n), *variance = tensor(j, PRUNE_ORIGINAL, at, PRUNE_VARIANCE, n);
    if (prune_cfg_float(cfg, section, "alpha", 1, &alpha, st) || prune_cfg_float(cfg, section, "beta", 1, beta, st)) {
        free(worth);
        return NULL;
    }
    for (size_t c = 0; c < n; c++) worth[c] = alpha * (f->whole->batch_normalize && scales && variance ? (double)scales[c] / (sqrt((double)variance[c]) + 1e-6) : 1);
    return worth;
}

static int position(const struct prune_layer_plan *p, int channel)
{
    for (size_t i = 0; i < p->out_count; i++)
        if (p->out_keep[i] == channel) return (int)i;
    return -1;
}

/* Factors and channels of the surviving filters. A filter whose scale is near zero would need huge weights: worth / (worth^2 + small^2) in place of 1 / worth. */
static enum prune_code plan_stream(const struct job *j, struct fit *f, struct prune_status *st)
{
    struct prune_stream_error *e = &f->samples.stream;
    size_t n = f->plan->out_count, common = (size_t)f->whole->out_c;
    const struct prune_layer *stream = &j->in->whole->layers[f->stream[PRUNE_ORIGINAL]];
    const struct prune_layer_plan *kept = &j->in->plan->layers[f->stream[PRUNE_PRUNED]];
    double beta = 1, small = 0, *worth = worths(j, f, &beta, st);
    if (!worth) return PRUNE_FAILED;
    if ((size_t)stream->out_c < common) common = (size_t)stream->out_c;
    for (int c = 0; c < f->whole->out_c; c++) small += worth[c] * worth[c] / f->whole->out_c;
    small *= RELATIVE_GAMMA * RELATIVE_GAMMA;
    e->factor = calloc(n + 1, sizeof *e->factor);
    for (int side = 0; side < PRUNE_SIDES; side++) e->channel[side] = malloc((n + 1) * sizeof **e->channel);
    bool memory = e->factor && e->channel[0] && e->channel[1];
    for (size_t i = 0; memory && i < n; i++) {
        int c = f->plan->out_keep[i], there = (size_t)c < common ? position(kept, c) : -1;
        e->channel[PRUNE_ORIGINAL][i] = there < 0 ? -1 : c;
        e->channel[PRUNE_PRUNED][i] = there;
        e->factor[i] = worth[c] != 0 ? beta * worth[c] / (worth[c] * worth[c] + small) : 0;
    }
    free(worth);
    return memory ? PRUNE_OK : prune_fail_memory(st, n * sizeof *e->factor, "stream");
}

static void fit_close(struct fit *f)
{
    prune_samples_close(&f->samples);
    prune_moments_close(&f->moments);
    free(f->samples.stream.factor);
    free(f->samples.stream.channel[0]);
    free(f->samples.stream.channel[1]);
    free(f->groups);
    free(f->filters);
    free(f->w);
    free(f->constant);
}

static enum prune_code fit_open(struct fit *f, struct prune_status *st)
{
    struct job *j = f->job;
    const struct prune_layer *l = f->layer, *whole = f->whole;
    size_t groups = l->kind == PRUNE_CONVOLUTIONAL ? (size_t)l->groups : 1, old_groups = whole->kind == PRUNE_CONVOLUTIONAL ? (size_t)whole->groups : 1;
    struct prune_samples *s = &f->samples;
    *s = (struct prune_samples){.seed = j->o.seed, .layer = f->at[PRUNE_PRUNED], .groups = groups, .n = f->plan->out_count / groups,
                                .original = patches_of(whole), .pruned = patches_of(l)};
    s->original_d = s->original.c * s->original.size * s->original.size / old_groups;
    s->pruned_d = s->pruned.c * s->pruned.size * s->pruned.size / groups;
    s->places = prune_sample_places(s->original.out_w * s->original.out_h, j->o.samples);
    enum prune_code rc = find_stream(j, f) ? plan_stream(j, f, st) : PRUNE_OK;
    if (rc) return rc;
    f->groups = malloc((groups + 1) * sizeof *f->groups);
    f->constant = malloc((f->plan->out_count + 1) * sizeof *f->constant);
    f->filters = read_filters(j, PRUNE_ORIGINAL, f->at[PRUNE_ORIGINAL], f->plan->out_keep, f->plan->out_count, st);
    f->w = f->filters ? read_filters(j, PRUNE_PRUNED, f->at[PRUNE_PRUNED], NULL, f->plan->out_count, st) : NULL;
    if (!f->filters || !f->w) return PRUNE_FAILED;
    if (!f->groups || !f->constant) return prune_fail_memory(st, groups * sizeof *f->groups, "groups");
    for (size_t g = 0; g < groups; g++) f->groups[g] = (size_t)f->plan->out_keep[g * s->n] / ((size_t)whole->out_c / old_groups);
    s->original_group = f->groups;
    s->filters = f->filters;
    rc = prune_samples_open(s, st);
    return rc ? rc : prune_moments_open(&f->moments, groups, s->n, s->pruned_d, st);
}

static enum prune_code take(void *user, size_t first, size_t images, struct prune_status *st)
{
    struct fit *f = user;
    struct job *j = f->job;
    const struct prune_net *nets[PRUNE_SIDES] = {j->in->whole, &j->net};
    struct prune_sample_batch b = {.first = first, .images = images};
    for (int side = 0; side < PRUNE_SIDES; side++) {
        enum prune_code rc = prune_walk_output(&j->walk, side, f->source[side], first, &b.input[side], st);
        if (!rc && f->samples.stream.factor) rc = prune_walk_output(&j->walk, side, f->stream[side], first, &b.stream[side], st);
        if (rc) return rc;
        b.values[side] = (size_t)(f->source[side] < 0 ? nets[side]->inputs : nets[side]->layers[f->source[side]].outputs);
        if (b.stream[side]) b.stream_values[side] = (size_t)nets[side]->layers[f->stream[side]].outputs;
    }
    prune_samples_add(&f->samples, &b, &f->moments);
    return PRUNE_OK;
}

/* The constants go into the means that batch-norm takes off, or into the biases. */
static enum prune_code put_constants(struct fit *f, struct prune_status *st)
{
    struct job *j = f->job;
    int at = f->at[PRUNE_PRUNED];
    size_t n = f->plan->out_count;
    enum prune_role role = f->layer->batch_normalize ? PRUNE_MEAN : PRUNE_BIASES;
    const float *old = tensor(j, PRUNE_PRUNED, at, role, n);
    float *values = malloc((n + 1) * sizeof *values);
    if (!values) return prune_fail_memory(st, n * sizeof *values, "constants");
    for (size_t i = 0; i < n; i++) values[i] = (float)((double)old[i] + (role == PRUNE_MEAN ? -1 : 1) * f->constant[i]);
    enum prune_code rc = j->host->parameters_set(j->walk.sides[PRUNE_PRUNED].net, at, (int)role, values, n, st);
    free(values);
    return rc;
}

static enum prune_code solve(struct fit *f, struct prune_status *st)
{
    struct job *j = f->job;
    enum prune_code rc = fit_open(f, st);
    if (!rc) rc = prune_walk_sweep(&j->walk, f->at, take, f, st);
    if (!rc) {
        rc = prune_moments_solve(&f->moments, j->o.ridge, f->w, f->constant, &f->solution, st);
        if (rc) return prune_explain(st, "layer %d of '%s': ", f->at[PRUNE_PRUNED], j->in->pruned_cfg);
    }
    if (!rc) rc = j->host->parameters_set(j->walk.sides[PRUNE_PRUNED].net, f->at[PRUNE_PRUNED], PRUNE_WEIGHTS, f->w, weight_count(f->layer), st);
    return rc ? rc : put_constants(f, st);
}

/* Why a layer with sums is left alone, or NULL. */
static const char *left_alone(const struct job *j, const struct fit *f, bool exact)
{
    size_t n = f->plan->out_count, whole = (size_t)f->whole->out_c, groups = (size_t)f->layer->groups;
    if (exact) return NO_ERROR;
    for (int side = 0; side < PRUNE_SIDES; side++) {
        const struct prune_layer *l = side == PRUNE_ORIGINAL ? f->whole : f->layer;
        size_t filters = side == PRUNE_ORIGINAL ? whole : n;
        if (l->share >= 0 || (l->flipped && l->groups > 1) || !tensor(j, side, f->at[side], PRUNE_WEIGHTS, weight_count(l))) return NOT_STORED;
        if (!tensor(j, side, f->at[side], l->batch_normalize ? PRUNE_MEAN : PRUNE_BIASES, filters)) return NOT_STORED;
    }
    size_t d = weight_count(f->layer) / n;
    return prune_moments_bytes(groups ? groups : 1, n / (groups ? groups : 1), d) > j->o.memory ? TOO_LARGE : NULL;
}

static enum prune_code visit(struct job *j, int layer, struct prune_reconstruct_row *row, struct prune_status *st)
{
    int old = old_layer(j->in, layer);
    struct fit f = {.job = j, .at = {old, layer}, .stream = {-1, -1}, .whole = &j->in->whole->layers[old], .layer = &j->net.layers[layer], .plan = &j->in->plan->layers[layer]};
    size_t area = f.plan->in_area;
    f.source[PRUNE_ORIGINAL] = f.whole->sources[0];
    f.source[PRUNE_PRUNED] = f.layer->sources[0];
    *row = (struct prune_reconstruct_row){.layer = layer, .inputs = f.plan->in_count, .inputs_before = input_channels(j->in->whole, f.whole, area),
                                          .filters = f.plan->out_count, .filters_before = (size_t)f.whole->out_c};
    bool exact = !j->in->trained && exact_sources(j, layer) && row->inputs == row->inputs_before;
    row->left = left_alone(j, &f, exact);
    j->exact[layer] = exact;
    if (row->left) return PRUNE_OK;
    enum prune_code rc = solve(&f, st);
    row->stream = f.samples.stream.factor != NULL;
    row->before = f.solution.before;
    row->after = f.solution.after;
    row->ridge = f.solution.ridge;
    fit_close(&f);
    return rc;
}

/* A layer without sums of its own passes exactness on, unless it mixes channels of which some are gone. */
static bool passes_exact(const struct job *j, int layer)
{
    const struct prune_layer *l = &j->net.layers[layer];
    const struct prune_layer_plan *p = &j->in->plan->layers[layer];
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    if (!exact_sources(j, layer)) return false;
    return rule != PRUNE_CH_PRODUCE || (!j->in->trained && l->source_count && p->in_count == (size_t)l->c);
}

static enum prune_code walk_layers(struct job *j, struct prune_reconstruct_result *r, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    prune_progress_start(&j->progress, stderr, "reconstruct", j->net.layer_count);
    for (size_t i = 0; !rc && i < j->net.layer_count; i++) {
        if (j->host->interrupted && j->host->interrupted(j->host->context)) {
            rc = prune_fail(st, "interrupted; '%s' is as it was", j->in->pruned_weights);
            st->code = rc = PRUNE_INTERRUPTED;
        } else if (has_sums(&j->net.layers[i])) {
            struct prune_reconstruct_row *row = &r->rows[r->count++];
            rc = visit(j, (int)i, row, st);
            if (!rc && !row->left) r->solved++;
        } else {
            j->exact[i] = passes_exact(j, (int)i);
        }
        if (!rc) prune_progress_update(&j->progress, i + 1, "%zu layers reconstructed", r->solved);
    }
    prune_progress_end(&j->progress);
    return rc;
}

static enum prune_code job_open(struct job *j, struct prune_reconstruct_result *r, struct prune_status *st)
{
    const struct prune_reconstruct_input *in = j->in;
    enum prune_code rc = prune_net_read(&j->cfg, &j->net, in->pruned_cfg, st);
    if (rc) return rc;
    j->read = true;
    if (j->net.layer_count != in->net->layer_count || in->plan->layer_count != in->net->layer_count)
        return prune_fail(st, "'%s' has %zu layers where the plan has %zu", in->pruned_cfg, j->net.layer_count, in->plan->layer_count);
    const char *paths[PRUNE_SIDES] = {in->weights, in->pruned_weights};
    for (int side = 0; side < PRUNE_SIDES; side++) {
        rc = prune_weights_open(&j->weights[side], paths[side], side == PRUNE_ORIGINAL ? in->whole : &j->net, st);
        if (rc) return rc;
        j->open[side] = true;
    }
    j->exact = calloc(j->net.layer_count + 1, 1);
    r->rows = calloc(j->net.layer_count + 1, sizeof *r->rows);
    if (!j->exact || !r->rows) return prune_fail_memory(st, j->net.layer_count * sizeof *r->rows, "report");
    struct prune_walk_input walk = {.cfg = {in->cfg, in->pruned_cfg}, .weights = {in->weights, in->pruned_weights}, .shape = {in->whole, &j->net}, .memory = j->o.memory,
                                    .images = {.data_path = j->o.data, .role = PRUNE_DATA_TRAIN, .limit = j->o.images, .drawn = true, .letterbox = j->o.letterbox},
                                    .open = {.threads = j->o.threads, .seed = j->o.seed, .quiet = true}};
    return prune_walk_open(&j->walk, j->host, &walk, st);
}

static void job_close(struct job *j)
{
    prune_walk_close(&j->walk);
    for (int side = 0; side < PRUNE_SIDES; side++)
        if (j->open[side]) prune_weights_close(&j->weights[side]);
    free(j->exact);
    if (!j->read) return;
    prune_net_free(&j->net);
    prune_cfg_free(&j->cfg);
}

static enum prune_code finish(struct job *j, struct prune_status *st)
{
    struct prune_host_net *net = j->walk.sides[PRUNE_PRUNED].net;
    struct prune_image_set set = {.data_path = j->o.data, .role = PRUNE_DATA_TRAIN, .letterbox = j->o.letterbox};
    enum prune_code rc = j->o.recalibrate ? j->host->recalibrate(net, &set, j->o.recalibrate, st) : PRUNE_OK;
    return rc ? rc : j->host->save_weights(net, j->o.save ? j->o.save : j->in->pruned_weights, st);
}

enum prune_code prune_reconstruct(const struct prune_host *host, const struct prune_reconstruct_input *in, const struct prune_reconstruct_options *o,
                                  struct prune_reconstruct_result *result, struct prune_status *st)
{
    struct job j = {.host = host, .in = in, .o = *o};
    double started = prune_now();
    *result = (struct prune_reconstruct_result){0};
    if (!j.o.images) j.o.images = 2000;
    if (!(j.o.samples > 0)) j.o.samples = 0.25;
    if (isnan(j.o.ridge)) j.o.ridge = 1e-3;
    if (!(j.o.memory > 0)) j.o.memory = 2147483648.0;
    enum prune_code rc = prune_host_check(host, PRUNE_CAN_EDIT, st);
    if (!rc) rc = job_open(&j, result, st);
    if (!rc) rc = walk_layers(&j, result, st);
    if (!rc) rc = finish(&j, st);
    result->images = j.walk.count;
    job_close(&j);
    result->seconds = prune_now() - started;
    if (rc) prune_reconstruct_free(result);
    return rc;
}

void prune_reconstruct_free(struct prune_reconstruct_result *r)
{
    free(r->rows);
    *r = (struct prune_reconstruct_result){0};
}
