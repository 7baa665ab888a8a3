/* What a host needs besides a checked cfg: files that keys name, and memory; see prune_net_check_host in net_shape.h.
 * Apart from the shapes because the answer depends on the machine; inspect and apply never ask. */
#include "net_shape.h"

#include <string.h>
#include <sys/sysinfo.h>

#include "../base/file_io.h"

static enum prune_code check_named_files(const struct prune_net *net, const struct prune_layer *l, struct prune_status *st)
{
    static const char *const keys[] = {"tree", "map"};
    if (!prune_kind_info(l->kind)->is_head) return PRUNE_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct prune_option *o = prune_cfg_find(&net->cfg->sections[l->section], keys[i]);
        struct prune_map map;
        if (!o) continue;
        if (prune_map_open(&map, o->value, st)) return prune_explain(st, "cannot use '%s:%d': %s= needs a file: ", net->cfg->path, o->line, o->key);
        prune_map_close(&map);
    }
    return PRUNE_OK;
}

/* Lower bound of what the host allocates: outputs and their gradients (twice that with batch-norm), weights and updates, one column buffer. */
static double host_bytes(const struct prune_net *net, int batch)
{
    double floats = 0, columns = 0;
    double images = (batch > 0 ? batch : net->batch / net->subdivisions) * (double)net->time_steps;
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct prune_layer *l = &net->layers[i];
        double patch = l->kind == PRUNE_CONVOLUTIONAL ? (double)l->out_w * l->out_h * l->size * l->size * l->c / l->groups : 0;
        floats += images * l->outputs * (l->batch_normalize ? 4 : 2) + 2 * (double)l->parameters;
        if (patch > columns) columns = patch;
    }
    return 4 * (floats + columns);
}

/* The host keeps this many boxes of truth per image, whatever max= says. */
static enum prune_code check_truths(const struct prune_net *net, const struct prune_layer *l, struct prune_status *st)
{
    int limit = l->kind == PRUNE_YOLO ? 90 : l->kind == PRUNE_REGION ? 30 : 0, max = 0;
    const struct prune_section *s = &net->cfg->sections[l->section];
    const struct prune_option *o = prune_cfg_find(s, "max");
    enum prune_code code = prune_cfg_int(net->cfg, s, "max", 0, &max, st);
    if (code || !limit || max <= limit) return code;
    return prune_fail(st, "cannot run '%s:%d': max=%d in [%s], and pjreddie's Darknet, which runs networks here, keeps at most %d boxes per image; use max=%d", net->cfg->path, o->line, max,
                      prune_kind_info(l->kind)->name, limit, limit);
}

enum prune_code prune_net_check_host(const struct prune_net *net, int batch, struct prune_status *st)
{
    if (net->foreign_line)
        return prune_fail(st, "cannot run '%s:%d': %s is known to AlexeyAB's and hank-ai's Darknet only, and networks run here on pjreddie's; 'inspect', 'select', 'apply' and criteria from weights (magnitude, bn-scale, random) work",
                          net->cfg->path, net->foreign_line, net->foreign);
    for (size_t i = 0; i < net->layer_count; i++) {
        enum prune_code code = check_truths(net, &net->layers[i], st);
        if (!code) code = check_named_files(net, &net->layers[i], st);
        if (code) return code;
    }
    struct sysinfo machine;
    if (sysinfo(&machine)) return PRUNE_OK; /* unknown: let the host try */
    double have = ((double)machine.totalram + (double)machine.totalswap) * machine.mem_unit, need = host_bytes(net, batch);
    if (need <= have) return PRUNE_OK;
    return prune_fail(st, "cannot run '%s': it needs %.1f GB and this machine has %.1f GB; use a smaller batch, more subdivisions or a smaller network", net->cfg->path, need / 1e9, have / 1e9);
}
