/* Masks of single weights, their selection to the weight, scores that need no images, and the whole job of fine-grained pruning against a fake host that trains by noise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../plugin/base/random.h"
#include "../../plugin/run/sparse_loop.h"
#include "temp_folder.h"

static const char CFG[] = "[net]\nbatch=4\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\nlearning_rate=0.1\n\n"
                          "[convolutional]\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=relu\n\n"
                          "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\ngroups=4\nactivation=relu\n\n[connected]\noutput=10\nactivation=linear\n\n[softmax]\n";
enum { LAYERS = 4, W0 = 16 * 27, W1 = 8 * 4 * 9, W2 = 10 * 512, WEIGHTS = W0 + W1 + W2, OTHERS = 16 + 8 + 8 + 10, FLOATS = WEIGHTS + 16 + 32 + 10 };

struct fixture { struct prune_cfg cfg; struct prune_net net; struct prune_weights weights; struct prune_sparse sparse; char cfg_path[96], weights_path[96]; };

/* Every value different from 0 and from each other in size. */
static float value(size_t i) { return (float)((i % 2 ? 1 : -1) * (1 + (double)((i * 7919) % 10007)) / 10007); }

static void write_weights(const char *path)
{
    float *v = malloc(FLOATS * sizeof *v);
    char *bytes = malloc(20 + FLOATS * sizeof *v);
    const int32_t version[3] = {0, 2, 0};
    const uint64_t seen = 99;
    for (size_t i = 0; i < FLOATS; i++) v[i] = value(i);
    for (size_t i = 16 + W0 + 24; i < 16 + W0 + 32; i++) v[i] = 1;   /* variances */
    memcpy(bytes, version, 12);
    memcpy(bytes + 12, &seen, 8);
    memcpy(bytes + 20, v, FLOATS * sizeof *v);
    assert_int_equal(prune_write_file(path, bytes, 20 + FLOATS * sizeof *v, NULL), PRUNE_OK);
    free(bytes);
    free(v);
}

static int open_fixture(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    if (make_folder(NULL)) return -1;
    snprintf(x->cfg_path, sizeof x->cfg_path, "%s/net.cfg", folder);
    snprintf(x->weights_path, sizeof x->weights_path, "%s/net.weights", folder);
    assert_int_equal(prune_write_file(x->cfg_path, CFG, sizeof CFG - 1, NULL), PRUNE_OK);
    write_weights(x->weights_path);
    assert_int_equal(prune_net_read(&x->cfg, &x->net, x->cfg_path, NULL), PRUNE_OK);
    assert_int_equal(prune_weights_open(&x->weights, x->weights_path, &x->net, NULL), PRUNE_OK);
    assert_int_equal(prune_sparse_init(&x->sparse, &x->net, &x->weights.layout, NULL), PRUNE_OK);
    *state = x;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *x = *state;
    prune_sparse_free(&x->sparse);
    prune_weights_close(&x->weights);
    prune_net_free(&x->net);
    prune_cfg_free(&x->cfg);
    free(x);
    return remove_folder(NULL);
}

/* Scores with many ties, negative ones and both zeros. */
static float *tied_scores(uint64_t seed)
{
    float *scores = malloc(WEIGHTS * sizeof *scores);
    for (size_t k = 0; k < WEIGHTS; k++) {
        struct prune_random r = prune_random_make(seed, 5, k);
        double v = (double)prune_random_below(&r, 41) - 20;
        scores[k] = (float)(v * (prune_random_uniform(&r) < 0.5 ? 1e-3 : 1e6));
        if (k % 97 == 0) scores[k] = -0.0f;
    }
    return scores;
}

/* What a plain sort does: position by (score, place). */
struct ranked { float score; size_t at; };
static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* The same selection by sorting, global, floors kept. */
static void select_by_sorting(const struct prune_sparse *s, const float *scores, size_t remain, uint8_t *keep)
{
    struct ranked *all = malloc(s->weights * sizeof *all);
    size_t left[LAYERS] = {0}, kept = 0;
    memcpy(keep, s->keep, s->weights);
    for (size_t k = 0; k < s->weights; k++) all[k] = (struct ranked){scores[k], k};
    qsort(all, s->weights, sizeof *all, by_score);
    for (size_t i = 0; i < s->count; i++) left[i] = s->layers[i].kept;
    kept = s->kept;
    for (size_t k = 0; k < s->weights && kept > remain; k++) {
        size_t i = 0, at = all[k].at;
        while (i + 1 < s->count && at >= s->layers[i + 1].first) i++;
        if (!keep[at] || left[i] <= s->layers[i].floor) continue;
        keep[at] = 0;
        left[i]--;
        kept--;
    }
    free(all);
}

static void weights_are_those_of_convolutional_and_connected_layers(void **state)
{
    const struct fixture *x = *state;
    const struct prune_sparse *s = &x->sparse;
    assert_int_equal(s->count, 3);
    assert_int_equal(s->weights, WEIGHTS);
    assert_int_equal(s->kept, WEIGHTS);
    const size_t counts[] = {W0, W1, W2};
    for (size_t i = 0; i < 3; i++) {
        float *v = malloc(counts[i] * sizeof *v);
        assert_int_equal(s->layers[i].layer, i);
        assert_int_equal(s->layers[i].count, counts[i]);
        assert_int_equal(prune_sparse_values(&s->layers[i], &x->net, &x->weights, v, NULL), PRUNE_OK);
        const struct prune_weights_tensor *t = prune_layout_find(&x->weights.layout, (int)i, PRUNE_WEIGHTS);
        assert_memory_equal(v, prune_weights_data(&x->weights, t), counts[i] * sizeof *v);
        free(v);
    }
    assert_int_equal(x->net.parameters, WEIGHTS + OTHERS);
}

static void selection_is_exact_with_ties_and_equals_sorting(void **state)
{
    struct fixture *x = *state;
    struct prune_sparse *s = &x->sparse;
    uint8_t *expected = malloc(WEIGHTS), *before = malloc(WEIGHTS);
    const size_t remain[] = {WEIGHTS - 1, WEIGHTS / 2, WEIGHTS / 3, 1000, 999, 100, 61};
    assert_int_equal(prune_sparse_floors(s, &x->net, 20, NULL, NULL), PRUNE_OK);
    for (size_t i = 0; i < sizeof remain / sizeof *remain; i++) {
        float *scores = tied_scores(i);
        memcpy(before, s->keep, WEIGHTS);
        select_by_sorting(s, scores, remain[i], expected);
        assert_int_equal(prune_sparse_select(s, scores, remain[i], false, NULL), PRUNE_OK);
        assert_memory_equal(s->keep, expected, WEIGHTS);
        size_t kept = 0;
        for (size_t k = 0; k < WEIGHTS; k++) {
            assert_true(before[k] || !s->keep[k]);   /* masks only grow */
            kept += s->keep[k];
        }
        assert_int_equal(kept, remain[i]);
        assert_int_equal(s->kept, remain[i]);
        for (size_t l = 0; l < s->count; l++) assert_true(s->layers[l].kept >= 20);
        free(scores);
    }
    free(before);
    free(expected);
}

static void no_layer_can_lose_all_its_weights(void **state)
{
    struct fixture *x = *state;
    struct prune_sparse *s = &x->sparse;
    struct prune_status st = {0};
    float *scores = tied_scores(1);
    for (size_t k = 0; k < W0; k++) scores[k] = -1e9f;   /* layer 0 is the least important by far */
    assert_int_equal(prune_sparse_select(s, scores, 3, false, NULL), PRUNE_OK);
    for (size_t l = 0; l < 3; l++) assert_int_equal(s->layers[l].kept, 1);
    assert_int_equal(prune_sparse_select(s, scores, 2, false, &st), PRUNE_USAGE);
    assert_non_null(strstr(st.message, "at least 3 stay"));
    assert_int_equal(s->kept, 3);
    free(scores);
}

static void protected_layers_and_floors_hold(void **state)
{
    struct fixture *x = *state;
    struct prune_sparse *s = &x->sparse;
    struct prune_status st = {0};
    float *scores = tied_scores(2);
    assert_int_equal(prune_sparse_floors(s, &x->net, 7, "1", NULL), PRUNE_OK);
    assert_int_equal(prune_sparse_select(s, scores, W1 + 14, false, NULL), PRUNE_OK);
    assert_int_equal(s->layers[0].kept, 7);
    assert_int_equal(s->layers[1].kept, W1);
    assert_int_equal(s->layers[2].kept, 7);
    assert_int_equal(prune_sparse_floors(s, &x->net, 1, "9", &st), PRUNE_USAGE);
    scores[WEIGHTS - 1] = NAN;
    assert_int_equal(prune_sparse_floors(s, &x->net, WEIGHTS, NULL, NULL), PRUNE_OK);
    for (size_t l = 0; l < 3; l++) assert_int_equal(s->layers[l].floor, s->layers[l].count);
    memset(s->keep, 1, WEIGHTS);
    assert_int_equal(prune_sparse_select(s, scores, WEIGHTS, false, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "layer 2 is not finite"));
    free(scores);
}

static void per_layer_takes_the_same_fraction_of_each(void **state)
{
    struct fixture *x = *state;
    struct prune_sparse *s = &x->sparse;
    float *scores = tied_scores(3);
    assert_int_equal(prune_sparse_select(s, scores, prune_sparse_target(s, 0.25), true, NULL), PRUNE_OK);
    assert_int_equal(s->layers[0].kept, W0 / 4);
    assert_int_equal(s->layers[1].kept, W1 / 4);
    assert_int_equal(s->layers[2].kept, W2 / 4);
    assert_int_equal(prune_sparse_select(s, scores, prune_sparse_target(s, 0.0001), true, NULL), PRUNE_OK);
    assert_int_equal(s->layers[0].kept, 1);
    assert_int_equal(s->layers[2].kept, 1);
    free(scores);
}

static void schedules_end_at_the_target_exactly(void **state)
{
    struct fixture *x = *state;
    struct prune_sparse s = x->sparse;
    const double stages[] = {0.5, 0.1, 0.013};
    struct prune_sparse_options o = {.remain = 0.013, .stages = stages, .stage_count = 3};
    for (size_t i = 0; i < 3; i++) assert_int_equal(prune_sparse_next(&s, &o, i), llround(stages[i] * WEIGHTS));
    o = (struct prune_sparse_options){.remain = 0.1, .remove_per_iteration = 0.3};
    const size_t target = prune_sparse_target(&s, 0.1);
    size_t rounds = 0;
    for (; s.kept > target; rounds++) {
        size_t next = prune_sparse_next(&s, &o, rounds);
        assert_true(next < s.kept && s.kept - next <= (size_t)ceil(0.3 * (double)s.kept));
        s.kept = next;
    }
    assert_int_equal(s.kept, target);
    assert_int_equal(rounds, 7);   /* 0.7^6 > 0.1 > 0.7^7 */
    assert_int_equal(prune_sparse_next(&s, &o, rounds), target);
}

static void scores_without_images(void **state)
{
    struct fixture *x = *state;
    struct prune_score_input in = {.net = &x->net, .seed = 3};
    struct prune_weight_layer layer = {.layer = 1, .count = W1, .keep = x->sparse.keep};
    float *w = malloc(W1 * sizeof *w), *a = malloc(W1 * sizeof *a), *b = malloc(W1 * sizeof *b);
    assert_int_equal(prune_sparse_values(&x->sparse.layers[1], &x->net, &x->weights, w, NULL), PRUNE_OK);
    layer.weights = w;
    x->sparse.keep[5] = 0;
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("magnitude"), &in, NULL, false, &layer, a, NULL), PRUNE_OK);
    double sum = 0;
    for (size_t i = 0; i < W1; i++) {
        assert_true(a[i] == (i == 5 ? 0 : fabsf(w[i])));
        sum += (double)a[i];
    }
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("magnitude"), &in, NULL, true, &layer, b, NULL), PRUNE_OK);
    for (size_t i = 0; i < W1; i++) assert_true(fabs((double)b[i] - (double)a[i] / sum) < 1e-8);
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("random"), &in, NULL, false, &layer, a, NULL), PRUNE_OK);
    in.seed = 4;
    assert_int_equal(prune_weight_scores(prune_weight_criterion_find("random"), &in, NULL, false, &layer, b, NULL), PRUNE_OK);
    assert_memory_not_equal(a, b, W1 * sizeof *a);
    for (size_t i = 0; i < W1; i++) assert_true(a[i] >= 0 && a[i] < 1);
    assert_null(prune_weight_criterion_find("taylor-fo"));
    free(b);
    free(a);
    free(w);
}

static void the_table_tells_what_a_file_holds(void **state)
{
    struct fixture *x = *state;
    struct prune_sparse *s = &x->sparse;
    s->keep[0] = 0;
    assert_int_equal(prune_sparse_from_zeros(s, &x->net, &x->weights, NULL), PRUNE_OK);
    assert_int_equal(s->kept, WEIGHTS);
    float *scores = tied_scores(4);
    assert_int_equal(prune_sparse_select(s, scores, 1234, false, NULL), PRUNE_OK);
    free(scores);
    cJSON *json = prune_sparse_json(s, &x->net), *row;
    size_t i = 0, remaining = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "layers")) {
        assert_int_equal(cJSON_GetObjectItem(row, "layer")->valueint, i);
        assert_int_equal(cJSON_GetObjectItem(row, "weights")->valueint, s->layers[i].count);
        remaining += (size_t)cJSON_GetObjectItem(row, "remaining")->valueint;
        assert_string_equal(cJSON_GetObjectItem(row, "kind")->valuestring, i++ < 2 ? "convolutional" : "connected");
    }
    assert_int_equal(i, 3);
    assert_int_equal(remaining, 1234);
    assert_int_equal(cJSON_GetObjectItem(json, "remaining")->valueint, 1234);
    assert_int_equal(cJSON_GetObjectItem(json, "weights")->valueint, WEIGHTS);
    assert_int_equal(cJSON_GetObjectItem(json, "other_parameters")->valueint, OTHERS);
    cJSON_Delete(json);
    double macs = 64.0 * (double)(s->layers[0].kept + s->layers[1].kept) + (double)s->layers[2].kept;
    assert_true(fabs(prune_sparse_macs(s, &x->net) - macs) < 1e-6 * macs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_FIXTURE(f) cmocka_unit_test_setup_teardown(f, open_fixture, close_fixture)
        WITH_FIXTURE(weights_are_those_of_convolutional_and_connected_layers), WITH_FIXTURE(selection_is_exact_with_ties_and_equals_sorting),
        WITH_FIXTURE(no_layer_can_lose_all_its_weights), WITH_FIXTURE(protected_layers_and_floors_hold), WITH_FIXTURE(per_layer_takes_the_same_fraction_of_each),
        WITH_FIXTURE(schedules_end_at_the_target_exactly), WITH_FIXTURE(scores_without_images), WITH_FIXTURE(the_table_tells_what_a_file_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
