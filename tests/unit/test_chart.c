/* The chart writer: where values land, what is left out, what a legend lists, and that names cannot break the file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/base/chart.h"

static struct prune_status st;

static char *drawn(const struct prune_chart *c)
{
    char *svg = NULL;
    size_t size = 0;
    if (prune_chart_text(c, &svg, &size, &st)) fail_msg("%s", st.message);
    assert_int_equal(size, strlen(svg));
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    return svg;
}

static char *drawn_panel(const struct prune_panel *panel)
{
    const struct prune_chart c = {.panels = panel, .panel_count = 1, .width = 100, .height = 200};
    return drawn(&c);
}

static int occurrences(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
    return n;
}

static void has(const char *svg, const char *what)
{
    if (!strstr(svg, what)) fail_msg("'%s' is not in:\n%s", what, svg);
}

static void a_line_runs_through_its_points(void **state)
{
    (void)state;
    const double x[] = {0, 5, 10}, y[] = {0, 1, 4};
    const struct prune_series s = {.x = x, .y = y, .count = 3};
    const struct prune_panel p = {.x = {.min = 0, .max = 10}, .y = {.min = 0, .max = 4}, .series = &s, .count = 1};
    char *svg = drawn_panel(&p);
    has(svg, "d=\"M0.0 200.0L50.0 150.0L100.0 0.0\"");
    free(svg);
}

static void a_logarithmic_axis_spaces_powers_evenly(void **state)
{
    (void)state;
    const double x[] = {1, 10, 100, 1000, 10000}, y[] = {1e-8, 1e-6, 1e-4, 1e-2, 1};
    const struct prune_series s = {.x = x, .y = y, .count = 5};
    const struct prune_panel p = {.x = {.log = true, .min = 1, .max = 1e4}, .y = {.log = true, .min = 1e-8, .max = 1}, .series = &s, .count = 1};
    char *svg = drawn_panel(&p);
    has(svg, "d=\"M0.0 200.0L25.0 150.0L50.0 100.0L75.0 50.0L100.0 0.0\"");
    has(svg, ">10<tspan dy=\"-5\" font-size=\"9\">\xe2\x88\x92" "8</tspan>");
    free(svg);
}

static void what_cannot_be_shown_breaks_a_line_and_leaves_no_point(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3, 4}, y[] = {1, 10, NAN, 10, 100}, z[] = {1, 0, -5, INFINITY, 100};
    const struct prune_series line = {.x = x, .y = y, .count = 5}, points = {.kind = PRUNE_SERIES_POINTS, .x = x, .y = z, .count = 5};
    struct prune_panel p = {.x = {.min = 0, .max = 4}, .y = {.log = true, .min = 1, .max = 100}, .series = &line, .count = 1};
    char *svg = drawn_panel(&p);
    has(svg, "d=\"M0.0 200.0L25.0 100.0\"");
    has(svg, "d=\"M75.0 100.0L100.0 0.0\"");
    free(svg);
    p.series = &points;
    svg = drawn_panel(&p);
    assert_int_equal(occurrences(svg, "a3.4 3.4 0 1 0 6.8 0"), 2);
    free(svg);
}

static void bars_stand_on_zero_beside_each_other_with_their_intervals(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    const double x[] = {0, 1}, y[] = {0.5, -0.5}, low[] = {0.25, -1}, high[] = {1, 0};
    const struct prune_series s[] = {{.name = "one", .kind = PRUNE_SERIES_BARS, .x = x, .y = y, .low = low, .high = high, .count = 2},
                                     {.name = "two", .kind = PRUNE_SERIES_BARS, .x = x, .y = y, .count = 2}};
    const struct prune_panel p = {.x = {.names = names, .name_count = 2}, .y = {.min = -1, .max = 1}, .series = s, .count = 2};
    char *svg = drawn_panel(&p);
    /* 50 pixels a name, 41 of them for the pair: the first bar's middle is 10.25 left of 25, and 9.43 its half width */
    has(svg, "<rect x=\"5.3\" y=\"50.0\" width=\"18.9\" height=\"50.0\"");
    has(svg, "<rect x=\"25.8\" y=\"50.0\" width=\"18.9\" height=\"50.0\"");
    has(svg, "<rect x=\"55.3\" y=\"100.0\" width=\"18.9\" height=\"50.0\"");
    assert_int_equal(occurrences(svg, "V0.0m"), 1);     /* the interval up to 1 */
    has(svg, "75.0h9.4m-4.7 0V0.0m");
    free(svg);
}

static void a_box_has_its_quartiles_median_and_whiskers(void **state)
{
    (void)state;
    const double x[] = {0}, low[] = {0}, q1[] = {25}, median[] = {50}, q3[] = {80}, high[] = {100};
    const struct prune_series s = {.kind = PRUNE_SERIES_BOX, .x = x, .y = median, .low = low, .high = high, .box_low = q1, .box_high = q3, .count = 1};
    const struct prune_panel p = {.x = {.min = -0.5, .max = 0.5}, .y = {.min = 0, .max = 100}, .series = &s, .count = 1};
    char *svg = drawn_panel(&p);
    has(svg, "y=\"40.0\" width=\"75.4\" height=\"110.0\"");   /* 80 and 25 of 100 on 200 pixels */
    has(svg, "200.0h37.7m-18.9 0V0.0m");
    has(svg, " 100.0h75.4\" stroke=\"#000000\"");
    free(svg);
}

static void a_point_that_is_not_drawn_stretches_no_axis(void **state)
{
    (void)state;
    const double x[] = {1, 1e-9, 100}, y[] = {1, 0, 100};
    const struct prune_series s = {.kind = PRUNE_SERIES_POINTS, .x = x, .y = y, .count = 3};
    const struct prune_panel p = {.x = {.log = true}, .y = {.log = true}, .series = &s, .count = 1};
    char *svg = drawn_panel(&p);
    has(svg, "d=\"M0.3 ");    /* 4% from the edge, of 100 pixels and a marker's radius */
    free(svg);
}

static void the_legend_lists_each_name_once(void **state)
{
    (void)state;
    const double x[] = {0, 1};
    const struct prune_series s[] = {{.name = "first", .x = x, .y = x, .count = 2}, {.name = "second", .x = x, .y = x, .count = 2}, {.x = x, .y = x, .count = 2}};
    const struct prune_panel p[] = {{.title = "left", .series = s, .count = 3}, {.title = "right", .series = s, .count = 2}};
    const struct prune_chart c = {.title = "both", .subtitle = "under it", .panels = p, .panel_count = 2};
    char *svg = drawn(&c);
    assert_int_equal(occurrences(svg, ">first</text>"), 1);
    assert_int_equal(occurrences(svg, ">second</text>"), 1);
    has(svg, ">left</text>");
    has(svg, ">right</text>");
    has(svg, ">both</text>");
    has(svg, ">under it</text>");
    free(svg);
}

static void names_cannot_break_the_file(void **state)
{
    (void)state;
    const double x[] = {0, 1};
    const struct prune_series s = {.name = "</text><script>&\"\n", .x = x, .y = x, .count = 2};
    const struct prune_panel p = {.note = "a < b\nc", .series = &s, .count = 1};
    char *svg = drawn_panel(&p);
    assert_null(strstr(svg, "<script"));
    has(svg, ">&lt;/text&gt;&lt;script&gt;&amp;&quot; </text>");
    has(svg, ">a &lt; b</text>");
    has(svg, ">c</text>");
    free(svg);
}

static void single_values_constants_and_nothing_are_drawn(void **state)
{
    (void)state;
    const double x[] = {3}, flat_x[] = {1, 2, 3}, flat[] = {7, 7, 7}, none[] = {NAN};
    for (int log = 0; log < 2; log++) {
        const struct prune_series s[] = {{.kind = PRUNE_SERIES_MARKED, .x = x, .y = x, .count = 1}, {.x = flat_x, .y = flat, .count = 3}, {.x = x, .y = none, .count = 1}};
        for (int k = 0; k < 3; k++) {
            const struct prune_panel p = {.x = {.log = log}, .y = {.log = log}, .series = &s[k], .count = 1};
            char *svg = drawn_panel(&p);
            assert_int_equal(occurrences(svg, ">no values</text>"), k == 2);
            free(svg);
        }
    }
    const struct prune_panel empty = {.x = {.title = "x"}};
    char *svg = drawn_panel(&empty);
    has(svg, ">no values</text>");
    free(svg);
}

static void ticks_are_round_and_percent_is_written_so(void **state)
{
    (void)state;
    const double x[] = {0.013, 0.9}, y[] = {123, 977};
    const struct prune_series s = {.x = x, .y = y, .count = 2};
    const struct prune_panel p = {.x = {.min = 0, .max = 1, .percent = true}, .series = &s, .count = 1};
    char *svg = drawn_panel(&p);
    has(svg, ">0%</text>");
    has(svg, ">100%</text>");
    has(svg, ">200</text>");
    has(svg, ">800</text>");
    free(svg);
}

static void too_many_panels_and_none_are_refused(void **state)
{
    (void)state;
    char *svg = NULL;
    size_t size;
    const struct prune_chart none = {.panel_count = 0}, many = {.panel_count = PRUNE_CHART_PANELS + 1};
    assert_int_equal(prune_chart_text(&none, &svg, &size, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "a chart of 0 panels cannot be drawn, 1 to 64 can");
    assert_int_equal(prune_chart_text(&many, &svg, &size, &st), PRUNE_FAILED);
    assert_null(svg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_runs_through_its_points),
        cmocka_unit_test(a_logarithmic_axis_spaces_powers_evenly),
        cmocka_unit_test(what_cannot_be_shown_breaks_a_line_and_leaves_no_point),
        cmocka_unit_test(bars_stand_on_zero_beside_each_other_with_their_intervals),
        cmocka_unit_test(a_box_has_its_quartiles_median_and_whiskers),
        cmocka_unit_test(a_point_that_is_not_drawn_stretches_no_axis),
        cmocka_unit_test(the_legend_lists_each_name_once),
        cmocka_unit_test(names_cannot_break_the_file),
        cmocka_unit_test(single_values_constants_and_nothing_are_drawn),
        cmocka_unit_test(ticks_are_round_and_percent_is_written_so),
        cmocka_unit_test(too_many_panels_and_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
