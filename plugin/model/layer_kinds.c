/* THE table of layer kinds; see layer_kinds.h. One row per section type of pjreddie Darknet, and ours ([gate]).
 * The keys of a row are those the host reads there, and those of other dialects that steer training only.
 * A key that is in no list is refused by net_shape where the section shapes channels. */
#include "layer_kinds.h"

#include <stdlib.h>
#include <string.h>

typedef const char *const keys[];

static keys no_keys = {NULL};
static keys conv_keys = {"filters", "size", "stride", "pad", "padding", "groups", "activation", "batch_normalize", "flipped", "dot", "binary", "xnor",
                         /* other dialects, training only: */ "train_only_bn", "dont_update", "burnin_update", "grad_centr", NULL};
static keys deconv_keys = {"filters", "size", "stride", "pad", "padding", "activation", "batch_normalize", NULL};
static keys local_keys = {"filters", "size", "stride", "pad", "activation", NULL};
static keys connected_keys = {"output", "activation", "batch_normalize", NULL};
static keys maxpool_keys = {"size", "stride", "padding", NULL};
static keys crop_keys = {"crop_height", "crop_width", "flip", "angle", "saturation", "exposure", "noadjust", "shift", NULL};
static keys dropout_keys = {"probability", NULL};
static keys route_keys = {"layers", NULL};
static keys shortcut_keys = {"from", "activation", "alpha", "beta", NULL};
static keys upsample_keys = {"stride", "scale", NULL};
static keys reorg_keys = {"stride", "reverse", "flatten", "extra", NULL};
static keys activation_keys = {"activation", NULL};
static keys normalization_keys = {"alpha", "beta", "kappa", "size", NULL};
static keys rnn_keys = {"output", "hidden", "activation", "batch_normalize", "shortcut", NULL};
static keys lstm_keys = {"output", "batch_normalize", NULL};
static keys gru_keys = {"output", "batch_normalize", "tanh", NULL};
static keys multiply_keys = {"from", "scale_wh", "activation", NULL};
static keys local_avgpool_keys = {"size", "stride", "stride_x", "stride_y", "padding", NULL};
static keys implicit_keys = {"filters", "atoms", "mean", "std", NULL};
static keys history_keys = {"history_size", NULL};
static keys conv_lstm_keys = {"output", "size", "stride", "dilation", "pad", "padding", "groups", "activation", "batch_normalize", "peephole", "bottleneck", "shortcut",
                              "lstm_activation", "state_constrain", "time_normalizer", NULL};
static keys crnn_keys = {"output_filters", "hidden_filters", "activation", "batch_normalize", "shortcut", NULL};

#define RECURRENT "read by a recurrent layer"

static const struct prune_kind_info table[PRUNE_KIND_COUNT] = {
    /* kind                 name              aliases      rule              layer  head   reason                          keys             any_key */
    {PRUNE_KIND_UNKNOWN, "unknown", {NULL}, PRUNE_CH_NONE, false, false, NULL, no_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_NET, "net", {"network"}, PRUNE_CH_NONE, false, false, NULL, no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_GATE, "gate", {NULL}, PRUNE_CH_NONE, false, false, NULL, no_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_CONVOLUTIONAL, "convolutional", {"conv"}, PRUNE_CH_PRODUCE, true, false, NULL, conv_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_DECONVOLUTIONAL, "deconvolutional", {"deconv"}, PRUNE_CH_PRODUCE, true, false, NULL, deconv_keys, false, PRUNE_PJREDDIE},
    {PRUNE_LOCAL, "local", {NULL}, PRUNE_CH_PRODUCE, true, false, NULL, local_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_CONNECTED, "connected", {"conn"}, PRUNE_CH_PRODUCE, true, false, NULL, connected_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_MAXPOOL, "maxpool", {"max"}, PRUNE_CH_PASS, true, false, NULL, maxpool_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_AVGPOOL, "avgpool", {"avg"}, PRUNE_CH_PASS, true, false, NULL, no_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_CROP, "crop", {NULL}, PRUNE_CH_PASS, true, false, NULL, crop_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_DROPOUT, "dropout", {NULL}, PRUNE_CH_PASS, true, false, NULL, dropout_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_ROUTE, "route", {NULL}, PRUNE_CH_CONCAT, true, false, NULL, route_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_SHORTCUT, "shortcut", {NULL}, PRUNE_CH_ADD, true, false, NULL, shortcut_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_UPSAMPLE, "upsample", {NULL}, PRUNE_CH_PASS, true, false, NULL, upsample_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_REORG, "reorg", {NULL}, PRUNE_CH_REORG, true, false, NULL, reorg_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_BATCHNORM, "batchnorm", {NULL}, PRUNE_CH_PASS, true, false, NULL, no_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_ACTIVATION, "activation", {NULL}, PRUNE_CH_PASS, true, false, NULL, activation_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_LOGISTIC, "logistic", {NULL}, PRUNE_CH_FIXED, true, true, "read by a logistic loss", no_keys, true, PRUNE_PJREDDIE},
    {PRUNE_L2NORM, "l2norm", {NULL}, PRUNE_CH_FIXED, true, false, "mixed across channels by an l2norm layer", no_keys, false, PRUNE_PJREDDIE},
    {PRUNE_NORMALIZATION, "normalization", {"lrn"}, PRUNE_CH_FIXED, true, false, "mixed across channels by a normalization layer", normalization_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_SOFTMAX, "softmax", {"soft"}, PRUNE_CH_FIXED, true, true, "read by a softmax", no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_COST, "cost", {NULL}, PRUNE_CH_FIXED, true, false, "read by a cost layer", no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_REGION, "region", {NULL}, PRUNE_CH_FIXED, true, true, "read by a region head", no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_YOLO, "yolo", {NULL}, PRUNE_CH_FIXED, true, true, "read by a yolo head", no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_ISEG, "iseg", {NULL}, PRUNE_CH_FIXED, true, true, "read by an iseg head", no_keys, true, PRUNE_PJREDDIE},
    {PRUNE_DETECTION, "detection", {NULL}, PRUNE_CH_FIXED, true, true, "read by a detection head", no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_RNN, "rnn", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, rnn_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_LSTM, "lstm", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, lstm_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_GRU, "gru", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, gru_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_CRNN, "crnn", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, crnn_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_SCALE_CHANNELS, "scale_channels", {NULL}, PRUNE_CH_MULTIPLY, true, false, NULL, multiply_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_SAM, "sam", {NULL}, PRUNE_CH_MULTIPLY, true, false, NULL, multiply_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_LOCAL_AVGPOOL, "local_avgpool", {"local_avg"}, PRUNE_CH_PASS, true, false, NULL, local_avgpool_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_REORG3D, "reorg3d", {NULL}, PRUNE_CH_REPEAT, true, false, NULL, reorg_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_EMPTY, "empty", {"silence"}, PRUNE_CH_PASS, true, false, NULL, no_keys, true, PRUNE_ALEXEYAB},
    {PRUNE_IMPLICIT, "implicit", {NULL}, PRUNE_CH_PRODUCE, true, false, NULL, implicit_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_GAUSSIAN_YOLO, "Gaussian_yolo", {NULL}, PRUNE_CH_FIXED, true, true, "read by a Gaussian_yolo head", no_keys, true, PRUNE_ALEXEYAB},
    {PRUNE_CONTRASTIVE, "contrastive", {NULL}, PRUNE_CH_FIXED, true, false, "read by a contrastive loss", no_keys, true, PRUNE_ALEXEYAB},
    {PRUNE_CONV_LSTM, "conv_lstm", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, conv_lstm_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_HISTORY, "history", {NULL}, PRUNE_CH_FIXED, true, false, "kept over time by a history layer", history_keys, false, PRUNE_ALEXEYAB},
};

const struct prune_kind_info *prune_kind_by_name(const char *name)
{
    for (size_t i = 1; i < PRUNE_KIND_COUNT; i++) {
        if (!strcmp(table[i].name, name)) return &table[i];
        for (size_t a = 0; a < 3 && table[i].aliases[a]; a++)
            if (!strcmp(table[i].aliases[a], name)) return &table[i];
    }
    return &table[PRUNE_KIND_UNKNOWN];
}

const struct prune_kind_info *prune_kind_info(enum prune_kind kind)
{
    return &table[(size_t)kind < PRUNE_KIND_COUNT ? kind : PRUNE_KIND_UNKNOWN];
}

const struct prune_kind_info *prune_kind_table(size_t *count)
{
    *count = PRUNE_KIND_COUNT;
    return table;
}

static int by_name(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

/* names: sorted */
static bool has_name(const char *const *names, size_t count, const char *name)
{
    return bsearch(name, names, count, sizeof *names, by_name) != NULL;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

bool prune_key_is_common(const char *key)
{
    static const char *const names[] = {"clip", "dontload", "dontloadscales", "dontsave", "learning_rate", "numload", "onlyforward", "smooth", "stopbackward", "truth"};
    return has_name(names, COUNT(names), key);
}

bool prune_key_is_foreign(const char *key, const char *value)
{
    static const struct {
        const char *key, *neutral; /* neutral: the value that means nothing happens, or NULL */
    } rows[] = {{"antialiasing", "0"},  {"assisted_excitation", "0"}, {"coordconv", "0"},     {"deform", "0"},        {"dilation", "1"},
                {"group_id", NULL},     {"groups", "1"},              {"maxpool_depth", "0"}, {"out_channels", NULL}, {"rotate", "0"},
                {"share_index", NULL},  {"stretch", "0"},             {"stretch_sway", "0"},  {"stride_x", NULL},     {"stride_y", NULL},
                {"sway", "0"},          {"weights_normalization", NULL}, {"weights_type", "none"}};
    for (size_t i = 0; i < COUNT(rows); i++)
        if (!strcmp(rows[i].key, key)) return !rows[i].neutral || strcmp(rows[i].neutral, value) != 0;
    return false;
}

bool prune_section_is_foreign(const char *name)
{
    static const char *const names[] = {"Gaussian_yolo", "channel_slice", "contrastive",  "conv_lstm", "empty",          "history", "implicit",
                                        "local_avg",     "local_avgpool", "reorg3d",      "reorg_old", "representation", "sam",     "scale_channels",
                                        "silence",       "xnor"};
    return has_name(names, COUNT(names), name);
}

bool prune_key_is_number(const char *key)
{
    static const char *const names[] = {
        "B1", "B2", "absolute", "adam", "alpha", "angle", "aspect", "background", "batch_normalize", "beta", "bias_match", "binary", "burn_in", "center",
        "class_scale", "classfix", "clip", "coord_scale", "decay", "dontload", "dontloadscales", "dontsave", "dot", "eps", "exposure", "flip", "flipped",
        "focus", "forced", "gamma", "hue", "ignore_thresh", "jitter", "joint", "kappa", "learning_rate", "log", "mask_scale", "max_batches", "max_crop",
        "max_ratio", "min_crop", "min_ratio", "momentum", "noadjust", "noloss", "noobj", "noobject_scale", "notruth", "numload", "object_scale",
        "objectness", "onlyforward", "power", "probability", "random", "ratio", "reorg", "rescore", "saturation", "scale", "shift", "shortcut", "smooth",
        "softmax", "spatial", "sqrt", "step", "stopbackward", "tanh", "temperature", "thresh", "truth", "truth_thresh", "xnor"};
    return has_name(names, COUNT(names), key);
}

static const struct prune_activation_info activations[PRUNE_ACTIVATION_COUNT] = {
    /*                                name                          alias   f(0)=0 f(f)=f mixes  known to */
    [PRUNE_LOGISTIC_ACT] =           {"logistic",                   NULL,   false, false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_RELU] =                   {"relu",                       NULL,   true,  true,  false, PRUNE_EVERY_DARKNET},
    [PRUNE_RELIE] =                  {"relie",                      NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_LINEAR] =                 {"linear",                     NULL,   true,  true,  false, PRUNE_EVERY_DARKNET},
    [PRUNE_RAMP] =                   {"ramp",                       NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_TANH] =                   {"tanh",                       NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_PLSE] =                   {"plse",                       NULL,   false, false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_LEAKY] =                  {"leaky",                      NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_ELU] =                    {"elu",                        NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_LOGGY] =                  {"loggy",                      NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_STAIR] =                  {"stair",                      NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_HARDTAN] =                {"hardtan",                    NULL,   true,  true,  false, PRUNE_EVERY_DARKNET},
    [PRUNE_LHTAN] =                  {"lhtan",                      NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_SELU] =                   {"selu",                       NULL,   true,  false, false, PRUNE_EVERY_DARKNET},
    [PRUNE_SWISH] =                  {"swish",                      NULL,   true,  false, false, PRUNE_ALEXEYAB},
    [PRUNE_MISH] =                   {"mish",                       NULL,   true,  false, false, PRUNE_ALEXEYAB},
    [PRUNE_HARD_MISH] =              {"hard_mish",                  NULL,   true,  false, false, PRUNE_ALEXEYAB},
    [PRUNE_RELU6] =                  {"relu6",                      NULL,   true,  true,  false, PRUNE_ALEXEYAB},
    [PRUNE_GELU] =                   {"gelu",                       NULL,   true,  false, false, PRUNE_ALEXEYAB},
    [PRUNE_REVLEAKY] =               {"revleaky",                   NULL,   true,  false, false, PRUNE_ALEXEYAB},
    [PRUNE_NORM_CHAN] =              {"normalize_channels",         "norm_chan", true, false, true, PRUNE_ALEXEYAB},
    [PRUNE_NORM_CHAN_SOFTMAX] =      {"normalize_channels_softmax", "norm_chan_softmax", false, false, true, PRUNE_ALEXEYAB},
    [PRUNE_NORM_CHAN_SOFTMAX_MAXVAL] = {"normalize_channels_softmax_maxval", "norm_chan_softmax_maxval", false, false, true, PRUNE_ALEXEYAB},
};

bool prune_activation_by_name(const char *name, enum prune_activation *out)
{
    for (int i = 0; i < PRUNE_ACTIVATION_COUNT; i++) {
        if (strcmp(activations[i].name, name) && (!activations[i].alias || strcmp(activations[i].alias, name))) continue;
        *out = (enum prune_activation)i;
        return true;
    }
    return false;
}

const struct prune_activation_info *prune_activation_info(enum prune_activation a)
{
    return &activations[(size_t)a < PRUNE_ACTIVATION_COUNT ? a : PRUNE_LINEAR];
}
