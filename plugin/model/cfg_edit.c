/* Edits of a cfg: replacements of byte ranges, applied in one pass that copies every other byte; see cfg_text.h.
 * Inserted lines take the cfg's own line ending. Refuses overlapping ranges and ranges outside the file. */
#include "cfg_text.h"

#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

enum prune_code prune_edit_add(struct prune_edit_list *list, struct prune_span span, const char *text, struct prune_status *st)
{
    if (!(list->count & (list->count - 1))) { /* full at 0, 1, 2, 4, 8, ... */
        size_t room = list->count ? 2 * list->count : 1;
        struct prune_edit *grown = realloc(list->items, room * sizeof *grown);
        if (!grown) return prune_fail_memory(st, room * sizeof *grown, "edits of a cfg");
        list->items = grown;
    }
    char *copy = strdup(text);
    if (!copy) return prune_fail_memory(st, strlen(text) + 1, "an edit of a cfg");
    list->items[list->count++] = (struct prune_edit){span, copy};
    return PRUNE_OK;
}

enum prune_code prune_edit_set(struct prune_edit_list *list, const struct prune_cfg *cfg, size_t section, const char *key, const char *value, const char *after_key, struct prune_status *st)
{
    const struct prune_section *s = &cfg->sections[section];
    const struct prune_option *present = prune_cfg_find(s, key);
    if (present) return strcmp(present->value, value) ? prune_edit_add(list, present->value_span, value, st) : PRUNE_OK;
    const struct prune_option *before = after_key ? prune_cfg_find(s, after_key) : NULL;
    size_t at = before ? before->line_span.end : s->header_span.end;
    const char *ending = cfg->crlf ? "\r\n" : "\n";
    bool closed = cfg->bytes[at - 1] == '\n'; /* the file's last line may lack its ending */
    char *line = prune_format("%s%s=%s%s", closed ? "" : ending, key, value, closed ? ending : "");
    if (!line) return prune_fail_memory(st, strlen(key) + strlen(value), "an edit of a cfg");
    enum prune_code code = prune_edit_add(list, (struct prune_span){at, at}, line, st);
    free(line);
    return code;
}

/* By place; insertions before the replacement of what follows, else in the order they were added. */
static int by_place(const void *a, const void *b)
{
    const struct prune_edit *x = *(const struct prune_edit *const *)a, *y = *(const struct prune_edit *const *)b;
    if (x->span.begin != y->span.begin) return x->span.begin < y->span.begin ? -1 : 1;
    bool x_inserts = x->span.begin == x->span.end, y_inserts = y->span.begin == y->span.end;
    if (x_inserts != y_inserts) return x_inserts ? -1 : 1;
    return x < y ? -1 : x > y;
}

static enum prune_code sorted_edits(const struct prune_cfg *cfg, const struct prune_edit_list *list, const struct prune_edit ***out, size_t *size, struct prune_status *st)
{
    const struct prune_edit **sorted = malloc((list->count + 1) * sizeof *sorted);
    if (!sorted) return prune_fail_memory(st, list->count * sizeof *sorted, "edits of a cfg");
    for (size_t i = 0; i < list->count; i++) sorted[i] = &list->items[i];
    qsort(sorted, list->count, sizeof *sorted, by_place);
    size_t total = cfg->size, at = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct prune_span span = sorted[i]->span;
        if (span.begin < at || span.end < span.begin || span.end > cfg->size) {
            free(sorted);
            return prune_fail(st, "cannot edit '%s': two changes of bytes %zu to %zu", cfg->path, span.begin, span.end);
        }
        total += strlen(sorted[i]->text) - (span.end - span.begin);
        at = span.end;
    }
    *out = sorted;
    *size = total;
    return PRUNE_OK;
}

enum prune_code prune_edit_apply(const struct prune_cfg *cfg, const struct prune_edit_list *list, char **bytes, size_t *size, struct prune_status *st)
{
    const struct prune_edit **sorted = NULL;
    size_t total = 0;
    enum prune_code code = sorted_edits(cfg, list, &sorted, &total, st);
    if (code) return code;
    char *text = malloc(total + 1), *to = text;
    if (!text) {
        free(sorted);
        return prune_fail_memory(st, total + 1, cfg->path);
    }
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct prune_edit *e = sorted[i];
        size_t kept = e->span.begin - at, added = strlen(e->text);
        memcpy(to, cfg->bytes + at, kept);
        memcpy(to + kept, e->text, added);
        to += kept + added;
        at = e->span.end;
    }
    memcpy(to, cfg->bytes + at, cfg->size - at);
    text[total] = '\0';
    free(sorted);
    *bytes = text;
    *size = total;
    return PRUNE_OK;
}

void prune_edit_free(struct prune_edit_list *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->items[i].text);
    free(list->items);
    list->items = NULL;
    list->count = 0;
}
