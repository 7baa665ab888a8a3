/* What series look like: colour, dashes and marker of a style, and the kinds of marks. */
#include <math.h>

#include "chart_parts.h"

/* Points of a closed outline on a circle of radius 1, 0 of them: a circle. */
struct marker { int count; double points[12][2]; };
struct style { const char *colour, *dashes; bool hollow; struct marker marker; };

#define CIRCLE {0, {{0}}}
#define SQUARE {4, {{-.85, -.85}, {.85, -.85}, {.85, .85}, {-.85, .85}}}
#define UP {3, {{0, -1.15}, {1.1, .8}, {-1.1, .8}}}
#define DIAMOND {4, {{0, -1.25}, {1.1, 0}, {0, 1.25}, {-1.1, 0}}}
#define DOWN {3, {{0, 1.15}, {1.1, -.8}, {-1.1, -.8}}}
#define PLUS {12, {{-.35, -1.1}, {.35, -1.1}, {.35, -.35}, {1.1, -.35}, {1.1, .35}, {.35, .35}, {.35, 1.1}, {-.35, 1.1}, {-.35, .35}, {-1.1, .35}, {-1.1, -.35}, {-.35, -.35}}}
#define CROSS {12, {{0, -.5}, {.55, -1.05}, {1.05, -.55}, {.5, 0}, {1.05, .55}, {.55, 1.05}, {0, .5}, {-.55, 1.05}, {-1.05, .55}, {-.5, 0}, {-1.05, -.55}, {-.55, -1.05}}}

static const struct style STYLES[PRUNE_CHART_STYLES] = {
    {"#0072b2", "", false, CIRCLE},            {"#d55e00", "7 3", false, SQUARE},      {"#009e73", "2 2", false, UP},
    {"#cc79a7", "9 3 2 3", false, DIAMOND},    {"#e69f00", "12 4", false, DOWN},       {"#000000", "4 2 1 2 1 2", false, PLUS},
    {"#56b4e9", "5 5", true, CIRCLE},          {"#8c510a", "1 3", true, SQUARE},       {"#666666", "9 2 9 2 2 2", false, CROSS},
    {"#332288", "3 1", true, DIAMOND},
};
static const double FILLS[] = {0.85, 0.4, 0.1, 0.65};   /* of bars and boxes side by side: told apart without colour */
enum { FILL_COUNT = 4 };

int prune_series_style(const struct prune_panel *panel, size_t series)
{
    int style = panel->series[series].style;
    return (style > 0 ? style - 1 : (int)series) % PRUNE_CHART_STYLES;
}

static bool is_broad(const struct prune_series *s) { return s->kind == PRUNE_SERIES_BARS || s->kind == PRUNE_SERIES_BOX; }

static bool shown(const struct prune_plot *p, const struct prune_series *s, size_t i) { return prune_scale_shows(&p->x, s->x[i]) && prune_scale_shows(&p->y, s->y[i]); }

static void add_marker(struct prune_canvas *c, const struct style *style, double x, double y, double r)
{
    const struct marker *m = &style->marker;
    if (!m->count) prune_draw(c, "M%.1f %.1fa%.1f %.1f 0 1 0 %.1f 0a%.1f %.1f 0 1 0 %.1f 0z", x - r, y, r, r, 2 * r, r, r, -2 * r);
    for (int i = 0; i < m->count; i++) prune_draw(c, "%c%.1f %.1f", i ? 'L' : 'M', x + r * m->points[i][0], y + r * m->points[i][1]);
    if (m->count) prune_draw(c, "z");
}

static void begin_markers(struct prune_canvas *c) { prune_draw(c, "<path d=\""); }
static void end_markers(struct prune_canvas *c, const struct style *style, double opacity)
{
    prune_draw(c, "\" fill=\"%s\" fill-opacity=\"%.2f\" stroke=\"%s\" stroke-width=\"0.9\"/>\n", style->hollow ? "#ffffff" : style->colour, style->hollow ? 1 : opacity, style->colour);
}

static void draw_points(struct prune_canvas *c, const struct prune_plot *p, const struct prune_series *s, const struct style *style)
{
    double r = s->count > 1000 ? 1.8 : s->count > 200 ? 2.4 : 3.4;
    begin_markers(c);
    for (size_t i = 0; i < s->count; i++)
        if (shown(p, s, i)) add_marker(c, style, prune_scale_at(&p->x, s->x[i]), prune_scale_at(&p->y, s->y[i]), r);
    end_markers(c, style, 0.3);
}

/* Runs of values that can be shown: the band around them, then their line. */
static void draw_band(struct prune_canvas *c, const struct prune_plot *p, const struct prune_series *s, const struct style *style, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        if (!prune_scale_shows(&p->y, s->low[i]) || !prune_scale_shows(&p->y, s->high[i])) return;
    prune_draw(c, "<path d=\"");
    for (size_t i = first; i < end; i++) prune_draw(c, "%c%.1f %.1f", i == first ? 'M' : 'L', prune_scale_at(&p->x, s->x[i]), prune_scale_at(&p->y, s->high[i]));
    for (size_t i = end; i-- > first;) prune_draw(c, "L%.1f %.1f", prune_scale_at(&p->x, s->x[i]), prune_scale_at(&p->y, s->low[i]));
    prune_draw(c, "z\" fill=\"%s\" fill-opacity=\"0.16\" stroke=\"none\"/>\n", style->colour);
}

static void draw_line(struct prune_canvas *c, const struct prune_plot *p, const struct prune_series *s, const struct style *style)
{
    bool banded = s->low && s->high && s->kind == PRUNE_SERIES_LINE;
    for (size_t first = 0, end; first < s->count; first = end + 1) {
        for (end = first; end < s->count && shown(p, s, end);) end++;
        if (end == first) continue;
        if (banded) draw_band(c, p, s, style, first, end);
        prune_draw(c, "<path d=\"");
        for (size_t i = first; i < end; i++) prune_draw(c, "%c%.1f %.1f", i == first ? 'M' : 'L', prune_scale_at(&p->x, s->x[i]), prune_scale_at(&p->y, s->y[i]));
        prune_draw(c, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-linejoin=\"round\" stroke-dasharray=\"%s\"/>\n", s->faint ? "#999999" : style->colour,
                   s->faint ? "1" : "1.8", style->dashes[0] ? style->dashes : "none");
    }
}

/* A vertical bar from low to high with caps, where both can be shown. */
static void draw_error(struct prune_canvas *c, const struct prune_plot *p, const struct prune_series *s, size_t i, double x, double half, const char *colour)
{
    if (!s->low || !s->high || !prune_scale_shows(&p->y, s->low[i]) || !prune_scale_shows(&p->y, s->high[i])) return;
    double low = prune_scale_at(&p->y, s->low[i]), high = prune_scale_at(&p->y, s->high[i]);
    prune_draw(c, "<path d=\"M%.1f %.1fh%.1fm%.1f 0V%.1fm%.1f 0h%.1f\" stroke=\"%s\" fill=\"none\"/>\n", x - half, low, 2 * half, -half, high, -half, 2 * half, colour);
}

static void draw_marked(struct prune_canvas *c, const struct prune_plot *p, const struct prune_series *s, const struct style *style)
{
    size_t every = s->count > 18 ? (s->count + 11) / 12 : 1;
    draw_line(c, p, s, style);
    for (size_t i = 0; i < s->count; i += every)
        if (shown(p, s, i)) draw_error(c, p, s, i, prune_scale_at(&p->x, s->x[i]), 3, style->colour);
    begin_markers(c);
    for (size_t i = 0; i < s->count; i += every)
        if (shown(p, s, i)) add_marker(c, style, prune_scale_at(&p->x, s->x[i]), prune_scale_at(&p->y, s->y[i]), 3.6);
    end_markers(c, style, 1);
}

/* Where broad marks of this series stand beside those of the others: *half of one, and the shift from x. */
static double shift_of(const struct prune_plot *p, size_t series, double *half)
{
    size_t before = 0, all = 0;
    for (size_t k = 0; k < p->panel->count; k++) {
        if (!is_broad(&p->panel->series[k])) continue;
        all++;
        before += k < series;
    }
    double room = fmin(p->w / (p->x.hi - p->x.lo) * 0.82, 90), each = room / (double)all;
    *half = each * 0.46;
    return ((double)before + 0.5) * each - room / 2;
}

static void draw_block(struct prune_canvas *c, double x, double half, double from, double to, const struct style *style, double fill)
{
    prune_draw(c, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" fill-opacity=\"%.2f\" stroke=\"%s\"/>\n", x - half, fmin(from, to), 2 * half,
               fabs(from - to), style->colour, fill, style->colour);
}

static void draw_broad(struct prune_canvas *c, const struct prune_plot *p, size_t series, const struct style *style)
{
    const struct prune_series *s = &p->panel->series[series];
    double half, shift = shift_of(p, series, &half), fill = FILLS[prune_series_style(p->panel, series) % FILL_COUNT];
    double ground = p->y.log || p->y.lo > 0 ? p->h : p->y.hi < 0 ? 0 : prune_scale_at(&p->y, 0);
    for (size_t i = 0; i < s->count; i++) {
        if (!shown(p, s, i)) continue;
        double x = prune_scale_at(&p->x, s->x[i]) + shift, y = prune_scale_at(&p->y, s->y[i]);
        if (s->kind == PRUNE_SERIES_BARS) {
            draw_block(c, x, half, ground, y, style, fill);
            draw_error(c, p, s, i, x, fmin(half * 0.5, 5), "#222222");
        } else if (prune_scale_shows(&p->y, s->box_low[i]) && prune_scale_shows(&p->y, s->box_high[i])) {
            double low = prune_scale_at(&p->y, s->box_low[i]), high = prune_scale_at(&p->y, s->box_high[i]);
            draw_error(c, p, s, i, x, half * 0.5, style->colour);
            prune_draw(c, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"#ffffff\"/>\n", x - half, high, 2 * half, low - high);
            draw_block(c, x, half, low, high, style, fill * 0.6);
            prune_draw(c, "<path d=\"M%.1f %.1fh%.1f\" stroke=\"#000000\" stroke-width=\"2\"/>\n", x - half, y, 2 * half);
        }
    }
}

void prune_plot_series(struct prune_canvas *c, const struct prune_plot *p, size_t series)
{
    const struct prune_series *s = &p->panel->series[series];
    const struct style *style = &STYLES[prune_series_style(p->panel, series)];
    switch (s->kind) {
    case PRUNE_SERIES_LINE: draw_line(c, p, s, style); break;
    case PRUNE_SERIES_MARKED: draw_marked(c, p, s, style); break;
    case PRUNE_SERIES_POINTS: draw_points(c, p, s, style); break;
    case PRUNE_SERIES_BARS:
    case PRUNE_SERIES_BOX: draw_broad(c, p, series, style); break;
    }
}

void prune_legend_sample(struct prune_canvas *c, const struct prune_panel *panel, size_t series, double x, double y)
{
    const struct prune_series *s = &panel->series[series];
    int number = prune_series_style(panel, series);
    const struct style *style = &STYLES[number];
    if (is_broad(s)) {
        draw_block(c, x + 17, 9, y - 6, y + 6, style, FILLS[number % FILL_COUNT] * (s->kind == PRUNE_SERIES_BOX ? 0.6 : 1));
        return;
    }
    if (s->kind != PRUNE_SERIES_POINTS)
        prune_draw(c, "<path d=\"M%.1f %.1fh30\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-dasharray=\"%s\"/>\n", x, y, s->faint ? "#999999" : style->colour,
                   s->faint ? "1" : "1.8", style->dashes[0] ? style->dashes : "none");
    if (s->kind == PRUNE_SERIES_LINE) return;
    begin_markers(c);
    add_marker(c, style, x + 15, y, 3.6);
    end_markers(c, style, s->kind == PRUNE_SERIES_POINTS ? 0.3 : 1);
}
