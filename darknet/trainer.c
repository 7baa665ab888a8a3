/* The trainer: network + loader + position of the schedule; see train.h. One step = `subdivisions` minibatches of net->batch images forward and
 * backward, then one update. While the network computes, the loader reads the next minibatch. Refuses to update on a loss that is not finite.
 * Its iteration and image ordinal are its own; *net->seen only counts images up. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../plugin/base/random.h"
#include "context.h"
#include "loader.h"

static const uint64_t size_stream = 0x73697a65u;

struct trainer {
    network *net;
    struct image_source source;
    struct loader *loader;
    struct trainer_hook hook;
    uint64_t iteration, ordinal, seed;
    bool detector, scales, in_flight;
    int cfg_w, cfg_h;                 /* before any resizing */
    double *image_loss;               /* (net->batch) */
};

static bool can_resize(const network *net)
{
    /* the host's resize stops at the first average pooling: what follows it does not depend on the size */
    for (int i = 0; i < net->n && net->layers[i].type != AVGPOOL; i++) {
        switch (net->layers[i].type) {
        case CONVOLUTIONAL: case CROP: case MAXPOOL: case REGION: case YOLO: case ROUTE: case SHORTCUT: case UPSAMPLE: case REORG: case NORMALIZATION: break;
        default: return false;
        }
    }
    return true;
}

static bool asks_for_scales(const network *net)
{
    const layer *head = network_detector_head(net);
    return head ? head->random != 0 : net->random != 0;
}

bool trainer_size(const struct trainer *t, uint64_t iteration, int *w, int *h)
{
    uint64_t period = t->detector ? 10 : 40, last = (uint64_t)t->net->max_batches;
    *w = t->cfg_w;
    *h = t->cfg_h;
    if (!t->scales) return false;
    if (t->detector && iteration + 200 > last && iteration < last) return true;
    struct prune_random r = prune_random_make(t->seed, size_stream, iteration / period);
    *w = *h = 32 * (int)(t->detector ? 10 + prune_random_below(&r, 10) : 4 + prune_random_below(&r, 11));
    return true;
}

static void cancel_prefetch(struct trainer *t)
{
    float *X, *y;
    if (t->in_flight) (void)loader_wait(t->loader, &X, &y, NULL, NULL);
    t->in_flight = false;
}

/* The minibatch at t->ordinal + ahead, of the size of `iteration`. */
static enum prune_code prefetch(struct trainer *t, uint64_t ahead, uint64_t iteration, struct prune_status *st)
{
    int w, h;
    trainer_size(t, iteration, &w, &h);
    enum prune_code rc = loader_start(t->loader, t->ordinal + ahead, (size_t)t->net->batch, w, h, st);
    t->in_flight = !rc;
    return rc;
}

enum prune_code trainer_open(struct trainer **out, network *net, const struct trainer_options *o, struct prune_status *st)
{
    struct trainer *t = calloc(1, sizeof *t);
    if (!t) return prune_fail_memory(st, sizeof *t, "the trainer");
    t->net = net;
    t->seed = o->seed;
    t->detector = network_detector_head(net) != NULL;
    t->scales = o->multi_scale && asks_for_scales(net) && can_resize(net);
    t->cfg_w = net->w;
    t->cfg_h = net->h;
    t->image_loss = calloc((size_t)net->batch, sizeof *t->image_loss);
    enum prune_code rc = t->image_loss ? PRUNE_OK : prune_fail_memory(st, (size_t)net->batch * sizeof *t->image_loss, "the trainer");
    if (!rc) rc = image_source_open(&t->source, &o->set, net, st);
    struct loader_options lo;
    if (!rc) {
        lo = image_source_options(&t->source, net, true, o->set.letterbox);
        lo.seed = o->seed;
        lo.threads = o->threads > 0 ? o->threads : host_context()->threads;
        if (loader_truths(&lo) != (size_t)net->truths)
            rc = prune_fail(st, "the network reads %d truths per image, the loader makes %zu: its last layer cannot be trained on this data", net->truths,
                            loader_truths(&lo));
    }
    if (!rc) rc = loader_check(&lo, st);
    if (!rc) rc = loader_open(&t->loader, &lo, st);
    if (rc) trainer_close(t);
    else *out = t;
    return rc;
}

void trainer_close(struct trainer *t)
{
    if (!t) return;
    if (t->loader) cancel_prefetch(t);
    loader_close(t->loader);
    if (t->scales && (t->net->w != t->cfg_w || t->net->h != t->cfg_h)) resize_network(t->net, t->cfg_w, t->cfg_h);
    image_source_close(&t->source);
    free(t->image_loss);
    free(t);
}

void trainer_set_hook(struct trainer *t, const struct trainer_hook *hook)
{
    t->hook = hook ? *hook : (struct trainer_hook){0};
}

uint64_t trainer_iteration(const struct trainer *t) { return t->iteration; }
uint64_t trainer_ordinal(const struct trainer *t) { return t->ordinal; }
uint64_t trainer_seed(const struct trainer *t) { return t->seed; }
size_t trainer_images(const struct trainer *t) { return t->source.images.count; }

void trainer_set_position(struct trainer *t, uint64_t iteration, uint64_t ordinal, uint64_t seed)
{
    cancel_prefetch(t);
    t->iteration = iteration;
    t->ordinal = ordinal;
    t->seed = seed;
    loader_reseed(t->loader, seed);
}

/* Mean loss per image of the pass just run: of the images where the heads said so, else the host's printed cost. */
static double pass_loss(const struct trainer *t)
{
    double sum = 0;
    for (int b = 0; b < t->net->batch; b++) sum += t->image_loss[b];
    bool told = sum < 0 || sum > 0 || isnan(sum);
    return (told ? sum : (double)*t->net->cost) / t->net->batch;
}

static enum prune_code pass(struct trainer *t, double *loss, struct prune_status *st)
{
    struct host_context *context = host_context();
    double *outer = context->image_loss;
    context->image_loss = t->image_loss;
    memset(t->image_loss, 0, (size_t)t->net->batch * sizeof *t->image_loss);
    *t->net->seen += (size_t)t->net->batch;
    t->net->train = 1;
    if (t->hook.before) t->hook.before(t->hook.user);
    forward_network(t->net);
    context->image_loss = outer;
    *loss = pass_loss(t);
    if (!isfinite(*loss))
        return prune_fail(st, "loss is %s at iteration %llu: the weights were not changed by this iteration; a lower learning rate may help",
                          isnan(*loss) ? "nan" : "infinite", (unsigned long long)t->iteration + 1);
    backward_network(t->net);
    return t->hook.after ? t->hook.after(t->hook.user, (size_t)t->net->batch, *loss, st) : PRUNE_OK;
}

static void update(struct trainer *t, double rate, double momentum, double decay)
{
    network *net = t->net;
    update_args a = {.batch = net->batch * net->subdivisions, .learning_rate = (float)rate, .momentum = (float)momentum, .decay = (float)decay,
                     .adam = net->adam, .B1 = net->B1, .B2 = net->B2, .eps = net->eps};
    ++*net->t;
    a.t = *net->t;
    for (int i = 0; i < net->n; i++)
        if (net->layers[i].update) net->layers[i].update(net->layers[i], a);
}

static enum prune_code follow_size(struct trainer *t, struct prune_status *st)
{
    int w, h;
    trainer_size(t, t->iteration, &w, &h);
    if (w == t->net->w && h == t->net->h) return PRUNE_OK;
    if (resize_network(t->net, w, h)) return prune_fail(st, "the host cannot resize the network to %d x %d", w, h);
    return PRUNE_OK;
}

enum prune_code trainer_step(struct trainer *t, double rate, double momentum, double decay, struct prune_step *out, struct prune_status *st)
{
    network *net = t->net;
    size_t images = 0;
    double sum = 0;
    enum prune_code rc = follow_size(t, st);
    host_context()->seed = t->seed;
    for (int k = 0; k < net->subdivisions && !rc; k++) {
        float *X, *y;
        double loss;
        if (!t->in_flight) rc = prefetch(t, images, t->iteration, st);
        if (rc) break;
        t->in_flight = false;
        rc = loader_wait(t->loader, &X, &y, NULL, st);
        if (rc) break;
        /* a key of its own for every minibatch: subdivisions must not share dropout's choices */
        host_context()->iteration = t->iteration * (uint64_t)net->subdivisions + (uint64_t)k;
        memcpy(net->input, X, (size_t)net->batch * (size_t)net->inputs * sizeof *X);
        memcpy(net->truth, y, (size_t)net->batch * (size_t)net->truths * sizeof *y);
        images += (size_t)net->batch;
        rc = prefetch(t, images, t->iteration + (k + 1 == net->subdivisions), st);
        if (!rc) rc = pass(t, &loss, st);
        if (!rc) sum += loss;
    }
    if (rc) {
        cancel_prefetch(t);
        return rc;
    }
    if (rate < 0) rate = schedule_rate(net, t->iteration);
    update(t, rate, momentum, decay);
    t->iteration++;
    t->ordinal += images;
    *out = (struct prune_step){sum / net->subdivisions, images, t->iteration};
    return PRUNE_OK;
}
