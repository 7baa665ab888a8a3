/* `darknet prune compose`: two masks that were applied one after the other become one mask of the first cfg. Needs no host and no data.
 * In: the cfg, its mask A, and a mask B of the cfg that A leaves. What A leaves is made in memory, and B must carry the hash of its text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "cut.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune compose <cfg> <A.mask.json> <B.mask.json> -out C.mask.json [-weights W]\n"
    "\n"
    "A is a mask of the cfg, B a mask of the cfg that 'apply -mask A' writes. C is a mask of the first\n"
    "cfg: 'apply -mask C' writes the same bytes as applying A and then B. Whole blocks compose too.\n"
    "\n"
    "  -out FILE         mask file to write; it names the weights that A names\n"
    "  -weights W        weights file of the cfg: A must have been made with it (default: not checked)\n"
    "\n"
    "example:\n"
    "  darknet prune compose net.cfg half.mask.json quarter.mask.json -out both.mask.json\n"
    "\n"
    "exit codes: 0 done, 1 the masks do not belong together, 2 wrong usage\n";

/* A network in memory, a mask of it read, and what the mask leaves. */
struct stage {
    struct prune_project project;        /* without weights */
    struct prune_cut cut;
    uint8_t *removed;                    /* units of the cut */
    struct prune_plan plan;
};

static void stage_close(struct stage *s)
{
    prune_plan_free(&s->plan);
    free(s->removed);
    prune_cut_close(&s->cut);
    prune_project_close(&s->project);
}

/* The project is open. */
static enum prune_code stage_read(struct stage *s, const char *mask, struct prune_status *st)
{
    const struct prune_cut_request none = { 0 };
    enum prune_code rc = prune_cut_open(&s->cut, &s->project, &none, mask, NULL, NULL, st);
    if (rc) return rc;
    s->removed = calloc(s->cut.units->count + 1, 1);
    if (!s->removed) return prune_fail_memory(st, s->cut.units->count, "mask");
    rc = prune_mask_read(mask, s->cut.units, &s->cut.origin, s->removed, st);
    if (rc) return rc;
    rc = prune_plan_build(&s->plan, s->cut.net, s->cut.units, s->removed, st);
    return rc ? prune_explain(st, "mask '%s': ", mask) : PRUNE_OK;
}

/* The project of what the stage leaves; its text gets `path` for messages. */
static enum prune_code stage_result(const struct stage *s, const char *path, struct prune_project *p, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_rewrite_cfg(&s->plan, s->cut.net, &bytes, &size, st);
    if (rc) return rc;
    rc = prune_cfg_parse(&p->cfg, path, bytes, size, st);
    snprintf(p->origin.cfg_hash, sizeof p->origin.cfg_hash, "xxh64:%016llx", (unsigned long long)prune_hash_bytes(bytes, size));
    p->origin.cfg_path = path;
    free(bytes);
    if (!rc) rc = prune_net_build(&p->net, &p->cfg, st);
    if (!rc) rc = prune_units_build(&p->units, &p->net, st);
    return rc;
}

static int old_layer(const struct prune_cut *cut, int layer)
{
    return cut->origin.dropped ? cut->origin.dropped->old_of[layer] : layer;
}

/* Shortcuts of both masks, in the numbers of the first cfg. */
static enum prune_code join_blocks(const struct stage *a, const struct stage *b, struct prune_cut_request *out, struct prune_status *st)
{
    const struct prune_dropped *da = a->cut.origin.dropped, *db = b->cut.origin.dropped;
    size_t na = da ? da->count : 0, nb = db ? db->count : 0;
    out->shortcuts = malloc((na + nb + 1) * sizeof *out->shortcuts);
    if (!out->shortcuts) return prune_fail_memory(st, (na + nb) * sizeof *out->shortcuts, "blocks");
    for (size_t i = 0; i < na; i++) out->shortcuts[out->count++] = da->blocks[i].shortcut;
    for (size_t i = 0; i < nb; i++) out->shortcuts[out->count++] = old_layer(&a->cut, db->blocks[i].shortcut);
    return PRUNE_OK;
}

/* kept[channel of the first cfg] = 1 where A and then B keep the channel of this layer (of the first cfg). */
static void mark_kept(const struct stage *a, const struct stage *b, int layer, uint8_t *kept)
{
    int in_a = a->cut.origin.dropped ? a->cut.origin.dropped->new_of[layer] : layer;
    int in_b = b->cut.origin.dropped ? b->cut.origin.dropped->new_of[in_a] : in_a;
    const struct prune_layer_plan *first = &a->plan.layers[in_a], *second = &b->plan.layers[in_b];
    for (size_t k = 0; k < second->out_count; k++) kept[first->out_keep[second->out_keep[k]]] = 1;
}

/* What A and B leave, as units of the first cfg without the blocks of both. */
static enum prune_code join_units(const struct stage *a, const struct stage *b, struct stage *c, struct prune_status *st)
{
    const struct prune_units *units = c->cut.units;
    enum { UNSEEN = 2 };
    c->removed = malloc(units->count + 1);
    uint8_t *kept = NULL;
    enum prune_code rc = c->removed ? PRUNE_OK : prune_fail_memory(st, units->count, "mask");
    if (!rc) memset(c->removed, UNSEEN, units->count);
    for (size_t l = 0; !rc && l < c->cut.net->layer_count; l++) {
        size_t n = (size_t)c->cut.net->layers[l].out_c;
        if (prune_kind_info(c->cut.net->layers[l].kind)->rule != PRUNE_CH_PRODUCE) continue;
        free(kept);
        kept = calloc(n + 1, 1);
        if (!kept) rc = prune_fail_memory(st, n, "kept channels");
        else mark_kept(a, b, old_layer(&c->cut, (int)l), kept);
        for (size_t i = 0; !rc && i < n; i++) {
            int u = units->of_channel[l][i];
            if (u < 0) continue;
            if (c->removed[u] == UNSEEN) c->removed[u] = !kept[i];
            if (c->removed[u] == kept[i])
                rc = prune_fail(st, "layer %d channel %zu goes without the channels it is tied to in '%s'; these masks have no composition", old_layer(&c->cut, (int)l), i, c->cut.net->cfg->path);
        }
    }
    free(kept);
    return rc;
}

/* The cfg that C leaves must be, byte for byte, what B leaves. */
static enum prune_code prove(const struct stage *b, const struct stage *c, struct prune_status *st)
{
    char *twice = NULL, *once = NULL;
    size_t twice_size = 0, once_size = 0;
    enum prune_code rc = prune_rewrite_cfg(&b->plan, b->cut.net, &twice, &twice_size, st);
    if (!rc) rc = prune_rewrite_cfg(&c->plan, c->cut.net, &once, &once_size, st);
    if (!rc && (twice_size != once_size || memcmp(twice, once, once_size) != 0))
        rc = prune_fail(st, "the composed mask gives another cfg than the two masks one after the other; apply them one after the other");
    free(twice);
    free(once);
    return rc;
}

static enum prune_code compose(struct stage *a, struct stage *b, struct stage *c, const char *const *masks, const char *name, struct prune_status *st)
{
    struct prune_cut_request blocks = { 0 };
    enum prune_code rc = stage_read(a, masks[0], st);
    if (!rc) rc = stage_result(a, name, &b->project, st);
    if (!rc) rc = stage_read(b, masks[1], st);
    if (!rc) rc = join_blocks(a, b, &blocks, st);
    if (!rc) rc = prune_cut_open(&c->cut, &a->project, &blocks, NULL, NULL, NULL, st);
    if (!rc) rc = join_units(a, b, c, st);
    if (!rc) rc = prune_plan_build(&c->plan, c->cut.net, c->cut.units, c->removed, st);
    if (!rc) rc = prove(b, c, st);
    prune_cut_request_free(&blocks);
    return rc;
}

static enum prune_code write_composed(struct stage *c, const char *first_mask, const char *out, struct prune_status *st)
{
    struct prune_cost cost;
    char *file = NULL;
    enum prune_code rc = prune_mask_read_weights(first_mask, &file, c->cut.origin.weights_hash, st);
    c->cut.origin.weights_path = file;
    if (!rc) rc = prune_mask_write(out, c->cut.units, c->removed, &c->cut.origin, st);
    if (!rc) {
        prune_units_cost(c->cut.net, c->cut.units, c->removed, &cost);
        prune_cut_print(&c->cut);
        printf("keeps %zu units, %llu parameters, %.4f BFLOPs\nmask written to %s\n", cost.units, (unsigned long long)cost.parameters, prune_bflops(cost.macs), out);
    }
    free(file);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = { { "out", true }, { "weights", true }, { 0 } };
    struct prune_args args;
    struct stage a = { 0 }, b = { 0 }, c = { 0 };
    (void)host;
    enum prune_code rc = prune_args_parse(&args, argc, argv, flags, 3, 3, st);
    if (rc) return rc;
    const char *out = prune_args_string(&args, "out", NULL), *weights = prune_args_string(&args, "weights", NULL);
    if (!out) return prune_fail_usage(st, "flag '-out FILE' is missing");
    const char *inputs[] = { args.positional[0], args.positional[1], args.positional[2], weights };
    rc = prune_check_output(out, inputs, 4, st);
    if (rc) return rc;
    char *name = prune_format("%s after %s", args.positional[0], args.positional[1]);
    if (!name) return prune_fail_memory(st, strlen(out), "a file name");
    rc = prune_project_open(&a.project, args.positional[0], weights, NULL, st);
    if (!rc) rc = compose(&a, &b, &c, args.positional + 1, name, st);
    if (!rc) rc = write_composed(&c, args.positional[1], out, st);
    stage_close(&c);
    stage_close(&b);
    stage_close(&a);
    free(name);
    return rc;
}

const struct prune_command prune_command_compose = { "compose", "two masks, applied one after the other, become one", USAGE, run };
