/* Between the files of the chart writer: chart.c (layout, legend), chart_axes.c (scales, ticks, frames), chart_marks.c (series). */
#ifndef PRUNE_BASE_CHART_PARTS_H
#define PRUNE_BASE_CHART_PARTS_H

#include <stdio.h>

#include "chart.h"

enum { PRUNE_FONT = 12, PRUNE_TICK_ROOM = 24 };

struct prune_canvas { FILE *out; bool failed; };   /* a stream in memory that could not grow does not set its error flag: every call is looked at */
void prune_draw(struct prune_canvas *c, const char *format, ...) PRUNE_PRINTF(2, 3);
/* Text with its attributes (NULL: none), made safe for XML. */
void prune_draw_text(struct prune_canvas *c, double x, double y, const char *attributes, const char *text);
double prune_text_width(const char *text, double font);   /* estimated */

/* Values to pixels: at lo it is `from`, at hi `to`. */
struct prune_scale { bool log; double lo, hi, from, to; };
bool prune_scale_shows(const struct prune_scale *s, double value);
double prune_scale_at(const struct prune_scale *s, double value);

struct prune_ticks { double at[PRUNE_TICK_ROOM]; int count; int decimals; bool powers; };   /* powers: written 10^k */

/* A panel whose scales are known; pixels count from the plot area's upper left corner. */
struct prune_plot { const struct prune_panel *panel; double w, h; struct prune_scale x, y; struct prune_ticks x_ticks, y_ticks; bool empty; };
void prune_plot_scale(struct prune_plot *p, const struct prune_panel *panel, double w, double h);
double prune_plot_left(const struct prune_plot *p);     /* pixels needed beside and below the plot area */
double prune_plot_below(const struct prune_plot *p);
void prune_plot_grid(struct prune_canvas *c, const struct prune_plot *p);
void prune_plot_axes(struct prune_canvas *c, const struct prune_plot *p);

int prune_series_style(const struct prune_panel *panel, size_t series);
void prune_plot_series(struct prune_canvas *c, const struct prune_plot *p, size_t series);
/* What stands for a series in the legend, 30 pixels wide, its middle at y. */
void prune_legend_sample(struct prune_canvas *c, const struct prune_panel *panel, size_t series, double x, double y);

#endif
