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

#endif
