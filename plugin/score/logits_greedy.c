/* `taylor-logits-greedy` (docs/taylor-logits.md): an order of removal instead of one number for each unit alone. In the expansion of taylor-logits the margins of an
 * image lose the sum of da_k/dz_u over what is removed, so the loss without any SET of units is known from the same pass. Units are taken one after the
 * other, each the one that leaves the loss nearest to where it was, given those already taken: units that stand in for each other are not taken together.
 * Score: how far the loss has moved when the unit goes, made strictly rising, so that every selection follows the order.
 * State: the margins and their slopes of the images seen; of more than there is room for, those with the largest loss (they decide: docs/taylor-logits.md).
 *   head, then per image: loss, margins (R), slopes (R, U) */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "families.h"

enum { IMAGES = 1024, GROUP = 8, ROUNDS = 2000 };
static const size_t STATE_BYTES = (size_t)256 << 20;     /* fewer images where units are many */
static const double HOPELESS = 10;                       /* mean loss change */
static const double STEEPEST = 40;                       /* |da| and a beyond which exp would leave the range that GROUP products need */

struct head { double images; size_t kept, room, rivals, row; /* floats of an image */ };

static struct head head_of(const struct prune_score_input *in)
{
    size_t rivals = in->rivals > 0 ? (size_t)in->rivals : PRUNE_DEFAULT_RIVALS, row = rivals * (in->units->count + 1) + 1;
    size_t room = STATE_BYTES / (row * sizeof(float));
    return (struct head){.room = room > IMAGES ? IMAGES : room ? room : 1, .rivals = rivals, .row = row};
}

size_t prune_logits_greedy_size(const struct prune_score_input *in)
{
    struct head h = head_of(in);
    return sizeof h + h.room * h.row * sizeof(float);
}

void prune_logits_greedy_init(void *state, const struct prune_score_input *in)
{
    *(struct head *)state = head_of(in);
}

bool prune_logits_greedy_ok(const void *state, const void *fresh)
{
    const struct head *h = state, *like = fresh;
    return h->room == like->room && h->row == like->row && h->kept <= h->room && h->rivals && h->rivals <= like->rivals;
}

static float *row_of(const struct head *h, size_t image)
{
    return (float *)(uintptr_t)(h + 1) + image * h->row;
}

/* Where an image of that loss goes: the next free row, or over the smallest loss kept; NULL: its loss is smaller than all. */
static float *place_for(struct head *h, float loss)
{
    if (h->kept < h->room) return row_of(h, h->kept++);
    size_t least = 0;
    for (size_t i = 1; i < h->kept; i++)
        if (row_of(h, i)[0] < row_of(h, least)[0]) least = i;
    return row_of(h, least)[0] < loss ? row_of(h, least) : NULL;
}

void prune_logits_greedy_accumulate(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    struct head *h = state;
    const struct prune_tensor *a = &signals->margins, *d = &signals->gate_margins;   /* (images, rivals), (images, rivals, units) */
    size_t units = in->units->count, rivals = a->shape[1];
    if (!prune_signal_readable(a, PRUNE_F32, 2) || !prune_signal_readable(d, PRUNE_F32, 3)) return;
    if (d->shape[0] != a->shape[0] || d->shape[1] != rivals || d->shape[2] != units || !rivals || rivals > h->rivals) return;
    h->rivals = rivals;                                  /* of fewer classes than wanted: rows keep their length */
    for (size_t b = 0; b < a->shape[0]; b++) {
        const float *margin = (const float *)a->data + (ptrdiff_t)b * a->strides[0], *slope = (const float *)d->data + (ptrdiff_t)b * d->strides[0];
        float *row = place_for(h, (float)prune_margins_loss(margin, a->strides[1], NULL, 0, rivals));
        if (!row) continue;
        *row++ = (float)prune_margins_loss(margin, a->strides[1], NULL, 0, rivals);
        for (size_t k = 0; k < rivals; k++) *row++ = margin[(ptrdiff_t)k * a->strides[1]];
        for (size_t k = 0; k < rivals; k++)
            for (size_t u = 0; u < units; u++) *row++ = slope[(ptrdiff_t)k * d->strides[1] + (ptrdiff_t)u * d->strides[2]];
    }
    h->images += (double)a->shape[0];
}

void prune_logits_greedy_merge(void *state, const void *other, const struct prune_score_input *in)
{
    struct head *h = state;
    const struct head *more = other;
    (void)in;
    if (more->kept) h->rivals = more->rivals;
    for (size_t i = 0; i < more->kept; i++) {
        const float *from = row_of(more, i);
        float *row = place_for(h, from[0]);
        if (row) memcpy(row, from, h->row * sizeof *row);
    }
    h->images += more->images;
}

/* exp of margins (images, R), and of minus the slopes (images, R, U): removing unit u multiplies the ones by the others. */
struct model { size_t images, rivals, units; double *odds; float *factor; double *sum, *product, *loss; /* (units) */ };

static void model_free(struct model *m)
{
    free(m->odds);
    free(m->factor);
    free(m->sum);
    free(m->product);
    free(m->loss);
}

static double bounded(float x) { return fmin(fmax((double)x, -STEEPEST), STEEPEST); }

static enum prune_code model_make(struct model *m, const struct head *h, size_t units, struct prune_status *st)
{
    size_t n = h->kept * h->rivals, room = units ? units : 1;
    *m = (struct model){.images = h->kept, .rivals = h->rivals, .units = units};
    m->odds = calloc(n, sizeof *m->odds);
    m->factor = calloc(n * room, sizeof *m->factor);
    m->sum = calloc(room, sizeof *m->sum);
    m->product = calloc(room, sizeof *m->product);
    m->loss = calloc(room, sizeof *m->loss);
    if (!m->odds || !m->factor || !m->sum || !m->product || !m->loss) {
        model_free(m);
        return prune_fail_memory(st, n * room * sizeof *m->factor, "the order of removal");
    }
    for (size_t b = 0; b < h->kept; b++) {
        const float *margins = row_of(h, b) + 1, *slopes = margins + h->rivals;
        for (size_t k = 0; k < h->rivals; k++) m->odds[b * h->rivals + k] = exp(bounded(margins[k]));
        for (size_t i = 0; i < h->rivals * units; i++) m->factor[b * h->rivals * units + i] = (float)exp(-bounded(slopes[i]));
    }
    return PRUNE_OK;
}

/* product[u] *= 1 + sum_k odds_k factor_ku; rival by rival, so that every loop runs over units side by side */
static void multiply_in(const struct model *m, size_t image)
{
    const double *odds = m->odds + image * m->rivals;
    const float *factor = m->factor + image * m->rivals * m->units;
    for (size_t u = 0; u < m->units; u++) m->sum[u] = 1;
    for (size_t k = 0; k < m->rivals; k++, factor += m->units)
        for (size_t u = 0; u < m->units; u++) m->sum[u] += odds[k] * (double)factor[u];
    for (size_t u = 0; u < m->units; u++) m->product[u] *= m->sum[u];
}

/* loss[u]: summed over images, with u removed besides what is gone. A logarithm serves GROUP images: below (1 + 20 e^80)^8 < 1e291. */
static void losses_next(const struct model *m)
{
    for (size_t u = 0; u < m->units; u++) m->loss[u] = 0;
    for (size_t first = 0; first < m->images; first += GROUP) {
        for (size_t u = 0; u < m->units; u++) m->product[u] = 1;
        for (size_t b = first; b < m->images && b < first + GROUP; b++) multiply_in(m, b);
        for (size_t u = 0; u < m->units; u++) m->loss[u] += log(m->product[u]);
    }
}

static double loss_now(const struct model *m)
{
    double loss = 0;
    for (size_t b = 0; b < m->images; b++) {
        double sum = 0;
        for (size_t k = 0; k < m->rivals; k++) sum += m->odds[b * m->rivals + k];
        loss += log1p(sum);
    }
    return loss;
}

static void take(const struct model *m, size_t unit)
{
    for (size_t i = 0; i < m->images * m->rivals; i++) m->odds[i] = fmin(m->odds[i] * (double)m->factor[i * m->units + unit], exp(STEEPEST));
}

/* Units that cannot go, or are gone (all their slopes are 0), take no part. */
static bool takes_part(const struct head *h, const struct prune_score_input *in, size_t unit)
{
    if (in->units->items[unit].protected_because) return false;
    for (size_t b = 0; b < h->kept; b++)
        for (size_t k = 0; k < h->rivals; k++)
            if (row_of(h, b)[1 + h->rivals + k * in->units->count + unit] != 0) return true;
    return false;
}

static enum prune_code check_rows(const struct head *h, const struct prune_score_input *in, struct prune_status *st)
{
    if (!h->kept) return prune_fail(st, "no margins were delivered: no image was scored, or the host lacks this signal");
    for (size_t b = 0; b < h->kept; b++)
        for (size_t i = 0; i < 1 + h->rivals * (in->units->count + 1); i++)
            if (!isfinite(row_of(h, b)[i])) return prune_fail(st, "a margin or its slope is not finite; check the weights with 'darknet prune evaluate'");
    return PRUNE_OK;
}

static size_t nearest_open(const struct model *m, const uint8_t *open, double start)
{
    size_t best = SIZE_MAX;
    for (size_t u = 0; u < m->units; u++)
        if (open[u] && (best == SIZE_MAX || fabs(m->loss[u] - start) < fabs(m->loss[best] - start))) best = u;
    return best;
}

/* A round takes one unit; several where there are many, so that ROUNDS passes over units and images do. Once the loss has left what an expansion can say
 * anything about, the rest follows in one round. */
static void order_units(const struct model *m, uint8_t *open, double *scores)
{
    const double start = loss_now(m), images = (double)m->images;
    const size_t chunk = 1 + m->units / ROUNDS;
    double last = 0;
    for (;;) {
        losses_next(m);
        for (size_t taken = 0; taken < chunk || last > HOPELESS; taken++) {
            size_t unit = nearest_open(m, open, start);
            if (unit == SIZE_MAX) return;
            last = fmax(fabs(m->loss[unit] - start) / images, last * (1 + 1e-12) + DBL_MIN);
            scores[unit] = last;
            open[unit] = 0;
            take(m, unit);
        }
    }
}

enum prune_code prune_logits_greedy_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    const struct head *h = state;
    size_t units = in->units->count;
    struct model m;
    enum prune_code rc = check_rows(h, in, st);
    if (!rc) rc = model_make(&m, h, units, st);
    if (rc) return rc;
    uint8_t *open = calloc(units ? units : 1, 1);
    if (!open) rc = prune_fail_memory(st, units, "the order of removal");
    for (size_t u = 0; !rc && u < units; u++) {
        scores[u] = 0;
        open[u] = takes_part(h, in, u);
    }
    if (!rc) order_units(&m, open, scores);
    free(open);
    model_free(&m);
    return rc;
}
