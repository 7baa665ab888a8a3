/* THE table of layer kinds; see layer_kinds.h. One row per section type of any Darknet, and ours ([gate]).
 * The keys of a row are those that some Darknet reads there. A key that is in no list is refused by net_shape where the section
 * shapes channels. */
#include "layer_kinds.h"

#include <stdlib.h>
#include <string.h>

typedef const struct prune_key keys[];
#define EVERY(name) {name, NULL, PRUNE_EVERY_DARKNET}
#define OURS(name, neutral) {name, neutral, PRUNE_PJREDDIE}
#define THEIRS(name, neutral) {name, neutral, PRUNE_ALEXEYAB}
#define LAST {NULL, NULL, 0}

/* Of kinds that one Darknet alone has, every key is EVERY. So are keys that steer training only, and those whose meaning depends on
 * other keys (dilation, stride_x, ...): their shape functions say when they are foreign. */
static keys no_keys = {LAST};
static keys conv_keys = {EVERY("filters"), EVERY("size"), EVERY("stride"), EVERY("pad"), EVERY("padding"), EVERY("groups"), EVERY("activation"),
                         EVERY("batch_normalize"), EVERY("flipped"), EVERY("dot"), EVERY("binary"), EVERY("xnor"), EVERY("dilation"), EVERY("stride_x"),
                         EVERY("stride_y"), THEIRS("antialiasing", "0"), THEIRS("share_index", NULL), THEIRS("cbn", "0"), EVERY("bin_output"), EVERY("coordconv"),
                         EVERY("rotate"), EVERY("stretch"), EVERY("sway"), EVERY("stretch_sway"), EVERY("reverse"), EVERY("train_only_bn"),
                         EVERY("grad_centr"), EVERY("assisted_excitation"), EVERY("stream"), EVERY("wait_stream"), EVERY("angle"), LAST};
static keys deconv_keys = {EVERY("filters"), EVERY("size"), EVERY("stride"), EVERY("pad"), EVERY("padding"), EVERY("activation"), EVERY("batch_normalize"), LAST};
static keys local_keys = {EVERY("filters"), EVERY("size"), EVERY("stride"), EVERY("pad"), EVERY("activation"), LAST};
static keys connected_keys = {EVERY("output"), EVERY("activation"), EVERY("batch_normalize"), LAST};
static keys maxpool_keys = {EVERY("size"), EVERY("stride"), EVERY("padding"), EVERY("stride_x"), EVERY("stride_y"), THEIRS("antialiasing", "0"),
                            THEIRS("maxpool_depth", "0"), EVERY("out_channels"), EVERY("maxpool_zero_nonmax"), LAST};
static keys crop_keys = {EVERY("crop_height"), EVERY("crop_width"), EVERY("flip"), EVERY("angle"), EVERY("saturation"), EVERY("exposure"), EVERY("noadjust"),
                         EVERY("shift"), LAST};
static keys dropout_keys = {EVERY("probability"), EVERY("dropblock"), EVERY("dropblock_size_rel"), EVERY("dropblock_size_abs"), LAST};
static keys route_keys = {EVERY("layers"), THEIRS("groups", NULL), THEIRS("group_id", NULL), EVERY("stream"), EVERY("wait_stream"), LAST};
static keys shortcut_keys = {EVERY("from"), THEIRS("layers", NULL), EVERY("activation"), EVERY("alpha"), EVERY("beta"), THEIRS("weights_type", "none"),
                             EVERY("weights_normalization"), LAST};
static keys upsample_keys = {EVERY("stride"), EVERY("scale"), LAST};
static keys reorg_keys = {EVERY("stride"), EVERY("reverse"), OURS("flatten", "0"), OURS("extra", "0"), LAST};
static keys activation_keys = {EVERY("activation"), LAST};
static keys normalization_keys = {EVERY("alpha"), EVERY("beta"), EVERY("kappa"), EVERY("size"), LAST};
static keys yolo_keys = {THEIRS("embedding_layer", "999999"), THEIRS("scale_x_y", "1"), THEIRS("new_coords", "0"), LAST};
static keys rnn_keys = {EVERY("output"), EVERY("hidden"), EVERY("activation"), EVERY("batch_normalize"), EVERY("shortcut"), LAST};
static keys lstm_keys = {EVERY("output"), EVERY("batch_normalize"), LAST};
static keys gru_keys = {EVERY("output"), EVERY("batch_normalize"), EVERY("tanh"), LAST};
static keys crnn_keys = {OURS("output_filters", NULL), OURS("hidden_filters", NULL), THEIRS("output", NULL), THEIRS("hidden", NULL), THEIRS("size", NULL), THEIRS("stride", NULL),
                         THEIRS("dilation", NULL), THEIRS("pad", NULL), THEIRS("padding", NULL), THEIRS("groups", NULL), EVERY("activation"), EVERY("batch_normalize"),
                         EVERY("shortcut"), LAST};
static keys scale_channels_keys = {EVERY("from"), EVERY("scale_wh"), EVERY("activation"), LAST};
static keys sam_keys = {EVERY("from"), EVERY("activation"), LAST};
static keys local_avgpool_keys = {EVERY("size"), EVERY("stride"), EVERY("stride_x"), EVERY("stride_y"), EVERY("padding"), LAST};
static keys reorg3d_keys = {EVERY("stride"), EVERY("reverse"), LAST};
static keys implicit_keys = {EVERY("filters"), EVERY("atoms"), EVERY("mean"), EVERY("std"), LAST};
static keys history_keys = {EVERY("history_size"), LAST};
static keys conv_lstm_keys = {EVERY("output"), EVERY("size"), EVERY("stride"), EVERY("dilation"), EVERY("pad"), EVERY("padding"), EVERY("groups"), EVERY("activation"),
                              EVERY("batch_normalize"), EVERY("peephole"), EVERY("bottleneck"), EVERY("shortcut"), EVERY("lstm_activation"), EVERY("state_constrain"),
                              EVERY("time_normalizer"), LAST};

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
    {PRUNE_YOLO, "yolo", {NULL}, PRUNE_CH_FIXED, true, true, "read by a yolo head", yolo_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_ISEG, "iseg", {NULL}, PRUNE_CH_FIXED, true, true, "read by an iseg head", no_keys, true, PRUNE_PJREDDIE},
    {PRUNE_DETECTION, "detection", {NULL}, PRUNE_CH_FIXED, true, true, "read by a detection head", no_keys, true, PRUNE_EVERY_DARKNET},
    {PRUNE_RNN, "rnn", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, rnn_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_LSTM, "lstm", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, lstm_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_GRU, "gru", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, gru_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_CRNN, "crnn", {NULL}, PRUNE_CH_FIXED, true, false, RECURRENT, crnn_keys, false, PRUNE_EVERY_DARKNET},
    {PRUNE_SCALE_CHANNELS, "scale_channels", {NULL}, PRUNE_CH_MULTIPLY, true, false, NULL, scale_channels_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_SAM, "sam", {NULL}, PRUNE_CH_MULTIPLY, true, false, NULL, sam_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_LOCAL_AVGPOOL, "local_avgpool", {"local_avg"}, PRUNE_CH_PASS, true, false, NULL, local_avgpool_keys, false, PRUNE_ALEXEYAB},
    {PRUNE_REORG3D, "reorg3d", {NULL}, PRUNE_CH_REPEAT, true, false, NULL, reorg3d_keys, false, PRUNE_ALEXEYAB},
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
    static const char *const names[] = {
        "burnin_update", "clip", "dont_update", "dontload", "dontloadscales", "dontsave", "learning_rate", "numload", "onlyforward", "smooth", "stopbackward",
        "train_only_bn", "truth"};
    return has_name(names, COUNT(names), key);
}

bool prune_key_is_neutral(const struct prune_key *key, const char *value)
{
    char *end, *wanted_end;
    if (!key->neutral) return false;
    if (!strcmp(key->neutral, value)) return true;
    double number = strtod(value, &end), wanted = strtod(key->neutral, &wanted_end);
    return end != value && !*end && !*wanted_end && number == wanted; /* "0" and "0.0" */
}

bool prune_section_is_unreadable(const char *name)
{
    static const char *const names[] = {"channel_slice", "reorg_old", "representation", "xnor"};
    return has_name(names, COUNT(names), name);
}

bool prune_key_is_number(const char *key)
{
    static const char *const names[] = {
        "B1", "B2", "absolute", "adam", "alpha", "angle", "aspect", "assisted_excitation", "atoms", "background", "batch_normalize", "beta", "beta_nms",
        "bias_match", "binary", "burn_in", "burnin_update", "cbn", "center", "class_scale", "classfix", "clip", "cls_normalizer", "coord_scale", "cutmix",
        "decay", "dont_update", "dontload", "dontloadscales", "dontsave", "dot", "dropblock", "dropblock_size_abs", "dropblock_size_rel", "dynamic_minibatch",
        "embedding_layer", "eps", "exposure", "flip", "flipped", "focal_loss", "focus", "forced", "gamma", "gaussian_noise", "grad_centr", "hue",
        "ignore_thresh", "iou_normalizer", "iou_thresh", "jitter", "joint", "kappa", "label_smooth_eps", "learning_rate", "letter_box", "log", "mask_scale",
        "max_batches", "max_crop", "max_delta", "max_ratio", "maxpool_zero_nonmax", "mean", "min_crop", "min_ratio", "mixup", "momentum", "mosaic",
        "mosaic_bound", "new_coords", "noadjust", "noloss", "noobj", "noobject_scale", "notruth", "numload", "obj_normalizer", "object_scale", "objectness",
        "objectness_smooth", "onlyforward", "optimized_memory", "out_channels", "power", "probability", "random", "ratio", "reorg", "rescore", "resize",
        "saturation", "scale", "scale_x_y", "sgdr_cycle", "sgdr_mult", "shift", "shortcut", "smooth", "softmax", "spatial", "sqrt", "state_constrain", "std",
        "step", "stopbackward", "stream", "tanh", "temperature", "thresh", "time_normalizer", "train_only_bn", "truth", "truth_thresh", "uc_normalizer",
        "wait_stream", "xnor"};
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
