/* Ridge least squares with a free constant, from second moments: for each of G groups the filters W (n, d) and constants c (n) that bring W p + c nearest to
 * targets y over all samples (p, y), pulled towards the present filters W0:
 *   sum |y - W p - c|^2 + count ridge m |W - W0|^2,   m the mean of p_j^2 over samples and inputs j of the group
 * The constant is free: it costs nothing and takes whatever the means leave. Moments are summed in double over panels multiplied in float. */
#ifndef PRUNE_RUN_RECONSTRUCT_SOLVE_H
#define PRUNE_RUN_RECONSTRUCT_SOLVE_H

#include "../base/status.h"

struct prune_moments {
    size_t groups, n, d;                 /* n, d of one group */
    double count;                        /* samples */
    double *pp;                          /* (groups, d, d), lower triangles */
    double *yp;                          /* (groups, n, d) */
    double *p, *y, *yy;                  /* sums: (groups, d), (groups, n), squares (groups, n) */
    float *scratch;                      /* private: one block of products per worker */
};

/* Bytes that moments and solution take. */
double prune_moments_bytes(size_t groups, size_t n, size_t d);
enum prune_code prune_moments_open(struct prune_moments *m, size_t groups, size_t n, size_t d, struct prune_status *st);
void prune_moments_close(struct prune_moments *m);   /* accepts a zeroed one */
/* p (rows, groups * d), y (rows, groups * n). Sums in panels: rows of some thousands keep float's rounding below 1e-6. */
void prune_moments_add(struct prune_moments *m, size_t rows, const float *p, const float *y);

/* Errors are relative: root of sum |y - what stands for it|^2 / sum |y - mean y|^2, over all filters; 0 where no target varies. */
struct prune_solution { double before, after; /* with W0 and no constant; with the result */ double ridge; /* used: more than asked for where the moments are singular */ };
/* w (groups, n, d): W0, replaced by W. constant (groups, n). Uses the moments up: close them next. Fails on values that are not finite. */
enum prune_code prune_moments_solve(struct prune_moments *m, double ridge, float *w, double *constant, struct prune_solution *out, struct prune_status *st);

#endif
