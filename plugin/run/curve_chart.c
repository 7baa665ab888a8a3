/* The chart of a set of curves: what was measured against units and against multiply-adds that are gone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/chart.h"
#include "../base/file_io.h"
#include "curve_file.h"

enum x_kind { BY_UNITS, BY_MACS, X_KINDS };
static const struct { const char *title; bool percent; } X[X_KINDS] = {{"units removed", false}, {"multiply-adds removed", true}};
/* One row of panels each; those that nobody measured are left out. */
static const struct { enum prune_curve_value value; const char *title; bool percent; } Y[] = {
    {PRUNE_CURVE_LOSS, "loss, scored images", false},
    {PRUNE_CURVE_EVAL_LOSS, "loss, evaluation images", false},
    {PRUNE_CURVE_ACCURACY, NULL, true},
    {PRUNE_CURVE_RECAL_ACCURACY, NULL, true},
};
enum { Y_KINDS = sizeof Y / sizeof *Y };

struct drawing {
    const struct prune_curves *set;
    double *numbers; size_t used;    /* pool: x, y, low and high of every series */
    char **names;                    /* [group] */
    struct prune_series *series;     /* [panel][group] */
    struct prune_panel panels[Y_KINDS * X_KINDS];
    char *titles[Y_KINDS];
    size_t groups, longest, panel_count;
};

static double x_of(const struct prune_curve *c, size_t k, enum x_kind kind)
{
    double whole = (double)c->rows[0].cost.macs;
    if (kind == BY_UNITS) return (double)c->rows[k].removed;
    return whole > 0 ? 1 - (double)c->rows[k].cost.macs / whole : 0;
}

/* Point k of the group that curve `lead` leads: false where one of its curves has no such row or value. */
static bool point(const struct drawing *d, size_t lead, size_t k, enum x_kind kind, enum prune_curve_value v, double out[4])
{
    size_t n = 0;
    out[0] = out[1] = 0;
    out[2] = INFINITY;
    out[3] = -INFINITY;
    for (size_t i = lead; i < d->set->count; i++) {
        const struct prune_curve *c = &d->set->items[i];
        if (!prune_curves_same_group(c, &d->set->items[lead])) continue;
        if (k >= c->count || isnan(c->rows[k].values[v])) return false;
        double y = c->rows[k].values[v];
        out[0] += x_of(c, k, kind);
        out[1] += y;
        out[2] = fmin(out[2], y);
        out[3] = fmax(out[3], y);
        n++;
    }
    out[0] /= (double)n;
    out[1] /= (double)n;
    return true;
}

static struct prune_series make_series(struct drawing *d, size_t lead, size_t group, enum x_kind kind, enum prune_curve_value v)
{
    double *x = d->numbers + d->used, *y = x + d->longest, *low = y + d->longest, *high = low + d->longest, p[4];
    struct prune_series s = {.name = d->names[group], .kind = PRUNE_SERIES_LINE, .style = (int)group + 1, .x = x, .y = y};
    bool several = false;
    d->used += 4 * d->longest;
    for (size_t k = 0; k < d->longest; k++) {
        if (!point(d, lead, k, kind, v, p)) continue;
        x[s.count] = p[0];
        y[s.count] = p[1];
        low[s.count] = p[2];
        high[s.count++] = p[3];
        several |= p[3] > p[2];
    }
    if (several) {
        s.low = low;
        s.high = high;
    }
    return s;
}

/* A loss that grows a hundredfold is read on a logarithmic axis. */
static bool wide(const struct prune_panel *p)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < p->count; i++)
        for (size_t k = 0; k < p->series[i].count; k++) {
            low = fmin(low, p->series[i].y[k]);
            high = fmax(high, p->series[i].y[k]);
        }
    return low > 0 && isfinite(high) && high > 100 * low;
}

static void add_panel(struct drawing *d, size_t y, enum x_kind kind)
{
    struct prune_series *series = d->series + d->panel_count * d->groups;
    struct prune_panel p = {.x = {.title = X[kind].title, .percent = X[kind].percent}, .y = {.title = d->titles[y], .percent = Y[y].percent}, .series = series, .count = d->groups};
    size_t group = 0;
    bool any = false;
    for (size_t i = 0; i < d->set->count; i++) {
        if (!prune_curves_leads(d->set, i)) continue;
        series[group] = make_series(d, i, group, kind, Y[y].value);
        any |= series[group++].count > 0;
    }
    if (!any) return;
    p.y.log = !Y[y].percent && wide(&p);
    d->panels[d->panel_count++] = p;
}

static enum prune_code prepare(struct drawing *d, struct prune_status *st)
{
    const struct prune_curves *set = d->set;
    d->names = calloc(set->count + 1, sizeof *d->names);
    bool full = d->names != NULL;
    for (size_t i = 0; full && i < set->count; i++) {
        const struct prune_curve *c = &set->items[i];
        if (c->count > d->longest) d->longest = c->count;
        if (!prune_curves_leads(set, i)) continue;
        struct prune_curve_ranking r;
        bool changes = prune_curve_ranking(c->criterion, &r) && prune_curve_needs_images(&r);
        d->names[d->groups] = prune_format("%s%s", c->criterion, c->recomputed || !changes ? "" : " (fixed)");
        full = d->names[d->groups++] != NULL;
    }
    for (size_t y = 0; full && y < Y_KINDS; y++) {
        bool recalibrated = Y[y].value == PRUNE_CURVE_RECAL_ACCURACY;
        d->titles[y] = Y[y].title ? prune_format("%s", Y[y].title) : prune_format("%s%s", set->accuracy, recalibrated ? ", recalibrated" : "");
        full = d->titles[y] != NULL;
    }
    size_t panels = Y_KINDS * X_KINDS;
    d->series = full ? calloc(panels * d->groups + 1, sizeof *d->series) : NULL;
    d->numbers = full ? calloc(panels * d->groups * 4 * d->longest + 1, sizeof *d->numbers) : NULL;
    return d->series && d->numbers ? PRUNE_OK : prune_fail_memory(st, panels * d->groups * d->longest * sizeof *d->numbers, "the chart");
}

static void drawing_free(struct drawing *d)
{
    for (size_t i = 0; d->names && i < d->groups; i++) free(d->names[i]);
    for (size_t y = 0; y < Y_KINDS; y++) free(d->titles[y]);
    free(d->names);
    free(d->series);
    free(d->numbers);
}

enum prune_code prune_curves_write_svg(const struct prune_curves *set, const char *path, struct prune_status *st)
{
    struct drawing d = {.set = set};
    enum prune_code rc = prepare(&d, st);
    for (size_t y = 0; !rc && y < Y_KINDS; y++)
        for (enum x_kind kind = 0; kind < X_KINDS; kind++) add_panel(&d, y, kind);
    const struct prune_chart chart = {.title = "Removing units without fine-tuning", .subtitle = set->origin->cfg_path, .panels = d.panels, .panel_count = d.panel_count, .columns = X_KINDS};
    if (!rc && d.panel_count) rc = prune_chart_write(path, &chart, st);
    drawing_free(&d);
    return rc;
}
