/* `correlate -ranks`: boxplots of the ranks of units per layer (the paper's Figure 5), of one score file or of two, before and after pruning.
 * A rank is a share of the network's removable units: 0% nothing matters less, 100% nothing matters more. */
#include "correlate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/chart.h"
#include "../score/criteria.h"
#include "../score/statistics.h"

enum { LOWEST, QUARTER, MEDIAN, THREE_QUARTERS, HIGHEST, BOX_NUMBERS };
static const double SHARES[BOX_NUMBERS] = {0, 0.25, 0.5, 0.75, 1};

/* Boxes of one network, one per layer that has a unit's first producer, in the order of layers. */
struct ranking {
    const char *cfg, *scores;
    int *layer; size_t *units; double *box[BOX_NUMBERS], *x; size_t count;   /* (layers) */
    char (*labels)[12]; const char **names;
};

static void ranking_free(struct ranking *r)
{
    for (int k = 0; k < BOX_NUMBERS; k++) free(r->box[k]);
    free(r->layer);
    free(r->units);
    free(r->x);
    free(r->labels);
    free(r->names);
}

static enum prune_code ranking_make(struct ranking *r, size_t layers, struct prune_status *st)
{
    size_t n = layers + 1;
    r->layer = calloc(n, sizeof *r->layer);
    r->units = calloc(n, sizeof *r->units);
    r->x = calloc(n, sizeof *r->x);
    r->labels = calloc(n, sizeof *r->labels);
    r->names = calloc(n, sizeof *r->names);
    bool made = r->layer && r->units && r->x && r->labels && r->names;
    for (int k = 0; k < BOX_NUMBERS; k++) made = (r->box[k] = calloc(n, sizeof(double))) && made;
    return made ? PRUNE_OK : prune_fail_memory(st, n * 100, "ranks");
}

/* Units are in the order of their first producer, so that a layer's ranks are a stretch of the list. */
static void fill_boxes(struct ranking *r, const int *layer, double *rank, size_t n)
{
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first; end < n && layer[end] == layer[first];) end++;
        size_t at = r->count++;
        r->layer[at] = layer[first];
        r->units[at] = end - first;
        r->x[at] = (double)at;
        snprintf(r->labels[at], sizeof r->labels[at], "%d", layer[first]);
        r->names[at] = r->labels[at];
        for (int k = 0; k < BOX_NUMBERS; k++) r->box[k][at] = prune_quantile(rank + first, end - first, SHARES[k]);
    }
}

static enum prune_code rank_units(struct ranking *r, const struct prune_units *units, const double *scores, struct prune_status *st)
{
    size_t n = 0;
    double *score = malloc((units->count + 1) * sizeof *score), *rank = malloc((units->count + 1) * sizeof *rank);
    int *layer = malloc((units->count + 1) * sizeof *layer);
    enum prune_code rc = score && rank && layer ? PRUNE_OK : prune_fail_memory(st, units->count * sizeof *score, "ranks");
    for (size_t u = 0; !rc && u < units->count; u++) {
        if (units->items[u].protected_because) continue;
        layer[n] = units->members[units->items[u].first_member].layer;
        score[n++] = scores[u];
    }
    if (!rc && !n) rc = prune_fail(st, "no unit of '%s' can be removed, so none has a rank", r->cfg);
    if (!rc) rc = ranking_make(r, n, st);
    if (!rc && !prune_ranks(score, n, rank)) rc = prune_fail_memory(st, n * sizeof *rank, "ranks");
    for (size_t i = 0; !rc && i < n; i++) rank[i] = n > 1 ? (rank[i] - 1) / (double)(n - 1) : 0.5;
    if (!rc) fill_boxes(r, layer, rank, n);
    free(score);
    free(rank);
    free(layer);
    return rc;
}

static enum prune_code read_ranking(struct ranking *r, const char *protect, struct prune_status *st)
{
    struct prune_project p = {0};
    enum prune_code rc = prune_project_open(&p, r->cfg, NULL, protect, st);
    if (rc) return rc;
    double *scores = malloc((p.units.count + 1) * sizeof *scores);
    if (!scores) rc = prune_fail_memory(st, p.units.count * sizeof *scores, "scores");
    if (!rc) rc = prune_scores_read(r->scores, &p.units, &p.origin, scores, st);
    if (!rc) rc = rank_units(r, &p.units, scores, st);
    free(scores);
    prune_project_close(&p);
    return rc;
}

/* false: out of memory */
static bool put_csv(FILE *f, const struct ranking *r, size_t count)
{
    bool done = fputs("scores,layer,units,lowest,quarter,median,three_quarters,highest\n", f) >= 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t l = 0; done && l < r[i].count; l++) {
            done = fprintf(f, "%zu,%d,%zu", i + 1, r[i].layer[l], r[i].units[l]) > 0;
            for (int k = 0; done && k < BOX_NUMBERS; k++) done = fprintf(f, ",%.17g", r[i].box[k][l]) > 0;
            done = done && fputc('\n', f) != EOF;
        }
    }
    return done;
}

static enum prune_code write_csv(const char *path, const struct ranking *r, size_t count, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return prune_fail_memory(st, 0, "CSV");
    bool done = put_csv(f, r, count);
    if (fclose(f) || !text || !size) done = false;
    enum prune_code rc = done ? prune_write_file(path, text, size, st) : prune_fail_memory(st, size, "CSV");
    free(text);
    return rc;
}

static enum prune_code draw(const char *path, const struct ranking *r, size_t count, struct prune_status *st)
{
    struct prune_series series[2];
    struct prune_panel panels[2];
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        series[i] = (struct prune_series){.kind = PRUNE_SERIES_BOX, .style = 1, .x = r[i].x, .y = r[i].box[MEDIAN], .low = r[i].box[LOWEST], .high = r[i].box[HIGHEST],
                                          .box_low = r[i].box[QUARTER], .box_high = r[i].box[THREE_QUARTERS], .count = r[i].count};
        panels[i] = (struct prune_panel){.title = count == 1 ? NULL : i ? "after" : "before", .x = {.title = "layer of the cfg", .names = r[i].names, .name_count = r[i].count},
                                         .y = {.title = "rank among all units", .percent = true, .min = -0.03, .max = 1.03}, .series = &series[i], .count = 1};
        if (r[i].count > most) most = r[i].count;
    }
    const struct prune_chart chart = {.title = "Ranks of units per layer", .subtitle = "box: quartiles and median, whiskers: lowest and highest; 100%: no unit matters more", .panels = panels,
                                      .panel_count = count, .columns = 1, .width = most * 20 > 600 ? (double)most * 20 : 600, .height = 260};
    return prune_chart_write(path, &chart, st);
}

static void print_ranks(const struct ranking *r, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%s%s (%s), ranks in percent\n%8s%8s%10s%10s%10s%10s%10s\n", i ? "\n" : "", r[i].scores, r[i].cfg, "layer", "units", "lowest", "quarter", "median", "3 quarters", "highest");
        for (size_t l = 0; l < r[i].count; l++) {
            printf("%8d%8zu", r[i].layer[l], r[i].units[l]);
            for (int k = 0; k < BOX_NUMBERS; k++) printf("%10.1f", 100 * r[i].box[k][l]);
            putchar('\n');
        }
    }
}

enum prune_code prune_correlate_ranks(const struct prune_args *a, const char *base, struct prune_status *st)
{
    struct ranking r[2] = {{0}};
    size_t count = (size_t)a->count / 2;
    char *csv = NULL, *svg = NULL;
    enum prune_code rc = prune_correlate_path(base, ".csv", a->positional, (size_t)a->count, &csv, st);
    if (!rc) rc = prune_correlate_path(base, ".svg", a->positional, (size_t)a->count, &svg, st);
    for (size_t i = 0; !rc && i < count; i++) {
        r[i].cfg = a->positional[2 * i];
        r[i].scores = a->positional[2 * i + 1];
        rc = read_ranking(&r[i], prune_args_string(a, "protect", NULL), st);
    }
    if (!rc) rc = write_csv(csv, r, count, st);
    if (!rc) rc = draw(svg, r, count, st);
    if (!rc) print_ranks(r, count);
    if (!rc) printf("saved %s.csv and %s.svg\n", base, base);
    for (size_t i = 0; i < count; i++) ranking_free(&r[i]);
    free(csv);
    free(svg);
    return rc;
}
