/* The proof of dropped blocks, in the reference interpreter: the branch multiplied by zero, the masked weights and the rewritten pair give the same
 * numbers, with and without channels removed as well; and two masks one after the other write the same bytes as their composition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../plugin/commands/verbs.h"
#include "../../plugin/rewrite/drop.h"
#include "../../plugin/select/select.h"
#include "../../plugin/units/mask_file.h"
#include "interpreter.h"
#include "../unit/temp_folder.h"

#define NET "[net]\nbatch=1\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\n\n"
#define CONV(n, size, a) "[convolutional]\nbatch_normalize=1\nfilters=" #n "\nsize=" #size "\nstride=1\npad=1\nactivation=" #a "\n\n"
#define GROUPS(n, g) "[convolutional]\nbatch_normalize=1\nfilters=" #n "\nsize=3\nstride=1\npad=1\ngroups=" #g "\nactivation=leaky\n\n"
#define PLAIN(n, a) "[convolutional]\nfilters=" #n "\nsize=1\nstride=1\npad=1\nactivation=" #a "\n\n"
#define ADD(from, a) "[shortcut]\nfrom=" #from "\nactivation=" #a "\n\n"
#define ROUTE(list) "[route]\nlayers=" list "\n\n"
#define HEAD PLAIN(5, linear) "[avgpool]\n\n[softmax]\n"
#define YOLO PLAIN(12, linear) "[yolo]\nmask=0,1\nanchors=1,1,2,2\nclasses=1\nnum=2\n\n"

static const struct example { const char *name, *cfg; int drop[4]; int then; /* shortcut of a second drop, numbered after the first; 0: none */ bool silent; } EXAMPLES[] = {
    { "relu residual network", NET CONV(8, 3, relu) CONV(6, 3, relu) CONV(8, 3, linear) ADD(-3, relu) CONV(8, 3, relu) CONV(8, 3, linear) ADD(-3, relu)
      "[maxpool]\nsize=2\nstride=2\n\n" CONV(8, 3, linear) ADD(-2, relu) HEAD, { 3, 9, -1 }, 3, true },
    { "activation stays", NET CONV(8, 3, leaky) CONV(6, 1, leaky) CONV(8, 3, linear) ADD(-3, leaky) CONV(4, 3, leaky) CONV(8, 1, linear) ADD(-3, leaky) HEAD, { 3, -1 }, 4, true },
    { "sigmoid activation stays", NET CONV(8, 3, leaky) CONV(8, 3, linear) ADD(-2, logistic) CONV(8, 3, linear) ADD(-2, tanh) HEAD, { 4, 2, -1 }, 0, true },
    { "detector with numbers across", NET CONV(8, 3, leaky) CONV(4, 1, leaky) CONV(8, 3, leaky) ADD(-3, linear) CONV(6, 3, leaky) CONV(6, 3, leaky) ADD(4, linear) CONV(6, 1, leaky)
      YOLO ROUTE("-3") CONV(4, 1, leaky) ROUTE("-1, 3") CONV(8, 3, leaky) CONV(8, 3, leaky) ADD(-2, linear) ROUTE("-1,6") YOLO, { 3, 15, -1 }, 3, true },
    { "blocks inside a block", NET CONV(6, 3, relu) CONV(6, 3, relu) CONV(6, 3, relu) ADD(-2, linear) CONV(6, 3, relu) ADD(0, linear) CONV(6, 3, relu) ADD(-2, linear) HEAD, { 3, -1 }, 3, true },
    { "the outer block", NET CONV(6, 3, relu) CONV(6, 3, relu) CONV(6, 3, relu) ADD(-2, linear) CONV(6, 3, relu) ADD(0, linear) CONV(6, 3, relu) ADD(-2, linear) HEAD, { 5, 3, -1 }, 2, true },
    { "grouped and depthwise inside", NET CONV(8, 3, relu) CONV(8, 1, relu) GROUPS(8, 2) GROUPS(8, 8) CONV(8, 1, linear) ADD(0, relu) GROUPS(8, 4) CONV(8, 1, linear) ADD(-3, relu) HEAD,
      { 5, -1 }, 3, true },
    { "branch that ends in a batch-norm", NET CONV(4, 3, relu) PLAIN(4, logistic) "[batchnorm]\n\n" ADD(0, linear) CONV(4, 3, relu) ADD(-2, linear) HEAD, { 3, -1 }, 2, true },
    { "branch that ends in a sigmoid", NET CONV(4, 3, relu) PLAIN(4, logistic) ADD(0, linear) CONV(4, 3, relu) ADD(-2, linear) HEAD, { 2, -1 }, 2, false },
    { "the last layer closes the block", NET CONV(4, 3, relu) PLAIN(4, linear) "[shortcut]\nfrom=-2", { 2, -1 }, 0, true },
    { "squeeze and excitation", NET CONV(6, 3, swish) CONV(8, 1, swish) GROUPS(8, 8) "[avgpool]\n\n" PLAIN(4, swish) PLAIN(8, logistic) "[scale_channels]\nfrom=2\n\n" CONV(6, 1, linear)
      ADD(0, linear) CONV(6, 1, swish) "[dropout]\nprobability=.2\n\n" ADD(-3, linear) HEAD, { 8, -1 }, 3, true },
    { "spatial attention", NET CONV(6, 3, leaky) CONV(6, 1, leaky) PLAIN(6, logistic) "[sam]\nfrom=1\n\n" ADD(0, linear) CONV(6, 3, mish) ADD(-2, linear) HEAD, { 4, -1 }, 2, true },
    { "cross-stage", NET CONV(8, 3, leaky) ROUTE("-1\ngroups=2\ngroup_id=1") CONV(4, 3, mish) CONV(4, 3, mish) ADD(-2, linear) CONV(4, 1, mish) CONV(4, 3, mish) ADD(4, linear)
      ROUTE("-1,0") HEAD, { 4, -1 }, 5, true },
    { "shared weights", NET CONV(6, 3, leaky) CONV(6, 3, leaky) "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nshare_index=-1\nactivation=leaky\n\n" CONV(6, 1, leaky)
      ADD(1, linear) "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nshare_index=1\nactivation=relu\n\n" HEAD, { 4, -1 }, 0, true },
};
enum { EXAMPLE_COUNT = sizeof EXAMPLES / sizeof *EXAMPLES };

static struct prune_status st;

static char *at(const char *name)
{
    static char path[8][160];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void write_text(const char *path, const void *bytes, size_t size)
{
    if (prune_write_file(path, bytes, size, &st)) fail_msg("%s", st.message);
}

/* net.cfg and net.weights of the example, the interpreter's net with these weights and its outputs on `image`. */
static void make_files(const struct example *e, struct ref_net *net, double **image)
{
    size_t size;
    write_text(at("net.cfg"), e->cfg, strlen(e->cfg));
    if (ref_load(net, "net.cfg", e->cfg, strlen(e->cfg), NULL, 0, &st)) fail_msg("%s: %s", e->name, st.message);
    *image = ref_random_image(net, 11, 0);
    ref_randomize(net, 12, *image);
    void *bytes = ref_weights_bytes(net, 1, &size);
    write_text(at("net.weights"), bytes, size);
    free(bytes);
}

struct whole { char cfg_path[160], weights_path[160]; struct prune_cfg cfg; struct prune_net net; struct prune_weights weights; struct prune_mask_origin origin; };

static void whole_open(struct whole *w)
{
    memset(w, 0, sizeof *w);
    strcpy(w->cfg_path, at("net.cfg"));
    strcpy(w->weights_path, at("net.weights"));
    w->origin = (struct prune_mask_origin){ .cfg_path = w->cfg_path, .weights_path = w->weights_path };
    if (prune_net_read(&w->cfg, &w->net, w->cfg_path, &st) || prune_weights_open(&w->weights, w->weights_path, &w->net, &st) ||
        prune_hash_file(w->cfg_path, w->origin.cfg_hash, &st) || prune_hash_file(w->weights_path, w->origin.weights_hash, &st))
        fail_msg("%s", st.message);
}

static void whole_close(struct whole *w)
{
    prune_weights_close(&w->weights);
    prune_net_free(&w->net);
    prune_cfg_free(&w->cfg);
}

static void same(const struct example *e, const char *what, const struct ref_net *a, const struct ref_net *b)
{
    int layer = -1;
    double d = ref_difference(a, b, &layer);
    if (!(d <= 1e-10)) fail_msg("%s, %s: differs by %g at layer %d", e->name, what, d, layer);
}

static void run_files(struct ref_net *net, const char *cfg, const char *weights, const double *image)
{
    if (ref_load_files(net, cfg, weights, &st)) fail_msg("%s", st.message);
    ref_run(net, image, NULL);
}

/* The whole network with the branch of each block multiplied by zero. */
static void run_gated(struct ref_net *net, const struct prune_dropped *d, const double *image)
{
    double zero[64] = { 0 };
    double **before = calloc((size_t)net->count, sizeof *before), **after = calloc((size_t)net->count, sizeof *after);
    for (size_t b = 0; b < d->count; b++) after[d->blocks[b].shortcut - 1] = zero;
    ref_run(net, image, &(struct ref_gates){ before, after });
    free(before);
    free(after);
}

/* About half the units that may go, as a selection by random scores finds them; false: none can. */
static bool choose_half(const struct prune_drop *d, uint8_t *removed)
{
    struct prune_select_options o = { .target = PRUNE_TARGET_UNITS, .remain = 0.6, .min_keep = 1, .multiple = 1, .cost_power = 1 };
    double scores[256];
    struct prune_random random = prune_random_make(5, 6, 7);
    for (size_t u = 0; u < d->units.count; u++) scores[u] = prune_random_uniform(&random);
    for (; o.remain < 1; o.remain += 0.05)
        if (!prune_select(&d->net, &d->units, scores, &o, removed, NULL, &st)) return true;
    return false;
}

/* The mask in the pair says the same blocks and units. */
static void read_mask_back(const struct prune_pair *pair, const struct prune_drop *d, const struct prune_mask_origin *origin, const uint8_t *removed)
{
    int *shortcuts = NULL;
    size_t count = 0;
    uint8_t *read = malloc(d->units.count + 1);
    if (prune_mask_read_blocks(pair->mask, origin, &shortcuts, &count, &st) || prune_mask_read(pair->mask, &d->units, origin, read, &st)) fail_msg("%s", st.message);
    assert_int_equal(count, d->dropped.count);
    for (size_t i = 0; i < count; i++) assert_int_equal(shortcuts[i], d->dropped.blocks[i].shortcut);
    assert_memory_equal(read, removed, d->units.count);
    free(read);
    free(shortcuts);
}

static void prove(const struct example *e, struct whole *w, const struct prune_drop *d, const uint8_t *removed, const double *image, const struct ref_net *gated)
{
    struct prune_pair pair;
    struct ref_net small, masked;
    struct prune_mask_origin origin = w->origin;
    origin.dropped = &d->dropped;
    if (prune_write_pair(&d->net, &d->units, removed, &d->weights, &origin, at("pair"), e->silent, &pair, &st)) fail_msg("%s: %s", e->name, st.message);
    read_mask_back(&pair, d, &origin, removed);
    run_files(&small, pair.cfg, pair.weights, image);
    if (gated) same(e, "branches times zero", gated, &small);
    if (e->silent) {
        run_files(&masked, at("net.cfg"), pair.masked, image);
        same(e, gated ? "masked weights" : "masked weights and channels", &masked, &small);
        ref_free(&masked);
    }
    ref_free(&small);
    prune_pair_free(&pair);
}

static void a_dropped_block_equals_its_branch_times_zero(void **state)
{
    (void)state;
    size_t with_channels = 0;
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        const struct example *e = &EXAMPLES[i];
        struct ref_net net;
        struct whole w;
        struct prune_drop d;
        double *image;
        size_t count = 0;
        uint8_t removed[256] = { 0 };
        while (e->drop[count] >= 0) count++;
        make_files(e, &net, &image);
        whole_open(&w);
        if (prune_drop_open(&d, &w.net, &w.weights, e->drop, count, &st)) fail_msg("%s: %s", e->name, st.message);
        assert_int_equal(!prune_drop_silence(&d.dropped, NULL, &st), e->silent);
        if (!e->silent) assert_int_equal(prune_drop_masked(&(struct prune_plan){ 0 }, &d.dropped, at("x.weights"), &st), PRUNE_FAILED);
        run_gated(&net, &d.dropped, image);
        prove(e, &w, &d, removed, image, &net);
        if (choose_half(&d, removed)) {
            prove(e, &w, &d, removed, image, NULL);
            with_channels++;
        }
        prune_drop_close(&d);
        whole_close(&w);
        ref_free(&net);
        free(image);
    }
    assert_true(with_channels >= EXAMPLE_COUNT - 2);
}

/* Random networks of blocks inside blocks and in sequence, with readers of earlier layers by number, some of them across a block's border. */
struct maker { char text[1 << 14]; size_t used; int layers; struct prune_random random; };

static size_t pick(struct maker *m, size_t n)
{
    return (size_t)(prune_random_uniform(&m->random) * (double)n) % n;
}

static void say(struct maker *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    m->used += (size_t)vsnprintf(m->text + m->used, sizeof m->text - m->used, format, args);
    va_end(args);
    assert_true(m->used < sizeof m->text);
}

static void make_layer(struct maker *m, int lowest)
{
    static const char *const ACTIVATIONS[] = { "relu", "relu", "leaky", "linear", "logistic", "tanh" };
    size_t kind = pick(m, 8);
    if (kind < 2) {                      /* joins this layer's input with an earlier one */
        int first = pick(m, 6) ? lowest : 0, to = first + (int)pick(m, (size_t)(m->layers - first));
        say(m, "# joins %d\n[route]\nlayers=-1, %d\n\n", to, pick(m, 2) ? to : to - m->layers);
        m->layers++;
    } else if (kind == 2) {
        say(m, "[maxpool]\nsize=3\nstride=1\n\n");
        m->layers++;
        return;
    }
    say(m, "[convolutional]\n%sfilters=6\nsize=%d\nstride=1\npad=1\nactivation=%s\n\n", pick(m, 3) ? "batch_normalize=1\n" : "", pick(m, 2) ? 3 : 1, ACTIVATIONS[pick(m, 6)]);
    m->layers++;
}

static void make_branch(struct maker *m, int depth)
{
    static const char *const ACTIVATIONS[] = { "linear", "relu", "leaky", "tanh", "logistic" };
    int from = m->layers - 1;
    for (size_t n = 1 + pick(m, 3); n; n--) {
        if (depth && !pick(m, 2)) make_branch(m, depth - 1);
        else make_layer(m, from);
    }
    say(m, "[shortcut]\nfrom=%d\nactivation=%s\n\n", pick(m, 2) ? from : from - m->layers, ACTIVATIONS[pick(m, 5)]);
    m->layers++;
}

static void make_network(struct maker *m, uint64_t seed)
{
    m->used = 0;
    m->layers = 1;
    m->random = prune_random_make(seed, 31, 0);
    say(m, NET "[convolutional]\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=relu\n\n");
    for (size_t n = 2 + pick(m, 4); n; n--) make_branch(m, 2);
    say(m, HEAD);
}

static void random_blocks_are_their_branches_times_zero(void **state)
{
    (void)state;
    enum { NETWORKS = 500 };
    struct maker *m = malloc(sizeof *m);
    size_t proved = 0, dropped = 0;
    for (uint64_t seed = 1; seed <= NETWORKS; seed++) {
        char name[32];
        int chosen[64];
        size_t count = 0;
        make_network(m, seed);
        snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
        struct example e = { .name = name, .cfg = m->text };
        struct ref_net net;
        struct whole w;
        struct prune_blocks all;
        struct prune_drop d;
        double *image;
        make_files(&e, &net, &image);
        whole_open(&w);
        if (prune_blocks_find(&all, &w.net, &st)) fail_msg("%s", st.message);
        for (size_t i = 0; i < all.count; i++)
            if (pick(m, 2)) chosen[count++] = all.items[i].shortcut;
        if (count) {
            if (prune_drop_open(&d, &w.net, &w.weights, chosen, count, &st)) fail_msg("%s: %s", name, st.message);
            uint8_t *none = calloc(d.units.count + 1, 1);
            e.silent = !prune_drop_silence(&d.dropped, NULL, &st);
            run_gated(&net, &d.dropped, image);
            prove(&e, &w, &d, none, image, &net);
            dropped += d.dropped.count;
            proved++;
            free(none);
            prune_drop_close(&d);
        }
        prune_blocks_free(&all);
        whole_close(&w);
        ref_free(&net);
        free(image);
    }
    free(m);
    fprintf(stderr, "%zu blocks dropped from %zu random networks\n", dropped, proved);
    if (proved < NETWORKS * 3 / 4 || dropped < 2 * NETWORKS) fail_msg("%zu networks of %d, %zu blocks: too few", proved, (int)NETWORKS, dropped);
}

/* A verb, in this process. */
static enum prune_code run_verb(const struct prune_command *verb, ...)
{
    char *argv[24] = { "verb" };
    int argc = 1;
    va_list args;
    va_start(args, verb);
    for (char *a; (a = va_arg(args, char *)) != NULL;) argv[argc++] = a;
    va_end(args);
    return verb->run(argc, argv, NULL, &st);
}

/* Drops blocks (NULL: none) and as many units as a small network can spare. */
static void apply_some(const struct example *e, const char *cfg, const char *weights, const char *criterion, bool units, const char *blocks, const char *out)
{
    static const char *const REMAIN[] = { "0.7", "0.85", "0.95", "1" };
    enum prune_code rc = PRUNE_FAILED;
    for (size_t i = units ? 0 : 3; rc && i < 4; i++)
        rc = run_verb(&prune_command_apply, cfg, weights, "-criterion", criterion, "-units", REMAIN[i], "-verify", "0", "-out", out, blocks ? "-drop-block" : NULL, blocks, NULL);
    if (rc) fail_msg("%s: apply: %s", e->name, st.message);
}

static void same_bytes(const struct example *e, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    if (prune_read_file(a, &x, &n, &st) || prune_read_file(b, &y, &m, &st)) fail_msg("%s", st.message);
    if (n != m || memcmp(x, y, n) != 0) fail_msg("%s: '%s' and '%s' differ", e->name, a, b);
    free(x);
    free(y);
}

static void two_masks_in_sequence_write_the_bytes_of_their_composition(void **state)
{
    (void)state;
    if (!freopen("/dev/null", "w", stdout)) fail();      /* the verbs' tables; cmocka reports on stderr too when a test fails */
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        const struct example *e = &EXAMPLES[i];
        struct ref_net net;
        double *image;
        char first[64] = "", second[24];
        make_files(e, &net, &image);
        for (size_t k = 0; e->drop[k] >= 0; k++) snprintf(first + strlen(first), sizeof first - strlen(first), "%s%d", k ? "," : "", e->drop[k]);
        snprintf(second, sizeof second, "%d", e->then);
        for (int way = 0; way < 3; way++) {              /* blocks and channels first and again; channels, then a block; a block, then channels */
            bool block_a = way != 1, block_b = way == 0 ? e->then > 0 : way == 1;
            apply_some(e, at("net.cfg"), at("net.weights"), "random", way != 2, block_a ? first : NULL, at("a"));
            apply_some(e, at("a/net-pruned.cfg"), at("a/net-pruned.weights"), "magnitude", true, !block_b ? NULL : way == 1 ? first : second, at("b"));
            if (run_verb(&prune_command_compose, at("net.cfg"), at("a/net-pruned.mask.json"), at("b/net-pruned-pruned.mask.json"), "-weights", at("net.weights"), "-out", at("c.json"), NULL) ||
                run_verb(&prune_command_apply, at("net.cfg"), at("net.weights"), "-mask", at("c.json"), "-verify", "0", "-out", at("c"), NULL))
                fail_msg("%s: %s", e->name, st.message);
            same_bytes(e, at("b/net-pruned-pruned.cfg"), at("c/net-pruned.cfg"));
            same_bytes(e, at("b/net-pruned-pruned.weights"), at("c/net-pruned.weights"));
        }
        ref_free(&net);
        free(image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dropped_block_equals_its_branch_times_zero),
        cmocka_unit_test(random_blocks_are_their_branches_times_zero),
        cmocka_unit_test(two_masks_in_sequence_write_the_bytes_of_their_composition),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
