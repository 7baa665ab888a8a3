/* Fuzzer of the whole of apply: one input is a cfg, and behind a line "#mask" the units to remove (a JSON list as in a mask file, or any bytes,
 * one bit per unit), and behind a line "#weights" the bytes of a weights file (without it, a file of the right size is made up).
 * Readers -> units -> plan -> the pair, written to a folder in memory -> read back. What must hold:
 *   a failure has a message and leaves nothing; a success reads back, at the size that was promised, and its mask reads back as it was;
 *   the masked weights, pruned by the same mask, give the same pruned weights; a mask that removes nothing gives byte-identical files. */
#undef NDEBUG
#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/rewrite/rewrite.h"
#include "../../plugin/units/mask_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { CHANNELS = 4000, FLOATS = 100000 };   /* larger nets only take time */

struct span { const uint8_t *bytes; size_t size; };

/* Cuts `text` at the first line that is `mark`; what follows it, or nothing. */
static struct span cut(struct span *text, const char *mark)
{
    const uint8_t *at = text->size ? memmem(text->bytes, text->size, mark, strlen(mark)) : NULL;
    if (!at) return (struct span){ NULL, 0 };
    size_t before = (size_t)(at - text->bytes) + 1;
    struct span rest = { at + strlen(mark), text->size - (size_t)(at - text->bytes) - strlen(mark) };
    text->size = before;
    return rest;
}

static size_t files_in(const char *dir, bool delete)
{
    size_t count = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (delete) assert(!unlinkat(dirfd(d), e->d_name, 0));
        count++;
    }
    if (d) closedir(d);
    return count;
}

static char home[64];   /* a folder per process, in memory where there is such a place */

static void remove_home(void)
{
    char *out = prune_format("%s/out", home);
    if (out) files_in(out, true);
    if (out) rmdir(out);
    free(out);
    files_in(home, true);
    rmdir(home);
}

static const char *folder(void)
{
    if (*home) return home;
    snprintf(home, sizeof home, "%s/fuzz-apply-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    assert(mkdtemp(home) && !atexit(remove_home));
    return home;
}

/* A weights file of the right size; the values are all different. */
static void make_weights(const char *path, const struct prune_net *net, unsigned key)
{
    static const int32_t HEADERS[][5] = { { 0, 2, 0, 640, 0 }, { 0, 1, 0, 640 }, { 2000, 0, 0, 640 } };
    struct prune_weights_layout layout;
    struct prune_writer *w;
    unsigned form = key % 8 < 3 ? key % 8 : 0;
    assert(!prune_layout_build(&layout, net, NULL) && !prune_writer_open(&w, path, NULL));
    assert(!prune_writer_put(w, HEADERS[form], form ? 16 : 20, NULL));
    for (size_t i = 0; i < layout.floats; i++) {
        float x = 1 + (float)i;
        assert(!prune_writer_put(w, &x, sizeof x, NULL));
    }
    assert(!prune_writer_commit(w, NULL));
    prune_layout_free(&layout);
}

static bool choose(const struct span *mask, const struct prune_units *units, const struct prune_mask_origin *origin, uint8_t *removed)
{
    if (!mask->size || mask->bytes[0] != '[') {
        for (size_t u = 0; mask->size && u < units->count; u++) removed[u] = !units->items[u].protected_because && (mask->bytes[u / 8 % mask->size] >> u % 8 & 1);
        return true;
    }
    struct prune_status st = { 0 };
    char *text = prune_format("{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"cfg\":{\"hash\":\"%s\"},\"removed\":%.*s}", origin->cfg_hash, (int)mask->size,
                              (const char *)mask->bytes);
    assert(text);
    enum prune_code rc = prune_mask_parse("fuzz", text, strlen(text), units, origin, removed, &st);
    assert(!rc || st.message[0]);
    free(text);
    return !rc;
}

static void same_files(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    assert(!prune_read_file(a, &x, &n, NULL) && !prune_read_file(b, &y, &m, NULL));
    assert(n == m && !memcmp(x, y, n));
    free(x);
    free(y);
}

/* pruned(masked weights) = pruned(weights) */
static void check_masked(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, const struct prune_pair *pair)
{
    struct prune_plan plan;
    struct prune_weights masked;
    char *again = prune_format("%s/again.weights", folder());
    assert(!prune_weights_open(&masked, pair->masked, net, NULL) && !prune_plan_build(&plan, net, units, removed, NULL));
    assert(!prune_rewrite_weights(&plan, net, &masked, again, NULL));
    same_files(again, pair->weights);
    prune_plan_free(&plan);
    prune_weights_close(&masked);
    free(again);
}

static void check_pair(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, const struct prune_weights *in, const struct prune_mask_origin *origin,
                       const struct prune_pair *pair)
{
    struct prune_cfg cfg;
    struct prune_net small;
    struct prune_weights weights;
    uint8_t *again = malloc(units->count + 1);
    assert(again && !prune_mask_read(pair->mask, units, origin, again, NULL) && !memcmp(again, removed, units->count));
    assert(!prune_net_read(&cfg, &small, pair->cfg, NULL) && !prune_weights_open(&weights, pair->weights, &small, NULL));
    assert(weights.header.size == in->header.size && weights.header.seen == in->header.seen && small.layer_count == net->layer_count);
    if (!memchr(removed, 1, units->count + 1)) {
        assert(cfg.size == net->cfg->size && !memcmp(cfg.bytes, net->cfg->bytes, cfg.size));
        same_files(pair->weights, in->path);
        same_files(pair->masked, in->path);
    }
    prune_weights_close(&weights);
    prune_net_free(&small);
    prune_cfg_free(&cfg);
    free(again);
    check_masked(net, units, removed, pair);
}

static void apply(const struct prune_net *net, const struct span *mask, const struct span *raw, unsigned key)
{
    struct prune_status st = { 0 };
    struct prune_units units;
    struct prune_weights in;
    struct prune_pair pair;
    struct prune_mask_origin origin = { .cfg_path = net->cfg->path, .weights_path = "in.weights" };
    char *path = prune_format("%s/in.weights", folder()), *out = prune_format("%s/out", folder());
    assert(path && out && !prune_units_build(&units, net, &st));
    snprintf(origin.cfg_hash, sizeof origin.cfg_hash, "xxh64:%016llx", (unsigned long long)prune_hash_bytes(net->cfg->bytes, net->cfg->size));
    uint8_t *removed = calloc(units.count + 1, 1);
    assert(removed);
    if (raw->bytes) assert(!prune_write_file(path, raw->bytes, raw->size, NULL));
    else make_weights(path, net, key);
    enum prune_code rc = prune_weights_open(&in, path, net, &st);
    assert(rc ? raw->bytes && st.message[0] : !raw->bytes || raw->size >= 16);
    if (!rc && choose(mask, &units, &origin, removed)) {
        rc = prune_write_pair(net, &units, removed, &in, &origin, out, true, &pair, &st);
        assert(!rc || st.message[0]);
        assert(files_in(out, false) == (rc ? 0 : 4));
        if (!rc) {
            check_pair(net, &units, removed, &in, &origin, &pair);
            prune_pair_free(&pair);
        }
        prune_weights_close(&in);
    } else if (!rc) prune_weights_close(&in);
    files_in(out, true);
    free(removed);
    free(path);
    free(out);
    prune_units_free(&units);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct span cfg_text = { bytes, size }, mask, raw;
    struct prune_cfg cfg;
    struct prune_net net;
    size_t channels = 0;
    raw = cut(&cfg_text, "\n#weights\n");
    mask = cut(&cfg_text, "\n#mask\n");
    if (prune_cfg_parse(&cfg, "in.cfg", (const char *)cfg_text.bytes, cfg_text.size, NULL)) return 0;
    if (!prune_net_build(&net, &cfg, NULL)) {
        for (size_t i = 0; i < net.layer_count; i++) channels += (size_t)net.layers[i].out_c;
        if (channels <= CHANNELS && net.inputs <= FLOATS && net.parameters <= FLOATS) apply(&net, &mask, &raw, (unsigned)size);
        prune_net_free(&net);
    }
    prune_cfg_free(&cfg);
    return 0;
}
