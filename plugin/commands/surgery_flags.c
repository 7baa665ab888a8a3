/* See surgery_flags.h. */
#include "surgery_flags.h"

#include <string.h>

enum prune_code prune_args_surgery(const struct prune_args *a, enum prune_surgery fallback, struct prune_surgery_options *out, struct prune_status *st)
{
    static const struct { const char *word, *digit; enum prune_surgery how; } HOW[] = {
        {"none", "0", PRUNE_SURGERY_NONE}, {"joint", "1", PRUNE_SURGERY_JOINT}, {"paper", NULL, PRUNE_SURGERY_PAPER}};
    static const struct { const char *word; enum prune_surgery_part part; } PARTS[] = {
        {"inputs", PRUNE_SURGERY_INPUTS}, {"filters", PRUNE_SURGERY_FILTERS}, {"both", PRUNE_SURGERY_BOTH}};
    const char *how = prune_args_string(a, "surgery", NULL), *part = prune_args_string(a, "surgery-part", PARTS[0].word);
    struct prune_surgery_options o = {.how = fallback};
    size_t i = 0, p = 0, hows = sizeof HOW / sizeof *HOW, parts = sizeof PARTS / sizeof *PARTS;
    while (how && i < hows && strcmp(how, HOW[i].word) != 0 && (!HOW[i].digit || strcmp(how, HOW[i].digit) != 0)) i++;
    if (how && i == hows) return prune_fail_usage(st, "flag '-surgery': '%s' is not one of none, joint, paper", how);
    while (p < parts && strcmp(part, PARTS[p].word) != 0) p++;
    if (p == parts) return prune_fail_usage(st, "flag '-surgery-part': '%s' is not one of inputs, filters, both", part);
    if (how) o.how = HOW[i].how;
    if (o.how == PRUNE_SURGERY_NONE && prune_args_has(a, "surgery-part")) return prune_fail_usage(st, "flag '-surgery-part' has no meaning without surgery; add '-surgery joint'");
    o.part = PARTS[p].part;
    *out = o;
    return PRUNE_OK;
}
