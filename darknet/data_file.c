/* Data files ("key=value" lines) and lists (one string per line), as Darknet has them; see loader.h.
 * In: text with LF or CRLF endings; blank lines and lines that begin with # or ; are skipped, white space around keys, values and items is cut.
 * Refuses, with file and line: a line without '=', numbers that are none, classes < 1, NUL bytes (a binary file), a list without an item. */
#include "loader.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../plugin/base/file_io.h"

static char *trim(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1])) end--;
    *end = '\0';
    return s;
}

static enum prune_code read_text(const char *path, const char *what, char **text, size_t *size, struct prune_status *st)
{
    enum prune_code rc = prune_read_file(path, text, size, st);
    if (rc) return prune_explain(st, "%s: ", what);
    if (memchr(*text, '\0', *size)) {
        free(*text);
        return prune_fail(st, "%s '%s' is not a text file: it holds NUL bytes", what, path);
    }
    return PRUNE_OK;
}

static enum prune_code read_number(const char *path, int line, const char *key, const char *value, int lowest, int *out, struct prune_status *st)
{
    char *end = NULL;
    errno = 0;
    long n = strtol(value, &end, 10);
    if (end == value || *end || errno || n < lowest || n > INT_MAX)
        return prune_fail(st, "%s:%d: '%s=%s' is not a number from %d on", path, line, key, value, lowest);
    *out = (int)n;
    return PRUNE_OK;
}

/* Darknet's rule for a repeated key: the first wins. */
static enum prune_code keep_string(char **slot, const char *value, struct prune_status *st)
{
    if (*slot) return PRUNE_OK;
    *slot = strdup(value);
    return *slot ? PRUNE_OK : prune_fail_memory(st, strlen(value), "a data file's value");
}

static enum prune_code take_line(struct data_file *d, char *line, int number, struct prune_status *st)
{
    struct { const char *key; char **slot; } strings[] = {
        {"train", &d->train}, {"valid", &d->valid}, {"names", &d->names}, {"labels", &d->labels}, {"backup", &d->backup}};
    char *equals = strchr(line, '=');
    if (!equals) return prune_fail(st, "%s:%d: '%s' has no '='; a data file holds lines like 'train=list.txt'", d->path, number, line);
    *equals = '\0';
    const char *key = trim(line), *value = trim(equals + 1);
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        if (!strcmp(key, strings[i].key)) return keep_string(strings[i].slot, value, st);
    if (!strcmp(key, "classes")) return d->classes ? PRUNE_OK : read_number(d->path, number, key, value, 1, &d->classes, st);
    if (!strcmp(key, "top")) return d->top ? PRUNE_OK : read_number(d->path, number, key, value, 1, &d->top, st);
    if (!strcmp(key, "pad_crop")) return d->pad ? PRUNE_OK : read_number(d->path, number, key, value, 0, &d->pad, st);
    if (!strcmp(key, "flip")) {
        int flip = 0;
        enum prune_code rc = read_number(d->path, number, key, value, 0, &flip, st);
        d->flip = flip != 0;
        return rc;
    }
    return PRUNE_OK; /* eval=, results=, map=, ...: keys of verbs that are the host's */
}

enum prune_code data_file_read(struct data_file *d, const char *path, struct prune_status *st)
{
    char *text = NULL, *next;
    size_t size = 0;
    int number = 0;
    enum prune_code rc = read_text(path, "data file", &text, &size, st);
    if (rc) return rc;
    struct data_file read = {.path = strdup(path), .flip = true};
    if (!read.path) rc = prune_fail_memory(st, strlen(path), "a path");
    for (char *line = text; line && !rc; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        line = trim(line);
        number++;
        if (*line && *line != '#' && *line != ';') rc = take_line(&read, line, number, st);
    }
    free(text);
    if (!rc && !read.classes) rc = prune_fail(st, "data file '%s' has no classes= line", path);
    if (!read.top) read.top = 1;
    if (rc) data_file_free(&read);
    else *d = read;
    return rc;
}

void data_file_free(struct data_file *d)
{
    free(d->path);
    free(d->train);
    free(d->valid);
    free(d->names);
    free(d->labels);
    free(d->backup);
    memset(d, 0, sizeof *d);
}

enum prune_code string_list_read(struct string_list *l, const char *path, const char *what, struct prune_status *st)
{
    char *text = NULL, *next;
    size_t size = 0, lines = 1, count = 0;
    enum prune_code rc = read_text(path, what, &text, &size, st);
    if (rc) return rc;
    for (const char *p = text; (p = strchr(p, '\n')); p++) lines++;
    char **items = malloc(lines * sizeof *items);
    if (!items) {
        free(text);
        return prune_fail_memory(st, lines * sizeof *items, what);
    }
    for (char *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        line = trim(line);
        if (*line) items[count++] = line;
    }
    if (!count) {
        free(items);
        free(text);
        return prune_fail(st, "%s '%s' is empty", what, path);
    }
    *l = (struct string_list){items, count, text};
    return PRUNE_OK;
}

void string_list_free(struct string_list *l)
{
    free(l->items);
    free(l->storage);
    memset(l, 0, sizeof *l);
}
