/* Status: how every function of plugin/ reports failure.
 * A function that can fail returns enum prune_code and fills a status with one sentence:
 * cause first, lower case, the subject in single quotes, then the place (file:line, layer) and the remedy.
 * Only main() turns a status into an exit code: 0 ok, 1 failed, 2 bad usage. */
#ifndef PRUNE_BASE_STATUS_H
#define PRUNE_BASE_STATUS_H

#include <stddef.h>

enum prune_code {
    PRUNE_OK = 0,
    PRUNE_FAILED = 1,      /* input, environment or numbers are at fault; message says which */
    PRUNE_USAGE = 2,       /* the command line is at fault */
    PRUNE_INTERRUPTED = 3  /* the user asked to stop (Ctrl-C); state on disk is usable */
};

struct prune_status {
    enum prune_code code;
    char message[1024]; /* NUL-terminated, no trailing newline; longer text is cut with "..." */
};

#if defined(__GNUC__)
#define PRUNE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define PRUNE_PRINTF(f, a)
#endif

/* Each fills *st (NULL allowed: message dropped) and returns the code, so `return prune_fail(st, ...)` works. */
enum prune_code prune_fail(struct prune_status *st, const char *format, ...) PRUNE_PRINTF(2, 3);
enum prune_code prune_fail_usage(struct prune_status *st, const char *format, ...) PRUNE_PRINTF(2, 3);
enum prune_code prune_fail_memory(struct prune_status *st, size_t bytes, const char *what);

/* Puts a prefix in front of the message: prune_explain(st, "%s: ", path). Keeps the code. */
enum prune_code prune_explain(struct prune_status *st, const char *format, ...) PRUNE_PRINTF(2, 3);

#endif
