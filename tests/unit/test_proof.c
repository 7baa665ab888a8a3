/* The proof of a rewrite: right rewrites of every kind of layer pass, and whatever is changed in the new cfg, the new weights or the plan is
 * found, with the layer's name. Values in the weights files are all different, so that a value from a wrong place is a wrong value. */
#include <fcntl.h>
#include <unistd.h>

#include "../../plugin/base/random.h"
#include "../../plugin/rewrite/proof.h"
#include "../../plugin/select/select.h"
#include "../../plugin/units/mask_file.h"
#include "net_text.h"
#include "temp_folder.h"

#define CONNECTED(n) "[connected]\noutput=" #n "\nactivation=relu\n\n"
#define MAX_POOL "[maxpool]\nsize=2\nstride=2\n\n"
#define YOLO "[yolo]\nmask=0,1\nanchors=1,2,3,4,5,6\nclasses=2\nnum=3\n\n"
#define DECONV(n) "[deconvolutional]\nfilters=" #n "\nsize=2\nstride=2\nactivation=relu\n\n"

static const char CHAIN[] = NET BN(6) CONV(7) BN(5) HEAD;
static const char RESIDUAL[] = NET BN(6) BN(8) BN(6) SHORTCUT(-3) BN(4) BN(6) SHORTCUT(-3) HEAD;
static const char UNEQUAL[] = NET BN(4) CONV(9) SHORTCUT(-2) CONV(6) SHORTCUT(-4) CONV(5) HEAD;
static const char ROUTES[] = NET BN(5) CONV(6) ROUTE("-1,-2") CONV(7) ROUTE("-1,0,-2,-1") CONV(4) ROUTE("3") CONV(6) HEAD;
static const char GROUPS[] = NET CONV(8) GROUPED(12, 4) GROUPED(6, 2) CONV(5) HEAD;
static const char FLIPPED[] = NET CONV(8) "[convolutional]\nfilters=12\nsize=3\nstride=1\npad=1\ngroups=4\nflipped=1\nactivation=leaky\n\n" GROUPED(6, 2) CONV(5) HEAD;
static const char DEPTHWISE[] = NET CONV(6) GROUPED(6, 6) CONV(5) GROUPED(10, 5) BN(4) HEAD;
static const char FLAT[] = NET CONV(5) MAX_POOL CONNECTED(7) "[connected]\nbatch_normalize=1\noutput=6\nactivation=leaky\n\n" CONNECTED(3) "[softmax]\n\n[cost]\n";
static const char ODD_ORDERS[] = NET CONV(5) DECONV(4) "[maxpool]\nsize=4\nstride=4\npadding=0\n\n" "[convolutional]\nfilters=6\nsize=1\nstride=1\npad=0\nactivation=relu\nflipped=1\n\n"
                                 "[local]\nfilters=5\nsize=1\nstride=1\npad=0\nactivation=relu\n\n" HEAD;
static const char REORG[] = NET CONV(8) "[batchnorm]\n\n[reorg]\nstride=2\n\n" CONV(4) ROUTE("-2,-1") CONV(6) HEAD;
static const char PASSES[] = NET ACT(6, "logistic") "[upsample]\nstride=2\n\n[crop]\ncrop_height=8\ncrop_width=8\n\n" CONV(7) "[dropout]\n\n[activation]\nactivation=tanh\n\n[batchnorm]\n\n" SHORTCUT(-1) MAX_POOL CONV(4) HEAD;
static const char DETECTOR[] = NET BN(6) MAX_POOL BN(8) MAX_POOL BN(9) ACT(14, "linear") YOLO ROUTE("-3") BN(5) "[upsample]\nstride=2\n\n" ROUTE("-1,2") BN(6) ACT(14, "linear") YOLO;
static const char RECURRENT[] = NET CONV(5) "[crnn]\noutput_filters=4\nhidden_filters=3\nactivation=relu\n\n" CONV(4) CONV(3) "[normalization]\n\n" CONV(4) "[l2norm]\n\n[connected]\noutput=5\nactivation=relu\n\n"
                                CONNECTED(4) "[lstm]\noutput=3\n\n[gru]\noutput=2\n\n[rnn]\noutput=2\n\n" CONNECTED(4) CONNECTED(2) "[softmax]\n";
static const char STRIDED[] = NET CONV(6) MAX_POOL CONV(6) SHORTCUT(0) CONV(4) HEAD;
static const char DENSE[] = NET CONV(4) CONV(3) ROUTE("-1,-2") CONV(3) ROUTE("-1,-2") MAX_POOL CONV(3) ROUTE("-1,-2") CONV(5) HEAD;

/* AlexeyAB's and hank-ai's sections. */
#define SLICE(list, g, i) "[route]\nlayers=" list "\ngroups=" #g "\ngroup_id=" #i "\n\n"
#define SHARED(i) "[convolutional]\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=mish\nshare_index=" #i "\n\n"
#define WEIGHTED(from, type) "[shortcut]\nfrom=" from "\nactivation=linear\nweights_type=" type "\nweights_normalization=softmax\n\n"
static const char SLICES[] = NET BN(8) SLICE("-1", 2, 1) CONV(4) CONV(4) ROUTE("-1,-2") CONV(6) ROUTE("0,-1") SLICE("-1,1", 2, 0) CONV(6) HEAD;
static const char SEVERAL[] = NET BN(6) CONV(6) WEIGHTED("-2", "per_channel") CONV(6) WEIGHTED("-2,-4", "per_feature") CONV(8) "[shortcut]\nfrom=-2,-4\nactivation=mish\n\n" CONV(4) HEAD;
static const char SQUEEZE[] = NET CONV(6) "[avgpool]\n\n" ACT(3, "swish") ACT(6, "logistic") "[scale_channels]\nfrom=-4\n\n" ACT(6, "logistic") "[sam]\nfrom=-2\n\n"
                              "[convolutional]\nfilters=1\nsize=1\nstride=1\nactivation=logistic\n\n" "[scale_channels]\nfrom=-2\nscale_wh=1\n\n" CONV(5) HEAD;
static const char IMPLICIT[] = NET CONV(4) "[implicit]\nfilters=4\n\n" "[scale_channels]\nfrom=-2\n\n" "[reorg3d]\nstride=2\n\n" CONV(6) "[local_avgpool]\nsize=2\nstride=2\n\n" "[empty]\n\n" CONV(6) SHARED(-1) HEAD;
static const char SHARES[] = NET CONV(6) CONV(6) "[convolutional]\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=mish\n\n" SHARED(-1) SHARED(2) ACT(6, "norm_chan") CONV(4) HEAD;
static const char LSTM[] = NET CONV(6) CONV(4) "[conv_lstm]\noutput=4\nsize=3\npad=1\npeephole=1\nbatch_normalize=1\nactivation=tanh\n\n" CONV(6) "[maxpool]\nmaxpool_depth=1\nout_channels=3\nsize=1\nstride=1\n\n" CONV(5) HEAD;

static const struct { const char *name, *text; size_t readers; } nets[] = {
    { "chain", CHAIN, 5 }, { "residual", RESIDUAL, 7 }, { "unequal shortcuts", UNEQUAL, 6 }, { "routes", ROUTES, 8 }, { "groups", GROUPS, 6 }, { "flipped groups", FLIPPED, 6 }, { "depthwise", DEPTHWISE, 7 },
    { "flat", FLAT, 6 }, { "odd orders", ODD_ORDERS, 6 }, { "reorg", REORG, 5 }, { "passes", PASSES, 5 }, { "detector", DETECTOR, 9 }, { "recurrent", RECURRENT, 15 },
    { "strided shortcut", STRIDED, 5 }, { "dense", DENSE, 7 },
    { "grouped routes", SLICES, 7 }, { "several sources", SEVERAL, 7 }, { "squeeze", SQUEEZE, 8 }, { "implicit", IMPLICIT, 6 }, { "shared values", SHARES, 9 }, { "conv_lstm", LSTM, 8 } };
enum { NETS = sizeof nets / sizeof *nets };

static struct prune_status st;

struct rig {
    struct text_net t;
    struct prune_weights in, out;
    uint8_t *removed;
    struct prune_plan plan;
    char in_path[96], out_path[96], *text;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_proof proof;
};

static void rig_open(struct rig *r, const char *text, int32_t major)
{
    memset(r, 0, sizeof *r);
    snprintf(r->in_path, sizeof r->in_path, "%s/in.weights", folder);
    snprintf(r->out_path, sizeof r->out_path, "%s/out.weights", folder);
    text_open(&r->t, text);
    write_counting(&r->t.net, r->in_path, major);
    r->removed = calloc(r->t.units.count + 1, 1);
    if (prune_weights_open(&r->in, r->in_path, &r->t.net, &st)) fail_msg("%s", st.message);
}

static void rig_plan(struct rig *r)
{
    if (prune_plan_build(&r->plan, &r->t.net, &r->t.units, r->removed, &st)) fail_msg("%s", st.message);
}

/* gone: pairs layer, channel; ends with -1. */
static void remove_units(struct rig *r, const int *gone)
{
    for (; *gone >= 0; gone += 2) r->removed[unit_of(&r->t, gone[0], gone[1])] = 1;
    rig_plan(r);
}

static void remove_random(struct rig *r, double remain, uint64_t seed)
{
    struct prune_select_options o = { .target = PRUNE_TARGET_UNITS, .remain = remain, .min_keep = 1, .multiple = 1 };
    double *scores = calloc(r->t.units.count + 1, sizeof *scores);
    struct prune_random random = prune_random_make(seed, 1, 0);
    for (size_t u = 0; u < r->t.units.count; u++) scores[u] = prune_random_uniform(&random);
    if (prune_select(&r->t.net, &r->t.units, scores, &o, r->removed, NULL, &st)) fail_msg("%s", st.message);
    free(scores);
    rig_plan(r);
}

/* Writes the new pair by the plan and reads it; from, to: a text of the new cfg to be replaced, and by what (NULL: nothing). */
static void rig_write(struct rig *r, const char *from, const char *to)
{
    char *bytes = NULL;
    size_t size = 0;
    if (prune_rewrite_cfg(&r->plan, &r->t.net, &bytes, &size, &st) || prune_rewrite_weights(&r->plan, &r->t.net, &r->in, r->out_path, &st)) fail_msg("%s", st.message);
    char *at = from ? strstr(bytes, from) : NULL, *changed = calloc(size + 256, 1);
    if (from && !at) fail_msg("no '%s' in\n%s", from, bytes);
    if (at) snprintf(changed, size + 256, "%.*s%s%s", (int)(at - bytes), bytes, to, at + strlen(from));
    else memcpy(changed, bytes, size);
    free(bytes);
    r->text = changed;
    if (prune_cfg_parse(&r->cfg, "(new)", changed, strlen(changed), &st) || prune_net_build(&r->net, &r->cfg, &st)) fail_msg("%s\n%s", st.message, changed);
    if (prune_weights_open(&r->out, r->out_path, &r->net, &st)) fail_msg("%s", st.message);
}

static void rig_unwrite(struct rig *r)
{
    prune_weights_close(&r->out);
    prune_net_free(&r->net);
    prune_cfg_free(&r->cfg);
    free(r->text);
    r->text = NULL;
}

static void rig_close(struct rig *r)
{
    if (r->text) rig_unwrite(r);
    prune_weights_close(&r->in);
    prune_plan_free(&r->plan);
    text_close(&r->t);
    free(r->removed);
}

static enum prune_code prove(struct rig *r)
{
    st.message[0] = 0;
    return prune_prove(&r->t.net, &r->in, &r->plan, &r->net, &r->out, &r->proof, &st);
}

static void right_rewrites_pass(void **state)
{
    (void)state;
    static const double remain[] = { 1, 0.9, 0.8, 0.7 };
    uint64_t proofs = 0;
    for (size_t n = 0; n < NETS; n++)
        for (uint64_t seed = 0; seed < 24; seed++) {
            struct rig r;
            rig_open(&r, nets[n].text, seed % 3 ? 0 : 1001);
            remove_random(&r, remain[seed % 4], seed);
            rig_write(&r, NULL, NULL);
            if (prove(&r)) fail_msg("%s, seed %d: %s", nets[n].name, (int)seed, st.message);
            assert_int_equal(r.proof.layers, r.t.net.layer_count);
            if (r.proof.readers != nets[n].readers) fail_msg("%s: %zu readers", nets[n].name, r.proof.readers);
            assert_int_equal(r.proof.values, r.out.layout.floats);     /* all tensors are small */
            proofs++;
            rig_close(&r);
        }
    assert_int_equal(proofs, NETS * 24);
}

static void what_is_counted(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, CHAIN, 0);
    remove_units(&r, (const int[]){ 0, 1, 1, 0, 1, 3, -1 });
    rig_write(&r, NULL, NULL);
    assert_int_equal(prove(&r), PRUNE_OK);
    assert_int_equal(r.proof.layers, 6);
    assert_int_equal(r.proof.readers, 5);                              /* four convolutions and the softmax */
    assert_int_equal(r.proof.channels, 3 + 5 + 5 + 5 + 5);
    assert_int_equal(r.proof.values, 5 * (4 + 27) + 5 * (1 + 45) + 5 * (4 + 45) + 5 * (1 + 5));
    assert_int_equal(prune_prove(&r.t.net, NULL, &r.plan, &r.net, NULL, &r.proof, &st), PRUNE_OK);
    assert_int_equal(r.proof.values, 0);
    rig_close(&r);
}

/* A failure names the layer (of the original) and says what is wrong. */
static void expect_failure(struct rig *r, int layer, const char *words, const char *what)
{
    char name[48];
    snprintf(name, sizeof name, ", layer %d of the original", layer);
    if (prove(r) != PRUNE_FAILED) fail_msg("not found: %s", what);
    if (!strstr(st.message, name) || !strstr(st.message, words)) fail_msg("%s: expected layer %d and '%s' in: %s", what, layer, words, st.message);
}

static void a_changed_cfg_is_found(void **state)
{
    (void)state;
    static const struct { const char *text; int gone[16]; const char *from, *to; int layer; const char *words; } cases[] = {
        { ROUTES, { 0, 1, -1 }, "layers=-1,-2\n", "layers=-2,-1\n", 2, "makes its channel 0 of channel 0 of layer 0 and should make it of channel 0 of layer 1" },
        { ROUTES, { 0, 1, -1 }, "layers=-1,0,-2,-1", "layers=-1,-2,0,-1", 4, "makes its channel 7 of channel 0 of layer 1 and should make it of channel 0 of layer 0" },
        { ROUTES, { 3, 1, -1 }, "layers=3\n", "layers=1\n", 6, "makes its channel 0 of channel 0 of layer 1 and should make it of channel 0 of layer 3" },
        { DENSE, { 0, 1, 1, 0, -1 }, "[maxpool]\nsize=2\nstride=2\n\n", "[maxpool]\nsize=2\nstride=2\npadding=2\n\n", 5, "out_w 5 where the original has 4" },
        { RESIDUAL, { 0, 2, -1 }, "[shortcut]\nfrom=-3\n", "[shortcut]\nfrom=-1\n", 3, "makes its channel 0 of channel 0 of layer 2 with channel 0 of layer 2 and should make it of channel 0 of layer 2 with channel 0 of layer 0" },
        { RESIDUAL, { 1, 2, -1 }, "from=-3\nactivation=linear\n\n[convolutional]\nfilters=5", "from=-6\nactivation=linear\n\n[convolutional]\nfilters=5", 6, "channel 0 of layer 5 with channel 0 of layer 0 and should make it of channel 0 of layer 5 with a mixture of channels" },
        { RESIDUAL, { 1, 2, -1 }, "[shortcut]\nfrom=-3\nactivation=linear", "[shortcut]\nfrom=-3\nactivation=relu", 3, "activation" },
        { CHAIN, { 0, 2, -1 }, "activation=leaky", "activation=relu", 0, "activation" },
        { CHAIN, { 0, 2, -1 }, "stride=1\npad=1", "stride=2\npad=1", 0, "out_w 4 where the original has 8" },
        { CHAIN, { 0, 2, -1 }, "activation=linear", "activation=linear\nlearning_rate=2", 3, "learning_rate=2" },
        { DETECTOR, { 0, 2, -1 }, "mask=0,1", "mask=1,2", 6, "mask=1,2 where the original says mask=0,1" },
        { DETECTOR, { 0, 2, -1 }, "anchors=1,2,3,4,5,6", "anchors=1,2,3,4,5,7", 6, "anchors" },
        { DETECTOR, { 2, 1, 8, 0, -1 }, "layers=-1,2\n", "layers=2,-1\n", 10, "makes its channel 0 of channel 0 of layer 2 and should make it of a mixture" },
        { DETECTOR, { 2, 1, 8, 0, -1 }, "[upsample]\nstride=2", "[upsample]\nstride=2\nscale=2", 9, "scale=2" },
        { PASSES, { 0, 1, -1 }, "activation=tanh", "activation=ramp", 5, "activation" },
        { SLICES, { 0, 0, 0, 1, 0, 4, 0, 7, 5, 0, 5, 1, -1 }, "group_id=1", "group_id=0", 1, "makes its channel 0 of channel 2 of layer 0 and should make it of channel 5 of layer 0" },
        { SLICES, { 0, 0, 0, 1, 0, 4, 0, 7, 5, 0, 5, 1, -1 }, "layers=-1,1\n", "layers=1,-1\n", 7, "makes its channel 0 of" },
        { SEVERAL, { 0, 1, -1 }, "from=-2,-4\nactivation=linear", "from=-4,-2\nactivation=linear", 4, "a mixture" },
        { SEVERAL, { 0, 1, -1 }, "weights_type=per_feature", "weights_type=per_feature\nstopbackward=1", 4, "stopbackward" },
        { SQUEEZE, { 0, 1, -1 }, "[sam]\nfrom=-2", "[sam]\nfrom=-6", 6, "layer 0" },
        { SHARES, { 1, 1, 0, 1, -1 }, "share_index=-1", "share_index=1", 3, "shares the weights of layer 1, which is layer 1 of the original, and should be layer 2" },
        { IMPLICIT, { 0, 1, -1 }, "[local_avgpool]\nsize=2", "[local_avgpool]\nsize=3", 5, "has size 3 where the original has 2" },
        { RECURRENT, { 2, 1, -1 }, "hidden_filters=3", "hidden_filters=3\nshortcut=1", 1, "shortcut=1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        rig_open(&r, cases[i].text, 0);
        remove_units(&r, cases[i].gone);
        rig_write(&r, cases[i].from, cases[i].to);
        expect_failure(&r, cases[i].layer, cases[i].words, cases[i].to);
        rig_close(&r);
    }
}

/* The plan, after the files were written by it: one number of a list; or before, so that the files agree with the plan. */
static void a_changed_plan_is_found(void **state)
{
    (void)state;
    static const struct { const char *text; int gone[12], at, out, index, value; bool before; int layer; const char *words; } cases[] = {
        { CHAIN, { 0, 1, 1, 3, -1 }, 0, 1, 1, 1, false, 0, "other biases than the original: biases[1] is 3, and the original has 2 at biases[1]" },                          /* another channel kept than was cut: keeps 1 for 2 */
        { CHAIN, { 0, 1, 1, 3, -1 }, 0, 1, 1, 1, true, 1, "input channel" },
        { CHAIN, { 0, 1, 1, 3, -1 }, 2, 0, 3, 3, false, 2, "loses input channel 4 of layer 1, which is not removed" },
        { CHAIN, { 0, 1, 1, 3, -1 }, 2, 0, 3, 3, true, 2, "loses input channel 4 of layer 1, which is not removed" },
        { RESIDUAL, { 0, 1, -1 }, 2, 1, 1, 1, true, 3, "makes its channel 1 of channel 1 of layer 2 with channel 2 of layer 0 and should make it of channel 1 of layer 2 with zeros" },                      /* the addends are misaligned by one */
        { RESIDUAL, { 0, 1, -1 }, 0, 1, 1, 1, true, 1, "input channel" },
        { RESIDUAL, { 0, 1, -1 }, 5, 1, 1, 1, true, 6, "channel 1 of layer 5 with a mixture of channels and should make it of channel 1 of layer 5 with zeros" },
        { DEPTHWISE, { 0, 2, -1 }, 1, 1, 2, 2, false, 1, "reads channel 3 of layer 0 as input channel 2 of layer 0 and should read zeros" },
        { DEPTHWISE, { 0, 2, -1 }, 1, 0, 2, 2, false, 1, "loses input channel 3 of layer 0" },
        { GROUPS, { 0, 0, 0, 2, 0, 4, 0, 6, -1 }, 1, 0, 1, 2, true, 1, "input channel 3" },
        { FLAT, { 0, 1, -1 }, 2, 0, 1, 1, true, 2, "input channel 2" },
        { REORG, { 0, 0, -1 }, 1, 1, 0, 0, true, 1, "scales" },
        { CHAIN, { 0, 1, -1 }, 0, 1, 1, 0, false, 0, "no list in order" },
        { CHAIN, { 0, 1, -1 }, 0, 1, 4, 6, false, 0, "no list in order" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        char what[32];
        rig_open(&r, cases[i].text, 0);
        remove_units(&r, cases[i].gone);
        if (!cases[i].before) rig_write(&r, NULL, NULL);
        struct prune_layer_plan *p = &r.plan.layers[cases[i].at];
        (cases[i].out ? p->out_keep : p->in_keep)[cases[i].index] = cases[i].value;
        if (cases[i].before) rig_write(&r, NULL, NULL);
        snprintf(what, sizeof what, "plan %zu", i);
        expect_failure(&r, cases[i].layer, cases[i].words, what);
        rig_close(&r);
    }
}

static off_t byte_of(const struct prune_weights *w, const struct prune_weights_tensor *t, size_t i)
{
    return (off_t)(w->header.size + (t->offset + i) * sizeof(float));
}

static void put_values(const struct rig *r, const struct prune_weights_tensor *t, size_t at, const float *values, size_t n)
{
    int f = open(r->out_path, O_WRONLY);
    assert_true(f >= 0 && pwrite(f, values, n * sizeof *values, byte_of(&r->out, t, at)) == (ssize_t)(n * sizeof *values));
    close(f);
}

enum damage { ONE_VALUE, SHIFTED, FIRST_ROWS_SWAPPED };

static void damage(const struct rig *r, int layer, enum prune_role role, enum damage how, size_t at)
{
    const struct prune_weights_tensor *t = prune_layout_find(&r->out.layout, layer, role);
    assert_non_null(t);
    float *v = malloc(t->count * sizeof *v);
    memcpy(v, prune_weights_data(&r->out, t), t->count * sizeof *v);
    size_t row = t->count / t->shape[0];
    if (how == ONE_VALUE) v[at] += 0.5f;
    for (size_t i = t->count - 1; how == SHIFTED && i > 0; i--) v[i] = v[i - 1];
    for (size_t i = 0; how == FIRST_ROWS_SWAPPED && i < row; i++) {
        float x = v[i];
        v[i] = v[row + i];
        v[row + i] = x;
    }
    put_values(r, t, 0, v, t->count);
    free(v);
}

static void whole_groups_pass(void **state)
{
    (void)state;
    const char *texts[] = { GROUPS, FLIPPED };
    for (int i = 0; i < 2; i++) {
        struct rig r;
        rig_open(&r, texts[i], 0);
        remove_units(&r, (const int[]){ 0, 2, 0, 3, 0, 6, 0, 7, 1, 3, 1, 4, 1, 5, 1, 9, 1, 10, 1, 11, -1 });
        rig_write(&r, NULL, NULL);
        if (prove(&r)) fail_msg("%s", st.message);
        assert_int_equal(r.net.layers[1].groups, 2);
        damage(&r, 1, PRUNE_WEIGHTS, ONE_VALUE, 50);
        expect_failure(&r, 1, "weights[50]", "a value of a group");
        rig_close(&r);
    }
}

static void changed_values_are_found(void **state)
{
    (void)state;
    static const struct { const char *text; int gone[12], layer; enum prune_role role; enum damage how; size_t at; const char *words; } cases[] = {
        { CHAIN, { 0, 1, -1 }, 0, PRUNE_SCALES, SHIFTED, 0, "scales[1]" },
        { CHAIN, { 0, 1, -1 }, 0, PRUNE_MEAN, ONE_VALUE, 4, "has other mean than the original: mean[4] is 18.5, and the original has 18 at mean[5]" },
        { CHAIN, { 0, 1, -1 }, 0, PRUNE_VARIANCE, FIRST_ROWS_SWAPPED, 0, "variance[0]" },
        { CHAIN, { 0, 1, -1 }, 1, PRUNE_WEIGHTS, ONE_VALUE, 100, "weights[" },
        { CHAIN, { 0, 1, -1 }, 0, PRUNE_WEIGHTS, FIRST_ROWS_SWAPPED, 0, "weights[0]" },
        { CHAIN, { 0, 1, -1 }, 3, PRUNE_BIASES, SHIFTED, 0, "biases[" },
        { FLAT, { 0, 1, -1 }, 2, PRUNE_WEIGHTS, ONE_VALUE, 63, "weights[" },
        { FLAT, { 0, 1, 2, 3, -1 }, 3, PRUNE_SCALES, SHIFTED, 0, "scales[" },
        { ODD_ORDERS, { 0, 1, 1, 1, -1 }, 1, PRUNE_WEIGHTS, SHIFTED, 0, "weights[" },
        { ODD_ORDERS, { 1, 1, 3, 1, -1 }, 3, PRUNE_WEIGHTS, ONE_VALUE, 7, "weights[7]" },
        { ODD_ORDERS, { 3, 1, 4, 1, -1 }, 4, PRUNE_WEIGHTS, ONE_VALUE, 33, "weights[" },
        { ODD_ORDERS, { 3, 1, 4, 1, -1 }, 4, PRUNE_BIASES, ONE_VALUE, 3, "biases[" },
        { REORG, { 0, 0, -1 }, 1, PRUNE_VARIANCE, SHIFTED, 0, "variance[" },
        { GROUPS, { 0, 0, 0, 2, 0, 4, 0, 6, -1 }, 1, PRUNE_WEIGHTS, FIRST_ROWS_SWAPPED, 0, "weights[0]" },
        { RECURRENT, { 2, 1, -1 }, 1, PRUNE_WEIGHTS, ONE_VALUE, 5, "weights[" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        char what[32];
        snprintf(what, sizeof what, "values %zu", i);
        rig_open(&r, cases[i].text, 0);
        remove_units(&r, cases[i].gone);
        rig_write(&r, NULL, NULL);
        assert_int_equal(prove(&r), PRUNE_OK);
        damage(&r, cases[i].layer, cases[i].role, cases[i].how, cases[i].at);
        expect_failure(&r, cases[i].layer, cases[i].words, what);
        rig_close(&r);
    }
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* A kept channel for a removed one in a list of `all` channels; false: nothing is removed there. */
static bool exchange(int *keep, size_t kept, size_t all, struct prune_random *random)
{
    if (kept == all || !kept) return false;
    bool stays[64] = { false };
    for (size_t i = 0; i < kept; i++) stays[keep[i]] = true;
    size_t in = prune_random_below(random, all);
    while (stays[in]) in = (in + 1) % all;
    keep[prune_random_below(random, kept)] = (int)in;
    qsort(keep, kept, sizeof *keep, by_number);
    return true;
}

/* Exchanges a channel in some producer's list; the layer, or -1 when nothing is removed anywhere. cut_too: the files will follow the list. */
static int exchange_somewhere(struct rig *r, struct prune_random *random, bool cut_too)
{
    size_t layers = r->t.net.layer_count, from = prune_random_below(random, layers);
    for (size_t k = 0; k < layers; k++) {
        const struct prune_layer *l = &r->t.net.layers[(from + k) % layers];
        struct prune_layer_plan *p = &r->plan.layers[l->index];
        if (prune_kind_info(l->kind)->rule != PRUNE_CH_PRODUCE || (cut_too && l->groups > 1)) continue;
        size_t ins = l->kind == PRUNE_CONNECTED ? (size_t)l->inputs / p->in_area : (size_t)l->c;
        bool in = prune_random_below(random, 2);
        if (exchange(in ? p->in_keep : p->out_keep, in ? p->in_count : p->out_count, in ? ins : (size_t)l->out_c, random)) return l->index;
    }
    return -1;
}

/* One stored value becomes another; the layer of the original it belongs to. */
static int change_somewhere(struct rig *r, struct prune_random *random)
{
    size_t at = prune_random_below(random, r->out.layout.floats), t = 0;
    while (at >= r->out.layout.tensors[t].offset + r->out.layout.tensors[t].count) t++;
    at -= r->out.layout.tensors[t].offset;
    float v = prune_weights_data(&r->out, &r->out.layout.tensors[t])[at] + 0.5f;
    put_values(r, &r->out.layout.tensors[t], at, &v, 1);
    return r->out.layout.tensors[t].layer;
}

static void random_mutations_are_found(void **state)
{
    (void)state;
    size_t tried = 0, found = 0;
    for (size_t n = 0; n < NETS; n++)
        for (uint64_t seed = 0; seed < 45; seed++) {
            struct rig r;
            struct prune_random random = prune_random_make(seed, 2, n);
            rig_open(&r, nets[n].text, 0);
            remove_random(&r, 0.7, seed);
            int layer = seed % 3 == 0 ? exchange_somewhere(&r, &random, true) : 0;
            rig_write(&r, NULL, NULL);
            if (seed % 3 == 1) layer = exchange_somewhere(&r, &random, false);
            if (seed % 3 == 2) layer = change_somewhere(&r, &random);
            if (layer >= 0) {
                tried++;
                found += prove(&r) == PRUNE_FAILED;
                if (found < tried) fail_msg("%s, seed %d, layer %d: not found", nets[n].name, (int)seed, layer);
                assert_non_null(strstr(st.message, " of the original, line "));
            }
            rig_close(&r);
        }
    assert_true(tried >= 600);
    print_message("%zu of %zu random mutations found\n", found, tried);
}

/* Of a large tensor some runs of values are compared, the first and the last always: a wrong row order shows, one wrong value may not. */
static void large_tensors_are_sampled(void **state)
{
    (void)state;
    static const char TEXT[] = NET CONV(64) CONV(96) HEAD;
    struct rig r;
    rig_open(&r, TEXT, 0);
    remove_random(&r, 0.9, 1);
    rig_write(&r, NULL, NULL);
    if (prove(&r)) fail_msg("%s", st.message);
    size_t large = prune_layout_find(&r.out.layout, 1, PRUNE_WEIGHTS)->count, small = r.out.layout.floats - large;
    assert_true(large > 4096);
    assert_int_equal(r.proof.values, small + 64);
    damage(&r, 1, PRUNE_WEIGHTS, SHIFTED, 0);
    expect_failure(&r, 1, "weights[", "a shifted large tensor");
    rig_unwrite(&r);
    rig_write(&r, NULL, NULL);
    damage(&r, 1, PRUNE_WEIGHTS, ONE_VALUE, large - 1);
    expect_failure(&r, 1, "weights[", "the last value");
    rig_close(&r);
}

/* Units as an error in the channel graph would make them: two channels of one layer take each other's place, its partners do not know. */
static void a_wrong_unit_is_found_and_nothing_is_written(void **state)
{
    (void)state;
    static const struct { const char *text; int layer, channel, from; const char *words; } cases[] = {
        { RESIDUAL, 2, 1, 4, "layer 3 ('shortcut', layer 3 of the original, line 32) makes its channel 1 of channel 1 of layer 2 with channel 2 of layer 0" },
        { UNEQUAL, 3, 0, 3, "layer 4 ('shortcut'" },
        { DENSE, 1, 0, 1, "loses input channel" },
        { REORG, 1, 0, 4, "layer 1 ('batchnorm'" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        struct prune_pair pair;
        rig_open(&r, cases[i].text, 0);
        const struct prune_mask_origin origin = { .cfg_path = "net.cfg", .cfg_hash = "xxh64:1", .weights_path = r.in_path, .weights_hash = "xxh64:2" };
        int *of = r.t.units.of_channel[cases[i].layer];
        r.removed[of[cases[i].channel]] = 1;
        if (prune_write_pair(&r.t.net, &r.t.units, r.removed, &r.in, &origin, folder, true, &pair, &st)) fail_msg("%s", st.message);
        assert_int_equal(pair.proof.layers, r.t.net.layer_count);
        assert_true(!access(pair.cfg, F_OK) && !remove(pair.cfg) && !remove(pair.weights) && !remove(pair.mask) && !remove(pair.masked));
        prune_pair_free(&pair);
        int u = of[cases[i].channel];
        of[cases[i].channel] = of[cases[i].from];
        of[cases[i].from] = u;
        if (prune_write_pair(&r.t.net, &r.t.units, r.removed, &r.in, &origin, folder, true, &pair, &st) != PRUNE_FAILED) fail_msg("units %zu: not found", i);
        if (!strstr(st.message, "is not the masked original") || !strstr(st.message, cases[i].words)) fail_msg("units %zu: %s", i, st.message);
        char command[128];
        snprintf(command, sizeof command, "test \"$(ls '%s')\" = in.weights", folder);
        assert_int_equal(system(command), 0);
        rig_close(&r);
    }
}

static void other_headers_and_other_nets_are_refused(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, CHAIN, 0);
    rig_plan(&r);
    rig_write(&r, "width=8", "width=8\nmomentum=0.8");
    assert_int_equal(prove(&r), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "[net] section has another 'momentum'"));
    rig_unwrite(&r);
    rig_write(&r, NULL, NULL);
    r.out.header.seen++;
    assert_int_equal(prove(&r), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "the header of"));
    r.out.header.seen--;
    r.net.layer_count--;
    assert_int_equal(prove(&r), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "5 layers where 6 were planned"));
    r.net.layer_count++;
    assert_int_equal(prove(&r), PRUNE_OK);
    rig_close(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(right_rewrites_pass),
        TEST(whole_groups_pass),
        TEST(what_is_counted),
        TEST(a_changed_cfg_is_found),
        TEST(a_changed_plan_is_found),
        TEST(changed_values_are_found),
        TEST(random_mutations_are_found),
        TEST(large_tensors_are_sampled),
        TEST(a_wrong_unit_is_found_and_nothing_is_written),
        TEST(other_headers_and_other_nets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
