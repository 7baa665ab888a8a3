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
        { "[]", "is no mask file" },
        { "{\"format\":\"darknet-prune-scores\"}", "is no mask file" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":2}", "another version" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"weight\"}", "kind 'weight'" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"cfg\":{\"hash\":\"xxh64:1\"},\"removed\":[]}", "belongs to another cfg: it was made for xxh64:1, 'net.cfg' is" },
        { "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"removed\":[]}", "(no hash)" },
        { HEADER "{}}", "no list 'removed'" },
        { HEADER "[7]}", "names a layer that the cfg does not have" },
        { HEADER "[{\"layer\":99,\"channels\":[]}]}", "names a layer that the cfg does not have" },
        { HEADER "[{\"layer\":-1,\"channels\":[]}]}", "names a layer that the cfg does not have" },
        { HEADER "[{\"layer\":0.5,\"channels\":[]}]}", "names a layer that the cfg does not have" },
        { HEADER "[{\"layer\":0}]}", "layer 0 has no list 'channels'" },
        { HEADER "[{\"layer\":0,\"channels\":[4]}]}", "a channel that layer 0 does not have (it makes 4 that can be removed)" },
        { HEADER "[{\"layer\":0,\"channels\":[1e300]}]}", "a channel that layer 0 does not have" },
        { HEADER "[{\"layer\":2,\"channels\":[0]}]}", "a channel that layer 2 does not have" },
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_survives_the_file),
        cmocka_unit_test(the_file_names_removed_and_kept_channels_of_every_layer_that_loses_some),
        cmocka_unit_test(masks_that_are_not_of_this_network_are_refused_by_name),
        cmocka_unit_test(an_empty_mask_removes_nothing),
        cmocka_unit_test(units_the_user_protects_are_refused_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
