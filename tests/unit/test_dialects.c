/* AlexeyAB's and hank-ai's sections and keys: shapes, sources, parameters, multiply-adds and stored values as numbers worked out by
 * hand from docs/dialects.md, and who can load a cfg. Refusals: tests/golden/bad. */
#include <unistd.h>

#include "loaded.h"

/* Behind an input of 8 x 8 x 3 and layer 0, a convolution that gives 8 x 8 x 8. */
static void build(struct loaded *l, const char *text)
{
    char all[4096];
    snprintf(all, sizeof all, "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\nfilters=8\nsize=3\npad=1\nactivation=relu\n%s", text);
    load_text(l, all);
}

/* "b4 s4 m4 v4 w4x3x3x3": letter of the role, shape; a part other than 0 in front; of layers 1 and up. */
static void describe(const struct prune_net *net, const struct prune_weights_layout *layout, char *got)
{
    *got = '\0';
    for (size_t i = 0; i < layout->count; i++) {
        const struct prune_weights_tensor *t = &layout->tensors[i];
        if (!t->layer && net->layer_count > 1) continue;
        got += sprintf(got, "%s", i && layout->tensors[i - 1].layer ? " " : "");
        if (t->part) got += sprintf(got, "%d:", t->part);
        got += sprintf(got, "%c", prune_role_name(t->role)[0]);
        for (int d = 0; d < t->rank; d++) got += sprintf(got, "%s%zu", d ? "x" : "", t->shape[d]);
    }
}

struct row {
    const char *text;
    int w, h, c;                          /* output of the last layer */
    uint64_t parameters, macs;            /* of the last layer */
    const char *stored;                   /* by all layers but the first */
    bool foreign;
};

static void check(const struct row *r)
{
    struct loaded l;
    struct prune_weights_layout layout;
    char got[1024];
    build(&l, r->text);
    const struct prune_layer *x = &l.net.layers[l.net.layer_count - 1];
    if (x->out_w != r->w || x->out_h != r->h || x->out_c != r->c || x->outputs != r->w * r->h * r->c || x->parameters != r->parameters || x->macs != r->macs)
        fail_msg("%s: %d x %d x %d, %llu parameters, %llu MACs", r->text, x->out_w, x->out_h, x->out_c, (unsigned long long)x->parameters, (unsigned long long)x->macs);
    assert_int_equal(l.net.dialects, r->foreign ? PRUNE_ALEXEYAB : PRUNE_EVERY_DARKNET);
    assert_true((l.net.foreign_line != 0) == r->foreign);
    assert_int_equal(prune_layout_build(&layout, &l.net, NULL), PRUNE_OK);
    assert_int_equal(layout.dialect, r->foreign ? PRUNE_ALEXEYAB : PRUNE_PJREDDIE);
    describe(&l.net, &layout, got);
    if (strcmp(got, r->stored)) fail_msg("%s: stored %s, not %s", r->text, got, r->stored);
    prune_layout_free(&layout);
    unload(&l);
}

static void convolutions(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[conv]\nfilters=4\nsize=3\npad=1\nstride_x=2\n", 4, 8, 4, 292, 288 * 32, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nsize=3\npad=1\nstride=2\nstride_y=1\n", 4, 8, 4, 292, 288 * 32, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nsize=3\npad=1\nstride=2\nstride_x=2\nstride_y=2\n", 4, 4, 4, 292, 288 * 16, "b4 w4x8x3x3", false},
        {"[conv]\nfilters=4\nsize=3\npad=1\ndilation=2\n", 8, 8, 4, 292, 288 * 64, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nsize=5\npadding=2\nstride=2\ndilation=3\n", 4, 4, 4, 804, 800 * 16, "b4 w4x8x5x5", true},
        {"[conv]\nfilters=4\nsize=3\npad=1\ndilation=1\nantialiasing=0\n", 8, 8, 4, 292, 288 * 64, "b4 w4x8x3x3", false},
        {"[conv]\nfilters=4\nsize=1\ndilation=4\n", 8, 8, 4, 36, 32 * 64, "b4 w4x8x1x1", false},
        /* the convolution runs at stride 1, the blur at the strides */
        {"[conv]\nfilters=4\nsize=3\npad=1\nstride=2\nantialiasing=1\n", 4, 4, 4, 292, 288 * 64, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nsize=3\npad=1\nstride=2\nantialiasing=2\n", 4, 4, 4, 292, 288 * 64, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nsize=3\npad=1\nstride=1\nantialiasing=2\n", 7, 7, 4, 292, 288 * 64, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nsize=3\nstride_y=3\nantialiasing=1\n", 6, 2, 4, 292, 288 * 36, "b4 w4x8x3x3", true},
        {"[conv]\nfilters=4\nbatch_normalize=2\n", 8, 8, 4, 40, 32 * 64, "b4 s4 m4 v4 w4x8x1x1", false},
        {"[conv]\nfilters=4\ncbn=1\n", 8, 8, 4, 40, 32 * 64, "b4 s4 m4 v4 w4x8x1x1", true},
        {"[conv]\nfilters=4\nassisted_excitation=4000\ntrain_only_bn=1\ngrad_centr=1\nstream=1\nwait_stream=1\nangle=15\nburnin_update=2\ndont_update=1\ncoordconv=0\n", 8, 8, 4, 36, 32 * 64, "b4 w4x8x1x1", false},
        {"[conv]\nfilters=8\nsize=3\npad=1\n[conv]\nfilters=8\nsize=3\npad=1\nstride=2\nactivation=mish\nshare_index=1\n", 4, 4, 8, 0, 576 * 16, "b8 w8x8x3x3", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i]);
}

static void pooling(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[maxpool]\nsize=2\nstride=2\nstride_y=1\n", 4, 8, 8, 0, 0, "", true},
        {"[maxpool]\nsize=3\nstride=1\nstride_x=2\nstride_y=2\npadding=0\n", 3, 3, 8, 0, 0, "", true},
        {"[maxpool]\nmaxpool_depth=1\nout_channels=3\n", 8, 8, 3, 0, 0, "", true},
        {"[maxpool]\nsize=2\nstride=2\nmaxpool_depth=0\nmaxpool_zero_nonmax=1\n", 4, 4, 8, 0, 0, "", false},
        {"[maxpool]\nsize=3\nstride=2\nantialiasing=1\n", 4, 4, 8, 0, 0, "", true},
        {"[maxpool]\nsize=2\nstride=2\npadding=0\nantialiasing=2\n", 3, 3, 8, 0, 0, "", true}, /* 7, then (7 - 2)/2 + 1 */
        {"[local_avgpool]\nsize=3\nstride=2\n", 4, 4, 8, 0, 0, "", true},
        {"[local_avg]\nsize=2\nstride_x=2\npadding=0\n", 4, 7, 8, 0, 0, "", true},
        {"[upsample]\nstride=2\nscale=.5\n", 16, 16, 8, 0, 0, "", false},
        {"[reorg3d]\nstride=2\n", 4, 4, 32, 0, 0, "", true},
        {"[reorg3d]\nstride=4\nreverse=0\n", 2, 2, 128, 0, 0, "", true},
        {"[dropout]\nprobability=.1\ndropblock=1\ndropblock_size_rel=.1\ndropblock_size_abs=7\n", 8, 8, 8, 0, 0, "", false},
        {"[empty]\n", 8, 8, 8, 0, 0, "", true},
        {"[silence]\n", 8, 8, 8, 0, 0, "", true},
        {"[history]\n", 8, 8, 32, 0, 0, "", true},
        {"[history]\nhistory_size=2\n", 8, 8, 16, 0, 0, "", true},
        {"[batchnorm]\n", 8, 8, 8, 8, 0, "s8 m8 v8", false},
        {"[empty]\n[batchnorm]\n", 8, 8, 8, 16, 0, "b8 s8 m8 v8", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i]);
}

static void joins(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", 8, 8, 4, 0, 0, "", true},
        {"[conv]\nfilters=12\n[route]\nlayers=0,1,0\ngroups=4\ngroup_id=3\n", 8, 8, 7, 0, 0, "b12 w12x8x1x1", true},
        {"[route]\nlayers=-1\ngroups=1\ngroup_id=0\n", 8, 8, 8, 0, 0, "", true},
        {"[conv]\nfilters=4\n[conv]\nfilters=6\n[shortcut]\nfrom=-2,0\n", 8, 8, 6, 0, 0, "b4 w4x8x1x1 b6 w6x4x1x1", true},
        {"[empty]\n[shortcut]\nlayers=0\n", 8, 8, 8, 0, 0, "", true},
        {"[empty]\n[shortcut]\nfrom=0\nweights_type=none\nactivation=swish\n", 8, 8, 8, 0, 0, "", true},
        {"[empty]\n[shortcut]\nfrom=0\nweights_type=per_feature\n", 8, 8, 8, 2, 0, "w2", true},
        {"[empty]\n[empty]\n[shortcut]\nfrom=0,1\nweights_type=per_layer\nweights_normalization=relu\n", 8, 8, 8, 3, 0, "w3", true},
        {"[empty]\n[empty]\n[shortcut]\nfrom=0,-2\nweights_type=per_channel\nweights_normalization=softmax\n", 8, 8, 8, 24, 0, "w3x8", true},
        {"[avgpool]\n[conv]\nfilters=8\nactivation=logistic\n[scale_channels]\nfrom=0\n", 8, 8, 8, 0, 0, "b8 w8x8x1x1", true},
        {"[conv]\nfilters=1\n[scale_channels]\nfrom=0\nscale_wh=1\nactivation=relu6\n", 8, 8, 8, 0, 0, "b1 w1x8x1x1", true},
        {"[conv]\nfilters=8\nactivation=logistic\n[sam]\nfrom=-2\n", 8, 8, 8, 0, 0, "b8 w8x8x1x1", true},
        {"[implicit]\n", 1, 1, 128, 128, 0, "w128x1", true},
        {"[implicit]\nfilters=5\natoms=3\nmean=1\nstd=.02\n", 1, 3, 5, 15, 0, "w5x3", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i]);
}

#define YOLO "[yolo]\nanchors=1,1, 2,2\nnum=2\nclasses=2\n"
static void heads(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[conv]\nfilters=22\n[Gaussian_yolo]\nanchors=1,1, 2,2\nnum=2\nclasses=2\nmax=200\n", 8, 8, 22, 0, 0, "b22 w22x8x1x1", true},
        {"[conv]\nfilters=14\n" YOLO "max=200\n", 8, 8, 14, 0, 0, "b14 w14x8x1x1", false},
        {"[conv]\nfilters=14\n" YOLO "embedding_layer=999999\nscale_x_y=1.00\nnew_coords=0\niou_loss=ciou\n", 8, 8, 14, 0, 0, "b14 w14x8x1x1", false},
        {"[conv]\nfilters=14\n" YOLO "scale_x_y=1.05\n", 8, 8, 14, 0, 0, "b14 w14x8x1x1", true},
        {"[conv]\nfilters=14\n" YOLO "new_coords=1\n", 8, 8, 14, 0, 0, "b14 w14x8x1x1", true},
        {"[conv]\nfilters=14\n" YOLO "[contrastive]\nclasses=2\nyolo_layer=2\n", 8, 8, 14, 0, 0, "b14 w14x8x1x1", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i]);
}

static void recurrent_layers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[crnn]\noutput=2\nhidden=4\npad=1\n", 8, 8, 2, 9 * (32 + 16 + 8) + 10, 64 * 9 * 56, "b4 w4x8x3x3 1:b4 1:w4x4x3x3 2:b2 2:w2x4x3x3", true},
        {"[crnn]\noutput=2\nhidden=4\nsize=1\ngroups=2\nbatch_normalize=1\n", 8, 8, 2, 28 + 20, 64 * 28, "b4 s4 m4 v4 w4x4x1x1 1:b4 1:s4 1:m4 1:v4 1:w4x2x1x1 2:b2 2:s2 2:m2 2:v2 2:w2x2x1x1", true},
        /* wf wi wg wo: 2 -> 2, uf ui ug uo: 8 -> 2 */
        {"[conv_lstm]\noutput=2\npad=1\n", 8, 8, 2, 9 * (4 * 4 + 4 * 16) + 16, 64 * 9 * 80,
         "b2 w2x2x3x3 1:b2 1:w2x2x3x3 2:b2 2:w2x2x3x3 3:b2 3:w2x2x3x3 4:b2 4:w2x8x3x3 5:b2 5:w2x8x3x3 6:b2 6:w2x8x3x3 7:b2 7:w2x8x3x3", true},
        /* vf vi vo, wf: 4 -> 2, uf ui ug uo */
        {"[conv_lstm]\noutput=2\nsize=1\npeephole=1\nbottleneck=1\ngroups=2\nstate_constrain=16\n", 8, 8, 2, (3 * 4 + 8 + 4 * 16) / 2 + 16, 64 * 42,
         "b2 w2x1x1x1 1:b2 1:w2x1x1x1 2:b2 2:w2x1x1x1 3:b2 3:w2x2x1x1 4:b2 4:w2x4x1x1 5:b2 5:w2x4x1x1 6:b2 6:w2x4x1x1 7:b2 7:w2x4x1x1", true},
        {"[connected]\noutput=3\n[rnn]\noutput=5\nhidden=2\n", 1, 1, 5, 15 + 25 + 25 + 15, 65, "b3 w3x512 b5 w5x3 1:b5 1:w5x5 2:b5 2:w5x5", false},
        {"[empty]\n[connected]\noutput=3\n[rnn]\noutput=5\nhidden=2\n", 1, 1, 5, 6 + 4 + 10 + 9, 20, "b3 w3x512 b2 w2x3 1:b2 1:w2x2 2:b5 2:w5x2", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i]);
}

static void the_new_fields_are_filled(void **state)
{
    (void)state;
    struct loaded l;
    build(&l, "[conv]\nfilters=8\nsize=3\npad=1\nstride=2\nstride_y=1\nantialiasing=1\n"                 /* 1: 4 x 8 behind 8 x 8 */
              "[conv]\nfilters=8\nsize=3\npad=1\ndilation=2\n"                                          /* 2 */
              "[conv]\nfilters=8\nsize=3\npad=1\nshare_index=2\n[conv]\nfilters=8\nsize=3\npad=1\nshare_index=-1\n" /* 3, 4: both use 2 */
              "[route]\nlayers=3,4\ngroups=2\ngroup_id=1\n"                                              /* 5 */
              "[shortcut]\nfrom=-2,-4\nweights_type=per_channel\n"                                       /* 6 */
              "[implicit]\nfilters=8\natoms=2\n"                                                         /* 7 */
              "[route]\nlayers=6\n[avgpool]\n[scale_channels]\nfrom=2\n"                                 /* 8, 9, 10 */
              "[conv]\nfilters=14\nactivation=norm_chan\n[yolo]\nnum=2\nanchors=1,1,2,2\nclasses=2\nembedding_layer=6\n" /* 11, 12 */
              "[contrastive]\nyolo_layer=-1\n");                                                         /* 13 */
    const struct prune_layer *x = l.net.layers;
    assert_true(x[1].stride == 2 && x[1].stride_x == 2 && x[1].stride_y == 1 && x[1].antialiasing == 1 && x[1].sharp_w == 8 && x[1].sharp_h == 8 && x[1].out_w == 4 && x[1].out_h == 8);
    assert_true(x[0].stride_x == 1 && x[0].sharp_w == 8 && x[0].dilation == 1 && x[0].share == -1 && x[0].refers_to == -1 && x[0].groups == 1);
    assert_true(x[2].dilation == 2 && x[2].sharp_w == 4 && x[2].sharp_h == 8);
    assert_true(x[3].share == 2 && x[4].share == 2 && x[4].parameters == 0 && x[4].macs == 576 * 32);
    assert_true(x[5].groups == 2 && x[5].group_id == 1 && x[5].out_c == 8 && x[5].source_count == 2 && x[5].sources[1] == 4);
    assert_true(x[6].weights_type == PRUNE_WEIGHTS_PER_CHANNEL && x[6].source_count == 3 && x[6].sources[0] == 5 && x[6].sources[1] == 4 && x[6].sources[2] == 2);
    assert_true(x[7].source_count == 0 && x[7].atoms == 2 && x[7].inputs == 1 && x[7].out_h == 2);
    assert_true(x[10].source_count == 2 && x[10].sources[0] == 9 && x[10].sources[1] == 2 && !x[10].scale_wh && x[10].w == 1 && x[10].out_w == 4);
    assert_true(x[11].activation == PRUNE_NORM_CHAN);
    assert_true(x[12].source_count == 2 && x[12].sources[0] == 11 && x[12].sources[1] == 6);
    assert_true(x[13].refers_to == 12 && x[13].source_count == 1);
    assert_int_equal(l.net.task, PRUNE_TASK_DETECTOR);
    assert_int_equal(l.net.foreign_line, 15); /* stride_y=1 beside stride=2; antialiasing in line 16 comes second */
    unload(&l);
}

static void the_first_thing_the_host_does_not_know_is_named(void **state)
{
    (void)state;
    static const struct { const char *text, *what; int line; } rows[] = {
        {"[sam]\nfrom=0\n", "[sam]", 10},
        {"[conv]\nactivation=mish\n[empty]\n", "activation=mish", 11},
        {"[route]\nlayers=0\ngroups=2\n", "groups=2", 12},
        {"[maxpool]\nstride=1\nstride_x=2\n", "stride_x=2", 12},
        {"[shortcut]\nfrom=0,0\n", "from=0,0", 11},
        {"[conv]\nfilters=8\n", "", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct loaded l;
        struct prune_status st = {0};
        char want[400];
        build(&l, rows[i].text);
        assert_int_equal(l.net.foreign_line, rows[i].line);
        assert_string_equal(l.net.foreign, rows[i].what);
        assert_int_equal(prune_net_check_host(&l.net, 1, &st), rows[i].line ? PRUNE_FAILED : PRUNE_OK);
        snprintf(want, sizeof want, "cannot run 't.cfg:%d': %s is known to AlexeyAB's and hank-ai's Darknet only, and networks run here on pjreddie's; 'inspect', 'select', 'apply' and "
                 "criteria from weights (magnitude, bn-scale, random) work", rows[i].line, rows[i].what);
        if (rows[i].line) assert_string_equal(st.message, want);
        unload(&l);
    }
}

static void what_pjreddies_darknet_alone_knows_is_noticed(void **state)
{
    (void)state;
    struct loaded l;
    build(&l, "[l2norm]\n");
    assert_int_equal(l.net.dialects, PRUNE_PJREDDIE);
    assert_int_equal(l.net.foreign_line, 0);
    unload(&l);
    build(&l, "[crnn]\nhidden_filters=2\noutput_filters=2\n");
    assert_int_equal(l.net.dialects, PRUNE_PJREDDIE);
    unload(&l);
}

static void more_boxes_than_the_host_keeps_are_refused_there_alone(void **state)
{
    (void)state;
    struct loaded l;
    struct prune_status st = {0};
    build(&l, "[conv]\nfilters=14\n" YOLO "max=91\n");
    assert_int_equal(prune_net_check_host(&l.net, 1, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot run 't.cfg:16': max=91 in [yolo], and pjreddie's Darknet, which runs networks here, keeps at most 90 boxes per image; use max=90");
    unload(&l);
    build(&l, "[conv]\nfilters=14\n" YOLO "max=90\n");
    assert_int_equal(prune_net_check_host(&l.net, 1, &st), PRUNE_OK);
    unload(&l);
    build(&l, "[conv]\nfilters=14\n[region]\nanchors=1,1,2,2\nnum=2\nclasses=2\nmax=31\n");
    assert_int_equal(prune_net_check_host(&l.net, 1, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "t.cfg:16': max=31 in [region]"));
    unload(&l);
}

static void restarts_of_the_learning_rate_are_accepted_and_foreign(void **state)
{
    (void)state;
    static const char text[] = "[net]\nheight=8\nwidth=8\nchannels=3\npolicy=sgdr\nsgdr_cycle=100\n[conv]\n";
    struct loaded l;
    assert_int_equal(prune_cfg_parse(&l.cfg, "t.cfg", text, sizeof text - 1, NULL), PRUNE_OK);
    assert_int_equal(prune_net_build(&l.net, &l.cfg, NULL), PRUNE_OK);
    assert_string_equal(l.net.foreign, "policy=sgdr");
    assert_int_equal(l.net.foreign_line, 5);
    unload(&l);
}

/* Layers refer to others by number; a walk back for each would show as seconds. */
static void many_layers_are_built_in_time_that_grows_with_them(void **state)
{
    (void)state;
    static const char one[] = "[conv]\nfilters=1000\ngroups=1000\nshare_index=1\n[sam]\nfrom=-2\n[shortcut]\nfrom=-1,-2,1\nweights_type=per_channel\n[route]\nlayers=-1,-2\ngroups=2\n[implicit]\n[route]\nlayers=-2\n";
    static const char head[] = "[net]\nheight=2\nwidth=2\nchannels=3\n[conv]\nfilters=1000\n[conv]\nfilters=1000\ngroups=1000\n";
    enum { N = 1000 };
    char *text = malloc(sizeof head + N * sizeof one);
    size_t size = sizeof head - 1;
    struct loaded l;
    struct prune_weights_layout layout;
    memcpy(text, head, size);
    for (int i = 0; i < N; i++, size += sizeof one - 1) memcpy(text + size, one, sizeof one - 1);
    assert_int_equal(prune_cfg_parse(&l.cfg, "t.cfg", text, size, NULL), PRUNE_OK);
    assert_int_equal(prune_net_build(&l.net, &l.cfg, NULL), PRUNE_OK);
    assert_int_equal(l.net.layer_count, 2 + 6 * N);
    assert_int_equal(l.net.layers[6 * N - 4].share, 1);
    assert_int_equal(l.net.parameters, 4000 + 2000 + N * (4000 + 128));
    assert_int_equal(prune_layout_build(&layout, &l.net, NULL), PRUNE_OK);
    assert_int_equal(layout.count, 4 + 2 * N);
    prune_layout_free(&layout);
    unload(&l);
    free(text);
}

/* A file of so many floats behind a header of 20 bytes; values count up from 0. */
static void write_floats(const char *path, size_t count)
{
    const int32_t header[5] = {0, 2, 0, 0, 0};
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(header, sizeof header, 1, f);
    for (size_t i = 0; i < count; i++) {
        float x = (float)i;
        fwrite(&x, sizeof x, 1, f);
    }
    fclose(f);
}

static void the_size_of_the_file_tells_who_wrote_it(void **state)
{
    (void)state;
    struct loaded l;
    struct prune_weights w;
    struct prune_status st = {0};
    char path[64];
    size_t layers = 0;
    snprintf(path, sizeof path, "/tmp/prune-dialect-%ld", (long)getpid());
    build(&l, "[batchnorm]\n[connected]\noutput=3\n[rnn]\noutput=5\nhidden=2\n");
    /* layer 0: 8 + 216, connected: 3 + 1536; batchnorm 24 or 32; rnn 80 or 29 */
    write_floats(path, 224 + 24 + 1539 + 80);
    assert_int_equal(prune_weights_open(&w, path, &l.net, &st), PRUNE_OK);
    assert_int_equal(w.layout.dialect, PRUNE_PJREDDIE);
    assert_int_equal(prune_weights_check_host(&w, &st), PRUNE_OK);
    prune_weights_close(&w);
    write_floats(path, 224 + 32 + 1539 + 29);
    assert_int_equal(prune_weights_open(&w, path, &l.net, &st), PRUNE_OK);
    assert_int_equal(w.layout.dialect, PRUNE_ALEXEYAB);
    assert_true(prune_weights_data(&w, prune_layout_find(&w.layout, 1, PRUNE_BIASES))[0] == 224);
    assert_true(prune_weights_data(&w, prune_layout_find(&w.layout, 1, PRUNE_VARIANCE))[0] == 224 + 24);
    assert_int_equal(prune_weights_check_host(&w, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "was written by AlexeyAB's or hank-ai's Darknet, which stores [batchnorm] and [rnn] otherwise"));
    prune_weights_close(&w);
    write_floats(path, 224 + 32 + 1539 + 80); /* neither */
    assert_int_equal(prune_weights_open(&w, path, &l.net, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "32 bytes left over after the last layer"));
    write_floats(path, 224 + 32); /* a prefix of AlexeyAB's */
    assert_int_equal(prune_weights_open_prefix(&w, path, &l.net, &layers, &st), PRUNE_OK);
    assert_int_equal(w.layout.dialect, PRUNE_ALEXEYAB);
    assert_int_equal(layers, 2);
    prune_weights_close(&w);
    unload(&l);
    build(&l, "[empty]\n[batchnorm]\n"); /* only AlexeyAB's can load it: no second try */
    write_floats(path, 224 + 24);
    assert_int_equal(prune_weights_open(&w, path, &l.net, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "cfg needs 1044 (ends in layer 2 variance)"));
    unload(&l);
    unlink(path);
}

static void files_of_every_section_and_header_are_read(void **state)
{
    (void)state;
    static const struct { const char *cfg, *weights; int dialect; size_t floats, header; const char *foreign; } rows[] = {
        {"dialect-convolutions", "dialect-convolutions", PRUNE_ALEXEYAB, 112 + 148 + 160 + 148 + 148, 20, "stride_x=2"},
        {"dialect-shortcuts", "dialect-shortcuts", PRUNE_ALEXEYAB, 112 + 30 + 18 + 2, 16, "[empty]"},
        {"dialect-products", "dialect-products", PRUNE_ALEXEYAB, 112 + 20 + 5 + 20 + 8, 20, "[scale_channels]"},
        {"dialect-recurrent", "dialect-recurrent", PRUNE_ALEXEYAB, 112 + 7 * 38 + 4 * 74 + 10 + 4 * 6 + 3 * 20 + 16, 20, "[conv_lstm]"},
        {"two-layouts", "two-layouts-pjreddie", PRUNE_PJREDDIE, 112 + 12 + 771 + 20, 20, ""},
        {"two-layouts", "two-layouts-alexeyab", PRUNE_ALEXEYAB, 112 + 16 + 771 + 10, 20, ""},
        {"comments-behind-numbers", NULL, 0, 0, 0, ""},
        {"dialect-routes", NULL, 0, 0, 0, "groups=2"},
        {"dialect-heads", NULL, 0, 0, 0, "embedding_layer=1"},
        {"sgdr", NULL, 0, 0, 0, "policy=sgdr"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct loaded l;
        struct prune_weights w;
        struct prune_status st = {0};
        char cfg[128], weights[128];
        snprintf(cfg, sizeof cfg, "tests/golden/good/%s.cfg", rows[i].cfg);
        if (prune_net_read(&l.cfg, &l.net, cfg, &st)) fail_msg("%s", st.message);
        assert_string_equal(l.net.foreign, rows[i].foreign);
        if (rows[i].weights) {
            snprintf(weights, sizeof weights, "tests/golden/good/%s.weights", rows[i].weights);
            if (prune_weights_open(&w, weights, &l.net, &st) || prune_weights_check_finite(&w, &st)) fail_msg("%s", st.message);
            assert_int_equal(w.layout.dialect, rows[i].dialect);
            assert_int_equal(w.layout.floats, rows[i].floats);
            assert_int_equal(w.header.size, rows[i].header);
            assert_int_equal(w.header.seen, 640);
            prune_weights_close(&w);
        }
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(pooling),
        cmocka_unit_test(joins),
        cmocka_unit_test(heads),
        cmocka_unit_test(recurrent_layers),
        cmocka_unit_test(the_new_fields_are_filled),
        cmocka_unit_test(the_first_thing_the_host_does_not_know_is_named),
        cmocka_unit_test(what_pjreddies_darknet_alone_knows_is_noticed),
        cmocka_unit_test(more_boxes_than_the_host_keeps_are_refused_there_alone),
        cmocka_unit_test(restarts_of_the_learning_rate_are_accepted_and_foreign),
        cmocka_unit_test(files_of_every_section_and_header_are_read),
        cmocka_unit_test(many_layers_are_built_in_time_that_grows_with_them),
        cmocka_unit_test(the_size_of_the_file_tells_who_wrote_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
