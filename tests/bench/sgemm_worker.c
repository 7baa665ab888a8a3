/* What the machine can do: one product of 3000 x 3000 matrices with OpenBLAS per "step" (worker.h) -> {"seconds", "gflops", "core"}.
 *   sgemm_worker threads */
#include <cblas.h>

#include "worker.h"

enum { SIZE = 3000 };

int main(int argc, char **argv)
{
    char line[64];
    FILE *answers = worker_answers();
    size_t n = (size_t)SIZE * SIZE;
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *c = calloc(n, sizeof *c);

    if (argc != 2 || !answers || !a || !b || !c) {
        fprintf(stderr, "usage: sgemm_worker threads\n");
        return 2;
    }
    for (size_t i = 0; i < n; ++i) {
        a[i] = (float)(i % 13) - 6;
        b[i] = (float)(i % 7) - 3;
    }
    openblas_set_num_threads(atoi(argv[1]));
    fprintf(answers, "{\"ready\": true}\n");
    fflush(answers);
    while (worker_command(line, sizeof line)) {
        double start = worker_now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIZE, SIZE, SIZE, 1, a, SIZE, b, SIZE, 0, c, SIZE);
        double seconds = worker_now() - start;
        fprintf(answers, "{\"seconds\": %.9f, \"gflops\": %.3f, \"core\": \"%s\"}\n", seconds, 2e-9 * SIZE * SIZE * SIZE / seconds, openblas_get_corename());
        fflush(answers);
    }
    return 0;
}
