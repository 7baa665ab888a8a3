/* Status: formatting of error sentences; see status.h. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_message(struct prune_status *st, enum prune_code code, const char *format, va_list args)
{
    if (!st) return;
    st->code = code;
    int n = vsnprintf(st->message, sizeof st->message, format, args);
    if (n >= (int)sizeof st->message) memcpy(st->message + sizeof st->message - 4, "...", 4);
}

enum prune_code prune_fail(struct prune_status *st, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(st, PRUNE_FAILED, format, args);
    va_end(args);
    return PRUNE_FAILED;
}

enum prune_code prune_fail_usage(struct prune_status *st, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(st, PRUNE_USAGE, format, args);
    va_end(args);
    return PRUNE_USAGE;
}

enum prune_code prune_fail_memory(struct prune_status *st, size_t bytes, const char *what)
{
    return prune_fail(st, "out of memory: %zu bytes for %s", bytes, what);
}

enum prune_code prune_explain(struct prune_status *st, const char *format, ...)
{
    if (!st) return PRUNE_FAILED;
    struct prune_status old = *st;
    va_list args;
    va_start(args, format);
    set_message(st, old.code, format, args);
    va_end(args);
    size_t used = strlen(st->message);
    int n = snprintf(st->message + used, sizeof st->message - used, "%s", old.message);
    if (n >= (int)(sizeof st->message - used)) memcpy(st->message + sizeof st->message - 4, "...", 4);
    return st->code;
}
