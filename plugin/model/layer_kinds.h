/* THE table of layer kinds: one row per section type of every Darknet dialect. Everything that depends on a section's type
 * (names and aliases, how its output shape follows, what it does to channels, which tensors it stores and in which order,
 * which keys it knows) is a column here; no other file compares section names. */
#ifndef PRUNE_MODEL_LAYER_KINDS_H
#define PRUNE_MODEL_LAYER_KINDS_H

#include <stdbool.h>
#include <stddef.h>

enum prune_kind {
    PRUNE_KIND_UNKNOWN = 0,
    PRUNE_NET, PRUNE_GATE,                         /* not layers: no index */
    PRUNE_CONVOLUTIONAL, PRUNE_DECONVOLUTIONAL, PRUNE_LOCAL, PRUNE_CONNECTED,
    PRUNE_MAXPOOL, PRUNE_AVGPOOL, PRUNE_CROP, PRUNE_DROPOUT, PRUNE_ROUTE, PRUNE_SHORTCUT, PRUNE_UPSAMPLE, PRUNE_REORG,
    PRUNE_BATCHNORM, PRUNE_ACTIVATION, PRUNE_LOGISTIC, PRUNE_L2NORM, PRUNE_NORMALIZATION,
    PRUNE_SOFTMAX, PRUNE_COST, PRUNE_REGION, PRUNE_YOLO, PRUNE_ISEG, PRUNE_DETECTION,
    PRUNE_RNN, PRUNE_LSTM, PRUNE_GRU, PRUNE_CRNN,
    /* AlexeyAB's and hank-ai's Darknet (docs/dialects.md) */
    PRUNE_SCALE_CHANNELS, PRUNE_SAM, PRUNE_LOCAL_AVGPOOL, PRUNE_REORG3D, PRUNE_EMPTY, PRUNE_IMPLICIT,
    PRUNE_GAUSSIAN_YOLO, PRUNE_CONTRASTIVE, PRUNE_CONV_LSTM, PRUNE_HISTORY,
    PRUNE_KIND_COUNT
};

/* What a kind does to channels (read by units/). */
enum prune_channel_rule {
    PRUNE_CH_NONE,        /* [net], [gate] */
    PRUNE_CH_PRODUCE,     /* new channels from all inputs: convolution (groups seen in the layer), connected, local, deconvolutional, implicit (no input) */
    PRUNE_CH_PASS,        /* output channel i is a function of input channel i alone */
    PRUNE_CH_CONCAT,      /* route: whole sources, or slice group_id of groups of each */
    PRUNE_CH_ADD,         /* shortcut: of each source the first min(c, c_k) channels are added */
    PRUNE_CH_MULTIPLY,    /* scale_channels, sam: channel i times channel i of the other source */
    PRUNE_CH_REORG,       /* blocks of stride^2 channels move together */
    PRUNE_CH_REPEAT,      /* reorg3d: output channel i is a function of input channel i mod c alone */
    PRUNE_CH_FIXED        /* every channel read is protected (heads, losses, LRN, l2norm, recurrent) */
};

/* Which Darknets know a section, key or activation; bits. */
enum prune_dialect { PRUNE_PJREDDIE = 1, PRUNE_ALEXEYAB = 2, PRUNE_EVERY_DARKNET = 3 };

/* A key that a kind may carry. neutral: the value that changes nothing, so that a Darknet that ignores the key does no harm; or NULL. */
struct prune_key { const char *name, *neutral; int dialects; };

struct prune_kind_info {
    enum prune_kind kind;
    const char *name;                    /* canonical: "convolutional" */
    const char *aliases[3];              /* "conv", ... */
    enum prune_channel_rule rule;
    bool is_layer;                       /* counted in layer indices */
    bool is_head;                        /* yolo, region, detection, softmax, iseg: has a loss of its own */
    const char *protect_reason;          /* for PRUNE_CH_FIXED: "read by a yolo head" */
    const struct prune_key *keys;        /* ended by name NULL; a kind with any_key lists only what not every Darknet knows */
    bool any_key;                        /* unknown keys cannot touch channels ([net], heads) */
    int dialects;                        /* bits of prune_dialect */
};

/* Darknet compares exactly ("[conv]", "[convolutional]"); case as written. Unknown name: the row of PRUNE_KIND_UNKNOWN. */
const struct prune_kind_info *prune_kind_by_name(const char *name);
const struct prune_kind_info *prune_kind_info(enum prune_kind kind);
/* Keys every layer section may carry ("learning_rate", "stopbackward", ...). */
bool prune_key_is_common(const char *key);
/* The value is the one that changes nothing ("dilation=1", "antialiasing=0"). */
bool prune_key_is_neutral(const struct prune_key *key, const char *value);
/* Section names that Darknet sources mention and no reader of a cfg handles ("channel_slice"). */
bool prune_section_is_unreadable(const char *name);
/* Keys whose value the host reads as a number, whatever the section. */
bool prune_key_is_number(const char *key);
/* The table itself, for docs and tests. */
const struct prune_kind_info *prune_kind_table(size_t *count);

enum prune_activation {
    PRUNE_LOGISTIC_ACT, PRUNE_RELU, PRUNE_RELIE, PRUNE_LINEAR, PRUNE_RAMP, PRUNE_TANH, PRUNE_PLSE, PRUNE_LEAKY, PRUNE_ELU,
    PRUNE_LOGGY, PRUNE_STAIR, PRUNE_HARDTAN, PRUNE_LHTAN, PRUNE_SELU,
    PRUNE_SWISH, PRUNE_MISH, PRUNE_HARD_MISH, PRUNE_RELU6, PRUNE_GELU, PRUNE_REVLEAKY,
    PRUNE_NORM_CHAN, PRUNE_NORM_CHAN_SOFTMAX, PRUNE_NORM_CHAN_SOFTMAX_MAXVAL, PRUNE_ACTIVATION_COUNT
};
struct prune_activation_info {
    const char *name, *alias;            /* as cfgs write it; a second spelling or NULL */
    bool keeps_zero;                     /* f(0) == 0 */
    bool idempotent;                     /* f(f(x)) == f(x) */
    bool mixes_channels;
    int dialects;                        /* bits of prune_dialect */
};
/* false when the name is unknown. */
bool prune_activation_by_name(const char *name, enum prune_activation *out);
const struct prune_activation_info *prune_activation_info(enum prune_activation a);

#endif
