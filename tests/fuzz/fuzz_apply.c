/* Fuzzer of the whole of apply. One input is a cfg; behind a line "#drop" blocks to take out (one byte each), behind a line "#mask" the units to remove
 * (a JSON list as in a mask file, or any bytes, one bit per unit), behind a line "#weights" the bytes of a weights file (without it, a file of the right
 * size is made up).
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
#include "../../plugin/rewrite/drop.h"
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

/* What is rewritten: the network of the input, or the same without some of its blocks. */
struct subject {
    const struct prune_net *net;
    const struct prune_units *units;
    const struct prune_weights *weights;
    struct prune_mask_origin origin;
    uint8_t *removed;
};

static bool choose(const struct span *mask, const struct subject *s)
{
    if (!mask->size || mask->bytes[0] != '[') {
        for (size_t u = 0; mask->size && u < s->units->count; u++) s->removed[u] = !s->units->items[u].protected_because && (mask->bytes[u / 8 % mask->size] >> u % 8 & 1);
        return true;
    }
    struct prune_status st = { 0 };
    char *text = prune_format("{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"cfg\":{\"hash\":\"%s\"},\"removed\":%.*s}", s->origin.cfg_hash,
                              (int)mask->size, (const char *)mask->bytes);
    assert(text);
    enum prune_code rc = prune_mask_parse("fuzz", text, strlen(text), s->units, &s->origin, s->removed, &st);
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
static void check_masked(const struct subject *s, const struct prune_pair *pair)
{
    const struct prune_dropped *dropped = s->origin.dropped;
    struct prune_plan plan;
    struct prune_weights masked;
    struct prune_drop drop = { 0 };
    int shortcuts[8];
    char *again = prune_format("%s/again.weights", folder());
    assert(!prune_weights_open(&masked, pair->masked, dropped ? dropped->whole : s->net, NULL) && !prune_plan_build(&plan, s->net, s->units, s->removed, NULL));
    for (size_t i = 0; dropped && i < dropped->count; i++) shortcuts[i] = dropped->blocks[i].shortcut;
    if (dropped) assert(!prune_drop_open(&drop, dropped->whole, &masked, shortcuts, dropped->count, NULL));
    assert(!prune_rewrite_weights(&plan, s->net, dropped ? &drop.weights : &masked, again, NULL));
    same_files(again, pair->weights);
    prune_drop_close(&drop);
    prune_plan_free(&plan);
    prune_weights_close(&masked);
    free(again);
}

static void check_pair(const struct subject *s, const struct prune_pair *pair)
{
    struct prune_cfg cfg;
    struct prune_net small;
    struct prune_weights weights;
    uint8_t *again = malloc(s->units->count + 1);
    assert(again && !prune_mask_read(pair->mask, s->units, &s->origin, again, NULL) && !memcmp(again, s->removed, s->units->count));
    assert(!prune_net_read(&cfg, &small, pair->cfg, NULL) && !prune_weights_open(&weights, pair->weights, &small, NULL));
    assert(weights.header.size == s->weights->header.size && weights.header.seen == s->weights->header.seen && small.layer_count == s->net->layer_count);
    if (!s->origin.dropped && !memchr(s->removed, 1, s->units->count + 1)) {
        assert(cfg.size == s->net->cfg->size && !memcmp(cfg.bytes, s->net->cfg->bytes, cfg.size));
        same_files(pair->weights, s->weights->path);
        same_files(pair->masked, s->weights->path);
    }
    prune_weights_close(&weights);
    prune_net_free(&small);
    prune_cfg_free(&cfg);
    free(again);
    if (pair->masked) check_masked(s, pair);
}

static void rewrite(struct subject *s, const struct span *mask)
{
    struct prune_status st = { 0 };
    struct prune_pair pair;
    char *out = prune_format("%s/out", folder());
    s->removed = calloc(s->units->count + 1, 1);
    assert(out && s->removed);
    if (choose(mask, s)) {
        bool masked = !s->origin.dropped || !prune_drop_silence(s->origin.dropped, NULL, NULL);
        enum prune_code rc = prune_write_pair(s->net, s->units, s->removed, s->weights, &s->origin, out, masked, &pair, &st);
        assert(!rc || st.message[0]);
        assert(files_in(out, false) == (rc ? 0u : masked ? 4u : 3u));
        if (!rc) check_pair(s, &pair);
        if (!rc) prune_pair_free(&pair);
    }
    files_in(out, true);
    free(s->removed);
    free(out);
}

/* Every byte names a layer; those that are no block's end are refused, and then nothing is dropped. */
static void apply_without_blocks(struct subject whole, const struct span *mask, const struct span *blocks)
{
    struct prune_status st = { 0 };
    struct prune_drop drop;
    int shortcuts[8];
    size_t count = blocks->size < 8 ? blocks->size : 8;
    for (size_t i = 0; i < count; i++) shortcuts[i] = (int)(blocks->bytes[i] % whole.net->layer_count);
    if (prune_drop_open(&drop, whole.net, whole.weights, shortcuts, count, &st)) {
        assert(st.message[0]);
        return;
    }
    struct subject s = { .net = &drop.net, .units = &drop.units, .weights = &drop.weights, .origin = whole.origin };
    s.origin.dropped = &drop.dropped;
    rewrite(&s, mask);
    prune_drop_close(&drop);
}

static void apply(const struct prune_net *net, const struct span *blocks, const struct span *mask, const struct span *raw, unsigned key)
{
    struct prune_status st = { 0 };
    struct prune_units units;
    struct prune_weights in;
    char *path = prune_format("%s/in.weights", folder());
    struct subject s = { .net = net, .units = &units, .weights = &in, .origin = { .cfg_path = net->cfg->path, .weights_path = "in.weights" } };
    assert(path && !prune_units_build(&units, net, &st));
    snprintf(s.origin.cfg_hash, sizeof s.origin.cfg_hash, "xxh64:%016llx", (unsigned long long)prune_hash_bytes(net->cfg->bytes, net->cfg->size));
    if (raw->bytes) assert(!prune_write_file(path, raw->bytes, raw->size, NULL));
    else make_weights(path, net, key);
    enum prune_code rc = prune_weights_open(&in, path, net, &st);
    assert(!rc || (raw->bytes && st.message[0]));
    if (!rc && blocks->size) apply_without_blocks(s, mask, blocks);
    else if (!rc) rewrite(&s, mask);
    if (!rc) prune_weights_close(&in);
    free(path);
    prune_units_free(&units);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct span cfg_text = { bytes, size }, blocks, mask, raw;
    struct prune_cfg cfg;
    struct prune_net net;
    size_t channels = 0;
    raw = cut(&cfg_text, "\n#weights\n");
    mask = cut(&cfg_text, "\n#mask\n");
    blocks = cut(&cfg_text, "\n#drop\n");
    if (prune_cfg_parse(&cfg, "in.cfg", (const char *)cfg_text.bytes, cfg_text.size, NULL)) return 0;
    if (!prune_net_build(&net, &cfg, NULL)) {
        for (size_t i = 0; i < net.layer_count; i++) channels += (size_t)net.layers[i].out_c;
        if (channels <= CHANNELS && net.inputs <= FLOATS && net.parameters <= FLOATS) apply(&net, &blocks, &mask, &raw, (unsigned)size);
        prune_net_free(&net);
    }
    prune_cfg_free(&cfg);
    return 0;
}
