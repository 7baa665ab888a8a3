/* Files: read whole, map read-only, write atomically (temporary file beside the target, fsync, rename).
 * No function here touches an input; a failed or aborted write leaves no file and keeps an old one. */
#ifndef PRUNE_BASE_FILE_IO_H
#define PRUNE_BASE_FILE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "status.h"

/* Reads the whole file. *bytes is malloc'd, one NUL follows the last byte (not counted). Refuses directories and special files. */
enum prune_code prune_read_file(const char *path, char **bytes, size_t *size, struct prune_status *st);

/* The same for a file whose readers need memory in proportion to it: one with more than `limit` bytes is refused before it is read. */
enum prune_code prune_read_file_within(const char *path, size_t limit, char **bytes, size_t *size, struct prune_status *st);

/* A read-only memory map. size 0 maps to bytes == NULL. The pages are dropped with prune_map_release_pages (keeps RSS low). */
struct prune_map {
    const unsigned char *bytes;
    size_t size;
    struct { uint64_t device, inode; int64_t seconds, nanoseconds; } origin;   /* which file, and when it was last written to */
};
enum prune_code prune_map_open(struct prune_map *map, const char *path, struct prune_status *st);
void prune_map_release_pages(const struct prune_map *map, size_t begin, size_t end);
/* Fails when the mapped file was written to or cut since it was opened. (A page beyond the new end of a file that is cut cannot be read
 * at all: the system sends SIGBUS, which the executable reports.) A file that was replaced by another is no change: the map shows the old one. */
enum prune_code prune_map_check(const struct prune_map *map, const char *path, struct prune_status *st);
void prune_map_close(struct prune_map *map);

/* Atomic writer. Order: open, put..., then commit or abort (both free the writer; abort accepts NULL).
 * Errors (full disk, no permission, read-only folder) name the target path. */
struct prune_writer;
enum prune_code prune_writer_open(struct prune_writer **out, const char *path, struct prune_status *st);
enum prune_code prune_writer_put(struct prune_writer *w, const void *bytes, size_t size, struct prune_status *st);
/* Room for the next bytes in the writer's own buffer: *size >= 1 bytes at *room, until the next call; then _filled says how many are there now. */
enum prune_code prune_writer_room(struct prune_writer *w, void **room, size_t *size, struct prune_status *st);
void prune_writer_filled(struct prune_writer *w, size_t size);
enum prune_code prune_writer_commit(struct prune_writer *w, struct prune_status *st);
void prune_writer_abort(struct prune_writer *w);
enum prune_code prune_write_file(const char *path, const void *bytes, size_t size, struct prune_status *st);

/* mkdir -p. */
enum prune_code prune_make_dirs(const char *path, struct prune_status *st);
/* What prune_make_dirs(path) would make first ("a/b" of "a/b/c" where "a" exists), malloc'd; NULL: nothing, or out of memory. */
char *prune_dirs_missing(const char *path);
/* Takes back what was made since: removes the empty folders of path, from its end up to `from` (NULL: none). */
void prune_remove_dirs(const char *path, const char *from);
bool prune_path_exists(const char *path);
/* True when both paths name the same existing file (device and inode). */
bool prune_same_file(const char *a, const char *b);

/* malloc'd "dir/name"; malloc'd base name without folder and without the last extension: "cfg/yolov3-tiny.cfg" -> "yolov3-tiny".
 * Dots that remain inside become '_' (Darknet's basecfg cuts at the first dot). NULL only when out of memory. */
char *prune_path_join(const char *dir, const char *name);
char *prune_base_name(const char *path);
char *prune_format(const char *format, ...) PRUNE_PRINTF(1, 2); /* malloc'd sprintf */

/* 64-bit content hash (xxHash XXH64, seed 0); text form "xxh64:0123456789abcdef" (23 bytes with NUL). */
uint64_t prune_hash_bytes(const void *bytes, size_t size);
enum prune_code prune_hash_file(const char *path, char text[32], struct prune_status *st);
/* The same of bytes that come in pieces. begin: NULL when out of memory. end writes the text form (text NULL: nothing) and frees; accepts NULL. */
struct prune_hash;
struct prune_hash *prune_hash_begin(void);
void prune_hash_add(struct prune_hash *h, const void *bytes, size_t size);
void prune_hash_end(struct prune_hash *h, char text[32]);

#endif
