/* What SOSP costs on one network, in its parts: sosp_scale data cfg images minibatch [rounds]. A fresh network with calibrated statistics; best of `rounds`.
 * One row, tab-separated: units, processor seconds of plain training steps over as many images, of sosp-i's passes, of its products, of its selection, of sosp-h.
 * Reading images is part of them. */
#include "../../darknet/host_pjreddie.h"
#include "../../plugin/score/scoring.h"
#include "measure.h"

static const struct prune_criterion *timed_criterion;
static double accumulating;

static void timed(void *state, const struct prune_score_input *in, const struct prune_signals *signals)
{
    double start = processor_now();
    timed_criterion->accumulate(state, in, signals);
    accumulating += processor_now() - start;
}

struct cost { double passes, sums, finish; };

static struct cost score(struct prune_scoring *s, const char *name)
{
    struct prune_status st = {0};
    struct prune_scoring_facts facts = {0};
    struct prune_criterion copy = *(timed_criterion = prune_criterion_find(name));
    struct prune_scored item = {.criterion = &copy};
    copy.accumulate = timed;
    accumulating = 0;
    check(prune_scored_init(&item, 1, &s->input, &st), &st);
    double start = processor_now();
    check(prune_scoring_feed(s, &item, 1, &facts, &st), &st);
    double fed = processor_now();
    check(prune_scored_finish(&item, 1, &s->input, &st), &st);
    struct cost c = {fed - start - accumulating, accumulating, processor_now() - fed};
    prune_scored_free(&item, 1);
    return c;
}

static double train(const struct prune_scoring *s)
{
    struct prune_status st = {0};
    const struct prune_step_options o = {.rate = 1e-9};
    struct prune_image_set all = s->set;
    struct prune_step step = {0};
    all.limit = 0;
    check(s->host->gates_attach(s->host_net, NULL, 0, s->input.units->count, &st), &st);
    check(s->host->train_start(s->host_net, &all, NULL, NULL, NULL, &st), &st);
    check(s->host->train_step(s->host_net, &o, &step, &st), &st);
    double start = processor_now();
    size_t done = 0;
    while (done < s->set.limit) {
        check(s->host->train_step(s->host_net, &o, &step, &st), &st);
        done += step.images;
    }
    double seconds = (processor_now() - start) * (double)s->set.limit / (double)done;
    s->host->train_stop(s->host_net);
    return seconds;
}

static void keep_least(double *least, double value) { *least = *least > 0 && *least < value ? *least : value; }

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: sosp_scale data cfg images minibatch [rounds]\n");
        return 2;
    }
    struct prune_status st = {0};
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    const int minibatch = atoi(argv[4]), rounds = argc > 5 ? atoi(argv[5]) : 1;
    const struct prune_open_options o = {.seed = 1, .batch = minibatch, .threads = 2, .quiet = true};
    struct prune_scoring s = {.host = darknet_host(), .minibatch = (size_t)minibatch};
    check(prune_net_read(&cfg, &net, argv[2], &st), &st);
    check(prune_units_build(&units, &net, &st), &st);
    check(prune_units_protect(&units, &net, "0", &st), &st);
    check(s.host->open(NULL, argv[2], NULL, &o, &s.host_net, &st), &st);
    s.input = (struct prune_score_input){.net = &net, .units = &units, .seed = 1, .norm = 2};
    s.set = (struct prune_image_set){.data_path = argv[1], .limit = (size_t)atoi(argv[3]), .letterbox = 1};
    check(s.host->recalibrate(s.host_net, &(struct prune_image_set){.data_path = argv[1]}, (size_t)minibatch, &st), &st);
    double least[5] = {0};
    for (int i = 0; i < rounds; i++) {
        keep_least(&least[0], train(&s));
        struct cost exact = score(&s, "sosp-i"), h = score(&s, "sosp-h");
        keep_least(&least[1], exact.passes);
        keep_least(&least[2], exact.sums);
        keep_least(&least[3], exact.finish);
        keep_least(&least[4], h.passes + h.sums + h.finish);
    }
    printf("%zu", units.count);
    for (int i = 0; i < 5; i++) printf("\t%.4f", least[i]);
    printf("\n");
    return 0;
}
