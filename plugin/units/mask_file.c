/* Mask file (JSON); the format is in mask_file.h and docs/mask.md. Written as it goes, a line at a time. Reading refuses whatever is not exactly a
 * set of whole, removable units of this cfg: unknown version or kind, another cfg, other weights, a channel twice, a unit in part, a protected unit. */
#include "mask_file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../base/json_write.h"

enum { MASK_BYTES = 32 << 20 };   /* a million channels, each on a line of its own; reading takes up to 40 times that */

/* Producers of the ORIGINAL cfg: channels[layer] can be removed, losses[layer] are, lost[layer][channel] says which. */
struct table { int *channels, *losses; uint8_t **lost; size_t layers; const struct prune_dropped *dropped; };

static int original_layer(const struct table *t, int layer)
{
    return t->dropped ? t->dropped->old_of[layer] : layer;
}

/* The layer went with a block: what a mask says about its channels means nothing. */
static bool layer_is_gone(const struct table *t, size_t layer)
{
    return t->dropped && t->dropped->new_of[layer] < 0;
}

static void table_free(struct table *t)
{
    for (size_t l = 0; t->lost && l < t->layers; l++) free(t->lost[l]);
    free(t->lost);
    free(t->channels);
    free(t->losses);
}

/* Producers per layer; lost[layer][channel] = 0. */
static enum prune_code table_make(struct table *t, const struct prune_units *units, const struct prune_dropped *dropped, struct prune_status *st)
{
    t->dropped = dropped;
    t->layers = dropped ? dropped->whole->layer_count : units->layer_count;
    t->channels = calloc(t->layers + 1, sizeof *t->channels);
    t->losses = calloc(t->layers + 1, sizeof *t->losses);
    t->lost = calloc(t->layers + 1, sizeof *t->lost);
    if (!t->channels || !t->losses || !t->lost) return prune_fail_memory(st, t->layers * sizeof *t->lost, "mask");
    for (size_t m = 0; m < units->member_count; m++) {
        int *channels = &t->channels[original_layer(t, units->members[m].layer)];
        if (*channels <= units->members[m].channel) *channels = units->members[m].channel + 1;
    }
    for (size_t l = 0; l < t->layers; l++) {
        t->lost[l] = calloc((size_t)t->channels[l] + 1, 1);
        if (!t->lost[l]) return prune_fail_memory(st, (size_t)t->channels[l], "mask");
    }
    return PRUNE_OK;
}

static void write_file_and_hash(struct prune_json *j, const char *key, const char *path, const char *hash)
{
    prune_json_begin_object(j, key);
    prune_json_string(j, "file", path ? path : "");
    prune_json_string(j, "hash", hash);
    prune_json_end(j);
}

static void write_blocks(struct prune_json *j, const struct prune_dropped *dropped)
{
    prune_json_begin_array(j, "blocks");
    for (size_t i = 0; i < dropped->count; i++) {
        const int layers[] = { dropped->blocks[i].from + 1, dropped->blocks[i].shortcut };
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "shortcut", dropped->blocks[i].shortcut);
        prune_json_wholes(j, "layers", layers, 2);
        prune_json_end(j);
    }
    prune_json_end(j);
}

/* {"layer": L, "channels": [those whose lost bit is `bit`]} for every layer that loses a producer. */
static void write_layers(struct prune_json *j, const char *key, const struct table *t, int bit)
{
    prune_json_begin_array(j, key);
    for (size_t l = 0; l < t->layers; l++) {
        if (!t->losses[l]) continue;
        prune_json_begin_object(j, NULL);
        prune_json_whole(j, "layer", (int64_t)l);
        prune_json_begin_array(j, "channels");
        for (int c = 0; c < t->channels[l]; c++)
            if (t->lost[l][c] == bit) prune_json_whole(j, NULL, c);
        prune_json_end(j);
        prune_json_end(j);
    }
    prune_json_end(j);
}

static enum prune_code write_bytes(void *to, const void *bytes, size_t size, struct prune_status *st)
{
    return prune_writer_put(to, bytes, size, st);
}

static enum prune_code write_table(const char *path, const struct table *t, const struct prune_mask_origin *origin, struct prune_status *st)
{
    struct prune_writer *out = NULL;
    struct prune_json j;
    bool blocks = origin->dropped && origin->dropped->count;
    enum prune_code rc = prune_writer_open(&out, path, st);
    if (rc) return rc;
    prune_json_start(&j, PRUNE_JSON_TREE, write_bytes, out, st);
    prune_json_begin_object(&j, NULL);
    prune_json_string(&j, "format", "darknet-prune-mask");
    prune_json_whole(&j, "version", blocks ? 2 : 1);
    write_file_and_hash(&j, "cfg", origin->cfg_path, origin->cfg_hash);
    if (*origin->weights_hash) write_file_and_hash(&j, "weights", origin->weights_path, origin->weights_hash);
    else prune_json_null(&j, "weights");
    prune_json_string(&j, "kind", "unit");
    if (blocks) write_blocks(&j, origin->dropped);
    write_layers(&j, "removed", t, 1);
    write_layers(&j, "kept", t, 0);
    prune_json_end(&j);
    rc = prune_json_end_text(&j);
    if (!rc) return prune_writer_commit(out, st);
    prune_writer_abort(out);
    return rc;
}

enum prune_code prune_mask_write(const char *path, const struct prune_units *units, const uint8_t *removed, const struct prune_mask_origin *origin, struct prune_status *st)
{
    struct table t = { 0 };
    enum prune_code rc = table_make(&t, units, origin->dropped, st);
    for (size_t u = 0; !rc && u < units->count; u++)
        for (size_t i = 0; removed[u] && i < units->items[u].member_count; i++) {
            struct prune_channel m = units->members[units->items[u].first_member + i];
            int layer = original_layer(&t, m.layer);
            t.lost[layer][m.channel] = 1;
            t.losses[layer]++;
        }
    if (!rc) rc = write_table(path, &t, origin, st);
    table_free(&t);
    return rc;
}

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *string_of(const cJSON *object, const char *key)
{
    const char *s = cJSON_GetStringValue(get(object, key));
    return s ? s : "";
}

/* A JSON value for messages, cut short; "nothing" when the member is missing. */
static const char *value_text(const cJSON *item, char text[40])
{
    char *printed = item ? cJSON_PrintUnformatted(item) : NULL;
    snprintf(text, 40, "%s", printed ? printed : "nothing");
    free(printed);
    return text;
}

/* The object {file, hash} under `key` must carry our hash. */
static enum prune_code check_hash(const cJSON *owner, const char *path, const char *what, const char *our_path, const char *our_hash, const char *remedy, struct prune_status *st)
{
    const char *file = string_of(owner, "file"), *hash = string_of(owner, "hash");
    if (!strcmp(hash, our_hash)) return PRUNE_OK;
    return prune_fail(st, "mask '%s' belongs to %s: it was made for '%s' (%s), and '%s' is %s; %s", path, what, *file ? file : "(no file name)", *hash ? hash : "no hash",
                      our_path, our_hash, remedy);
}

static enum prune_code check_header(const cJSON *root, const char *path, const struct prune_mask_origin *origin, struct prune_status *st)
{
    const cJSON *version = get(root, "version"), *weights = get(root, "weights");
    char text[40];
    if (!cJSON_IsObject(root) || strcmp(string_of(root, "format"), "darknet-prune-mask"))
        return prune_fail(st, "'%s' is not a mask file: its format is %s, expected \"darknet-prune-mask\"", path, value_text(get(root, "format"), text));
    if (!cJSON_IsNumber(version) || (version->valuedouble != 1 && version->valuedouble != 2))
        return prune_fail(st, "'%s' is a mask file of another version (%s); this program reads versions 1 and 2", path, value_text(version, text));
    if (strcmp(string_of(root, "kind"), "unit")) return prune_fail(st, "'%s' holds a mask of kind '%s'; only 'unit' can be applied", path, string_of(root, "kind"));
    enum prune_code rc = check_hash(get(root, "cfg"), path, "another cfg", origin->cfg_path, origin->cfg_hash, "give the cfg it was made for, or make a mask for this one", st);
    if (rc || !weights || cJSON_IsNull(weights)) return rc;
    if (!cJSON_IsObject(weights) || !*string_of(weights, "hash"))
        return prune_fail(st, "mask '%s': 'weights' is %s, neither null nor an object with 'file' and 'hash'", path, value_text(weights, text));
    if (!*origin->weights_hash || origin->other_weights) return PRUNE_OK;
    return check_hash(weights, path, "other weights", origin->weights_path, origin->weights_hash,
                      "give those, or '-other-weights 1' where the mask shall be used with these all the same (say, trained on since)", st);
}

/* A JSON number that is a whole one in [0, limit). */
static bool whole(const cJSON *item, size_t limit, size_t *value)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble >= (double)limit || floor(item->valuedouble) != item->valuedouble) return false;
    *value = (size_t)item->valuedouble;
    return true;
}

static enum prune_code mark_channel(struct table *t, const cJSON *item, size_t l, const char *path, struct prune_status *st)
{
    size_t c;
    char text[40];
    if (layer_is_gone(t, l)) return PRUNE_OK;
    if (!whole(item, (size_t)t->channels[l], &c))
        return t->channels[l] ? prune_fail(st, "mask '%s' names channel %s of layer %zu, which makes channels 0 to %d", path, value_text(item, text), l, t->channels[l] - 1)
                              : prune_fail(st, "mask '%s' names channel %s of layer %zu, which makes no channels; name the layers that make them", path, value_text(item, text), l);
    if (t->lost[l][c]) return prune_fail(st, "mask '%s' names layer %zu channel %zu twice", path, l, c);
    t->lost[l][c] = 1;
    return PRUNE_OK;
}

static enum prune_code mark_channels(struct table *t, const cJSON *root, const char *path, struct prune_status *st)
{
    const cJSON *gone = get(root, "removed"), *entry, *item;
    enum prune_code rc = PRUNE_OK;
    if (!cJSON_IsArray(gone)) return prune_fail(st, "mask '%s' has no list 'removed'", path);
    cJSON_ArrayForEach(entry, gone) {
        size_t l;
        char text[40];
        const cJSON *list = get(entry, "channels");
        if (!cJSON_IsObject(entry)) return prune_fail(st, "mask '%s': 'removed' holds %s, not {\"layer\": L, \"channels\": [...]}", path, value_text(entry, text));
        if (!whole(get(entry, "layer"), t->layers, &l))
            return prune_fail(st, "mask '%s' names layer %s, and the cfg has layers 0 to %zu", path, value_text(get(entry, "layer"), text), t->layers - 1);
        if (!cJSON_IsArray(list)) return prune_fail(st, "mask '%s': layer %zu has no list 'channels'", path, l);
        cJSON_ArrayForEach(item, list) {
            rc = mark_channel(t, item, l, path, st);
            if (rc) return rc;
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
            if (t->lost[original_layer(t, m[i].layer)][m[i].channel]) lost = i + 1;
            else kept = i + 1;
        if (lost && unit->protected_because)
            return prune_fail(st, "mask '%s' removes layer %d channel %d, which must stay: %s", path, original_layer(t, m[lost - 1].layer), m[lost - 1].channel,
                              unit->protected_because);
        if (lost && kept)
            return prune_fail(st, "mask '%s' removes layer %d channel %d but not layer %d channel %d, which is tied to it; a unit goes as a whole", path,
                              original_layer(t, m[lost - 1].layer), m[lost - 1].channel, original_layer(t, m[kept - 1].layer), m[kept - 1].channel);
        out[u] = lost != 0;
    }
    return PRUNE_OK;
}

static enum prune_code read_json(const char *path, const char *text, size_t size, const struct prune_mask_origin *origin, cJSON **out, struct prune_status *st)
{
    const char *end = NULL;
    enum prune_code rc = PRUNE_OK;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size + 1, &end, 1);    /* the NUL behind the bytes must follow at once */
    if (!root || end != text + size) rc = prune_fail(st, "mask '%s' is not JSON (near byte %zu of %zu)", path, end ? (size_t)(end - text) : 0, size);
    if (!rc) rc = check_header(root, path, origin, st);
    if (rc) cJSON_Delete(root);
    else *out = root;
    return rc;
}

/* The shortcut numbers of a version 2 mask; none in version 1. The caller frees. */
static enum prune_code list_blocks(const cJSON *root, const char *path, int **out, size_t *count, struct prune_status *st)
{
    const cJSON *list = get(root, "blocks"), *entry;
    size_t n = 0, shortcut;
    char text[40];
    if (get(root, "version")->valuedouble < 2) {
        if (list) return prune_fail(st, "mask '%s' is of version 1 and has 'blocks', which version 2 alone knows; write \"version\": 2", path);
        *out = NULL;
        *count = 0;
        return PRUNE_OK;
    }
    if (!cJSON_IsArray(list)) return prune_fail(st, "mask '%s' is of version 2 and has no list 'blocks'", path);
    cJSON_ArrayForEach(entry, list) n++;
    int *v = malloc((n + 1) * sizeof *v);
    if (!v) return prune_fail_memory(st, n * sizeof *v, "blocks of a mask");
    n = 0;
    cJSON_ArrayForEach(entry, list) {
        if (!whole(get(entry, "shortcut"), INT32_MAX, &shortcut)) {
            free(v);
            return prune_fail(st, "mask '%s': block %zu has no layer number 'shortcut' (it holds %s)", path, n, value_text(entry, text));
        }
        v[n++] = (int)shortcut;
    }
    *out = v;
    *count = n;
    return PRUNE_OK;
}

/* What the mask says of a block's layers, if it says anything, must be so: a mask edited by hand may mean another block. */
static enum prune_code check_block_layers(const cJSON *entry, const char *path, const struct prune_block *b, struct prune_status *st)
{
    const cJSON *layers = get(entry, "layers"), *first = cJSON_GetArrayItem(layers, 0), *last = cJSON_GetArrayItem(layers, 1);
    char text[40];
    if (!layers || (cJSON_GetArraySize(layers) == 2 && first->valuedouble == b->from + 1 && last->valuedouble == b->shortcut)) return PRUNE_OK;
    return prune_fail(st, "mask '%s': the block of the shortcut at layer %d is layers %d to %d, and the mask says %s; correct or remove 'layers'", path, b->shortcut, b->from + 1, b->shortcut,
                      value_text(layers, text));
}

/* Every block of the mask must have been dropped before the units were made. */
static enum prune_code check_blocks(const cJSON *root, const char *path, const struct prune_dropped *dropped, struct prune_status *st)
{
    int *shortcuts = NULL;
    size_t count = 0;
    enum prune_code rc = list_blocks(root, path, &shortcuts, &count, st);
    const cJSON *entry = cJSON_GetArrayItem(get(root, "blocks"), 0);
    for (size_t i = 0; !rc && i < count; i++, entry = entry->next) {
        bool found = dropped && (size_t)shortcuts[i] < dropped->whole->layer_count && dropped->new_of[shortcuts[i]] < 0;
        for (size_t b = 0; !rc && dropped && b < dropped->count; b++) {
            if (dropped->blocks[b].shortcut != shortcuts[i]) continue;
            found = true;
            rc = check_block_layers(entry, path, &dropped->blocks[b], st);
        }
        if (!found) rc = prune_fail(st, "mask '%s' drops whole blocks (the shortcut at layer %d), which this verb cannot shut; use 'darknet prune apply' and the pruned pair", path, shortcuts[i]);
    }
    free(shortcuts);
    return rc;
}

enum prune_code prune_mask_parse(const char *path, const char *text, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                 uint8_t *removed, struct prune_status *st)
{
    cJSON *root = NULL;
    struct table t = { 0 };
    uint8_t *out = malloc(units->count + 1);
    enum prune_code rc = out ? read_json(path, text, size, origin, &root, st) : prune_fail_memory(st, units->count, "mask");
    if (!rc) rc = check_blocks(root, path, origin->dropped, st);
    if (!rc) rc = table_make(&t, units, origin->dropped, st);
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
    enum prune_code rc = prune_read_file_within(path, MASK_BYTES, &text, &size, st);
    if (!rc) rc = prune_mask_parse(path, text, size, units, origin, removed, st);
    free(text);
    return rc;
}

enum prune_code prune_mask_read_blocks(const char *path, const struct prune_mask_origin *origin, int **shortcuts, size_t *count, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    cJSON *root = NULL;
    enum prune_code rc = prune_read_file_within(path, MASK_BYTES, &text, &size, st);
    if (!rc) rc = read_json(path, text, size, origin, &root, st);
    if (!rc && shortcuts) rc = list_blocks(root, path, shortcuts, count, st);
    cJSON_Delete(root);
    free(text);
    return rc;
}

enum prune_code prune_mask_read_weights(const char *path, char **file, char hash[32], struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file_within(path, MASK_BYTES, &text, &size, st);
    if (rc) return rc;
    cJSON *root = cJSON_ParseWithLength(text, size);
    const cJSON *weights = get(root, "weights");
    if (!cJSON_IsObject(root)) rc = prune_fail(st, "'%s' is not JSON", path);
    char *name = rc ? NULL : prune_format("%s", string_of(weights, "file"));
    if (!rc && !name) rc = prune_fail_memory(st, size, "a file name");
    if (!rc) {
        snprintf(hash, 32, "%s", string_of(weights, "hash"));
        *file = name;
    }
    cJSON_Delete(root);
    free(text);
    return rc;
}
