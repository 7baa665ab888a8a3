/* Mask file (JSON); the format is in mask_file.h and docs/mask.md. Reading refuses whatever is not exactly a set of whole, removable
 * units of this cfg: unknown version or kind, another cfg, a channel twice, a unit in part, a protected unit. */
#include "mask_file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

static cJSON *file_and_hash(const char *path, const char *hash)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "file", path ? path : "");
    cJSON_AddStringToObject(o, "hash", hash);
    return o;
}

/* {"layer": L, "channels": [those whose removed bit is `bit`]} for every layer that loses a producer. lost[layer][channel] */
static void add_layers(cJSON *array, const struct prune_units *units, uint8_t *const *lost, const int *channels, const int *losses, int bit)
{
    for (size_t l = 0; l < units->layer_count; l++) {
        if (!losses[l]) continue;
        cJSON *entry = cJSON_CreateObject(), *list = cJSON_CreateArray();
        cJSON_AddNumberToObject(entry, "layer", (double)l);
        for (int c = 0; c < channels[l]; c++)
            if (lost[l][c] == bit) cJSON_AddItemToArray(list, cJSON_CreateNumber(c));
        cJSON_AddItemToObject(entry, "channels", list);
        cJSON_AddItemToArray(array, entry);
    }
}

struct table { int *channels, *losses; uint8_t **lost; size_t layers; };

static void table_free(struct table *t)
{
    for (size_t l = 0; t->lost && l < t->layers; l++) free(t->lost[l]);
    free(t->lost);
    free(t->channels);
    free(t->losses);
}

/* Producers per layer; lost[layer][channel] = 0. */
static enum prune_code table_make(struct table *t, const struct prune_units *units, struct prune_status *st)
{
    t->layers = units->layer_count;
    t->channels = calloc(t->layers + 1, sizeof *t->channels);
    t->losses = calloc(t->layers + 1, sizeof *t->losses);
    t->lost = calloc(t->layers + 1, sizeof *t->lost);
    if (!t->channels || !t->losses || !t->lost) return prune_fail_memory(st, t->layers * sizeof *t->lost, "mask");
    for (size_t m = 0; m < units->member_count; m++)
        if (t->channels[units->members[m].layer] <= units->members[m].channel) t->channels[units->members[m].layer] = units->members[m].channel + 1;
    for (size_t l = 0; l < t->layers; l++) {
        t->lost[l] = calloc((size_t)t->channels[l] + 1, 1);
        if (!t->lost[l]) return prune_fail_memory(st, (size_t)t->channels[l], "mask");
    }
    return PRUNE_OK;
}

enum prune_code prune_mask_write(const char *path, const struct prune_units *units, const uint8_t *removed, const struct prune_mask_origin *origin, struct prune_status *st)
{
    struct table t = { 0 };
    enum prune_code rc = table_make(&t, units, st);
    for (size_t u = 0; !rc && u < units->count; u++)
        for (size_t i = 0; removed[u] && i < units->items[u].member_count; i++) {
            struct prune_channel m = units->members[units->items[u].first_member + i];
            t.lost[m.layer][m.channel] = 1;
            t.losses[m.layer]++;
        }
    char *text = NULL;
    if (!rc) {
        cJSON *root = cJSON_CreateObject(), *gone = cJSON_CreateArray(), *kept = cJSON_CreateArray();
        cJSON_AddStringToObject(root, "format", "darknet-prune-mask");
        cJSON_AddNumberToObject(root, "version", 1);
        cJSON_AddItemToObject(root, "cfg", file_and_hash(origin->cfg_path, origin->cfg_hash));
        cJSON_AddItemToObject(root, "weights", *origin->weights_hash ? file_and_hash(origin->weights_path, origin->weights_hash) : cJSON_CreateNull());
        cJSON_AddStringToObject(root, "kind", "unit");
        add_layers(gone, units, t.lost, t.channels, t.losses, 1);
        add_layers(kept, units, t.lost, t.channels, t.losses, 0);
        cJSON_AddItemToObject(root, "removed", gone);
        cJSON_AddItemToObject(root, "kept", kept);
        text = cJSON_Print(root);
        cJSON_Delete(root);
        rc = text ? PRUNE_OK : prune_fail_memory(st, 1, "mask file");
    }
    if (!rc) {
        size_t n = strlen(text);
        text[n] = '\n';                  /* the place of the NUL: the file ends with a newline */
        rc = prune_write_file(path, text, n + 1, st);
    }
    free(text);
    table_free(&t);
    return rc;
}

static const char *string_of(const cJSON *object, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return s ? s : "";
}

static enum prune_code check_header(const cJSON *root, const char *path, const struct prune_mask_origin *origin, struct prune_status *st)
{
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "version");
    if (!cJSON_IsObject(root) || strcmp(string_of(root, "format"), "darknet-prune-mask")) return prune_fail(st, "'%s' is no mask file of darknet prune", path);
    if (!cJSON_IsNumber(version) || version->valuedouble != 1) return prune_fail(st, "'%s' is a mask file of another version; this program reads version 1", path);
    if (strcmp(string_of(root, "kind"), "unit")) return prune_fail(st, "'%s' holds a mask of kind '%s'; only 'unit' can be applied", path, string_of(root, "kind"));
    const char *hash = string_of(cJSON_GetObjectItemCaseSensitive(root, "cfg"), "hash");
    if (strcmp(hash, origin->cfg_hash))
        return prune_fail(st, "mask '%s' belongs to another cfg: it was made for %s, '%s' is %s", path, *hash ? hash : "(no hash)", origin->cfg_path, origin->cfg_hash);
    return PRUNE_OK;
}

/* A JSON number that is a whole one in [0, limit). */
static bool whole(const cJSON *item, size_t limit, size_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble >= (double)limit || floor(item->valuedouble) != item->valuedouble) return false;
    *value = (size_t)item->valuedouble;
    return true;
}

static enum prune_code mark_channels(struct table *t, const cJSON *root, const char *path, struct prune_status *st)
{
    const cJSON *gone = cJSON_GetObjectItemCaseSensitive(root, "removed"), *entry, *item;
    if (!cJSON_IsArray(gone)) return prune_fail(st, "mask '%s' has no list 'removed'", path);
    cJSON_ArrayForEach(entry, gone) {
        size_t l, c;
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(entry, "channels");
        if (!whole(cJSON_GetObjectItemCaseSensitive(entry, "layer"), t->layers, &l)) return prune_fail(st, "mask '%s' names a layer that the cfg does not have", path);
        if (!cJSON_IsArray(list)) return prune_fail(st, "mask '%s': layer %zu has no list 'channels'", path, l);
        cJSON_ArrayForEach(item, list) {
            if (!whole(item, (size_t)t->channels[l], &c))
                return prune_fail(st, "mask '%s' names a channel that layer %zu does not have (it makes %d that can be removed)", path, l, t->channels[l]);
            if (t->lost[l][c]) return prune_fail(st, "mask '%s' names layer %zu channel %zu twice", path, l, c);
            t->lost[l][c] = 1;
        }
    }
    return PRUNE_OK;
}

static enum prune_code mark_units(const struct prune_units *units, const struct table *t, const char *path, uint8_t *out, struct prune_status *st)
{
    for (size_t u = 0; u < units->count; u++) {
        const struct prune_unit *unit = &units->items[u];
        const struct prune_channel *m = &units->members[unit->first_member];
        size_t lost = 0, kept = 0;
        for (size_t i = 0; i < unit->member_count; i++)
            if (t->lost[m[i].layer][m[i].channel]) lost = i + 1;
            else kept = i + 1;
        if (lost && unit->protected_because)
            return prune_fail(st, "mask '%s' removes layer %d channel %d, which must stay: %s", path, m[lost - 1].layer, m[lost - 1].channel, unit->protected_because);
        if (lost && kept)
            return prune_fail(st, "mask '%s' removes layer %d channel %d but not layer %d channel %d, which is tied to it; a unit goes as a whole", path,
                              m[lost - 1].layer, m[lost - 1].channel, m[kept - 1].layer, m[kept - 1].channel);
        out[u] = lost != 0;
    }
    return PRUNE_OK;
}

enum prune_code prune_mask_parse(const char *path, const char *text, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                 uint8_t *removed, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size + 1, &end, 1);    /* the NUL behind the bytes must follow at once */
    struct table t = { 0 };
    uint8_t *out = malloc(units->count + 1);
    if (!out) rc = prune_fail_memory(st, units->count, "mask");
    else if (!root || end != text + size) rc = prune_fail(st, "'%s' is not JSON (near byte %zu)", path, end ? (size_t)(end - text) : 0);
    if (!rc) rc = check_header(root, path, origin, st);
    if (!rc) rc = table_make(&t, units, st);
    if (!rc) rc = mark_channels(&t, root, path, st);
    if (!rc) rc = mark_units(units, &t, path, out, st);
    if (!rc) memcpy(removed, out, units->count);
    table_free(&t);
    free(out);
    cJSON_Delete(root);
    return rc;
}

enum prune_code prune_mask_read(const char *path, const struct prune_units *units, const struct prune_mask_origin *origin, uint8_t *removed, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file(path, &text, &size, st);
    if (!rc) rc = prune_mask_parse(path, text, size, units, origin, removed, st);
    free(text);
    return rc;
}
