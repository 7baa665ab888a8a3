/* The proof of a rewrite, without running a network: old and new network are walked with symbols in place of numbers.
 * Each channel is a 64-bit value that says what it is: channel j of producer l is H(l, j) in the numbering of the ORIGINAL, 0 where the mask
 * removes it; pooling, routes, additions and products make new values of these. At every reader (convolution, head, output, ...) the new
 * network must deliver what the masked original delivers, zeros left out. Then the stored values are compared where the kept lists say
 * they came from. Neither the channel graph nor the slicing code is used: an error in those is what this is there to find.
 * In: both nets as read from their cfgs, the plan, both weights files. Docs: docs/proof.md. */
#ifndef PRUNE_REWRITE_PROOF_H
#define PRUNE_REWRITE_PROOF_H

#include "rewrite.h"

/* PRUNE_FAILED names the layer of the new and of the old network, what it reads and what it should read, or the stored value that is not the
 * old one. Weights NULL (both): the networks alone. Time and memory are linear in channels: 16 bytes for each. *proof is written on success. */
enum prune_code prune_prove(const struct prune_net *old_net, const struct prune_weights *old_weights, const struct prune_plan *plan,
                            const struct prune_net *new_net, const struct prune_weights *new_weights, struct prune_proof *proof, struct prune_status *st);

#endif
