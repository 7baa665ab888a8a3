/* Fuzzer of the score file reader: any bytes either give finite scores for every unit of a small network, or are refused with a message. */
#include <math.h>
#include <stdlib.h>

#include "../../plugin/score/criteria.h"
#include "../../plugin/units/mask_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct prune_channel members[] = {{0, 0}, {0, 1}};
    struct prune_unit items[] = {{.first_member = 0, .member_count = 1}, {.first_member = 1, .member_count = 1}};
    const struct prune_units units = {.items = items, .count = 2, .members = members, .member_count = 2};
    const struct prune_mask_origin origin = {.cfg_path = "net.cfg", .cfg_hash = "h"};
    struct prune_status st = {0};
    double scores[2] = {0};
    enum prune_code rc = prune_scores_parse("fuzz", (const char *)bytes, size, &units, &origin, scores, &st);
    if (rc == PRUNE_OK ? !(isfinite(scores[0]) && isfinite(scores[1])) : !st.message[0]) abort();
    return 0;
}
