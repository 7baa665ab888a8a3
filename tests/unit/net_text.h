/* For tests of units, select and rewrite: a network from cfg text, its units, and short names for sections. */
#ifndef PRUNE_TESTS_NET_TEXT_H
#define PRUNE_TESTS_NET_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../plugin/model/weights_file.h"
#include "../../plugin/units/units.h"

#define NET "[net]\nbatch=1\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\n\n"
#define CONV(n) "[convolutional]\nfilters=" #n "\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
#define BN(n) "[convolutional]\nbatch_normalize=1\nfilters=" #n "\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
#define ACT(n, a) "[convolutional]\nfilters=" #n "\nsize=1\nstride=1\npad=0\nactivation=" a "\n\n"
#define GROUPED(n, g) "[convolutional]\nfilters=" #n "\nsize=3\nstride=1\npad=1\ngroups=" #g "\nactivation=leaky\n\n"
#define SHORTCUT(from) "[shortcut]\nfrom=" #from "\nactivation=linear\n\n"
#define ROUTE(list) "[route]\nlayers=" list "\n\n"
#define SLICE(list, g, i) "[route]\nlayers=" list "\ngroups=" #g "\ngroup_id=" #i "\n\n"
#define SCALE(from) "[scale_channels]\nfrom=" #from "\n\n"
#define SQUEEZE(n, c) "[avgpool]\n\n" ACT(n, "relu") ACT(c, "logistic")
#define SHARE(n, i) "[convolutional]\nfilters=" #n "\nsize=3\nstride=1\npad=1\nshare_index=" #i "\nactivation=leaky\n\n"
#define MIX(more, a) "[convolutional]\nfilters=4\nsize=1\nstride=1\npad=0\n" more "activation=" a "\n\n"
#define POOL "[maxpool]\nsize=2\nstride=2\npadding=0\n\n"
#define HEAD "[convolutional]\nfilters=5\nsize=1\nstride=1\npad=0\nactivation=linear\n\n[avgpool]\n\n[softmax]\n"
/* A little of everything: product, slice, groups, depthwise, batch-norm, both weighted shortcuts, shared values, implicit map, both reorgs, blur. */
#define EVERYTHING \
    NET BN(8) CONV(8) SHORTCUT(-2) SQUEEZE(3, 8) SCALE(2) SLICE("-1", 2, 1) GROUPED(6, 2) GROUPED(12, 6) "[batchnorm]\n\n" ROUTE("-1,-2,2") \
    "[reorg3d]\nstride=2\n\n" GROUPED(8, 4) CONV(8) SHARE(8, -1) "[shortcut]\nfrom=-2,-3\nweights_type=per_channel\nactivation=mish\n\n" \
    "[shortcut]\nfrom=-2\nweights_type=per_feature\nactivation=swish\n\n[implicit]\nfilters=8\n\n" SCALE(-2) "[reorg]\nstride=2\n\n" \
    "[convolutional]\nfilters=7\nsize=3\nstride=2\npad=1\nantialiasing=1\nactivation=relu6\n\n" CONV(5) HEAD

struct text_net { struct prune_cfg cfg; struct prune_net net; struct prune_units units; };

static inline void text_open(struct text_net *t, const char *text)
{
    struct prune_status st = { 0 };
    if (prune_cfg_parse(&t->cfg, "(memory)", text, strlen(text), &st) || prune_net_build(&t->net, &t->cfg, &st) || prune_units_build(&t->units, &t->net, &st))
        fail_msg("%s", st.message);
}

static inline void text_close(struct text_net *t)
{
    prune_units_free(&t->units);
    prune_net_free(&t->net);
    prune_cfg_free(&t->cfg);
}

static inline int unit_of(const struct text_net *t, int layer, int channel)
{
    return t->units.of_channel[layer][channel];
}

static inline const char *reason_of(const struct text_net *t, int layer, int channel)
{
    int u = unit_of(t, layer, channel);
    return u < 0 ? "no unit" : t->units.items[u].protected_because ? t->units.items[u].protected_because : "";
}

/* Members of the unit as text: "1:0 3:0". */
static inline const char *members(const struct text_net *t, int unit)
{
    static char text[512];
    *text = 0;
    for (size_t i = 0; i < t->units.items[unit].member_count; i++) {
        const struct prune_channel *m = &t->units.members[t->units.items[unit].first_member + i];
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d:%d", i ? " " : "", m->layer, m->channel);
    }
    return text;
}

/* Gates of the unit as text: b = before the activation, o = on the output: "b1:0 o2:0". */
static inline const char *gates(const struct text_net *t, int unit)
{
    static char text[512];
    *text = 0;
    for (size_t i = 0; i < t->units.items[unit].site_count; i++) {
        const struct prune_gate_site *s = &t->units.sites[t->units.items[unit].first_site + i];
        assert_int_equal(s->unit, unit);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%c%d:%d", i ? " " : "", s->place == PRUNE_GATE_BEFORE_ACTIVATION ? 'b' : 'o', s->layer, s->channel);
    }
    return text;
}

/* What each unit would save from here, in two ways, is the difference of two costs. */
static inline void check_savings(const struct text_net *t, uint8_t *removed)
{
    struct prune_status st = { 0 };
    struct prune_cost *savings = calloc(t->units.count, sizeof *savings);
    assert_int_equal(prune_units_savings(&t->net, &t->units, removed, savings, &st), PRUNE_OK);
    for (size_t u = 0; u < t->units.count; u++) {
        struct prune_cost before, after, saving;
        if (removed[u]) continue;
        prune_units_cost(&t->net, &t->units, removed, &before);
        prune_units_saving(&t->net, &t->units, removed, u, &saving);
        removed[u] = 1;
        prune_units_cost(&t->net, &t->units, removed, &after);
        removed[u] = 0;
        assert_int_equal(saving.macs, before.macs - after.macs);
        assert_int_equal(saving.parameters, before.parameters - after.parameters);
        assert_int_equal(saving.channels, before.channels - after.channels);
        assert_memory_equal(&savings[u], &saving, sizeof saving);
    }
    free(savings);
}

/* A weights file whose k-th value is k + 1, so that every value says where it was. major 1001: connected weights transposed. */
static inline void write_counting(const struct prune_net *net, const char *path, int32_t major)
{
    struct prune_status st = { 0 };
    struct prune_weights_layout layout;
    assert_int_equal(prune_layout_build(&layout, net, &st), PRUNE_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    const int32_t version[3] = { major, 2, 5 };
    const uint64_t seen = 0x1122334455ull;
    fwrite(version, 4, 3, f);
    fwrite(&seen, major > 1000 ? 4 : 8, 1, f);
    for (size_t i = 0; i < layout.floats; i++) {
        float v = (float)(i + 1);
        fwrite(&v, 4, 1, f);
    }
    fclose(f);
    prune_layout_free(&layout);
}

#endif
