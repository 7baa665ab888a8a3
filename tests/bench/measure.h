/* What the programs of this folder that measure share: clocks, the median, the end at an error. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../plugin/base/status.h"

static inline double clock_now(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of all threads: other programs on the machine take the clock's seconds, not these. */
static inline double processor_now(void) { return clock_now(CLOCK_PROCESS_CPUTIME_ID); }

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them. */
static inline double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static inline void check(enum prune_code rc, const struct prune_status *st)
{
    if (!rc) return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, st->message);
    exit(1);
}

#endif
