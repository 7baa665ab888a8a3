/* Verification: two networks must give the same outputs at the input of every head (masked original against rewritten).
 * A load test proves nothing: Darknet silently adds misaligned shortcuts. Numbers do. */
#ifndef PRUNE_RUN_VERIFY_H
#define PRUNE_RUN_VERIFY_H

#include "../host.h"

struct prune_verify_options {
    size_t images;          /* 0 = 4 */
    const char *data_path;  /* images of its valid list; NULL = uniform random pixels */
    double tolerance;       /* of max|a-b| / max|a|; 0 = 1e-4 */
    uint64_t seed;
    int threads;
};
struct prune_verify_result { double worst; int worst_layer; size_t images, heads; };

/* *r is filled whenever both networks ran; PRUNE_FAILED when they differ by more than the tolerance or an output is not finite. */
enum prune_code prune_verify(const struct prune_host *host, const char *cfg_a, const char *weights_a, const char *cfg_b, const char *weights_b,
                             const struct prune_verify_options *o, struct prune_verify_result *r, struct prune_status *st);

#endif
