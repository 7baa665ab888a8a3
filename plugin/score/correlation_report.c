/* Results of `correlate`; see correlation_report.h. */
#include "correlation_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/chart.h"
#include "../base/file_io.h"
#include "../base/json_write.h"

/* ---- the figures ---- */

/* Signed estimates predict the change; the oracle is its square. */
static void scores_of(const struct prune_correlation_table *t, size_t column, double *out)
{
    const struct prune_correlation_column *c = &t->columns[column];
    for (size_t i = 0; i < t->row_count; i++) out[i] = c->is_signed ? c->values[i] * c->values[i] : c->values[i];
}

enum prune_code prune_correlation_results_make(struct prune_correlation_results *r, const struct prune_correlation_table *t, size_t rounds, uint64_t seed, struct prune_status *st)
{
    size_t n = t->row_count + 1;
    *r = (struct prune_correlation_results){.of = calloc(t->column_count + 1, sizeof *r->of), .columns = t->column_count, .rounds = rounds, .seed = seed};
    double *score = malloc(n * sizeof *score);
    int *layer = malloc(2 * n * sizeof *layer), *span = layer + n;
    enum prune_code rc = r->of && score && layer ? PRUNE_OK : prune_fail_memory(st, n * sizeof *score, "correlations");
    for (size_t i = 0; !rc && i < t->row_count; i++) {
        layer[i] = t->rows[i].layer;
        span[i] = t->rows[i].span;
        r->has_spanning |= span[i] > 1;
    }
    for (size_t k = 0; !rc && k < t->column_count; k++) {
        scores_of(t, k, score);
        const struct prune_pairs pairs = {score, t->oracle, layer, span, t->row_count};
        for (int set = 0; !rc && set < PRUNE_UNIT_SETS; set++) rc = prune_correlate(&pairs, (enum prune_unit_set)set, rounds, seed, &r->of[k][set], st);
    }
    free(score);
    free(layer);
    if (rc) prune_correlation_results_free(r);
    return rc;
}

void prune_correlation_results_free(struct prune_correlation_results *r)
{
    free(r->of);
    *r = (struct prune_correlation_results){0};
}

static double rank_by(const struct prune_correlation_results *r, size_t column)
{
    double value = r->of[column][PRUNE_UNITS_ALL].all[PRUNE_SPEARMAN].value;
    return isnan(value) ? -2 : value;
}

void prune_correlation_order(const struct prune_correlation_results *r, size_t *order)
{
    for (size_t k = 0; k < r->columns; k++) {   /* insertion: a few criteria, ties stay in their order */
        size_t at = k;
        while (at && rank_by(r, order[at - 1]) < rank_by(r, k)) order[at] = order[at - 1], at--;
        order[at] = k;
    }
}

/* ---- JSON ---- */

static enum prune_code put(void *to, const void *bytes, size_t size, struct prune_status *st) { return prune_writer_put(to, bytes, size, st); }

static void write_file(struct prune_json *j, const char *key, const char *path, const char *hash)
{
    if (!path || !hash[0]) {
        prune_json_null(j, key);
        return;
    }
    prune_json_begin_object(j, key);
    prune_json_string(j, "file", path);
    prune_json_string(j, "hash", hash);
    prune_json_end(j);
}

static void write_side(struct prune_json *j, const char *key, const struct prune_correlation_side *s)
{
    prune_json_begin_object(j, key);
    if (s->file) prune_json_string(j, "file", s->file);
    if (s->set) {
        prune_json_string(j, "data", s->set->data_path);
        prune_json_string(j, "role", s->set->role == PRUNE_DATA_TRAIN ? "train" : "valid");
        prune_json_string(j, "list", s->set->list);
        prune_json_bool(j, "drawn", s->set->drawn);
        prune_json_whole(j, "images", (int64_t)s->images);
        prune_json_number(j, "loss", s->loss);
    }
    prune_json_end(j);
}

static void write_intervals(struct prune_json *j, const char *key, const struct prune_interval *values)
{
    prune_json_begin_object(j, key);
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        prune_json_begin_object(j, PRUNE_COEFFICIENT_NAMES[k]);
        prune_json_number(j, "value", values[k].value);
        prune_json_number(j, "low", values[k].low);
        prune_json_number(j, "high", values[k].high);
        prune_json_end(j);
    }
    prune_json_end(j);
}

static void write_criterion(struct prune_json *j, const struct prune_correlation_column *column, const struct prune_correlations *of)
{
    prune_json_begin_object(j, NULL);
    prune_json_string(j, "criterion", column->name);
    prune_json_bool(j, "signed", column->is_signed);
    for (int set = 0; set < PRUNE_UNIT_SETS; set++) {
        prune_json_begin_object(j, PRUNE_UNIT_SET_NAMES[set]);
        prune_json_whole(j, "units", (int64_t)of[set].units);
        prune_json_whole(j, "layers", (int64_t)of[set].layers);
        prune_json_whole(j, "layers_used", (int64_t)of[set].layers_used);
        write_intervals(j, "per_layer", of[set].per_layer);
        write_intervals(j, "all_layers", of[set].all);
        prune_json_end(j);
    }
    prune_json_end(j);
}

static enum prune_code write_all(struct prune_json *j, const struct prune_correlation_table *t, const struct prune_correlation_results *r, const struct prune_correlation_about *about)
{
    prune_json_begin_object(j, NULL);
    prune_json_string(j, "format", "darknet-prune-correlation");
    prune_json_whole(j, "version", 1);
    if (about->origin) {
        write_file(j, "cfg", about->origin->cfg_path, about->origin->cfg_hash);
        write_file(j, "weights", about->origin->weights_path, about->origin->weights_hash);
        prune_json_string(j, "gate", about->gate);
    }
    write_side(j, "scored", &about->scored);
    write_side(j, "oracle", &about->oracle);
    prune_json_whole(j, "units", (int64_t)t->row_count);
    prune_json_whole(j, "rounds", (int64_t)r->rounds);
    prune_json_whole(j, "seed", (int64_t)r->seed);
    prune_json_begin_array(j, "criteria");
    for (size_t k = 0; k < t->column_count; k++) write_criterion(j, &t->columns[k], r->of[k]);
    prune_json_end(j);
    prune_json_end(j);
    return prune_json_end_text(j);
}

enum prune_code prune_correlation_json(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r,
                                       const struct prune_correlation_about *about, struct prune_status *st)
{
    struct prune_writer *w;
    struct prune_json j;
    enum prune_code rc = prune_writer_open(&w, path, st);
    if (rc) return rc;
    prune_json_start(&j, PRUNE_JSON_ROWS, put, w, st);
    rc = write_all(&j, t, r, about);
    if (!rc) return prune_writer_commit(w, st);
    prune_writer_abort(w);
    return rc;
}

/* ---- charts ---- */

/* The bars of a chart: which figures, in the order of the legend. */
struct bar { const char *name; enum prune_unit_set set; bool per_layer, needs_spanning; };
static const struct bar BARS[] = {{"all units", PRUNE_UNITS_ALL, false, false}, {"units within one layer", PRUNE_UNITS_ONE_LAYER, false, true},
                                  {"units that span layers", PRUNE_UNITS_SPANNING, false, true}, {"mean over layers", PRUNE_UNITS_ALL, true, false}};
enum { BAR_COUNT = sizeof BARS / sizeof *BARS };

static size_t fill_bars(const struct prune_correlation_table *t, const struct prune_correlation_results *r, const size_t *order, const char **names, double *numbers,
                        struct prune_series *series)
{
    size_t n = r->columns, count = 0;
    for (size_t i = 0; i < n; i++) names[i] = t->columns[order[i]].name;
    for (int b = 0; b < BAR_COUNT; b++) {
        if (BARS[b].needs_spanning && !r->has_spanning) continue;
        double *x = numbers + 4 * n * count, *y = x + n, *low = y + n, *high = low + n;
        for (size_t i = 0; i < n; i++) {
            const struct prune_correlations *c = &r->of[order[i]][BARS[b].set];
            const struct prune_interval *v = &(BARS[b].per_layer ? c->per_layer : c->all)[PRUNE_SPEARMAN];
            x[i] = (double)i, y[i] = v->value, low[i] = v->low, high[i] = v->high;
        }
        series[count++] = (struct prune_series){.name = BARS[b].name, .kind = PRUNE_SERIES_BARS, .style = b + 1, .x = x, .y = y, .low = low, .high = high, .count = n};
    }
    return count;
}

static double lowest(const struct prune_series *series, size_t count)
{
    double low = 0;
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < series[k].count; i++) low = fmin(low, isnan(series[k].low[i]) ? series[k].y[i] : series[k].low[i]);
    return floor(low * 5) / 5;
}

enum prune_code prune_correlation_bars(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r, struct prune_status *st)
{
    size_t n = r->columns;
    double *numbers = malloc((4 * n * BAR_COUNT + 1) * sizeof *numbers);
    size_t *order = malloc((n + 1) * sizeof *order);
    const char **names = malloc((n + 1) * sizeof *names);
    struct prune_series series[BAR_COUNT];
    char subtitle[160];
    enum prune_code rc = numbers && order && names ? PRUNE_OK : prune_fail_memory(st, 4 * n * BAR_COUNT * sizeof *numbers, "chart");
    if (!rc) {
        prune_correlation_order(r, order);
        size_t count = fill_bars(t, r, order, names, numbers, series);
        const struct prune_panel panel = {.x = {.names = names, .name_count = n}, .y = {.title = "Spearman's rank correlation", .min = lowest(series, count), .max = 1},
                                          .series = series, .count = count};
        snprintf(subtitle, sizeof subtitle, "%zu units; oracle: squared change of the loss when a unit is removed%s", t->row_count, r->rounds ? "; 95% bootstrap intervals" : "");
        const struct prune_chart chart = {.title = "How well scores predict the oracle", .subtitle = subtitle, .panels = &panel, .panel_count = 1,
                                          .width = fmax(600, 62 * (double)n), .height = 360};
        rc = prune_chart_write(path, &chart, st);
    }
    free(numbers);
    free(order);
    free(names);
    return rc;
}

/* The points of one panel; both series have room for all rows. */
struct cloud { double *x[2], *y[2]; struct prune_series series[2]; char note[96]; };

static void fill_cloud(struct cloud *c, const struct prune_correlation_table *t, const struct prune_correlation_results *r, size_t column, double *numbers)
{
    size_t n = t->row_count, count[2] = {0}, zero = 0;
    double *score = numbers;
    scores_of(t, column, score);
    for (int k = 0; k < 2; k++) c->x[k] = numbers + n * (size_t)(1 + 2 * k), c->y[k] = c->x[k] + n;
    for (size_t i = 0; i < n; i++) {
        int k = t->rows[i].span > 1;
        zero += !(score[i] > 0) || !(t->oracle[i] > 0);
        c->x[k][count[k]] = score[i];
        c->y[k][count[k]++] = t->oracle[i];
    }
    for (int k = 0; k < 2; k++)
        c->series[k] = (struct prune_series){.name = !r->has_spanning ? NULL : k ? "units that span layers" : "units within one layer", .kind = PRUNE_SERIES_POINTS, .style = k + 1,
                                             .x = c->x[k], .y = c->y[k], .count = count[k]};
    double spearman = r->of[column][PRUNE_UNITS_ALL].all[PRUNE_SPEARMAN].value;
    int length = isnan(spearman) ? snprintf(c->note, sizeof c->note, "Spearman not defined") : snprintf(c->note, sizeof c->note, "Spearman %.3f", spearman);
    if (zero) snprintf(c->note + length, sizeof c->note - (size_t)length, "\n%zu not shown (0)", zero);
}

static enum prune_code draw_clouds(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r, const size_t *order, struct cloud *clouds,
                                   struct prune_panel *panels, double *numbers, struct prune_status *st)
{
    size_t n = r->columns < PRUNE_CHART_PANELS ? r->columns : PRUNE_CHART_PANELS;
    char subtitle[160];
    for (size_t i = 0; i < n; i++) {
        size_t column = order[i];
        fill_cloud(&clouds[i], t, r, column, numbers + i * 5 * t->row_count);
        panels[i] = (struct prune_panel){.title = t->columns[column].name, .note = clouds[i].note, .x = {.title = t->columns[column].is_signed ? "score squared" : "score", .log = true},
                                         .y = {.title = "oracle", .log = true}, .series = clouds[i].series, .count = r->has_spanning ? 2 : 1};
    }
    snprintf(subtitle, sizeof subtitle, "%zu units; oracle: squared change of the loss when a unit is removed", t->row_count);
    const struct prune_chart chart = {.title = "The oracle against scores", .subtitle = subtitle, .panels = panels, .panel_count = n};
    return prune_chart_write(path, &chart, st);
}

enum prune_code prune_correlation_scatter(const char *path, const struct prune_correlation_table *t, const struct prune_correlation_results *r, struct prune_status *st)
{
    size_t n = r->columns;
    double *numbers = malloc((n * 5 * t->row_count + 1) * sizeof *numbers);
    struct cloud *clouds = malloc((n + 1) * sizeof *clouds);
    struct prune_panel *panels = malloc((n + 1) * sizeof *panels);
    size_t *order = malloc((n + 1) * sizeof *order);
    enum prune_code rc = numbers && clouds && panels && order ? PRUNE_OK : prune_fail_memory(st, n * 5 * t->row_count * sizeof *numbers, "chart");
    if (!rc) {
        prune_correlation_order(r, order);
        rc = draw_clouds(path, t, r, order, clouds, panels, numbers, st);
    }
    free(numbers);
    free(clouds);
    free(panels);
    free(order);
    return rc;
}
