/* Shapes and the state of K-FAC factors; see kfac.h and kfac_private.h. The state always holds means: a pass over b images turns a mean of weight w into one of
 * weight w + b, and the first pass of a minibatch takes the decay off w before. With minibatches of equal size that is the exponential average divided by its
 * total weight; a smaller last one counts by its images. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "../base/background.h"
#include "../base/parallel.h"
#include "families.h"
#include "kfac_private.h"

static const size_t DEFAULT_MEMORY = (size_t)2 << 30;
static const double DEFAULT_DECAY = 0.95;

bool prune_kfac_shape(const struct prune_net *net, int layer, struct prune_kfac_shape *out)
{
    const struct prune_layer *l = &net->layers[layer];
    if ((l->kind != PRUNE_CONVOLUTIONAL && l->kind != PRUNE_CONNECTED) || l->dontsave || l->dontload || l->share >= 0 || l->antialiasing) return false;
    bool conv = l->kind == PRUNE_CONVOLUTIONAL;
    size_t groups = conv && l->groups > 1 ? (size_t)l->groups : 1, size = conv ? (size_t)l->size : 1;
    size_t inputs = conv ? (size_t)l->c / groups * size * size : (size_t)l->inputs, outputs = conv ? (size_t)l->out_c : (size_t)l->outputs;
    *out = (struct prune_kfac_shape){.layer = layer, .groups = groups, .n = outputs / groups, .d = inputs + !l->batch_normalize, .bias = !l->batch_normalize};
    return true;
}

/* ---- the state ---- */

struct kfac_entry *prune_kfac_entries(const struct kfac_state *k) { return (struct kfac_entry *)(uintptr_t)(k + 1); }
double *prune_kfac_scores(const struct kfac_state *k) { return (double *)(prune_kfac_entries(k) + k->count); }
float *prune_kfac_floats(const struct kfac_state *k) { return (float *)(prune_kfac_scores(k) + KFAC_FORMS * k->filters); }

struct prune_kfac_shape prune_kfac_entry_shape(const struct kfac_place *p)
{
    return (struct prune_kfac_shape){.layer = (int)p->layer, .groups = p->groups, .n = p->n, .d = p->d, .bias = p->bias != 0};
}

void prune_kfac_trouble(struct kfac_state *k, const char *message)
{
    if (!k->trouble[0]) snprintf(k->trouble, sizeof k->trouble, "%.*s", (int)sizeof k->trouble - 1, message);
}

/* Layers in order fill a share until the next would not fit; one that is too large by itself has a share of its own. entries NULL: only count. */
static struct kfac_state plan(const struct prune_score_input *in, struct kfac_entry *entries)
{
    struct kfac_state k = {0};
    uint64_t most = (in->kfac.memory ? in->kfac.memory : DEFAULT_MEMORY) / sizeof(float), used = 0;
    size_t layers = in->net ? in->net->layer_count : 0;
    for (size_t i = 0; i < layers; i++) {
        struct prune_kfac_shape shape;
        if (!prune_kfac_shape(in->net, (int)i, &shape)) continue;
        uint64_t a = (uint64_t)shape.groups * shape.d * shape.d, s = (uint64_t)shape.groups * shape.n * shape.n;
        if (used && used + a + s > most) {
            used = 0;
            k.shares++;
        }
        if (entries) entries[k.count].place = (struct kfac_place){(int64_t)i, shape.groups, shape.n, shape.d, shape.bias, k.shares, used, used + a, k.filters};
        used += a + s;
        if (used > k.floats) k.floats = used;
        k.filters += shape.groups * shape.n;
        k.count++;
    }
    k.shares++;
    return k;
}

static size_t state_bytes(const struct kfac_state *k)
{
    return sizeof *k + k->count * sizeof(struct kfac_entry) + KFAC_FORMS * k->filters * sizeof(double) + k->floats * sizeof(float);
}

size_t prune_kfac_state_size(const struct prune_score_input *in)
{
    struct kfac_state k = plan(in, NULL);
    return state_bytes(&k);
}

void prune_kfac_init(void *state, const struct prune_score_input *in)
{
    struct kfac_state *k = state, plain = plan(in, NULL);
    memset(state, 0, state_bytes(&plain));
    *k = plain;
    plan(in, prune_kfac_entries(k));
}

bool prune_kfac_state_ok(const void *state, const void *fresh)
{
    const struct kfac_state *k = state, *f = fresh;
    if (k->count != f->count || k->shares != f->shares || k->floats != f->floats || k->filters != f->filters) return false;
    if (k->share >= k->shares) return false;
    for (size_t i = 0; i < k->count; i++)
        if (memcmp(&prune_kfac_entries(k)[i].place, &prune_kfac_entries(f)[i].place, sizeof(struct kfac_place)) != 0) return false;
    return true;
}

static struct kfac_entry *entry_of(const struct kfac_state *k, int layer)
{
    struct kfac_entry *e = prune_kfac_entries(k);
    for (size_t i = 0; i < k->count; i++)
        if (e[i].place.layer == layer && e[i].place.share == k->share) return &e[i];
    return NULL;
}

bool prune_kfac_factors(const void *state, const struct prune_score_input *in, int layer, struct prune_kfac_factors *out)
{
    (void)in;
    const struct kfac_state *k = state;
    const struct kfac_entry *e = entry_of(k, layer);
    if (!e) return false;
    const float *floats = prune_kfac_floats(k);
    *out = (struct prune_kfac_factors){prune_kfac_entry_shape(&e->place), floats + e->place.a, floats + e->place.s, (double)e->images};
    return true;
}

/* ---- passes ---- */

size_t prune_kfac_passes(const struct prune_score_input *in) { return (size_t)plan(in, NULL).shares; }

void prune_kfac_wanted(const struct prune_score_input *in, size_t pass, uint8_t *layers)
{
    size_t count = (size_t)plan(in, NULL).count;
    struct kfac_entry *entries = calloc(count + 1, sizeof *entries);
    memset(layers, entries == NULL, in->net->layer_count);   /* more than needed is no harm */
    if (!entries) return;
    plan(in, entries);
    for (size_t i = 0; i < count; i++) layers[entries[i].place.layer] = entries[i].place.share == pass;
    free(entries);
}

static bool next_share(struct kfac_state *k, const struct prune_score_input *in, uint64_t share)
{
    struct prune_status st = {0};
    prune_background_drain(in->background);
    if (share != k->share + 1 || share >= k->shares) prune_kfac_trouble(k, "the passes of K-FAC factors came out of order, or came twice: a state of several passes cannot go on");
    else if (!k->trouble[0] && prune_kfac_settle(k, in, &st)) prune_kfac_trouble(k, st.message);
    if (k->trouble[0]) return false;
    memset(prune_kfac_floats(k), 0, k->floats * sizeof(float));
    k->share = share;
    return true;
}

/* ---- sums ---- */

struct round { struct kfac_state *k; const struct prune_score_input *in; const struct prune_signals *signals; };

static void add_layer(void *user, size_t i, size_t worker)
{
    (void)worker;
    const struct round *r = user;
    const struct prune_layer_signal *signal = &r->signals->layers[i];
    struct kfac_entry *e = entry_of(r->k, signal->layer);
    if (!e || !prune_kfac_signal_fits(r->in->net, &e->place, signal) || !signal->input.shape[0]) return;
    size_t images = signal->input.shape[0], locations = signal->gradient.shape[2] * signal->gradient.shape[3];
    double decay = r->in->kfac.decay > 0 ? r->in->kfac.decay : DEFAULT_DECAY, before = r->k->within ? e->weight : e->weight * decay, after = before + (double)images;
    float *floats = prune_kfac_floats(r->k);
    const struct kfac_addition add = {r->in, signal, &e->place, floats + e->place.a, floats + e->place.s, e->images,
                                      prune_kfac_samples(&r->in->kfac, &e->place, images, locations), (float)(before / after), (float)(1 / after)};
    if (!prune_kfac_add(&add)) {
        e->lost = 1;
        return;
    }
    e->weight = after;
    e->images += images;
}

void prune_kfac_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    struct kfac_state *k = state;
    if (signals->layer_count && signals->pass != k->share && !next_share(k, in, signals->pass)) return;
    struct round r = {k, in, signals};
    if (signals->layer_count) {
        k->settled = 0;
        prune_parallel(signals->layer_count, add_layer, &r);
        for (size_t i = 0; i < k->count; i++)
            if (prune_kfac_entries(k)[i].lost) prune_kfac_trouble(k, "not enough memory for the statistics of a layer; give a smaller -minibatch");
    }
    k->within = signals->images == 0;
}

static void mix(float *into, const float *from, size_t n, double share)
{
    for (size_t i = 0; i < n; i++) into[i] = (float)((1 - share) * (double)into[i] + share * (double)from[i]);
}

/* Two averages by their weights. */
void prune_kfac_merge(void *state, const void *other, const struct prune_score_input *in)
{
    struct kfac_state *k = state;
    const struct kfac_state *o = other;
    prune_background_drain(in->background);
    if (k->shares > 1) prune_kfac_trouble(k, "states of several passes cannot be merged");
    if (o->trouble[0]) prune_kfac_trouble(k, o->trouble);
    for (size_t i = 0; i < k->count; i++) {
        struct kfac_entry *e = &prune_kfac_entries(k)[i];
        const struct kfac_entry *f = &prune_kfac_entries(o)[i];
        if (!(f->weight > 0)) continue;
        double share = f->weight / (e->weight + f->weight);
        mix(prune_kfac_floats(k) + e->place.a, prune_kfac_floats(o) + e->place.a, e->place.groups * e->place.d * e->place.d, share);
        mix(prune_kfac_floats(k) + e->place.s, prune_kfac_floats(o) + e->place.s, e->place.groups * e->place.n * e->place.n, share);
        e->weight += f->weight;
        e->images += f->images;
    }
    k->settled = 0;
}
