/* Matrix products through OpenBLAS (one thread each; large ones are cut over our pool), and the host's im2col and col2im, which layers that we leave
 * to the host still use. */
#include <cblas.h>
#include <string.h>

#include "overrides.h"
#include "pool.h"

struct gemm_job { int ta, tb, m, n, k; float alpha; const float *a; int lda; const float *b; int ldb; float beta; float *c; int ldc; int tasks; };

/* A task computes a range of columns of C, or of rows when C is taller than wide. */
static void gemm_task(void *arg, int task, int thread)
{
    const struct gemm_job *j = arg;
    int rows = j->m > j->n, items = rows ? j->m : j->n;
    int first = (int)pool_first((size_t)items, task, j->tasks), count = (int)pool_first((size_t)items, task + 1, j->tasks) - first;
    const float *a = j->a, *b = j->b;
    float *c = j->c;

    (void)thread;
    if (rows) {
        a += (size_t)first * (j->ta ? 1 : (size_t)j->lda);
        c += (size_t)first * (size_t)j->ldc;
    } else {
        b += (size_t)first * (j->tb ? (size_t)j->ldb : 1);
        c += first;
    }
    if (count == 0) return;
    cblas_sgemm(CblasRowMajor, j->ta ? CblasTrans : CblasNoTrans, j->tb ? CblasTrans : CblasNoTrans, rows ? count : j->m, rows ? j->n : count, j->k,
                j->alpha, a, j->lda, b, j->ldb, j->beta, c, j->ldc);
}

void gemm(int TA, int TB, int M, int N, int K, float ALPHA, float *A, int lda, float *B, int ldb, float BETA, float *C, int ldc)
{
    struct gemm_job j = {TA, TB, M, N, K, ALPHA, A, lda, B, ldb, BETA, C, ldc, 1};

    if (M <= 0 || N <= 0) return;
    j.tasks = pool_split((size_t)(M > N ? M : N), (size_t)M * (size_t)N * (size_t)K / 64);
    pool_run(j.tasks, gemm_task, &j);
}

/* Columns of output row oy that read input column ox*stride + offset inside 0..width-1: first..*last-1. */
static int inside(int width, int out_w, int stride, int offset, int *last)
{
    int first = offset < 0 ? (-offset + stride - 1) / stride : 0;

    *last = width - 1 - offset < 0 ? 0 : (width - 1 - offset) / stride + 1;
    if (*last > out_w) *last = out_w;
    return first < *last ? first : *last;
}

struct im2col_job { float *im, *col; int height, width, size, stride, pad, out_h, out_w, channels, tasks; };

static void im2col_task(void *arg, int task, int thread)
{
    const struct im2col_job *j = arg;
    int last = (int)pool_first((size_t)j->channels, task + 1, j->tasks);

    (void)thread;
    for (int c = (int)pool_first((size_t)j->channels, task, j->tasks); c < last; ++c) {
        for (int k = 0; k < j->size * j->size; ++k) {
            float *out = j->col + ((size_t)c * (size_t)(j->size * j->size) + (size_t)k) * (size_t)j->out_h * (size_t)j->out_w;
            int offset = k % j->size - j->pad, end, begin = inside(j->width, j->out_w, j->stride, offset, &end);
            for (int oy = 0; oy < j->out_h; ++oy, out += j->out_w) {
                int y = oy * j->stride + k / j->size - j->pad;
                const float *in = j->im + ((size_t)c * (size_t)j->height + (size_t)y) * (size_t)j->width;
                memset(out, 0, (size_t)j->out_w * sizeof *out);
                if (y < 0 || y >= j->height) continue;
                for (int ox = begin; ox < end; ++ox) out[ox] = in[ox * j->stride + offset];
            }
        }
    }
}

static void col2im_task(void *arg, int task, int thread)
{
    const struct im2col_job *j = arg;
    int last = (int)pool_first((size_t)j->channels, task + 1, j->tasks);

    (void)thread;
    for (int c = (int)pool_first((size_t)j->channels, task, j->tasks); c < last; ++c) {
        for (int k = 0; k < j->size * j->size; ++k) {
            const float *in = j->col + ((size_t)c * (size_t)(j->size * j->size) + (size_t)k) * (size_t)j->out_h * (size_t)j->out_w;
            int offset = k % j->size - j->pad, end, begin = inside(j->width, j->out_w, j->stride, offset, &end);
            for (int oy = 0; oy < j->out_h; ++oy, in += j->out_w) {
                int y = oy * j->stride + k / j->size - j->pad;
                if (y < 0 || y >= j->height) continue;
                float *out = j->im + ((size_t)c * (size_t)j->height + (size_t)y) * (size_t)j->width;
                for (int ox = begin; ox < end; ++ox) out[ox * j->stride + offset] += in[ox];
            }
        }
    }
}

static void run_columns(float *im, int channels, int height, int width, int size, int stride, int pad, float *col, pool_function *fn)
{
    struct im2col_job j = {.im = im, .col = col, .height = height, .width = width, .size = size, .stride = stride, .pad = pad, .channels = channels};

    j.out_h = (height + 2 * pad - size) / stride + 1;
    j.out_w = (width + 2 * pad - size) / stride + 1;
    j.tasks = pool_split((size_t)channels, (size_t)channels * (size_t)(size * size) * (size_t)j.out_h * (size_t)j.out_w);
    pool_run(j.tasks, fn, &j);
}

void im2col_cpu(float *data_im, int channels, int height, int width, int ksize, int stride, int pad, float *data_col)
{
    run_columns(data_im, channels, height, width, ksize, stride, pad, data_col, im2col_task);
}

void col2im_cpu(float *data_col, int channels, int height, int width, int ksize, int stride, int pad, float *data_im)
{
    run_columns(data_im, channels, height, width, ksize, stride, pad, data_col, col2im_task);
}
