/* Fuzzer of state files: any bytes either load into states of this network's criteria, whose scores are then finite or refused, or are refused with a
 * message. The hash at the end is put right first: a guess would never pass it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/score/score_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { UNITS = 2, MOST = 8 };

static void expect(enum prune_code rc, const struct prune_status *st)
{
    if (rc && !st->message[0]) abort();
}

static void load(const struct prune_state_file *f, const struct prune_score_input *in)
{
    const struct prune_score_origin origin = {.cfg_path = "c", .cfg = "c", .weights = "w", .list = "l"};
    struct prune_scored items[MOST] = {{0}};
    struct prune_scoring_facts facts = {0};
    struct prune_status st = {0};
    size_t count = 0;
    for (size_t i = 0; i < f->count && count < MOST; i++)
        if ((items[count].criterion = prune_criterion_find(f->parts[i].name)) && items[count].criterion->signals) count++;
    if (prune_scored_init(items, count, in, &st)) abort();
    enum prune_code rc = prune_score_state_load(f, &origin, in, items, count, &facts, &st);
    expect(rc, &st);
    for (size_t i = 0; !rc && i < count; i++) {
        enum prune_code finished = prune_scored_finish(&items[i], 1, in, &st);
        expect(finished, &st);
    }
    prune_scored_free(items, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct prune_channel members[] = {{0, 0}, {0, 1}};
    struct prune_unit unit[] = {{.first_member = 0, .member_count = 1}, {.first_member = 1, .member_count = 1}};
    const struct prune_units units = {.items = unit, .count = UNITS, .members = members, .member_count = UNITS};
    const struct prune_score_input in = {.units = &units};
    struct prune_scoring settings = {.set.data_path = "d"};
    struct prune_state_file f;
    struct prune_status st = {0};
    char *copy = malloc(size + 1), *names = NULL;
    if (!copy) abort();
    if (size) memcpy(copy, bytes, size);
    if (size >= 8) {
        uint64_t hash = prune_hash_bytes(copy, size - 8);
        memcpy(copy + size - 8, &hash, 8);
    }
    enum prune_code rc = prune_state_parse(&f, "fuzz", copy, size, &st);
    expect(rc, &st);
    if (!rc) {
        expect(prune_score_state_criteria(&f, &names, &st), &st);
        expect(prune_score_state_settings(&f, &settings, &st), &st);
        load(&f, &in);
        prune_state_close(&f);
    }
    free(names);
    free(copy);
    return 0;
}
