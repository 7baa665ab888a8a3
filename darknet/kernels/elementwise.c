/* Whole-array operations: fill, copy, axpy, scale, and per-channel scale and bias. Strided arrays (rare) run one number at a time. */
#include "overrides.h"

#include <stdbool.h>
#include <string.h>

#include "pool.h"
#include "vector.h"

struct job { size_t n; float a; const float *x; float *y; int tasks; };

static struct job job_make(int n, float a, const float *x, float *y)
{
    struct job j = {.n = n > 0 ? (size_t)n : 0, .a = a, .x = x, .y = y};

    j.tasks = pool_split(j.n, j.n / 4);   /* little work per number */
    return j;
}

#define RANGE const struct job *j = arg; size_t i = pool_first(j->n, task, j->tasks), n = pool_first(j->n, task + 1, j->tasks) - i; (void)thread

static void fill_task(void *arg, int task, int thread)
{
    RANGE;
    if (j->a == 0) {
        memset(j->y + i, 0, n * sizeof *j->y);
    } else {
        for (size_t k = i; k < i + n; ++k) j->y[k] = j->a;
    }
}

static void copy_task(void *arg, int task, int thread)
{
    RANGE;
    memmove(j->y + i, j->x + i, n * sizeof *j->y);
}

static void axpy_task(void *arg, int task, int thread)
{
    RANGE;
    vector_ops()->add(n, j->a, j->x + i, j->y + i);
}

static void scal_task(void *arg, int task, int thread)
{
    RANGE;
    vector_ops()->scale(n, j->a, j->y + i);
}

void fill_cpu(int N, float ALPHA, float *X, int INCX)
{
    struct job j = job_make(N, ALPHA, NULL, X);

    if (INCX == 1) {
        pool_run(j.tasks, fill_task, &j);
    } else {
        for (int i = 0; i < N; ++i) X[i * INCX] = ALPHA;
    }
}

void copy_cpu(int N, float *X, int INCX, float *Y, int INCY)
{
    struct job j = job_make(N, 1, X, Y);

    if (INCX == 1 && INCY == 1) {
        if (X < Y + N && Y < X + N) j.tasks = 1;   /* overlapping */
        if (X != Y) pool_run(j.tasks, copy_task, &j);
    } else {
        for (int i = 0; i < N; ++i) Y[i * INCY] = X[i * INCX];
    }
}

void axpy_cpu(int N, float ALPHA, float *X, int INCX, float *Y, int INCY)
{
    struct job j = job_make(N, ALPHA, X, Y);

    if (INCX == 1 && INCY == 1) {
        pool_run(j.tasks, axpy_task, &j);
    } else {
        for (int i = 0; i < N; ++i) Y[i * INCY] += ALPHA * X[i * INCX];
    }
}

void scal_cpu(int N, float ALPHA, float *X, int INCX)
{
    struct job j = job_make(N, ALPHA, NULL, X);

    if (INCX == 1) {
        pool_run(j.tasks, scal_task, &j);
    } else {
        for (int i = 0; i < N; ++i) X[i * INCX] *= ALPHA;
    }
}

struct channel_job { float *output; const float *values; size_t planes, channels, size; bool add; int tasks; };

static void channel_task(void *arg, int task, int thread)
{
    const struct channel_job *j = arg;
    size_t last = pool_first(j->planes, task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(j->planes, task, j->tasks); i < last; ++i) {
        float *out = j->output + i * j->size, v = j->values[i % j->channels];
        if (j->add) vector_ops()->affine(j->size, out, 1, v, VECTOR_LINEAR, out);
        else vector_ops()->scale(j->size, v, out);
    }
}

static void per_channel(float *output, const float *values, int batch, int n, int size, bool add)
{
    struct channel_job j = {.output = output, .values = values, .planes = (size_t)batch * (size_t)n, .channels = (size_t)n, .size = (size_t)size, .add = add};

    j.tasks = pool_split(j.planes, j.planes * j.size / 4);
    pool_run(j.tasks, channel_task, &j);
}

void add_bias(float *output, float *biases, int batch, int n, int size) { per_channel(output, biases, batch, n, size, true); }
void scale_bias(float *output, float *scales, int batch, int n, int size) { per_channel(output, scales, batch, n, size, false); }

/* One thread per range of channels, so each update is added to once. */
static void bias_task(void *arg, int task, int thread)
{
    const struct channel_job *j = arg;
    size_t last = pool_first(j->channels, task + 1, j->tasks);

    (void)thread;
    for (size_t c = pool_first(j->channels, task, j->tasks); c < last; ++c) {
        double sum = 0;
        for (size_t i = c; i < j->planes; i += j->channels) sum += (double)vector_ops()->sum(j->size, j->values + i * j->size);
        j->output[c] += (float)sum;
    }
}

void backward_bias(float *bias_updates, float *delta, int batch, int n, int size)
{
    struct channel_job j = {.output = bias_updates, .values = delta, .planes = (size_t)batch * (size_t)n, .channels = (size_t)n, .size = (size_t)size};

    j.tasks = pool_split(j.channels, j.planes * j.size);
    pool_run(j.tasks, bias_task, &j);
}
