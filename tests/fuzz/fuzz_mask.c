/* Fuzzer of the mask reader and of everything behind it: any bytes are either refused with a message, or are a mask that the rewriter
 * can carry out or refuses with a message. The network has a shortcut, a depthwise and a grouped convolution. */
#include <stdlib.h>
#include <string.h>

#include "../../plugin/rewrite/rewrite.h"
#include "../../plugin/units/mask_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define CONV(n, groups) "[convolutional]\nfilters=" #n "\nsize=1\nstride=1\npad=0\ngroups=" #groups "\nactivation=relu\n"
static const char CFG[] = "[net]\nbatch=1\nsubdivisions=1\nwidth=4\nheight=4\nchannels=3\n" CONV(4, 1) CONV(4, 4) "[shortcut]\nfrom=-2\nactivation=linear\n" CONV(6, 2) CONV(2, 1)
    "[avgpool]\n[softmax]\n";

/* The reader must accept the plan's cfg again, at the cost that was promised. */
static void rewrite(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed)
{
    struct prune_status st = { 0 };
    struct prune_plan plan;
    struct prune_cfg cfg;
    struct prune_net small;
    struct prune_cost cost;
    char *text = NULL;
    size_t size = 0;
    if (prune_plan_build(&plan, net, units, removed, &st)) {
        if (!st.message[0]) abort();
        return;
    }
    prune_units_cost(net, units, removed, &cost);
    if (prune_rewrite_cfg(&plan, net, &text, &size, &st) || prune_cfg_parse(&cfg, "(memory)", text, size, &st) || prune_net_build(&small, &cfg, &st)) abort();
    if (small.macs != cost.macs || small.parameters != cost.parameters) abort();
    prune_net_free(&small);
    prune_cfg_free(&cfg);
    free(text);
    prune_plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct prune_mask_origin origin = { .cfg_path = "net.cfg", .cfg_hash = "h" };
    struct prune_status st = { 0 };
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    if (prune_cfg_parse(&cfg, "(memory)", CFG, sizeof CFG - 1, &st) || prune_net_build(&net, &cfg, &st) || prune_units_build(&units, &net, &st)) abort();
    /* without the frame few inputs would come past the header: the first byte says whether to add it */
    static const char HEAD[] = "{\"format\":\"darknet-prune-mask\",\"version\":1,\"kind\":\"unit\",\"cfg\":{\"hash\":\"h\"},\"removed\":";
    bool frame = size && bytes[0] == '[';
    size_t head = frame ? sizeof HEAD - 1 : 0, total = head + size + (frame ? 1 : 0);
    char *text = malloc(total + 1);
    uint8_t *removed = calloc(units.count + 1, 1);
    if (!text || !removed) abort();
    memcpy(text, HEAD, head);
    if (size) memcpy(text + head, bytes, size);
    if (frame) text[total - 1] = '}';
    text[total] = 0;
    enum prune_code rc = prune_mask_parse("fuzz", text, total, &units, &origin, removed, &st);
    if (rc && !st.message[0]) abort();
    if (!rc) rewrite(&net, &units, removed);
    free(removed);
    free(text);
    prune_units_free(&units);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
    return 0;
}
