/* Fuzzer of everything between a cfg and its smaller form: a cfg that our reader accepts must have units, a selection at a fraction taken
 * from its bytes either succeeds or says why not, and what is selected rewrites to a cfg that reads back at the promised cost. Its wider form (expand)
 * has the planned widths or is refused with a reason, too. */
#include <stdlib.h>

#include "../../plugin/rewrite/expand.h"
#include "../../plugin/select/select.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { CHANNELS = 20000 };   /* larger nets only take time */

static void shrink(const struct prune_net *net, const struct prune_units *units, const struct prune_select_options *o, double *scores, uint8_t *removed)
{
    struct prune_status st = { 0 };
    struct prune_select_result r;
    struct prune_plan plan;
    struct prune_cfg cfg;
    struct prune_net small;
    char *text = NULL;
    size_t size = 0;
    if (prune_select(net, units, scores, o, removed, &r, &st)) {
        if (!st.message[0]) abort();
        return;
    }
    if (prune_plan_build(&plan, net, units, removed, &st) || prune_rewrite_cfg(&plan, net, &text, &size, &st)) abort();
    if (prune_cfg_parse(&cfg, "(memory)", text, size, &st) || prune_net_build(&small, &cfg, &st)) abort();
    if (small.macs != r.after.macs || small.parameters != r.after.parameters) abort();
    prune_net_free(&small);
    prune_cfg_free(&cfg);
    free(text);
    prune_plan_free(&plan);
}

static void widen(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, unsigned key)
{
    struct prune_status st = { 0 };
    struct prune_expand_options o = { .factor = key % 2 ? 2 : 1 + key % 9 / 8., .count = 1 + key % 7, .by = key % 3 ? PRUNE_EXPAND_LAYERS : PRUNE_EXPAND_STAGES };
    struct prune_expansion e;
    struct prune_cfg cfg;
    struct prune_net wide;
    if (!prune_expand_build(&e, net, units, removed, &o, &st)) {
        if (!prune_expand_cfg(&e, net, "(memory)", &cfg, &wide, &st)) {
            if (wide.layer_count != net->layer_count || wide.parameters < net->parameters) abort();
            prune_net_free(&wide);
            prune_cfg_free(&cfg);
            st.message[0] = 1;
        }
        prune_expand_free(&e);
    }
    if (!st.message[0]) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct prune_status st = { 0 };
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    size_t channels = 0;
    if (prune_cfg_parse(&cfg, "(memory)", (const char *)bytes, size, &st)) return 0;
    if (!prune_net_build(&net, &cfg, &st)) {
        for (size_t i = 0; i < net.layer_count; i++) channels += (size_t)net.layers[i].out_c;
        bool modest = channels <= CHANNELS && net.inputs <= CHANNELS;
        if (modest && prune_units_build(&units, &net, &st)) abort();
        if (modest) {
            unsigned key = bytes[size / 2] + 1u;     /* an accepted cfg is not empty */
            double *scores = calloc(units.count + 1, sizeof *scores);
            uint8_t *removed = calloc(units.count + 1, 1);
            if (!scores || !removed) abort();
            for (size_t u = 0; u < units.count; u++) scores[u] = (double)((u + key) * 2654435761u % 1009);
            struct prune_select_options o = { .remain = (key % 20 + 1) / 20.0, .min_keep = 1, .multiple = key % 3 ? 1 : 2, .per_layer = key % 5 == 0,
                                              .cost = key % 2 ? PRUNE_COST_MACS : PRUNE_COST_NONE, .cost_power = 1, .target = PRUNE_TARGET_UNITS };
            shrink(&net, &units, &o, scores, removed);
            widen(&net, &units, removed, key);
            free(scores);
            free(removed);
            prune_units_free(&units);
        }
        prune_net_free(&net);
    }
    prune_cfg_free(&cfg);
    return 0;
}
