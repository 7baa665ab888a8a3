/* Training state on disk, and weights files; see train.h and plugin/host.h.
 * A state folder holds exactly
 *   state.weights    a weights file (header 0.2.0, seen 64 bits)
 *   state.momentum   the same header and layout: updates of biases, scales, weights; zeros for mean and variance
 *   state.json       {"version":1,"iteration","ordinal","seen","seed":"decimal text","gates":[...]}
 * It is written beside its target and swapped in, so there is always a whole state. Refuses folders that hold anything else, files of another
 * size, networks with NaN or infinity, and networks a weights file cannot hold (dontsave). */
#include "train.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../plugin/base/file_io.h"
#include "layer_tensors.h"

enum { STATE_VERSION = 1, CHUNK = 4096, HEADER_BYTES = 20 };
static const char *const state_files[] = {"state.weights", "state.momentum", "state.json"};


static enum prune_code put_header(struct prune_writer *w, const network *net, struct prune_status *st)
{
    int32_t version[3] = {0, 2, 0};
    uint64_t seen = *net->seen;
    enum prune_code rc = prune_writer_put(w, version, sizeof version, st);
    return rc ? rc : prune_writer_put(w, &seen, sizeof seen, st);
}

static enum prune_code check_finite(const struct layer_tensor *t, const float *values, const char *what, struct prune_status *st)
{
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(values[i]))
            return prune_fail(st, "layer %d: %s[%zu]%s is %s: training has diverged, nothing was saved", t->layer, t->name, i, what,
                              isnan(values[i]) ? "nan" : "infinite");
    return PRUNE_OK;
}

static enum prune_code put_zeros(struct prune_writer *w, size_t count, struct prune_status *st)
{
    static const float zeros[CHUNK];
    enum prune_code rc = PRUNE_OK;
    for (size_t done = 0; done < count && !rc; done += CHUNK) {
        size_t n = count - done < CHUNK ? count - done : CHUNK;
        rc = prune_writer_put(w, zeros, n * sizeof *zeros, st);
    }
    return rc;
}

static enum prune_code put_tensor(struct prune_writer *w, const struct layer_tensor *t, bool momentum, struct prune_status *st)
{
    const float *values = momentum ? t->updates : t->data;
    if (!values && momentum) return put_zeros(w, t->count, st);
    if (!values) return prune_fail(st, "layer %d has no %s to save", t->layer, t->name);
    enum prune_code rc = check_finite(t, values, momentum ? " (momentum)" : "", st);
    return rc ? rc : prune_writer_put(w, values, t->count * sizeof *values, st);
}

static enum prune_code tensors_save(const network *net, const char *path, bool momentum, struct prune_status *st)
{
    struct layer_tensor *tensors = NULL;
    struct prune_writer *w = NULL;
    size_t count = 0;
    enum prune_code rc = layer_tensors(net, true, &tensors, &count, st);
    if (!rc) rc = prune_writer_open(&w, path, st);
    if (!rc) rc = put_header(w, net, st);
    for (size_t i = 0; i < count && !rc; i++) rc = put_tensor(w, &tensors[i], momentum, st);
    if (!rc) {
        rc = prune_writer_commit(w, st);
        w = NULL;
    }
    prune_writer_abort(w);
    free(tensors);
    return rc;
}

enum prune_code weights_save(network *net, const char *path, struct prune_status *st)
{
    enum prune_code rc = tensors_save(net, path, false, st);
    return rc ? prune_explain(st, "cannot save weights to '%s': ", path) : PRUNE_OK;
}

static enum prune_code json_save(const network *net, const struct trainer *t, const float *gates, size_t units, const char *path, struct prune_status *st)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, t ? trainer_seed(t) : 0);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "version", STATE_VERSION);
    cJSON_AddNumberToObject(json, "iteration", t ? (double)trainer_iteration(t) : 0);
    cJSON_AddNumberToObject(json, "ordinal", t ? (double)trainer_ordinal(t) : 0);
    cJSON_AddNumberToObject(json, "seen", (double)*net->seen);
    cJSON_AddStringToObject(json, "seed", seed);
    if (gates) {
        cJSON *list = cJSON_AddArrayToObject(json, "gates");
        for (size_t u = 0; u < units; u++) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)gates[u]));
    }
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (!text) return prune_fail_memory(st, units * 8, "the training state");
    enum prune_code rc = prune_write_file(path, text, strlen(text), st);
    free(text);
    return rc;
}

static bool is_state_file(const char *name)
{
    for (size_t i = 0; i < sizeof state_files / sizeof *state_files; i++)
        if (!strcmp(name, state_files[i])) return true;
    return false;
}

/* A state replaces its folder: nothing of the user's may lie in it. */
static enum prune_code check_folder(const char *dir, struct prune_status *st)
{
    DIR *d = opendir(dir);
    enum prune_code rc = PRUNE_OK;
    if (!d && errno == ENOENT) return PRUNE_OK;
    if (!d) return prune_fail(st, "cannot save the training state to '%s': %s", dir, strerror(errno));
    for (const struct dirent *e; !rc && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && !is_state_file(e->d_name))
            rc = prune_fail(st, "cannot save the training state to '%s': the folder holds '%s'; a state needs a folder of its own", dir, e->d_name);
    closedir(d);
    return rc;
}

static void remove_state(const char *dir)
{
    for (size_t i = 0; i < sizeof state_files / sizeof *state_files; i++) {
        char *path = prune_path_join(dir, state_files[i]);
        if (path) unlink(path);
        free(path);
    }
    rmdir(dir);
}

/* temp takes the place of dir. An old state ends up under the temporary name and is removed. */
static enum prune_code swap_in(const char *temp, const char *dir, struct prune_status *st)
{
    if (!rename(temp, dir)) return PRUNE_OK; /* dir was missing or empty */
    if (!renameat2(AT_FDCWD, temp, AT_FDCWD, dir, RENAME_EXCHANGE)) {
        remove_state(temp);
        return PRUNE_OK;
    }
    /* a file system that cannot exchange: the old state keeps another name for a moment */
    char *old = prune_format("%s.old", temp);
    bool done = old && !rename(dir, old) && !rename(temp, dir);
    int why = errno;
    if (done) remove_state(old);
    free(old);
    return done ? PRUNE_OK : prune_fail(st, "cannot save the training state to '%s': %s", dir, strerror(why));
}

static enum prune_code write_parts(network *net, const struct trainer *t, const float *gates, size_t units, const char *temp, struct prune_status *st)
{
    char *weights = prune_path_join(temp, "state.weights"), *momentum = prune_path_join(temp, "state.momentum"), *json = prune_path_join(temp, "state.json");
    enum prune_code rc = weights && momentum && json ? PRUNE_OK : prune_fail_memory(st, 0, "paths");
    if (!rc) rc = tensors_save(net, weights, false, st);
    if (!rc) rc = tensors_save(net, momentum, true, st);
    if (!rc) rc = json_save(net, t, gates, units, json, st);
    free(weights);
    free(momentum);
    free(json);
    return rc;
}

enum prune_code state_save(network *net, const struct trainer *t, const float *gates, size_t units, const char *dir, struct prune_status *st)
{
    for (int i = 0; i < net->n; i++)
        if (net->layers[i].dontsave) return prune_fail(st, "layer %d says dontsave=1: its weights cannot be part of a training state", i);
    char *clean = prune_format("%s", dir);
    if (!clean) return prune_fail_memory(st, strlen(dir), "paths");
    for (size_t n = strlen(clean); n > 1 && clean[n - 1] == '/'; n--) clean[n - 1] = '\0';
    char *temp = prune_format("%s.tmp.%ld", clean, (long)getpid());
    enum prune_code rc = temp ? check_folder(clean, st) : prune_fail_memory(st, strlen(dir), "paths");
    if (!rc) rc = prune_make_dirs(temp, st);
    if (!rc) {
        rc = write_parts(net, t, gates, units, temp, st);
        if (!rc) rc = swap_in(temp, clean, st);
        if (rc) remove_state(temp);
    }
    free(temp);
    free(clean);
    return rc;
}

/* All tensors of a file in state form; checked whole before any is used. */
struct state_file { struct prune_map map; const float *values; };

static enum prune_code state_file_open(struct state_file *f, const char *dir, const char *name, size_t floats, struct prune_status *st)
{
    char *path = prune_path_join(dir, name);
    if (!path) return prune_fail_memory(st, strlen(dir), "paths");
    enum prune_code rc = prune_map_open(&f->map, path, st);
    size_t needed = HEADER_BYTES + floats * sizeof(float);
    if (!rc && f->map.size != needed) {
        rc = prune_fail(st, "cannot restore '%s': %zu bytes, the network needs %zu; it is the state of another network", path, f->map.size, needed);
        prune_map_close(&f->map);
    }
    free(path);
    if (rc) return rc;
    f->values = (const float *)(const void *)(f->map.bytes + HEADER_BYTES);
    return PRUNE_OK;
}

struct counters { uint64_t iteration, ordinal, seen, seed; };

static bool json_count(const cJSON *json, const char *key, uint64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 0x1p53 || item->valuedouble != floor(item->valuedouble)) return false;
    *out = (uint64_t)item->valuedouble;
    return true;
}

static bool json_seed(const cJSON *json, uint64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, "seed");
    char *end = NULL;
    if (!cJSON_IsString(item)) return false;
    errno = 0;
    *out = strtoull(item->valuestring, &end, 10);
    return end != item->valuestring && !*end && !errno;
}

static enum prune_code json_gates(const cJSON *json, const char *path, float *gates, size_t units, struct prune_status *st)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "gates"), *item;
    size_t u = 0;
    if (!list || !gates) return PRUNE_OK;
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != units) return prune_fail(st, "cannot restore '%s': 'gates' does not hold %zu values", path, units);
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)) return prune_fail(st, "cannot restore '%s': gate %zu is not a number", path, u);
        gates[u++] = (float)item->valuedouble;
    }
    return PRUNE_OK;
}

static enum prune_code json_load(const char *dir, struct counters *c, float *gates, size_t units, struct prune_status *st)
{
    char *path = prune_path_join(dir, "state.json"), *text = NULL;
    size_t size = 0;
    uint64_t version = 0;
    if (!path) return prune_fail_memory(st, strlen(dir), "paths");
    enum prune_code rc = prune_read_file(path, &text, &size, st);
    cJSON *json = rc ? NULL : cJSON_Parse(text);
    if (!rc && !json) rc = prune_fail(st, "cannot restore '%s': not JSON", path);
    if (!rc && (!json_count(json, "version", &version) || version != STATE_VERSION))
        rc = prune_fail(st, "cannot restore '%s': its version is not %d", path, STATE_VERSION);
    bool whole = !rc && json_count(json, "iteration", &c->iteration) && json_count(json, "ordinal", &c->ordinal) && json_count(json, "seen", &c->seen) &&
                 json_seed(json, &c->seed);
    if (!rc && !whole)
        rc = prune_fail(st, "cannot restore '%s': iteration, ordinal, seen (numbers) and seed (text) are needed", path);
    if (!rc) rc = json_gates(json, path, gates, units, st);
    cJSON_Delete(json);
    free(text);
    free(path);
    return rc;
}

enum prune_code state_load(network *net, struct trainer *t, float *gates, size_t units, const char *dir, struct prune_status *st)
{
    struct layer_tensor *tensors = NULL;
    struct state_file weights = {0}, momentum = {0};
    struct counters c = {0};
    size_t count = 0, floats = 0;
    float *read_gates = gates ? malloc((units ? units : 1) * sizeof *read_gates) : NULL;
    if (gates && !read_gates) return prune_fail_memory(st, units * sizeof *read_gates, "gate values");
    if (gates) memcpy(read_gates, gates, units * sizeof *gates);
    enum prune_code rc = layer_tensors(net, true, &tensors, &count, st);
    for (size_t i = 0; i < count; i++) floats += tensors[i].count;
    if (!rc) rc = state_file_open(&weights, dir, "state.weights", floats, st);
    if (!rc) rc = state_file_open(&momentum, dir, "state.momentum", floats, st);
    if (!rc) rc = json_load(dir, &c, read_gates, units, st);
    if (!rc) {
        const float *w = weights.values, *m = momentum.values;
        for (size_t i = 0; i < count; i++) {
            memcpy(tensors[i].data, w, tensors[i].count * sizeof *w);
            if (tensors[i].updates) memcpy(tensors[i].updates, m, tensors[i].count * sizeof *m);
            w += tensors[i].count;
            m += tensors[i].count;
        }
        *net->seen = (size_t)c.seen;
        if (gates) memcpy(gates, read_gates, units * sizeof *gates);
        if (t) trainer_set_position(t, c.iteration, c.ordinal, c.seed);
    }
    prune_map_close(&weights.map);
    prune_map_close(&momentum.map);
    free(tensors);
    free(read_gates);
    return rc;
}
