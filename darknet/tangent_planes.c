/* Plane by plane, from the vector loops that the layers' own passes are made of; see tangent_planes.h. */
#include "tangent_planes.h"

#include "kernels/activation.h"
#include "kernels/batchnorm.h"
#include "kernels/overrides.h"
#include "kernels/pool.h"

struct job { const struct tangent_planes *p; size_t channels, area; int tasks; };

/* One plane: its place, and the numbers of its channel. unit: -1 without a gate there. */
struct plane {
    size_t at, n;
    float a, b, mean, z, v;          /* a, b: u = a s + b */
    float z_after, v_after;
    int unit, unit_after;
    const float *s, *o;              /* s NULL without a gate in front of the activation */
};

static bool normalises(const layer *l) { return l->batch_normalize || l->type == BATCHNORM; }

static struct plane plane_of(const struct job *j, size_t row)
{
    const struct tangent_planes *p = j->p;
    int channel = (int)(row % j->channels);
    struct plane q = {.at = row * j->area, .n = j->area, .a = 1, .z = 1, .z_after = 1, .unit = -1, .unit_after = -1};
    if (p->gate.before) q.unit = p->gate.before[channel];
    if (p->gate.after) q.unit_after = p->gate.after[channel];
    if (q.unit >= 0) { q.z = p->z[q.unit]; q.v = p->v[q.unit]; }
    if (q.unit_after >= 0) { q.z_after = p->z[q.unit_after]; q.v_after = p->v[q.unit_after]; }
    if (normalises(p->l)) {
        batchnorm_coefficients(*p->l, true, channel, &q.a, &q.b);
        q.mean = p->l->rolling_mean[channel];
        if (p->gate.inner) q.b = 0;
    }
    if (q.unit >= 0) q.s = (normalises(p->l) ? p->l->x : p->gate.sums) + q.at;
    q.o = p->gate.output + q.at;
    return q;
}

static struct job job_make(const struct tangent_planes *p)
{
    struct job j = {.p = p, .channels = (size_t)p->gate.channels};
    j.area = (size_t)p->l->outputs / j.channels;
    j.tasks = pool_split((size_t)p->l->batch * j.channels, (size_t)p->l->outputs * (size_t)p->l->batch);
    return j;
}

bool tangent_planes_idle(const struct tangent_planes *p)
{
    return !normalises(p->l) && !p->gate.before && !p->gate.after && p->activation == LINEAR;
}

/* x *= f'(o) */
static void slope(const struct tangent_planes *p, const struct plane *q, float *x)
{
    enum vector_activation f;
    if (!activation_fuses(p->activation, &f)) gradient_array(q->o, (int)q->n, p->activation, x);
    else if (f != VECTOR_LINEAR) (void)vector_ops()->gradient(q->n, x, q->o, f, NULL, 0, NULL);
}

static void forward_plane(const struct tangent_planes *p, const struct plane *q)
{
    const struct vector_ops *ops = vector_ops();
    float *inner = p->inner + q->at;
    if (q->s) {
        ops->blend(q->n, q->s, q->v * q->a, p->sums + q->at, q->z * q->a, VECTOR_LINEAR, inner);
        if (q->b != 0) ops->affine(q->n, inner, 1, q->v * q->b, VECTOR_LINEAR, inner);
    } else if (p->sums != p->inner || normalises(p->l)) {
        ops->affine(q->n, p->sums + q->at, q->a, 0, VECTOR_LINEAR, inner);
    }
    slope(p, q, inner);
    if (p->gate.after) ops->blend(q->n, q->o, q->v_after, inner, q->z_after, VECTOR_LINEAR, p->output + q->at);
}

static void forward_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t rows = (size_t)j->p->l->batch * j->channels, last = pool_first(rows, task + 1, j->tasks);
    (void)thread;
    for (size_t row = pool_first(rows, task, j->tasks); row < last; row++) {
        struct plane q = plane_of(j, row);
        forward_plane(j->p, &q);
    }
}

void tangent_planes_forward(const struct tangent_planes *p)
{
    struct job j = job_make(p);
    pool_run(j.tasks, forward_task, &j);
}

/* sum d (x - mean), and *sum = sum d; pieces in single precision, added up in double. */
static double product(const float *d, const float *x, float mean, size_t n, double *sum)
{
    enum { PIECE = 2048 };
    double total = 0;
    *sum = 0;
    for (size_t i = 0; i < n; i += PIECE) {
        float part = 0;
        /* the loop does not write where the activation is linear */
        *sum += (double)vector_ops()->gradient(n - i < PIECE ? n - i : PIECE, (float *)(uintptr_t)(d + i), NULL, VECTOR_LINEAR, x + i, mean, &part);
        total += (double)part;
    }
    return total;
}

static double dot(const float *d, const float *x, size_t n)
{
    double unused;
    return product(d, x, 0, n, &unused);
}

/* k of f'' = k f', from the output; 0: piecewise linear. */
static float bend(float o, ACTIVATION f)
{
    switch (f) {
    case LOGISTIC: return 1 - 2 * o;
    case TANH: return -2 * o;
    case LOGGY: return -o;
    case ELU: case SELU: return o < 0 ? 1 : 0;
    default: return 0;
    }
}

static bool bends(ACTIVATION f) { return f == LOGISTIC || f == TANH || f == LOGGY || f == ELU || f == SELU; }

/* Gates on the output: returns (H v)'; own becomes d_o, tangent d_o. */
static double backward_after(const struct tangent_planes *p, const struct plane *q, float *own, float *tangent)
{
    const struct vector_ops *ops = vector_ops();
    double sum = -dot(tangent, q->o, q->n) - dot(own, p->inner + q->at, q->n);
    ops->blend(q->n, own, q->v_after, tangent, q->z_after, VECTOR_LINEAR, tangent);
    ops->scale(q->n, q->z_after, own);
    return sum;
}

/* Gates in front of the activation: returns (H v); own is d_y, tangent becomes d_s. */
static double backward_before(const struct tangent_planes *p, const struct plane *q, const float *own, float *tangent)
{
    double sum, bare = product(tangent, q->s, q->mean, q->n, &sum);
    double result = -((double)q->a * bare + ((double)q->a * (double)q->mean + (double)q->b) * sum) - (double)q->a * dot(own, p->sums + q->at, q->n);
    vector_ops()->blend(q->n, own, q->a * q->v, tangent, q->a * q->z, VECTOR_LINEAR, tangent);
    return result;
}

/* own: room for n floats. */
static void backward_plane(const struct tangent_planes *p, const struct plane *q, float *own, double *row)
{
    float *tangent = p->delta + q->at;
    const float *inner = p->inner + q->at;
    bool curved = bends(p->activation);
    row[0] = row[1] = 0;
    if (q->s || curved || q->unit_after >= 0) memcpy(own, p->l->delta + q->at, q->n * sizeof *own);
    if (q->unit_after >= 0) row[1] = backward_after(p, q, own, tangent);
    slope(p, q, tangent);
    for (size_t i = 0; curved && i < q->n; i++) tangent[i] += bend(q->o[i], p->activation) * inner[i] * own[i];
    if (q->s) {
        slope(p, q, own);
        row[0] = backward_before(p, q, own, tangent);
    } else if (normalises(p->l)) {
        vector_ops()->scale(q->n, q->a, tangent);
    }
}

static void backward_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t rows = (size_t)j->p->l->batch * j->channels, last = pool_first(rows, task + 1, j->tasks);
    float *own = pool_scratch(thread, POOL_DELTA, j->area);
    for (size_t row = pool_first(rows, task, j->tasks); row < last; row++) {
        struct plane q = plane_of(j, row);
        backward_plane(j->p, &q, own, j->p->rows + 2 * row);
    }
}

void tangent_planes_backward(const struct tangent_planes *p, double *products)
{
    struct job j = job_make(p);
    pool_run(j.tasks, backward_task, &j);
    for (size_t row = 0; row < (size_t)p->l->batch * j.channels; row++) {
        size_t c = row % j.channels;
        if (p->gate.before && p->gate.before[c] >= 0) products[p->gate.before[c]] += p->rows[2 * row];
        if (p->gate.after && p->gate.after[c] >= 0) products[p->gate.after[c]] += p->rows[2 * row + 1];
    }
}
