/* One proof: a cfg with random weights is written to a folder, a mask is drawn, prune_write_pair rewrites, and the reference interpreter runs the original with
 * masked weights, the original with its gates shut, and the rewritten pair. */
#ifndef TESTS_REFERENCE_PROOF_H
#define TESTS_REFERENCE_PROOF_H

#include "../../plugin/rewrite/rewrite.h"
#include "../../plugin/units/mask_file.h"
#include "interpreter.h"

#define PROOF_LIMIT 1e-9

struct proof {
    char folder[96], cfg_path[128], weights_path[128];
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_weights in;
    struct prune_units units;
    struct prune_mask_origin origin;
    struct ref_net original;
    double *image;
    struct prune_status st;
    size_t unfit;                        /* runs whose numbers left the range of double before anything could be compared: softmax without a maximum, powers of negative sums */
};

/* Writes text and weights drawn from `seed` (header version seed mod 4) to folder/net.cfg and .weights and opens them with the program's readers. Failure: st. */
bool proof_open(struct proof *p, const char *folder, const char *text, uint64_t seed);
void proof_close(struct proof *p);

/* What differs, or NULL. *effect (may be NULL): max|a-b|/max|a| between the original as it is and the pruned pair. The text is static to p->st. */
const char *proof_mask(struct proof *p, const uint8_t *removed, double *effect);
const char *proof_keep_all(struct proof *p);
/* Writes the pair, the masked weights, the input and the outputs of the pruned network at the ends into the folder, beside net.cfg and net.weights. */
bool proof_dump(struct proof *p, const uint8_t *removed, const char *folder);

/* ---- masks ---- */

enum mask_kind { MASK_RANDOM, MASK_EVERY_SECOND, MASK_SELECTED, MASK_KINDS };
/* removed: units->count entries, zeroed first; returns how many units go, always a legal mask. *groups: whole groups taken. */
size_t mask_draw(const struct proof *p, enum mask_kind kind, uint64_t seed, uint8_t *removed, size_t *groups);
bool mask_is_legal(const struct proof *p, const uint8_t *removed);
extern const char *const mask_names[MASK_KINDS];

#endif
