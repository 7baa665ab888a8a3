/* From factors to scores of units: nap, c-obd, kron-obd, c-obs, kron-obs. All four forms of every filter are computed together, once per share of the layers and
 * state (five rows read one state), and kept in the state. A filter whose sums never got a gradient scores 0: its removal changes nothing, whatever the damping. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/parallel.h"
#include "../units/units.h"
#include "families.h"
#include "kfac_private.h"
#include "weights_view.h"

static const uint64_t LARGE = (uint64_t)256 << 20;   /* bytes of a layer's damped factors, above which it is solved alone */

/* ---- one layer ---- */

/* Weights (filters, d without biases) of a layer in file order, whatever the file's; biases NULL where they do not count. malloc'd. */
static float *layer_weights(const struct prune_score_input *in, const struct kfac_place *p, const float **biases)
{
    size_t filters = p->groups * p->n, stored = p->d - p->bias;
    const struct prune_weights_tensor *bias = prune_layout_find(&in->weights->layout, (int)p->layer, PRUNE_BIASES);
    float *out = malloc((filters * stored + 1) * sizeof *out);
    double *row = malloc((stored + 1) * sizeof *row);
    bool found = out && row;
    *biases = p->bias && bias && bias->count == filters ? prune_weights_data(in->weights, bias) : NULL;
    for (size_t i = 0; found && i < filters; i++) {
        const struct prune_weights_tensor *t;
        struct prune_filter_view view;
        found = prune_filter_of(in, (struct prune_channel){(int)p->layer, (int)i}, &t, &view) && prune_filter_size(&view) == stored;
        if (!found) break;
        prune_filter_read(prune_weights_data(in->weights, t), &view, 0, stored, row);
        for (size_t j = 0; j < stored; j++) out[i * stored + j] = (float)row[j];
    }
    free(row);
    if (found) return out;
    free(out);
    return NULL;
}

struct task { const struct kfac_state *k; const struct prune_score_input *in; struct kfac_entry *entry; struct prune_status st; enum prune_code rc; };

static enum prune_code score_group(const struct task *t, const struct prune_kfac_factors *f, size_t group, const float *weights, const float *biases, float *w,
                                   struct prune_status *st)
{
    const struct kfac_place *p = &t->entry->place;
    double lambda = prune_kfac_lambda(t->in);
    struct prune_kfac_damped damped = {0};
    enum prune_code rc = prune_kfac_damp(&damped, f, group, lambda, st);
    if (rc) return rc;
    rc = prune_kfac_factorise(&damped, st);
    if (!rc) prune_kfac_weights(&f->shape, group, weights, biases, w);
    for (int form = 0; !rc && form < KFAC_FORMS; form++) {
        double *out = prune_kfac_scores(t->k) + (size_t)form * t->k->filters + p->filter + group * p->n;
        prune_kfac_filter_scores(&damped, (enum prune_kfac_form)form, w, out);
        for (size_t i = 0; !rc && i < p->n; i++) {
            if (!(f->s[group * p->n * p->n + i * p->n + i] > 0)) out[i] = 0;
            else if (!isfinite(out[i])) rc = prune_fail(st, "K-FAC scores of layer %d are not finite; give a larger -damping", (int)p->layer);
        }
    }
    if (damped.added > t->entry->added) t->entry->added = damped.added;
    prune_kfac_damped_free(&damped);
    return rc;
}

static void score_layer(void *user, size_t item, size_t worker)
{
    (void)worker;
    struct task *t = (struct task *)user + item;
    const struct kfac_place *p = &t->entry->place;
    const struct prune_kfac_factors f = {prune_kfac_entry_shape(p), prune_kfac_floats(t->k) + p->a, prune_kfac_floats(t->k) + p->s, (double)t->entry->images};
    const float *biases;
    float *weights = layer_weights(t->in, p, &biases), *w = malloc((p->n * p->d + 1) * sizeof *w);
    t->entry->added = 0;
    if (!weights || !w) t->rc = prune_fail(&t->st, "cannot read the weights of layer %d from '%s'", (int)p->layer, t->in->weights->path);
    for (size_t g = 0; !t->rc && g < p->groups; g++) t->rc = score_group(t, &f, g, weights, biases, w, &t->st);
    free(weights);
    free(w);
}

/* ---- all layers of the share ---- */

static bool is_large(const struct kfac_place *p) { return 2 * sizeof(double) * (p->d * p->d + p->n * p->n) > LARGE; }

enum prune_code prune_kfac_settle(struct kfac_state *k, const struct prune_score_input *in, struct prune_status *st)
{
    struct kfac_entry *entries = prune_kfac_entries(k);
    size_t large = 0, small = 0;
    if (!in->weights) return prune_fail(st, "scores from K-FAC factors need the weights, and none are given");
    if (k->settled) return PRUNE_OK;
    struct task *tasks = calloc(k->count + 1, sizeof *tasks);
    if (!tasks) return prune_fail_memory(st, k->count * sizeof *tasks, "scores");
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < k->count; i++) {
            bool here = entries[i].place.share == k->share && entries[i].images && is_large(&entries[i].place) == !pass;
            if (here) tasks[large + small] = (struct task){.k = k, .in = in, .entry = &entries[i]}, *(pass ? &small : &large) += 1;
        }
    for (size_t i = 0; i < large; i++) score_layer(tasks, i, 0);
    prune_parallel(small, score_layer, tasks + large);
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < large + small; i++)
        if (tasks[i].rc) rc = prune_fail(st, "%s", tasks[i].st.message);
    free(tasks);
    if (!rc) k->settled = 1;
    return rc;
}

bool prune_kfac_note(const void *state, char *text, size_t room)
{
    const struct kfac_state *k = state;
    size_t count = 0;
    double most = 0;
    for (size_t i = 0; i < k->count; i++) {
        const struct kfac_entry *e = &prune_kfac_entries(k)[i];
        count += e->added > 0;
        most = fmax(most, e->added);
    }
    if (count) snprintf(text, room, "the factors of %zu layers were not positive definite and got more damping, %.3g at most on their diagonals; -damping sets it", count, most);
    return count > 0;
}

/* ---- units ---- */

static const struct kfac_entry *entry_of(const struct kfac_state *k, int layer)
{
    for (size_t i = 0; i < k->count; i++)
        if (prune_kfac_entries(k)[i].place.layer == layer) return &prune_kfac_entries(k)[i];
    return NULL;
}

static double layer_sum(const struct kfac_entry *e, const double *scores)
{
    double sum = 0;
    for (size_t i = 0; i < e->place.groups * e->place.n; i++) sum += scores[e->place.filter + i];
    return sum;
}

/* Sum over the producers of the unit. */
static enum prune_code unit_score(const struct kfac_state *k, const struct prune_score_input *in, const double *filters, bool normalise, size_t u, double *out,
                                  struct prune_status *st)
{
    const struct prune_unit *unit = &in->units->items[u];
    *out = 0;
    for (size_t i = 0; i < unit->member_count; i++) {
        struct prune_channel m = in->units->members[unit->first_member + i];
        const struct kfac_entry *e = entry_of(k, m.layer);
        if (in->net->layers[m.layer].share >= 0) continue;           /* its filters are another member's */
        if ((!e || !e->images) && unit->protected_because) continue;
        if (!e) return prune_fail(st, "layer %d has no K-FAC factors (neither convolution nor connected), so these criteria cannot rank it; keep it with -protect %d", m.layer, m.layer);
        if (!e->images) return prune_fail(st, "no statistics of layer %d came; give images", m.layer);
        double sum = normalise ? layer_sum(e, filters) : 1;
        if (sum > 0) *out += filters[e->place.filter + (size_t)m.channel] / sum;
    }
    return PRUNE_OK;
}

/* The scores of filters are a cache in the state, filled by the first of its criteria to ask: all else of it stays as it is. */
static enum prune_code finish(const void *state, const struct prune_score_input *in, enum prune_kfac_form form, bool normalise, double *scores, struct prune_status *st)
{
    struct kfac_state *k = (struct kfac_state *)(uintptr_t)state;
    enum prune_code rc = k->trouble[0] ? prune_fail(st, "%.*s", (int)sizeof k->trouble, k->trouble) : PRUNE_OK;
    if (!rc && k->share + 1 < k->shares) rc = prune_fail(st, "K-FAC factors are those of pass %zu of %zu", (size_t)k->share + 1, (size_t)k->shares);
    if (!rc) rc = prune_kfac_settle(k, in, st);
    const double *filters = prune_kfac_scores(k) + (size_t)form * k->filters;
    for (size_t u = 0; !rc && u < in->units->count; u++) rc = unit_score(k, in, filters, normalise, u, &scores[u], st);
    return rc;
}

enum prune_code prune_nap_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return finish(state, in, PRUNE_KFAC_OBS, !in->kfac.unnormalised, scores, st);
}

enum prune_code prune_c_obd_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return finish(state, in, PRUNE_KFAC_OBD, false, scores, st);
}

enum prune_code prune_kron_obd_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return finish(state, in, PRUNE_KFAC_KRON_OBD, false, scores, st);
}

enum prune_code prune_c_obs_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return finish(state, in, PRUNE_KFAC_OBS, false, scores, st);
}

enum prune_code prune_kron_obs_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return finish(state, in, PRUNE_KFAC_KRON_OBS, false, scores, st);
}
