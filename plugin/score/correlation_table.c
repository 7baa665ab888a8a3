/* Tables of `correlate`; see correlation_table.h. */
#include "correlation_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "criteria.h"

enum { FILE_LIMIT = 256 << 20 };

/* ---- tables ---- */

enum prune_code prune_correlation_table_init(struct prune_correlation_table *t, size_t rows, size_t columns, struct prune_status *st)
{
    size_t n = rows + 1;
    *t = (struct prune_correlation_table){.rows = calloc(n, sizeof *t->rows), .row_count = rows, .columns = calloc(columns + 1, sizeof *t->columns), .column_count = columns};
    t->oracle = calloc(n, sizeof *t->oracle);
    t->without = calloc(n, sizeof *t->without);
    bool made = t->rows && t->oracle && t->without && t->columns;
    for (size_t k = 0; made && k < columns; k++) made = (t->columns[k].values = calloc(n, sizeof(double))) != NULL;
    if (made) return PRUNE_OK;
    prune_correlation_table_free(t);
    return prune_fail_memory(st, n * (columns + 4) * sizeof(double), "table of scores");
}

void prune_correlation_table_free(struct prune_correlation_table *t)
{
    for (size_t k = 0; t->columns && k < t->column_count; k++) {
        free(t->columns[k].name);
        free(t->columns[k].values);
    }
    free(t->columns);
    free(t->rows);
    free(t->oracle);
    free(t->without);
    *t = (struct prune_correlation_table){0};
}

static int span_of(const struct prune_units *units, size_t u)
{
    const struct prune_unit *unit = &units->items[u];
    int span = 0;
    for (size_t m = 0; m < unit->member_count; m++)   /* members are in the order of layers */
        span += !m || units->members[unit->first_member + m].layer != units->members[unit->first_member + m - 1].layer;
    return span;
}

void prune_correlation_table_units(struct prune_correlation_table *t, const struct prune_units *units, const unsigned char *picked)
{
    size_t row = 0;
    for (size_t u = 0; u < units->count; u++) {
        const struct prune_channel *c = &units->members[units->items[u].first_member];
        if (picked[u]) t->rows[row++] = (struct prune_correlation_unit){(int)u, c->layer, c->channel, span_of(units, u)};
    }
}

const struct prune_criterion *prune_correlation_criterion(const char *column)
{
    char name[64];
    size_t length = strcspn(column, "@");
    if (length >= sizeof name) return NULL;
    memcpy(name, column, length);
    name[length] = 0;
    return prune_criterion_find(name);
}

/* ---- writing ---- */

/* false: out of memory */
static bool put_table(FILE *f, const struct prune_correlation_table *t)
{
    bool done = fputs("layer,channel,unit,span,oracle,loss_without", f) >= 0;
    for (size_t k = 0; done && k < t->column_count; k++) done = fprintf(f, ",%s", t->columns[k].name) > 0;
    for (size_t i = 0; done && i < t->row_count; i++) {
        const struct prune_correlation_unit *u = &t->rows[i];
        done = fprintf(f, "\n%d,%d,%d,%d,%.17g,", u->layer, u->channel, u->unit, u->span, t->oracle[i]) > 0;
        if (done && isfinite(t->without[i])) done = fprintf(f, "%.17g", t->without[i]) > 0;
        for (size_t k = 0; done && k < t->column_count; k++) done = fprintf(f, ",%.17g", t->columns[k].values[i]) > 0;
    }
    return done && fputc('\n', f) != EOF;
}

enum prune_code prune_correlation_table_write(const struct prune_correlation_table *t, const char *path, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return prune_fail_memory(st, 0, "table of scores");
    bool done = put_table(f, t);
    if (fclose(f) || !text || !size) done = false;
    enum prune_code rc = done ? prune_write_file(path, text, size, st) : prune_fail_memory(st, size, "table of scores");
    free(text);
    return rc;
}

/* ---- reading ---- */

struct csv { const char *path; char *bytes, **fields; size_t columns, rows; };   /* fields: (rows + 1, columns), the first row names them */

static void csv_free(struct csv *c)
{
    free(c->bytes);
    free(c->fields);
}

/* Cuts the bytes into fields; blank lines do not count. */
static enum prune_code csv_cut(struct csv *c, size_t lines, struct prune_status *st)
{
    size_t line = 0;
    for (char *at = c->bytes, *next; at; at = next) {
        next = strchr(at, '\n');
        if (next) *next++ = 0;
        line++;
        at[strcspn(at, "\r")] = 0;
        if (!*at) continue;
        size_t columns = 1;
        for (const char *p = at; *p; p++) columns += *p == ',';
        if (!c->fields) {
            c->columns = columns;
            c->fields = calloc(columns * (lines + 1), sizeof *c->fields);
            if (!c->fields) return prune_fail_memory(st, columns * lines * sizeof *c->fields, "table");
        } else if (columns != c->columns) {
            return prune_fail(st, "'%s', line %zu has %zu fields, the first line has %zu", c->path, line, columns, c->columns);
        } else {
            c->rows++;
        }
        for (size_t k = 0; k < columns; k++) {
            c->fields[c->rows * columns + k] = at;
            at += strcspn(at, ",");
            if (*at) *at++ = 0;
        }
    }
    return c->rows ? PRUNE_OK : prune_fail(st, "'%s' has no rows", c->path);
}

static enum prune_code csv_read(struct csv *c, const char *path, struct prune_status *st)
{
    size_t size, lines = 1;
    *c = (struct csv){.path = path};
    enum prune_code rc = prune_read_file_within(path, FILE_LIMIT, &c->bytes, &size, st);
    if (rc) return rc;
    for (size_t i = 0; i < size; i++) lines += c->bytes[i] == '\n';
    if (memchr(c->bytes, 0, size)) rc = prune_fail(st, "cannot read '%s': it holds a zero byte, so it is not a text file", path);
    if (!rc) rc = csv_cut(c, lines, st);
    if (rc) csv_free(c);
    return rc;
}

/* c->columns: there is none of that name. */
static size_t csv_find(const struct csv *c, const char *name)
{
    size_t k = 0;
    while (k < c->columns && strcmp(c->fields[k], name) != 0) k++;
    return k;
}

static enum prune_code csv_demand(const struct csv *c, const char *name, size_t *column, struct prune_status *st)
{
    *column = csv_find(c, name);
    return *column < c->columns ? PRUNE_OK : prune_fail(st, "'%s' has no column '%s'", c->path, name);
}

/* Field of a row from 0; empty: NaN where that is allowed. */
static enum prune_code csv_number(const struct csv *c, size_t row, size_t column, bool optional, double *out, struct prune_status *st)
{
    const char *text = c->fields[(row + 1) * c->columns + column];
    char *end;
    if (optional && !*text) {
        *out = NAN;
        return PRUNE_OK;
    }
    *out = strtod(text, &end);
    if (end == text || *end || !isfinite(*out))
        return prune_fail(st, "'%s', row %zu: '%s' in column '%s' is not a finite number", c->path, row + 1, text, c->fields[column]);
    return PRUNE_OK;
}

static enum prune_code csv_whole(const struct csv *c, size_t row, size_t column, int fallback, int *out, struct prune_status *st)
{
    double value = fallback;
    enum prune_code rc = column < c->columns ? csv_number(c, row, column, false, &value, st) : PRUNE_OK;
    if (rc) return rc;
    if (!(value >= 0 && value <= INT32_MAX) || value != floor(value))
        return prune_fail(st, "'%s', row %zu: '%s' in column '%s' is not a whole number", c->path, row + 1, c->fields[(row + 1) * c->columns + column], c->fields[column]);
    *out = (int)value;
    return PRUNE_OK;
}

/* Columns of a table that are no scores. */
enum known { LAYER, CHANNEL, UNIT, SPAN, ORACLE, WITHOUT, KNOWN };
static const char *const KNOWN_NAMES[KNOWN] = {"layer", "channel", "unit", "span", "oracle", "loss_without"};

static enum prune_code find_known(const struct csv *c, size_t at[KNOWN], struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (int k = 0; k < KNOWN; k++) at[k] = csv_find(c, KNOWN_NAMES[k]);
    for (int k = 0; !rc && k < KNOWN; k++)
        if (k == LAYER || k == CHANNEL || k == ORACLE) rc = csv_demand(c, KNOWN_NAMES[k], &at[k], st);
    return rc;
}

static enum prune_code read_row(const struct csv *c, const size_t at[KNOWN], size_t i, struct prune_correlation_table *t, struct prune_status *st)
{
    struct prune_correlation_unit *u = &t->rows[i];
    enum prune_code rc = csv_whole(c, i, at[LAYER], 0, &u->layer, st);
    if (!rc) rc = csv_whole(c, i, at[CHANNEL], 0, &u->channel, st);
    if (!rc) rc = csv_whole(c, i, at[UNIT], (int)i, &u->unit, st);
    if (!rc) rc = csv_whole(c, i, at[SPAN], 1, &u->span, st);
    if (!rc) rc = csv_number(c, i, at[ORACLE], false, &t->oracle[i], st);
    t->without[i] = NAN;
    if (!rc && at[WITHOUT] < c->columns) rc = csv_number(c, i, at[WITHOUT], true, &t->without[i], st);
    return rc;
}

static enum prune_code read_scores(const struct csv *c, size_t column, struct prune_correlation_table *t, size_t k, struct prune_status *st)
{
    struct prune_correlation_column *to = &t->columns[k];
    enum prune_code rc = PRUNE_OK;
    to->name = strdup(c->fields[column]);
    if (!to->name) return prune_fail_memory(st, strlen(c->fields[column]), "name of a column");
    const struct prune_criterion *criterion = prune_correlation_criterion(to->name);
    to->is_signed = criterion && criterion->is_signed;
    for (size_t i = 0; !rc && i < t->row_count; i++) rc = csv_number(c, i, column, false, &to->values[i], st);
    return rc;
}

static bool is_known(const char *name)
{
    for (int k = 0; k < KNOWN; k++)
        if (strcmp(name, KNOWN_NAMES[k]) == 0) return true;
    return false;
}

static enum prune_code table_of(struct prune_correlation_table *t, const struct csv *c, struct prune_status *st)
{
    size_t at[KNOWN], scores = 0;
    enum prune_code rc = find_known(c, at, st);
    if (rc) return rc;
    for (size_t k = 0; k < c->columns; k++) scores += !is_known(c->fields[k]);
    if (!scores) return prune_fail(st, "'%s' has no column of scores", c->path);
    rc = prune_correlation_table_init(t, c->rows, scores, st);
    if (rc) return rc;
    for (size_t i = 0; !rc && i < c->rows; i++) rc = read_row(c, at, i, t, st);
    for (size_t k = 0, to = 0; !rc && k < c->columns; k++)
        if (!is_known(c->fields[k])) rc = read_scores(c, k, t, to++, st);
    if (rc) prune_correlation_table_free(t);
    return rc;
}

enum prune_code prune_correlation_table_read(struct prune_correlation_table *t, const char *path, struct prune_status *st)
{
    struct csv c;
    enum prune_code rc = csv_read(&c, path, st);
    if (rc) return rc;
    rc = table_of(t, &c, st);
    csv_free(&c);
    return rc;
}

static enum prune_code unit_at(const struct csv *c, size_t row, const size_t at[KNOWN], const struct prune_units *units, size_t *unit, struct prune_status *st)
{
    int layer, channel;
    enum prune_code rc = csv_whole(c, row, at[LAYER], 0, &layer, st);
    if (!rc) rc = csv_whole(c, row, at[CHANNEL], 0, &channel, st);
    if (rc) return rc;
    for (size_t u = 0; u < units->count; u++) {
        for (size_t m = 0; m < units->items[u].member_count; m++) {
            const struct prune_channel *p = &units->members[units->items[u].first_member + m];
            if (p->layer != layer || p->channel != channel) continue;
            *unit = u;
            return PRUNE_OK;
        }
    }
    return prune_fail(st, "'%s', row %zu: layer %d channel %d is no unit of this network; compute the oracle of this cfg", c->path, row + 1, layer, channel);
}

enum prune_code prune_correlation_oracle_read(const char *path, const struct prune_units *units, double *oracle, double *without, struct prune_status *st)
{
    struct csv c;
    size_t at[KNOWN];
    enum prune_code rc = csv_read(&c, path, st);
    if (rc) return rc;
    for (size_t u = 0; u < units->count; u++) oracle[u] = without[u] = NAN;
    rc = find_known(&c, at, st);
    for (size_t i = 0; !rc && i < c.rows; i++) {
        size_t u = 0;
        double value = NAN, loss = NAN;
        rc = unit_at(&c, i, at, units, &u, st);
        if (!rc) rc = csv_number(&c, i, at[ORACLE], false, &value, st);
        if (!rc && at[WITHOUT] < c.columns) rc = csv_number(&c, i, at[WITHOUT], true, &loss, st);
        if (!rc) oracle[u] = value, without[u] = loss;
    }
    csv_free(&c);
    return rc;
}
