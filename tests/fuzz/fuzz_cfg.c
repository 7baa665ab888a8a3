/* Fuzzer of the cfg reader: bytes -> sections -> shapes -> layout, and an edit that must parse again. A crash, a leak, undefined
 * behaviour or a broken promise (asserts below) is a bug; refusing the input is not. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/model/weights_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_net(const struct prune_net *net)
{
    struct prune_weights_layout layout;
    uint64_t parameters = 0;
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_layer *l = &net->layers[i];
        assert(l->out_w > 0 && l->out_h > 0 && l->out_c > 0 && (int64_t)l->out_w * l->out_h * l->out_c == l->outputs);
        assert(l->w > 0 && l->h > 0 && l->c > 0 && l->inputs > 0);
        for (size_t s = 0; s < l->source_count; s++) assert(l->sources[s] >= -1 && l->sources[s] < l->index);
    }
    if (prune_layout_build(&layout, net, NULL)) return;
    for (size_t i = 0; i < layout.count; i++) {
        const struct prune_weights_tensor *t = &layout.tensors[i];
        assert(t->count && t->offset + t->count <= layout.floats);
        if (t->role != PRUNE_MEAN && t->role != PRUNE_VARIANCE) parameters += t->count;
    }
    assert(parameters <= net->parameters); /* less with dontload, numload and dontloadscales */
    prune_layout_free(&layout);
}

/* Sets a key in the last section: the result must parse and say so, and without the edit it must be the input. */
static void check_edit(const struct prune_cfg *cfg)
{
    struct prune_edit_list edits = {0};
    struct prune_cfg again;
    char *bytes = NULL;
    size_t size = 0;
    assert(!prune_edit_apply(cfg, &edits, &bytes, &size, NULL));
    assert(size == cfg->size && !memcmp(bytes, cfg->bytes, size));
    free(bytes);
    if (!cfg->section_count) return;
    assert(!prune_edit_set(&edits, cfg, cfg->section_count - 1, "filters", "17", "size", NULL));
    assert(!prune_edit_apply(cfg, &edits, &bytes, &size, NULL));
    assert(!prune_cfg_parse(&again, "edited", bytes, size, NULL));
    assert(again.section_count == cfg->section_count);
    assert(!strcmp(prune_cfg_string(&again.sections[again.section_count - 1], "filters", ""), "17"));
    prune_cfg_free(&again);
    free(bytes);
    prune_edit_free(&edits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_status st;
    if (prune_cfg_parse(&cfg, "fuzz.cfg", (const char *)data, size, &st)) return 0;
    check_edit(&cfg);
    if (!prune_net_build(&net, &cfg, &st)) {
        check_net(&net);
        prune_net_free(&net);
    }
    prune_cfg_free(&cfg);
    return 0;
}
