/* The layout of a chart: title, legend, panels in a grid whose margins fit the longest labels. See chart.h. */
#include "chart.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "chart_parts.h"
#include "file_io.h"

enum { EDGE = 16, TITLE_FONT = 15, SUBTITLE_FONT = 12, LEGEND_LINE = 20, LEGEND_GAP = 22, SAMPLE = 36, LEGEND_ROOM = 64 };

void prune_draw(struct prune_canvas *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (vfprintf(c->out, format, arguments) < 0) c->failed = true;
    va_end(arguments);
}

static void draw_escaped(struct prune_canvas *c, const char *text)
{
    for (const char *p = text; *p; p++) {
        const char *entity = *p == '&' ? "&amp;" : *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p == '"' ? "&quot;" : NULL;
        if (entity) prune_draw(c, "%s", entity);
        else prune_draw(c, "%c", (unsigned char)*p < ' ' ? ' ' : *p);   /* XML has no control characters */
    }
}

void prune_draw_text(struct prune_canvas *c, double x, double y, const char *attributes, const char *text)
{
    prune_draw(c, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes ? attributes : "");
    draw_escaped(c, text);
    prune_draw(c, "</text>\n");
}

double prune_text_width(const char *text, double font)
{
    double count = 0;
    for (; *text; text++) count += (*text & 0xc0) != 0x80;   /* a UTF-8 character is its first byte */
    return count * font * 0.6;
}

struct entry { const struct prune_panel *panel; size_t series; };
struct layout {
    const struct prune_chart *chart;
    struct prune_plot *plots;
    int columns, rows;
    double w, h, left, below, above, right, head;   /* of a plot area, of the room around it, and of what stands above the panels */
    struct entry legend[LEGEND_ROOM]; size_t legend_count;
    double width, height;
};

static void choose_grid(struct layout *l)
{
    const struct prune_chart *c = l->chart;
    int n = (int)c->panel_count;
    l->columns = c->columns > 0 ? c->columns : n <= 3 ? n : n == 4 ? 2 : n <= 9 ? 3 : 4;
    if (l->columns > n) l->columns = n;
    l->rows = (n + l->columns - 1) / l->columns;
    l->w = c->width > 0 ? c->width : n == 1 ? 600 : n == 2 ? 430 : 250;
    l->h = c->height > 0 ? c->height : n == 1 ? 380 : n == 2 ? 320 : 220;
}

static bool is_listed(const struct layout *l, const char *name)
{
    for (size_t i = 0; i < l->legend_count; i++)
        if (strcmp(l->legend[i].panel->series[l->legend[i].series].name, name) == 0) return true;
    return false;
}

static void find_legend(struct layout *l)
{
    for (size_t k = 0; k < l->chart->panel_count; k++) {
        const struct prune_panel *panel = &l->chart->panels[k];
        for (size_t i = 0; i < panel->count && l->legend_count < LEGEND_ROOM; i++)
            if (panel->series[i].name && !is_listed(l, panel->series[i].name)) l->legend[l->legend_count++] = (struct entry){panel, i};
    }
}

/* Draws the legend from y on, or only measures it (c NULL); returns its height. */
static double legend(const struct layout *l, struct prune_canvas *c, double y)
{
    double x = EDGE, first = y, width = l->width - EDGE;
    for (size_t i = 0; i < l->legend_count; i++) {
        const struct entry *e = &l->legend[i];
        const char *name = e->panel->series[e->series].name;
        double needed = SAMPLE + prune_text_width(name, PRUNE_FONT) + LEGEND_GAP;
        if (x > EDGE && x + needed - LEGEND_GAP > width) x = EDGE, y += LEGEND_LINE;
        if (c) prune_legend_sample(c, e->panel, e->series, x, y + LEGEND_LINE / 2.0);
        if (c) prune_draw_text(c, x + SAMPLE, y + LEGEND_LINE / 2.0 + PRUNE_FONT * 0.36, NULL, name);
        x += needed;
    }
    return l->legend_count ? y + LEGEND_LINE - first + 8 : 0;
}

static double title_height(const struct prune_chart *c) { return (c->title ? TITLE_FONT + 8 : 0) + (c->subtitle ? SUBTITLE_FONT + 8 : 0); }

static void measure(struct layout *l)
{
    const struct prune_chart *c = l->chart;
    double titles = fmax(c->title ? prune_text_width(c->title, TITLE_FONT) : 0, c->subtitle ? prune_text_width(c->subtitle, SUBTITLE_FONT) : 0);
    for (size_t i = 0; i < c->panel_count; i++) {
        prune_plot_scale(&l->plots[i], &c->panels[i], l->w, l->h);
        l->left = fmax(l->left, prune_plot_left(&l->plots[i]));
        l->below = fmax(l->below, prune_plot_below(&l->plots[i]));
        if (c->panels[i].title) l->above = PRUNE_FONT + 10;
    }
    l->right = 18;
    l->width = fmax(2 * EDGE + l->columns * (l->left + l->w + l->right), 2 * EDGE + titles);
    find_legend(l);
    l->head = EDGE + title_height(c) + legend(l, NULL, 0);
    l->height = l->head + l->rows * (l->above + l->h + l->below + 10) + EDGE;
}

static void draw_note(struct prune_canvas *c, const char *note)
{
    double width = 0, height = 6;
    char line[128];
    for (int pass = 0; pass < 2; pass++) {   /* the ground under it, then the text */
        double y = 4;
        if (pass) prune_draw(c, "<rect x=\"4\" y=\"4\" width=\"%.1f\" height=\"%.1f\" fill=\"#ffffff\" fill-opacity=\"0.82\"/>\n", width + 8, height);
        for (const char *p = note; *p;) {
            size_t length = strcspn(p, "\n");
            snprintf(line, sizeof line, "%.*s", (int)length, p);
            y += PRUNE_FONT + 2;
            if (pass) prune_draw_text(c, 8, y, "font-size=\"11\"", line);
            width = fmax(width, prune_text_width(line, PRUNE_FONT - 1));
            p += length + (p[length] == '\n');
        }
        height = y;
    }
}

static void draw_panel(struct prune_canvas *c, const struct layout *l, size_t i)
{
    const struct prune_plot *p = &l->plots[i];
    double x = EDGE + l->left + (double)((int)i % l->columns) * (l->left + l->w + l->right);
    double y = l->head + l->above + (double)((int)i / l->columns) * (l->above + l->h + l->below + 10);
    prune_draw(c, "<g transform=\"translate(%.1f %.1f)\">\n", x, y);
    prune_plot_grid(c, p);
    prune_draw(c, "<svg width=\"%.1f\" height=\"%.1f\">\n", p->w, p->h);   /* cuts off what leaves the plot area */
    for (size_t k = 0; k < p->panel->count; k++) prune_plot_series(c, p, k);
    prune_draw(c, "</svg>\n");
    prune_plot_axes(c, p);
    if (p->empty) prune_draw_text(c, p->w / 2, p->h / 2, "text-anchor=\"middle\" fill=\"#666666\"", "no values");
    if (p->panel->note) draw_note(c, p->panel->note);
    if (p->panel->title) prune_draw_text(c, p->w / 2, -8, "text-anchor=\"middle\" font-weight=\"bold\"", p->panel->title);
    prune_draw(c, "</g>\n");
}

static void draw_all(struct prune_canvas *c, const struct layout *l)
{
    const struct prune_chart *chart = l->chart;
    double y = EDGE;
    prune_draw(c, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
                  "font-size=\"%d\" fill=\"#111111\">\n", l->width, l->height, l->width, l->height, PRUNE_FONT);
    if (chart->title) {
        prune_draw(c, "<title>");
        draw_escaped(c, chart->title);
        prune_draw(c, "</title>\n");
    }
    prune_draw(c, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
    if (chart->title) prune_draw_text(c, EDGE, y += TITLE_FONT, "font-size=\"15\" font-weight=\"bold\"", chart->title);
    if (chart->subtitle) prune_draw_text(c, EDGE, y + SUBTITLE_FONT + 8, "fill=\"#444444\"", chart->subtitle);
    legend(l, c, EDGE + title_height(chart));
    for (size_t i = 0; i < chart->panel_count; i++) draw_panel(c, l, i);
    prune_draw(c, "</svg>\n");
}

enum prune_code prune_chart_text(const struct prune_chart *chart, char **svg, size_t *size, struct prune_status *st)
{
    if (!chart->panel_count || chart->panel_count > PRUNE_CHART_PANELS)
        return prune_fail(st, "a chart of %zu panels cannot be drawn, 1 to %d can", chart->panel_count, PRUNE_CHART_PANELS);
    struct layout l = {.chart = chart, .plots = calloc(chart->panel_count, sizeof *l.plots)};
    char *text = NULL;
    size_t length = 0;
    struct prune_canvas c = {.out = l.plots ? open_memstream(&text, &length) : NULL};
    if (c.out) {
        choose_grid(&l);
        measure(&l);
        draw_all(&c, &l);
        if (fclose(c.out)) c.failed = true;
    }
    free(l.plots);
    if (!c.out || c.failed || !text || !length) {
        free(text);
        return prune_fail_memory(st, length, "chart");
    }
    *svg = text;
    *size = length;
    return PRUNE_OK;
}

enum prune_code prune_chart_write(const char *path, const struct prune_chart *chart, struct prune_status *st)
{
    char *svg;
    size_t size;
    enum prune_code rc = prune_chart_text(chart, &svg, &size, st);
    if (rc) return rc;
    rc = prune_write_file(path, svg, size, st);
    free(svg);
    return rc;
}
