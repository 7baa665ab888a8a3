/* cfg text: bytes <-> sections and options, with the byte range and the line of everything.
 * In: the bytes of a Darknet cfg (LF or CRLF). Out: views into them; the bytes are never normalised, so an edit of one
 * value leaves every other byte as it was. Comment lines start with '#' or ';' (Darknet's rule); white space anywhere in
 * a line is ignored by Darknet and therefore by the reader ("lay ers = -1, 8" means layers=-1,8). Behind a number or a list of numbers
 * a comment may follow ("filters=64 # wide"): Darknet stops reading the number there. Text values have no comments.
 * Refuses, with file:line: options before the first section, a line that is neither option, section, comment nor blank,
 * an option without value, NUL bytes, a byte order mark, a carriage return inside a line, an unclosed '['.
 * A duplicate key: the first wins (Darknet's rule). Time and memory are linear in the size of the file. */
#ifndef PRUNE_MODEL_CFG_TEXT_H
#define PRUNE_MODEL_CFG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/status.h"

struct prune_span { size_t begin, end; };          /* bytes [begin, end) of prune_cfg.bytes */

struct prune_option {
    char *key, *value;                             /* white space removed, NUL-terminated, owned by the cfg */
    struct prune_span key_span, value_span;        /* as written, outer white space trimmed, without a comment behind a number */
    bool comma_in_comment;                         /* in the comment behind a number: Darknet takes it for a list entry */
    struct prune_span line_span;                   /* whole line with its line ending */
    int line;                                      /* 1-based */
};

struct prune_section {
    char *name;                                    /* between the brackets, white space removed, case kept */
    struct prune_span header_span;                 /* header line with its ending */
    struct prune_span span;                        /* header up to the next header (or the end) */
    int line;
    struct prune_option *options;
    size_t option_count;
};

struct prune_cfg {
    char *path;                                    /* for messages; "(memory)" allowed */
    char *bytes;                                   /* owned, NUL after the last */
    size_t size;
    bool crlf;                                     /* most lines end in CR LF */
    struct prune_section *sections;
    size_t section_count;
    char *texts;                                   /* private: storage behind every name, key and value */
    struct prune_option *all_options;              /* private: storage behind every section's options */
};

enum prune_code prune_cfg_read(struct prune_cfg *cfg, const char *path, struct prune_status *st);
/* Copies bytes. */
enum prune_code prune_cfg_parse(struct prune_cfg *cfg, const char *path, const char *bytes, size_t size, struct prune_status *st);
void prune_cfg_free(struct prune_cfg *cfg);

/* First option of that key in the section, or NULL. */
const struct prune_option *prune_cfg_find(const struct prune_section *section, const char *key);
/* Typed access: *out = fallback when the key is missing; a value that is not wholly a number of that kind, or out of
 * the type's range, or NaN, fails with "file:line: ...". */
enum prune_code prune_cfg_int(const struct prune_cfg *cfg, const struct prune_section *s, const char *key, int fallback, int *out, struct prune_status *st);
enum prune_code prune_cfg_float(const struct prune_cfg *cfg, const struct prune_section *s, const char *key, double fallback, double *out, struct prune_status *st);
const char *prune_cfg_string(const struct prune_section *s, const char *key, const char *fallback);
/* Refuses a list whose comment holds a comma. */
enum prune_code prune_cfg_check_list(const struct prune_cfg *cfg, const struct prune_option *o, struct prune_status *st);
/* Comma-separated integers; *out malloc'd (NULL with *count 0 when the key is missing). */
enum prune_code prune_cfg_int_list(const struct prune_cfg *cfg, const struct prune_section *s, const char *key, int **out, size_t *count, struct prune_status *st);

/* Edits: replacements of byte ranges, any order, not overlapping; begin == end inserts. text is owned by the list. */
struct prune_edit { struct prune_span span; char *text; };
struct prune_edit_list { struct prune_edit *items; size_t count; };
enum prune_code prune_edit_add(struct prune_edit_list *list, struct prune_span span, const char *text, struct prune_status *st);
/* Sets key=value in a section: replaces the value in place, or inserts a line after the header (or after `after_key`
 * where that exists) with the cfg's own line ending. A value equal to the present one adds no edit. */
enum prune_code prune_edit_set(struct prune_edit_list *list, const struct prune_cfg *cfg, size_t section, const char *key, const char *value, const char *after_key, struct prune_status *st);
enum prune_code prune_edit_apply(const struct prune_cfg *cfg, const struct prune_edit_list *list, char **bytes, size_t *size, struct prune_status *st);
void prune_edit_free(struct prune_edit_list *list);

#endif
