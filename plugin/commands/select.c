/* `darknet prune select`: a score file becomes a mask file that meets a target. Needs no host and no data. */
#include <stdio.h>
#include <stdlib.h>

#include "../base/file_io.h"
#include "../score/criteria.h"
#include "cut.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune select <cfg> <weights> -scores FILE\n"
    "                            (-macs R | -params R | -units R | -drop-block L | -drop-blocks N)\n"
    "                            -out MASK [-flag value ...]\n"
    "\n"
    "Chooses the units to remove, lowest score first, until the target is met on the real shape, and\n"
    "writes a mask file ('darknet prune apply ... -mask MASK' rewrites the network by it). A target that\n"
    "cannot be reached fails and names the smallest reachable.\n"
    "\n"
    "  -scores FILE      scores, as 'darknet prune score' writes them\n"
    "  -out MASK         mask file to write\n"
    PRUNE_DROP_HELP
    PRUNE_SELECT_HELP
    PRUNE_CAP_HELP
    PRUNE_SPANNING_HELP
    "\n"
    "example:\n"
    "  darknet prune select net.cfg net.weights -scores scores.json -macs 0.5 -protect 0 -out mask.json\n"
    "\n"
    "exit codes: 0 done, 1 failed or out of reach, 2 wrong usage\n";

static enum prune_code select_and_write(const struct prune_project *p, const struct prune_cut *cut, const double *scores, const struct prune_select_options *o, const char *out,
                                        struct prune_status *st)
{
    uint8_t *removed = calloc(cut->units->count + 1, 1);
    struct prune_cost before, after;
    struct prune_select_result r;
    enum prune_code rc = removed ? prune_cut_select(cut, p, scores, o, removed, &r, st) : prune_fail_memory(st, cut->units->count, "mask");
    if (!rc) rc = prune_mask_write(out, cut->units, removed, &cut->origin, st);
    if (!rc) {
        prune_units_cost(&p->net, &p->units, NULL, &before);
        prune_units_cost(cut->net, cut->units, removed, &after);
        prune_cut_print(cut);
        printf("removes %zu of %zu units: %.4f of the multiply-adds and %.4f of the parameters remain\nmask written to %s\n", r.newly_removed, cut->units->count,
               before.macs ? (double)after.macs / (double)before.macs : 1, before.parameters ? (double)after.parameters / (double)before.parameters : 1, out);
    }
    free(removed);
    return rc;
}

static enum prune_code read_and_select(const struct prune_project *p, const char *scores_path, const struct prune_cut_request *blocks, const char *protect,
                                       const struct prune_select_options *o, const char *out, struct prune_status *st)
{
    struct prune_cut cut = { 0 };
    double *scores = malloc((p->units.count + 1) * sizeof *scores);
    enum prune_code rc = scores ? prune_scores_read(scores_path, &p->units, &p->origin, scores, st) : prune_fail_memory(st, p->units.count * sizeof *scores, "scores");
    if (!rc) rc = prune_cut_open(&cut, p, blocks, NULL, scores, protect, st);
    if (!rc) rc = select_and_write(p, &cut, scores, o, out, st);
    prune_cut_close(&cut);
    free(scores);
    return rc;
}

static enum prune_code check_paths(const struct prune_args *a, const char *scores, const char *out, struct prune_status *st)
{
    if (!scores) return prune_fail_usage(st, "flag '-scores FILE' is missing; 'darknet prune score' makes the file");
    if (!out) return prune_fail_usage(st, "flag '-out MASK' is missing");
    const char *inputs[] = { a->positional[0], a->positional[1], scores };
    return prune_check_output(out, inputs, 3, st);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = { { "scores", true }, { "out", true }, { "no-spanning", true }, PRUNE_DROP_FLAGS, PRUNE_CAP_FLAGS, PRUNE_SELECT_FLAGS, { 0 } };
    struct prune_args a;
    struct prune_project p = { 0 };
    struct prune_select_options o;
    struct prune_cut_request blocks = { 0 };
    (void)host;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 2, 2, st);
    if (rc) return rc;
    bool alone = false;
    const char *scores = prune_args_string(&a, "scores", NULL), *out = prune_args_string(&a, "out", NULL), *protect = prune_args_string(&a, "protect", NULL);
    rc = prune_args_drop(&a, &blocks, st);
    if (!rc) rc = prune_args_select(&a, prune_cut_asked(&blocks), &o, st);
    if (!rc) rc = prune_args_switch(&a, "no-spanning", false, &alone, st);
    if (!rc && alone && prune_cut_asked(&blocks)) rc = prune_fail_usage(st, "'-no-spanning' does not go with whole blocks");
    if (!rc) rc = check_paths(&a, scores, out, st);
    if (!rc) rc = prune_project_open(&p, a.positional[0], a.positional[1], protect, st);
    if (!rc && alone) prune_units_protect_spanning(&p.units);
    if (!rc) rc = read_and_select(&p, scores, &blocks, protect, &o, out, st);
    prune_cut_request_free(&blocks);
    prune_project_close(&p);
    return rc;
}

const struct prune_command prune_command_select = { "select", "scores and a target become a mask", USAGE, run };
