/* Fresh weights with statistics in a file; see at_init.h. A fresh network's rolling variance is 0: nothing could be scored without the average. */
#include "at_init.h"

#include <stdio.h>

#include "../base/file_io.h"

enum prune_code prune_at_init_read(const struct prune_args *a, struct prune_at_init *out, struct prune_status *st)
{
    bool wanted = prune_args_has(a, "at-init");
    *out = (struct prune_at_init){.path = prune_args_string(a, "init-weights", NULL)};
    if (wanted && !out->path) return prune_fail_usage(st, "'-at-init' needs '-init-weights FILE', where the fresh weights go");
    if (!wanted && (out->path || prune_args_has(a, "recalibrate")))
        return prune_fail_usage(st, "flag '-%s' has no meaning without '-at-init'", out->path ? "init-weights" : "recalibrate");
    if (wanted && a->count != 2) return prune_fail_usage(st, "with '-at-init' give <data> <cfg> and no weights: they are made");
    return prune_args_int(a, "recalibrate", 1, 1000000000, 2560, &out->images, st);
}

static enum prune_code check_cfg(const char *cfg, struct prune_status *st)
{
    struct prune_project p;
    enum prune_code rc = prune_project_open(&p, cfg, NULL, NULL, st);
    if (!rc) prune_project_close(&p);
    return rc;
}

enum prune_code prune_at_init_make(const struct prune_at_init *o, const struct prune_host *host, const char *data, const char *cfg, const struct prune_open_options *open,
                                   struct prune_status *st)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    struct prune_open_options options = *open;
    struct prune_host_net *net = NULL;
    if (prune_path_exists(o->path))
        return prune_fail(st, "'%s' exists, and fresh weights would overwrite it; name a new file, or score it: <data> <cfg> %s without -at-init", o->path, o->path);
    options.batch = 0;
    enum prune_code rc = check_cfg(cfg, st);
    if (!rc) rc = host->open(host->context, cfg, NULL, &options, &net, st);
    if (rc) return rc;
    rc = host->recalibrate(net, &set, (size_t)o->images, st);
    if (!rc) rc = host->save_weights(net, o->path, st);
    host->close(net);
    if (!rc) printf("fresh weights of seed %llu, statistics of %ld images: %s\n", (unsigned long long)open->seed, o->images, o->path);
    return rc;
}
