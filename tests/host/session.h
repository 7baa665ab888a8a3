/* What the tests of training and of its state share: a network and its trainer. */
#ifndef TESTS_HOST_SESSION_H
#define TESTS_HOST_SESSION_H

#include "training_fixture.h"

#include "../../darknet/network_open.h"
#include "../../darknet/train.h"

static inline int session_setup(void **state)
{
    host_context()->threads = 2;
    host_context()->quiet = true;
    return fixture_setup(state);
}

#define SESSION_TEST(name) cmocka_unit_test_setup_teardown(name, session_setup, fixture_teardown)

struct session { struct open_network open; struct trainer *t; };

static inline void session_open(struct session *s, const char *cfg, const char *data, uint64_t seed, bool scales)
{
    struct trainer_options o = {.set = {.data_path = data, .role = PRUNE_DATA_TRAIN}, .seed = seed, .threads = 2, .multi_scale = scales};
    struct prune_status st = {0};
    host_context()->seed = 3; /* fresh weights; training seeds the context itself */
    if (network_open(&s->open, cfg, NULL, false, 0, true, &st)) fail_msg("%s", st.message);
    if (trainer_open(&s->t, s->open.net, &o, &st)) fail_msg("%s", st.message);
}

static inline void session_close(struct session *s)
{
    trainer_close(s->t);
    network_close(&s->open);
}

#endif
