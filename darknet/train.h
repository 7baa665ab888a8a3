/* Training in Darknet's manner: `darknet classifier train`, `darknet detector train`, and the same step loop for the pruning host.
 * One trainer = network + loader + schedule position. A NaN loss stops before the update. */
#ifndef DARKNET_TRAIN_H
#define DARKNET_TRAIN_H

#include <darknet.h>
#include "../plugin/host.h"

struct trainer;
struct trainer_options { struct prune_image_set set; uint64_t seed; int threads; bool multi_scale; /* the cfg's random=1 is followed */ };
enum prune_code trainer_open(struct trainer **out, network *net, const struct trainer_options *o, struct prune_status *st);
/* Called around every forward/backward pass of a minibatch (train_hook.c). after() may read gate sums. */
struct trainer_hook { void *user; void (*before)(void *user); enum prune_code (*after)(void *user, size_t images, double mean_loss, struct prune_status *st); };
void trainer_set_hook(struct trainer *t, const struct trainer_hook *hook);
/* One iteration: batch*subdivisions images, one update. rate < 0: the cfg's own schedule at the trainer's iteration. */
enum prune_code trainer_step(struct trainer *t, double rate, double momentum, double decay, struct prune_step *out, struct prune_status *st);
uint64_t trainer_iteration(const struct trainer *t);
size_t trainer_images(const struct trainer *t);            /* in the training list */
/* Position of the schedule and of the image order: iteration 0, ordinal 0 after trainer_open. Reads the images anew where needed. */
void trainer_set_position(struct trainer *t, uint64_t iteration, uint64_t ordinal, uint64_t seed);
uint64_t trainer_ordinal(const struct trainer *t);         /* of the next image drawn */
uint64_t trainer_seed(const struct trainer *t);
/* With multi_scale: the size of an iteration, from (seed, iteration) alone. Detectors every 10 iterations 320..608, classifiers every 40 128..448, both in
 * steps of 32; a detector's last 200 iterations before max_batches at the cfg's size. false: the network keeps its size (not asked for, or a
 * layer of it cannot be resized). */
bool trainer_size(const struct trainer *t, uint64_t iteration, int *w, int *h);
void trainer_close(struct trainer *t);   /* before the network is freed: it gets the cfg's size back. Accepts NULL */
/* State (weights, momentum, counters) to and from a folder of its own; see host.h. The trainer may be NULL for a net that has not trained. Saving swaps
 * the whole folder, so a crash leaves the old state. Loading checks every size first and takes all or nothing; without "gates" in state.json the
 * gates stay as they are, without a trainer its counters are ignored. */
enum prune_code state_save(network *net, const struct trainer *t, const float *gates, size_t units, const char *dir, struct prune_status *st);
enum prune_code state_load(network *net, struct trainer *t, float *gates, size_t units, const char *dir, struct prune_status *st);
/* Atomic, checked replacement of save_weights: byte-identical to it, but a full disk fails, an old file survives a failure, and a network that
 * holds NaN or infinity is refused. */
enum prune_code weights_save(network *net, const char *path, struct prune_status *st);

/* Learning rate of the cfg's policy (constant, step, exp, poly, steps, sigmoid, random is constant) with burn-in at iteration i. */
double schedule_rate(const network *net, uint64_t iteration);

/* The verbs; return the exit code. */
int classifier_train_main(int argc, char **argv);
int detector_train_main(int argc, char **argv);

#endif
