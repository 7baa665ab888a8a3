/* Shapes, parameters, BFLOPs and the order of the weights file as the host has them, for every cfg of the darknet package and for the
 * networks of tests/golden/good. A child loads each cfg (batch 1) in the host and sends: every layer's sizes, the printed table, and
 * the count of every fwrite of save_weights; the parent compares with plugin/model. Numbers are not worth drawing or writing
 * here, so rand_normal, rand_uniform and fwrite are replaced in this program. PRUNE_DARKNET_CFG: another folder of cfgs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <darknet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/model/weights_file.h"
#include "../unit/temp_folder.h"

/* The host calls these through the PLT, so that ours are used. */
float rand_normal(void);
float rand_uniform(float lo, float hi);
float rand_normal(void) { return 0; }
float rand_uniform(float lo, float hi) { return (lo + hi) / 2; }

static struct { bool on; size_t count, room; struct written { const void *from; size_t floats; } *items; } record;

size_t fwrite(const void *restrict bytes, size_t size, size_t count, FILE *restrict file)
{
    if (!record.on || size != sizeof(float)) return record.on ? count : fwrite_unlocked(bytes, size, count, file);
    if (record.count == record.room) {
        record.room = record.room ? 2 * record.room : 256;
        record.items = realloc(record.items, record.room * sizeof *record.items);
    }
    record.items[record.count++] = (struct written){bytes, count};
    return count;
}

struct host_layer { int type, w, h, c, out_w, out_h, out_c, inputs, outputs, size, stride, pad, groups, n, classes; };

/* ---- child ---- */

static void send_all(int fd, const void *bytes, size_t size)
{
    for (const char *at = bytes; size;) {
        ssize_t n = write(fd, at, size);
        if (n <= 0) _exit(3);
        at += n;
        size -= (size_t)n;
    }
}

/* Buffer of the sub-layer and role that tensor t names, to check the order of recurrent parts. NULL: not looked at. */
static const void *tensor_of(const layer *l, const struct prune_weights_tensor *t)
{
    const layer *const lstm[] = {l->wi, l->wf, l->wo, l->wg, l->ui, l->uf, l->uo, l->ug}, *const gru[] = {l->wz, l->wr, l->wh, l->uz, l->ur, l->uh};
    const layer *const rnn[] = {l->input_layer, l->self_layer, l->output_layer};
    const layer *part = l->type == LSTM ? lstm[t->part] : l->type == GRU ? gru[t->part] : l->type == RNN || l->type == CRNN ? rnn[t->part] : l;
    switch (t->role) {
    case PRUNE_BIASES: return part->biases;
    case PRUNE_SCALES: return part->scales;
    case PRUNE_MEAN: return part->rolling_mean;
    case PRUNE_VARIANCE: return part->rolling_variance;
    default: return part->weights;
    }
}

/* Sends: number of layers, layers, number of writes, for each its floats and whether it came from the buffer we expect. */
static void child_main(const char *cfg, const struct prune_weights_layout *layout, int fd, const char *printed)
{
#ifndef __SANITIZE_ADDRESS__ /* its shadow alone is larger */
    struct rlimit limit = {(rlim_t)6 << 30, (rlim_t)6 << 30};
    setrlimit(RLIMIT_AS, &limit);
#endif
    if (!freopen(printed, "w", stderr)) _exit(3);
    network *net = parse_network_cfg((char *)(uintptr_t)cfg);
    fflush(stderr);
    send_all(fd, &net->n, sizeof net->n);
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        struct host_layer h = {(int)l->type, l->w, l->h, l->c, l->out_w, l->out_h, l->out_c, l->inputs, l->outputs, l->size, l->stride, l->pad, l->groups, l->n, l->classes};
        send_all(fd, &h, sizeof h);
    }
    record.on = true;
    save_weights(net, (char *)(uintptr_t)"/dev/null");
    record.on = false;
    enum { HEADER = 3 }; /* version numbers, of four bytes like a float */
    if (record.count < HEADER) _exit(3);
    record.count -= HEADER;
    record.items += HEADER;
    send_all(fd, &record.count, sizeof record.count);
    for (size_t i = 0; i < record.count; i++) {
        const struct prune_weights_tensor *t = i < layout->count ? &layout->tensors[i] : NULL;
        uint64_t row[2] = {record.items[i].floats, t && tensor_of(&net->layers[t->layer], t) == record.items[i].from};
        send_all(fd, row, sizeof row);
    }
    _exit(0);
}

/* ---- parent ---- */

static bool receive(int fd, void *bytes, size_t size)
{
    for (char *at = bytes; size;) {
        ssize_t n = read(fd, at, size);
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

#define DIFFER(...) (print_error("%s: ", net->cfg->path), print_error(__VA_ARGS__), print_error("\n"), false)

static bool same_layer(const struct prune_net *net, const struct prune_layer *l, const struct host_layer *h)
{
    static const int types[PRUNE_KIND_COUNT] = {
        [PRUNE_CONVOLUTIONAL] = CONVOLUTIONAL, [PRUNE_DECONVOLUTIONAL] = DECONVOLUTIONAL, [PRUNE_LOCAL] = LOCAL, [PRUNE_CONNECTED] = CONNECTED, [PRUNE_MAXPOOL] = MAXPOOL,
        [PRUNE_AVGPOOL] = AVGPOOL, [PRUNE_CROP] = CROP, [PRUNE_DROPOUT] = DROPOUT, [PRUNE_ROUTE] = ROUTE, [PRUNE_SHORTCUT] = SHORTCUT, [PRUNE_UPSAMPLE] = UPSAMPLE,
        [PRUNE_REORG] = REORG, [PRUNE_BATCHNORM] = BATCHNORM, [PRUNE_ACTIVATION] = ACTIVE, [PRUNE_LOGISTIC] = LOGXENT, [PRUNE_L2NORM] = L2NORM,
        [PRUNE_NORMALIZATION] = NORMALIZATION, [PRUNE_SOFTMAX] = SOFTMAX, [PRUNE_COST] = COST, [PRUNE_REGION] = REGION, [PRUNE_YOLO] = YOLO, [PRUNE_ISEG] = ISEG,
        [PRUNE_DETECTION] = DETECTION, [PRUNE_RNN] = RNN, [PRUNE_LSTM] = LSTM, [PRUNE_GRU] = GRU, [PRUNE_CRNN] = CRNN};
    if (types[l->kind] != h->type) return DIFFER("layer %d: type %d in the host", l->index, h->type);
    if (l->outputs != h->outputs || (l->inputs != h->inputs && l->kind != PRUNE_ROUTE)) return DIFFER("layer %d: %d -> %d numbers, host %d -> %d", l->index, l->inputs, l->outputs, h->inputs, h->outputs);
    /* the host keeps 0 x 0 x 0 for flat vectors */
    bool flat = !h->out_w && l->out_w == 1 && l->out_h == 1;
    if (!flat && (l->out_w != h->out_w || l->out_h != h->out_h || l->out_c != h->out_c))
        return DIFFER("layer %d: %d x %d x %d, host %d x %d x %d", l->index, l->out_w, l->out_h, l->out_c, h->out_w, h->out_h, h->out_c);
    if (l->kind == PRUNE_CONVOLUTIONAL && (l->size != h->size || l->stride != h->stride || l->pad != h->pad || l->groups != h->groups || l->out_c != h->n || l->w != h->w || l->h != h->h || l->c != h->c))
        return DIFFER("layer %d: other window, groups or input than the host", l->index);
    if (l->kind == PRUNE_MAXPOOL && (l->size != h->size || l->stride != h->stride || l->pad != h->pad)) return DIFFER("layer %d: padding %d, host %d", l->index, l->pad, h->pad);
    if ((l->kind == PRUNE_YOLO || l->kind == PRUNE_REGION || l->kind == PRUNE_DETECTION) && (l->classes != h->classes || l->num != h->n)) return DIFFER("layer %d: other classes or anchors than the host", l->index);
    return true;
}

/* MACs of the convolutions a layer makes, in the order the host prints them: one, or the three of a crnn. Returns how many. */
static int convolutions(const struct prune_layer *l, uint64_t macs[3])
{
    uint64_t area = 9 * (uint64_t)l->out_w * (uint64_t)l->out_h, hidden = (uint64_t)l->hidden;
    macs[0] = l->macs;
    if (l->kind != PRUNE_CRNN) return l->kind == PRUNE_CONVOLUTIONAL;
    macs[0] = area * hidden * (uint64_t)l->c;
    macs[1] = area * hidden * hidden;
    macs[2] = area * hidden * (uint64_t)l->out_c;
    return 3;
}

/* Compares one printed number and goes on behind it. */
static bool same_number(const struct prune_net *net, const struct prune_layer *l, uint64_t macs, const char **at)
{
    const char *end = strstr(*at, " BFLOPs"), *begin = end;
    char ours[32];
    if (!end) return DIFFER("layer %d: the host prints no BFLOPs", l->index);
    while (begin > *at && begin[-1] != ' ') begin--;
    *at = end + 1;
    snprintf(ours, sizeof ours, "%5.3f", prune_bflops(macs));
    if (strlen(ours) == (size_t)(end - begin) && !memcmp(ours, begin, strlen(ours))) return true;
    return DIFFER("layer %d: %s BFLOPs, host prints %.*s", l->index, ours, (int)(end - begin), begin);
}

static bool same_bflops(const struct prune_net *net, const char *printed)
{
    char *text = NULL;
    size_t size = 0;
    if (prune_read_file(printed, &text, &size, NULL)) return DIFFER("nothing printed");
    const char *at = text;
    bool same = true;
    for (size_t i = 0; i < net->layer_count; i++) {
        uint64_t macs[3];
        int count = convolutions(&net->layers[i], macs);
        for (int j = 0; j < count && same; j++) same = same_number(net, &net->layers[i], macs[j], &at);
    }
    if (same && strstr(at, " BFLOPs")) same = DIFFER("the host prints more BFLOPs than there are convolutions");
    free(text);
    return same;
}

static bool same_weights(const struct prune_net *net, const struct prune_weights_layout *layout, int fd)
{
    size_t count = 0;
    uint64_t parameters = 0;
    if (!receive(fd, &count, sizeof count)) return DIFFER("the host died while saving");
    if (count != layout->count) return DIFFER("%zu tensors, host writes %zu", layout->count, count);
    for (size_t i = 0; i < count; i++) {
        const struct prune_weights_tensor *t = &layout->tensors[i];
        uint64_t row[2];
        if (!receive(fd, row, sizeof row)) return DIFFER("the host died while saving");
        if (row[0] != t->count || !row[1]) return DIFFER("layer %d %s: %zu numbers, host writes %llu%s", t->layer, prune_role_name(t->role), t->count, (unsigned long long)row[0], row[1] ? "" : " of another tensor");
        if (t->role != PRUNE_MEAN && t->role != PRUNE_VARIANCE) parameters += row[0];
    }
    if (parameters != net->parameters) return DIFFER("%llu parameters, host writes %llu", (unsigned long long)net->parameters, (unsigned long long)parameters);
    return true;
}

static bool same_layers(const struct prune_net *net, int fd)
{
    int n = 0;
    if (!receive(fd, &n, sizeof n)) return DIFFER("the host does not load it");
    if ((size_t)n != net->layer_count) return DIFFER("%zu layers, host has %d", net->layer_count, n);
    bool same = true;
    for (int i = 0; i < n; i++) {
        struct host_layer h;
        if (!receive(fd, &h, sizeof h)) return DIFFER("the host died");
        same &= same_layer(net, &net->layers[i], &h);
    }
    return same;
}

/* A copy with batch = subdivisions = time_steps = 1: the host allocates for the batch. */
static void write_small_copy(const struct prune_cfg *cfg, const char *path)
{
    static const char *const keys[] = {"batch", "subdivisions", "time_steps"};
    struct prune_edit_list edits = {0};
    char *bytes = NULL;
    size_t size = 0;
    for (int i = 0; i < 3; i++) assert_int_equal(prune_edit_set(&edits, cfg, 0, keys[i], "1", NULL, NULL), PRUNE_OK);
    assert_int_equal(prune_edit_apply(cfg, &edits, &bytes, &size, NULL), PRUNE_OK);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644); /* no fsync: it would be most of this test's time */
    assert_true(fd >= 0);
    send_all(fd, bytes, size);
    close(fd);
    prune_edit_free(&edits);
    free(bytes);
}

static bool compare(const char *path, const char *where)
{
    struct prune_cfg cfg;
    struct prune_net our, *net = &our;
    struct prune_weights_layout layout;
    struct prune_status st = {0};
    if (prune_net_read(&cfg, net, path, &st)) {
        print_error("%s\n", st.message);
        return false;
    }
    assert_int_equal(prune_layout_build(&layout, net, &st), PRUNE_OK);
    char *copy = prune_path_join(where, "host.cfg"), *printed = prune_path_join(where, "printed");
    int ends[2], rc = 0;
    write_small_copy(&cfg, copy);
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) child_main(copy, &layout, ends[1], printed);
    close(ends[1]);
    bool same = same_layers(net, ends[0]) && same_weights(net, &layout, ends[0]) && same_bflops(net, printed);
    close(ends[0]);
    waitpid(pid, &rc, 0);
    free(copy);
    free(printed);
    prune_layout_free(&layout);
    prune_net_free(net);
    prune_cfg_free(&cfg);
    return same && !rc;
}

static void every_cfg_of_the_package_has_the_hosts_shapes(void **state)
{
    (void)state;
    const char *dir = getenv("PRUNE_DARKNET_CFG");
    struct dirent **names = NULL;
    if (!dir) dir = "/usr/share/darknet/cfg";
    int count = scandir(dir, &names, NULL, alphasort), cfgs = 0, different = 0;
    for (int i = 0; i < count; i++) {
        const char *end = strrchr(names[i]->d_name, '.');
        if (end && !strcmp(end, ".cfg")) {
            char *path = prune_path_join(dir, names[i]->d_name);
            cfgs++;
            different += !compare(path, folder);
            free(path);
        }
        free(names[i]);
    }
    free(names);
    print_message("%d cfgs of %s compared, none left out\n", cfgs, dir);
    assert_int_equal(different, 0);
    assert_true(cfgs >= 40 || getenv("PRUNE_DARKNET_CFG"));
}

static void networks_with_every_kind_of_layer_have_the_hosts_shapes(void **state)
{
    (void)state;
    assert_true(compare("tests/golden/good/tiny.cfg", folder));
    assert_true(compare("tests/golden/good/yolo.cfg", folder));
    assert_true(compare("tests/golden/good/zoo.cfg", folder));
    assert_true(compare("tests/golden/good/comments.cfg", folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cfg_of_the_package_has_the_hosts_shapes),
        cmocka_unit_test(networks_with_every_kind_of_layer_have_the_hosts_shapes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
