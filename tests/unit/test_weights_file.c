/* Weights file: layout in file order, exact sizes both ways, headers of all versions, views, finiteness. */
#include <math.h>
#include <unistd.h>

#include "loaded.h"

#define GOOD "tests/golden/good/"

static void build(struct loaded *l, const char *layers)
{
    char text[2048];
    snprintf(text, sizeof text, "[net]\nheight=6\nwidth=6\nchannels=4\n%s", layers);
    load_text(l, text);
}

/* "b4 s4 m4 v4 w4x3x3x3": letter of the role, shape; a part other than 0 in front. */
static void assert_layout(const char *layers, const char *want)
{
    struct loaded l;
    struct prune_weights_layout layout;
    char got[2048] = "";
    size_t offset = 0;
    build(&l, layers);
    assert_int_equal(prune_layout_build(&layout, &l.net, NULL), PRUNE_OK);
    for (size_t i = 0; i < layout.count; i++) {
        const struct prune_weights_tensor *t = &layout.tensors[i];
        size_t product = 1;
        char *to = got + strlen(got);
        to += sprintf(to, "%s", i ? " " : "");
        if (t->part) to += sprintf(to, "%d:", t->part);
        to += sprintf(to, "%c", prune_role_name(t->role)[0]);
        for (int d = 0; d < t->rank; d++) {
            to += sprintf(to, "%s%zu", d ? "x" : "", t->shape[d]);
            product *= t->shape[d];
        }
        assert_int_equal(t->count, product);
        assert_int_equal(t->offset, offset);
        offset += t->count;
    }
    assert_int_equal(layout.floats, offset);
    assert_string_equal(got, want);
    prune_layout_free(&layout);
    unload(&l);
}

static void tensors_follow_the_order_of_the_file(void **state)
{
    (void)state;
    assert_layout("[conv]\nfilters=8\nsize=3\npad=1\n", "b8 w8x4x3x3");
    assert_layout("[conv]\nfilters=8\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\n", "b8 s8 m8 v8 w8x2x3x3");
    assert_layout("[deconv]\nfilters=8\nsize=2\nbatch_normalize=1\n", "b8 s8 m8 v8 w4x8x2x2");
    assert_layout("[conn]\noutput=3\nbatch_normalize=1\n", "b3 w3x144 s3 m3 v3");
    assert_layout("[batchnorm]\n[maxpool]\n[dropout]\n", "s4 m4 v4");
    assert_layout("[local]\nfilters=2\nsize=3\npad=1\n", "b72 w36x2x4x3x3");
    assert_layout("[rnn]\noutput=5\n", "b5 w5x144 1:b5 1:w5x5 2:b5 2:w5x5");
    assert_layout("[lstm]\noutput=5\n", "b5 w5x5 1:b5 1:w5x5 2:b5 2:w5x5 3:b5 3:w5x5 4:b5 4:w5x144 5:b5 5:w5x144 6:b5 6:w5x144 7:b5 7:w5x144");
    assert_layout("[gru]\noutput=5\n", "b5 w5x5 1:b5 1:w5x5 2:b5 2:w5x5 3:b5 3:w5x144 4:b5 4:w5x144 5:b5 5:w5x144");
    assert_layout("[crnn]\noutput_filters=2\nhidden_filters=3\n", "b3 w3x4x3x3 1:b3 1:w3x3x3x3 2:b2 2:w2x3x3x3");
}

static void keys_of_loading_change_what_the_file_holds(void **state)
{
    (void)state;
    assert_layout("[conv]\nfilters=8\ndontload=1\n[conv]\nfilters=2\n", "b2 w2x8x1x1");
    assert_layout("[conv]\nfilters=8\nbatch_normalize=1\ndontloadscales=1\n", "b8 w8x4x1x1");
    assert_layout("[conv]\nfilters=8\nnumload=3\nbatch_normalize=1\n", "b3 s3 m3 v3 w3x4x1x1");
}

static void a_tensor_is_found_by_layer_and_role(void **state)
{
    (void)state;
    struct loaded l;
    struct prune_weights_layout layout;
    load(&l, GOOD "tiny.cfg");
    assert_int_equal(prune_layout_build(&layout, &l.net, NULL), PRUNE_OK);
    assert_int_equal(prune_layout_find(&layout, 0, PRUNE_WEIGHTS)->offset, 16);
    assert_int_equal(prune_layout_find(&layout, 0, PRUNE_VARIANCE)->offset, 12);
    assert_int_equal(prune_layout_find(&layout, 2, PRUNE_BIASES)->offset, 124);
    assert_null(prune_layout_find(&layout, 1, PRUNE_WEIGHTS));
    assert_null(prune_layout_find(&layout, 2, PRUNE_SCALES));
    assert_null(prune_layout_find(&layout, 3, PRUNE_WEIGHTS));
    assert_null(prune_layout_find(&layout, 99, PRUNE_WEIGHTS));
    assert_int_equal(layout.floats, 134);
    prune_layout_free(&layout);
    unload(&l);
}

static void assert_header(const char *path, int32_t major, int32_t minor, bool seen64, bool transposed, size_t size)
{
    struct loaded l;
    struct prune_weights w;
    struct prune_status st = {0};
    load(&l, GOOD "tiny.cfg");
    if (prune_weights_open(&w, path, &l.net, &st)) fail_msg("%s", st.message);
    assert_int_equal(w.header.major, major);
    assert_int_equal(w.header.minor, minor);
    assert_int_equal(w.header.revision, 0);
    assert_int_equal(w.header.seen, 640);
    assert_int_equal(w.header.seen64, seen64);
    assert_int_equal(w.header.transposed, transposed);
    assert_int_equal(w.header.size, size);
    assert_int_equal(prune_weights_check_finite(&w, &st), PRUNE_OK);
    assert_true(prune_weights_data(&w, prune_layout_find(&w.layout, 0, PRUNE_VARIANCE))[0] >= 0.5f);
    prune_weights_close(&w);
    prune_weights_close(&w); /* closing twice is harmless */
    unload(&l);
}

static void headers_of_all_versions_are_read(void **state)
{
    (void)state;
    assert_header(GOOD "tiny.weights", 0, 2, true, false, 20);
    assert_header(GOOD "tiny-v1.weights", 0, 1, false, false, 16);
    assert_header(GOOD "tiny-transposed.weights", 1001, 0, false, true, 16);
}

static void a_header_is_written_in_the_form_it_came_in(void **state)
{
    (void)state;
    const char *const names[] = {GOOD "tiny.weights", GOOD "tiny-v1.weights", GOOD "tiny-transposed.weights"};
    char path[64];
    snprintf(path, sizeof path, "/tmp/prune-header-%ld", (long)getpid());
    struct loaded l;
    load(&l, GOOD "tiny.cfg");
    for (int i = 0; i < 3; i++) {
        struct prune_weights w;
        struct prune_writer *out = NULL;
        char *bytes = NULL;
        size_t size = 0;
        assert_int_equal(prune_weights_open(&w, names[i], &l.net, NULL), PRUNE_OK);
        assert_int_equal(prune_writer_open(&out, path, NULL), PRUNE_OK);
        assert_int_equal(prune_weights_put_header(out, &w.header, NULL), PRUNE_OK);
        assert_int_equal(prune_writer_commit(out, NULL), PRUNE_OK);
        assert_int_equal(prune_read_file(path, &bytes, &size, NULL), PRUNE_OK);
        assert_int_equal(size, w.header.size);
        assert_memory_equal(bytes, w.map.bytes, size);
        free(bytes);
        prune_weights_close(&w);
    }
    unlink(path);
    unload(&l);
}

/* 17 MB, more than one slab of the check, which a thread hashes. */
static void a_large_file_is_checked_to_its_last_value_and_hashed(void **state)
{
    (void)state;
    struct loaded l;
    struct prune_weights w = {0};
    struct prune_status st = {0};
    char path[] = "/tmp/prune-weights-XXXXXX", want[32], got[32] = "";
    const int32_t header[5] = {0, 2, 0, 0, 0};
    const float bad = INFINITY;
    build(&l, "[connected]\noutput=30000\nactivation=linear\n");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
    assert_int_equal(ftruncate(fd, 20 + 4L * 30000 * 145), 0);
    if (prune_weights_open(&w, path, &l.net, &st)) fail_msg("%s", st.message);
    assert_int_equal(prune_weights_check(&w, got, &st), PRUNE_OK);
    assert_int_equal(prune_hash_file(path, want, &st), PRUNE_OK);
    assert_string_equal(got, want);
    const long places[] = {0, (1 << 22) - 30000 - 1, (1 << 22) - 30000, 30000L * 144 - 1};   /* around the slab's border, and the ends */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char index[32];
        const float zero = 0;
        snprintf(index, sizeof index, "weights[%ld] is inf", places[i]);
        assert_int_equal(pwrite(fd, &bad, 4, 20 + 4 * (30000 + places[i])), 4);
        assert_int_equal(prune_weights_check(&w, got, &st), PRUNE_FAILED);
        assert_non_null(strstr(st.message, index));
        assert_int_equal(pwrite(fd, &zero, 4, 20 + 4 * (30000 + places[i])), 4);
    }
    assert_string_equal(got, want);      /* untouched by failures */
    prune_weights_close(&w);
    close(fd);
    remove(path);
    unload(&l);
}

static void a_prefix_must_end_behind_a_layer(void **state)
{
    (void)state;
    struct loaded l;
    struct prune_weights w = {0};
    struct prune_status st = {0};
    size_t layers = 99;
    load(&l, GOOD "tiny.cfg");
    assert_int_equal(prune_weights_open_prefix(&w, "tests/golden/bad/ends-behind-a-layer.weights", &l.net, &layers, &st), PRUNE_OK);
    assert_int_equal(layers, 2); /* 0 has its weights, 1 needs none */
    assert_int_equal(w.layout.count, 5);
    assert_int_equal(w.layout.floats, 124);
    assert_int_equal(prune_weights_check_finite(&w, &st), PRUNE_OK);
    prune_weights_close(&w);
    assert_int_equal(prune_weights_open_prefix(&w, GOOD "tiny.weights", &l.net, &layers, &st), PRUNE_OK);
    assert_int_equal(layers, 4);
    prune_weights_close(&w);
    layers = 99;
    assert_int_equal(prune_weights_open_prefix(&w, "tests/golden/bad/truncated.weights", &l.net, &layers, &st), PRUNE_FAILED);
    assert_int_equal(prune_weights_open_prefix(&w, "tests/golden/bad/header-only.weights", &l.net, &layers, &st), PRUNE_FAILED);
    assert_int_equal(prune_weights_open_prefix(&w, "tests/golden/bad/one-byte-long.weights", &l.net, &layers, &st), PRUNE_FAILED);
    assert_int_equal(layers, 99);
    assert_null(w.path);
    unload(&l);
}

/* A file of the right size for every length from nothing to one byte too many: only one length is right. */
static void every_other_length_is_refused(void **state)
{
    (void)state;
    char path[64], *bytes = NULL;
    size_t size = 0;
    struct loaded l;
    load(&l, GOOD "tiny.cfg");
    snprintf(path, sizeof path, "/tmp/prune-length-%ld", (long)getpid());
    assert_int_equal(prune_read_file(GOOD "tiny.weights", &bytes, &size, NULL), PRUNE_OK);
    assert_int_equal(size, 556);
    for (size_t n = 0; n <= size + 1; n++) {
        struct prune_weights w;
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(bytes, 1, n, f); /* one past the end is the NUL of prune_read_file */
        fclose(f);
        enum prune_code code = prune_weights_open(&w, path, &l.net, NULL);
        assert_int_equal(code, n == size ? PRUNE_OK : PRUNE_FAILED);
        if (!code) prune_weights_close(&w);
    }
    unlink(path);
    free(bytes);
    unload(&l);
}

static void a_full_file_for_a_cfg_that_loads_less_is_explained(void **state)
{
    (void)state;
    struct loaded l;
    struct prune_weights w;
    struct prune_status st = {0};
    build(&l, "[conv]\nfilters=4\nsize=3\nbatch_normalize=1\n[avg]\n[conn]\noutput=2\ndontload=1\n");
    assert_int_equal(prune_weights_open(&w, GOOD "tiny.weights", &l.net, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "ends in layer 0 weights")); /* 4 input channels here */
    unload(&l);
    build(&l, "[conv]\nfilters=2\ndontload=1\n[conv]\nfilters=2\n");
    assert_int_equal(prune_weights_open(&w, GOOD "tiny.weights", &l.net, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "512 bytes left over after the last layer (556 bytes, cfg needs 44 because it says dontload)"));
    unload(&l);
}

static void published_weights_fit_their_cfgs(void **state)
{
    (void)state;
    const char *data = getenv("PRUNE_DATA");
    const char *const names[] = {"resnet-cifar10/resnet20", "resnet-cifar10/resnet56", "tiny-darknet/tiny", "yolo-fastest/yolo-fastest", "yolo-fastest/yolo-fastest-1.1"};
    if (!data) {
        print_message("SKIPPED: PRUNE_DATA is unset\n");
        skip();
    }
    for (int i = 0; i < 5; i++) {
        char cfg[4096], weights[4096];
        struct loaded l;
        struct prune_weights w;
        struct prune_status st = {0};
        snprintf(cfg, sizeof cfg, "%s/weights/%s.cfg", data, names[i]);
        snprintf(weights, sizeof weights, "%s/weights/%s.weights", data, names[i]);
        load(&l, cfg);
        if (prune_weights_open(&w, weights, &l.net, &st) || prune_weights_check_finite(&w, &st)) fail_msg("%s", st.message);
        prune_weights_close(&w);
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_follow_the_order_of_the_file),
        cmocka_unit_test(keys_of_loading_change_what_the_file_holds),
        cmocka_unit_test(a_tensor_is_found_by_layer_and_role),
        cmocka_unit_test(headers_of_all_versions_are_read),
        cmocka_unit_test(a_header_is_written_in_the_form_it_came_in),
        cmocka_unit_test(a_large_file_is_checked_to_its_last_value_and_hashed),
        cmocka_unit_test(a_prefix_must_end_behind_a_layer),
        cmocka_unit_test(every_other_length_is_refused),
        cmocka_unit_test(a_full_file_for_a_cfg_that_loads_less_is_explained),
        cmocka_unit_test(published_weights_fit_their_cfgs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
