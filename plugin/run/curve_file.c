/* Curves on disk; see curve_file.h.
 * { "format": "darknet-prune-curve", "version": 1, "data", "cfg": {"file", "hash"}, "weights": {"file", "hash"}, "settings", "accuracy",
 *   "curves": [ {"criterion", "recomputed", "seed", "done", "removed", "reached": [{"loss", "removed"}], "order": [unit, ...]}, ... ],
 *   "rows": [ {"curve", "step", "removed", "units", "channels", "macs", "parameters", "loss", ...}, ... ] } */
#include "curve_file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../base/json_write.h"

static const char FORMAT[] = "darknet-prune-curve";
enum { VERSION = 1, LARGEST = 1 << 28 };

void prune_curves_free(struct prune_curves *set)
{
    for (size_t i = 0; i < set->count; i++) prune_curve_free(&set->items[i]);
    free(set->items);
    free(set->settings);
    memset(set, 0, sizeof *set);
}

struct prune_curve *prune_curves_add(struct prune_curves *set, const char *criterion, bool recomputed, uint64_t seed)
{
    for (size_t i = 0; i < set->count; i++) {
        struct prune_curve *c = &set->items[i];
        if (strcmp(c->criterion, criterion) == 0 && c->recomputed == recomputed && c->seed == seed) return c;
    }
    struct prune_curve *items = realloc(set->items, (set->count + 1) * sizeof *items);
    if (!items) return NULL;
    set->items = items;
    items[set->count] = (struct prune_curve){.criterion = criterion, .recomputed = recomputed, .seed = seed};
    return &items[set->count++];
}

bool prune_curves_same_group(const struct prune_curve *a, const struct prune_curve *b)
{
    return strcmp(a->criterion, b->criterion) == 0 && a->recomputed == b->recomputed;
}

bool prune_curves_leads(const struct prune_curves *set, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (prune_curves_same_group(&set->items[k], &set->items[i])) return false;
    return true;
}

/* Units that are gone at the last row; more may have been chosen since. */
static size_t counted(const struct prune_curve *c)
{
    return c->count ? c->rows[c->count - 1].removed : 0;
}

static void put_file(struct prune_json *j, const char *key, const char *path, const char *hash)
{
    prune_json_begin_object(j, key);
    prune_json_string(j, "file", path);
    prune_json_string(j, "hash", hash);
    prune_json_end(j);
}

static void put_curve(struct prune_json *j, const struct prune_curves *set, const struct prune_curve *c)
{
    prune_json_begin_object(j, NULL);
    prune_json_string(j, "criterion", c->criterion);
    prune_json_bool(j, "recomputed", c->recomputed);
    prune_json_whole(j, "seed", (int64_t)c->seed);
    prune_json_bool(j, "done", c->done);
    prune_json_whole(j, "removed", (int64_t)counted(c));
    prune_json_begin_array(j, "reached");
    for (size_t k = 0; k < set->loss_at_count; k++) {
        prune_json_begin_object(j, NULL);
        prune_json_number(j, "loss", set->loss_at[k]);
        prune_json_number(j, "removed", prune_curve_reaches(c, PRUNE_CURVE_LOSS, set->loss_at[k]));
        prune_json_end(j);
    }
    prune_json_end(j);
    prune_json_wholes(j, "order", c->order, counted(c));
    prune_json_end(j);
}

static void put_row(struct prune_json *j, size_t curve, const struct prune_curve_row *r)
{
    prune_json_begin_object(j, NULL);
    prune_json_whole(j, "curve", (int64_t)curve);
    prune_json_whole(j, "step", (int64_t)r->step);
    prune_json_whole(j, "removed", (int64_t)r->removed);
    prune_json_whole(j, "units", (int64_t)r->cost.units);
    prune_json_whole(j, "channels", (int64_t)r->cost.channels);
    prune_json_whole(j, "macs", (int64_t)r->cost.macs);
    prune_json_whole(j, "parameters", (int64_t)r->cost.parameters);
    for (int v = 0; v < PRUNE_CURVE_VALUES; v++) prune_json_number(j, prune_curve_value_name(v), r->values[v]);
    prune_json_end(j);
}

static enum prune_code put_bytes(void *to, const void *bytes, size_t size, struct prune_status *st)
{
    return prune_writer_put(to, bytes, size, st);
}

static enum prune_code put_set(const struct prune_curves *set, struct prune_writer *w, struct prune_status *st)
{
    struct prune_json j;
    prune_json_start(&j, PRUNE_JSON_ROWS, put_bytes, w, st);
    prune_json_begin_object(&j, NULL);
    prune_json_string(&j, "format", FORMAT);
    prune_json_whole(&j, "version", VERSION);
    prune_json_string(&j, "data", set->data);
    put_file(&j, "cfg", set->origin->cfg_path, set->origin->cfg_hash);
    put_file(&j, "weights", set->origin->weights_path, set->origin->weights_hash);
    prune_json_string(&j, "settings", set->settings);
    prune_json_string(&j, "accuracy", set->accuracy);
    prune_json_begin_array(&j, "curves");
    for (size_t i = 0; i < set->count; i++) put_curve(&j, set, &set->items[i]);
    prune_json_end(&j);
    prune_json_begin_array(&j, "rows");
    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; k < set->items[i].count; k++) put_row(&j, i, &set->items[i].rows[k]);
    prune_json_end(&j);
    prune_json_end(&j);
    return prune_json_end_text(&j);
}

enum prune_code prune_curves_write_json(const struct prune_curves *set, const char *path, struct prune_status *st)
{
    struct prune_writer *w;
    enum prune_code rc = prune_writer_open(&w, path, st);
    if (rc) return rc;
    rc = put_set(set, w, st);
    if (!rc) return prune_writer_commit(w, st);
    prune_writer_abort(w);
    return rc;
}

static enum prune_code csv_row(const struct prune_curve *c, const struct prune_curve_row *r, struct prune_writer *w, struct prune_status *st)
{
    char line[1024];
    size_t room = sizeof line, n = (size_t)snprintf(line, room, "%s,%d,%llu,%zu,%zu,%zu,%zu,%llu,%llu", c->criterion, c->recomputed, (unsigned long long)c->seed, r->step,
                                                    r->removed, r->cost.units, r->cost.channels, (unsigned long long)r->cost.macs, (unsigned long long)r->cost.parameters);
    for (int v = 0; v < PRUNE_CURVE_VALUES && n < room; v++)
        n += (size_t)(isnan(r->values[v]) ? snprintf(line + n, room - n, ",") : snprintf(line + n, room - n, ",%.9g", r->values[v]));
    if (n + 2 > room) return prune_fail(st, "the name '%s' is too long for a row", c->criterion);
    line[n++] = '\n';
    return prune_writer_put(w, line, n, st);
}

enum prune_code prune_curves_write_csv(const struct prune_curves *set, const char *path, struct prune_status *st)
{
    static const char HEAD[] = "criterion,recomputed,seed,step,removed,units,channels,macs,parameters";
    struct prune_writer *w;
    enum prune_code rc = prune_writer_open(&w, path, st);
    if (rc) return rc;
    rc = prune_writer_put(w, HEAD, sizeof HEAD - 1, st);
    for (int v = 0; !rc && v < PRUNE_CURVE_VALUES; v++) {
        const char *name = prune_curve_value_name(v);
        rc = prune_writer_put(w, ",", 1, st);
        if (!rc) rc = prune_writer_put(w, name, strlen(name), st);
    }
    if (!rc) rc = prune_writer_put(w, "\n", 1, st);
    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; !rc && k < set->items[i].count; k++) rc = csv_row(&set->items[i], &set->items[i].rows[k], w, st);
    if (!rc) return prune_writer_commit(w, st);
    prune_writer_abort(w);
    return rc;
}

/* Reading */

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* A whole number of 0 to `most`. */
static bool whole_of(const cJSON *object, const char *name, double most, uint64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= most) || floor(item->valuedouble) < item->valuedouble) return false;
    *out = (uint64_t)item->valuedouble;
    return true;
}

static enum prune_code damaged(const char *path, const char *what, struct prune_status *st)
{
    return prune_fail(st, "cannot go on from '%s': %s; remove the file or name another -out", path, what);
}

static enum prune_code check_head(const struct prune_curves *set, const char *path, const cJSON *root, struct prune_status *st)
{
    uint64_t version = 0;
    if (strcmp(text_of(root, "format"), FORMAT) != 0) return damaged(path, "it is not a file of curves", st);
    if (!whole_of(root, "version", 1e9, &version) || version != VERSION) return damaged(path, "its version is not 1", st);
    if (strcmp(text_of(cJSON_GetObjectItemCaseSensitive(root, "cfg"), "hash"), set->origin->cfg_hash) != 0)
        return prune_fail(st, "cannot go on from '%s': it is of another cfg than '%s'; remove the file or name another -out", path, set->origin->cfg_path);
    if (strcmp(text_of(cJSON_GetObjectItemCaseSensitive(root, "weights"), "hash"), set->origin->weights_hash) != 0)
        return prune_fail(st, "cannot go on from '%s': it is of other weights than '%s'; remove the file or name another -out", path, set->origin->weights_path);
    if (strcmp(text_of(root, "settings"), set->settings) != 0)
        return prune_fail(st, "cannot go on from '%s': it was made with '%s', and this is '%s'; remove the file or name another -out", path, text_of(root, "settings"), set->settings);
    return PRUNE_OK;
}

/* The order of one curve: units that may go, each once. */
static enum prune_code read_order(struct prune_curve *c, const cJSON *list, const char *path, const struct prune_units *units, struct prune_status *st)
{
    uint8_t *seen = calloc(units->count + 1, 1);
    c->order = malloc((units->count + 1) * sizeof *c->order);
    enum prune_code rc = seen && c->order ? PRUNE_OK : prune_fail_memory(st, units->count * sizeof *c->order, "order of units");
    if (!rc && !cJSON_IsArray(list)) rc = damaged(path, "a curve has no 'order'", st);
    for (const cJSON *item = rc ? NULL : list->child; !rc && item; item = item->next) {
        double u = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(u >= 0 && u < (double)units->count) || seen[(size_t)u] || units->items[(size_t)u].protected_because) rc = damaged(path, "an 'order' names a unit that cannot go", st);
        else seen[c->order[c->removed++] = (int)u] = 1;
    }
    free(seen);
    return rc;
}

static enum prune_code read_curve(struct prune_curves *set, const cJSON *item, const char *path, const struct prune_units *units, size_t *at, struct prune_status *st)
{
    struct prune_curve_ranking ranking;
    const cJSON *recomputed = cJSON_GetObjectItemCaseSensitive(item, "recomputed"), *done = cJSON_GetObjectItemCaseSensitive(item, "done");
    uint64_t seed;
    if (!prune_curve_ranking(text_of(item, "criterion"), &ranking) || !cJSON_IsBool(recomputed) || !cJSON_IsBool(done) || !whole_of(item, "seed", 9e15, &seed))
        return damaged(path, "a curve has no known 'criterion', no 'recomputed', 'done' or 'seed'", st);
    struct prune_curve *c = prune_curves_add(set, ranking.name, cJSON_IsTrue(recomputed), seed);
    if (!c) return prune_fail_memory(st, sizeof *c, "curves");
    if (c->order) return damaged(path, "a curve is there twice", st);
    c->done = cJSON_IsTrue(done);
    *at = (size_t)(c - set->items);
    return read_order(c, cJSON_GetObjectItemCaseSensitive(item, "order"), path, units, st);
}

static bool read_values(struct prune_curve_row *r, const cJSON *item)
{
    for (int v = 0; v < PRUNE_CURVE_VALUES; v++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, prune_curve_value_name(v));
        if (!cJSON_IsNumber(value) && !cJSON_IsNull(value)) return false;
        r->values[v] = cJSON_IsNumber(value) ? value->valuedouble : NAN;
    }
    return true;
}

/* costs are counted again, from the order */
static enum prune_code read_row(struct prune_curve *c, const cJSON *item, const char *path, const struct prune_net *net, const struct prune_units *units, uint8_t *gone,
                                struct prune_status *st)
{
    struct prune_curve_row row = {.step = c->count};
    uint64_t step = 0, removed = 0, before = counted(c);
    if (!whole_of(item, "step", 1e9, &step) || step != c->count || !whole_of(item, "removed", (double)c->removed, &removed) || (c->count && removed <= before) ||
        (!c->count && removed) || !read_values(&row, item))
        return damaged(path, "its rows are not in order or not whole", st);
    memset(gone, 0, units->count);
    for (size_t i = 0; i < removed; i++) gone[c->order[i]] = 1;
    row.removed = (size_t)removed;
    prune_units_cost(net, units, gone, &row.cost);
    struct prune_curve_row *rows = realloc(c->rows, (c->count + 1) * sizeof *rows);
    if (!rows) return prune_fail_memory(st, (c->count + 1) * sizeof *rows, "rows of a curve");
    c->rows = rows;
    rows[c->count++] = row;
    return PRUNE_OK;
}

static enum prune_code read_rows(struct prune_curves *set, const cJSON *list, const size_t *at, size_t curves, const char *path, const struct prune_net *net,
                                 const struct prune_units *units, struct prune_status *st)
{
    uint8_t *gone = malloc(units->count + 1);
    enum prune_code rc = gone ? PRUNE_OK : prune_fail_memory(st, units->count, "mask");
    for (const cJSON *item = list ? list->child : NULL; !rc && item; item = item->next) {
        uint64_t curve = 0;
        rc = whole_of(item, "curve", (double)curves - 1, &curve) ? read_row(&set->items[at[curve]], item, path, net, units, gone, st) : damaged(path, "a row is of no curve", st);
    }
    for (size_t i = 0; !rc && i < curves; i++)
        if (counted(&set->items[at[i]]) != set->items[at[i]].removed || (set->items[at[i]].done && !set->items[at[i]].count)) rc = damaged(path, "an 'order' does not end where its rows do", st);
    free(gone);
    return rc;
}

static enum prune_code read_all(struct prune_curves *set, const char *path, const cJSON *root, const struct prune_net *net, const struct prune_units *units, struct prune_status *st)
{
    const cJSON *curves = cJSON_GetObjectItemCaseSensitive(root, "curves");
    enum prune_code rc = check_head(set, path, root, st);
    if (rc) return rc;
    size_t count = 0, room = cJSON_IsArray(curves) ? (size_t)cJSON_GetArraySize(curves) : 0, *at = calloc(room + 1, sizeof *at);
    if (!at) return prune_fail_memory(st, room * sizeof *at, "curves");
    for (const cJSON *item = room ? curves->child : NULL; !rc && item; item = item->next) rc = read_curve(set, item, path, units, &at[count++], st);
    if (!rc) rc = read_rows(set, cJSON_GetObjectItemCaseSensitive(root, "rows"), at, count, path, net, units, st);
    free(at);
    return rc;
}

enum prune_code prune_curves_read(struct prune_curves *set, const char *path, const struct prune_net *net, const struct prune_units *units, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file_within(path, LARGEST, &text, &size, st);
    if (rc) return rc;
    cJSON *root = cJSON_ParseWithLength(text, size);
    free(text);
    rc = root ? read_all(set, path, root, net, units, st) : damaged(path, "it is not JSON", st);
    cJSON_Delete(root);
    return rc;
}
