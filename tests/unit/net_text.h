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
#define HEAD "[convolutional]\nfilters=5\nsize=1\nstride=1\npad=0\nactivation=linear\n\n[avgpool]\n\n[softmax]\n"

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

#endif
