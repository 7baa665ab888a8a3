/* Units: classes of the channel graph become numbered units with members, gate sites, reasons and constraints; see units.h. */
#include "units_private.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "balance.h"

static struct prune_units_private *own(const struct prune_units *units)
{
    return units->owned;
}

/* Numbers the classes by their first member; number[root] = unit or -1. */
static enum prune_code number_classes(struct prune_units *units, struct prune_graph *g, int *number, struct prune_status *st)
{
    size_t makers = 0;
    for (size_t e = 0; e < g->element_count; e++) {
        number[e] = -1;
        makers += !g->elements[e].fixed;
    }
    units->items = calloc(makers + 1, sizeof *units->items);
    units->members = malloc((makers + 1) * sizeof *units->members);
    if (!units->items || !units->members) return prune_fail_memory(st, makers * sizeof *units->items, "units");
    for (size_t e = 0; e < g->element_count; e++) {
        if (g->elements[e].fixed) continue;
        int r = prune_union_root(g->parent, (int)e);
        if (number[r] < 0) {
            number[r] = (int)units->count++;
            units->items[number[r]].protected_because = g->reason[r];
        }
        units->items[number[r]].member_count++;
    }
    for (size_t u = 0; u < units->count; u++) {
        units->items[u].first_member = units->member_count;
        units->member_count += units->items[u].member_count;
        units->items[u].member_count = 0;
    }
    for (size_t e = 0; e < g->element_count; e++) {
        if (g->elements[e].fixed) continue;
        struct prune_unit *u = &units->items[number[prune_union_root(g->parent, (int)e)]];
        units->members[u->first_member + u->member_count++] = (struct prune_channel){ g->elements[e].layer, g->elements[e].channel };
    }
    return PRUNE_OK;
}

static enum prune_code fill_channels(struct prune_units *units, struct prune_graph *g, const int *number, struct prune_status *st)
{
    struct prune_units_private *p = own(units);
    units->of_channel = calloc(units->layer_count + 1, sizeof *units->of_channel);
    p->input_count = g->input_count;
    p->input = malloc((p->input_count + 1) * sizeof *p->input);
    if (!units->of_channel || !p->input) return prune_fail_memory(st, p->input_count * sizeof *p->input, "units of channels");
    for (size_t i = 0; i < p->input_count; i++) p->input[i] = -1;
    for (size_t l = 0; l < units->layer_count; l++) {
        int *v = units->of_channel[l] = malloc((g->out_count[l] + 1) * sizeof *v);
        if (!v) return prune_fail_memory(st, g->out_count[l] * sizeof *v, "units of channels");
        for (size_t i = 0; i < g->out_count[l]; i++) v[i] = number[prune_union_root(g->parent, g->out[l][i])];
    }
    /* take over what the graph owns; balances change from elements to units */
    for (size_t b = 0; b < g->balance_count; b++)
        for (size_t i = 0; i < g->balances[b].parts * g->balances[b].part_size; i++)
            g->balances[b].units[i] = number[prune_union_root(g->parent, g->balances[b].units[i])];
    units->balances = g->balances;
    units->balance_count = g->balance_count;
    units->ties = g->ties;
    units->tie_count = g->tie_count;
    p->texts = g->texts;
    p->text_count = g->text_count;
    g->balances = NULL;
    g->ties = NULL;
    g->texts = NULL;
    g->balance_count = g->tie_count = g->text_count = 0;
    p->first_balance = calloc(units->layer_count + 2, sizeof *p->first_balance);
    if (!p->first_balance) return prune_fail_memory(st, units->layer_count * sizeof *p->first_balance, "balance constraints");
    for (size_t b = 0; b < units->balance_count; b++) p->first_balance[units->balances[b].layer + 1]++;
    for (size_t l = 0; l < units->layer_count; l++) p->first_balance[l + 1] += p->first_balance[l];
    return PRUNE_OK;
}

/* "balanced parts of layers 3 and 7 cannot be paired" */
static const char *unpaired_text(struct prune_units *units, const struct prune_cells *cells, int component)
{
    char list[256] = "";
    for (size_t b = 0; b < units->balance_count; b++) {
        const struct prune_balance *c = &units->balances[b];
        int unit = -1;
        for (size_t i = 0; unit < 0 && i < c->parts * c->part_size; i++) unit = c->units[i];
        if (unit < 0 || cells->component_of_cell[cells->cell_of_unit[unit]] != component) continue;
        char one[24];
        snprintf(one, sizeof one, "%s%d", *list ? ", " : "", c->layer);
        if (strlen(list) + strlen(one) < sizeof list && (b == 0 || units->balances[b - 1].layer != c->layer || !*list)) strcat(list, one);
    }
    return prune_keep_text(&own(units)->texts, &own(units)->text_count, prune_format("balanced parts of layer%s %s cannot be paired", strchr(list, ',') ? "s" : "", list));
}

/* Units whose constraints no set of removals keeps are protected. */
static enum prune_code protect_unpaired(struct prune_units *units, struct prune_status *st)
{
    if (!units->balance_count) return PRUNE_OK;
    uint8_t *usable = malloc(units->count + 1);
    if (!usable) return prune_fail_memory(st, units->count, "units");
    for (size_t u = 0; u < units->count; u++) usable[u] = !units->items[u].protected_because;
    struct prune_cells cells;
    enum prune_code rc = prune_cells_build(&cells, units, usable, st);
    free(usable);
    if (rc) return rc;
    const char **text = calloc(cells.component_count + 1, sizeof *text);
    if (!text) rc = prune_fail_memory(st, cells.component_count * sizeof *text, "units");
    for (size_t u = 0; !rc && u < units->count; u++) {
        int c = cells.cell_of_unit[u];
        if (c < 0 || cells.recipe[c] > 0 || units->items[u].protected_because) continue;
        int k = cells.component_of_cell[c];
        if (!text[k]) text[k] = unpaired_text(units, &cells, k);
        if (!text[k]) rc = prune_fail_memory(st, 64, "reason of a protection");
        units->items[u].protected_because = text[k];
    }
    free(text);
    prune_cells_free(&cells);
    return rc;
}

enum prune_code prune_units_build(struct prune_units *units, const struct prune_net *net, struct prune_status *st)
{
    memset(units, 0, sizeof *units);
    struct prune_graph g;
    enum prune_code rc = prune_graph_build(&g, net, st);
    if (rc) return rc;
    units->layer_count = net->layer_count;
    units->owned = calloc(1, sizeof(struct prune_units_private));
    int *number = malloc((g.element_count + 1) * sizeof *number);
    if (!units->owned || !number) rc = prune_fail_memory(st, g.element_count * sizeof *number, "units");
    if (!rc) rc = number_classes(units, &g, number, st);
    if (!rc) rc = fill_channels(units, &g, number, st);
    if (!rc) rc = protect_unpaired(units, st);
    if (!rc) rc = prune_sites_build(units, &g, st);
    free(number);
    prune_graph_free(&g);                /* before the costs: a million channels hold 30 MB there */
    if (!rc) rc = prune_costs_build(units, net, st);
    if (rc) prune_units_free(units);
    return rc;
}

void prune_units_free(struct prune_units *units)
{
    struct prune_units_private *p = own(units);
    for (size_t l = 0; units->of_channel && l < units->layer_count; l++) free(units->of_channel[l]);
    for (size_t b = 0; b < units->balance_count; b++) free(units->balances[b].units);
    for (size_t t = 0; p && t < p->text_count; t++) free(p->texts[t]);
    if (p) {
        free(p->texts);
        free(p->input);
        free(p->first_balance);
        free(p->rows);
        free(p->touches);
        free(p->first_touch);
    }
    free(p);
    free(units->items);
    free(units->members);
    free(units->sites);
    free(units->of_channel);
    free(units->balances);
    free(units->ties);
    memset(units, 0, sizeof *units);
}

const char PRUNE_PROTECTED_BY_USER[] = "protected by the user (-protect)";

void prune_units_protect_layer(struct prune_units *units, const struct prune_net *net, int layer)
{
    for (int i = 0; i < net->layers[layer].out_c; i++) {
        int u = units->of_channel[layer][i];
        if (u >= 0 && !units->items[u].protected_because) units->items[u].protected_because = PRUNE_PROTECTED_BY_USER;
    }
}

void prune_units_protect_spanning(struct prune_units *units)
{
    for (size_t u = 0; u < units->count; u++) {
        struct prune_unit *unit = &units->items[u];
        const struct prune_channel *m = &units->members[unit->first_member];   /* ordered by layer */
        if (!unit->protected_because && m[0].layer != m[unit->member_count - 1].layer) unit->protected_because = "it has channels in several layers (-no-spanning)";
    }
}

/* One number of a range list; *text moves on. */
static bool number(const char **text, long *value)
{
    if (**text < '0' || **text > '9') return false;
    char *end;
    *value = strtol(*text, &end, 10);
    *text = end;
    return *value <= INT_MAX;
}

enum prune_code prune_units_named(const struct prune_net *net, const char *ranges, uint8_t *named, struct prune_status *st)
{
    for (const char *t = ranges;;) {
        long a = 0, b = 0;
        bool good = number(&t, &a);
        b = a;
        if (good && *t == '-') {
            t++;
            good = number(&t, &b);
        }
        if (!good || b < a || (*t && *t != ','))
            return prune_fail_usage(st, "-protect '%s' is not a list of layers; write it as 0,81-83", ranges);
        if ((size_t)b >= net->layer_count)
            return prune_fail_usage(st, "-protect '%s' names layer %ld, the network has layers 0 to %zu", ranges, b, net->layer_count - 1);
        for (long l = a; l <= b; l++) named[l] = 1;
        if (!*t) return PRUNE_OK;
        t++;
    }
}

enum prune_code prune_units_protect(struct prune_units *units, const struct prune_net *net, const char *ranges, struct prune_status *st)
{
    uint8_t *named = calloc(net->layer_count + 1, 1);
    if (!named) return prune_fail_memory(st, net->layer_count, "protected layers");
    enum prune_code rc = prune_units_named(net, ranges, named, st);
    for (size_t l = 0; !rc && l < net->layer_count; l++)     /* nothing is protected unless the whole list is good */
        if (named[l]) prune_units_protect_layer(units, net, (int)l);
    free(named);
    return rc;
}

const int *prune_units_read(const struct prune_units *units, const struct prune_net *net, int layer, size_t *count, size_t *area)
{
    const struct prune_layer *l = &net->layers[layer];
    *count = 0;
    *area = 1;
    if (!l->source_count) return NULL;
    int s = l->sources[0];
    *count = s < 0 ? own(units)->input_count : (size_t)net->layers[s].out_c;
    size_t flat = (size_t)(s < 0 ? net->inputs : net->layers[s].outputs);
    if (*count && l->kind == PRUNE_CONNECTED) *area = flat / *count;
    return s < 0 ? own(units)->input : units->of_channel[s];
}

/* Units of a route's sources, or of their slices. */
static void read_slices(const struct prune_units *units, const struct prune_net *net, const struct prune_layer *l, int *to)
{
    for (size_t k = 0; k < l->source_count; k++) {
        const struct prune_layer *s = &net->layers[l->sources[k]];
        size_t slice = (size_t)s->out_c / (size_t)l->groups;
        memcpy(to, units->of_channel[s->index] + slice * (size_t)l->group_id, slice * sizeof *to);
        to += slice;
    }
}

enum prune_code prune_units_of_input(const struct prune_units *units, const struct prune_net *net, int layer, int **out, size_t *count, size_t *area, struct prune_status *st)
{
    const struct prune_layer *l = &net->layers[layer];
    size_t total = 0, a = 1;
    bool concat = prune_kind_info(l->kind)->rule == PRUNE_CH_CONCAT;
    const int *first = concat ? NULL : prune_units_read(units, net, layer, &total, &a);
    for (size_t k = 0; concat && k < l->source_count; k++) total += (size_t)net->layers[l->sources[k]].out_c / (size_t)l->groups;
    int *v = malloc((total + 1) * sizeof *v);
    if (!v) return prune_fail_memory(st, total * sizeof *v, "units of an input");
    if (concat) read_slices(units, net, l, v);
    else if (total) memcpy(v, first, total * sizeof *v);
    *out = v;
    *count = total;
    *area = a;
    return PRUNE_OK;
}
