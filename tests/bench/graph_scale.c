/* How reading a cfg, building its units and selecting grow with the network: cfgs of 10, 100 and 1,000 layers of a thousand channels each, in several shapes.
 * A dense block's routes list every earlier channel again, so the channels that its layers pass on grow with the square of its depth by the network's own
 * nature; its blocks here are ten deep, as in a DenseNet, and channels are counted as layers pass them on. Seconds are the processor's, the least of three.
 * Fails when 1,000 layers take a second or more to their units, or more than five times as long per channel as
 * 100 layers (what fits no cache takes two to four times as long; quadratic growth would take ten). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../plugin/select/select.h"
#include "../../plugin/units/units.h"

enum { WIDTH = 1000, REPEATS = 3, TEXT_BYTES = 1 << 20 };

struct text { char *bytes; size_t used; };

static void add(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    t->used += (size_t)vsnprintf(t->bytes + t->used, TEXT_BYTES - t->used, format, args);
    va_end(args);
}

static void convolution(struct text *t, int filters, int size, int groups)
{
    add(t, "[convolutional]\nbatch_normalize=1\nfilters=%d\nsize=%d\nstride=1\npad=1\ngroups=%d\nactivation=leaky\n", filters, size, groups);
}

static void plain(struct text *t, int layers)
{
    for (int i = 0; i < layers; i++) convolution(t, WIDTH, 1, 1);
}

static void residual(struct text *t, int layers)
{
    convolution(t, WIDTH, 1, 1);
    for (int i = 1; i + 3 <= layers; i += 3) {
        convolution(t, WIDTH, 1, 1);
        convolution(t, WIDTH, 1, 1);
        add(t, "[shortcut]\nfrom=-3\nactivation=linear\n");
    }
}

/* Stages of 30 layers, tied inside only. */
static void stages(struct text *t, int layers)
{
    for (int i = 0; i < layers; i += 30) residual(t, layers - i < 30 ? layers - i : 30);
}

static void dense(struct text *t, int layers)
{
    for (int i = 0; i + 20 <= layers || i == 0; i += 20) {
        convolution(t, WIDTH / 10, 1, 1);
        for (int k = 1; k < 20 && i + k + 2 <= layers; k += 2) {
            convolution(t, WIDTH / 10, 1, 1);
            add(t, "[route]\nlayers=-1,-2\n");
        }
    }
}

static void grouped(struct text *t, int layers)
{
    convolution(t, WIDTH, 1, 1);
    for (int i = 1; i < layers; i++) convolution(t, WIDTH, 3, i % 2 ? 4 : 1);
}

static void all_grouped(struct text *t, int layers)
{
    convolution(t, WIDTH, 1, 1);
    for (int i = 1; i < layers; i++) convolution(t, WIDTH, 3, 4);
}

static void depthwise(struct text *t, int layers)
{
    for (int i = 0; i < layers; i++) convolution(t, WIDTH, i % 2 ? 3 : 1, i % 2 ? WIDTH : 1);
}

/* Every layer has a reason of its own to stay. */
static void read_by_heads(struct text *t, int layers)
{
    for (int i = 0; i + 2 <= layers; i += 2) {
        convolution(t, WIDTH, 1, 1);
        add(t, "[normalization]\n");
    }
}

static const struct { const char *name; void (*write)(struct text *, int layers); } SHAPES[] = {
    {"plain", plain}, {"residual", residual}, {"residual, stages of 30", stages}, {"dense blocks of 10", dense}, {"grouped, every second", grouped},
    {"grouped, every one", all_grouped}, {"depthwise", depthwise}, {"protected in every layer", read_by_heads}};

struct result { double net, units, select; size_t channels, layers, units_count; };

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

static void fail(const char *what, const struct prune_status *st)
{
    fprintf(stderr, "graph_scale: %s: %s\n", what, st->message);
    exit(1);
}

static struct result measure(const char *bytes, size_t size)
{
    struct prune_status st;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    struct result r = {0};
    double start = seconds();
    if (prune_cfg_parse(&cfg, "generated.cfg", bytes, size, &st) || prune_net_build(&net, &cfg, &st)) fail("reading", &st);
    r.net = seconds() - start;
    start = seconds();
    if (prune_units_build(&units, &net, &st)) fail("units", &st);
    r.units = seconds() - start;
    r.layers = net.layer_count;
    r.units_count = units.count;
    for (size_t i = 0; i < net.layer_count; i++) r.channels += (size_t)net.layers[i].out_c;
    double *scores = malloc((units.count + 1) * sizeof *scores);
    uint8_t *removed = calloc(units.count + 1, 1);
    if (!scores || !removed) exit(1);
    for (size_t u = 0; u < units.count; u++) scores[u] = (double)(u * 2654435761u % 1000003u);
    struct prune_select_options o = {.target = PRUNE_TARGET_UNITS, .remain = 0.9, .min_keep = 1, .multiple = 1};
    start = seconds();
    /* where nothing may go, or too little, the search ends with a message and has taken its time all the same */
    (void)prune_select(&net, &units, scores, &o, removed, NULL, &st);
    r.select = seconds() - start;
    free(scores);
    free(removed);
    prune_units_free(&units);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
    return r;
}

static struct result best(void (*write)(struct text *, int), int layers)
{
    struct text t = {malloc(TEXT_BYTES), 0};
    if (!t.bytes) exit(1);
    add(&t, "[net]\nbatch=1\nwidth=4\nheight=4\nchannels=3\n");
    write(&t, layers);
    struct result least = measure(t.bytes, t.used);
    for (int i = 1; i < REPEATS; i++) {
        struct result r = measure(t.bytes, t.used);
        if (r.net < least.net) least.net = r.net;
        if (r.units < least.units) least.units = r.units;
        if (r.select < least.select) least.select = r.select;
    }
    free(t.bytes);
    return least;
}

int main(void)
{
    int over = 0;
    printf("%-26s %7s %9s %8s  %9s %9s %9s  %12s\n", "shape", "layers", "channels", "units", "net s", "units s", "select s", "ns a channel");
    for (size_t s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++) {
        double per_channel[3];
        for (int k = 0, layers = 10; k < 3; k++, layers *= 10) {
            struct result r = best(SHAPES[s].write, layers);
            per_channel[k] = (r.net + r.units) / (double)r.channels * 1e9;
            bool slow = r.net + r.units >= 1 || (k == 2 && per_channel[2] > 5 * per_channel[1]);
            over |= slow;
            printf("%-26s %7zu %9zu %8zu  %9.4f %9.4f %9.4f  %12.0f%s\n", SHAPES[s].name, r.layers, r.channels, r.units_count, r.net, r.units, r.select, per_channel[k],
                   slow ? "  OVER THE LIMIT" : "");
            fflush(stdout);
        }
    }
    return over;
}
