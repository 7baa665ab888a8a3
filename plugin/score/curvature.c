/* Second order on gates. Removing unit u changes the mean loss by about -g_u + H_uu / 2 (g gate gradient, H Hessian of E in the gates at z = 1):
 *   taylor-so*  (g_u - H_uu / 2)^2        obd*  H_uu / 2, signed
 * with H_uu by differences of the gate gradient, one gate at a time (exact but for the step), by products with random signs (Hutchinson), or of the
 * Gauss-Newton matrix from the host's probes; taylor-so-row takes (H 1)_u, the whole row, instead of H_uu. sosp-h (docs/sosp.md): |g_u| + |(H 1)_u| / 2, with
 * gates on producers, which units that may go alone have. Products are the host's own (PRODUCT), or, where it has none of the network or a step is given,
 * differences with all gates moved at once.
 * State: the number of sums of h, the images in the sum of g, the halves of images in those of h (a product brings both, a difference is made of two passes, each
 * of which brings one); then units doubles of g and of each h. Every pass has a sum of h of its own, so that images that come in parts, all passes of the first part
 * before those of the next, give the same sums to the last bit. Sums only, so states of other images add up. */
#include <math.h>

#include "../base/random.h"
#include "families.h"

/* Stream of prune_random_make that belongs to Hutchinson's signs ("hutc"). */
enum { SIGN_STREAM = 0x68757463, HUTCHINSON_PROBES = 8 };

struct head { double planes, g_images, h_halves; };
struct sums { struct head *head; double *g, *h; /* (planes, units) */ };
enum { HEAD = sizeof(struct head) / sizeof(double) };

static struct sums sums_of(void *state, const struct prune_score_input *in)
{
    double *at = (double *)state + HEAD;
    return (struct sums){state, at, at + in->units->count};
}

static size_t doubles(const struct prune_score_input *in, size_t planes) { return HEAD + (1 + planes) * in->units->count; }

static void init(void *state, const struct prune_score_input *in, size_t planes)
{
    double *sums = state;
    for (size_t i = 0; i < doubles(in, planes); i++) sums[i] = 0;
    ((struct head *)state)->planes = (double)planes;
}

size_t prune_curvature_size(const struct prune_score_input *in) { return doubles(in, 1) * sizeof(double); }
void prune_curvature_init(void *state, const struct prune_score_input *in) { init(state, in, 1); }
size_t prune_hutchinson_size(const struct prune_score_input *in) { return doubles(in, prune_hutchinson_passes(in) - 1) * sizeof(double); }
void prune_hutchinson_init(void *state, const struct prune_score_input *in) { init(state, in, prune_hutchinson_passes(in) - 1); }
size_t prune_row_size(const struct prune_score_input *in) { return doubles(in, prune_row_passes(in) - 1) * sizeof(double); }
void prune_row_init(void *state, const struct prune_score_input *in) { init(state, in, prune_row_passes(in) - 1); }

bool prune_curvature_ok(const void *state, const void *fresh)
{
    return ((const struct head *)state)->planes == ((const struct head *)fresh)->planes;
}

void prune_curvature_merge(void *state, const void *other, const struct prune_score_input *in)
{
    double *sums = state;
    const double *more = other;
    for (size_t i = 1; i < doubles(in, (size_t)sums[0]); i++) sums[i] += more[i];
}

/* ---- steps ---- */

/* docs/criteria.md has the measured errors behind these. */
static const double STEPS[] = {[PRUNE_STEP_SINGLE] = 1e-2, [PRUNE_STEP_ALL] = 1e-2};

double prune_gate_step(const struct prune_score_input *in, enum prune_step_kind kind)
{
    const double grain = 0x1p-23;        /* multiples of it are exact in 1 + step and 1 - step */
    double step = in->step > 0 ? in->step : STEPS[kind], moving = 0;
    for (size_t u = 0; u < in->units->count; u++) moving += in->units->items[u].site_count > 0;
    if (kind == PRUNE_STEP_ALL && moving > 1) step /= sqrt(moving);
    step = nearbyint(step / grain) * grain;
    return step > grain ? step : grain;
}

/* Passes of a direction: 2 k + 1 moves the gates along it, 2 k + 2 against it; or 2 k + 1 brings the product and there is no other. */
static double side(size_t pass) { return pass % 2 ? 1 : -1; }

void prune_gates_move(const struct prune_score_input *in, size_t pass, const float *v, float *z)
{
    double step = side(pass) * prune_gate_step(in, PRUNE_STEP_ALL);
    for (size_t u = 0; u < in->units->count; u++) z[u] = (float)((double)z[u] * (1 + step * (double)v[u]));
}

static double random_sign(struct prune_random *r) { return prune_random_u64(r) >> 63 ? 1 : -1; }

static struct prune_random signs_of(const struct prune_score_input *in, size_t pass) { return prune_random_make(in->seed, SIGN_STREAM, (pass - 1) / 2); }

size_t prune_hutchinson_passes(const struct prune_score_input *in) { return 1 + 2 * (size_t)(in->probes > 0 ? in->probes : HUTCHINSON_PROBES); }

void prune_hutchinson_direction(const struct prune_score_input *in, size_t pass, float *v)
{
    struct prune_random r = signs_of(in, pass);
    for (size_t u = 0; u < in->units->count; u++) v[u] = (float)random_sign(&r);
}

size_t prune_row_passes(const struct prune_score_input *in)
{
    (void)in;
    return 3;
}

void prune_row_direction(const struct prune_score_input *in, size_t pass, float *v)
{
    (void)pass;
    for (size_t u = 0; u < in->units->count; u++) v[u] = 1;
}

/* ---- sums ---- */

static bool readable(const struct prune_score_input *in, const struct prune_tensor *t)
{
    return prune_signal_readable(t, PRUNE_F64, 1) && t->shape[0] == in->units->count;
}

/* sum[u] += sum over images of t, a mean, times factor and, where signs are given, the random sign. */
static void add_batch(double *sum, const struct prune_score_input *in, const struct prune_tensor *t, double factor, struct prune_random *signs)
{
    const double *g = t->data;
    for (size_t u = 0; u < in->units->count; u++, g += t->strides[0]) sum[u] += *g * factor * (signs ? random_sign(signs) : 1);
}

void prune_curvature_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    struct sums s = sums_of(state, in);
    if (signals->pass || !readable(in, &signals->gate_batch)) return;
    add_batch(s.g, in, &signals->gate_batch, (double)signals->images, NULL);
    s.head->g_images += (double)signals->images;
}

/* A product, or one side of a difference. */
static void accumulate_pass(void *state, const struct prune_score_input *in, const struct prune_signals *signals, struct prune_random *signs)
{
    struct sums s = sums_of(state, in);
    bool exact = readable(in, &signals->gate_product);
    double images = (double)signals->images, *h = s.h + (signals->pass - 1) * in->units->count;
    if (signals->pass > (size_t)s.head->planes || (!exact && !readable(in, &signals->gate_batch))) return;
    if (exact) add_batch(h, in, &signals->gate_product, images, signs);
    else add_batch(h, in, &signals->gate_batch, images * side(signals->pass) / (2 * prune_gate_step(in, PRUNE_STEP_ALL)), signs);
    s.head->h_halves += exact ? 2 * images : images;
}

void prune_row_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    if (signals->pass) accumulate_pass(state, in, signals, NULL);
    else prune_curvature_accumulate(state, in, signals);
}

void prune_hutchinson_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    struct prune_random signs = {0};
    if (signals->pass) {
        signs = signs_of(in, signals->pass);
        accumulate_pass(state, in, signals, &signs);
    } else {
        prune_curvature_accumulate(state, in, signals);
    }
}

void prune_exact_accumulate(void *state, const struct prune_score_input *in, const struct prune_perturbed *piece)
{
    struct sums s = sums_of(state, in);
    double factor = 1 / (2 * prune_gate_step(in, PRUNE_STEP_SINGLE));
    for (size_t u = 0; u < in->units->count; u++) s.h[u] += (piece->gradient[2 * u + 1] - piece->gradient[2 * u]) * factor;
    s.head->h_halves += 2 * (double)piece->images;
}

void prune_gauss_newton_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    struct sums s = sums_of(state, in);
    const struct prune_tensor *t = &signals->gate_probes;     /* (images, probes, units) */
    prune_curvature_accumulate(state, in, signals);
    if (!prune_signal_readable(t, PRUNE_F32, 3) || !t->shape[1] || t->shape[2] != in->units->count) return;
    double share = 1 / (double)t->shape[1];
    for (size_t row = 0; row < t->shape[0] * t->shape[1]; row++) {
        const float *p = (const float *)t->data + (ptrdiff_t)(row / t->shape[1]) * t->strides[0] + (ptrdiff_t)(row % t->shape[1]) * t->strides[1];
        for (size_t u = 0; u < in->units->count; u++, p += t->strides[2]) s.h[u] += (double)*p * (double)*p * share;
    }
    s.head->h_halves += 2 * (double)t->shape[0];
}

/* ---- scores ---- */

/* scores[u] = h_u / 2 */
enum prune_code prune_obd_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    const struct head *head = state;
    size_t n = in->units->count;
    const double *h = (const double *)state + HEAD + n;
    if (!(head->h_halves > 0)) return prune_fail(st, "no curvature was delivered: no image was scored, or the host lacks this signal");
    for (size_t u = 0; u < n; u++) {
        scores[u] = 0;
        for (size_t p = 0; p < (size_t)head->planes; p++) scores[u] += h[p * n + u];
        scores[u] /= head->h_halves;
    }
    return prune_check_finite(in, scores, "second derivative", st);
}

/* What becomes of the two terms of a unit: its gradient g and h / 2. */
static enum prune_code combine(const void *state, const struct prune_score_input *in, double (*score)(double g, double half_h), double *scores, struct prune_status *st)
{
    const struct head *head = state;
    const double *g = (const double *)state + HEAD;
    size_t n = in->units->count;
    if (!(head->g_images > 0)) return prune_fail(st, "no gate gradients were delivered: no image was scored, or the host lacks this signal");
    enum prune_code rc = prune_check_finite(in, g, "gate gradient", st);
    if (!rc) rc = prune_obd_finish(state, in, scores, st);
    for (size_t u = 0; !rc && u < n; u++) scores[u] = score(g[u] / head->g_images, scores[u]);
    return rc;
}

static double squared_change(double g, double half_h) { return (g - half_h) * (g - half_h); }
static double absolute_terms(double g, double half_h) { return fabs(g) + fabs(half_h); }

enum prune_code prune_taylor_so_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return combine(state, in, squared_change, scores, st);
}

enum prune_code prune_sosp_h_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    return combine(state, in, absolute_terms, scores, st);
}
