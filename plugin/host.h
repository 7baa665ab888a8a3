/* What pruning needs of a training framework. plugin/ calls a framework through this struct and nothing else; darknet/ implements it on the CPU.
 * A GPU host or one that spreads work over MPI implements the same struct: capability bits say what it offers, handles are opaque, tensors
 * say where they live. No call exits; errors come back as status. Layers and channels are those of the cfg that was loaded. */
#ifndef PRUNE_HOST_H
#define PRUNE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define PRUNE_HOST_VERSION 1

enum prune_device { PRUNE_DEVICE_CPU, PRUNE_DEVICE_CUDA };
enum prune_dtype { PRUNE_F32, PRUNE_F64 };
struct prune_tensor { void *data; enum prune_device device; enum prune_dtype type; int rank; size_t shape[4]; ptrdiff_t strides[4]; /* in elements */ };

/* Capability bits, also the names of signals a hook can deliver. */
enum {
    PRUNE_SIGNAL_GATE_BATCH = 1u << 0,   /* g_u = mean over the minibatch of dE_b/dz_u: F64, (units) */
    PRUNE_SIGNAL_GATE_IMAGE = 1u << 1,   /* dE_b/dz_u: F32, (images, units) */
    PRUNE_CAN_TRAIN = 1u << 8,
    PRUNE_CAN_STATE = 1u << 9            /* export_state / import_state */
};

/* A gate multiplies one channel by its unit's z. True sign: E is the mean loss per image, dE/dz > 0 means removal lowers E. */
enum prune_gate_place {
    PRUNE_GATE_BEFORE_ACTIVATION,        /* after batch-norm and bias, before the activation, of a convolutional or connected layer */
    PRUNE_GATE_AFTER_OUTPUT              /* on the layer's output (any kind): where a zero would not survive the activation */
};
struct prune_gate_site { int layer, channel, unit; enum prune_gate_place place; };

/* One minibatch as the hook saw it; valid during the callback only. */
struct prune_signals {
    uint64_t minibatch;                  /* ordinal within the pass */
    size_t images, units;
    double loss;                         /* mean per image, of the loss whose gradient is descended */
    struct prune_tensor gate_batch, gate_image;   /* data NULL when not asked for */
};
typedef enum prune_code (*prune_sink)(void *user, const struct prune_signals *signals, struct prune_status *st);

struct prune_host_net;                   /* opaque */

struct prune_open_options {
    int threads;                         /* 0 = all cores */
    uint64_t seed;
    int batch;                           /* images per forward pass; 0 = the cfg's batch / subdivisions */
    bool quiet;                          /* no layer table, no per-batch head statistics */
};

/* batch: images per forward pass; one training step is batch * subdivisions images */
struct prune_net_facts { int w, h, c, classes, batch, subdivisions; bool detector; double learning_rate, momentum, decay; uint64_t seen;
                         size_t train_images; /* images in the training list; 0 before train_start */ };

/* Images as the data file's lists name them. list NULL: the role's own list. */
enum prune_data_role { PRUNE_DATA_TRAIN, PRUNE_DATA_VALID };
struct prune_image_set {
    const char *data_path;               /* Darknet data file */
    enum prune_data_role role;
    const char *list;                    /* optional file of image paths that replaces the role's list */
    size_t limit;                        /* first N images only; 0 = all */
    int letterbox;                       /* detectors: 1 letterboxed, 0 stretched */
};

struct prune_step_options { double rate, momentum, decay; };
struct prune_step { double loss; size_t images; uint64_t iteration; };

struct prune_evaluation {
    size_t images;
    double loss;                         /* classifier: mean cross-entropy; detector: mean of the loss whose gradient is descended, NaN when not computed */
    double top1, top5;                   /* fractions; NaN for detectors. top5 is top-min(5, classes) */
    double map50, map;                   /* mAP@0.5 (area under curve), mAP@[.5:.95]; NaN for classifiers */
    int classes; double *ap50, *ap;      /* per class, malloc'd, NaN for a class without truths; freed with prune_evaluation_release */
    double seconds;                      /* of forward passes alone */
};

struct prune_host {
    uint32_t version, size;              /* PRUNE_HOST_VERSION, sizeof(struct prune_host): checked before use */
    uint32_t capabilities;
    const char *name;                    /* "darknet (CPU)" */
    void *context;

    /* weights NULL: fresh random initialisation from the seed. The caller has checked cfg and weights with plugin/model. */
    enum prune_code (*open)(void *context, const char *cfg, const char *weights, const struct prune_open_options *o, struct prune_host_net **out, struct prune_status *st);
    void (*close)(struct prune_host_net *net);                       /* accepts NULL */
    void (*facts)(const struct prune_host_net *net, struct prune_net_facts *out);

    /* Gates: attach replaces what was attached; z starts at 1. units = number of z values. */
    enum prune_code (*gates_attach)(struct prune_host_net *net, const struct prune_gate_site *sites, size_t site_count, size_t units, struct prune_status *st);
    enum prune_code (*gates_set)(struct prune_host_net *net, const float *z, size_t units, struct prune_status *st);

    /* Training: images of the set drawn from (seed, image ordinal), augmented as the cfg says; sink (may be NULL) gets the signals of every
     * minibatch (forward pass; `subdivisions` of them a step) and does not disturb the numbers of training. A NaN loss fails before the update. */
    enum prune_code (*train_start)(struct prune_host_net *net, const struct prune_image_set *set, unsigned signals, prune_sink sink, void *user, struct prune_status *st);
    enum prune_code (*train_step)(struct prune_host_net *net, const struct prune_step_options *o, struct prune_step *out, struct prune_status *st);
    void (*train_stop)(struct prune_host_net *net);
    void (*reset_momentum)(struct prune_host_net *net);

    /* Gradient pass without update: images in list order, not augmented, batch-norm with rolling statistics, dropout off; minibatches of
     * `minibatch` consecutive images (the last may be smaller). */
    enum prune_code (*score)(struct prune_host_net *net, const struct prune_image_set *set, size_t minibatch, unsigned signals, prune_sink sink, void *user, struct prune_status *st);
    enum prune_code (*evaluate)(struct prune_host_net *net, const struct prune_image_set *set, struct prune_evaluation *out, struct prune_status *st);
    /* Batch-norm statistics := average over `images` images drawn as in training. */
    enum prune_code (*recalibrate)(struct prune_host_net *net, const struct prune_image_set *set, size_t images, struct prune_status *st);

    /* Inference on raw input (n, c, h, w) with rolling statistics; output(layer) is a view of (n, outputs) valid until the next call. */
    enum prune_code (*forward)(struct prune_host_net *net, const float *input, size_t n, struct prune_status *st);
    enum prune_code (*output)(struct prune_host_net *net, int layer, struct prune_tensor *view, struct prune_status *st);
    /* Images of a set as network input, for verify: writes up to n images of (c, h, w) floats, *got = how many. */
    enum prune_code (*load_images)(struct prune_host_net *net, const struct prune_image_set *set, size_t n, float *input, size_t *got, struct prune_status *st);
    enum prune_code (*milliseconds)(struct prune_host_net *net, double *per_image, struct prune_status *st); /* batch 1, median */

    enum prune_code (*save_weights)(struct prune_host_net *net, const char *path, struct prune_status *st);  /* atomic; seen = trained images, never falls */
    /* Whole training state in a folder: state.weights, state.momentum (same layout as weights: updates of biases, scales, weights; zeros for statistics),
     * state.json (iteration, seen, seed, image ordinal, gates). import after open of the same cfg: training goes on as if it had not stopped. */
    enum prune_code (*export_state)(struct prune_host_net *net, const char *dir, struct prune_status *st);
    enum prune_code (*import_state)(struct prune_host_net *net, const char *dir, struct prune_status *st);

    /* Per-image (classifier) or per-detection (detector) predictions as tab-separated text; see docs/evaluation.md. */
    enum prune_code (*write_predictions)(struct prune_host_net *net, const struct prune_image_set *set, const char *path, struct prune_status *st);
    /* True once the user has asked to stop (Ctrl-C): long loops finish their step, leave usable files and return PRUNE_INTERRUPTED. */
    bool (*interrupted)(void *context);
};

void prune_evaluation_release(struct prune_evaluation *e);
/* PRUNE_FAILED when version, size or a needed capability is missing. */
enum prune_code prune_host_check(const struct prune_host *host, unsigned needed, struct prune_status *st);

#endif
