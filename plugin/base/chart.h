/* Charts as SVG: panels in a grid, each with lines, points, bars or boxes, error bars or bands, linear or logarithmic axes, one legend for all.
 * In: numbers and names. Out: one SVG file without script or external parts, text in the viewer's sans-serif. Colours are Okabe and Ito's (told apart by
 * colour-blind readers); every style has a dash pattern and a marker of its own too, so that a black and white print can be read.
 * Written here and not left to a library: Debian's plotting libraries for C pull in windows (libplplot-dev Qt and wxWidgets, libmgl-dev FLTK as well),
 * and gnuplot is a program. A panel without a value is drawn empty and says so. Refused: no panel, and more than PRUNE_CHART_PANELS.
 *
 *     const struct prune_series lines[] = {{.name = "taylor-fo", .x = removed, .y = loss, .count = n, .low = worst, .high = best}};
 *     const struct prune_panel panel = {.x = {.title = "units removed"}, .y = {.title = "loss", .log = true}, .series = lines, .count = 1};
 *     const struct prune_chart chart = {.title = "Removing units one by one", .panels = &panel, .panel_count = 1};
 *     rc = prune_chart_write("curve.svg", &chart, st); */
#ifndef PRUNE_BASE_CHART_H
#define PRUNE_BASE_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

enum { PRUNE_CHART_PANELS = 64, PRUNE_CHART_STYLES = 10 };   /* styles repeat after that many */

enum prune_series_kind {
    PRUNE_SERIES_LINE,      /* with a band between low and high where given */
    PRUNE_SERIES_MARKED,    /* a line with its marker on about a dozen points, and error bars there where low and high are given */
    PRUNE_SERIES_POINTS,    /* scatter */
    PRUNE_SERIES_BARS,      /* from 0 (log: from the bottom) to y, with error bars; several series of bars stand beside each other, at x = 0, 1, 2, ... */
    PRUNE_SERIES_BOX        /* whiskers low..high, box box_low..box_high, line at y (the median); they stand as bars do */
};

/* Everything is borrowed. Points that are NaN, infinite, or not positive on a logarithmic axis are left out, and break a line. */
struct prune_series {
    const char *name;                    /* in the legend; NULL: not there. The same name and style in several panels is one entry */
    enum prune_series_kind kind;
    int style;                           /* 0: its number within the panel; k: as the k-th (from 1) everywhere */
    const double *x, *y; size_t count;
    const double *low, *high;            /* (count) or NULL */
    const double *box_low, *box_high;    /* (count), boxes alone */
    bool faint;                          /* in the background: reference lines */
};

struct prune_axis {
    const char *title;
    bool log;
    double min, max;                     /* min == max: from the data */
    const char *const *names;            /* names for 0, 1, ... name_count - 1 instead of numbers; NULL: numbers */
    size_t name_count;
    bool percent;                        /* fractions written as percent */
};

struct prune_panel {
    const char *title;
    const char *note;                    /* a line or more ('\n') in the panel's upper left corner: a statistic */
    struct prune_axis x, y;
    const struct prune_series *series; size_t count;
};

struct prune_chart {
    const char *title, *subtitle;        /* NULL: none */
    const struct prune_panel *panels; size_t panel_count;
    int columns;                         /* 0: chosen */
    double width, height;                /* of one panel's plot area in pixels; 0: chosen by the number of panels */
};

/* *svg: malloc'd text of *size bytes and a NUL. */
enum prune_code prune_chart_text(const struct prune_chart *chart, char **svg, size_t *size, struct prune_status *st);
enum prune_code prune_chart_write(const char *path, const struct prune_chart *chart, struct prune_status *st);

#endif
