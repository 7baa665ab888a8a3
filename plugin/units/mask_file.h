/* Mask file (JSON): which units, and which whole blocks, of which cfg and weights are removed; docs/mask.md describes it.
 * { "format": "darknet-prune-mask", "version": 1 or 2, "cfg": {"file", "hash"}, "weights": {"file", "hash"} | null, "kind": "unit",
 *   version 2 alone: "blocks": [ {"shortcut": S, "layers": [first, last]} ... ],
 *   "removed": [ {"layer": L, "channels": [..]} ... ], "kept": [ {"layer": L, "channels": [..]} ... ] }
 * Numbers are those of the ORIGINAL cfg. Channels are producers; "kept" lists the surviving channels of every layer that lost some: the identity
 * map of the rewritten network. With blocks, the units are those of the network without them (rewrite/drop.h).
 * Refused: another cfg, other weights (unless origin->other_weights), a unit in part, a protected unit, a channel twice, blocks that are not dropped. */
#ifndef PRUNE_UNITS_MASK_FILE_H
#define PRUNE_UNITS_MASK_FILE_H

#include "blocks.h"

struct prune_mask_origin {
    const char *cfg_path; char cfg_hash[32];
    const char *weights_path; char weights_hash[32];     /* "" = none */
    bool other_weights;                  /* reading: weights of another hash are allowed */
    const struct prune_dropped *dropped; /* the units are those of the cfg without these blocks; NULL: of the cfg as it is */
    /* prune_write_pair: NULL, or what completes the origin once the weights are rewritten and before the mask is: fills weights_hash, or refuses. */
    enum prune_code (*settle)(struct prune_mask_origin *origin, struct prune_status *st);
    void *settle_context;
};

enum prune_code prune_mask_write(const char *path, const struct prune_units *units, const uint8_t *removed, const struct prune_mask_origin *origin, struct prune_status *st);
/* removed has units->count entries, set to 0 or 1 on success. parse: of bytes in memory, text[size] == NUL; path for messages. */
enum prune_code prune_mask_parse(const char *path, const char *text, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                 uint8_t *removed, struct prune_status *st);
enum prune_code prune_mask_read(const char *path, const struct prune_units *units, const struct prune_mask_origin *origin, uint8_t *removed, struct prune_status *st);
/* The shortcuts of the mask's blocks (malloc'd; none: NULL and 0), which are to be dropped before the units are read. Header and hashes are checked;
 * shortcuts and count NULL: nothing else. */
enum prune_code prune_mask_read_blocks(const char *path, const struct prune_mask_origin *origin, int **shortcuts, size_t *count, struct prune_status *st);
/* The weights a mask was made with: *file is malloc'd; hash "" and file "" where it names none. Only the format is checked. */
enum prune_code prune_mask_read_weights(const char *path, char **file, char hash[32], struct prune_status *st);

#endif
