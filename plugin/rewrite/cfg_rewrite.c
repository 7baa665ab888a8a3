/* The cfg text that follows from a plan: only the keys that must change change; see rewrite.h. */
#include "rewrite.h"

#include <stdlib.h>

#include "../base/file_io.h"

static enum prune_code set_number(struct prune_edit_list *edits, const struct prune_net *net, const struct prune_layer *l, const char *key, size_t value,
                                  const char *after, struct prune_status *st)
{
    char *text = prune_format("%zu", value);
    if (!text) return prune_fail_memory(st, 16, "cfg value");
    enum prune_code rc = prune_edit_set(edits, net->cfg, l->section, key, text, after, st);
    free(text);
    return rc;
}

/* Keys that count channels of a layer. Sections that pass channels on have none; those that fix channels keep theirs. */
static enum prune_code edit_layer(struct prune_edit_list *edits, const struct prune_net *net, const struct prune_layer *l, const struct prune_layer_plan *p, struct prune_status *st)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    bool makes = rule == PRUNE_CH_PRODUCE, joins = rule == PRUNE_CH_CONCAT;
    enum prune_code rc = PRUNE_OK;
    if (makes && p->out_count != (size_t)l->out_c) rc = set_number(edits, net, l, l->kind == PRUNE_CONNECTED ? "output" : "filters", p->out_count, NULL, st);
    if (!rc && (makes || joins) && p->groups != l->groups) rc = set_number(edits, net, l, "groups", (size_t)p->groups, joins ? "layers" : "filters", st);
    if (!rc && joins && p->group_id != l->group_id) rc = set_number(edits, net, l, "group_id", (size_t)p->group_id, "groups", st);
    return rc;
}

enum prune_code prune_rewrite_cfg(const struct prune_plan *plan, const struct prune_net *net, char **bytes, size_t *size, struct prune_status *st)
{
    struct prune_edit_list edits = { 0 };
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < net->layer_count; i++) rc = edit_layer(&edits, net, &net->layers[i], &plan->layers[i], st);
    if (!rc) rc = prune_edit_apply(net->cfg, &edits, bytes, size, st);
    prune_edit_free(&edits);
    return rc;
}
