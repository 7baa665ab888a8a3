/* Score file: JSON, version 1, one unit per line (docs/scores.md).
 * { "format": "darknet-prune-scores", "version": 1, "criterion", "cfg": {"file", "hash"}, "weights": {"file", "hash"} | null,
 *   "images", "minibatches", "loss" | null, "seed", "momentum": {"value", "iterations"} where smoothed, "units": [ {"unit", "layer", "channel", "score"}, ... ] }
 * layer and channel are the unit's first producer, in the numbering of the cfg with that hash. Numbers have 17 digits: what is read
 * is what was written. Refused: another format, version or cfg, a unit table of another network, a score that is not a finite number. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../units/mask_file.h"
#include "criteria.h"

static const char FORMAT[] = "darknet-prune-scores";
enum { VERSION = 1, UNIT_BYTES = 1024, ABOUT_BYTES = 1 << 20 };   /* far above what is written: 100 bytes for a unit */

/* false, here and below: out of memory */
static bool put_string(FILE *out, const char *text)
{
    cJSON *string = cJSON_CreateString(text);
    char *quoted = string ? cJSON_PrintUnformatted(string) : NULL;
    bool done = quoted && fputs(quoted, out) >= 0;
    cJSON_free(quoted);
    cJSON_Delete(string);
    return done;
}

static bool put_file(FILE *out, const char *name, const char *path, const char *hash)
{
    if (fprintf(out, "  \"%s\": ", name) < 0) return false;
    if (!path || !hash[0]) return fputs("null,\n", out) >= 0;
    return fputs("{\"file\": ", out) >= 0 && put_string(out, path) && fprintf(out, ", \"hash\": \"%s\"},\n", hash) > 0;
}

/* Every result is looked at: a stream in memory that could not grow drops the text and does not set its error flag. */
static bool put_all(FILE *out, const struct prune_units *units, const double *scores, const struct prune_score_file *about, const struct prune_mask_origin *origin)
{
    bool done = fprintf(out, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n  \"criterion\": ", FORMAT, VERSION) > 0 && put_string(out, about->criterion) && fputs(",\n", out) >= 0 &&
                put_file(out, "cfg", origin->cfg_path, origin->cfg_hash) && put_file(out, "weights", origin->weights_path, origin->weights_hash) &&
                fprintf(out, "  \"images\": %zu,\n  \"minibatches\": %zu,\n", about->images, about->minibatches) > 0;
    if (isfinite(about->loss)) done = done && fprintf(out, "  \"loss\": %.17g,\n", about->loss) > 0;
    else done = done && fputs("  \"loss\": null,\n", out) >= 0;
    done = done && fprintf(out, "  \"seed\": %llu,\n", (unsigned long long)about->seed) > 0;
    if (about->momentum.iterations)
        done = done && fprintf(out, "  \"momentum\": {\"value\": %.17g, \"iterations\": %zu},\n", about->momentum.value, about->momentum.iterations) > 0;
    done = done && fputs("  \"units\": [", out) >= 0;
    for (size_t u = 0; done && u < units->count; u++) {
        const struct prune_channel *m = &units->members[units->items[u].first_member];
        done = fprintf(out, "%s\n    {\"unit\": %zu, \"layer\": %d, \"channel\": %d, \"score\": %.17g}", u ? "," : "", u, m->layer, m->channel, scores[u]) > 0;
    }
    return done && fputs("\n  ]\n}\n", out) >= 0;
}

enum prune_code prune_scores_write(const char *path, const struct prune_units *units, const double *scores, const struct prune_score_file *about,
                                   const struct prune_mask_origin *origin, struct prune_status *st)
{
    for (size_t u = 0; u < units->count; u++)
        if (!isfinite(scores[u])) return prune_fail(st, "cannot write '%s': score of unit %zu is not finite", path, u);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return prune_fail_memory(st, 0, "score file");
    bool bad = !put_all(out, units, scores, about, origin);
    bad |= fclose(out) != 0 || !text || !size;   /* without memory for its last byte the stream ends empty, and says nothing */
    enum prune_code rc = bad ? prune_fail_memory(st, size, "score file") : prune_write_file(path, text, size, st);
    free(text);
    return rc;
}

static const char *string_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* A whole number in 0..limit-1; false otherwise. */
static bool index_of(const cJSON *object, const char *name, size_t limit, size_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item)) return false;
    double value = item->valuedouble;
    if (!(value >= 0 && value < (double)limit) || value != floor(value)) return false;
    *out = (size_t)value;
    return true;
}

/* iterations 0: the file has no such field. */
static enum prune_code read_momentum(const char *path, const cJSON *json, struct prune_momentum *out, struct prune_status *st)
{
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(json, "momentum"), *value = cJSON_GetObjectItemCaseSensitive(field, "value");
    *out = (struct prune_momentum){0};
    if (!field) return PRUNE_OK;
    if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0 && value->valuedouble < 1) || !index_of(field, "iterations", (size_t)INT32_MAX, &out->iterations) || !out->iterations)
        return prune_fail(st, "'%s': \"momentum\" is not {\"value\": 0 <= m < 1, \"iterations\": n >= 1}", path);
    out->value = value->valuedouble;
    return PRUNE_OK;
}

static enum prune_code check_header(const char *path, const cJSON *json, const struct prune_mask_origin *origin, struct prune_status *st)
{
    const char *format = string_of(json, "format"), *hash = string_of(cJSON_GetObjectItemCaseSensitive(json, "cfg"), "hash");
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(json, "version");
    if (strcmp(format, FORMAT) != 0) return prune_fail(st, "'%s' is not a score file: its format is '%s', expected '%s'", path, format, FORMAT);
    if (!cJSON_IsNumber(version)) return prune_fail(st, "'%s' has no version number, expected %d", path, VERSION);
    if (version->valuedouble != VERSION) return prune_fail(st, "'%s' has version %g, this program reads %d", path, version->valuedouble, VERSION);
    if (strcmp(hash, origin->cfg_hash) != 0)
        return prune_fail(st, "scores in '%s' belong to another cfg (hash '%s', '%s' has '%s'); score again", path, hash, origin->cfg_path, origin->cfg_hash);
    return PRUNE_OK;
}

static enum prune_code read_unit(const char *path, const cJSON *entry, const struct prune_units *units, uint8_t *seen, double *scores, struct prune_status *st)
{
    size_t u, layer, channel;
    if (!index_of(entry, "unit", units->count, &u)) return prune_fail(st, "'%s': an entry of \"units\" has no unit number in 0..%zu", path, units->count - 1);
    if (seen[u]) return prune_fail(st, "'%s': unit %zu is listed twice", path, u);
    const struct prune_channel *m = &units->members[units->items[u].first_member];
    if (!index_of(entry, "layer", (size_t)INT32_MAX, &layer) || !index_of(entry, "channel", (size_t)INT32_MAX, &channel) || layer != (size_t)m->layer ||
        channel != (size_t)m->channel)
        return prune_fail(st, "'%s': unit %zu is not layer %d, channel %d as in this network; score again", path, u, m->layer, m->channel);
    const cJSON *score = cJSON_GetObjectItemCaseSensitive(entry, "score");
    if (!cJSON_IsNumber(score) || !isfinite(score->valuedouble)) return prune_fail(st, "'%s': score of unit %zu is not a finite number", path, u);
    seen[u] = 1;
    scores[u] = score->valuedouble;
    return PRUNE_OK;
}

static enum prune_code read_units(const char *path, const cJSON *json, const struct prune_units *units, double *scores, struct prune_status *st)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "units");
    if (!cJSON_IsArray(list)) return prune_fail(st, "'%s' has no list \"units\"", path);
    size_t count = (size_t)cJSON_GetArraySize(list), n = units->count ? units->count : 1;
    if (count != units->count) return prune_fail(st, "'%s' scores %zu units, this network has %zu; score again", path, count, units->count);
    uint8_t *seen = calloc(n, 1);
    double *read = calloc(n, sizeof *read);
    enum prune_code rc = seen && read ? PRUNE_OK : prune_fail_memory(st, n * sizeof *read, "scores");
    for (const cJSON *entry = list->child; !rc && entry; entry = entry->next) rc = read_unit(path, entry, units, seen, read, st);
    if (!rc) memcpy(scores, read, units->count * sizeof *scores);
    free(seen);
    free(read);
    return rc;
}

static enum prune_code parse(const char *path, const char *bytes, size_t size, cJSON **out, struct prune_status *st)
{
    const char *end = NULL;
    bool text = size && !memchr(bytes, 0, size);   /* cJSON would take a zero byte for white space */
    cJSON *json = text ? cJSON_ParseWithLengthOpts(bytes, size, &end, false) : NULL;
    if (!json) return prune_fail(st, "cannot read '%s': it is not JSON%s", path, size ? "" : " (empty file)");
    while (end < bytes + size && strchr(" \t\r\n", *end)) end++;
    enum prune_code rc = end == bytes + size ? PRUNE_OK : prune_fail(st, "cannot read '%s': text after the end of the JSON object", path);
    if (rc) cJSON_Delete(json);
    else *out = json;
    return rc;
}

enum prune_code prune_scores_parse(const char *path, const char *bytes, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                   double *scores, struct prune_status *st)
{
    cJSON *json = NULL;
    struct prune_momentum momentum;
    enum prune_code rc = parse(path, bytes, size, &json, st);
    if (!rc) rc = check_header(path, json, origin, st);
    if (!rc) rc = read_momentum(path, json, &momentum, st);
    if (!rc) rc = read_units(path, json, units, scores, st);
    cJSON_Delete(json);
    return rc;
}

enum prune_code prune_scores_about(const char *path, char **criterion, struct prune_momentum *momentum, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    cJSON *json = NULL;
    enum prune_code rc = prune_read_file(path, &bytes, &size, st);
    if (!rc) rc = parse(path, bytes, size, &json, st);
    if (!rc) rc = read_momentum(path, json, momentum, st);
    if (!rc) {
        *criterion = strdup(string_of(json, "criterion"));
        if (!*criterion) rc = prune_fail_memory(st, 0, "criterion");
    }
    cJSON_Delete(json);
    free(bytes);
    return rc;
}

enum prune_code prune_scores_read(const char *path, const struct prune_units *units, const struct prune_mask_origin *origin, double *scores, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file_within(path, ABOUT_BYTES + units->count * UNIT_BYTES, &bytes, &size, st);
    if (rc) return rc;
    rc = prune_scores_parse(path, bytes, size, units, origin, scores, st);
    free(bytes);
    return rc;
}
