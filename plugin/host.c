/* The two functions every host shares; see host.h. */
#include "host.h"

#include <stdlib.h>

void prune_evaluation_release(struct prune_evaluation *e)
{
    free(e->ap50);
    free(e->ap);
    e->ap50 = NULL;
    e->ap = NULL;
}

static const struct { unsigned bit; const char *name; } CAPABILITIES[] = {
    {PRUNE_SIGNAL_GATE_BATCH, "gate gradients per minibatch"},
    {PRUNE_SIGNAL_GATE_IMAGE, "gate gradients per image"},
    {PRUNE_CAN_TRAIN, "training"},
    {PRUNE_CAN_PERTURB, "losses with other gates"},
    {PRUNE_CAN_EDIT, "changing weights"},
    {PRUNE_SIGNAL_LAYERS, "inputs and gradients of layers"},
    {PRUNE_SIGNAL_PRODUCT, "Hessian-vector products"},
    {PRUNE_CAN_STATE, "saving and restoring the training state"},
};

enum prune_code prune_host_check(const struct prune_host *host, unsigned needed, struct prune_status *st)
{
    if (!host) return prune_fail(st, "no training host in this program");
    if (host->version != PRUNE_HOST_VERSION || host->size != sizeof *host)
        return prune_fail(st, "host '%s' has interface version %u of %u bytes, this program needs version %d of %zu bytes; rebuild it", host->name ? host->name : "?",
                          host->version, host->size, PRUNE_HOST_VERSION, sizeof *host);
    unsigned missing = needed & ~host->capabilities;
    if (!missing) return PRUNE_OK;
    for (size_t i = 0; i < sizeof CAPABILITIES / sizeof *CAPABILITIES; i++)
        if (missing & CAPABILITIES[i].bit) return prune_fail(st, "host '%s' cannot do this: it lacks %s", host->name, CAPABILITIES[i].name);
    return prune_fail(st, "host '%s' lacks capability 0x%x", host->name, missing);
}
