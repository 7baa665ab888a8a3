/* Fuzzer of the score file reader: any bytes either give finite scores for every unit of a small network, or are refused with a message.
 * Bytes that start with '[' are taken for the list of units: without the frame few inputs would come past the header. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/score/criteria.h"
#include "../../plugin/units/mask_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char HEAD[] = "{\"format\":\"darknet-prune-scores\",\"version\":1,\"cfg\":{\"hash\":\"h\"},\"units\":";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bool frame = size && bytes[0] == '[';
    size_t head = frame ? sizeof HEAD - 1 : 0, total = head + size + (frame ? 1 : 0);
    char *text = malloc(total + 1);
    if (!text) abort();
    memcpy(text, HEAD, head);
    if (size) memcpy(text + head, bytes, size);
    if (frame) text[total - 1] = '}';
    struct prune_channel members[] = {{0, 0}, {0, 1}};
    struct prune_unit items[] = {{.first_member = 0, .member_count = 1}, {.first_member = 1, .member_count = 1}};
    const struct prune_units units = {.items = items, .count = 2, .members = members, .member_count = 2};
    const struct prune_mask_origin origin = {.cfg_path = "net.cfg", .cfg_hash = "h"};
    struct prune_status st = {0};
    double scores[2] = {0};
    enum prune_code rc = prune_scores_parse("fuzz", text, total, &units, &origin, scores, &st);
    if (rc == PRUNE_OK ? !(isfinite(scores[0]) && isfinite(scores[1])) : !st.message[0]) abort();
    free(text);
    return 0;
}
