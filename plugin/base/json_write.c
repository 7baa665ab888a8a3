/* Streaming JSON writer; see json_write.h. */
#include "json_write.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void flush(struct prune_json *j)
{
    if (!j->code) j->code = j->put(j->to, j->buffer, j->used, j->st);
    j->used = 0;
}

static void put(struct prune_json *j, const char *bytes, size_t size)
{
    while (size) {
        if (j->used == sizeof j->buffer) flush(j);
        size_t room = sizeof j->buffer - j->used, n = size < room ? size : room;
        memcpy(j->buffer + j->used, bytes, n);
        j->used += n;
        bytes += n;
        size -= n;
    }
}

static void put_text(struct prune_json *j, const char *text)
{
    put(j, text, strlen(text));
}

static void new_line(struct prune_json *j, int tabs)
{
    put(j, "\n", 1);
    for (int i = 0; i < tabs; i++) put(j, "\t", 1);
}

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

static void put_quoted(struct prune_json *j, const char *text)
{
    static const char *const SHORT = "\"\\\b\f\n\r\t", *const LETTER = "\"\\bfnrt";
    put(j, "\"", 1);
    for (const char *c = text; *c;) {
        size_t plain = 0;
        while (is_plain(c[plain])) plain++;      /* the NUL is not */
        put(j, c, plain);
        c += plain;
        if (!*c) break;
        const char *known = strchr(SHORT, *c);
        char escape[16];
        if (known) snprintf(escape, sizeof escape, "\\%c", LETTER[known - SHORT]);
        else snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*c);
        put_text(j, escape);
        c++;
    }
    put(j, "\"", 1);
}

/* What stands in front of a value: comma, line, name. */
static void lead(struct prune_json *j, const char *key)
{
    if (j->depth) {
        int d = j->depth - 1;
        if (j->any[d]) put(j, ",", 1);
        if (j->lines[d]) new_line(j, j->depth);
        else if (j->any[d]) put(j, " ", 1);
        j->any[d] = true;
    }
    if (!key) return;
    put_quoted(j, key);
    put_text(j, j->layout == PRUNE_JSON_TREE ? ":\t" : ": ");
}

static void begin(struct prune_json *j, const char *key, bool object)
{
    assert(j->depth < PRUNE_JSON_DEPTH);
    lead(j, key);
    put_text(j, object ? "{" : "[");
    int d = j->depth++;
    j->is_object[d] = object;
    j->lines[d] = object && (j->layout == PRUNE_JSON_TREE || !d);
    j->any[d] = false;
}

void prune_json_begin_object(struct prune_json *j, const char *key)
{
    int d = j->depth - 1;
    if (j->layout == PRUNE_JSON_ROWS && d == 1 && !j->is_object[d]) j->lines[d] = true;   /* an array of objects: one per line */
    begin(j, key, true);
}

void prune_json_begin_array(struct prune_json *j, const char *key)
{
    begin(j, key, false);
}

void prune_json_end(struct prune_json *j)
{
    int d = --j->depth;
    if (j->lines[d]) new_line(j, d);
    put_text(j, j->is_object[d] ? "}" : "]");
}

void prune_json_string(struct prune_json *j, const char *key, const char *text)
{
    lead(j, key);
    if (text) put_quoted(j, text);
    else put_text(j, "null");
}

void prune_json_null(struct prune_json *j, const char *key)
{
    prune_json_string(j, key, NULL);
}

void prune_json_whole(struct prune_json *j, const char *key, int64_t value)
{
    char text[24], *first = text + sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do *--first = (char)('0' + rest % 10); while (rest /= 10);
    if (value < 0) *--first = '-';
    lead(j, key);
    put(j, first, (size_t)(text + sizeof text - first));
}

void prune_json_number(struct prune_json *j, const char *key, double value)
{
    char text[40] = "null";
    if (isfinite(value)) {
        snprintf(text, sizeof text, "%.15g", value);
        if (strtod(text, NULL) < value || strtod(text, NULL) > value) snprintf(text, sizeof text, "%.17g", value);
    }
    lead(j, key);
    put_text(j, text);
}

void prune_json_bool(struct prune_json *j, const char *key, bool value)
{
    lead(j, key);
    put_text(j, value ? "true" : "false");
}

void prune_json_wholes(struct prune_json *j, const char *key, const int *values, size_t count)
{
    prune_json_begin_array(j, key);
    for (size_t i = 0; i < count; i++) prune_json_whole(j, NULL, values[i]);
    prune_json_end(j);
}

void prune_json_start(struct prune_json *j, enum prune_json_layout layout, prune_json_put target, void *to, struct prune_status *st)
{
    memset(j, 0, sizeof *j);
    j->layout = layout;
    j->put = target;
    j->to = to;
    j->st = st;
}

enum prune_code prune_json_end_text(struct prune_json *j)
{
    assert(!j->depth);
    put(j, "\n", 1);
    flush(j);
    return j->code;
}
