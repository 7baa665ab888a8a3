/* `darknet prune verify`: two networks must give the same numbers at the input of every head. */
#include "../run/verify.h"

#include <limits.h>
#include <stdio.h>

#include "common.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune verify <cfg> <masked.weights> <pruned.cfg> <pruned.weights>\n"
    "                            [-data D -images N | -random N] [-flag value ...]\n"
    "\n"
    "Runs both networks on the same images and compares what reaches each head (softmax, yolo, region,\n"
    "detection): max|a-b| / max|a| over all outputs, worst image. Fails above the tolerance or when a\n"
    "number is not finite. masked.weights is the original shape with the removed channels silenced\n"
    "('darknet prune apply ... -masked 1').\n"
    "\n"
    "  -data FILE        Darknet data file; images of its valid list (default: random pixels)\n"
    "  -images N         how many of them (default: 4)\n"
    "  -random N         N images of uniform random pixels (default: 4, when -data is not given)\n"
    "  -tolerance X      largest difference allowed (default: 1e-4)\n"
    PRUNE_HOST_HELP
    "\n"
    "example:\n"
    "  darknet prune verify net.cfg p/net-masked.weights p/net-pruned.cfg p/net-pruned.weights\n"
    "\n"
    "exit codes: 0 the networks agree, 1 they differ or cannot be run, 2 wrong usage\n";

static enum prune_code read_options(const struct prune_args *a, struct prune_verify_options *o, struct prune_status *st)
{
    struct prune_open_options open;
    long images, random;
    enum prune_code rc = prune_args_host(a, &open, st);
    if (!rc) rc = prune_args_int(a, "images", 1, INT_MAX, 4, &images, st);
    if (!rc) rc = prune_args_int(a, "random", 1, INT_MAX, 4, &random, st);
    if (!rc) rc = prune_args_double(a, "tolerance", 0, 1e30, 1e-4, &o->tolerance, st);
    if (rc) return rc;
    if (!(o->tolerance > 0)) return prune_fail_usage(st, "flag '-tolerance': 0 is below rounding; the default is 1e-4");
    o->data_path = prune_args_string(a, "data", NULL);
    if (o->data_path && prune_args_has(a, "random")) return prune_fail_usage(st, "'-data' and '-random' exclude each other");
    if (!o->data_path && prune_args_has(a, "images")) return prune_fail_usage(st, "'-images' needs '-data FILE'; for random pixels use '-random N'");
    o->images = (size_t)(o->data_path ? images : random);
    o->seed = open.seed;
    o->threads = open.threads;
    return PRUNE_OK;
}

/* The host reads only what our own readers have accepted. */
static enum prune_code check_pair(const char *cfg, const char *weights, struct prune_status *st)
{
    struct prune_project p;
    enum prune_code rc = prune_project_open(&p, cfg, weights, NULL, st);
    if (!rc) prune_project_close(&p);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"data", true}, {"images", true}, {"random", true}, {"tolerance", true}, PRUNE_HOST_FLAGS, {0}};
    struct prune_args a;
    struct prune_verify_options o = {0};
    struct prune_verify_result r = {0};
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 4, 4, st);
    if (!rc) rc = read_options(&a, &o, st);
    if (!rc) rc = check_pair(a.positional[0], a.positional[1], st);
    if (!rc) rc = check_pair(a.positional[2], a.positional[3], st);
    if (!rc) rc = prune_verify(host, a.positional[0], a.positional[1], a.positional[2], a.positional[3], &o, &r, st);
    if (rc) return rc;
    printf("networks agree: max|a-b| / max|a| = %.2e (allowed %.2e), worst at layer %d, %zu head%s, %zu image%s\n", r.worst, o.tolerance, r.worst_layer, r.heads,
           r.heads == 1 ? "" : "s", r.images, r.images == 1 ? "" : "s");
    return PRUNE_OK;
}

const struct prune_command prune_command_verify = {"verify", "compare a masked network with its rewritten form, number by number", USAGE, run};
