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

enum prune_code prune_net_check_host(const struct prune_net *net, int batch, struct prune_status *st)
{
    for (size_t i = 0; i < net->layer_count; i++) {
        enum prune_code code = check_named_files(net, &net->layers[i], st);
        if (code) return code;
    }
    struct sysinfo machine;
    if (sysinfo(&machine)) return PRUNE_OK; /* unknown: let the host try */
    double have = ((double)machine.totalram + (double)machine.totalswap) * machine.mem_unit, need = host_bytes(net, batch);
    if (need <= have) return PRUNE_OK;
    return prune_fail(st, "cannot run '%s': it needs %.1f GB and this machine has %.1f GB; use a smaller batch, more subdivisions or a smaller network", net->cfg->path, need / 1e9, have / 1e9);
}
