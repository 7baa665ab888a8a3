/* Training state and weights files: what is restored goes on with the same bytes as what never stopped; nothing half-written, nothing half-read. */
#include "session.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "../../darknet/layer_tensors.h"

static struct prune_status st;

static void steps(struct session *s, int n)
{
    struct prune_step step;
    for (int i = 0; i < n; i++)
        if (trainer_step(s->t, -1, .9, .0005, &step, &st)) fail_msg("%s", st.message);
}
static void assert_same_networks(const network *a, const network *b)
{
    struct layer_tensor *ta, *tb;
    size_t na, nb;
    assert_int_equal(layer_tensors(a, true, &ta, &na, NULL), PRUNE_OK);
    assert_int_equal(layer_tensors(b, true, &tb, &nb, NULL), PRUNE_OK);
    assert_int_equal(na, nb);
    for (size_t i = 0; i < na; i++) {
        assert_memory_equal(ta[i].data, tb[i].data, ta[i].count * sizeof(float));
        if (ta[i].updates) assert_memory_equal(ta[i].updates, tb[i].updates, ta[i].count * sizeof(float));
    }
    assert_int_equal(*a->seen, *b->seen);
    free(ta);
    free(tb);
}

static void stop_and_go(const char *cfg, const char *data, bool scales)
{
    struct session straight, first, second;
    session_open(&straight, cfg, data, 11, scales);
    steps(&straight, 20);
    session_open(&first, cfg, data, 11, scales);
    steps(&first, 10);
    if (state_save(first.open.net, first.t, NULL, 0, at("state"), &st)) fail_msg("%s", st.message);
    session_close(&first);
    session_open(&second, cfg, data, 99, scales); /* the state brings its own seed */
    steps(&second, 1);                            /* and whatever was there before is gone */
    if (state_load(second.open.net, second.t, NULL, 0, at("state"), &st)) fail_msg("%s", st.message);
    assert_int_equal(trainer_iteration(second.t), 10);
    assert_int_equal(trainer_seed(second.t), 11);
    steps(&second, 10);
    assert_same_networks(straight.open.net, second.open.net);
    session_close(&straight);
    session_close(&second);
}

static void a_classifier_restored_goes_on_with_the_same_bytes(void **state)
{
    (void)state;
    stop_and_go(make_classifier_cfg("net.cfg", 6, 2, .05, 20), make_classifier_data(""), false);
}

static void a_multi_scale_detector_restored_goes_on_with_the_same_bytes(void **state)
{
    (void)state;
    stop_and_go(make_detector_cfg("det.cfg", .001, 1000, 1), make_detector_data(), true);
}

static void gates_come_back_exactly_and_stay_without_an_entry(void **state)
{
    (void)state;
    struct session s;
    float saved[4] = {1, 0, .1f, 1e-30f}, loaded[4] = {9, 9, 9, 9}, kept[4] = {5, 6, 7, 8};
    session_open(&s, make_classifier_cfg("net.cfg", 4, 1, .01, 20), make_classifier_data(""), 1, false);
    assert_int_equal(state_save(s.open.net, s.t, saved, 4, at("state"), &st), PRUNE_OK);
    assert_int_equal(state_load(s.open.net, s.t, loaded, 4, at("state"), &st), PRUNE_OK);
    assert_memory_equal(saved, loaded, sizeof saved);
    assert_int_equal(state_load(s.open.net, s.t, loaded, 3, at("state"), &st), PRUNE_FAILED);
    assert_says(&st, "'gates' does not hold 3 values");
    assert_int_equal(state_save(s.open.net, NULL, NULL, 0, at("state"), &st), PRUNE_OK); /* over the old one */
    assert_int_equal(state_load(s.open.net, NULL, kept, 4, at("state"), &st), PRUNE_OK);
    assert_true(kept[0] > 4.5f && kept[3] > 7.5f);
    session_close(&s);
}

static void a_state_of_another_network_changes_nothing(void **state)
{
    (void)state;
    struct session s, other;
    session_open(&s, make_classifier_cfg("net.cfg", 4, 1, .01, 20), make_classifier_data(""), 1, false);
    session_open(&other, make_detector_cfg("det.cfg", .001, 10, 0), make_detector_data(), 1, false);
    assert_int_equal(state_save(other.open.net, other.t, NULL, 0, at("state"), &st), PRUNE_OK);
    float first = s.open.net->layers[0].weights[0];
    assert_int_equal(state_load(s.open.net, s.t, NULL, 0, at("state"), &st), PRUNE_FAILED);
    assert_says(&st, "state of another network");
    assert_memory_equal(&first, &s.open.net->layers[0].weights[0], sizeof first);
    write_text("state/state.json", "{\"version\":1,\"iteration\":-3}");
    assert_int_equal(state_load(other.open.net, other.t, NULL, 0, at("state"), &st), PRUNE_FAILED);
    assert_says(&st, "state.json");
    assert_int_equal(state_load(other.open.net, other.t, NULL, 0, at("nowhere"), &st), PRUNE_FAILED);
    assert_says(&st, "nowhere");
    session_close(&s);
    session_close(&other);
}

static void a_folder_with_other_files_is_left_alone(void **state)
{
    (void)state;
    struct session s;
    session_open(&s, make_classifier_cfg("net.cfg", 4, 1, .01, 20), make_classifier_data(""), 1, false);
    prune_make_dirs(at("mine"), NULL);
    write_text("mine/thesis.txt", "important");
    assert_int_equal(state_save(s.open.net, s.t, NULL, 0, at("mine"), &st), PRUNE_FAILED);
    assert_says(&st, "'thesis.txt'");
    assert_true(prune_path_exists(at("mine/thesis.txt")));
    assert_false(prune_path_exists(at("mine/state.json")));
    session_close(&s);
}

static void weights_are_the_bytes_the_host_would_write(void **state)
{
    (void)state;
    static const char *const cfgs[] = {"cifar.cfg", "yolov3-tiny.cfg", "yolov1-tiny.cfg", "gru.cfg", "rnn.cfg"};
    for (size_t i = 0; i < sizeof cfgs / sizeof *cfgs; i++) {
        char path[256], host_path[256];
        snprintf(path, sizeof path, "/usr/share/darknet/cfg/%s", cfgs[i]);
        if (!prune_path_exists(path)) continue;
        network *net = parse_network_cfg(path);
        *net->seen = 5000000123;
        snprintf(host_path, sizeof host_path, "%s", at("host.weights"));
        save_weights(net, host_path);
        assert_int_equal(weights_save(net, at("ours.weights"), &st), PRUNE_OK);
        assert_true(assert_same_files(host_path, at("ours.weights")) > 20);
        free_network(net);
    }
}

static void a_full_disk_fails_and_keeps_the_old_file(void **state)
{
    (void)state;
    struct session s;
    struct rlimit old, small = {4096, 4096};
    session_open(&s, make_classifier_cfg("net.cfg", 4, 1, .01, 20), make_classifier_data(""), 1, false);
    const char *path = write_text("w.weights", "the old weights");
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    enum prune_code rc = weights_save(s.open.net, path, &st);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(rc, PRUNE_FAILED);
    assert_says(&st, "cannot save weights to");
    char *text;
    size_t size;
    assert_int_equal(prune_read_file(path, &text, &size, &st), PRUNE_OK);
    assert_string_equal(text, "the old weights");
    free(text);
    session_close(&s);
}

static void a_network_with_nan_is_not_saved(void **state)
{
    (void)state;
    struct session s;
    session_open(&s, make_classifier_cfg("net.cfg", 4, 1, .01, 20), make_classifier_data(""), 1, false);
    s.open.net->layers[1].scales[2] = NAN;
    assert_int_equal(weights_save(s.open.net, at("w.weights"), &st), PRUNE_FAILED);
    assert_says(&st, "layer 1: scales[2] is nan");
    assert_false(prune_path_exists(at("w.weights")));
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SESSION_TEST(a_classifier_restored_goes_on_with_the_same_bytes), SESSION_TEST(a_multi_scale_detector_restored_goes_on_with_the_same_bytes),
        SESSION_TEST(gates_come_back_exactly_and_stay_without_an_entry), SESSION_TEST(a_state_of_another_network_changes_nothing),
        SESSION_TEST(a_folder_with_other_files_is_left_alone), SESSION_TEST(weights_are_the_bytes_the_host_would_write), SESSION_TEST(a_full_disk_fails_and_keeps_the_old_file),
        SESSION_TEST(a_network_with_nan_is_not_saved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
