/* Streaming JSON writer: objects, arrays and values go out as they are given, so that a file of a million numbers needs a few kilobytes of
 * memory. Two layouts: PRUNE_JSON_TREE puts every member of every object on a line of its own (the layout of mask files), PRUNE_JSON_ROWS does so
 * for the outermost object and for the elements of its arrays of objects, and writes what lies deeper in one line (inspect -json).
 * The caller balances begin and end; a failure to write is kept and returned by prune_json_end_text, so that no call in between is checked. */
#ifndef PRUNE_BASE_JSON_WRITE_H
#define PRUNE_BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

enum prune_json_layout { PRUNE_JSON_TREE, PRUNE_JSON_ROWS };
enum { PRUNE_JSON_DEPTH = 16 };

/* Takes bytes; anything but PRUNE_OK ends the writing. */
typedef enum prune_code (*prune_json_put)(void *to, const void *bytes, size_t size, struct prune_status *st);

struct prune_json {
    prune_json_put put;
    void *to;
    struct prune_status *st;
    enum prune_code code;                /* first failure */
    enum prune_json_layout layout;
    int depth;
    bool is_object[PRUNE_JSON_DEPTH], lines[PRUNE_JSON_DEPTH], any[PRUNE_JSON_DEPTH];
    char buffer[4096]; size_t used;
};

void prune_json_start(struct prune_json *j, enum prune_json_layout layout, prune_json_put put, void *to, struct prune_status *st);
/* key: the member's name inside an object, NULL inside an array and for the outermost value. */
void prune_json_begin_object(struct prune_json *j, const char *key);
void prune_json_begin_array(struct prune_json *j, const char *key);
void prune_json_end(struct prune_json *j);
void prune_json_string(struct prune_json *j, const char *key, const char *text);      /* NULL: null */
void prune_json_whole(struct prune_json *j, const char *key, int64_t value);
void prune_json_number(struct prune_json *j, const char *key, double value);          /* NaN, infinity: null */
void prune_json_bool(struct prune_json *j, const char *key, bool value);
void prune_json_null(struct prune_json *j, const char *key);
void prune_json_wholes(struct prune_json *j, const char *key, const int *values, size_t count);
/* The last newline and whatever is still buffered. */
enum prune_code prune_json_end_text(struct prune_json *j);

#endif
