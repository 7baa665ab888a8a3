/* The before/after table of a run; see table.h. */
#include "table.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* One row: which number of "before" and "after", how it is written, and whether the ratio or the difference says more. */
struct row { const char *key, *title; double scale; int digits; const char *unit; bool ratio; };
static const struct row ROWS[] = {
    {"top1", "top-1", 100, 2, " %", false},
    {"top5", "top-5", 100, 2, " %", false},
    {"map50", "mAP@0.5", 100, 2, " %", false},
    {"map", "mAP@[.5:.95]", 100, 2, " %", false},
    {"loss", "loss", 1, 4, "", false},
    {"parameters", "parameters", 1, 0, "", true},
    {"macs", "multiply-adds", 1e-6, 2, " M", true},
    {"bflops", "BFLOPs", 1, 3, "", true},
    {"megabytes", "weights", 1, 2, " MB", true},
    {"milliseconds", "time per image", 1, 2, " ms", true},
};

static double number(const cJSON *report, const char *group, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(report, group), key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static const char *text(const cJSON *report, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(report, key));
}

static void print_number(FILE *out, double value, const struct row *row)
{
    char cell[64] = "-";
    if (!isnan(value)) snprintf(cell, sizeof cell, "%.*f%s", row->digits, value * row->scale, row->unit);
    fprintf(out, " %16s", cell);
}

static void print_row(FILE *out, const struct row *row, double before, double after)
{
    fprintf(out, "%-16s", row->title);
    print_number(out, before, row);
    print_number(out, after, row);
    if (isnan(before) || isnan(after)) fputc('\n', out);
    else if (!row->ratio) fprintf(out, " %+9.*f\n", row->digits, (after - before) * row->scale);
    else if (before > 0) fprintf(out, " %8.1f%%\n", 100 * after / before);
    else fputc('\n', out);
}

static void print_stages(FILE *out, const cJSON *report)
{
    const cJSON *stages = cJSON_GetObjectItemCaseSensitive(report, "stages"), *stage;
    if (!cJSON_GetArraySize(stages)) return;
    fprintf(out, "\n%-16s %16s %16s\n", "stage", "top-1 / mAP@0.5", "loss");
    cJSON_ArrayForEach(stage, stages) {
        const char *name = text(stage, "name");
        const cJSON *top1 = cJSON_GetObjectItemCaseSensitive(stage, "top1"), *map50 = cJSON_GetObjectItemCaseSensitive(stage, "map50");
        const cJSON *loss = cJSON_GetObjectItemCaseSensitive(stage, "loss"), *score = cJSON_IsNumber(top1) ? top1 : map50;
        fprintf(out, "%-16s", name ? name : "");
        print_number(out, cJSON_IsNumber(score) ? score->valuedouble : NAN, &ROWS[0]);
        print_number(out, cJSON_IsNumber(loss) ? loss->valuedouble : NAN, &ROWS[4]);
        fputc('\n', out);
    }
}

static double count_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void print_sparsity_row(FILE *out, const char *name, const char *kind, const cJSON *row)
{
    double weights = count_of(row, "weights"), remaining = count_of(row, "remaining");
    fprintf(out, "%5s  %-15s %12.0f %12.0f %9.3f%%\n", name, kind, weights, remaining, weights > 0 ? 100 * remaining / weights : 0);
}

void prune_table_sparsity(FILE *out, const struct cJSON *sparsity)
{
    const cJSON *row;
    fprintf(out, "%5s  %-15s %12s %12s %10s\n", "layer", "kind", "weights", "not 0", "");
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(sparsity, "layers")) {
        char name[24];
        const char *kind = text(row, "kind");
        snprintf(name, sizeof name, "%.0f", count_of(row, "layer"));
        print_sparsity_row(out, name, kind ? kind : "", row);
    }
    print_sparsity_row(out, "", "total", sparsity);
    double remaining = count_of(sparsity, "remaining"), others = count_of(sparsity, "other_parameters");
    if (remaining > 0) fprintf(out, "compression %.2f times", count_of(sparsity, "weights") / remaining);
    else fprintf(out, "no weights");
    fprintf(out, ", not counting %.0f biases and other parameters (with them %.2f times)\n", others,
            (count_of(sparsity, "weights") + others) / fmax(1, remaining + others));
}

void prune_table_print(FILE *out, const struct cJSON *report)
{
    fprintf(out, "%-16s %16s %16s %9s\n", "", "before", "after", "change");
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        double before = number(report, "before", ROWS[i].key), after = number(report, "after", ROWS[i].key);
        if (!isnan(before) || !isnan(after)) print_row(out, &ROWS[i], before, after);
    }
    print_stages(out, report);
    const cJSON *sparsity = cJSON_GetObjectItemCaseSensitive(report, "sparsity");
    if (!sparsity) return;
    fputc('\n', out);
    prune_table_sparsity(out, sparsity);
}
