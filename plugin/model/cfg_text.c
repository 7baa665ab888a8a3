/* cfg text: one linear pass from bytes to sections and options, then typed access; see cfg_text.h (edits: cfg_edit.c).
 * Names, keys and values without white space live in one block (`texts`, never longer than the file plus one NUL each),
 * options of all sections in one array: a file of a million sections costs two growing arrays, not a million mallocs. */
#include "cfg_text.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

struct parser {
    struct prune_cfg *cfg;
    size_t *first_option;              /* of each section, index into all_options */
    size_t section_room, option_room, option_count, text_used;
    size_t crlf_lines, lines;
    struct prune_status *st;
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static enum prune_code fail_at(const struct parser *p, int line, const char *what, const char *remedy)
{
    return prune_fail(p->st, "cannot read '%s:%d': %s; %s", p->cfg->path, line, what, remedy);
}

/* The array, doubled when it is full; NULL: out of memory, the old one still stands. */
static void *make_room(void *items, size_t *room, size_t used, size_t item_size)
{
    if (used < *room) return items;
    size_t more = *room ? *room * 2 : 16;
    void *grown = more > SIZE_MAX / item_size ? NULL : realloc(items, more * item_size);
    if (grown) *room = more;
    return grown;
}

/* Copies bytes [begin, end) without white space behind what `texts` holds. */
static char *keep_text(struct parser *p, size_t begin, size_t end)
{
    char *text = p->cfg->texts + p->text_used, *to = text;
    for (size_t i = begin; i < end; i++)
        if (!is_blank(p->cfg->bytes[i])) *to++ = p->cfg->bytes[i];
    *to++ = '\0';
    p->text_used += (size_t)(to - text);
    return text;
}

static struct prune_span trimmed(const char *bytes, size_t begin, size_t end)
{
    while (begin < end && is_blank(bytes[begin])) begin++;
    while (end > begin && is_blank(bytes[end - 1])) end--;
    return (struct prune_span){begin, end};
}

/* Where a number or a list of numbers ends and a comment begins; `end` when the value is no such thing. */
static size_t end_of_number(const char *bytes, size_t begin, size_t end)
{
    size_t at = begin + strspn(bytes + begin, "0123456789+-.,eE \t");
    bool number = at > begin && at < end && strchr("0123456789+-.", bytes[begin]) && (bytes[at] == '#' || bytes[at] == ';');
    return number ? at : end;
}

static enum prune_code add_section(struct parser *p, struct prune_span text, struct prune_span line, int number)
{
    struct prune_cfg *cfg = p->cfg;
    if (cfg->bytes[text.end - 1] != ']') {
        const void *closed = memchr(cfg->bytes + text.begin, ']', text.end - text.begin);
        return closed ? fail_at(p, number, "text behind the section's ']'", "put it on a line of its own")
                      : fail_at(p, number, "'[' without ']'", "close the section's name");
    }
    size_t room = p->section_room; /* both arrays grow in step */
    size_t *firsts = make_room(p->first_option, &room, cfg->section_count, sizeof *firsts);
    if (firsts) p->first_option = firsts;
    struct prune_section *sections = firsts ? make_room(cfg->sections, &p->section_room, cfg->section_count, sizeof *sections) : NULL;
    if (!sections) return prune_fail_memory(p->st, cfg->section_count * sizeof *sections, "the sections of a cfg");
    cfg->sections = sections;
    if (cfg->section_count) cfg->sections[cfg->section_count - 1].span.end = line.begin;
    p->first_option[cfg->section_count] = p->option_count;
    struct prune_section *s = &cfg->sections[cfg->section_count++];
    memset(s, 0, sizeof *s);
    s->name = keep_text(p, text.begin + 1, text.end - 1);
    s->header_span = line;
    s->span = (struct prune_span){line.begin, cfg->size};
    s->line = number;
    return PRUNE_OK;
}

static enum prune_code add_option(struct parser *p, struct prune_span text, struct prune_span line, int number)
{
    struct prune_cfg *cfg = p->cfg;
    const char *equals = memchr(cfg->bytes + text.begin, '=', text.end - text.begin);
    if (!equals) return fail_at(p, number, "the line is neither section, option nor comment", "write 'key=value', or '#' in front of a comment");
    if (!cfg->section_count) return fail_at(p, number, "an option stands before the first section", "a cfg starts with [net]");
    size_t at = (size_t)(equals - cfg->bytes);
    struct prune_span key = trimmed(cfg->bytes, text.begin, at), value = trimmed(cfg->bytes, at + 1, text.end);
    if (key.begin == key.end) return fail_at(p, number, "the option has no key", "write 'key=value'");
    if (value.begin == value.end) return fail_at(p, number, "the option has no value", "write 'key=value', or remove the line");
    size_t stop = end_of_number(cfg->bytes, value.begin, value.end);
    bool comma = memchr(cfg->bytes + stop, ',', value.end - stop) != NULL;
    value = trimmed(cfg->bytes, value.begin, stop);
    struct prune_option *options = make_room(cfg->all_options, &p->option_room, p->option_count, sizeof *options);
    if (!options) return prune_fail_memory(p->st, p->option_count * sizeof *options, "the options of a cfg");
    cfg->all_options = options;
    struct prune_option *o = &cfg->all_options[p->option_count++];
    o->key = keep_text(p, key.begin, key.end);
    o->value = keep_text(p, value.begin, value.end);
    o->key_span = key;
    o->value_span = value;
    o->comma_in_comment = comma;
    o->line_span = line;
    o->line = number;
    cfg->sections[cfg->section_count - 1].option_count++;
    return PRUNE_OK;
}

/* One line, bytes [begin, end) with its ending. */
static enum prune_code read_line(struct parser *p, size_t begin, size_t end, int number)
{
    const char *bytes = p->cfg->bytes;
    size_t stop = end;
    if (stop > begin && bytes[stop - 1] == '\n') {
        stop--;
        p->lines++;
        if (stop > begin && bytes[stop - 1] == '\r') p->crlf_lines++;
    }
    while (stop > begin && (bytes[stop - 1] == '\r' || is_blank(bytes[stop - 1]))) stop--;
    struct prune_span text = trimmed(bytes, begin, stop), line = {begin, end};
    if (text.begin == text.end || bytes[text.begin] == '#' || bytes[text.begin] == ';') return PRUNE_OK;
    if (memchr(bytes + text.begin, '\r', text.end - text.begin)) return fail_at(p, number, "a carriage return inside a line", "end lines with LF or CR LF");
    return bytes[text.begin] == '[' ? add_section(p, text, line, number) : add_option(p, text, line, number);
}

static enum prune_code read_lines(struct parser *p)
{
    const struct prune_cfg *cfg = p->cfg;
    const char *nul = memchr(cfg->bytes, 0, cfg->size);
    if (nul) return prune_fail(p->st, "cannot read '%s': byte %zu is NUL, this is a binary file and no cfg; are the arguments in the order cfg, weights?", cfg->path, (size_t)(nul - cfg->bytes));
    if (cfg->size >= 3 && !memcmp(cfg->bytes, "\xef\xbb\xbf", 3)) return fail_at(p, 1, "the file starts with a byte order mark", "save it as plain text without one");
    int number = 1;
    for (size_t begin = 0; begin < cfg->size; number++) {
        const char *newline = memchr(cfg->bytes + begin, '\n', cfg->size - begin);
        size_t end = newline ? (size_t)(newline - cfg->bytes) + 1 : cfg->size;
        enum prune_code code = read_line(p, begin, end, number);
        if (code) return code;
        begin = end;
    }
    return PRUNE_OK;
}

/* Takes bytes (malloc'd, NUL behind the last). */
static enum prune_code parse(struct prune_cfg *out, const char *path, char *bytes, size_t size, struct prune_status *st)
{
    struct prune_cfg cfg = {.bytes = bytes, .size = size};
    struct parser p = {.cfg = &cfg, .st = st};
    enum prune_code code = PRUNE_OK;
    cfg.path = strdup(path);
    /* a line gives at most two texts, their NULs fit in place of '[' and ']', or of '=' and the line's ending */
    cfg.texts = malloc(size + 2);
    if (!cfg.path || !cfg.texts) code = prune_fail_memory(st, size, path);
    else if (size > INT_MAX) code = prune_fail(st, "cannot read '%s': %zu bytes are too many for a cfg", path, size);
    else code = read_lines(&p);
    for (size_t i = 0; i < cfg.section_count; i++) cfg.sections[i].options = cfg.sections[i].option_count ? cfg.all_options + p.first_option[i] : NULL;
    free(p.first_option);
    if (code) {
        prune_cfg_free(&cfg);
        return code;
    }
    cfg.crlf = p.crlf_lines > p.lines / 2;
    *out = cfg;
    return PRUNE_OK;
}

enum prune_code prune_cfg_read(struct prune_cfg *cfg, const char *path, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code code = prune_read_file(path, &bytes, &size, st);
    return code ? code : parse(cfg, path, bytes, size, st);
}

enum prune_code prune_cfg_parse(struct prune_cfg *cfg, const char *path, const char *bytes, size_t size, struct prune_status *st)
{
    char *copy = malloc(size + 1);
    if (!copy) return prune_fail_memory(st, size + 1, path);
    if (size) memcpy(copy, bytes, size);
    copy[size] = '\0';
    return parse(cfg, path, copy, size, st);
}

void prune_cfg_free(struct prune_cfg *cfg)
{
    free(cfg->path);
    free(cfg->bytes);
    free(cfg->texts);
    free(cfg->all_options);
    free(cfg->sections);
    memset(cfg, 0, sizeof *cfg);
}

const struct prune_option *prune_cfg_find(const struct prune_section *section, const char *key)
{
    for (size_t i = 0; i < section->option_count; i++)
        if (!strcmp(section->options[i].key, key)) return &section->options[i];
    return NULL;
}

static enum prune_code fail_value(const struct prune_cfg *cfg, const struct prune_option *o, const char *wanted, struct prune_status *st)
{
    return prune_fail(st, "cannot read '%s:%d': %.40s is '%.60s', not %s", cfg->path, o->line, o->key, o->value, wanted);
}

/* Reads one integer; *end behind it. false: no integer, or beyond int. */
static bool read_int(const char *text, int *out, const char **end)
{
    char *stop;
    errno = 0;
    long value = strtol(text, &stop, 10);
    if (stop == text || errno || value < INT_MIN || value > INT_MAX) return false;
    *out = (int)value;
    *end = stop;
    return true;
}

enum prune_code prune_cfg_int(const struct prune_cfg *cfg, const struct prune_section *s, const char *key, int fallback, int *out, struct prune_status *st)
{
    const struct prune_option *o = prune_cfg_find(s, key);
    const char *end = "";
    int value = fallback;
    if (o && (!read_int(o->value, &value, &end) || *end)) return fail_value(cfg, o, "an integer of 32 bits", st);
    *out = value;
    return PRUNE_OK;
}

enum prune_code prune_cfg_float(const struct prune_cfg *cfg, const struct prune_section *s, const char *key, double fallback, double *out, struct prune_status *st)
{
    const struct prune_option *o = prune_cfg_find(s, key);
    double value = fallback;
    if (o) {
        char *end;
        value = strtod(o->value, &end);
        if (end == o->value || *end || !isfinite(value)) return fail_value(cfg, o, "a finite number", st);
    }
    *out = value;
    return PRUNE_OK;
}

const char *prune_cfg_string(const struct prune_section *s, const char *key, const char *fallback)
{
    const struct prune_option *o = prune_cfg_find(s, key);
    return o ? o->value : fallback;
}

enum prune_code prune_cfg_check_list(const struct prune_cfg *cfg, const struct prune_option *o, struct prune_status *st)
{
    if (!o->comma_in_comment) return PRUNE_OK;
    return prune_fail(st, "cannot use '%s:%d': the comment behind %.40s holds a comma, and Darknet counts it as one of the list; put the comment on a line of its own", cfg->path, o->line, o->key);
}

enum prune_code prune_cfg_int_list(const struct prune_cfg *cfg, const struct prune_section *s, const char *key, int **out, size_t *count, struct prune_status *st)
{
    const struct prune_option *o = prune_cfg_find(s, key);
    if (!o) {
        *out = NULL;
        *count = 0;
        return PRUNE_OK;
    }
    enum prune_code code = prune_cfg_check_list(cfg, o, st);
    if (code) return code;
    size_t n = 1;
    for (const char *c = o->value; *c; c++) n += *c == ',';
    int *items = malloc(n * sizeof *items);
    if (!items) return prune_fail_memory(st, n * sizeof *items, key);
    const char *at = o->value;
    for (size_t i = 0; i < n; i++) {
        /* the host would read a missing entry ("-1," or "1,,2") as 0 */
        if (!read_int(at, &items[i], &at) || *at != (i + 1 < n ? ',' : '\0')) {
            free(items);
            return fail_value(cfg, o, "a list of integers separated by commas", st);
        }
        at++;
    }
    *out = items;
    *count = n;
    return PRUNE_OK;
}
