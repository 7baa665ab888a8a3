/* Gate values of a gated cfg: a text file `<base>.gates` beside `<base>.weights`, one line per unit:
 *   # darknet-prune-gates 1
 *   <layer> <channel> <z>      the unit's first channel, in the cfg's numbering; z = 0 shut, 1 open
 * Units that are not named are open. '#' starts a comment line. Refused: another first line, a channel that does not exist, a z that is not finite. */
#ifndef DARKNET_GATES_FILE_H
#define DARKNET_GATES_FILE_H

#include "../plugin/units/units.h"

/* malloc'd: "dir/net.weights" -> "dir/net.gates" (any last extension is replaced). NULL: out of memory. */
char *gates_path(const char *weights);
/* z: units->count values, written only on success. */
enum prune_code gates_read(const char *path, const struct prune_units *units, const struct prune_net *net, float *z, struct prune_status *st);
/* Atomic. */
enum prune_code gates_write(const char *path, const struct prune_units *units, const float *z, struct prune_status *st);

#endif
