/* `sosp-i` (SOSP, eq. 2 - 6; docs/sosp.md): an order of removal by how much units matter together. theta_s, the weights that go into unit s, enters the network
 * as z_s theta_s, z_s its gates on producers. So theta_s^T dE/dtheta is the gate's gradient g_s, and theta_s^T H theta_s', H Gauss-Newton, the mean over
 * images and probes of p_s p_s', p the host's probes of the curvature at these gates. With Q_ss' = 1/2 |theta_s^T H theta_s'| + |g_s| [s = s'] units go one after
 * the other, the smallest Q_ss + 2 sum of Q_ss' over those gone first. Score: the sum of these increments when the unit goes, strictly rising.
 * Units that cannot go take no part, gone units (nothing arrives at their gates) neither: 0.
 * State: head, then doubles: sums over images of dE_b/dz (U) and of the mean over probes of p p^T (U, U), the upper half. Sums only, so states add up. */
#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "families.h"

enum { ROWS = 128, MOST_EXACT = 32, RANDOM_PROBES = 10 };
static const size_t DEFAULT_MEMORY = (size_t)2 << 30;

struct head { double units, probes /* per image */, g_images, h_images, lost; /* images there was no room for */ };
enum { HEAD = sizeof(struct head) / sizeof(double) };

static double *gradients(const void *state) { return (double *)(uintptr_t)state + HEAD; }
static double *products(const void *state) { return gradients(state) + (size_t)((const struct head *)state)->units; }

/* The square of S units fits where -memory says how much may be taken. */
enum prune_code prune_sosp_i_check(const struct prune_score_input *in, struct prune_status *st)
{
    size_t units = in->units->count, room = in->kfac.memory ? in->kfac.memory : DEFAULT_MEMORY;
    double bytes = (double)units * (double)units * sizeof(double);
    if (bytes <= (double)room) return PRUNE_OK;
    return prune_fail(st, "criterion 'sosp-i' keeps a product of each two of %zu units, %.0f MiB, and may take %.0f MiB; give it more with -memory, or take sosp-h", units,
                      bytes / 0x1p20, (double)room / 0x1p20);
}

size_t prune_sosp_i_size(const struct prune_score_input *in)
{
    size_t n = in->units->count;
    return (HEAD + n + n * n) * sizeof(double);
}

void prune_sosp_i_init(void *state, const struct prune_score_input *in)
{
    memset(state, 0, prune_sosp_i_size(in));
    ((struct head *)state)->units = (double)in->units->count;
}

bool prune_sosp_i_ok(const void *state, const void *fresh)
{
    return ((const struct head *)state)->units == ((const struct head *)fresh)->units;
}

void prune_sosp_i_merge(void *state, const void *other, const struct prune_score_input *in)
{
    double *sums = state;
    const double *more = other;
    const struct head *from = other;
    if (from->probes > 0) ((struct head *)state)->probes = from->probes;
    for (size_t i = offsetof(struct head, g_images) / sizeof *sums; i < prune_sosp_i_size(in) / sizeof *sums; i++) sums[i] += more[i];
}

bool prune_sosp_i_note(const void *state, char *text, size_t room)
{
    return snprintf(text, room, "%.0f probes of the curvature per image", ((const struct head *)state)->probes) > 0;
}

int prune_sosp_i_probes(const struct prune_score_input *in)
{
    const struct prune_layer *last = in->net->layer_count ? &in->net->layers[in->net->layer_count - 1] : NULL;
    bool few = in->net->task == PRUNE_TASK_CLASSIFIER && last && last->kind == PRUNE_SOFTMAX && last->inputs <= MOST_EXACT;
    return few ? PRUNE_PROBES_EXACT : RANDOM_PROBES;
}

/* h += share * sum over rows of p p^T, rows r of t (images, probes, units) in double. False: no room. */
static bool add_products(double *h, const struct prune_tensor *t, double share)
{
    size_t units = t->shape[2], probes = t->shape[1], all = t->shape[0] * probes;
    double *rows = malloc(ROWS * units * sizeof *rows);
    if (!rows) return false;
    for (size_t first = 0; first < all; first += ROWS) {
        size_t count = all - first < ROWS ? all - first : ROWS;
        for (size_t r = 0; r < count; r++) {
            const float *p = (const float *)t->data + (ptrdiff_t)((first + r) / probes) * t->strides[0] + (ptrdiff_t)((first + r) % probes) * t->strides[1];
            for (size_t u = 0; u < units; u++) rows[r * units + u] = (double)p[(ptrdiff_t)u * t->strides[2]];
        }
        cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)units, (int)count, share, rows, (int)units, 1, h, (int)units);
    }
    free(rows);
    return true;
}

void prune_sosp_i_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    struct head *head = state;
    const struct prune_tensor *g = &signals->gate_batch, *p = &signals->gate_probes;
    size_t units = in->units->count;
    if (prune_signal_readable(g, PRUNE_F64, 1) && g->shape[0] == units) {
        for (size_t u = 0; u < units; u++) gradients(state)[u] += ((const double *)g->data)[(ptrdiff_t)u * g->strides[0]] * (double)signals->images;
        head->g_images += (double)signals->images;
    }
    if (!prune_signal_readable(p, PRUNE_F32, 3) || !p->shape[1] || p->shape[2] != units || !units) return;
    head->probes = (double)p->shape[1];
    if (add_products(products(state), p, 1 / (double)p->shape[1])) head->h_images += (double)p->shape[0];
    else head->lost += (double)p->shape[0];
}

/* ---- the order ---- */

struct order {
    size_t units;
    const double *h;                     /* (U, U), upper half: sums */
    double half;                         /* 1/2 / images */
    double *next;                        /* (U) what lambda grows by if the unit goes now */
    double *divisor;                     /* (U) */
    uint8_t *open;                       /* (U) may go, and has not gone */
};

static double q(const struct order *o, size_t a, size_t b) { return fabs(o->h[a < b ? a * o->units + b : b * o->units + a]) * o->half; }

static size_t least(const struct order *o)
{
    size_t best = SIZE_MAX;
    for (size_t u = 0; u < o->units; u++)
        if (o->open[u] && (best == SIZE_MAX || o->next[u] / o->divisor[u] < o->next[best] / o->divisor[best])) best = u;
    return best;
}

static void take_all(const struct order *o, double *scores)
{
    double lambda = 0;
    for (size_t unit; (unit = least(o)) != SIZE_MAX;) {
        lambda = fmax(lambda + o->next[unit] / o->divisor[unit], lambda * (1 + 1e-12) + DBL_MIN);
        scores[unit] = lambda;
        o->open[unit] = 0;
        for (size_t u = 0; u < o->units; u++)
            if (o->open[u]) o->next[u] += 2 * q(o, u, unit);
    }
}

static enum prune_code check(const void *state, const struct prune_score_input *in, double *scratch, struct prune_status *st)
{
    const struct head *head = state;
    size_t units = in->units->count;
    if (head->lost > 0) return prune_fail_memory(st, ROWS * units * sizeof(double), "products of units");
    if (!(head->g_images > 0)) return prune_fail(st, "no gate gradients were delivered: no image was scored, or the host lacks this signal");
    if (!(head->h_images > 0)) return prune_fail(st, "no curvature was delivered: no image was scored, or the host lacks this signal");
    for (size_t u = 0; u < units; u++) scratch[u] = products(state)[u * units + u];
    enum prune_code rc = prune_check_finite(in, gradients(state), "gate gradient", st);
    return rc ? rc : prune_check_finite(in, scratch, "curvature", st);
}

enum prune_code prune_sosp_i_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    const struct head *head = state;
    size_t units = in->units->count, room = units ? units : 1;
    struct order o = {.units = units, .h = products(state), .half = .5 / head->h_images, .next = calloc(2 * room, sizeof(double)), .open = calloc(room, 1)};
    enum prune_code rc = o.next && o.open ? check(state, in, o.next, st) : prune_fail_memory(st, 2 * room * sizeof(double), "the order of removal");
    o.divisor = o.next + room;
    for (size_t u = 0; !rc && u < units; u++) {
        o.next[u] = q(&o, u, u) + fabs(gradients(state)[u]) / head->g_images;
        o.divisor[u] = prune_scale_divisor(in, PRUNE_SCALE_DEFAULT, u);
        o.open[u] = !in->units->items[u].protected_because && o.next[u] > 0;
        scores[u] = 0;
    }
    if (!rc) take_all(&o, scores);
    free(o.next);
    free(o.open);
    return rc;
}
