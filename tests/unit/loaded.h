/* For tests of the model: a cfg and its network, from a file or from text. */
#ifndef PRUNE_TESTS_LOADED_H
#define PRUNE_TESTS_LOADED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../plugin/model/weights_file.h"

struct loaded { struct prune_cfg cfg; struct prune_net net; };

static inline void load(struct loaded *l, const char *path)
{
    struct prune_status st = {0};
    if (prune_net_read(&l->cfg, &l->net, path, &st)) fail_msg("%s", st.message);
}

static inline void load_text(struct loaded *l, const char *text)
{
    struct prune_status st = {0};
    if (prune_cfg_parse(&l->cfg, "t.cfg", text, strlen(text), &st) || prune_net_build(&l->net, &l->cfg, &st)) fail_msg("%s", st.message);
}

static inline void unload(struct loaded *l)
{
    prune_net_free(&l->net);
    prune_cfg_free(&l->cfg);
}

#endif
