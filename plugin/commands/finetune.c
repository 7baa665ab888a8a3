/* `darknet prune finetune`: trains a (pruned) pair further with a half-cosine learning rate; the input pair is not touched. */
#include <stdio.h>
#include <stdlib.h>

#include "../base/file_io.h"
#include "../run/finetune.h"
#include "../run/sparse.h"
#include "common.h"
#include "job_flags.h"
#include "verbs.h"

static const char usage[] =
    "usage: darknet prune finetune <data> <cfg> <weights> -length N -out FILE [-flag value ...]\n"
    "\n"
    "Trains trained weights further, with a counter of its own (a 'seen' past max_batches does not\n"
    "matter), and writes FILE.\n"
    "\n"
    "  -length N         epochs ('2', '0.5') or iterations ('300i'); required\n"
    "  -out FILE         weights file to write; required\n"
    "  -lr X             learning rate at the start, falling to 0 along a half cosine\n"
    "                    (default: the cfg's learning_rate, at most 0.01)\n"
    "  -momentum X       of SGD (default: the cfg's)\n"
    "  -decay X          of SGD (default: the cfg's)\n"
    "  -recalibrate N    first average batch-norm statistics over N training images, drawn as in\n"
    "                    training (default: 0)\n"
    "  -keep-zeros 0|1   1: weights of convolutional and connected layers that are exactly 0 in the file\n"
    "                    stay 0, as 'run -granularity weight' leaves them (default: 0)\n"
    "  -save-every N     write FILE every N steps as well (default: each epoch)\n"
    PRUNE_HOST_HELP
    "\n"
    "example:\n"
    "  darknet prune finetune cifar.data net-pruned.cfg net-pruned.weights -length 2 -out tuned.weights\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted (FILE then holds the last good weights), 2 wrong usage\n";

static const struct prune_flag flags[] = {{"length", true}, {"out", true}, {"lr", true}, {"momentum", true}, {"decay", true}, {"recalibrate", true},
                                          {"save-every", true}, {"keep-zeros", true}, PRUNE_HOST_FLAGS, {0}};

struct request { struct prune_open_options open; struct prune_step_options step; long recalibrate, save_every; const char *length, *out; bool keep_zeros; };

static enum prune_code read_request(const struct prune_args *a, struct request *r, struct prune_status *st)
{
    size_t ignored;
    r->length = prune_args_string(a, "length", NULL);
    r->out = prune_args_string(a, "out", NULL);
    if (!r->length) return prune_fail_usage(st, "-length is missing: epochs ('2') or iterations ('300i')");
    if (!r->out) return prune_fail_usage(st, "-out is missing: the weights file to write");
    enum prune_code rc = prune_parse_length("length", r->length, 1, 1, &ignored, st);
    if (!rc) rc = prune_args_step(a, &r->step, st);
    if (!rc) rc = prune_args_int(a, "recalibrate", 0, 1000000000, 0, &r->recalibrate, st);
    if (!rc) rc = prune_args_int(a, "save-every", 1, 1000000000, 0, &r->save_every, st);
    if (!rc) rc = prune_args_switch(a, "keep-zeros", false, &r->keep_zeros, st);
    if (!rc) rc = prune_args_host(a, &r->open, st);
    r->open.quiet = true;
    return rc;
}

static enum prune_code train(const struct prune_host *host, struct prune_host_net *net, const struct prune_image_set *set, const struct request *r, struct prune_status *st)
{
    enum prune_code rc = r->recalibrate ? host->recalibrate(net, set, (size_t)r->recalibrate, st) : PRUNE_OK;
    if (!rc) rc = host->train_start(net, set, NULL, NULL, NULL, st);
    if (rc) return rc;
    struct prune_net_facts facts;
    host->facts(net, &facts);
    size_t images_per_step = (size_t)facts.batch * (size_t)facts.subdivisions, epoch = facts.train_images / images_per_step;
    struct prune_finetune_options o = {.step = prune_step_of(&r->step, &facts), .weights_path = r->out, .save_every = r->save_every ? (size_t)r->save_every : epoch ? epoch : 100};
    struct prune_finetune_result result;
    rc = prune_parse_length("length", r->length, facts.train_images, images_per_step, &o.steps, st);
    if (!rc) rc = prune_finetune(host, net, &o, &result, st);
    host->train_stop(net);
    if (!rc) printf("%zu steps, %zu images, loss %.4f at the end\nwrote %s\n", result.steps, result.images, result.loss, r->out);
    return rc;
}

/* Which weights are 0 in the file; nothing where the user does not ask. */
static enum prune_code read_zeros(struct prune_sparse *zeros, const struct prune_project *p, const struct request *r, struct prune_status *st)
{
    if (!r->keep_zeros) return PRUNE_OK;
    enum prune_code rc = prune_sparse_init(zeros, &p->net, &p->weights.layout, st);
    if (!rc) rc = prune_sparse_from_zeros(zeros, &p->net, &p->weights, st);
    if (!rc) printf("%zu of %zu weights are 0 and stay 0\n", zeros->weights - zeros->kept, zeros->weights);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    struct prune_args args;
    struct request request = {0};
    struct prune_project project = {0};
    struct prune_host_net *net = NULL;
    struct prune_sparse zeros = {0};
    enum prune_code rc = prune_args_parse(&args, argc, argv, flags, 3, 3, st);
    if (!rc) rc = read_request(&args, &request, st);
    if (!rc) rc = prune_host_check(host, PRUNE_CAN_TRAIN | (request.keep_zeros ? PRUNE_CAN_EDIT : 0u), st);
    if (!rc) rc = prune_project_open(&project, args.positional[1], args.positional[2], NULL, st);
    if (!rc) rc = prune_check_output(request.out, args.positional, 3, st);
    if (!rc) rc = read_zeros(&zeros, &project, &request, st);
    prune_project_close(&project);
    if (!rc) rc = host->open(host->context, args.positional[1], args.positional[2], &request.open, &net, st);
    if (!rc) rc = prune_sparse_hold(&zeros, host, net, st);
    prune_sparse_free(&zeros);
    if (rc) {
        host->close(net);
        return rc;
    }
    struct prune_image_set set = {.data_path = args.positional[0], .role = PRUNE_DATA_TRAIN};
    rc = train(host, net, &set, &request, st);
    host->close(net);
    return rc;
}

const struct prune_command prune_command_finetune = {"finetune", "train trained weights further, rate falling along a half cosine", usage, run};
