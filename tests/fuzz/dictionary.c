/* Prints a libFuzzer dictionary of cfgs from THE table: every section, activation and listed key that some Darknet knows. */
#include <stdio.h>
#include <string.h>

#include "../../plugin/model/layer_kinds.h"

static void entry(const char *before, const char *word, const char *after)
{
    printf("\"%s%s%s\"\n", before, word, after);
}

int main(void)
{
    static const char *const VALUES[] = { "=-1", "=0", "=1", "=2", "=3", "=-2,-4", "=2147483647", "=-2147483648", "=1e9", "=nan", "=inf", "per_channel", "per_feature", "softmax", "relu" };
    static const char *const COMMON[] = { "stopbackward", "dontload", "dontloadscales", "numload", "onlyforward", "clip", "burnin_update", "dontsave", "learning_rate", "truth", "train_only_bn", "smooth" };
    size_t count;
    const struct prune_kind_info *table = prune_kind_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].name) entry("\\x0a[", table[i].name, "]\\x0a");
        for (size_t a = 0; a < sizeof table[i].aliases / sizeof *table[i].aliases && table[i].aliases[a]; a++) entry("\\x0a[", table[i].aliases[a], "]\\x0a");
        for (const struct prune_key *key = table[i].keys; key && key->name; key++) entry("\\x0a", key->name, "=");
    }
    for (size_t i = 0; i < sizeof COMMON / sizeof *COMMON; i++)
        if (prune_key_is_common(COMMON[i])) entry("\\x0a", COMMON[i], "=1");
    for (int a = 0; a < PRUNE_ACTIVATION_COUNT; a++) entry("\\x0aactivation=", prune_activation_info((enum prune_activation)a)->name, "");
    for (size_t i = 0; i < sizeof VALUES / sizeof *VALUES; i++) entry("", VALUES[i], "");
    puts("\"\\x0a#drop\\x0a\"\n\"\\x0a#mask\\x0a\"\n\"\\x0a#weights\\x0a\"\n\"[{\\\"layer\\\":0,\\\"channels\\\":[0,1]}]\"");
    return 0;
}
