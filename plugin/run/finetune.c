/* Fine-tuning; see finetune.h. */
#include "finetune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/progress.h"

double prune_cosine_rate(double rate, size_t step, size_t steps)
{
    static const double pi = 3.14159265358979323846;
    return rate * 0.5 * (1 + cos(pi * (double)step / (double)steps));
}

struct prune_step_options prune_step_of(const struct prune_step_options *asked, const struct prune_net_facts *facts)
{
    const double bearable = 0.01, rate = facts->learning_rate > 0 && facts->learning_rate < bearable ? facts->learning_rate : bearable;
    return (struct prune_step_options){.rate = asked->rate > 0 ? asked->rate : rate, .momentum = isnan(asked->momentum) ? facts->momentum : asked->momentum,
                                       .decay = isnan(asked->decay) ? facts->decay : asked->decay};
}

enum prune_code prune_finetune(const struct prune_host *host, struct prune_host_net *net, const struct prune_finetune_options *o,
                               struct prune_finetune_result *r, struct prune_status *st)
{
    *r = (struct prune_finetune_result){.loss = NAN};
    struct prune_progress progress;
    prune_progress_start(&progress, stderr, "fine-tune", o->steps);
    size_t tail = o->steps / 10 ? o->steps / 10 : 1;
    double sum = 0;
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; i < o->steps && !rc; i++) {
        struct prune_step_options step = o->step;
        struct prune_step done;
        step.rate = prune_cosine_rate(o->step.rate, i, o->steps);
        rc = host->train_step(net, &step, &done, st);
        if (rc) break;
        r->steps++;
        r->images += done.images;
        if (i + tail >= o->steps) sum += done.loss;
        prune_progress_update(&progress, i + 1, "%.4f loss, %.6f rate", done.loss, step.rate);
        if (o->save_every && r->steps % o->save_every == 0 && r->steps < o->steps) rc = host->save_weights(net, o->weights_path, st);
        if (!rc && host->interrupted && host->interrupted(host->context)) rc = PRUNE_INTERRUPTED;
    }
    prune_progress_end(&progress);
    if (rc == PRUNE_FAILED) {
        prune_explain(st, "fine-tuning stopped at step %zu of %zu, the last good weights are in '%s': ", r->steps + 1, o->steps, o->weights_path);
        return rc;
    }
    if (r->steps) r->loss = sum / (double)tail;
    enum prune_code saved = host->save_weights(net, o->weights_path, st);
    if (saved) return saved;
    if (rc == PRUNE_INTERRUPTED && st) {
        prune_fail(st, "interrupted at fine-tuning step %zu of %zu; the weights so far are in '%s'", r->steps, o->steps, o->weights_path);
        st->code = PRUNE_INTERRUPTED;
    }
    return rc;
}

enum prune_code prune_parse_length(const char *flag, const char *text, size_t images, size_t images_per_step, size_t *steps, struct prune_status *st)
{
    char *end = NULL;
    double value = strtod(text, &end);
    bool iterations = strcmp(end, "i") == 0;
    if (end == text || (*end && !iterations && strcmp(end, "e") != 0) || !(value >= 0 && value <= 1e9))
        return prune_fail_usage(st, "-%s '%s' is neither a number of epochs ('2', '0.5') nor of iterations ('300i')", flag, text);
    if (!images_per_step) images_per_step = 1;
    *steps = (size_t)(iterations ? value : ceil(value * (double)images / (double)images_per_step));
    return PRUNE_OK;
}
