/* Opening a network; see network_open.h. Order: our reader checks cfg and weights, the host parses a cleaned copy of the cfg from memory, its layers
 * are compared with ours, then we copy the weights in ourselves from the checked, mapped file: the host reads no file of the user. */
#include "network_open.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../plugin/base/file_io.h"
#include "context.h"
#include "gates_file.h"
#include "network_parameters.h"

static enum prune_code clean_edits(const struct open_network *n, int batch, struct prune_edit_list *edits, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < n->cfg.section_count; i++)
        if (prune_kind_by_name(n->cfg.sections[i].name)->kind == PRUNE_GATE) rc = prune_edit_add(edits, n->cfg.sections[i].span, "", st);
    if (rc || batch <= 0) return rc;
    char *text = prune_format("%lld", (long long)batch * n->shape.subdivisions);
    if (!text) return prune_fail_memory(st, 0, "batch size");
    rc = prune_edit_set(edits, &n->cfg, 0, "batch", text, NULL, st);
    free(text);
    return rc;
}

enum prune_code network_host_cfg(const struct open_network *n, int batch, char **bytes, size_t *size, struct prune_status *st)
{
    struct prune_edit_list edits = {0};
    char *text = NULL;
    size_t length = 0;
    enum prune_code rc = clean_edits(n, batch, &edits, st);
    if (!rc) rc = prune_edit_apply(&n->cfg, &edits, &text, &length, st);
    prune_edit_free(&edits);
    if (rc) return rc;
    size_t kept = 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] != '\r') text[kept++] = text[i];
    if (kept < length) text[kept] = '\0';
    *bytes = text;
    *size = kept;
    return PRUNE_OK;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n <= 0) return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static network *parse_quietly(char *path)
{
    fflush(stderr);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), saved = null >= 0 ? dup(2) : -1;
    if (saved >= 0) dup2(null, 2);
    network *net = parse_network_cfg(path);
    fflush(stderr);
    if (saved >= 0) {
        dup2(saved, 2);
        close(saved);
    }
    if (null >= 0) close(null);
    return net;
}

network *network_parse(const char *bytes, size_t size, bool quiet)
{
    int fd = memfd_create("cfg", MFD_CLOEXEC);
    if (fd < 0) return NULL;
    network *net = NULL;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write_all(fd, bytes, size)) net = quiet ? parse_quietly(path) : parse_network_cfg(path);
    close(fd);
    return net;
}

/* What the host made of the cfg must be what we checked. */
static enum prune_code compare_shapes(const struct open_network *n, struct prune_status *st)
{
    const char *path = n->cfg.path;
    if (n->net->n != (int)n->shape.layer_count)
        return prune_fail(st, "'%s': the host reads %d layers where we read %zu", path, n->net->n, n->shape.layer_count);
    for (int i = 0; i < n->net->n; i++) {
        const struct prune_layer *ours = &n->shape.layers[i];
        if (n->net->layers[i].outputs != ours->outputs)
            return prune_fail(st, "%s:%d: layer %d has %d outputs in the host, %d by our reading", path, ours->line, i, n->net->layers[i].outputs, ours->outputs);
    }
    return PRUNE_OK;
}

/* The host counts the workspace of a [local] layer in floats and allocates as many bytes: its forward pass writes past the end. */
static enum prune_code enlarge_workspace(struct open_network *n, struct prune_status *st)
{
    network *net = n->net;
    size_t bytes = 0;
    bool local = false;
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        size_t need = l->workspace_size;
        if (l->type == LOCAL) {
            local = true;
            need = sizeof(float) * (size_t)l->out_h * (size_t)l->out_w * (size_t)l->size * (size_t)l->size * (size_t)l->c;
        }
        if (need > bytes) bytes = need;
    }
    if (!local) return PRUNE_OK;
    float *grown = realloc(net->workspace, bytes);
    if (!grown) return prune_fail_memory(st, bytes, "workspace");
    net->workspace = n->workspace = grown;
    return PRUNE_OK;
}

static enum prune_code parse(struct open_network *n, int batch, bool quiet, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = network_host_cfg(n, batch, &bytes, &size, st);
    if (rc) return rc;
    n->net = network_parse(bytes, size, quiet);
    free(bytes);
    if (!n->net) return prune_fail(st, "cannot hand '%s' to the host: no file in memory can be made (memfd, /proc)", n->cfg.path);
    rc = enlarge_workspace(n, st);
    return rc ? rc : compare_shapes(n, st);
}

static enum prune_code load(struct open_network *n, struct prune_weights *w, bool quiet, struct prune_status *st)
{
    if (!quiet) fprintf(stderr, "Loading weights from %s...", w->path);
    enum prune_code rc = parameters_copy_in(n->net, &n->shape, w, n->loaded_layers, st);
    if (!quiet && !rc) fprintf(stderr, "Done!\n");
    return rc;
}

enum prune_code network_gates_attach(struct open_network *n, struct prune_status *st)
{
    enum prune_code rc = prune_units_build(&n->units, &n->shape, st);
    if (rc) return rc;
    size_t kept = 0;
    struct prune_gate_site *sites = malloc((n->units.site_count ? n->units.site_count : 1) * sizeof *sites);
    if (!sites) return prune_fail_memory(st, n->units.site_count * sizeof *sites, "gates");
    for (size_t i = 0; i < n->units.site_count; i++)
        if (n->shape.layers[n->units.sites[i].layer].gate_section >= 0) sites[kept++] = n->units.sites[i];
    rc = gate_attach(&n->gates, n->net, sites, kept, n->units.count, st);
    free(sites);
    return rc;
}

static enum prune_code open_gates(struct open_network *n, const char *weights, struct prune_status *st)
{
    enum prune_code rc = network_gates_attach(n, st);
    if (rc || !weights) return rc;
    char *path = gates_path(weights);
    if (!path) return prune_fail_memory(st, strlen(weights), "paths");
    if (prune_path_exists(path)) rc = gates_read(path, &n->units, &n->shape, gate_values(n->gates), st);
    free(path);
    return rc;
}

static bool has_gates(const struct prune_net *shape)
{
    for (size_t i = 0; i < shape->layer_count; i++)
        if (shape->layers[i].gate_section >= 0) return true;
    return false;
}

enum prune_code network_open(struct open_network *out, const char *cfg, const char *weights, bool allow_prefix, int batch, bool quiet, struct prune_status *st)
{
    struct prune_weights w;
    bool mapped = false;
    memset(out, 0, sizeof *out);
    enum prune_code rc = prune_net_read(&out->cfg, &out->shape, cfg, st);
    if (rc) {
        memset(out, 0, sizeof *out);
        return rc;
    }
    out->gated = has_gates(&out->shape);
    out->loaded_layers = weights ? out->shape.layer_count : 0;
    rc = prune_net_check_host(&out->shape, batch, st);
    if (!rc && weights) {
        rc = allow_prefix ? prune_weights_open_prefix(&w, weights, &out->shape, &out->loaded_layers, st) : prune_weights_open(&w, weights, &out->shape, st);
        mapped = !rc;
        if (!rc) rc = prune_weights_check_host(&w, st);
        if (!rc) rc = prune_weights_check_finite(&w, st);
    }
    if (!rc) rc = parse(out, batch, quiet, st);
    if (!rc) parameters_fresh(out->net, &out->shape, out->loaded_layers, host_context()->seed);
    if (!rc && weights) rc = load(out, &w, quiet, st);
    if (mapped) prune_weights_close(&w);
    if (!rc && out->gated) rc = open_gates(out, weights, st);
    if (rc) network_close(out);
    return rc;
}

void network_close(struct open_network *n)
{
    gate_detach(n->gates);
    if (n->net) free_network(n->net);
    free(n->workspace);
    if (n->units.items) prune_units_free(&n->units);
    if (n->shape.layers) prune_net_free(&n->shape);
    if (n->cfg.bytes) prune_cfg_free(&n->cfg);
    memset(n, 0, sizeof *n);
}
