/* Mask file: what is written is read back; whatever is not a set of whole removable units of this cfg is refused by name. */
#include <unistd.h>

#include "../../plugin/units/mask_file.h"
#include "net_text.h"

static const struct prune_mask_origin ORIGIN = { .cfg_path = "net.cfg", .cfg_hash = "xxh64:0123456789abcdef", .weights_path = "net.weights", .weights_hash = "xxh64:1" };
static const char TEXT[] = NET CONV(4) CONV(6) SHORTCUT(-2) HEAD;
static struct prune_status st;

static char *written(const struct text_net *t, const uint8_t *removed, size_t *size)
{
    char path[] = "/tmp/prune-mask-XXXXXX";
    close(mkstemp(path));
    if (prune_mask_write(path, &t->units, removed, &ORIGIN, &st)) fail_msg("%s", st.message);
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 16);
    *size = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    unlink(path);
    return text;
}

static void a_mask_survives_the_file(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, TEXT);
    uint8_t removed[32] = { 0 }, read[32];
    size_t size;
    removed[unit_of(&t, 0, 2)] = removed[unit_of(&t, 1, 5)] = 1;
    char *text = written(&t, removed, &size);
    memset(read, 7, sizeof read);
    if (prune_mask_parse("m", text, size, &t.units, &ORIGIN, read, &st)) fail_msg("%s", st.message);
    assert_memory_equal(read, removed, t.units.count);
    assert_int_equal(read[t.units.count], 7);
    assert_int_equal(text[size - 1], '\n');
    free(text);
    text_close(&t);
}

static void the_file_names_removed_and_kept_channels_of_every_layer_that_loses_some(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, TEXT);
    uint8_t removed[32] = { 0 };
    size_t size;
    removed[unit_of(&t, 0, 2)] = 1;
    char *text = written(&t, removed, &size), *flat = calloc(1, size + 1);
    for (size_t i = 0, n = 0; i < size; i++)
        if (!strchr(" \t\n", text[i])) flat[n++] = text[i];
    assert_string_equal(flat, "{\"format\":\"darknet-prune-mask\",\"version\":1,\"cfg\":{\"file\":\"net.cfg\",\"hash\":\"xxh64:0123456789abcdef\"},"
                              "\"weights\":{\"file\":\"net.weights\",\"hash\":\"xxh64:1\"},\"kind\":\"unit\","
                              "\"removed\":[{\"layer\":0,\"channels\":[2]},{\"layer\":1,\"channels\":[2]}],"
                              "\"kept\":[{\"layer\":0,\"channels\":[0,1,3]},{\"layer\":1,\"channels\":[0,1,3,4,5]}]}");
    free(flat);
    free(text);
    text_close(&t);
}

#define HEADER "{\"format\":\"darknet-prune-mask\",\"version\":1,\"cfg\":{\"hash\":\"xxh64:0123456789abcdef\"},\"kind\":\"unit\",\"removed\":"

static void masks_that_are_not_of_this_network_are_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *text, *message; } CASES[] = {
        { "", "is not JSON" },
        { "{", "is not JSON" },
        { HEADER "[]} x", "is not JSON" },
        { "[]", "'m.json' is not a mask file: its format is nothing, expected" },
        { "{\"format\":\"darknet-prune-scores\"}", "is not a mask file: its format is \"darknet-prune-scores\", expected \"darknet-prune-mask\"" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":3}", "another version (3)" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1.5}", "another version (1.5)" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":\"1\"}", "another version (\"1\")" },
        { "{\"format\":\"darknet-prune-mask\"}", "another version (nothing)" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"weight\"}", "kind 'weight'" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"cfg\":{\"hash\":\"xxh64:1\"},\"removed\":[]}", "belongs to another cfg: it was made for '(no file name)' (xxh64:1), and 'net.cfg' is xxh64:0123456789abcdef; give the cfg" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"removed\":[]}", "(no file name)' (no hash)" },
        { HEADER "{}}", "no list 'removed'" },
        { HEADER "[7]}", "'removed' holds 7" },
        { HEADER "[{\"layer\":99,\"channels\":[]}]}", "names layer 99, and the cfg has layers 0 to 5" },
        { HEADER "[{\"layer\":-1,\"channels\":[]}]}", "names layer -1, and the cfg has layers 0 to 5" },
        { HEADER "[{\"layer\":0.5,\"channels\":[]}]}", "names layer 0.5, and the cfg has layers 0 to 5" },
        { HEADER "[{\"layer\":\"0\",\"channels\":[]}]}", "names layer \"0\", and" },
        { HEADER "[{\"channels\":[]}]}", "names layer nothing, and" },
        { HEADER "[{\"layer\":0,\"channels\":3}]}", "layer 0 has no list 'channels'" },
        { HEADER "[{\"layer\":0}]}", "layer 0 has no list 'channels'" },
        { HEADER "[{\"layer\":0,\"channels\":[4]}]}", "names channel 4 of layer 0, which makes channels 0 to 3" },
        { HEADER "[{\"layer\":0,\"channels\":[-1]}]}", "names channel -1 of layer 0" },
        { HEADER "[{\"layer\":0,\"channels\":[1.5]}]}", "names channel 1.5 of layer 0" },
        { HEADER "[{\"layer\":0,\"channels\":[\"1\"]}]}", "names channel \"1\" of layer 0" },
        { HEADER "[{\"layer\":0,\"channels\":[null]}]}", "names channel null of layer 0" },
        { HEADER "[{\"layer\":0,\"channels\":[1e300]}]}", "names channel 1e+300 of layer 0" },
        { HEADER "[{\"layer\":2,\"channels\":[0]}]}", "names channel 0 of layer 2, which makes no channels; name" },
        { HEADER "[],\"blocks\":[{\"shortcut\":2}]}", "is of version 1 and has 'blocks'" },
        { HEADER "[{\"layer\":0,\"channels\":[1,1]}]}", "layer 0 channel 1 twice" },
        { HEADER "[{\"layer\":0,\"channels\":[1]}]}", "removes layer 0 channel 1 but not layer 1 channel 1, which is tied to it" },
        { HEADER "[{\"layer\":3,\"channels\":[0]}]}", "layer 3 channel 0, which must stay: read by a softmax" },
    };
    struct text_net t;
    text_open(&t, TEXT);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t removed[32];
        memset(removed, 7, sizeof removed);
        assert_int_equal(prune_mask_parse("m.json", CASES[i].text, strlen(CASES[i].text), &t.units, &ORIGIN, removed, &st), PRUNE_FAILED);
        if (!strstr(st.message, CASES[i].message) || !strstr(st.message, "m.json")) fail_msg("case %zu: %s", i, st.message);
        assert_int_equal(removed[0], 7);         /* written only on success */
    }
    static const char hidden[] = HEADER "[]}\0[]";
    uint8_t removed[32];
    assert_int_equal(prune_mask_parse("m", hidden, sizeof hidden - 1, &t.units, &ORIGIN, removed, &st), PRUNE_FAILED);
    text_close(&t);
}

static void an_empty_mask_removes_nothing(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, TEXT);
    uint8_t removed[32];
    memset(removed, 7, sizeof removed);
    static const char text[] = HEADER "[]}";
    assert_int_equal(prune_mask_parse("m", text, sizeof text - 1, &t.units, &ORIGIN, removed, &st), PRUNE_OK);
    for (size_t u = 0; u < t.units.count; u++) assert_int_equal(removed[u], 0);
    text_close(&t);
}

static void units_the_user_protects_are_refused_too(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, TEXT);
    uint8_t removed[32] = { 0 };
    static const char text[] = HEADER "[{\"layer\":1,\"channels\":[5]}]}";
    assert_int_equal(prune_mask_parse("m", text, sizeof text - 1, &t.units, &ORIGIN, removed, &st), PRUNE_OK);
    assert_int_equal(prune_units_protect(&t.units, &t.net, "1", &st), PRUNE_OK);
    assert_int_equal(prune_mask_parse("m", text, sizeof text - 1, &t.units, &ORIGIN, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "-protect"));
    text_close(&t);
}

static void a_mask_of_other_weights_is_refused_unless_they_are_allowed(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, TEXT);
    uint8_t removed[32] = { 0 };
    size_t size;
    removed[unit_of(&t, 0, 2)] = 1;
    char *text = written(&t, removed, &size);
    struct prune_mask_origin other = ORIGIN;
    other.weights_path = "tuned.weights";
    strcpy(other.weights_hash, "xxh64:2");
    assert_int_equal(prune_mask_parse("m.json", text, size, &t.units, &other, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "mask 'm.json' belongs to other weights: it was made for 'net.weights' (xxh64:1), and 'tuned.weights' is xxh64:2; give those, or '-other-weights 1'"));
    other.other_weights = true;
    assert_int_equal(prune_mask_parse("m.json", text, size, &t.units, &other, removed, &st), PRUNE_OK);
    other = (struct prune_mask_origin){ .cfg_path = "net.cfg", .cfg_hash = "xxh64:0123456789abcdef" };      /* no weights at hand */
    assert_int_equal(prune_mask_parse("m.json", text, size, &t.units, &other, removed, &st), PRUNE_OK);
    free(text);
    static const char malformed[] = "{\"format\":\"darknet-prune-mask\",\"version\":1,\"cfg\":{\"hash\":\"xxh64:0123456789abcdef\"},\"kind\":\"unit\",\"weights\":7,\"removed\":[]}";
    assert_int_equal(prune_mask_parse("m.json", malformed, sizeof malformed - 1, &t.units, &ORIGIN, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "'weights' is 7, neither null nor an object"));
    text_close(&t);
}

static void unknown_members_are_ignored(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, TEXT);
    uint8_t removed[32] = { 0 };
    static const char text[] = "{\"note\":[1],\"format\":\"darknet-prune-mask\",\"version\":1,\"cfg\":{\"hash\":\"xxh64:0123456789abcdef\",\"by\":2},\"kind\":\"unit\","
                               "\"removed\":[{\"why\":null,\"layer\":1,\"channels\":[5]}]}";
    assert_int_equal(prune_mask_parse("m", text, sizeof text - 1, &t.units, &ORIGIN, removed, &st), PRUNE_OK);
    assert_int_equal(removed[unit_of(&t, 1, 5)], 1);
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_survives_the_file),
        cmocka_unit_test(the_file_names_removed_and_kept_channels_of_every_layer_that_loses_some),
        cmocka_unit_test(masks_that_are_not_of_this_network_are_refused_by_name),
        cmocka_unit_test(an_empty_mask_removes_nothing),
        cmocka_unit_test(units_the_user_protects_are_refused_too),
        cmocka_unit_test(a_mask_of_other_weights_is_refused_unless_they_are_allowed),
        cmocka_unit_test(unknown_members_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
