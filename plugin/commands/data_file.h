/* What the verbs themselves need of a Darknet data file (key = value lines): class names and the length of a list, for tables and progress.
 * The host has a reader of its own that checks it all. */
#ifndef PRUNE_COMMANDS_DATA_FILE_H
#define PRUNE_COMMANDS_DATA_FILE_H

#include "../host.h"

/* Non-blank lines of a text file, white space at both ends removed. */
struct prune_lines { char *bytes; char **items; size_t count; };
enum prune_code prune_lines_read(struct prune_lines *lines, const char *path, struct prune_status *st);
void prune_lines_free(struct prune_lines *lines);   /* accepts a zeroed one */

/* *value is malloc'd, NULL when the file has no such key. White space around key and value does not count; '#' and ';' start comments. */
enum prune_code prune_data_value(const char *data, const char *key, char **value, struct prune_status *st);

/* The list that the images of a set come from (malloc'd). set->limit becomes the number of images that there are from set->first on, as many as were
 * asked for at most; none is an error. */
enum prune_code prune_set_count(struct prune_image_set *set, char **list, struct prune_status *st);

#endif
