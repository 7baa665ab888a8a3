/* What the workers of make bench have in common. A worker loads one network, says "ready", and then does one thing per line it reads on standard input,
 * so that a driver can alternate several of them; between two lines it sleeps. Answers are JSON, one line each. Layers print on standard output:
 * that goes to /dev/null, answers go where standard output went. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline double worker_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* NULL when it cannot be had. */
static inline FILE *worker_answers(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), saved = dup(1);
    if (null < 0 || saved < 0) return NULL;
    dup2(null, 1);
    close(null);
    return fdopen(saved, "w");
}

/* n floats of a file that holds exactly these; ends the process otherwise. */
static inline void worker_read(const char *path, float *to, size_t n)
{
    FILE *f = fopen(path, "rb");
    if (!f || fread(to, sizeof *to, n, f) != n || fgetc(f) != EOF) {
        fprintf(stderr, "bench: '%s' does not hold %zu floats\n", path, n);
        exit(1);
    }
    fclose(f);
}

static inline void worker_write(const char *path, const float *from, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(from, sizeof *from, n, f) != n || fclose(f)) {
        fprintf(stderr, "bench: cannot write '%s'\n", path);
        exit(1);
    }
}

static inline double worker_peak_megabytes(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)used.ru_maxrss / 1024;
}

/* The next command without its newline; false at the end of the input or at "quit". */
static inline bool worker_command(char *line, int size)
{
    if (!fgets(line, size, stdin)) return false;
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, "quit") != 0;
}

#endif
