/* Darknet's activation functions and their derivatives expressed through the output. Replaces activate_array and gradient_array.
 * relu, leaky, linear, logistic and tanh run on vectors; the others are rare and run one number at a time, still on all threads. */
#include "activation.h"

#include <math.h>

#include "overrides.h"
#include "pool.h"

bool activation_fuses(ACTIVATION a, enum vector_activation *f)
{
    *f = a == RELU ? VECTOR_RELU : a == LEAKY ? VECTOR_LEAKY : VECTOR_LINEAR;
    return a == RELU || a == LEAKY || a == LINEAR;
}

static float stair(float x)
{
    float n = floorf(x);

    return fmodf(n, 2) == 0 ? floorf(x / 2) : (x - n) + floorf(x / 2);
}

static float value(float x, ACTIVATION a)
{
    switch (a) {
    case LOGGY: return 2 / (1 + expf(-x)) - 1;
    case RELIE: return x > 0 ? x : .01f * x;
    case RAMP: return x * (float)(x > 0) + .1f * x;
    case PLSE: return x < -4 ? .01f * (x + 4) : x > 4 ? .01f * (x - 4) + 1 : .125f * x + .5f;
    case ELU: return x >= 0 ? x : expf(x) - 1;
    case SELU: return x >= 0 ? 1.0507f * x : 1.0507f * 1.6732f * (expf(x) - 1);
    case STAIR: return stair(x);
    case HARDTAN: return x < -1 ? -1 : x > 1 ? 1 : x;
    case LHTAN: return x < 0 ? .001f * x : x > 1 ? .001f * (x - 1) + 1 : x;
    default: return x;
    }
}

static float slope(float y, ACTIVATION a)
{
    switch (a) {
    case LOGISTIC: return (1 - y) * y;
    case LOGGY: return 2 * (1 - (y + 1) / 2) * ((y + 1) / 2);
    case RELIE: return y > 0 ? 1 : .01f;
    case RAMP: return (float)(y > 0) + .1f;
    case TANH: return 1 - y * y;
    case PLSE: return y < 0 || y > 1 ? .01f : .125f;
    case ELU: return y >= 0 ? 1 : y + 1;
    case SELU: return y >= 0 ? 1.0507f : y + 1.0507f * 1.6732f;
    case STAIR: return floorf(y) == y ? 0 : 1;
    case HARDTAN: return y > -1 && y < 1 ? 1 : 0;
    case LHTAN: return y > 0 && y < 1 ? 1 : .001f;
    default: return 1;
    }
}

struct job { float *x; const float *y; size_t n; ACTIVATION a; int tasks; };

static void activate_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    const struct vector_ops *ops = vector_ops();
    size_t i = pool_first(j->n, task, j->tasks), last = pool_first(j->n, task + 1, j->tasks);
    enum vector_activation f;

    (void)thread;
    if (activation_fuses(j->a, &f)) {
        ops->affine(last - i, j->x + i, 1, 0, f, j->x + i);
    } else if (j->a == LOGISTIC) {
        ops->logistic(last - i, j->x + i);
    } else if (j->a == TANH) {
        ops->tanh(last - i, j->x + i);
    } else {
        for (; i < last; ++i) j->x[i] = value(j->x[i], j->a);
    }
}

static void gradient_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t i = pool_first(j->n, task, j->tasks), last = pool_first(j->n, task + 1, j->tasks);
    enum vector_activation f;

    (void)thread;
    if (activation_fuses(j->a, &f)) {
        vector_ops()->gradient(last - i, j->x + i, j->y + i, f, NULL, 0, NULL);
    } else if (j->a == LOGISTIC) {
        for (; i < last; ++i) j->x[i] *= (1 - j->y[i]) * j->y[i];
    } else {
        for (; i < last; ++i) j->x[i] *= slope(j->y[i], j->a);
    }
}

void activate_array(float *x, const int n, const ACTIVATION a)
{
    struct job j = {.x = x, .n = (size_t)n, .a = a, .tasks = pool_split((size_t)n, (size_t)n)};

    if (a != LINEAR && n > 0) pool_run(j.tasks, activate_task, &j);
}

void gradient_array(const float *x, const int n, const ACTIVATION a, float *delta)
{
    struct job j = {.x = delta, .y = x, .n = (size_t)n, .a = a, .tasks = pool_split((size_t)n, (size_t)n)};

    if (a != LINEAR && n > 0) pool_run(j.tasks, gradient_task, &j);
}
