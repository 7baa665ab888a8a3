/* Lines and keys of a data file; see data_file.h. */
#include "data_file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

static char *trim(char *text)
{
    while (isspace((unsigned char)*text)) text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1])) n--;
    text[n] = 0;
    return text;
}

enum prune_code prune_lines_read(struct prune_lines *lines, const char *path, struct prune_status *st)
{
    size_t size = 0, most = 1;
    char *bytes = NULL;
    enum prune_code rc = prune_read_file(path, &bytes, &size, st);
    if (rc) return rc;
    if (memchr(bytes, 0, size)) {
        free(bytes);
        return prune_fail(st, "cannot read '%s': it holds a zero byte, so it is not a text file", path);
    }
    for (const char *p = bytes; *p; p++) most += *p == '\n';
    char **items = malloc(most * sizeof *items);
    if (!items) {
        free(bytes);
        return prune_fail_memory(st, most * sizeof *items, "lines");
    }
    *lines = (struct prune_lines){.bytes = bytes, .items = items};
    for (char *line = bytes, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        line = trim(line);
        if (*line) items[lines->count++] = line;
    }
    return PRUNE_OK;
}

void prune_lines_free(struct prune_lines *lines)
{
    free(lines->bytes);
    free(lines->items);
    *lines = (struct prune_lines){0};
}

enum prune_code prune_data_value(const char *data, const char *key, char **value, struct prune_status *st)
{
    struct prune_lines lines;
    *value = NULL;
    enum prune_code rc = prune_lines_read(&lines, data, st);
    if (rc) return rc;
    for (size_t i = 0; !rc && !*value && i < lines.count; i++) {
        char *line = lines.items[i], *equals = strchr(line, '=');
        if (!equals || *line == '#' || *line == ';') continue;
        *equals = 0;
        if (strcmp(trim(line), key) != 0) continue;
        *value = strdup(trim(equals + 1));
        if (!*value) rc = prune_fail_memory(st, strlen(equals + 1), "data file");
    }
    prune_lines_free(&lines);
    return rc;
}

enum prune_code prune_set_count(struct prune_image_set *set, char **list, struct prune_status *st)
{
    const char *key = set->role == PRUNE_DATA_TRAIN ? "train" : "valid";
    struct prune_lines lines;
    enum prune_code rc = PRUNE_OK;
    if (!set->list) rc = prune_data_value(set->data_path, key, list, st);
    else if (!(*list = strdup(set->list))) rc = prune_fail_memory(st, strlen(set->list), "paths");
    if (!rc && !*list) rc = prune_fail(st, "data file '%s' has no %s= line", set->data_path, key);
    if (!rc) rc = prune_lines_read(&lines, *list, st);
    if (rc) return rc;
    size_t epoch = set->drawn && lines.count ? set->first % lines.count : set->first, left = lines.count > epoch ? lines.count - epoch : 0;
    if (!left) rc = prune_fail(st, "images from %zu on are asked for, but '%s' holds %zu", set->first + 1, *list, lines.count);
    if (!set->limit || (!set->drawn && set->limit > left)) set->limit = left;
    prune_lines_free(&lines);
    return rc;
}
