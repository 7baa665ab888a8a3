/* The tables of `correlate` on the terminal. */
#include "correlate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL = 15 };

static const char *const TITLES[PRUNE_UNIT_SETS] = {"units within one layer", "all units, those that span layers included", "units that span layers alone"};

static void print_values(const struct prune_interval *v)
{
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        if (isnan(v[k].value)) printf("%*s", CELL, "-");
        else printf("%*.3f", CELL, v[k].value);
    }
}

static void print_intervals(const struct prune_interval *v)
{
    char text[32];
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        snprintf(text, sizeof text, "[%.2f, %.2f]", v[k].low, v[k].high);
        printf("%*s", CELL, isnan(v[k].low) ? "" : text);
    }
}

static int name_width(const struct prune_correlation_table *t)
{
    size_t width = strlen("  (squared)");
    for (size_t k = 0; k < t->column_count; k++)
        if (strlen(t->columns[k].name) > width) width = strlen(t->columns[k].name);
    return (int)width;
}

static bool same_layers(const struct prune_correlation_results *r, int set)
{
    for (size_t k = 1; k < r->columns; k++)
        if (r->of[k][set].layers_used != r->of[0][set].layers_used) return false;
    return true;
}

/* Which layers an average leaves out: once for all criteria, or a line for each that differs. */
static void print_left_out(const struct prune_correlation_table *t, const struct prune_correlation_results *r, int set)
{
    bool same = same_layers(r, set);
    for (size_t k = 0; k < (same ? 1 : r->columns); k++) {
        const struct prune_correlations *c = &r->of[k][set];
        if (c->layers_used < c->layers)
            printf("%s%s%zu of %zu layers are in no average: fewer than %d units, or all alike\n", same ? "" : t->columns[k].name, same ? "" : ": ", c->layers - c->layers_used, c->layers,
                   PRUNE_LAYER_UNITS);
    }
}

static void print_set(const struct prune_correlation_table *t, const struct prune_correlation_results *r, int set)
{
    const struct prune_correlations *first = &r->of[0][set];
    int name = name_width(t);
    printf("\n%s: %zu in %zu layer%s\n", r->has_spanning ? TITLES[set] : "all units", first->units, first->layers, first->layers == 1 ? "" : "s");
    printf("%-*s%*s  |%*s\n", name, "", 3 * CELL, "averaged per layer", 3 * CELL, "all layers");
    printf("%-*s%*s%*s%*s  |%*s%*s%*s\n", name, "criterion", CELL, "Pearson", CELL, "Spearman", CELL, "Kendall", CELL, "Pearson", CELL, "Spearman", CELL, "Kendall");
    for (size_t i = 0; i < r->columns; i++) {
        const struct prune_correlations *c = &r->of[i][set];
        printf("%-*s", name, t->columns[i].name);
        print_values(c->per_layer);
        printf("  |");
        print_values(c->all);
        printf("\n");
        if (!r->rounds) continue;
        printf("%-*s", name, t->columns[i].is_signed ? "  (squared)" : "");
        print_intervals(c->per_layer);
        printf("  |");
        print_intervals(c->all);
        printf("\n");
    }
    print_left_out(t, r, set);
}

void prune_correlate_print(const struct prune_correlation_table *t, const struct prune_correlation_results *r)
{
    for (int set = 0; set < PRUNE_UNIT_SETS; set++)
        if (r->has_spanning || set == PRUNE_UNITS_ALL) print_set(t, r, set);
    if (r->rounds) printf("\nin brackets: 95%% bootstrap intervals, %zu rounds, seed %llu\n", r->rounds, (unsigned long long)r->seed);
}
