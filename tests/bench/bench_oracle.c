/* What the oracle of one unit costs as a fraction of a whole inference pass over the same images: bench_oracle data cfg weights [images] [batch]. Losses without
 * every unit by the host's perturb, with whole passes (evaluate) before, between pieces and after, in seconds of the clock and of the processor (the latter
 * is what counts on a machine with other work). The base loss is compared with evaluate's first. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../darknet/host_pjreddie.h"
#include "../../plugin/base/progress.h"
#include "../../plugin/score/oracle.h"

struct clocks { double wall, cpu; };

static struct clocks now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (struct clocks){prune_now(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

static void add_since(struct clocks *sum, struct clocks start)
{
    struct clocks end = now();
    sum->wall += end.wall - start.wall;
    sum->cpu += end.cpu - start.cpu;
}

struct bench { struct prune_scoring s; struct prune_units units; int *list; size_t count; struct clocks passes, oracle; size_t pass_images; double loss; };

/* Forward passes alone; what evaluation adds (reading images) happens once before, and the files are in memory. */
static enum prune_code whole_pass(struct bench *b, struct prune_status *st)
{
    struct prune_evaluation e = {0};
    struct clocks start = now(), sum = {0};
    enum prune_code rc = b->s.host->evaluate(b->s.host_net, &b->s.set, &e, st);
    if (rc) return rc;
    add_since(&sum, start);
    b->passes.wall += e.seconds;
    b->passes.cpu += sum.cpu * e.seconds / sum.wall;
    b->pass_images += e.images;
    b->loss = e.loss;
    prune_evaluation_release(&e);
    return PRUNE_OK;
}

static enum prune_code measure(struct bench *b, struct prune_oracle *o, struct prune_status *st)
{
    struct prune_image_set set = b->s.set;
    enum prune_code rc = whole_pass(b, st);
    b->passes = (struct clocks){0};
    b->pass_images = 0;
    while (!rc && o->images < set.limit) {
        b->s.set = set;
        rc = whole_pass(b, st);
        size_t end = o->images + 32;
        b->s.set.limit = end < set.limit ? end : set.limit;
        struct clocks start = now();
        if (!rc) rc = prune_oracle_units(o, &b->s, b->list, b->count, NULL, NULL, st);
        add_since(&b->oracle, start);
    }
    b->s.set = set;
    return rc ? rc : whole_pass(b, st);
}

static enum prune_code open_all(struct bench *b, char **argv, int batch, struct prune_cfg *cfg, struct prune_net *net, struct prune_status *st)
{
    const struct prune_open_options o = {.seed = 1, .batch = batch, .quiet = true};
    b->s.host = darknet_host();
    enum prune_code rc = prune_net_read(cfg, net, argv[2], st);
    if (!rc) rc = prune_units_build(&b->units, net, st);
    if (!rc) rc = b->s.host->open(NULL, argv[2], argv[3], &o, &b->s.host_net, st);
    b->s.input.net = net;
    b->s.input.units = &b->units;
    b->list = calloc(b->units.count + 1, sizeof *b->list);
    for (size_t u = 0; !rc && b->list && u < b->units.count; u++)
        if (!b->units.items[u].protected_because && b->units.items[u].site_count) b->list[b->count++] = (int)u;
    return rc;
}

int main(int argc, char **argv)
{
    struct prune_status st = {0};
    struct bench b = {0};
    struct prune_oracle o;
    struct prune_cfg cfg;
    struct prune_net net;
    if (argc < 4) {
        fprintf(stderr, "usage: bench_oracle data cfg weights [images] [batch]\n");
        return 2;
    }
    b.s.set = (struct prune_image_set){.data_path = argv[1], .limit = argc > 4 ? (size_t)atoi(argv[4]) : 64, .letterbox = 1};
    enum prune_code rc = open_all(&b, argv, argc > 5 ? atoi(argv[5]) : 32, &cfg, &net, &st);
    if (!rc) rc = prune_oracle_init(&o, b.count, &st);
    if (!rc) rc = measure(&b, &o, &st);
    if (rc || fabs(o.base / (double)o.images / b.loss - 1) > 1e-5) {
        fprintf(stderr, "bench_oracle: %s\n", rc ? st.message : "the losses differ");
        return 1;
    }
    double images = (double)o.images, of = (double)b.count * images, passes = (double)b.pass_images;
    printf("%s: %zu units, %zu images; a whole pass %.3f ms per image (processor %.3f), a unit %.3f ms (%.3f): fraction %.3f (processor %.3f)\n", argv[2], b.count, o.images,
           1e3 * b.passes.wall / passes, 1e3 * b.passes.cpu / passes, 1e3 * b.oracle.wall / of, 1e3 * b.oracle.cpu / of, b.oracle.wall / of / (b.passes.wall / passes),
           b.oracle.cpu / of / (b.passes.cpu / passes));
    return 0;
}
