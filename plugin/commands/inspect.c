/* `darknet prune inspect`: what a network consists of for pruning: layers with units, parameters and cost, what is tied to what and
 * why, what must stay and why. Needs no host and no data. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "common.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune inspect <cfg> [weights] [-json] [-protect L]\n"
    "\n"
    "Prints the layer table with units, parameters and BFLOPs, which layers are tied to which and why, and which channels\n"
    "are protected and why. A unit is the smallest set of channels that can be removed and leave a valid network; most are\n"
    "one filter. With weights, the file is checked too: size, NaN and infinity.\n"
    "\n"
    "  -json             the same as JSON, with every unit and its members (default: text)\n"
    "  -protect L        layers whose units all stay: \"0\", \"0,81-83\" (default: none)\n"
    "\n"
    "example:\n"
    "  darknet prune inspect cfg/yolov3.cfg yolov3.weights\n"
    "\n"
    "exit codes: 0 done, 1 the cfg or the weights are refused, 2 wrong usage\n";

/* What a layer's own channels amount to. */
struct layer_units { size_t units, removable; const char *why; };

static bool makes_channels(const struct prune_layer *l)
{
    return prune_kind_info(l->kind)->rule == PRUNE_CH_PRODUCE;
}

static struct layer_units count_units(const struct prune_project *p, const struct prune_layer *l)
{
    struct layer_units n = { 0, 0, NULL };
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

/* seen[layer] = 1 for the other layers that have a member in a unit of this one. */
static size_t partners(const struct prune_project *p, const struct prune_layer *l, uint8_t *seen)
{
    size_t count = 0;
    memset(seen, 0, p->net.layer_count);
    for (int c = 0; c < l->out_c; c++) {
        int u = p->units.of_channel[l->index][c];
        if (u < 0) continue;
        for (size_t m = 0; m < p->units.items[u].member_count; m++) {
            int other = p->units.members[p->units.items[u].first_member + m].layer;
            if (other == l->index || seen[other]) continue;
            seen[other] = 1;
            count++;
        }
    }
    return count;
}

static void shape_text(char *out, size_t size, int w, int h, int c)
{
    snprintf(out, size, "%dx%dx%d", w, h, c);
}

static void kernel_text(char *out, size_t size, const struct prune_layer *l)
{
    *out = 0;
    if (l->size && l->kind != PRUNE_CONNECTED) snprintf(out, size, "%dx%d/%d", l->size, l->size, l->stride);
    else if (l->stride > 1) snprintf(out, size, "/%d", l->stride);
}

static void print_sources(const struct prune_layer *l)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    if (rule == PRUNE_CH_ADD) printf("  adds %d", l->sources[1]);
    if (rule == PRUNE_CH_FIXED && l->parameters) printf("  recurrent: not pruned");
    if (rule != PRUNE_CH_CONCAT) return;
    printf("  of ");
    for (size_t k = 0; k < l->source_count; k++) printf("%s%d", k ? ", " : "", l->sources[k]);
}

/* "tied to 1, 3, 6, 9 and 4 more" */
static void print_partners(const struct prune_project *p, const uint8_t *seen, size_t count)
{
    size_t shown = 0;
    printf("tied to ");
    for (size_t i = 0; i < p->net.layer_count && shown < 4; i++)
        if (seen[i]) printf("%s%zu", shown++ ? ", " : "", i);
    if (count > shown) printf(" and %zu more", count - shown);
}

static void print_layer(const struct prune_project *p, const struct prune_layer *l, uint8_t *seen)
{
    char in[32], out[32], kernel[32], units[32] = "", groups[24] = "", cost[24] = "", parameters[24] = "";
    bool makes = makes_channels(l);
    struct layer_units n = count_units(p, l);
    shape_text(in, sizeof in, l->w, l->h, l->c);
    shape_text(out, sizeof out, l->out_w, l->out_h, l->out_c);
    kernel_text(kernel, sizeof kernel, l);
    if (makes) snprintf(units, sizeof units, "%zu", n.removable);
    if (l->groups > 1) snprintf(groups, sizeof groups, " g%d", l->groups);
    if (l->macs) snprintf(cost, sizeof cost, "%.4f", prune_bflops(l->macs));
    if (l->parameters) snprintf(parameters, sizeof parameters, "%llu", (unsigned long long)l->parameters);
    printf("%5d  %-15s %-7s%-6s %15s -> %-15s %7s %10s %9s", l->index, prune_kind_info(l->kind)->name, kernel, groups, in, out, units, parameters, cost);
    size_t others = makes ? partners(p, l, seen) : 0;
    if (makes && n.removable < n.units) {
        if (n.removable) printf("  %zu stay: ", n.units - n.removable);
        else printf("  stays: ");
        printf("%s%s", n.why, others ? ";" : "");
    }
    if (others) {
        printf("%s", n.removable < n.units ? " " : "  ");
        print_partners(p, seen, others);
    }
    if (!makes) print_sources(l);
    printf("\n");
}

static void print_ties(const struct prune_project *p)
{
    const struct prune_units *u = &p->units;
    if (u->tie_count) printf("\nties\n");
    for (size_t i = 0; i < u->tie_count; i++) {
        const struct prune_tie *t = &u->ties[i];
        if (t->layer_a < 0 || t->layer_b < 0) printf("  network input with layer %d: %d channels, %s at layer %d\n", t->layer_a < 0 ? t->layer_b : t->layer_a, t->channels, t->reason, t->at_layer);
        else if (t->layer_a == t->layer_b) printf("  layer %d: %d channels, %s (layer %d)\n", t->layer_a, t->channels, t->reason, t->at_layer);
        else printf("  layer %d with layer %d: %d of %d channels, %s at layer %d\n", t->layer_a, t->layer_b, t->channels, p->net.layers[t->layer_a].out_c, t->reason, t->at_layer);
    }
    if (u->balance_count) printf("\nbalanced groups (every part loses equally many, or goes whole)\n");
    for (size_t i = 0; i < u->balance_count; i++)
        printf("  layer %d, %s: %zu parts of %zu\n", u->balances[i].layer,
               p->net.layers[u->balances[i].layer].kind == PRUNE_ROUTE ? "slices" : i + 1 < u->balance_count && u->balances[i + 1].layer == u->balances[i].layer ? "inputs" : "filters",
               u->balances[i].parts, u->balances[i].part_size);
}

static size_t count_removable(const struct prune_units *u)
{
    size_t n = 0;
    for (size_t i = 0; i < u->count; i++) n += !u->items[i].protected_because;
    return n;
}

struct reason { const char *why; size_t units; int lo, hi; };

/* The entry of `why`, after those that came before it; *last is where the unit before this one found its own, mostly the same text. */
static struct reason *find_reason(struct reason *r, size_t *count, size_t *last, const char *why)
{
    if (*count && r[*last].why == why) return &r[*last];
    for (*last = 0; *last < *count && strcmp(r[*last].why, why); ++*last) continue;
    if (*last == *count) r[(*count)++] = (struct reason){ .why = why, .lo = -1 };
    return &r[*last];
}

/* Each reason once, with the layers it holds for. */
static enum prune_code print_protected(const struct prune_project *p, struct prune_status *st)
{
    const struct prune_units *u = &p->units;
    size_t protected_units = u->count - count_removable(u), count = 0, last = 0;
    if (!protected_units) return PRUNE_OK;
    struct reason *reasons = malloc(protected_units * sizeof *reasons);
    if (!reasons) return prune_fail_memory(st, protected_units * sizeof *reasons, "reasons of protections");
    for (size_t i = 0; i < u->count; i++) {
        if (!u->items[i].protected_because) continue;
        struct reason *r = find_reason(reasons, &count, &last, u->items[i].protected_because);
        int l = u->members[u->items[i].first_member].layer;
        if (r->lo < 0) r->lo = r->hi = l;
        if (l > r->hi) r->hi = l;
        r->units++;
    }
    printf("\nprotected\n");
    for (const struct reason *r = reasons; r < reasons + count; r++) {
        if (r->lo == r->hi) printf("  %zu unit%s of layer %d: %s\n", r->units, r->units == 1 ? "" : "s", r->lo, r->why);
        else printf("  %zu units of layers %d to %d: %s\n", r->units, r->lo, r->hi, r->why);
    }
    free(reasons);
    return PRUNE_OK;
}

static double megabytes(const struct prune_project *p)
{
    struct prune_weights_layout layout;
    if (prune_layout_build(&layout, &p->net, NULL)) return 0;
    double mb = (double)layout.floats * 4 / 1e6;
    prune_layout_free(&layout);
    return mb;
}

static enum prune_code print_text(const struct prune_project *p, struct prune_status *st)
{
    uint8_t *seen = malloc(p->net.layer_count + 1);
    if (!seen) return prune_fail_memory(st, p->net.layer_count, "layer table");
    printf("%5s  %-15s %-13s %15s -> %-15s %7s %10s %9s\n", "layer", "kind", "kernel", "input", "output", "units", "parameters", "BFLOPs");
    for (size_t i = 0; i < p->net.layer_count; i++) print_layer(p, &p->net.layers[i], seen);
    free(seen);
    print_ties(p);
    enum prune_code rc = print_protected(p, st);
    if (rc) return rc;
    printf("\n%zu layers, %zu units (%zu removable, %zu protected) of %zu channels\n", p->net.layer_count, p->units.count, count_removable(&p->units),
           p->units.count - count_removable(&p->units), p->units.member_count);
    printf("%llu parameters, %llu multiply-adds (%.4f BFLOPs), %.2f MB of weights\n", (unsigned long long)p->net.parameters, (unsigned long long)p->net.macs,
           prune_bflops(p->net.macs), megabytes(p));
    if (p->has_weights)
        printf("weights '%s': version %d.%d.%d, seen %llu images, size right, all values finite\n", p->weights.path, (int)p->weights.header.major,
               (int)p->weights.header.minor, (int)p->weights.header.revision, (unsigned long long)p->weights.header.seen);
    return PRUNE_OK;
}

static cJSON *json_layer(const struct prune_project *p, const struct prune_layer *l)
{
    cJSON *o = cJSON_CreateObject(), *sources = cJSON_CreateIntArray(l->sources, (int)l->source_count);
    struct layer_units n = count_units(p, l);
    const int in[3] = { l->w, l->h, l->c }, out[3] = { l->out_w, l->out_h, l->out_c };
    cJSON_AddNumberToObject(o, "layer", l->index);
    cJSON_AddNumberToObject(o, "line", l->line);
    cJSON_AddStringToObject(o, "kind", prune_kind_info(l->kind)->name);
    cJSON_AddItemToObject(o, "sources", sources);
    cJSON_AddItemToObject(o, "input", cJSON_CreateIntArray(in, 3));
    cJSON_AddItemToObject(o, "output", cJSON_CreateIntArray(out, 3));
    cJSON_AddNumberToObject(o, "size", l->size);
    cJSON_AddNumberToObject(o, "stride", l->stride);
    cJSON_AddNumberToObject(o, "groups", l->groups);
    cJSON_AddNumberToObject(o, "parameters", (double)l->parameters);
    cJSON_AddNumberToObject(o, "macs", (double)l->macs);
    cJSON_AddNumberToObject(o, "bflops", prune_bflops(l->macs));
    if (makes_channels(l)) {
        cJSON_AddNumberToObject(o, "units", (double)n.units);
        cJSON_AddNumberToObject(o, "removable", (double)n.removable);
        if (n.why) cJSON_AddStringToObject(o, "protected", n.why);
    }
    return o;
}

static cJSON *json_unit(const struct prune_units *units, size_t u)
{
    const struct prune_unit *unit = &units->items[u];
    cJSON *o = cJSON_CreateObject(), *members = cJSON_CreateArray(), *gates = cJSON_CreateArray();
    for (size_t i = 0; i < unit->member_count; i++) {
        const int m[2] = { units->members[unit->first_member + i].layer, units->members[unit->first_member + i].channel };
        cJSON_AddItemToArray(members, cJSON_CreateIntArray(m, 2));
    }
    for (size_t i = 0; i < unit->site_count; i++) {
        const struct prune_gate_site *s = &units->sites[unit->first_site + i];
        cJSON *gate = cJSON_CreateObject();
        cJSON_AddNumberToObject(gate, "layer", s->layer);
        cJSON_AddNumberToObject(gate, "channel", s->channel);
        cJSON_AddStringToObject(gate, "place", s->place == PRUNE_GATE_BEFORE_ACTIVATION ? "before activation" : "output");
        cJSON_AddItemToArray(gates, gate);
    }
    cJSON_AddNumberToObject(o, "unit", (double)u);
    cJSON_AddItemToObject(o, "members", members);
    cJSON_AddItemToObject(o, "gates", gates);
    cJSON_AddItemToObject(o, "protected", unit->protected_because ? cJSON_CreateString(unit->protected_because) : cJSON_CreateNull());
    return o;
}

static void json_constraints(const struct prune_project *p, cJSON *root)
{
    cJSON *ties = cJSON_AddArrayToObject(root, "ties"), *balances = cJSON_AddArrayToObject(root, "balances");
    for (size_t i = 0; i < p->units.tie_count; i++) {
        const struct prune_tie *t = &p->units.ties[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "layer_a", t->layer_a);
        cJSON_AddNumberToObject(o, "layer_b", t->layer_b);
        cJSON_AddNumberToObject(o, "channels", t->channels);
        cJSON_AddNumberToObject(o, "at_layer", t->at_layer);
        cJSON_AddStringToObject(o, "reason", t->reason);
        cJSON_AddItemToArray(ties, o);
    }
    for (size_t i = 0; i < p->units.balance_count; i++) {
        const struct prune_balance *b = &p->units.balances[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "layer", b->layer);
        cJSON_AddNumberToObject(o, "parts", (double)b->parts);
        cJSON_AddItemToObject(o, "units", cJSON_CreateIntArray(b->units, (int)(b->parts * b->part_size)));
        cJSON_AddItemToArray(balances, o);
    }
}

static enum prune_code print_json(const struct prune_project *p, struct prune_status *st)
{
    static const char *const TASKS[] = { "other", "classifier", "detector" };
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", "darknet-prune-inspect");
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddStringToObject(root, "cfg", p->net.cfg->path);
    cJSON_AddStringToObject(root, "cfg_hash", p->origin.cfg_hash);
    if (p->has_weights) {
        cJSON_AddStringToObject(root, "weights", p->weights.path);
        cJSON_AddStringToObject(root, "weights_hash", p->origin.weights_hash);
        cJSON_AddNumberToObject(root, "seen", (double)p->weights.header.seen);
    }
    cJSON_AddStringToObject(root, "task", TASKS[p->net.task]);
    cJSON_AddNumberToObject(root, "parameters", (double)p->net.parameters);
    cJSON_AddNumberToObject(root, "macs", (double)p->net.macs);
    cJSON_AddNumberToObject(root, "bflops", prune_bflops(p->net.macs));
    cJSON_AddNumberToObject(root, "megabytes", megabytes(p));
    cJSON_AddNumberToObject(root, "removable_units", (double)count_removable(&p->units));
    cJSON *layers = cJSON_AddArrayToObject(root, "layers"), *units = cJSON_AddArrayToObject(root, "units");
    for (size_t i = 0; i < p->net.layer_count; i++) cJSON_AddItemToArray(layers, json_layer(p, &p->net.layers[i]));
    for (size_t u = 0; u < p->units.count; u++) cJSON_AddItemToArray(units, json_unit(&p->units, u));
    json_constraints(p, root);
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    if (!text) return prune_fail_memory(st, 1, "JSON");
    puts(text);
    free(text);
    return PRUNE_OK;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = { { "json", false }, { "protect", true }, { 0 } };
    struct prune_args a;
    struct prune_project p;
    (void)host;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 1, 2, st);
    if (!rc) rc = prune_project_open(&p, a.positional[0], a.count > 1 ? a.positional[1] : NULL, prune_args_string(&a, "protect", NULL), st);
    if (rc) return rc;
    rc = prune_args_has(&a, "json") ? print_json(&p, st) : print_text(&p, st);
    prune_project_close(&p);
    return rc;
}

const struct prune_command prune_command_inspect = { "inspect", "layers, units, ties and protections of a network", USAGE, run };
