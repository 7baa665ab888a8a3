/* `darknet prune inspect`: what a network consists of for pruning: layers with units, parameters and cost, what is tied to what and
 * why, what must stay and why. Needs no host and no data. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../run/sparse.h"
#include "inspect_json.h"
#include "table.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune inspect <cfg> [weights] [-json] [-protect L] [-sparsity]\n"
    "\n"
    "Prints the layer table with units, parameters and BFLOPs, which layers are tied to which and why,\n"
    "which channels are protected and why, and the residual blocks that can go whole. A unit is the\n"
    "smallest set of channels that can be removed and leave a valid network; most are one filter. With\n"
    "weights, the file is checked too: size, NaN and infinity.\n"
    "\n"
    "  -json             the same as JSON, with every unit, its members and its cost (docs/inspect.md)\n"
    "  -protect L        layers whose units all stay: \"0\", \"0,81-83\" (default: none)\n"
    "  -sparsity         instead: how many weights of each layer are not 0 in the file (with -json as\n"
    "                    JSON; docs/sparse.md)\n"
    "\n"
    "example:\n"
    "  darknet prune inspect cfg/yolov3.cfg yolov3.weights\n"
    "\n"
    "exit codes: 0 done, 1 the cfg or the weights are refused, 2 wrong usage\n";

static bool makes_channels(const struct prune_layer *l)
{
    return prune_kind_info(l->kind)->rule == PRUNE_CH_PRODUCE;
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

/* "3x3/2", "3x3/2x1" where the strides differ, "/2" without a kernel; then " d2" of a dilated one, " g4" of groups. */
static void kernel_text(char *out, size_t size, const struct prune_layer *l)
{
    char stride[24] = "", groups[24] = "", dilation[24] = "";
    if (l->stride_x != l->stride_y) snprintf(stride, sizeof stride, "%dx%d", l->stride_x, l->stride_y);
    else snprintf(stride, sizeof stride, "%d", l->stride_x);
    if (l->dilation > 1) snprintf(dilation, sizeof dilation, " d%d", l->dilation);
    if (l->groups > 1) snprintf(groups, sizeof groups, " g%d", l->groups);
    if (l->size && l->kind != PRUNE_CONNECTED) snprintf(out, size, "%dx%d/%s%s%s", l->size, l->size, stride, dilation, groups);
    else snprintf(out, size, "%s%s%s", l->stride > 1 ? "/" : "", l->stride > 1 ? stride : "", groups);
}

/* What stands behind a layer's numbers. */
struct note { char text[512]; };

__attribute__((format(printf, 2, 3))) static void add(struct note *n, const char *format, ...)
{
    size_t used = strlen(n->text);
    va_list list;
    va_start(list, format);
    vsnprintf(n->text + used, sizeof n->text - used, format, list);
    va_end(list);
}

static void add_list(struct note *n, const char *what, const struct prune_layer *l, size_t first)
{
    for (size_t k = first; k < l->source_count; k++) add(n, "%s%d", k == first ? what : ", ", l->sources[k]);
}

static void note_sources(struct note *n, const struct prune_layer *l)
{
    enum prune_channel_rule rule = prune_kind_info(l->kind)->rule;
    if (rule == PRUNE_CH_ADD) add_list(n, "adds ", l, 1);
    if (rule == PRUNE_CH_MULTIPLY) add_list(n, "multiplies ", l, 1);
    if (rule == PRUNE_CH_CONCAT) add_list(n, "of ", l, 0);
    if (rule == PRUNE_CH_CONCAT && l->groups > 1) add(n, ", slice %d of 0 to %d", l->group_id, l->groups - 1);
    if (rule == PRUNE_CH_FIXED && l->parameters) add(n, "recurrent: not pruned");
}

/* "tied to 1, 3, 6, 9 and 4 more" */
static void note_partners(struct note *n, const struct prune_project *p, const uint8_t *seen, size_t count)
{
    size_t shown = 0;
    add(n, "%stied to ", *n->text ? "; " : "");
    for (size_t i = 0; i < p->net.layer_count && shown < 4; i++)
        if (seen[i]) add(n, "%s%zu", shown++ ? ", " : "", i);
    if (count > shown) add(n, " and %zu more", count - shown);
}

static void note_units(struct note *n, const struct prune_project *p, const struct prune_layer *l, const struct prune_layer_units *u, uint8_t *seen)
{
    size_t others = partners(p, l, seen);
    if (l->share >= 0) add(n, "values of %d", l->share);
    if (u->removable < u->units) {
        if (*n->text) add(n, "; ");
        if (u->removable) add(n, "%zu stay: %s", u->units - u->removable, u->why);
        else add(n, "stays: %s", u->why);
    }
    if (others) note_partners(n, p, seen, others);
}

static void print_layer(const struct prune_project *p, const struct prune_layer *l, uint8_t *seen)
{
    char in[32], out[32], kernel[64], units[32] = "", cost[24] = "", parameters[24] = "", line[256];
    struct note note = { "" };
    struct prune_layer_units n = prune_inspect_count(p, l);
    shape_text(in, sizeof in, l->w, l->h, l->c);
    shape_text(out, sizeof out, l->out_w, l->out_h, l->out_c);
    kernel_text(kernel, sizeof kernel, l);
    if (makes_channels(l)) snprintf(units, sizeof units, "%zu", n.removable);
    if (l->macs) snprintf(cost, sizeof cost, "%.4f", prune_bflops(l->macs));
    if (l->parameters) snprintf(parameters, sizeof parameters, "%llu", (unsigned long long)l->parameters);
    if (makes_channels(l)) note_units(&note, p, l, &n, seen);
    else note_sources(&note, l);
    snprintf(line, sizeof line, "%5d  %-15s %-13s %15s -> %-15s %7s %10s %9s  ", l->index, prune_kind_info(l->kind)->name, kernel, in, out, units,
             parameters, cost);
    size_t end = strlen(line);
    while (!*note.text && end && line[end - 1] == ' ') end--;
    printf("%.*s%s\n", (int)end, line, note.text);
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
        printf("  layer %d, %s: %zu parts of %zu\n", u->balances[i].layer, prune_inspect_balance(p, i), u->balances[i].parts, u->balances[i].part_size);
}

/* A reason, how many units it holds, and the layers of the first and the last of them. */
struct reason { const char *why; size_t units; int lo, hi; };

/* The entry of that text; the last one found is tried first: units of one layer share their reason. */
static struct reason *find_reason(struct reason **list, size_t *count, struct reason *last, const char *why)
{
    if (last && (last->why == why || !strcmp(last->why, why))) return last;
    for (size_t i = 0; i < *count; i++)
        if (!strcmp((*list)[i].why, why)) return &(*list)[i];
    struct reason *grown = realloc(*list, (*count + 1) * sizeof *grown);
    if (!grown) return NULL;
    *list = grown;
    grown[*count] = (struct reason){ why, 0, INT_MAX, -1 };
    return &grown[(*count)++];
}

/* Each reason once, with the layers it holds for. */
static enum prune_code print_protected(const struct prune_project *p, struct prune_status *st)
{
    const struct prune_units *u = &p->units;
    struct reason *list = NULL, *r = NULL;
    size_t count = 0;
    for (size_t i = 0; i < u->count; i++) {
        if (!u->items[i].protected_because) continue;
        r = find_reason(&list, &count, r, u->items[i].protected_because);
        if (!r) {
            free(list);
            return prune_fail_memory(st, count * sizeof *list, "reasons");
        }
        int l = u->members[u->items[i].first_member].layer;
        if (l < r->lo) r->lo = l;
        if (l > r->hi) r->hi = l;
        r->units++;
    }
    if (count) printf("\nprotected\n");
    for (size_t i = 0; i < count; i++) {
        if (list[i].lo == list[i].hi) printf("  %zu unit%s of layer %d: %s\n", list[i].units, list[i].units == 1 ? "" : "s", list[i].lo, list[i].why);
        else printf("  %zu units of layers %d to %d: %s\n", list[i].units, list[i].lo, list[i].hi, list[i].why);
    }
    free(list);
    return PRUNE_OK;
}

static void print_blocks(const struct prune_project *p, const struct prune_blocks *b)
{
    if (b->count) printf("\nblocks (apply -drop-block takes them out whole)\n");
    for (size_t i = 0; i < b->count; i++)
        printf("  shortcut at layer %d: layers %d to %d, %.4f BFLOPs (%.1f%%), %llu parameters%s\n", b->items[i].shortcut, b->items[i].from + 1, b->items[i].shortcut,
               prune_bflops(b->items[i].macs), p->net.macs ? 100 * (double)b->items[i].macs / (double)p->net.macs : 0, (unsigned long long)b->items[i].parameters,
               b->items[i].stays_activation ? "; its activation stays" : "");
    if (b->other_count) printf("\nshortcuts that close no block\n");
    for (size_t i = 0; i < b->other_count; i++) printf("  layer %d: %s\n", b->others[i].shortcut, b->others[i].why);
}

static enum prune_code print_text(const struct prune_project *p, const struct prune_blocks *blocks, struct prune_status *st)
{
    uint8_t *seen = malloc(p->net.layer_count + 1);
    if (!seen) return prune_fail_memory(st, p->net.layer_count, "layer table");
    printf("%5s  %-15s %-13s %15s -> %-15s %7s %10s %9s\n", "layer", "kind", "kernel", "input", "output", "units", "parameters", "BFLOPs");
    for (size_t i = 0; i < p->net.layer_count; i++) print_layer(p, &p->net.layers[i], seen);
    free(seen);
    print_ties(p);
    enum prune_code rc = print_protected(p, st);
    if (rc) return rc;
    print_blocks(p, blocks);
    printf("\n%zu layers, %zu units (%zu removable, %zu protected) of %zu channels\n", p->net.layer_count, p->units.count, prune_inspect_removable(&p->units),
           p->units.count - prune_inspect_removable(&p->units), p->units.member_count);
    printf("%llu parameters, %llu multiply-adds (%.4f BFLOPs), %.2f MB of weights\n", (unsigned long long)p->net.parameters, (unsigned long long)p->net.macs,
           prune_bflops(p->net.macs), prune_inspect_megabytes(p));
    if (p->net.dialects & PRUNE_PJREDDIE) printf("loads in %s\n", p->net.dialects & PRUNE_ALEXEYAB ? "every Darknet" : "pjreddie's Darknet alone");
    else printf("loads in AlexeyAB's and hank-ai's Darknet, not in pjreddie's (line %d: %s)\n", p->net.foreign_line, p->net.foreign);
    if (p->has_weights)
        printf("weights '%s': version %d.%d.%d, seen %llu images, size right, all values finite\n", p->weights.path, (int)p->weights.header.major,
               (int)p->weights.header.minor, (int)p->weights.header.revision, (unsigned long long)p->weights.header.seen);
    return PRUNE_OK;
}

static enum prune_code print_sparsity(const struct prune_project *p, bool json, struct prune_status *st)
{
    struct prune_sparse s = { 0 };
    if (!p->has_weights) return prune_fail_usage(st, "flag '-sparsity' needs weights; name the file behind the cfg");
    enum prune_code rc = prune_sparse_init(&s, &p->net, &p->weights.layout, st);
    if (!rc) rc = prune_sparse_from_zeros(&s, &p->net, &p->weights, st);
    cJSON *table = rc ? NULL : prune_sparse_json(&s, &p->net);
    char *text = json && table ? cJSON_Print(table) : NULL;
    if (!rc && (!table || (json && !text))) rc = prune_fail_memory(st, 0, "the table");
    if (!rc && json) puts(text);
    else if (!rc) prune_table_sparsity(stdout, table);
    cJSON_free(text);
    cJSON_Delete(table);
    prune_sparse_free(&s);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = { { "json", false }, { "protect", true }, { "sparsity", false }, { 0 } };
    struct prune_args a;
    struct prune_project p;
    (void)host;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 1, 2, st);
    if (!rc) rc = prune_project_open(&p, a.positional[0], a.count > 1 ? a.positional[1] : NULL, prune_args_string(&a, "protect", NULL), st);
    if (rc) return rc;
    if (prune_args_has(&a, "sparsity")) {
        rc = print_sparsity(&p, prune_args_has(&a, "json"), st);
        prune_project_close(&p);
        return rc;
    }
    struct prune_blocks blocks = { 0 };
    rc = prune_blocks_find(&blocks, &p.net, st);
    if (!rc) rc = prune_args_has(&a, "json") ? prune_inspect_json(&p, &blocks, st) : print_text(&p, &blocks, st);
    prune_blocks_free(&blocks);
    prune_project_close(&p);
    return rc;
}

const struct prune_command prune_command_inspect = { "inspect", "layers, units, ties and protections of a network", USAGE, run };
