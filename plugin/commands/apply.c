/* `darknet prune apply`: a mask, scores, or a criterion that needs no data become a smaller network on disk. The rewrite itself needs no host;
 * unless the network is large, the host then runs both forms and compares them. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../base/file_io.h"
#include "../run/verify.h"
#include "../score/criteria.h"
#include "cut.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune apply <cfg> <weights> (-mask FILE | -scores FILE | -criterion C) [-macs R]\n"
    "                           -out DIR [-flag value ...]\n"
    "       darknet prune apply <cfg> <weights> -drop-block L -out DIR [-flag value ...]\n"
    "\n"
    "Rewrites the network without the removed channels and blocks. Writes into DIR:\n"
    "  <base>-pruned.cfg, <base>-pruned.weights   load wherever the original does; byte-identical to it\n"
    "                                             when the mask keeps everything\n"
    "  <base>-pruned.mask.json                    which channels of the original are gone\n"
    "\n"
    "  -mask FILE        remove what this mask file says (no target then)\n"
    "  -other-weights 0|1\n"
    "                    1: the mask may have been made with other weights of the same cfg, say, before\n"
    "                    training on (default: 0)\n"
    "  -scores FILE      scores, as 'darknet prune score' writes them; needs a target\n"
    "  -criterion C      magnitude, magnitude-l1, magnitude-layer, bn-scale, fpgm or random: from the\n"
    "                    weights alone; needs a target\n"
    "  -norm 1|2         magnitude: L1 or L2 norm of a filter (default: 2)\n"
    "  -seed N           random numbers depend on this alone (default: 1)\n"
    PRUNE_DROP_HELP
    PRUNE_SELECT_HELP
    PRUNE_CAP_HELP
    "  -out DIR          folder for the files; made when missing\n"
    "  -masked 0|1       also write DIR/<base>-masked.weights: the original shape with every reader of a\n"
    "                    removed channel silenced in that column; original cfg + masked weights = pruned\n"
    "                    pair, in any program (default: 0)\n"
    "  -verify 0|1       run both forms in the host on random pixels and compare what reaches the heads;\n"
    "                    takes the memory of the running network (default: 1 up to 20 million\n"
    "                    parameters where the host can run the cfg, else 0)\n"
    "\n"
    "examples:\n"
    "  darknet prune apply yolov3.cfg yolov3.weights -criterion bn-scale -macs 0.5 -out pruned\n"
    "  darknet prune apply resnet50.cfg resnet50.weights -drop-block 9,13 -out pruned\n"
    "\n"
    "exit codes: 0 done, 1 failed or out of reach, 2 wrong usage\n";

struct request {
    const char *mask, *scores, *criterion, *out, *protect;
    const struct prune_criterion *found;
    struct prune_select_options select;
    struct prune_cut_request cut;
    long seed, norm;
    bool masked, verify, verify_given, other_weights;
};

/* Above this `apply` stays what it is for: a rewrite that needs little memory. The user is told how to compare. */
static const uint64_t VERIFY_UP_TO = 20000000;

/* Flags that mean nothing beside -mask: they would be silently ignored. */
static enum prune_code refuse_with_mask(const struct prune_args *a, struct prune_status *st)
{
    static const char *const FLAGS[] = { "macs", "params", "units", "per-layer", "min-keep", "max-removed", "multiple", "cost", "cost-power", "norm", "seed", "drop-blocks" };
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (prune_args_has(a, FLAGS[i])) return prune_fail_usage(st, "flag '-%s' has no meaning beside '-mask': the mask says what goes", FLAGS[i]);
    return PRUNE_OK;
}

/* A dropped block alone: nothing is chosen. */
static enum prune_code refuse_without_ranking(const struct prune_args *a, struct prune_status *st)
{
    static const char *const FLAGS[] = { "per-layer", "min-keep", "max-removed", "multiple", "cost", "cost-power", "norm", "seed" };
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (prune_args_has(a, FLAGS[i])) return prune_fail_usage(st, "flag '-%s' has no meaning without a target: '-drop-block' alone removes no channels", FLAGS[i]);
    return PRUNE_OK;
}

static enum prune_code read_request(const struct prune_args *a, struct request *r, struct prune_status *st)
{
    *r = (struct request){ .mask = prune_args_string(a, "mask", NULL), .scores = prune_args_string(a, "scores", NULL),
                           .criterion = prune_args_string(a, "criterion", NULL), .out = prune_args_string(a, "out", NULL), .protect = prune_args_string(a, "protect", NULL) };
    enum prune_code rc = prune_args_drop(a, &r->cut, st);
    if (rc) return rc;
    int sources = (r->mask != NULL) + (r->scores != NULL) + (r->criterion != NULL);
    if (sources > 1 || (!sources && !prune_cut_asked(&r->cut)))
        return prune_fail_usage(st, "give one of '-mask FILE', '-scores FILE' and '-criterion C', or '-drop-block L' alone");
    if (!sources && prune_args_has_target(a)) return prune_fail_usage(st, "a target needs a ranking: give '-scores FILE' or '-criterion C'");
    if (!r->out) return prune_fail_usage(st, "flag '-out DIR' is missing");
    if (r->mask) rc = refuse_with_mask(a, st);
    else if (prune_args_has(a, "other-weights")) return prune_fail_usage(st, "flag '-other-weights' has no meaning without '-mask FILE'");
    if (!rc && !sources) rc = refuse_without_ranking(a, st);
    if (!rc) rc = prune_args_select(a, r->mask || prune_cut_asked(&r->cut), &r->select, st);
    if (!rc) rc = prune_args_int(a, "norm", 1, 2, 2, &r->norm, st);
    if (!rc) rc = prune_args_int(a, "seed", 0, 0x7fffffffffffffffL, 1, &r->seed, st);
    if (!rc) rc = prune_args_switch(a, "masked", false, &r->masked, st);
    if (!rc) rc = prune_args_switch(a, "other-weights", false, &r->other_weights, st);
    if (!rc) rc = prune_args_switch(a, "verify", true, &r->verify, st);
    r->verify_given = prune_args_has(a, "verify");
    if (!rc && r->criterion) rc = prune_args_criterion(r->criterion, &r->found, st);
    return rc;
}

/* Whole units, and parts that stay equal: both are said with the mask's name. */
static enum prune_code read_mask(const struct prune_cut *cut, const char *path, uint8_t *removed, struct prune_status *st)
{
    struct prune_plan plan = { 0 };
    enum prune_code rc = prune_mask_read(path, cut->units, &cut->origin, removed, st);
    if (rc) return rc;
    rc = prune_plan_build(&plan, cut->net, cut->units, removed, st);
    if (rc) return prune_explain(st, "mask '%s': ", path);
    prune_plan_free(&plan);
    return PRUNE_OK;
}

/* Scores of the user's network; *scores is malloc'd, NULL where nothing is ranked. */
static enum prune_code rank(const struct prune_project *p, const struct request *r, double **scores, struct prune_status *st)
{
    *scores = NULL;
    if (!r->scores && !r->found) return PRUNE_OK;
    *scores = malloc((p->units.count + 1) * sizeof **scores);
    if (!*scores) return prune_fail_memory(st, p->units.count * sizeof **scores, "scores");
    return r->scores ? prune_scores_read(r->scores, &p->units, &p->origin, *scores, st)
                     : prune_project_score(p, r->found, (int)r->norm, (uint64_t)r->seed, *scores, st);
}

/* removed: units of the cut. scores: of the user's network, or NULL. */
static enum prune_code choose(const struct prune_project *p, const struct prune_cut *cut, const struct request *r, const double *scores, uint8_t *removed, struct prune_status *st)
{
    if (r->mask) return read_mask(cut, r->mask, removed, st);
    return scores ? prune_cut_select(cut, p, scores, &r->select, removed, NULL, st) : PRUNE_OK;
}

static double file_megabytes(const char *path)
{
    struct stat s;
    return stat(path, &s) ? 0 : (double)s.st_size / 1e6;
}

static void row(const char *what, double before, double after, int digits)
{
    printf("%-12s %14.*f %14.*f %9.4f\n", what, digits, before, digits, after, before > 0 ? after / before : 1);
}

/* 9,856 */
static const char *with_commas(uint64_t n, char text[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
    return text;
}

static void print_proof(const struct prune_proof *proof)
{
    char layers[32], channels[32], values[32];
    printf("proved: all %s layers read what the masked original gives them (%s channels), %s weights compared\n", with_commas(proof->layers, layers),
           with_commas(proof->channels, channels), with_commas(proof->values, values));
}

static void print_table(const struct prune_project *p, const struct prune_cut *cut, const uint8_t *removed, const struct prune_pair *pair)
{
    struct prune_cost before, after;
    prune_units_cost(&p->net, &p->units, NULL, &before);
    prune_units_cost(cut->net, cut->units, removed, &after);
    prune_cut_print(cut);
    printf("%-12s %14s %14s %9s\n", "", "before", "after", "ratio");
    row("units", (double)before.units, (double)after.units, 0);
    row("channels", (double)before.channels, (double)after.channels, 0);
    row("parameters", (double)before.parameters, (double)after.parameters, 0);
    row("BFLOPs", prune_bflops(before.macs), prune_bflops(after.macs), 4);
    row("MB", file_megabytes(p->weights.path), file_megabytes(pair->weights), 2);
    printf("written: %s\n         %s\n         %s\n", pair->cfg, pair->weights, pair->mask);
    if (pair->masked) printf("         %s\n", pair->masked);
}

static enum prune_code compare(const struct prune_project *p, const struct prune_host *host, const struct prune_pair *pair, uint64_t seed, struct prune_status *st)
{
    struct prune_verify_options o = { .seed = seed };
    struct prune_verify_result v;
    enum prune_code rc = prune_verify(host, p->net.cfg->path, pair->masked, pair->cfg, pair->weights, &o, &v, st);
    if (!rc) printf("verified in the host: masked = pruned, max|a-b| / max|a| = %.2e over %zu head%s and %zu random images\n", v.worst, v.heads, v.heads == 1 ? "" : "s", v.images);
    return rc;
}

/* Whether the host is to compare; why not, where the user did not say. */
static enum prune_code plan_verify(const struct prune_project *p, const struct prune_cut *cut, const struct request *r, bool *verify, const char **why_not, struct prune_status *st)
{
    struct prune_status reason = { 0 };
    *why_not = "'darknet prune verify' with the masked weights (-masked 1), or -verify 1, does it";
    bool runs = p->weights.layout.dialect == PRUNE_PJREDDIE;
    if (!runs && r->verify_given && r->verify) {   /* asked for by name: say so before anything is written */
        enum prune_code cannot = prune_net_check_host(&p->net, 1, st);
        return cannot ? cannot : prune_weights_check_host(&p->weights, st);
    }
    *verify = runs && r->verify && (r->verify_given || p->net.parameters <= VERIFY_UP_TO);
    if (!runs) *why_not = "that is pjreddie's Darknet, and only AlexeyAB's and hank-ai's read this pair";
    if (!cut->origin.dropped || !prune_drop_silence(cut->origin.dropped, NULL, &reason)) return PRUNE_OK;
    if (r->masked || (r->verify_given && r->verify)) return prune_fail(st, "%s; leave '-masked' and '-verify' out", reason.message);
    *verify = false;
    *why_not = "no masked weights of the original shape exist for these blocks";
    return PRUNE_OK;
}

static enum prune_code apply(const struct prune_project *p, const struct prune_cut *cut, const struct prune_host *host, const struct request *r, const double *scores,
                             struct prune_status *st)
{
    struct prune_pair pair = { 0 };
    bool verify = false;
    const char *why_not = NULL;
    uint8_t *removed = calloc(cut->units->count + 1, 1);
    enum prune_code rc = removed ? choose(p, cut, r, scores, removed, st) : prune_fail_memory(st, cut->units->count, "mask");
    if (!rc) rc = plan_verify(p, cut, r, &verify, &why_not, st);
    if (!rc) rc = prune_write_pair(cut->net, cut->units, removed, cut->weights, &cut->origin, r->out, r->masked || verify, &pair, st);
    if (!rc) {
        if (verify) rc = compare(p, host, &pair, (uint64_t)r->seed, st);
        if (verify && !r->masked) {
            remove(pair.masked);
            free(pair.masked);
            pair.masked = NULL;
        }
        if (!rc) print_proof(&pair.proof);
        if (!rc) print_table(p, cut, removed, &pair);
        if (!rc && !verify) printf("not compared in the host: %s\n", why_not);
    }
    prune_pair_free(&pair);
    free(removed);
    return rc;
}

/* The values of the weights are checked, and hashed, beside everything else that reads them. */
struct checking { struct prune_weights_checking *job; const char *mask; };

static enum prune_code settle(struct prune_mask_origin *origin, struct prune_status *st)
{
    struct checking *c = origin->settle_context;
    struct prune_weights_checking *job = c->job;
    c->job = NULL;
    enum prune_code rc = prune_weights_check_end(job, origin->weights_hash, st);
    return rc || !c->mask ? rc : prune_mask_read_blocks(c->mask, origin, NULL, NULL, st);   /* now that there is a hash to compare with */
}

/* What the check found explains whatever went wrong meanwhile: scores of NaN, say. */
static enum prune_code finish_check(struct checking *c, enum prune_code rc, struct prune_status *st)
{
    char hash[32];
    struct prune_status found;
    if (!c->job || !prune_weights_check_end(c->job, hash, &found)) return rc;
    *st = found;
    return found.code;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = { { "mask", true }, { "scores", true }, { "criterion", true }, { "norm", true }, { "seed", true }, { "out", true },
                                               { "masked", true }, { "verify", true }, { "other-weights", true }, PRUNE_DROP_FLAGS, PRUNE_CAP_FLAGS, PRUNE_SELECT_FLAGS, { 0 } };
    struct prune_args a;
    struct prune_project p = { 0 };
    struct prune_cut cut = { 0 };
    struct request r = { 0 };
    struct checking check = { 0 };
    double *scores = NULL;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 2, 2, st);
    if (!rc) rc = read_request(&a, &r, st);
    if (!rc) rc = prune_project_open_unchecked(&p, a.positional[0], a.positional[1], r.protect, st);
    if (!rc) rc = prune_weights_check_begin(&check.job, &p.weights, st);
    check.mask = r.mask;
    p.origin.other_weights = r.other_weights;
    p.origin.settle = settle;
    p.origin.settle_context = &check;
    if (!rc) rc = rank(&p, &r, &scores, st);
    if (!rc) rc = prune_cut_open(&cut, &p, &r.cut, r.mask, scores, r.protect, st);
    if (!rc) rc = apply(&p, &cut, host, &r, scores, st);
    rc = finish_check(&check, rc, st);
    prune_cut_close(&cut);
    prune_cut_request_free(&r.cut);
    free(scores);
    prune_project_close(&p);
    return rc;
}

const struct prune_command prune_command_apply = { "apply", "rewrite a network without the units of a mask, of scores or of a criterion", USAGE, run };
