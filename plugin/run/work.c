/* The network a run works on; see work.h. State goes to disk before anything risky is done with the host, and the smaller
 * network is opened from files that our own readers have checked. */
#include "work.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

static void origin_free(int **origin, size_t layers)
{
    if (!origin) return;
    for (size_t i = 0; i < layers; i++) free(origin[i]);
    free(origin);
}

static void shape_close(struct prune_work *w)
{
    origin_free(w->origin, w->net.layer_count);
    w->origin = NULL;
    free(w->removed);
    free(w->scores);
    w->removed = NULL;
    w->scores = NULL;
    prune_units_free(&w->units);
    prune_net_free(&w->net);
    prune_cfg_free(&w->cfg);
    free(w->cfg_path);
    w->cfg_path = NULL;
}

void prune_work_close(struct prune_work *w)
{
    if (!w->host) return;
    w->host->close(w->host_net);
    w->host_net = NULL;
    shape_close(w);
    w->host = NULL;
}

static enum prune_code origin_identity(struct prune_work *w, struct prune_status *st)
{
    w->origin = calloc(w->net.layer_count, sizeof *w->origin);
    if (!w->origin) return prune_fail_memory(st, w->net.layer_count * sizeof *w->origin, "channel map");
    for (size_t i = 0; i < w->net.layer_count; i++) {
        size_t n = (size_t)w->net.layers[i].out_c;
        w->origin[i] = malloc((n ? n : 1) * sizeof **w->origin);
        if (!w->origin[i]) return prune_fail_memory(st, n * sizeof **w->origin, "channel map");
        for (size_t c = 0; c < n; c++) w->origin[i][c] = (int)c;
    }
    return PRUNE_OK;
}

/* Reads cfg, builds units, applies protection; nothing is masked. */
static enum prune_code shape_open(struct prune_work *w, const char *cfg, struct prune_status *st)
{
    enum prune_code rc = prune_net_read(&w->cfg, &w->net, cfg, st);
    if (!rc) rc = prune_units_build(&w->units, &w->net, st);
    if (!rc && w->options.protect) rc = prune_units_protect(&w->units, &w->net, w->options.protect, st);
    if (rc) return rc;
    size_t n = w->units.count ? w->units.count : 1;
    w->cfg_path = prune_format("%s", cfg);
    w->removed = calloc(n, 1);
    w->scores = calloc(n, sizeof *w->scores);
    w->scored = false;
    if (!w->cfg_path || !w->removed || !w->scores) return prune_fail_memory(st, n * sizeof *w->scores, "scores");
    return origin_identity(w, st);
}

enum prune_code prune_work_open(struct prune_work *w, const struct prune_host *host, const char *cfg, const char *weights,
                                const struct prune_work_options *o, struct prune_status *st)
{
    memset(w, 0, sizeof *w);
    w->host = host;
    w->options = *o;
    enum prune_code rc = shape_open(w, cfg, st);
    if (!rc) rc = host->open(host->context, cfg, weights, &o->open, &w->host_net, st);
    if (rc) prune_work_close(w);
    return rc;
}

static enum prune_code attach(struct prune_work *w, struct prune_status *st)
{
    return w->host->gates_attach(w->host_net, w->units.sites, w->units.site_count, w->units.count, st);
}

enum prune_code prune_work_train(struct prune_work *w, const struct prune_score_options *signals, prune_sink sink, void *user, struct prune_status *st)
{
    enum prune_code rc = attach(w, st);
    if (!rc) rc = w->host->train_start(w->host_net, &w->options.train, signals, sink, user, st);
    return rc;
}

float *prune_work_gate_values(const struct prune_work *w, struct prune_status *st)
{
    float *z = malloc((w->units.count ? w->units.count : 1) * sizeof *z);
    if (!z) prune_fail_memory(st, w->units.count * sizeof *z, "gate values");
    for (size_t u = 0; z && u < w->units.count; u++) z[u] = w->removed[u] ? 0.0f : 1.0f;
    return z;
}

enum prune_code prune_work_mask(struct prune_work *w, struct prune_status *st)
{
    float *z = prune_work_gate_values(w, st);
    if (!z) return PRUNE_FAILED;
    enum prune_code rc = w->host->gates_set(w->host_net, z, w->units.count, st);
    free(z);
    return rc;
}

enum prune_code prune_work_regate(struct prune_work *w, struct prune_status *st)
{
    enum prune_code rc = attach(w, st);
    return rc ? rc : prune_work_mask(w, st);
}

static enum prune_code slice_file(const struct prune_plan *plan, const struct prune_net *net, const char *in, const char *out, struct prune_status *st)
{
    struct prune_weights weights;
    enum prune_code rc = prune_weights_open(&weights, in, net, st);
    if (rc) return rc;
    rc = prune_rewrite_weights(plan, net, &weights, out, st);
    prune_weights_close(&weights);
    return rc;
}

/* state.json without the gates: they belong to the shape before the shrink. */
static enum prune_code copy_counters(const char *from, const char *to, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file(from, &text, &size, st);
    if (rc) return rc;
    cJSON *json = cJSON_Parse(text);
    free(text);
    if (!json) return prune_fail(st, "cannot read '%s': not JSON", from);
    cJSON_DeleteItemFromObjectCaseSensitive(json, "gates");
    char *printed = cJSON_Print(json);
    cJSON_Delete(json);
    if (!printed) return prune_fail_memory(st, size, "training state");
    rc = prune_write_file(to, printed, strlen(printed), st);
    free(printed);
    return rc;
}

struct shrink_paths { char *old_state, *new_state, *cfg, *weights; };

static void shrink_paths_free(struct shrink_paths *p)
{
    free(p->old_state);
    free(p->new_state);
    free(p->cfg);
    free(p->weights);
}

static enum prune_code shrink_paths_make(const struct prune_work *w, struct shrink_paths *p, struct prune_status *st)
{
    const char *dir = w->options.folder;
    p->old_state = prune_format("%s/state-full", dir);
    p->new_state = prune_format("%s/state-small", dir);
    p->cfg = prune_format("%s/%s-%d.cfg", dir, w->options.base, w->shrinks + 1);
    p->weights = prune_format("%s/state-small/state.weights", dir);
    if (!p->old_state || !p->new_state || !p->cfg || !p->weights) return prune_fail_memory(st, strlen(dir), "paths");
    return prune_make_dirs(p->new_state, st);
}

static enum prune_code slice_state(const struct prune_work *w, const struct prune_plan *plan, const struct shrink_paths *p, struct prune_status *st)
{
    static const char *const parts[] = {"state.weights", "state.momentum"};
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < sizeof parts / sizeof *parts; i++) {
        char *from = prune_path_join(p->old_state, parts[i]), *to = prune_path_join(p->new_state, parts[i]);
        rc = from && to ? slice_file(plan, &w->net, from, to, st) : prune_fail_memory(st, 0, "paths");
        free(from);
        free(to);
    }
    char *from = prune_path_join(p->old_state, "state.json"), *to = prune_path_join(p->new_state, "state.json");
    if (!rc) rc = from && to ? copy_counters(from, to, st) : prune_fail_memory(st, 0, "paths");
    free(from);
    free(to);
    if (!rc) rc = prune_rewrite_cfg_file(plan, &w->net, p->cfg, st);
    return rc;
}

/* The small network's units take over score and origin from the channel they came from. */
static void carry_over(struct prune_work *small, const struct prune_work *old, const struct prune_plan *plan)
{
    for (size_t i = 0; i < small->net.layer_count; i++)
        for (int c = 0; c < small->net.layers[i].out_c; c++)
            small->origin[i][c] = old->origin[i][plan->layers[i].out_keep[c]];
    for (size_t u = 0; u < small->units.count; u++) {
        struct prune_channel m = small->units.members[small->units.items[u].first_member];
        int before = old->units.of_channel[m.layer][plan->layers[m.layer].out_keep[m.channel]];
        if (before >= 0) small->scores[u] = old->scores[before];
    }
    small->scored = old->scored;
    small->shrinks = old->shrinks + 1;
}

static enum prune_code reopen(struct prune_work *w, const struct prune_plan *plan, const struct shrink_paths *p, const struct prune_score_options *signals, prune_sink sink,
                              void *user, struct prune_status *st)
{
    struct prune_work small;
    w->host->train_stop(w->host_net);
    w->host->close(w->host_net);
    w->host_net = NULL;
    enum prune_code rc = prune_work_open(&small, w->host, p->cfg, p->weights, &w->options, st);
    if (rc) return rc;
    rc = prune_work_train(&small, signals, sink, user, st);
    if (!rc) rc = small.host->import_state(small.host_net, p->new_state, st);
    if (rc) {
        prune_work_close(&small);
        return rc;
    }
    carry_over(&small, w, plan);
    shape_close(w);
    *w = small;
    /* the sections point into their cfg, and the net points at it: both moved with the struct */
    w->net.cfg = &w->cfg;
    return PRUNE_OK;
}

enum prune_code prune_work_shrink(struct prune_work *w, const struct prune_score_options *signals, prune_sink sink, void *user, struct prune_status *st)
{
    struct prune_plan plan = {0};
    struct shrink_paths paths = {0};
    enum prune_code rc = prune_plan_build(&plan, &w->net, &w->units, w->removed, st);
    if (rc) return rc;
    rc = shrink_paths_make(w, &paths, st);
    if (!rc) rc = w->host->export_state(w->host_net, paths.old_state, st);
    if (!rc) rc = slice_state(w, &plan, &paths, st);
    if (!rc) rc = reopen(w, &plan, &paths, signals, sink, user, st);
    shrink_paths_free(&paths);
    prune_plan_free(&plan);
    return rc;
}

enum prune_code prune_work_write(struct prune_work *w, const char *cfg_path, const char *weights_path, const char *masked_path, struct prune_status *st)
{
    char *full = prune_path_join(w->options.folder, "full.weights");
    if (!full) return prune_fail_memory(st, 0, "paths");
    struct prune_plan plan = {0};
    struct prune_weights weights = {0};
    bool open = false;
    enum prune_code rc = w->host->save_weights(w->host_net, full, st);
    if (!rc) rc = prune_plan_build(&plan, &w->net, &w->units, w->removed, st);
    if (!rc) {
        rc = prune_weights_open(&weights, full, &w->net, st);
        open = !rc;
    }
    if (!rc) rc = prune_weights_check_finite(&weights, st);
    if (!rc) rc = prune_rewrite_weights(&plan, &w->net, &weights, weights_path, st);
    if (!rc && masked_path) rc = prune_rewrite_masked(&plan, &w->net, &weights, masked_path, st);
    if (!rc) rc = prune_rewrite_cfg_file(&plan, &w->net, cfg_path, st);
    if (open) prune_weights_close(&weights);
    prune_plan_free(&plan);
    free(full);
    return rc;
}

void prune_work_original_mask(const struct prune_work *w, const struct prune_units *original, uint8_t *removed)
{
    memset(removed, 1, original->count);
    for (size_t u = 0; u < w->units.count; u++) {
        if (w->removed[u]) continue;
        struct prune_channel m = w->units.members[w->units.items[u].first_member];
        int was = original->of_channel[m.layer][w->origin[m.layer][m.channel]];
        if (was >= 0) removed[was] = 0;
    }
}
