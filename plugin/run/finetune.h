/* Fine-tuning: SGD from trained weights with an own iteration counter, learning rate from `rate` to 0 along a half cosine. */
#ifndef PRUNE_RUN_FINETUNE_H
#define PRUNE_RUN_FINETUNE_H

#include "../host.h"

struct prune_finetune_options {
    size_t steps;
    struct prune_step_options step;   /* rate: at the start */
    const char *weights_path;         /* saved every `save_every` steps and at the end */
    size_t save_every;                /* 0 = only at the end */
};
struct prune_finetune_result { size_t steps, images; double loss; /* mean of the last tenth of the steps */ };

/* The network must have train_start behind it. A loss that is not finite fails and says which step; weights_path then holds the last good
 * weights. PRUNE_INTERRUPTED: stopped by the user, weights saved. */
enum prune_code prune_finetune(const struct prune_host *host, struct prune_host_net *net, const struct prune_finetune_options *o,
                               struct prune_finetune_result *r, struct prune_status *st);

/* What training takes where something is left open: momentum or decay NAN: the cfg's; rate 0: min(the cfg's, 0.01), what a trained network bears (a cfg's rate is for training
 * from scratch). */
struct prune_step_options prune_step_of(const struct prune_step_options *asked, const struct prune_net_facts *facts);

/* Half a cosine from `rate` at step 0 towards 0 at `steps`. */
double prune_cosine_rate(double rate, size_t step, size_t steps);

/* "2" or "2e": epochs; "300i": iterations. *steps = training steps for a list of `images` images. */
enum prune_code prune_parse_length(const char *flag, const char *text, size_t images, size_t images_per_step, size_t *steps, struct prune_status *st);

#endif
