/* Text of a random graph, and the two steps that shrink one; see graphs.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graphs.h"
#include "kinds.h"

struct text { char *bytes; size_t used, room; const char *end_of_line; struct prune_random r; bool plain; };

static void put(struct text *t, const char *format, ...) PRUNE_PRINTF(2, 3);
static void put(struct text *t, const char *format, ...)
{
    va_list args;
    if (t->room - t->used < 512) {
        t->room = 2 * t->room + 1024;
        t->bytes = realloc(t->bytes, t->room);
        if (!t->bytes) abort();
    }
    va_start(args, format);
    t->used += (size_t)vsnprintf(t->bytes + t->used, t->room - t->used, format, args);
    va_end(args);
}

static bool chance(struct text *t, double p)
{
    return !t->plain && prune_random_uniform(&t->r) < p;
}

static void end_line(struct text *t)
{
    static const char *const noise[] = {"", "   ", "# a comment, with = and [brackets]", ";filters=77", "\t# tab", "#"};
    put(t, "%s", t->end_of_line);
    if (chance(t, .04)) put(t, "%s%s", noise[prune_random_below(&t->r, 6)], t->end_of_line);
}

static const char *alias_of(const char *name)
{
    static const char *const pairs[][2] = {{"convolutional", "conv"}, {"deconvolutional", "deconv"}, {"connected", "conn"}, {"maxpool", "max"}, {"avgpool", "avg"},
                                           {"normalization", "lrn"}, {"softmax", "soft"}, {"net", "network"}, {"local_avgpool", "local_avg"}, {"empty", "silence"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcmp(pairs[i][0], name)) return pairs[i][1];
    return name;
}

static void put_value(struct text *t, const struct graph_option *o, int layer)
{
    for (int i = 0; i < o->ref_count; i++)
        put(t, "%s%d", i ? chance(t, .3) ? " , " : "," : "", o->relative[i] ? o->refs[i] - layer : o->refs[i]);
    if (!o->ref_count) put(t, "%s", o->value);
}

static void put_option(struct text *t, const struct graph_option *o, int layer)
{
    bool number = o->ref_count || strspn(o->value, "0123456789.-") == strlen(o->value);
    put(t, "%s%s%s", chance(t, .05) ? "  " : "", o->key, chance(t, .15) ? " = " : "=");
    put_value(t, o, layer);
    if (number && chance(t, .05)) put(t, "%s", prune_random_below(&t->r, 2) ? " # behind a number" : "\t; note");
    else if (chance(t, .03)) put(t, " ");
    end_line(t);
    if (number && !o->ref_count && chance(t, .01)) put(t, "%s=%s%s", o->key, "1", t->end_of_line);     /* a second time: the first wins */
}

static void put_section(struct text *t, const struct graph_section *s, int layer)
{
    int order[GRAPH_OPTIONS];
    put(t, "%s[%s]", chance(t, .03) ? " " : "", chance(t, .1) ? alias_of(s->name) : s->name);
    end_line(t);
    bool shuffled = chance(t, .3);
    for (int i = 0; i < s->count; i++) {
        int j = shuffled ? (int)prune_random_below(&t->r, (uint64_t)i + 1) : i;
        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < s->count; i++) put_option(t, &s->options[order[i]], layer);
    if (!chance(t, .1)) put(t, "%s", t->end_of_line);
}

char *graph_text(const struct graph *g, bool plain)
{
    struct text t = {.r = prune_random_make(g->seed, 21, 0), .plain = plain};
    t.end_of_line = !plain && prune_random_below(&t.r, 5) == 0 ? "\r\n" : "\n";
    if (chance(&t, .1)) put(&t, "# seed %llu%s", (unsigned long long)g->seed, t.end_of_line);
    for (int i = 0; i < g->count; i++) put_section(&t, &g->sections[i], i - 1);
    if (chance(&t, .1)) {
        while (t.used && strchr("\r\n", t.bytes[t.used - 1])) t.used--;
        t.bytes[t.used] = 0;
    }
    return t.bytes;
}

bool graph_drop(struct graph *g, int layer)
{
    if (layer < 0 || layer + 1 >= g->count || g->count < 3) return false;
    for (int i = layer + 2; i < g->count; i++)
        for (int k = 0; k < g->sections[i].count; k++) {
            struct graph_option *o = &g->sections[i].options[k];
            for (int j = 0; j < o->ref_count; j++) {
                if (o->refs[j] >= layer) o->refs[j]--;
                if (o->refs[j] < 0) return false;
            }
        }
    memmove(&g->sections[layer + 1], &g->sections[layer + 2], (size_t)(g->count - layer - 2) * sizeof *g->sections);
    g->count--;
    return true;
}

bool graph_halve(struct graph *g, int layer)
{
    static const char *const keys[] = {"filters", "output", "groups", "out_channels"};
    bool any = false;
    for (int k = 0; k < g->sections[layer + 1].count; k++)
        for (int i = 0; i < 4; i++) {
            struct graph_option *o = &g->sections[layer + 1].options[k];
            int value = atoi(o->value);
            if (strcmp(o->key, keys[i]) || value < 2) continue;
            snprintf(o->value, sizeof o->value, "%d", value / 2);
            any = true;
        }
    return any;
}
