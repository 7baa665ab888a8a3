/* Counting sections, keys and activations; see coverage.h. */
#include "coverage.h"

#include <stdio.h>
#include <string.h>

/* "section", "section key", "section key value" or "* activation NAME". */
static const char *const wanted[] = {
    "convolutional", "deconvolutional", "local", "connected", "maxpool", "avgpool", "crop", "dropout", "route", "shortcut", "upsample", "reorg", "batchnorm",
    "activation", "logistic", "l2norm", "normalization", "softmax", "cost", "region", "yolo", "iseg", "detection", "rnn", "lstm", "gru", "crnn", "scale_channels",
    "sam", "local_avgpool", "reorg3d", "empty", "implicit", "Gaussian_yolo", "contrastive", "conv_lstm", "history",
    "convolutional batch_normalize", "convolutional batch_normalize 2", "convolutional cbn", "convolutional groups", "convolutional pad", "convolutional padding",
    "convolutional flipped", "convolutional stride_x", "convolutional stride_y", "convolutional dilation", "convolutional antialiasing 1",
    "convolutional antialiasing 2", "convolutional share_index", "convolutional assisted_excitation", "convolutional numload", "convolutional stride 2",
    "connected batch_normalize", "deconvolutional batch_normalize", "local pad", "maxpool padding", "maxpool stride_x", "maxpool stride_y", "maxpool antialiasing",
    "maxpool maxpool_depth", "maxpool out_channels", "maxpool maxpool_zero_nonmax", "local_avgpool stride_x", "upsample scale", "upsample stride -2", "reorg reverse",
    "reorg flatten", "reorg extra", "route groups", "route group_id", "shortcut layers", "shortcut alpha", "shortcut weights_type per_feature",
    "shortcut weights_type per_layer", "shortcut weights_type per_channel", "shortcut weights_normalization relu", "shortcut weights_normalization avg_relu",
    "shortcut weights_normalization softmax", "shortcut weights_normalization none", "scale_channels scale_wh", "scale_channels activation", "sam activation",
    "implicit atoms", "implicit mean", "dropout dropblock", "dropout dropblock_size_rel", "dropout dropblock_size_abs", "normalization alpha", "normalization beta",
    "normalization kappa", "rnn hidden", "gru tanh", "crnn output_filters", "crnn hidden", "conv_lstm peephole", "conv_lstm bottleneck", "yolo embedding_layer",
    "contrastive yolo_layer", "crop noadjust", "* dontload", "* dontloadscales", "* stopbackward", "* learning_rate", "* onlyforward", "* clip", "* smooth",
    "* dont_update", "* burnin_update", "* train_only_bn",
    "* activation logistic", "* activation relu", "* activation relie", "* activation linear", "* activation ramp", "* activation tanh", "* activation plse",
    "* activation leaky", "* activation elu", "* activation loggy", "* activation stair", "* activation hardtan", "* activation lhtan", "* activation selu",
    "* activation swish", "* activation mish", "* activation hard_mish", "* activation relu6", "* activation gelu", "* activation revleaky",
    "* activation normalize_channels", "* activation norm_chan", "* activation normalize_channels_softmax", "* activation norm_chan_softmax",
    "* activation normalize_channels_softmax_maxval"};
/* in the text */
static const char *const spellings[] = {"\r\n", "# a comment", "\t; note", " # behind a number", " = ", " , ", "[conv]", "[max]", "[network]", "[silence]", "[local_avg]"};
/* of references */
static const char *const shapes[] = {"a shortcut of several sources", "the same layer twice in a route", "a depthwise convolution", "a route of three", "a relative reference"};
enum { WANTED = sizeof wanted / sizeof *wanted, SPELLINGS = sizeof spellings / sizeof *spellings, SHAPES = sizeof shapes / sizeof *shapes };

static bool has(const struct graph_section *s, const char *what)
{
    char section[32] = "", key[32] = "", value[48] = "";
    int words = sscanf(what, "%31s %31s %47s", section, key, value);
    if (strcmp(section, "*") && strcmp(section, s->name)) return false;
    if (words == 1) return true;
    for (int i = 0; i < s->count; i++)
        if (!strcmp(s->options[i].key, key) && (words == 2 || !strcmp(s->options[i].value, value))) return true;
    return false;
}

static bool has_shape(const struct graph_section *s, int c, int shape)
{
    for (int i = 0; i < s->count; i++) {
        const struct graph_option *o = &s->options[i];
        char inputs[16];
        snprintf(inputs, sizeof inputs, "%d", c);
        if (shape == 0 && !strcmp(s->name, "shortcut") && o->ref_count > 1) return true;
        if (shape == 1 && !strcmp(s->name, "route") && o->ref_count > 1 && (o->refs[0] == o->refs[1] || (o->ref_count > 2 && o->refs[0] == o->refs[2]))) return true;
        if (shape == 2 && !strcmp(o->key, "groups") && !strcmp(s->name, "convolutional") && !strcmp(o->value, inputs)) return true;
        if (shape == 3 && !strcmp(s->name, "route") && o->ref_count >= 3) return true;
        if (shape == 4 && o->ref_count && o->relative[0]) return true;
    }
    return false;
}

void coverage_add(struct coverage *c, const struct graph *g, const char *text)
{
    bool seen[COVERAGE_MOST] = {false};
    _Static_assert((int)WANTED + (int)SPELLINGS + (int)SHAPES <= (int)COVERAGE_MOST, "room for all counts");
    for (int i = 1; i < g->count; i++) {
        for (int k = 0; k < (int)WANTED; k++) seen[k] |= has(&g->sections[i], wanted[k]);
        for (int k = 0; k < (int)SHAPES; k++) seen[(int)WANTED + (int)SPELLINGS + k] |= has_shape(&g->sections[i], g->sections[i - 1].c, k);
    }
    for (int k = 0; k < (int)SPELLINGS; k++) seen[(int)WANTED + k] = strstr(text, spellings[k]) != NULL;
    for (int k = 0; k < COVERAGE_MOST; k++) c->seen[k] += seen[k];
}

int coverage_print(const struct coverage *c)
{
    int missing = 0;
    for (int k = 0; k < (int)WANTED + (int)SPELLINGS + (int)SHAPES; k++) {
        const char *name = k < (int)WANTED ? wanted[k] : k < (int)WANTED + (int)SPELLINGS ? spellings[k - (int)WANTED] : shapes[k - (int)WANTED - (int)SPELLINGS];
        bool spelling = k >= (int)WANTED && k < (int)WANTED + (int)SPELLINGS;
        printf("%s%s%s: %u", k ? ", " : "", spelling ? "spelling " : "", !strcmp(name, "\r\n") ? "CR LF" : name, c->seen[k]);
        missing += !c->seen[k];
    }
    printf("\n");
    return missing;
}
