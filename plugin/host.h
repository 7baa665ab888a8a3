/* What pruning needs of a training framework. plugin/ calls a framework through this struct and nothing else; darknet/ implements it on the CPU.
 * A GPU host or one that spreads work over MPI implements the same struct: capability bits say what it offers, handles are opaque, tensors
 * say where they live. No call exits; errors come back as status. Layers and channels are those of the cfg that was loaded. */
#ifndef PRUNE_HOST_H
#define PRUNE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define PRUNE_HOST_VERSION 3

enum prune_device { PRUNE_DEVICE_CPU, PRUNE_DEVICE_CUDA };
enum prune_dtype { PRUNE_F32, PRUNE_F64 };
struct prune_tensor { void *data; enum prune_device device; enum prune_dtype type; int rank; size_t shape[4]; ptrdiff_t strides[4]; /* in elements */ };

/* Capability bits, also the names of signals a hook can deliver. */
enum {
    PRUNE_SIGNAL_GATE_BATCH = 1u << 0,   /* g_u = mean over the minibatch of dE_b/dz_u: F64, (units) */
    PRUNE_SIGNAL_GATE_IMAGE = 1u << 1,   /* dE_b/dz_u: F32, (images, units) */
    PRUNE_SIGNAL_PARAMETERS = 1u << 2,   /* every parameter and dE/dparameter, mean over the minibatch: F32 */
    PRUNE_SIGNAL_MAPS = 1u << 3,         /* layer outputs behind the activation, one sink call per forward pass: F32, (images, c, h, w) */
    PRUNE_SIGNAL_MARGINS = 1u << 4,      /* classifiers: a_k = logit of rival k - logit of the true class, and da_k/dz_u: per image */
    PRUNE_SIGNAL_CURVATURE = 1u << 5,    /* random v with E[v v^T] = d2E_b/dy2 (y the head's input) and v . dy/dz_u: per image */
    PRUNE_SIGNAL_LAYERS = 1u << 6,       /* input of convolutional and connected layers, and gradients at their sums: what K-FAC is made of */
    PRUNE_SIGNAL_PRODUCT = 1u << 7,      /* (H v)_u = sum_w d2E/dz_u dz_w v_w, exact (forward over reverse), for the direction v of the pass */
    PRUNE_SIGNALS = (1u << 8) - 1,
    PRUNE_CAN_TRAIN = 1u << 8,
    PRUNE_CAN_STATE = 1u << 9,           /* export_state / import_state */
    PRUNE_CAN_PERTURB = 1u << 10,        /* perturb */
    PRUNE_CAN_EDIT = 1u << 11            /* parameters_set, zeros_hold */
};

/* A gate multiplies one channel by its unit's z. True sign: E is the mean loss per image, dE/dz > 0 means removal lowers E. */
enum prune_gate_place {
    PRUNE_GATE_BEFORE_ACTIVATION,        /* after batch-norm and bias, before the activation, of a convolutional or connected layer */
    PRUNE_GATE_AFTER_OUTPUT,             /* on the layer's output (any kind): where a zero would not survive the activation */
    PRUNE_GATE_BEFORE_NORM               /* in front of batch-norm: for study alone (z = 0 leaves beta - gamma mean / sigma); without batch-norm
                                            the same as before the activation */
};
struct prune_gate_site { int layer, channel, unit; enum prune_gate_place place; };

/* role: enum prune_weights_role of model/weights_file.h. values and gradients are flat, in the order of the weights file (not flipped, not transposed). */
struct prune_parameter_signal { int layer, role; struct prune_tensor values, gradients; };
struct prune_map_signal { int layer; struct prune_tensor map; };
/* A convolutional or connected layer and the images of one pass. input: (images, c, h, w), what its filters see; gradient: (images, n, oh, ow), TRUE sign times -1 where
 * `negated`, dE_b/ds of each image's own loss (not divided by the number of images), s = sum of weight x input before bias and batch-norm. Connected: h, w, oh, ow
 * are 1. Gradients are those of the labels' loss, or, with PRUNE_FISHER_SAMPLED, of targets drawn from the network's own predictive distribution. */
struct prune_layer_signal { int layer; bool negated; struct prune_tensor input, gradient; };

/* One minibatch as the hook saw it; valid during the callback only. */
struct prune_signals {
    uint64_t minibatch;                  /* ordinal within the pass */
    size_t images, units;
    double loss;                         /* mean per image, of the loss whose gradient is descended */
    struct prune_tensor gate_batch, gate_image;   /* data NULL when not asked for */
    /* Rivals: the likeliest classes but the true one, falling. margins F32 (images, rivals), gate_margins F32 (images, rivals, units):
     * with rivals = classes - 1 the loss of an image is log(1 + sum_k exp a_k). */
    struct prune_tensor margins, gate_margins;
    struct prune_tensor gate_probes;              /* F32 (images, probes, units); the mean over probes of squares is an unbiased (J^T H J)_uu of the image */
    const struct prune_parameter_signal *parameters; size_t parameter_count;   /* in the order of the weights file */
    const struct prune_map_signal *maps; size_t map_count;                     /* every layer that has channels */
    /* LAYERS: the sink is called once per forward pass as with MAPS; layer_images: images of this pass (`images` counts those of the minibatch, at its end) */
    const struct prune_layer_signal *layers; size_t layer_count, layer_images;
    struct prune_tensor gate_product;             /* F64 (units), mean over the minibatch */
    size_t pass;                         /* which pass of a criterion of several; the host leaves it 0 */
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
    size_t first;                        /* images to skip */
    size_t limit;                        /* N images only, from `first`; 0 = all that are left */
    bool drawn;                          /* permuted and augmented as in training, from (seed, ordinal); else in list order as they are */
    int letterbox;                       /* detectors: 1 letterboxed, 0 stretched */
};

/* rivals, probes: how many of MARGINS (at most classes - 1) and CURVATURE per image. PRUNE_PROBES_EXACT: the columns of R^(1/2) itself, scaled so that the mean over
 * probes is still (J^T R J) without any chance; one per output, softmax classifiers alone. */
enum { PRUNE_PROBES_EXACT = -1 };
enum prune_fisher { PRUNE_FISHER_SAMPLED, PRUNE_FISHER_EMPIRICAL };
struct prune_score_options {
    size_t minibatch;
    unsigned signals;
    int rivals, probes;
    enum prune_fisher fisher;            /* of LAYERS */
    const uint8_t *layers;               /* (layers of the cfg) which ones LAYERS is wanted of; NULL: all */
    const float *direction;              /* (units) v of PRODUCT */
};

/* Candidate k: units[first[k]] ... units[first[k + 1] - 1] get the gate value z[k], the others stay as they are. */
struct prune_candidates { const int *units; const size_t *first; const float *z; size_t count; };
/* One piece of the images, all candidates; valid during the callback. gradient[k] is dE/dz of candidate k's first unit AT its gate values. */
struct prune_perturbed {
    size_t first_image, images;
    const double *base;                  /* (images) loss with the gates as they are */
    const float *loss;                   /* (candidates, images) */
    const double *gradient;              /* (candidates) sum over the images of the piece, or NULL */
};
typedef enum prune_code (*prune_perturb_sink)(void *user, const struct prune_perturbed *piece, struct prune_status *st);

struct prune_given_output { int layer; const float *values; /* (images, outputs) */ };

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
     * minibatch (forward pass; `subdivisions` of them a step) and does not disturb the numbers of training. A NaN loss fails before the update.
     * o: which signals (NULL: none); its minibatch is ignored, rivals and probes of 0 are 2 and 1, what it points at is copied. */
    enum prune_code (*train_start)(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user,
                                   struct prune_status *st);
    enum prune_code (*train_step)(struct prune_host_net *net, const struct prune_step_options *o, struct prune_step *out, struct prune_status *st);
    void (*train_stop)(struct prune_host_net *net);
    void (*reset_momentum)(struct prune_host_net *net);

    /* Gradient pass without update: batch-norm with rolling statistics, dropout off; minibatches of `minibatch` consecutive images (the last may be
     * smaller; one that MAPS or PARAMETERS are asked of is one minibatch all the same, whatever the network's batch; MAPS calls the sink per pass:
     * one that does not end its minibatch brings images 0 and its maps alone, shape[0] of them). */
    enum prune_code (*score)(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st);
    /* Loss (and gate gradient, if wanted) of every candidate on every image, recomputing only from the first layer a candidate touches; same mode as score.
     * Gates end as they were. Units whose gates would change nothing give the base loss. */
    enum prune_code (*perturb)(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_candidates *candidates, bool gradients,
                               prune_perturb_sink sink, void *user, struct prune_status *st);
    /* Values of one tensor of the weights file (its order, n values), from now on; outputs of the last
     * forward stay what they were. role: enum prune_role. Not while a pass runs. */
    enum prune_code (*parameters_set)(struct prune_host_net *net, int layer, int role, const float *values, size_t n, struct prune_status *st);
    /* From now on values with keep[i] = 0 of a layer's weights are 0, and training leaves them 0 (their momentum too). keep NULL: no more. */
    enum prune_code (*zeros_hold)(struct prune_host_net *net, int layer, const uint8_t *keep, size_t n, struct prune_status *st);
    enum prune_code (*evaluate)(struct prune_host_net *net, const struct prune_image_set *set, struct prune_evaluation *out, struct prune_status *st);
    /* Batch-norm statistics := average over `images` images drawn as in training. */
    enum prune_code (*recalibrate)(struct prune_host_net *net, const struct prune_image_set *set, size_t images, struct prune_status *st);

    /* Inference on raw input (n, c, h, w) with rolling statistics; output(layer) is a view of (n, outputs) valid until the next call. */
    enum prune_code (*forward)(struct prune_host_net *net, const float *input, size_t n, struct prune_status *st);
    enum prune_code (*output)(struct prune_host_net *net, int layer, struct prune_tensor *view, struct prune_status *st);
    /* Layers first .. last alone (first > last: none), n images, on outputs of earlier layers that are given; those of others are not to be read. */
    enum prune_code (*forward_layers)(struct prune_host_net *net, const float *input, const struct prune_given_output *given, size_t given_count, size_t n, int first,
                                      int last, struct prune_status *st);
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
