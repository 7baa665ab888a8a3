/* `darknet prune criteria`: the registry of criteria, as text or as JSON (docs/criteria.md). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../base/json_write.h"
#include "../score/criteria.h"
#include "args.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune criteria [-json]\n"
    "\n"
    "Lists every criterion: what it computes, what it is computed from, what it costs in passes over the\n"
    "images, and where it comes from. Lower score = less important. z_u is the gate of unit u: 1 keeps\n"
    "it, 0 removes it; E_b is the loss of image b. Those that need no images work in 'apply' as well.\n"
    "\n"
    "  -json             the same for programs\n"
    "\n"
    "examples:\n"
    "  darknet prune criteria\n"
    "  darknet prune criteria -json\n"
    "\n"
    "exit codes: 0 done, 1 failed, 2 wrong usage\n";

static const struct { unsigned bit; const char *name, *words; } SIGNALS[] = {
    {PRUNE_SIGNAL_GATE_BATCH, "gate-batch", "gate gradients of minibatches"},
    {PRUNE_SIGNAL_GATE_IMAGE, "gate-image", "gate gradients of images"},
    {PRUNE_SIGNAL_PARAMETERS, "parameters", "parameters and their gradients"},
    {PRUNE_SIGNAL_MAPS, "maps", "feature maps"},
    {PRUNE_SIGNAL_MARGINS, "margins", "gate gradients of class margins (classifiers)"},
    {PRUNE_SIGNAL_CURVATURE, "curvature", "gate gradients of curvature probes"},
};
static const char *const GATES[] = {                 /* by enum prune_gate_choice */
    [PRUNE_GATE_ANY] = "any", [PRUNE_GATE_AFTER_BN] = "after-bn", [PRUNE_GATE_BEFORE_BN] = "before-bn", [PRUNE_GATE_AFTER_ACTIVATION] = "after-activation",
    [PRUNE_GATE_PRODUCERS] = "producers"};

static bool needs_images(const struct prune_criterion *c)
{
    return c->signals || c->perturbs;
}

static void print_needs(const struct prune_criterion *c)
{
    const char *between = ": ";
    if (!needs_images(c)) {
        fputs(c->needs_weights ? "weights" : "nothing", stdout);
        return;
    }
    fputs(c->needs_weights ? "weights and images" : "images", stdout);
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        if (!(c->signals & SIGNALS[i].bit)) continue;
        printf("%s%s", between, SIGNALS[i].words);
        between = ", ";
    }
    if (c->perturbs) printf("%sgate gradients beside 1", between);
    if (c->gate != PRUNE_GATE_ANY) printf("; gates %s", GATES[c->gate]);
}

static void print_text(const struct prune_criterion *all, size_t count)
{
    int width = 0;
    for (size_t i = 0; i < count; i++)
        if ((int)strlen(all[i].name) > width) width = (int)strlen(all[i].name);
    for (size_t i = 0; i < count; i++) {
        const struct prune_criterion *c = &all[i];
        printf("%-*s  %s\n%*s  needs   ", width, c->name, c->formula, width, "");
        print_needs(c);
        printf("\n%*s  cost    %s\n%*s  source  %s\n", width, "", c->cost, width, "", c->source);
        if (c->is_signed) printf("%*s  signed  an estimate of the loss change: ranked by its value, correlated by its square\n", width, "");
    }
}

static enum prune_code put_stdout(void *to, const void *bytes, size_t size, struct prune_status *st)
{
    return fwrite(bytes, 1, size, to) == size ? PRUNE_OK : prune_fail(st, "cannot write the JSON to standard output: %s", strerror(errno));
}

static void put_row(struct prune_json *j, const struct prune_criterion *c)
{
    prune_json_begin_object(j, NULL);
    prune_json_string(j, "name", c->name);
    prune_json_string(j, "formula", c->formula);
    prune_json_string(j, "source", c->source);
    prune_json_bool(j, "images", needs_images(c));
    prune_json_bool(j, "weights", c->needs_weights);
    prune_json_begin_array(j, "signals");
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
        if (c->signals & SIGNALS[i].bit) prune_json_string(j, NULL, SIGNALS[i].name);
    if (c->perturbs) prune_json_string(j, NULL, "perturb");
    prune_json_end(j);
    prune_json_string(j, "gate", GATES[c->gate]);
    prune_json_bool(j, "signed", c->is_signed);
    prune_json_string(j, "cost", c->cost);
    prune_json_end(j);
}

static enum prune_code print_json(const struct prune_criterion *all, size_t count, struct prune_status *st)
{
    struct prune_json j;
    prune_json_start(&j, PRUNE_JSON_ROWS, put_stdout, stdout, st);
    prune_json_begin_object(&j, NULL);
    prune_json_string(&j, "format", "darknet-prune-criteria");
    prune_json_whole(&j, "version", 1);
    prune_json_begin_array(&j, "criteria");
    for (size_t i = 0; i < count; i++) put_row(&j, &all[i]);
    prune_json_end(&j);
    prune_json_end(&j);
    return prune_json_end_text(&j);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"json", false}, {0}};
    (void)host;
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 0, 0, st);
    if (rc) return rc;
    size_t count;
    const struct prune_criterion *all = prune_criteria(&count);
    if (prune_args_has(&a, "json")) return print_json(all, count, st);
    print_text(all, count);
    return PRUNE_OK;
}

const struct prune_command prune_command_criteria = {"criteria", "list the criteria that can rank units", USAGE, run};
