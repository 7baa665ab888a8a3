/* State files: what a computation that was stopped needs to go on (docs/scores.md). Facts, one "name value" a line, say what it is a state of; named
 * parts of bytes hold it. In the byte order of the machine:
 *   8 bytes "DNPSTATE", u32 version, u32 0x01020304, u32 parts, u32 bytes of facts (their NUL included), facts, NUL;
 *   for each part u32 bytes of its name (its NUL included), u64 bytes, name, NUL, bytes;  u64 XXH64 of all before */
#ifndef PRUNE_BASE_STATE_FILE_H
#define PRUNE_BASE_STATE_FILE_H

#include "file_io.h"

struct prune_state_part { const char *name; const void *bytes; size_t size; };

/* The bytes of a file, malloc'd; prune_write_file writes them. */
enum prune_code prune_state_encode(const char *facts, const struct prune_state_part *parts, size_t count, char **bytes, size_t *size, struct prune_status *st);

/* A file that was read; facts and parts point into its bytes. */
struct prune_state_file { const char *path; struct prune_map map; const char *facts; struct prune_state_part *parts; size_t count; };
/* Refuses what is no state file, another version or byte order, and a file that is damaged or cut. path is borrowed. */
enum prune_code prune_state_open(struct prune_state_file *f, const char *path, struct prune_status *st);
/* The same of bytes in memory, which stay the caller's. */
enum prune_code prune_state_parse(struct prune_state_file *f, const char *path, const void *bytes, size_t size, struct prune_status *st);
void prune_state_close(struct prune_state_file *f);   /* accepts a zeroed one */

/* The value of a fact, at most room - 1 bytes of it; false: there is none, or it is longer. */
bool prune_state_fact(const struct prune_state_file *f, const char *name, char *value, size_t room);
const struct prune_state_part *prune_state_part(const struct prune_state_file *f, const char *name);   /* NULL: none */

#endif
