/* The training hook; see train_hook.h. */
#include "train_hook.h"

void train_hook_before(void *hook)
{
    struct train_hook *h = hook;
    if (h->gates) gate_signals_reset(h->gates);
    if (h->tangent) tangent_reset(h->tangent);
    if (h->extra) extra_begin(h->extra);
}

/* (units) sums over images to means, in out. */
static struct prune_tensor means(const double *sums, size_t units, size_t images, double *out)
{
    for (size_t u = 0; u < units; u++) out[u] = sums[u] / (double)images;
    return (struct prune_tensor){.data = out, .type = PRUNE_F64, .rank = 1, .shape = {units}, .strides = {1}};
}

enum prune_code train_hook_after(void *hook, size_t images, double mean_loss, struct prune_status *st)
{
    struct train_hook *h = hook;
    uint64_t ordinal = h->minibatch++;
    if (h->gates && gate_failed(h->gates)) return prune_fail(st, "out of memory while the gates kept a layer's values; use a smaller batch");
    if (!h->sink) return PRUNE_OK;
    size_t units = h->gates ? gate_units(h->gates) : 0;
    struct prune_signals signals = {.minibatch = ordinal, .images = images, .units = units, .loss = mean_loss};
    double *mean = malloc((2 * units + 1) * sizeof *mean);
    if (!mean) return prune_fail_memory(st, 2 * units * sizeof *mean, "gate gradients");
    if (h->gates && h->signals & PRUNE_SIGNAL_GATE_BATCH) signals.gate_batch = means(gate_batch_sums(h->gates), units, images, mean);
    if (h->tangent) signals.gate_product = means(tangent_sums(h->tangent), units, images, mean + units);
    if (h->gates && (h->signals & PRUNE_SIGNAL_GATE_IMAGE))
        signals.gate_image = (struct prune_tensor){.data = (void *)(uintptr_t)gate_image_sums(h->gates), .type = PRUNE_F32, .rank = 2, .shape = {images, units},
                                                   .strides = {(ptrdiff_t)units, 1}};
    if (h->extra) extra_fill(h->extra, &signals);
    enum prune_code rc = h->sink(h->user, &signals, st);
    free(mean);
    return rc;
}

/* In training a minibatch is one pass. */
static enum prune_code after_pass(void *hook, size_t images, double mean_loss, struct prune_status *st)
{
    struct train_hook *h = hook;
    if (h->extra) extra_pass(h->extra, 0, h->minibatch * images);
    return train_hook_after(hook, images, mean_loss, st);
}

struct trainer_hook train_hook_interface(struct train_hook *hook)
{
    return (struct trainer_hook){.user = hook, .before = train_hook_before, .after = after_pass};
}
