/* `inspect -json`; see inspect_json.h and docs/inspect.md. */
#include "inspect_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/json_write.h"

struct prune_layer_units prune_inspect_count(const struct prune_project *p, const struct prune_layer *l)
{
    struct prune_layer_units n = { 0, 0, NULL };
    for (int c = 0, last = -1; c < l->out_c; c++) {
        int u = p->units.of_channel[l->index][c];
        if (u < 0 || u == last) continue;
        last = u;
        n.units++;
        if (!p->units.items[u].protected_because) n.removable++;
        else if (!n.why) n.why = p->units.items[u].protected_because;
    }
    return n;
}

size_t prune_inspect_removable(const struct prune_units *units)
{
    size_t n = 0;
    for (size_t i = 0; i < units->count; i++) n += !units->items[i].protected_because;
    return n;
}

/* A grouped convolution has two: what it reads first, what it makes second. */
const char *prune_inspect_balance(const struct prune_project *p, size_t balance)
{
    const struct prune_balance *all = p->units.balances;
    if (prune_kind_info(p->net.layers[all[balance].layer].kind)->rule == PRUNE_CH_CONCAT) return "route slices";
    return balance && all[balance - 1].layer == all[balance].layer ? "filters" : "inputs";
}

double prune_inspect_megabytes(const struct prune_project *p)
{
    struct prune_weights_layout layout;
    if (p->has_weights) return (double)p->weights.layout.floats * 4 / 1e6;
    if (prune_layout_build(&layout, &p->net, NULL)) return 0;
    double mb = (double)layout.floats * 4 / 1e6;
    prune_layout_free(&layout);
    return mb;
}

static enum prune_code put_stdout(void *to, const void *bytes, size_t size, struct prune_status *st)
{
    return fwrite(bytes, 1, size, to) == size ? PRUNE_OK : prune_fail(st, "cannot write the JSON to standard output: %s", strerror(errno));
}

static void dialects(struct prune_json *j, const struct prune_net *net)
{
    static const struct { int bit; const char *name; } NAMES[] = { { PRUNE_PJREDDIE, "pjreddie" }, { PRUNE_ALEXEYAB, "alexeyab" } };
    prune_json_begin_array(j, "dialects");
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (net->dialects & NAMES[i].bit) prune_json_string(j, NULL, NAMES[i].name);
    prune_json_end(j);
    if (!net->foreign_line) {
        prune_json_null(j, "foreign");
        return;
    }
    prune_json_begin_object(j, "foreign");
    prune_json_whole(j, "line", net->foreign_line);
    prune_json_string(j, "text", net->foreign);
    prune_json_end(j);
}

static void head(struct prune_json *j, const struct prune_project *p)
{
    static const char *const TASKS[] = { "other", "classifier", "detector" };
    const int input[] = { p->net.w, p->net.h, p->net.c };
    prune_json_string(j, "format", "darknet-prune-inspect");
    prune_json_whole(j, "version", 1);
    prune_json_string(j, "cfg", p->net.cfg->path);
    prune_json_string(j, "cfg_hash", p->origin.cfg_hash);
    if (p->has_weights) {
        prune_json_string(j, "weights", p->weights.path);
        prune_json_string(j, "weights_hash", p->origin.weights_hash);
        prune_json_whole(j, "seen", (int64_t)p->weights.header.seen);
    }
    dialects(j, &p->net);
    prune_json_string(j, "task", TASKS[p->net.task]);
    prune_json_whole(j, "classes", p->net.classes);
    prune_json_wholes(j, "input", input, 3);
    prune_json_whole(j, "parameters", (int64_t)p->net.parameters);
    prune_json_whole(j, "macs", (int64_t)p->net.macs);
    prune_json_number(j, "bflops", prune_bflops(p->net.macs));
    prune_json_number(j, "megabytes", prune_inspect_megabytes(p));
    prune_json_whole(j, "removable_units", (int64_t)prune_inspect_removable(&p->units));
}

/* Members that only some kinds have; the others' neutral values say nothing and are left out. */
static void layer_details(struct prune_json *j, const struct prune_layer *l)
{
    static const char *const WEIGHTS[] = { "none", "per_feature", "per_channel" };
    const struct { const char *key; int value, neutral; } NUMBERS[] = {
        { "group_id", l->group_id, 0 }, { "antialiasing", l->antialiasing, 0 }, { "share", l->share, -1 }, { "hidden", l->hidden, 0 }, { "atoms", l->atoms, 0 },
        { "refers_to", l->refers_to, -1 }, { "classes", l->classes, 0 }, { "coords", l->coords, 0 }, { "num", l->num, 0 }, { "side", l->side, 0 }, { "numload", l->numload, 0 } };
    const struct { const char *key; bool value; } FLAGS[] = { { "reverse", l->reverse }, { "flatten", l->flatten }, { "scale_wh", l->scale_wh }, { "maxpool_depth", l->maxpool_depth },
        { "peephole", l->peephole }, { "bottleneck", l->bottleneck }, { "flipped", l->flipped }, { "dontload", l->dontload }, { "dontsave", l->dontsave },
        { "dontloadscales", l->dontloadscales } };
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++)
        if (NUMBERS[i].value != NUMBERS[i].neutral) prune_json_whole(j, NUMBERS[i].key, NUMBERS[i].value);
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (FLAGS[i].value) prune_json_bool(j, FLAGS[i].key, true);
    if (l->weights_type != PRUNE_WEIGHTS_NONE) prune_json_string(j, "weights_type", WEIGHTS[l->weights_type]);
}

static void layer(struct prune_json *j, const struct prune_project *p, const struct prune_layer *l)
{
    const int in[3] = { l->w, l->h, l->c }, out[3] = { l->out_w, l->out_h, l->out_c };
    struct prune_layer_units n = prune_inspect_count(p, l);
    prune_json_begin_object(j, NULL);
    prune_json_whole(j, "layer", l->index);
    prune_json_whole(j, "line", l->line);
    prune_json_string(j, "kind", prune_kind_info(l->kind)->name);
    prune_json_wholes(j, "sources", l->sources, l->source_count);
    prune_json_wholes(j, "input", in, 3);
    prune_json_wholes(j, "output", out, 3);
    prune_json_whole(j, "size", l->size);
    prune_json_whole(j, "stride", l->stride);
    prune_json_whole(j, "stride_x", l->stride_x);
    prune_json_whole(j, "stride_y", l->stride_y);
    prune_json_whole(j, "pad", l->pad);
    prune_json_whole(j, "dilation", l->dilation);
    prune_json_whole(j, "groups", l->groups);
    prune_json_bool(j, "batch_normalize", l->batch_normalize);
    prune_json_string(j, "activation", prune_activation_info(l->activation)->name);
    prune_json_bool(j, "head", prune_kind_info(l->kind)->is_head);
    layer_details(j, l);
    prune_json_whole(j, "parameters", (int64_t)l->parameters);
    prune_json_whole(j, "macs", (int64_t)l->macs);
    prune_json_number(j, "bflops", prune_bflops(l->macs));
    if (prune_kind_info(l->kind)->rule == PRUNE_CH_PRODUCE) {
        prune_json_whole(j, "units", (int64_t)n.units);
        prune_json_whole(j, "removable", (int64_t)n.removable);
        if (n.why) prune_json_string(j, "protected", n.why);
    }
    prune_json_end(j);
}

static void unit(struct prune_json *j, const struct prune_units *units, size_t u, const struct prune_cost *saving)
{
    const struct prune_unit *it = &units->items[u];
    prune_json_begin_object(j, NULL);
    prune_json_whole(j, "unit", (int64_t)u);
    prune_json_begin_array(j, "members");
    for (size_t i = 0; i < it->member_count; i++) {
        const struct prune_channel *m = &units->members[it->first_member + i];
        const int pair[] = { m->layer, m->channel };
        prune_json_wholes(j, NULL, pair, 2);
    }
    prune_json_end(j);
    prune_json_begin_array(j, "gates");
    for (size_t i = 0; i < it->site_count; i++) {
        const struct prune_gate_site *s = &units->sites[it->first_site + i];
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "layer", s->layer);
        prune_json_whole(j, "channel", s->channel);
        prune_json_string(j, "place", s->place == PRUNE_GATE_BEFORE_ACTIVATION ? "before activation" : "output");
        prune_json_end(j);
    }
    prune_json_end(j);
    prune_json_whole(j, "macs", (int64_t)saving->macs);
    prune_json_whole(j, "parameters", (int64_t)saving->parameters);
    prune_json_string(j, "protected", it->protected_because);
    prune_json_end(j);
}

static void constraints(struct prune_json *j, const struct prune_project *p)
{
    prune_json_begin_array(j, "ties");
    for (size_t i = 0; i < p->units.tie_count; i++) {
        const struct prune_tie *t = &p->units.ties[i];
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "layer_a", t->layer_a);
        prune_json_whole(j, "layer_b", t->layer_b);
        prune_json_whole(j, "channels", t->channels);
        prune_json_whole(j, "at_layer", t->at_layer);
        prune_json_string(j, "reason", t->reason);
        prune_json_end(j);
    }
    prune_json_end(j);
    prune_json_begin_array(j, "balances");
    for (size_t i = 0; i < p->units.balance_count; i++) {
        const struct prune_balance *b = &p->units.balances[i];
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "layer", b->layer);
        prune_json_string(j, "kind", prune_inspect_balance(p, i));
        prune_json_whole(j, "parts", (int64_t)b->parts);
        prune_json_wholes(j, "units", b->units, b->parts * b->part_size);
        prune_json_end(j);
    }
    prune_json_end(j);
}

static enum prune_code block_list(struct prune_json *j, const struct prune_project *p, const struct prune_blocks *blocks, struct prune_status *st)
{
    uint8_t *silent = calloc(p->net.layer_count + 1, 1);
    if (!silent) return prune_fail_memory(st, p->net.layer_count, "blocks");
    prune_json_begin_array(j, "blocks");
    for (size_t i = 0; i < blocks->count; i++) {
        const struct prune_block *b = &blocks->items[i];
        const int layers[] = { b->from + 1, b->shortcut };
        struct prune_status why = { 0 };
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "shortcut", b->shortcut);
        prune_json_whole(j, "from", b->from);
        prune_json_wholes(j, "layers", layers, 2);
        prune_json_begin_object(j, "gate");
        prune_json_whole(j, "layer", b->shortcut - 1);
        prune_json_string(j, "place", "output");
        prune_json_end(j);
        prune_json_bool(j, "becomes_activation", b->stays_activation);
        prune_json_whole(j, "macs", (int64_t)b->macs);
        prune_json_whole(j, "parameters", (int64_t)b->parameters);
        prune_json_string(j, "not_masked_because", prune_block_silence(b, &p->net, silent, &why) ? why.message : NULL);
        prune_json_end(j);
    }
    prune_json_end(j);
    prune_json_begin_array(j, "no_blocks");
    for (size_t i = 0; i < blocks->other_count; i++) {
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "shortcut", blocks->others[i].shortcut);
        prune_json_string(j, "reason", blocks->others[i].why);
        prune_json_end(j);
    }
    prune_json_end(j);
    free(silent);
    return PRUNE_OK;
}

enum prune_code prune_inspect_json(const struct prune_project *p, const struct prune_blocks *blocks, struct prune_status *st)
{
    struct prune_json j;
    struct prune_cost *savings = malloc((p->units.count + 1) * sizeof *savings);
    enum prune_code rc = savings ? prune_units_savings(&p->net, &p->units, NULL, savings, st) : prune_fail_memory(st, p->units.count * sizeof *savings, "costs of units");
    if (!rc) {
        prune_json_start(&j, PRUNE_JSON_ROWS, put_stdout, stdout, st);
        prune_json_begin_object(&j, NULL);
        head(&j, p);
        prune_json_begin_array(&j, "layers");
        for (size_t i = 0; i < p->net.layer_count; i++) layer(&j, p, &p->net.layers[i]);
        prune_json_end(&j);
        prune_json_begin_array(&j, "units");
        for (size_t u = 0; u < p->units.count; u++) unit(&j, &p->units, u, &savings[u]);
        prune_json_end(&j);
        constraints(&j, p);
        rc = block_list(&j, p, blocks, st);
        if (!rc) prune_json_end(&j);
        if (!rc) rc = prune_json_end_text(&j);
    }
    free(savings);
    return rc;
}
