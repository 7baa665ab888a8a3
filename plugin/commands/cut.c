/* The network of a verb, with or without some of its blocks; see cut.h. */
#include "cut.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum prune_code prune_args_drop(const struct prune_args *a, struct prune_cut_request *r, struct prune_status *st)
{
    *r = (struct prune_cut_request){ 0 };
    const char *text = prune_args_string(a, "drop-block", NULL);
    enum prune_code rc = prune_args_int(a, "drop-blocks", 1, INT_MAX, 0, &r->lowest, st);
    if (rc || !text) return rc;
    r->shortcuts = malloc((strlen(text) + 1) * sizeof *r->shortcuts);
    if (!r->shortcuts) return prune_fail_memory(st, strlen(text) * sizeof *r->shortcuts, "blocks");
    for (const char *t = text;; t++) {
        char *end = NULL;
        errno = 0;
        long layer = *t >= '0' && *t <= '9' ? strtol(t, &end, 10) : -1;
        if (layer < 0 || layer > INT_MAX || errno || (*end && *end != ','))
            return prune_fail_usage(st, "flag '-drop-block': '%s' is not a list of layer numbers; write it as 12,45", text);
        r->shortcuts[r->count++] = (int)layer;
        t = end;
        if (!*t) return PRUNE_OK;
    }
}

void prune_cut_request_free(struct prune_cut_request *r)
{
    free(r->shortcuts);
    *r = (struct prune_cut_request){ 0 };
}

struct choice { const struct prune_block *block; double score; };

static int by_score(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? -1 : 1;
    return (x->block->shortcut > y->block->shortcut) - (x->block->shortcut < y->block->shortcut);
}

static bool names_inside(const struct prune_block *b, const uint8_t *named)
{
    for (int l = b->from + 1; l <= b->shortcut; l++)
        if (named[l]) return true;
    return false;
}

/* One of them lies inside the other, or they are the same. */
static bool overlap(const struct prune_block *a, const struct prune_block *b)
{
    return a->from < b->shortcut && b->from < a->shortcut;
}

/* Appends the `lowest` blocks of lowest score to the list, of blocks inside each other the lower one alone. */
static enum prune_code choose_lowest(const struct prune_project *p, const struct prune_blocks *all, const double *score, const uint8_t *named, struct prune_cut_request *list,
                                     struct prune_status *st)
{
    struct choice *c = calloc(all->count + 1, sizeof *c);
    if (!c) return prune_fail_memory(st, all->count * sizeof *c, "block scores");
    size_t n = 0, taken = 0;
    for (size_t i = 0; i < all->count; i++) {
        bool listed = false;
        for (size_t k = 0; k < list->count; k++)
            for (size_t b = 0; b < all->count; b++)
                if (all->items[b].shortcut == list->shortcuts[k]) listed |= overlap(&all->items[b], &all->items[i]);
        if (!listed && !isnan(score[i]) && !names_inside(&all->items[i], named)) c[n++] = (struct choice){ &all->items[i], score[i] };
    }
    qsort(c, n, sizeof *c, by_score);
    for (size_t i = 0; i < n && taken < (size_t)list->lowest; i++) {
        bool free_of_others = true;
        for (size_t k = 0; k < taken; k++) free_of_others &= !overlap(c[k].block, c[i].block);
        if (!free_of_others) continue;
        c[taken++] = c[i];
        list->shortcuts[list->count++] = c[i].block->shortcut;
    }
    free(c);
    if (taken == (size_t)list->lowest) return PRUNE_OK;
    return prune_fail(st, "-drop-blocks %ld cannot be reached: '%s' has %zu block%s that can go and %s a score; 'darknet prune inspect' lists the blocks", list->lowest,
                      p->net.cfg->path, taken, taken == 1 ? "" : "s", taken == 1 ? "has" : "have");
}

/* The flags' blocks, the mask's, and the chosen ones. */
static enum prune_code list_blocks(struct prune_cut_request *list, const struct prune_project *p, const struct prune_cut_request *r, const char *mask, const double *scores,
                                   const uint8_t *named, struct prune_status *st)
{
    struct prune_blocks all;
    int *of_mask = NULL;
    size_t mask_count = 0;
    enum prune_code rc = prune_blocks_find(&all, &p->net, st);
    if (rc) return rc;
    if (mask) rc = prune_mask_read_blocks(mask, &p->origin, &of_mask, &mask_count, st);
    list->lowest = r->lowest;
    list->shortcuts = malloc((r->count + mask_count + all.count + 1) * sizeof *list->shortcuts);
    double *score = malloc((all.count + 1) * sizeof *score);
    if (!rc && (!list->shortcuts || !score)) rc = prune_fail_memory(st, all.count * sizeof *score, "blocks");
    if (!rc && r->count) memcpy(list->shortcuts, r->shortcuts, r->count * sizeof *r->shortcuts);
    if (!rc && mask_count) memcpy(list->shortcuts + r->count, of_mask, mask_count * sizeof *of_mask);
    if (!rc) list->count = r->count + mask_count;
    if (!rc && r->lowest) rc = scores ? prune_blocks_score(&all, &p->net, &p->units, scores, score, st)
                                      : prune_fail_usage(st, "'-drop-blocks' ranks blocks by the scores of their units; give '-scores FILE' or '-criterion C'");
    if (!rc && r->lowest) rc = choose_lowest(p, &all, score, named, list, st);
    free(score);
    free(of_mask);
    prune_blocks_free(&all);
    return rc;
}

/* The user's protections, in the numbers of the smaller network. */
static enum prune_code protect_rest(struct prune_cut *cut, const uint8_t *named, struct prune_status *st)
{
    const struct prune_dropped *d = &cut->drop.dropped;
    for (size_t b = 0; b < d->count; b++)
        if (names_inside(&d->blocks[b], named))
            return prune_fail(st, "the block of layers %d to %d holds a layer that is protected by the user (-protect); protect others or keep the block", d->blocks[b].from + 1,
                              d->blocks[b].shortcut);
    for (size_t l = 0; l < d->layer_count; l++)
        if (named[d->old_of[l]]) prune_units_protect_layer(&cut->drop.units, &cut->drop.net, (int)l);
    return PRUNE_OK;
}

enum prune_code prune_cut_open(struct prune_cut *cut, const struct prune_project *p, const struct prune_cut_request *r, const char *mask, const double *scores,
                               const char *protect, struct prune_status *st)
{
    memset(cut, 0, sizeof *cut);
    struct prune_cut_request list = { 0 };
    uint8_t *named = calloc(p->net.layer_count + 1, 1);
    enum prune_code rc = named ? PRUNE_OK : prune_fail_memory(st, p->net.layer_count, "protected layers");
    if (!rc && protect) rc = prune_units_named(&p->net, protect, named, st);
    if (!rc) rc = list_blocks(&list, p, r, mask, scores, named, st);
    if (!rc && list.count) rc = prune_drop_open(&cut->drop, &p->net, p->has_weights ? &p->weights : NULL, list.shortcuts, list.count, st);
    bool dropped = !rc && list.count;
    if (dropped) rc = protect_rest(cut, named, st);
    cut->net = dropped ? &cut->drop.net : &p->net;
    cut->units = dropped ? &cut->drop.units : &p->units;
    cut->weights = !p->has_weights ? NULL : dropped ? &cut->drop.weights : &p->weights;
    cut->origin = p->origin;
    cut->origin.dropped = dropped ? &cut->drop.dropped : NULL;
    prune_cut_request_free(&list);
    free(named);
    if (rc) prune_cut_close(cut);
    return rc;
}

void prune_cut_close(struct prune_cut *cut)
{
    prune_drop_close(&cut->drop);
    memset(cut, 0, sizeof *cut);
}

enum prune_code prune_cut_select(const struct prune_cut *cut, const struct prune_project *p, const double *scores, const struct prune_select_options *o, uint8_t *removed,
                                 struct prune_select_result *result, struct prune_status *st)
{
    struct prune_select_options options = *o;
    double *mine = malloc((cut->units->count + 1) * sizeof *mine);
    if (!mine) return prune_fail_memory(st, cut->units->count * sizeof *mine, "scores");
    if (cut->origin.dropped) {
        prune_drop_values(&cut->drop, &p->units, scores, mine);
        prune_units_cost(&p->net, &p->units, NULL, &options.original);
    } else {
        memcpy(mine, scores, p->units.count * sizeof *mine);
    }
    enum prune_code rc = prune_select(cut->net, cut->units, mine, &options, removed, result, st);
    free(mine);
    return rc;
}

void prune_cut_print(const struct prune_cut *cut)
{
    const struct prune_dropped *d = &cut->drop.dropped;
    if (d->count) printf("drops %zu block%s:", d->count, d->count == 1 ? "" : "s");
    for (size_t b = 0; b < d->count; b++) printf("%s layers %d-%d", b ? "," : "", d->blocks[b].from + 1, d->blocks[b].shortcut);
    if (d->count) printf("\n");
}
