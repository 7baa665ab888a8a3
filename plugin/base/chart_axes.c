/* Scales, ticks and frames of charts. Ticks: 1, 2 or 5 times a power of ten, on a logarithmic axis the powers of ten, with 2 and 5 between them where
 * there are few. */
#include <math.h>
#include <string.h>

#include "chart_parts.h"

static const double EMPTY_LO = 0, EMPTY_HI = 1;

double prune_scale_at(const struct prune_scale *s, double value)
{
    double lo = s->log ? log10(s->lo) : s->lo, hi = s->log ? log10(s->hi) : s->hi, v = s->log ? log10(value) : value;
    return s->from + (v - lo) / (hi - lo) * (s->to - s->from);
}

struct range { double lo, hi; bool log; };

static bool usable(double value, bool log) { return isfinite(value) && (!log || value > 0); }

bool prune_scale_shows(const struct prune_scale *s, double value) { return usable(value, s->log); }

/* across: the other coordinate of the same points; a point that is not drawn for its sake does not stretch this axis */
static void include(struct range *r, const double *values, const double *across, bool across_log, size_t n)
{
    for (size_t i = 0; values && i < n; i++) {
        if (!usable(values[i], r->log) || !usable(across[i], across_log)) continue;
        r->lo = fmin(r->lo, values[i]);
        r->hi = fmax(r->hi, values[i]);
    }
}

static void widen(struct range *r)
{
    double share = 0.04;
    if (r->log) {
        double room = r->hi > r->lo ? pow(r->hi / r->lo, share) : 2;
        r->lo /= room;
        r->hi *= room;
    } else {
        double room = r->hi > r->lo ? (r->hi - r->lo) * share : fmax(fabs(r->hi) * 0.1, 0.5);
        r->lo -= room;
        r->hi += room;
    }
}

static bool stands_on_zero(enum prune_series_kind kind) { return kind == PRUNE_SERIES_BARS; }
static bool is_broad(enum prune_series_kind kind) { return kind == PRUNE_SERIES_BARS || kind == PRUNE_SERIES_BOX; }

/* false: nothing to show */
static bool range_of(const struct prune_panel *panel, bool vertical, struct range *r)
{
    const struct prune_axis *axis = vertical ? &panel->y : &panel->x, *other = vertical ? &panel->x : &panel->y;
    bool broad = false, zero = false;
    *r = (struct range){INFINITY, -INFINITY, axis->log};
    for (size_t k = 0; k < panel->count; k++) {
        const struct prune_series *s = &panel->series[k];
        include(r, vertical ? s->y : s->x, vertical ? s->x : s->y, other->log, s->count);
        if (vertical) include(r, s->low, s->x, other->log, s->count);
        if (vertical) include(r, s->high, s->x, other->log, s->count);
        broad |= is_broad(s->kind);
        zero |= stands_on_zero(s->kind);
    }
    bool found = r->lo <= r->hi;
    if (axis->min < axis->max) *r = (struct range){axis->min, axis->max, axis->log};
    else if (!found) *r = (struct range){EMPTY_LO + (axis->log ? 0.1 : 0), EMPTY_HI, axis->log};
    else if (!vertical && axis->names) *r = (struct range){-0.5, (double)axis->name_count - 0.5, false};
    else if (!vertical && broad && !axis->log) r->lo -= 0.6, r->hi += 0.6;
    else {
        double lo = r->lo, hi = r->hi;
        widen(r);
        if (vertical && zero && !axis->log && lo >= 0) r->lo = 0;
        if (vertical && zero && !axis->log && hi <= 0) r->hi = 0;
    }
    return found;
}

static void linear_ticks(const struct prune_scale *s, double wanted, double unit, struct prune_ticks *t)
{
    double rough = (s->hi - s->lo) / fmax(wanted, 1) * unit, power = pow(10, floor(log10(rough))), ratio = rough / power;
    double step = power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
    t->decimals = (int)fmax(0, -floor(log10(step) + 1e-9));
    step /= unit;
    for (double k = ceil(s->lo / step - 1e-9); k * step <= s->hi + step * 1e-9 && t->count < PRUNE_TICK_ROOM; k++) t->at[t->count++] = fabs(k) < 0.5 ? 0 : k * step;
}

static void log_ticks(const struct prune_scale *s, double wanted, struct prune_ticks *t)
{
    static const double between[] = {1, 2, 5};
    double decades = log10(s->hi / s->lo), stride = fmax(1, ceil(decades / fmax(wanted, 1)));
    int count = decades < 2.5 ? 3 : 1;
    for (double k = floor(log10(s->lo)); k <= log10(s->hi) + 1e-9; k++) {
        if (fmod(fabs(k), stride) > 0) continue;
        for (int i = 0; i < count; i++) {
            double value = between[i] * pow(10, k);
            if (value >= s->lo * (1 - 1e-9) && value <= s->hi * (1 + 1e-9) && t->count < PRUNE_TICK_ROOM) t->at[t->count++] = value;
        }
    }
    t->powers = count == 1 && (s->lo < 1e-3 || s->hi > 1e5);
    if (t->count >= 2) return;
    t->count = 0;
    linear_ticks(s, wanted, 1, t);
}

static void find_ticks(const struct prune_scale *s, const struct prune_axis *axis, double pixels, double spacing, struct prune_ticks *t)
{
    memset(t, 0, sizeof *t);
    if (axis->names) return;
    if (s->log) log_ticks(s, pixels / spacing, t);
    else linear_ticks(s, pixels / spacing, axis->percent ? 100 : 1, t);
}

void prune_plot_scale(struct prune_plot *p, const struct prune_panel *panel, double w, double h)
{
    struct range x, y;
    bool any_x = range_of(panel, false, &x), any_y = range_of(panel, true, &y);
    *p = (struct prune_plot){.panel = panel, .w = w, .h = h, .empty = !any_x || !any_y,
                             .x = {x.log, x.lo, x.hi, 0, w}, .y = {y.log, y.lo, y.hi, h, 0}};
    find_ticks(&p->x, &panel->x, w, 62, &p->x_ticks);
    find_ticks(&p->y, &panel->y, h, 42, &p->y_ticks);
}

/* The text of a tick: base, and for powers of ten the exponent (else empty). */
static void tick_text(const struct prune_scale *s, const struct prune_axis *axis, const struct prune_ticks *t, int i, char base[32], char exponent[16])
{
    double value = t->at[i];
    exponent[0] = 0;
    if (t->powers) {
        snprintf(base, 32, "10");
        snprintf(exponent, 16, "%s%.0f", value < 1 ? "\xe2\x88\x92" : "", fabs(log10(value)));
    } else if (axis->percent) {
        snprintf(base, 32, "%.*f%%", t->decimals, value * 100);
    } else if (s->log || t->decimals > 5 || fabs(s->hi) >= 1e7 || fabs(s->lo) >= 1e7) {
        snprintf(base, 32, "%.4g", value);
    } else {
        snprintf(base, 32, "%.*f", t->decimals, value);
    }
}

static double tick_width(const struct prune_scale *s, const struct prune_axis *axis, const struct prune_ticks *t)
{
    double width = 0;
    char base[32], exponent[16];
    for (int i = 0; i < t->count; i++) {
        tick_text(s, axis, t, i, base, exponent);
        width = fmax(width, prune_text_width(base, PRUNE_FONT) + prune_text_width(exponent, PRUNE_FONT - 3));
    }
    return width;
}

static double longest_name(const struct prune_axis *axis)
{
    double width = 0;
    for (size_t i = 0; axis->names && i < axis->name_count; i++) width = fmax(width, prune_text_width(axis->names[i], PRUNE_FONT));
    return width;
}

static bool is_slanted(const struct prune_plot *p) { return longest_name(&p->panel->x) + 5 > p->w / fmax((double)p->panel->x.name_count, 1); }

double prune_plot_left(const struct prune_plot *p)
{
    double slant = is_slanted(p) && p->panel->x.names ? longest_name(&p->panel->x) * 0.77 - p->w / (double)p->panel->x.name_count / 2 : 0;
    return fmax(tick_width(&p->y, &p->panel->y, &p->y_ticks) + 10 + (p->panel->y.title ? PRUNE_FONT + 8 : 0), slant);
}

double prune_plot_below(const struct prune_plot *p)
{
    double labels = p->panel->x.names && is_slanted(p) ? longest_name(&p->panel->x) * 0.65 + PRUNE_FONT : PRUNE_FONT + 6;
    return labels + 4 + (p->panel->x.title ? PRUNE_FONT + 8 : 0);
}

void prune_plot_grid(struct prune_canvas *c, const struct prune_plot *p)
{
    prune_draw(c, "<path d=\"");
    for (int i = 0; i < p->y_ticks.count; i++) prune_draw(c, "M0 %.1fH%.1f", prune_scale_at(&p->y, p->y_ticks.at[i]), p->w);
    for (int i = 0; i < p->x_ticks.count; i++) prune_draw(c, "M%.1f 0V%.1f", prune_scale_at(&p->x, p->x_ticks.at[i]), p->h);
    prune_draw(c, "\" stroke=\"#dddddd\" stroke-width=\"0.7\" fill=\"none\"/>\n");
    if (p->y.log || !(p->y.lo < 0 && p->y.hi > 0)) return;
    prune_draw(c, "<path d=\"M0 %.1fH%.1f\" stroke=\"#777777\"/>\n", prune_scale_at(&p->y, 0), p->w);
}

static void draw_tick(struct prune_canvas *c, double x, double y, const char *anchor, const char *base, const char *exponent)
{
    prune_draw(c, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s", x, y, anchor, base);
    if (exponent[0]) prune_draw(c, "<tspan dy=\"-5\" font-size=\"%d\">%s</tspan>", PRUNE_FONT - 3, exponent);
    prune_draw(c, "</text>\n");
}

static void draw_names(struct prune_canvas *c, const struct prune_plot *p)
{
    const struct prune_axis *axis = &p->panel->x;
    bool slanted = is_slanted(p);
    for (size_t i = 0; i < axis->name_count; i++) {
        double x = prune_scale_at(&p->x, (double)i), y = p->h + PRUNE_FONT + 4;
        char turn[96];
        snprintf(turn, sizeof turn, "text-anchor=\"end\" transform=\"rotate(-40 %.1f %.1f)\"", x + 4, y);
        prune_draw_text(c, slanted ? x + 4 : x, y, slanted ? turn : "text-anchor=\"middle\"", axis->names[i]);
    }
}

void prune_plot_axes(struct prune_canvas *c, const struct prune_plot *p)
{
    const struct prune_panel *panel = p->panel;
    char base[32], exponent[16], turn[96];
    prune_draw(c, "<rect width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#333333\"/>\n<path d=\"", p->w, p->h);
    for (int i = 0; i < p->y_ticks.count; i++) prune_draw(c, "M-4 %.1fh4", prune_scale_at(&p->y, p->y_ticks.at[i]));
    for (int i = 0; i < p->x_ticks.count; i++) prune_draw(c, "M%.1f %.1fv4", prune_scale_at(&p->x, p->x_ticks.at[i]), p->h);
    prune_draw(c, "\" stroke=\"#333333\"/>\n");
    for (int i = 0; i < p->y_ticks.count; i++) {
        tick_text(&p->y, &panel->y, &p->y_ticks, i, base, exponent);
        draw_tick(c, -7, prune_scale_at(&p->y, p->y_ticks.at[i]) + PRUNE_FONT * 0.36, "end", base, exponent);
    }
    for (int i = 0; i < p->x_ticks.count; i++) {
        tick_text(&p->x, &panel->x, &p->x_ticks, i, base, exponent);
        draw_tick(c, prune_scale_at(&p->x, p->x_ticks.at[i]), p->h + PRUNE_FONT + 5, "middle", base, exponent);
    }
    draw_names(c, p);
    if (panel->x.title) prune_draw_text(c, p->w / 2, p->h + prune_plot_below(p) - 4, "text-anchor=\"middle\"", panel->x.title);
    double left = tick_width(&p->y, &panel->y, &p->y_ticks) + 16;
    snprintf(turn, sizeof turn, "text-anchor=\"middle\" transform=\"rotate(-90 %.1f %.1f)\"", -left, p->h / 2);
    if (panel->y.title) prune_draw_text(c, -left, p->h / 2, turn, panel->y.title);
}
