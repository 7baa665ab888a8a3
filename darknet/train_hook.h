/* The training hook: turns the gate sums of a minibatch into the signals of METHODS.md and hands them to a sink of plugin/. Sums become means over the
 * images, sign true. Reads only what backward passes leave behind: training does not notice it. */
#ifndef DARKNET_TRAIN_HOOK_H
#define DARKNET_TRAIN_HOOK_H

#include "extra_signals.h"
#include "tangent.h"
#include "train.h"

struct train_hook {
    struct gate_table *gates;    /* NULL: only images and loss are told */
    unsigned signals;
    prune_sink sink;             /* may be NULL */
    void *user;
    uint64_t minibatch;          /* ordinal of the next one */
    struct tangent *tangent;     /* NULL: no products; closed by the owner */
    struct extra_signals *extra; /* NULL: none of them asked for; closed by the owner */
};

void train_hook_before(void *hook);
/* The forward (and backward) passes of a whole minibatch are done, extra passes too. */
enum prune_code train_hook_after(void *hook, size_t images, double mean_loss, struct prune_status *st);
struct trainer_hook train_hook_interface(struct train_hook *hook);

#endif
