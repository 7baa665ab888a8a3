/* A library with another layout of its structs: this program brings a parser of its own that gives back a wrong network, or crashes, and the start-up
 * check must turn both into a sentence, in a child process, without harm to this one. */
#include "training_fixture.h"

#include <signal.h>

#include "../../darknet/network_open.h"

static bool crash;

/* In place of the library's. */
network *parse_network_cfg(char *filename)
{
    (void)filename;
    if (crash) {
        signal(SIGSEGV, SIG_DFL);   /* sanitizers catch it otherwise */
        raise(SIGSEGV);
    }
    return calloc(1, sizeof(network));
}

static void a_network_read_back_wrong_is_refused(void **state)
{
    (void)state;
    struct prune_status st = {0};
    crash = false;
    assert_int_equal(host_layout_check(&st), PRUNE_FAILED);
    assert_string_equal(st.message, "the installed 'libdarknet.so' does not fit the darknet.h this program was built with (layer 1184, network 272 bytes expected); "
                                    "rebuild with its own header: DARKNET=dir");
}

static void a_crash_while_parsing_is_refused(void **state)
{
    (void)state;
    struct prune_status st = {0};
    crash = true;
    assert_int_equal(host_layout_check(&st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "(signal 11 while parsing a tiny network; layer 1184, network 272 bytes expected)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_read_back_wrong_is_refused),
        cmocka_unit_test(a_crash_while_parsing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
