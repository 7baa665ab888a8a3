/* The pair on disk: cfg, weights, mask (and masked weights) of one pruned network; see rewrite.h. They are written under other names, read
 * back, and put in place together (base/file_set.h), the cfg last: a cfg without its weights never appears, and after a failure what was
 * there before is what is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_set.h"
#include "../units/mask_file.h"
#include "drop.h"
#include "proof.h"

void prune_pair_free(struct prune_pair *pair)
{
    free(pair->cfg);
    free(pair->weights);
    free(pair->mask);
    free(pair->masked);
    memset(pair, 0, sizeof *pair);
}

static char *output_path(const char *dir, const char *base, const char *ending)
{
    char *name = base ? prune_format("%s%s", base, ending) : NULL, *path = name ? prune_path_join(dir, name) : NULL;
    free(name);
    return path;
}

static enum prune_code name_outputs(struct prune_pair *pair, const struct prune_net *net, const char *dir, bool masked, struct prune_status *st)
{
    char *base = prune_base_name(net->cfg->path);
    pair->cfg = output_path(dir, base, "-pruned.cfg");
    pair->weights = output_path(dir, base, "-pruned.weights");
    pair->mask = output_path(dir, base, "-pruned.mask.json");
    if (masked) pair->masked = output_path(dir, base, "-masked.weights");
    free(base);
    if (!pair->cfg || !pair->weights || !pair->mask || (masked && !pair->masked)) return prune_fail_memory(st, strlen(dir) + 64, "output paths");
    return PRUNE_OK;
}

static enum prune_code refuse_inputs(const struct prune_pair *pair, const struct prune_net *net, const struct prune_weights *in, struct prune_status *st)
{
    const char *outputs[] = { pair->cfg, pair->weights, pair->mask, pair->masked };
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        if (outputs[i] && (prune_same_file(outputs[i], net->cfg->path) || prune_same_file(outputs[i], in->path)))
            return prune_fail(st, "'%s' is an input and would be overwritten; choose another folder with -out", outputs[i]);
    return PRUNE_OK;
}

enum prune_code prune_rewrite_cfg_file(const struct prune_plan *plan, const struct prune_net *net, const char *path, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_rewrite_cfg(plan, net, &bytes, &size, st);
    if (!rc) rc = prune_write_file(path, bytes, size, st);
    free(bytes);
    return rc;
}

/* What was written is read with our own readers, must have the cost that was promised, and is proved. */
static enum prune_code read_back(struct prune_pair *pair, const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, const struct prune_weights *in,
                                 const struct prune_plan *plan, const struct prune_mask_origin *origin, struct prune_status *st)
{
    struct prune_cfg cfg;
    struct prune_net small;
    struct prune_weights weights;
    struct prune_cost promised;
    prune_units_cost(net, units, removed, &promised);
    enum prune_code rc = prune_net_read(&cfg, &small, pair->cfg, st);
    if (rc) {
        prune_explain(st, "the rewritten cfg does not read back: ");
        return rc;
    }
    if (small.macs != promised.macs || small.parameters != promised.parameters)
        rc = prune_fail(st, "'%s' has %llu multiply-adds and %llu parameters where %llu and %llu were planned", pair->cfg, (unsigned long long)small.macs,
                        (unsigned long long)small.parameters, (unsigned long long)promised.macs, (unsigned long long)promised.parameters);
    if (!rc) {
        rc = prune_weights_open(&weights, pair->weights, &small, st);
        if (rc) prune_explain(st, "the rewritten weights do not read back: ");
        else {
            rc = prune_prove(net, in, plan, &small, &weights, &pair->proof, st);
            prune_weights_close(&weights);
        }
    }
    if (!rc && pair->masked) {
        rc = prune_weights_open(&weights, pair->masked, origin->dropped ? origin->dropped->whole : net, st);
        if (!rc) prune_weights_close(&weights);
    }
    prune_net_free(&small);
    prune_cfg_free(&cfg);
    return rc;
}

static enum prune_code write_masked(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const struct prune_mask_origin *origin,
                                    const char *path, struct prune_status *st)
{
    return origin->dropped ? prune_drop_masked(plan, origin->dropped, path, st) : prune_rewrite_masked(plan, net, in, path, st);
}

/* Where each file is written before all are put in place; the strings are the set's. */
static enum prune_code stage(struct prune_file_set *set, const struct prune_pair *pair, struct prune_pair *staged, struct prune_status *st)
{
    char *const paths[] = { pair->weights, pair->masked, pair->mask, pair->cfg };
    char **const names[] = { &staged->weights, &staged->masked, &staged->mask, &staged->cfg };
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < sizeof paths / sizeof *paths; i++) {
        const char *name = NULL;
        if (paths[i]) rc = prune_set_add(set, paths[i], &name, st);
        *names[i] = (char *)(uintptr_t)name;
    }
    return rc;
}

static enum prune_code write_staged(const struct prune_plan *plan, const struct prune_net *net, const struct prune_units *units, const uint8_t *removed,
                                    const struct prune_weights *in, const struct prune_mask_origin *origin, struct prune_pair *staged, struct prune_status *st)
{
    struct prune_mask_origin settled = *origin;
    enum prune_code rc = prune_rewrite_weights(plan, net, in, staged->weights, st);
    if (!rc && staged->masked) rc = write_masked(plan, net, in, origin, staged->masked, st);
    if (!rc && settled.settle) rc = settled.settle(&settled, st);
    if (!rc) rc = prune_mask_write(staged->mask, units, removed, &settled, st);
    if (!rc) rc = prune_rewrite_cfg_file(plan, net, staged->cfg, st);
    return rc ? rc : read_back(staged, net, units, removed, in, plan, origin, st);
}

enum prune_code prune_write_pair(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, const struct prune_weights *in,
                                 const struct prune_mask_origin *origin, const char *dir, bool masked, struct prune_pair *pair, struct prune_status *st)
{
    struct prune_plan plan = { 0 };
    struct prune_file_set set = { 0 };
    struct prune_pair staged = { 0 };
    memset(pair, 0, sizeof *pair);
    enum prune_code rc = name_outputs(pair, net, dir, masked, st);
    if (!rc) rc = refuse_inputs(pair, net, in, st);
    if (!rc) rc = prune_plan_build(&plan, net, units, removed, st);
    char *made = rc ? NULL : prune_dirs_missing(dir);
    if (!rc) rc = prune_make_dirs(dir, st);
    if (!rc) rc = stage(&set, pair, &staged, st);
    if (!rc) rc = write_staged(&plan, net, units, removed, in, origin, &staged, st);
    pair->proof = staged.proof;
    if (!rc) rc = prune_map_check(&in->map, in->path, st);
    if (!rc) rc = prune_set_publish(&set, st);
    prune_set_free(&set);
    prune_plan_free(&plan);
    if (rc) prune_remove_dirs(dir, made);
    free(made);
    if (rc) prune_pair_free(pair);
    return rc;
}
