/* See job_flags.h. */
#include "job_flags.h"

#include <math.h>
#include <string.h>

#include "common.h"

enum prune_code prune_args_step(const struct prune_args *a, struct prune_step_options *step, struct prune_status *st)
{
    enum prune_code rc = prune_args_double(a, "lr", 1e-9, 10, 0, &step->rate, st);
    if (!rc) rc = prune_args_double(a, "momentum", 0, 0.9999, NAN, &step->momentum, st);
    return rc ? rc : prune_args_double(a, "decay", 0, 1, NAN, &step->decay, st);
}

enum prune_code prune_args_feed(const struct prune_args *a, enum prune_feed *feed, size_t *images, struct prune_status *st)
{
    const char *by = prune_args_string(a, "score", NULL);
    long count = 0;
    if (by && strcmp(by, "hook") && strcmp(by, "pass")) return prune_fail_usage(st, "flag '-score': '%s' is not one of hook, pass", by);
    *feed = !by ? PRUNE_FEED_DEFAULT : strcmp(by, "hook") ? PRUNE_FEED_PASS : PRUNE_FEED_HOOK;
    enum prune_code rc = prune_args_int(a, "score-images", 1, 1000000000, 0, &count, st);
    *images = (size_t)count;
    return rc;
}

enum prune_code prune_args_job(const struct prune_args *a, long recalibrate, struct prune_job_options *o, struct prune_status *st)
{
    struct prune_open_options host = {0};
    struct prune_image_set images = {0};
    size_t ignored;
    *o = (struct prune_job_options){.data = a->positional[0], .cfg = a->positional[1], .weights = a->positional[2], .out = prune_args_string(a, "out", "pruned"),
                                    .protect = prune_args_string(a, "protect", NULL), .finetune = prune_args_string(a, "finetune", NULL),
                                    .total = prune_args_string(a, "total", NULL)};
    enum prune_code rc = prune_args_int(a, "recalibrate", 0, 1000000000, recalibrate, &recalibrate, st);
    if (!rc) rc = prune_args_double(a, "finetune-lr", 1e-9, 10, 0, &o->finetune_rate, st);
    if (!rc) rc = prune_args_host(a, &host, st);
    if (!rc) rc = prune_args_images(a, o->data, PRUNE_DATA_VALID, &images, st);
    if (!rc && o->finetune) rc = prune_parse_length("finetune", o->finetune, 1, 1, &ignored, st);
    if (!rc && o->total) rc = prune_parse_length("total", o->total, 1, 1, &ignored, st);
    o->recalibrate_images = (size_t)recalibrate;
    o->evaluate_images = images.limit;
    o->letterbox = images.letterbox;
    o->seed = host.seed;
    o->threads = host.threads;
    return rc;
}
