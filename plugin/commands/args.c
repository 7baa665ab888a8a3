/* Arguments in Darknet's manner; see args.h. A value that looks like a flag ("-macs -units") is a missing value, while "-1" and
 * "-.5" are values. Nothing is given twice and nothing is ignored. */
#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/nearest.h"

static bool is_flag(const char *text)
{
    return text[0] == '-' && isalpha((unsigned char)text[1]);
}

/* Index in the verb's list, or -1. */
static int find_flag(const struct prune_flag *flags, const char *name)
{
    for (int i = 0; flags[i].name; i++)
        if (strcmp(flags[i].name, name) == 0) return i;
    return -1;
}

static enum prune_code unknown_flag(const struct prune_flag *flags, const char *name, struct prune_status *st)
{
    const char *names[PRUNE_FLAG_ROOM], *near;
    size_t count = 0;
    while (flags[count].name && count < PRUNE_FLAG_ROOM) {
        names[count] = flags[count].name;
        count++;
    }
    near = prune_nearest(name, names, count);
    return prune_fail_usage(st, "unknown flag '-%s'%s%s%s", name, near ? "; did you mean '-" : "", near ? near : "", near ? "'?" : "");
}

static enum prune_code take_flag(struct prune_args *a, int argc, char **argv, int *at, struct prune_status *st)
{
    const char *name = argv[*at] + 1;
    int index = find_flag(a->flags, name);
    if (index < 0) return unknown_flag(a->flags, name, st);
    if ((size_t)index >= sizeof a->values / sizeof *a->values) return prune_fail_usage(st, "flag '-%s': too many flags", name);
    if (a->values[index]) return prune_fail_usage(st, "flag '-%s' is given twice", name);
    if (!a->flags[index].takes_value) {
        a->values[index] = "";
        return PRUNE_OK;
    }
    if (*at + 1 >= argc || is_flag(argv[*at + 1])) return prune_fail_usage(st, "flag '-%s' needs a value", name);
    a->values[index] = argv[++*at];
    return PRUNE_OK;
}

enum prune_code prune_args_parse(struct prune_args *a, int argc, char **argv, const struct prune_flag *flags, int min_positional, int max_positional,
                                 struct prune_status *st)
{
    memset(a, 0, sizeof *a);
    a->flags = flags;
    for (int i = 1; i < argc; i++) {
        if (is_flag(argv[i])) {
            enum prune_code rc = take_flag(a, argc, argv, &i, st);
            if (rc) return rc;
        } else if (a->count >= max_positional || (size_t)a->count >= sizeof a->positional / sizeof *a->positional) {
            return prune_fail_usage(st, "unexpected argument '%s'", argv[i]);
        } else {
            a->positional[a->count++] = argv[i];
        }
    }
    if (a->count < min_positional) return prune_fail_usage(st, "%d argument%s given, at least %d needed", a->count, a->count == 1 ? "" : "s", min_positional);
    return PRUNE_OK;
}

bool prune_args_has(const struct prune_args *a, const char *flag)
{
    int index = find_flag(a->flags, flag);
    return index >= 0 && a->values[index];
}

const char *prune_args_string(const struct prune_args *a, const char *flag, const char *fallback)
{
    int index = find_flag(a->flags, flag);
    return index >= 0 && a->values[index] ? a->values[index] : fallback;
}

enum prune_code prune_args_int(const struct prune_args *a, const char *flag, long lo, long hi, long fallback, long *out, struct prune_status *st)
{
    const char *text = prune_args_string(a, flag, NULL);
    if (!text) {
        *out = fallback;
        return PRUNE_OK;
    }
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text)) return prune_fail_usage(st, "flag '-%s': '%s' is not a whole number", flag, text);
    if (errno || value < lo || value > hi) return prune_fail_usage(st, "flag '-%s': '%s' is outside %ld..%ld", flag, text, lo, hi);
    *out = value;
    return PRUNE_OK;
}

enum prune_code prune_args_double(const struct prune_args *a, const char *flag, double lo, double hi, double fallback, double *out, struct prune_status *st)
{
    const char *text = prune_args_string(a, flag, NULL);
    if (!text) {
        *out = fallback;
        return PRUNE_OK;
    }
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || isspace((unsigned char)*text) || isnan(value)) return prune_fail_usage(st, "flag '-%s': '%s' is not a number", flag, text);
    if (!(value >= lo && value <= hi)) return prune_fail_usage(st, "flag '-%s': '%s' is outside %g..%g", flag, text, lo, hi);
    *out = value;
    return PRUNE_OK;
}

enum prune_code prune_args_size(const struct prune_args *a, const char *flag, size_t fallback, size_t *out, struct prune_status *st)
{
    static const char units[] = "KMG";
    const char *text = prune_args_string(a, flag, NULL);
    if (!text) {
        *out = fallback;
        return PRUNE_OK;
    }
    char *end;
    double number = strtod(text, &end);
    const char *unit = end > text && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) number *= (double)((size_t)1 << 10 * (size_t)(unit - units + 1)), end++;
    if (end == text || *end || isspace((unsigned char)*text) || !(number >= 1 && number <= 0x1p60))
        return prune_fail_usage(st, "flag '-%s': '%s' is no size such as 800M or 2G", flag, text);
    *out = (size_t)number;
    return PRUNE_OK;
}
