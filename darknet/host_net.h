/* One network as the pruning host holds it, and the passes over it that host_pjreddie.c and host_passes.c share. */
#ifndef DARKNET_HOST_NET_H
#define DARKNET_HOST_NET_H

#include "loader.h"
#include "network_open.h"
#include "train.h"
#include "train_hook.h"

struct prune_host_net {
    struct open_network open;        /* open.gates: of the cfg's [gate] sections */
    struct gate_table *attached;     /* by gates_attach; then open.gates is NULL */
    int threads;
    uint64_t seed;
    bool quiet;
    int batch;                       /* images there is room for in one forward pass */
    struct trainer *trainer;         /* between train_start and train_stop */
    struct train_hook hook;
    size_t train_images;
    uint8_t **held;                  /* (layers) of each the flags of zeros_hold, or NULL; NULL: nothing is held */
    int forward_images;              /* of the last forward(); 0 = none */
};

/* The gates in force, or NULL. */
static inline struct gate_table *host_gates(const struct prune_host_net *n) { return n->attached ? n->attached : n->open.gates; }

/* A pass outside training: full batch and the cfg's own image size (multi-scale training may be in the middle of another). End restores both. */
struct host_pause { int w, h, train; };
void host_pause_begin(struct prune_host_net *n, struct host_pause *p);
void host_pause_end(struct prune_host_net *n, const struct host_pause *p);

/* The images of a set and a loader over them. The loader points into the struct: never move it. */
struct host_images {
    struct image_source source;
    uint64_t first;              /* ordinal of the first */
    size_t count;
    struct loader *loader;
};
/* training, or a drawn set: permuted and augmented; else in list order as they are. */
enum prune_code host_images_open(struct host_images *s, const struct prune_host_net *n, const struct prune_image_set *set, bool training, struct prune_status *st);
void host_images_close(struct host_images *s);   /* accepts a zeroed one */

/* Images 0 .. end - 1 of a set in pieces that fit the network and do not cross a minibatch; the next piece is read meanwhile. */
struct host_stream { struct host_images source; size_t at, end, minibatch, room, pending; };
enum prune_code host_stream_request(struct host_stream *s, const network *net, struct prune_status *st);   /* once, before the first next */
/* Puts the next piece into the network's input and truth; *got = 0 at the end. */
enum prune_code host_stream_next(struct host_stream *s, network *net, size_t *got, struct prune_status *st);

/* Signals of gates need gates. */
enum prune_code host_signals_check(const struct prune_host_net *n, unsigned signals, struct prune_status *st);

/* Held weights := 0, and their momentum: after every update, and whenever weights come from elsewhere. */
void host_zeros_apply(const struct prune_host_net *n);
void host_zeros_free(struct prune_host_net *n);

/* See plugin/host.h. */
enum prune_code host_parameters_set(struct prune_host_net *n, int layer, int role, const float *values, size_t count, struct prune_status *st);
enum prune_code host_zeros_hold(struct prune_host_net *n, int layer, const uint8_t *keep, size_t count, struct prune_status *st);
enum prune_code host_score(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st);
enum prune_code host_perturb(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_candidates *candidates, bool gradients,
                             prune_perturb_sink sink, void *user, struct prune_status *st);
enum prune_code host_recalibrate(struct prune_host_net *n, const struct prune_image_set *set, size_t images, struct prune_status *st);
enum prune_code host_forward(struct prune_host_net *n, const float *input, size_t images, struct prune_status *st);
enum prune_code host_forward_layers(struct prune_host_net *n, const float *input, const struct prune_given_output *given, size_t given_count, size_t images, int first,
                                    int last, struct prune_status *st);
enum prune_code host_output(struct prune_host_net *n, int layer, struct prune_tensor *view, struct prune_status *st);
enum prune_code host_load_images(struct prune_host_net *n, const struct prune_image_set *set, size_t wanted, float *input, size_t *got, struct prune_status *st);
enum prune_code host_milliseconds(struct prune_host_net *n, double *per_image, struct prune_status *st);

#endif
