/* The progress line; see progress.h. On a terminal the line is rewritten at most ten times a second, in a file or pipe
 * a whole line appears at most every ten seconds (and at the end of a job that took longer). */
#include "progress.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double prune_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void prune_progress_start(struct prune_progress *p, FILE *file, const char *what, size_t total)
{
    memset(p, 0, sizeof *p);
    p->file = file;
    p->what = what;
    p->total = total;
    p->started = p->printed = prune_now();
    p->terminal = isatty(fileno(file)) == 1;
}

static void print_left(FILE *file, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600) fprintf(file, ", %ldh %02ldm left", s / 3600, s / 60 % 60);
    else if (s >= 60) fprintf(file, ", %ldm %02lds left", s / 60, s % 60);
    else fprintf(file, ", %lds left", s);
}

void prune_progress_update(struct prune_progress *p, size_t done, const char *format, ...)
{
    double now = prune_now(), wait = p->terminal ? 0.1 : 10;
    if (now - p->printed < wait && !(p->open && done == p->total)) return;
    p->printed = now;
    if (p->terminal) fputs("\r", p->file);
    fprintf(p->file, "%s: %zu/%zu", p->what, done, p->total);
    if (p->total) fprintf(p->file, " (%.0f%%)", 100.0 * (double)done / (double)p->total);
    if (format && *format) {
        va_list args;
        va_start(args, format);
        fputs(", ", p->file);
        vfprintf(p->file, format, args);
        va_end(args);
    }
    if (done && done < p->total) print_left(p->file, (now - p->started) * (double)(p->total - done) / (double)done);
    fputs(p->terminal ? "\033[K" : "\n", p->file);
    fflush(p->file);
    p->open = 1;
}

void prune_progress_end(struct prune_progress *p)
{
    if (p->open && p->terminal) {
        fputs("\n", p->file);
        fflush(p->file);
    }
    p->open = 0;
}
