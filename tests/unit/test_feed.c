/* Which criterion a run takes by itself, and what feeds each of the registry. */
#include <math.h>

#include "../../plugin/host.h"
#include "../../plugin/run/feed.h"
#include "loaded.h"

static const struct prune_net *parse_with_head(struct loaded *p, const char *head)
{
    char text[1024];
    snprintf(text, sizeof text, "[net]\nbatch=4\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=14\nsize=1\nactivation=linear\n%s", head);
    load_text(p, text);
    return &p->net;
}

static void the_default_criterion_follows_the_head(void **state)
{
    (void)state;
    static const struct { const char *head, *criterion; double smoothing; } cases[] = {
        {"[avgpool]\n[softmax]\n", "taylor-logits-greedy", 0},
        {"[avgpool]\n[softmax]\ngroups=1\ntemperature=1\n", "taylor-logits-greedy", 0},
        {"[avgpool]\n[softmax]\ngroups=2\n", "taylor-fo", 0.9},
        {"[avgpool]\n[softmax]\ntemperature=2\n", "taylor-fo", 0.9},
        {"[avgpool]\n[cost]\ntype=sse\n", "taylor-fo", 0.9},
        {"[yolo]\nmask=0,1\nanchors=16,8, 8,16\nclasses=2\nnum=2\n", "taylor-fo", 0.9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct loaded p;
        struct prune_status st = {0};
        const char *head = NULL;
        const struct prune_net *net = parse_with_head(&p, cases[i].head);
        const struct prune_criterion *c = prune_default_criterion(net, &head);
        assert_string_equal(c->name, cases[i].criterion);
        assert_true(fabs(prune_default_smoothing(c) - cases[i].smoothing) < 1e-12);
        assert_non_null(head);
        assert_int_equal(prune_feed_check(c, PRUNE_FEED_DEFAULT, net, &st), PRUNE_OK);
        /* margins are refused exactly where they are not the default */
        assert_int_equal(prune_feed_check(prune_criterion_find("taylor-logits"), PRUNE_FEED_DEFAULT, net, &st), strcmp(c->name, "taylor-fo") ? PRUNE_OK : PRUNE_USAGE);
        unload(&p);
    }
}

static void what_training_cannot_feed_is_fed_by_passes(void **state)
{
    (void)state;
    static const char *const hooked[] = {"taylor-fo", "taylor-fg", "taylor-weight", "taylor-weight-group", "bn-taylor", "grad-magnitude", "grad-magnitude-layer",
                                        "nap", "c-obd", "kron-obd", "c-obs", "kron-obs"};
    struct loaded p;
    const struct prune_net *net = parse_with_head(&p, "[avgpool]\n[softmax]\n");
    size_t count, passes = 0, by_hook = 0, unfed = 0;
    const struct prune_criterion *all = prune_criteria(&count);
    for (size_t i = 0; i < count; i++) {
        struct prune_status st = {0};
        bool hook = false, pass = prune_feeds_by_pass(&all[i], PRUNE_FEED_DEFAULT);
        for (size_t k = 0; k < sizeof hooked / sizeof *hooked; k++) hook |= !strcmp(hooked[k], all[i].name);
        assert_int_equal(pass, all[i].signals && !hook);
        assert_int_equal(prune_feed_check(&all[i], PRUNE_FEED_HOOK, net, &st), hook ? PRUNE_OK : PRUNE_USAGE);
        assert_int_equal(prune_feed_check(&all[i], PRUNE_FEED_PASS, net, &st), all[i].signals ? PRUNE_OK : PRUNE_USAGE);
        assert_int_equal(prune_feeds_by_pass(&all[i], PRUNE_FEED_PASS), all[i].signals != 0);
        passes += pass;
        by_hook += hook;
        unfed += !all[i].signals;
    }
    assert_int_equal(by_hook, sizeof hooked / sizeof *hooked);
    assert_true(passes >= 10 && unfed >= 6 && passes + by_hook + unfed == count);
    unload(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_criterion_follows_the_head),
        cmocka_unit_test(what_training_cannot_feed_is_fed_by_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
