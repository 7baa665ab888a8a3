/* Mask file (JSON, version 1): which units of which cfg and weights are removed.
 * { "format": "darknet-prune-mask", "version": 1, "cfg": {"file", "hash"}, "weights": {"file", "hash"} | null, "kind": "unit",
 *   "removed": [ {"layer": L, "channels": [..]} ... ], "kept": [ {"layer": L, "channels": [..]} ... ] }
 * Channels are producers in the ORIGINAL cfg's numbering; "kept" lists the surviving channels of every layer that lost some: the identity map of the
 * rewritten network. A mask is refused when the hash of the cfg differs, a unit is removed in part, or a protected unit is named. */
#ifndef PRUNE_UNITS_MASK_FILE_H
#define PRUNE_UNITS_MASK_FILE_H

#include "units.h"

struct prune_mask_origin { const char *cfg_path; char cfg_hash[32]; const char *weights_path; char weights_hash[32]; /* "" = none */ };

enum prune_code prune_mask_write(const char *path, const struct prune_units *units, const uint8_t *removed, const struct prune_mask_origin *origin, struct prune_status *st);
/* removed has units->count entries, set to 0 or 1 on success. parse: of bytes in memory, text[size] == NUL; path for messages. */
enum prune_code prune_mask_parse(const char *path, const char *text, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                 uint8_t *removed, struct prune_status *st);
enum prune_code prune_mask_read(const char *path, const struct prune_units *units, const struct prune_mask_origin *origin, uint8_t *removed, struct prune_status *st);

#endif
