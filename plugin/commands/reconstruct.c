/* `darknet prune reconstruct`: a mask is applied, and the surviving filters are fitted to the unpruned network's sums; see plugin/run/reconstruct.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../run/reconstruct.h"
#include "cut.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune reconstruct <data> <cfg> <weights> -mask FILE -out DIR [-flag value ...]\n"
    "\n"
    "Removes what the mask says and repairs the rest without training: layer after layer, the filters\n"
    "that are left are fitted by least squares, so that their sums on training images come nearest to\n"
    "those of the unpruned network. Writes into DIR:\n"
    "  <base>-pruned.cfg, <base>-pruned.weights   load wherever the original does\n"
    "  <base>-pruned.mask.json                    which channels of the original are gone\n"
    "Prints for every layer the error of its sums, relative to how much they vary, on these images:\n"
    "with the old filters on the inputs of the reconstructed network, and with the new ones.\n"
    "\n"
    "  -mask FILE        mask, as 'darknet prune select' writes it\n"
    "  -out DIR          folder for the files; made when missing\n"
    "  -images N         training images, drawn as in training (default: 2000)\n"
    "  -samples F        fraction of the places of large maps that are looked at, 0 < F <= 1; at least 64\n"
    "                    of each map (default: 0.25)\n"
    "  -ridge R          pull towards the old filters, in units of the mean square of a layer's inputs\n"
    "                    (default: 0.001)\n"
    "  -recalibrate N    then average batch-norm statistics over N training images (default: 0)\n"
    "  -memory SIZE      for images, kept outputs and sums of products, with K, M or G; with less, layers\n"
    "                    are run again (default: 2G)\n"
    "  -protect L        as it was given to 'select' (default: none)\n"
    "  -letterbox 0|1    detectors: 1 keeps the aspect ratio (gray borders), 0 stretches (default: 1)\n"
    PRUNE_HOST_HELP
    "\n"
    "example:\n"
    "  darknet prune reconstruct cifar.data net.cfg net.weights -mask mask.json -recalibrate 2560 -out p\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted (DIR then holds the pair as 'apply' writes it, or\n"
    "nothing), 2 wrong usage\n";

static const struct prune_flag FLAGS[] = { { "mask", true }, { "out", true }, { "images", true }, { "samples", true }, { "ridge", true }, { "recalibrate", true },
                                           { "memory", true }, { "protect", true }, { "letterbox", true }, PRUNE_HOST_FLAGS, { 0 } };

struct request { const char *mask, *out, *protect; struct prune_reconstruct_options o; };

static enum prune_code read_request(const struct prune_args *a, struct request *r, struct prune_status *st)
{
    long images = 0, recalibrate = 0;
    size_t memory = 0;
    bool letterbox = true;
    struct prune_open_options host;
    *r = (struct request){ .mask = prune_args_string(a, "mask", NULL), .out = prune_args_string(a, "out", NULL), .protect = prune_args_string(a, "protect", NULL) };
    if (!r->mask) return prune_fail_usage(st, "flag '-mask FILE' is missing");
    if (!r->out) return prune_fail_usage(st, "flag '-out DIR' is missing");
    enum prune_code rc = prune_args_int(a, "images", 1, 1000000000, 2000, &images, st);
    if (!rc) rc = prune_args_double(a, "samples", 1e-9, 1, 0.25, &r->o.samples, st);
    if (!rc) rc = prune_args_double(a, "ridge", 0, 1e9, 1e-3, &r->o.ridge, st);
    if (!rc) rc = prune_args_int(a, "recalibrate", 0, 1000000000, 0, &recalibrate, st);
    if (!rc) rc = prune_args_size(a, "memory", (size_t)2 << 30, &memory, st);
    if (!rc) rc = prune_args_switch(a, "letterbox", true, &letterbox, st);
    if (!rc) rc = prune_args_host(a, &host, st);
    if (rc) return rc;
    r->o.data = a->positional[0];
    r->o.images = (size_t)images;
    r->o.recalibrate = (size_t)recalibrate;
    r->o.memory = (double)memory;
    r->o.letterbox = letterbox;
    r->o.threads = host.threads;
    r->o.seed = host.seed;
    return PRUNE_OK;
}

static void print_result(const struct prune_reconstruct_result *r, const struct prune_cut *cut, const struct prune_pair *pair)
{
    prune_cut_print(cut);
    printf("%5s %11s %11s %9s %9s\n", "layer", "inputs", "filters", "error", "after");
    for (size_t i = 0; i < r->count; i++) {
        const struct prune_reconstruct_row *row = &r->rows[i];
        printf("%5d %5zu/%-5zu %5zu/%-5zu ", row->layer, row->inputs, row->inputs_before, row->filters, row->filters_before);
        if (row->left) printf("left alone: %s\n", row->left);
        else printf("%8.2f%% %8.2f%%%s\n", 100 * row->before, 100 * row->after, row->stream ? "  with the stream's error" : "");
    }
    printf("reconstructed %zu of %zu layers from %zu images in %.1f s\n", r->solved, r->count, r->images, r->seconds);
    printf("written: %s\n         %s\n         %s\n", pair->cfg, pair->weights, pair->mask);
}

static enum prune_code reconstruct(const struct prune_project *p, const struct prune_cut *cut, const struct prune_host *host, const struct request *r, struct prune_status *st)
{
    struct prune_pair pair = { 0 };
    struct prune_plan plan = { 0 };
    struct prune_reconstruct_result result = { 0 };
    uint8_t *removed = calloc(cut->units->count + 1, 1);
    if (!removed) return prune_fail_memory(st, cut->units->count, "mask");
    enum prune_code rc = prune_mask_read(r->mask, cut->units, &cut->origin, removed, st);
    if (!rc) rc = prune_plan_build(&plan, cut->net, cut->units, removed, st);
    if (rc) prune_explain(st, "mask '%s': ", r->mask);
    if (!rc) rc = prune_write_pair(cut->net, cut->units, removed, cut->weights, &cut->origin, r->out, false, &pair, st);
    if (!rc) {
        struct prune_reconstruct_input in = { .cfg = p->net.cfg->path, .weights = p->weights.path, .whole = &p->net, .net = cut->net, .plan = &plan, .pruned_cfg = pair.cfg,
                                              .pruned_weights = pair.weights, .old_of = cut->origin.dropped ? cut->origin.dropped->old_of : NULL };
        rc = prune_reconstruct(host, &in, &r->o, &result, st);
    }
    if (!rc) print_result(&result, cut, &pair);
    prune_reconstruct_free(&result);
    prune_plan_free(&plan);
    prune_pair_free(&pair);
    free(removed);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    struct prune_args a;
    struct request r;
    struct prune_project p = { 0 };
    struct prune_cut cut = { 0 };
    struct prune_cut_request none = { 0 };
    enum prune_code rc = prune_args_parse(&a, argc, argv, FLAGS, 3, 3, st);
    if (!rc) rc = read_request(&a, &r, st);
    if (!rc) rc = prune_host_check(host, PRUNE_CAN_EDIT, st);
    if (!rc) rc = prune_project_open(&p, a.positional[1], a.positional[2], r.protect, st);
    if (!rc) rc = prune_weights_check_host(&p.weights, st);
    if (!rc) rc = prune_net_check_host(&p.net, 1, st);
    if (!rc) rc = prune_cut_open(&cut, &p, &none, r.mask, NULL, r.protect, st);
    if (!rc) rc = reconstruct(&p, &cut, host, &r, st);
    prune_cut_close(&cut);
    prune_project_close(&p);
    return rc;
}

const struct prune_command prune_command_reconstruct = { "reconstruct", "apply a mask, and fit what is left to the unpruned network", USAGE, run };
