/* Margins of a classifier; see margins.h. The softmax layer hands its delta on as it is. */
#include "margins.h"

#include <stdbool.h>
#include <string.h>

static layer *head(const network *net) { return &net->layers[net->n - 1]; }

enum prune_code margins_check(const network *net, int rivals, struct prune_status *st)
{
    const layer *l = net->n > 1 ? head(net) : NULL;
    if (!l || l->type != SOFTMAX || l->noloss || l->softmax_tree || l->groups != 1 || l->temperature < 1 || l->temperature > 1)
        return prune_fail(st, "margins between classes need a [softmax] as last layer (layer %d), of one group, without tree and temperature", net->n - 1);
    if (rivals < 1 || rivals >= l->outputs)
        return prune_fail(st, "%d rivals of the true class cannot be taken among %d classes: 1 to %d can", rivals, l->outputs, l->outputs - 1);
    return PRUNE_OK;
}

static int largest(const float *values, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

/* a before b in the order of rivals: larger, then lower index; NaN is never larger. */
static bool ahead(const float *logits, int a, int b) { return logits[a] > logits[b] || (!(logits[b] > logits[a]) && a < b); }

/* The likeliest class behind `last` (-1: of all) but `truth`. */
static int next_rival(const float *logits, int classes, int truth, int last)
{
    int best = -1;
    for (int c = 0; c < classes; c++) {
        if (c == truth || (last >= 0 && (c == last || !ahead(logits, last, c)))) continue;
        if (best < 0 || ahead(logits, c, best)) best = c;
    }
    return best;
}

void margins_choose(const network *net, int rivals, int *chosen, float *margins)
{
    const layer *l = head(net);
    for (int b = 0; b < l->batch; b++, chosen += 1 + rivals, margins += rivals) {
        const float *logits = l[-1].output + (size_t)b * (size_t)l->inputs;
        int truth = chosen[0] = largest(net->truth + (size_t)b * (size_t)net->truths, l->outputs);
        for (int k = 0; k < rivals; k++) {
            int rival = next_rival(logits, l->outputs, truth, k ? chosen[k] : -1);
            chosen[k + 1] = rival < 0 ? truth : rival;   /* only where logits are not numbers: such a loss is refused */
            margins[k] = logits[chosen[k + 1]] - logits[truth];
        }
    }
}

void margins_cotangent(network *net, int rivals, int k, const int *chosen)
{
    layer *l = head(net);
    memset(l->delta, 0, (size_t)l->batch * (size_t)l->outputs * sizeof *l->delta);
    for (int b = 0; b < l->batch; b++, chosen += 1 + rivals) {
        float *delta = l->delta + (size_t)b * (size_t)l->outputs;
        delta[chosen[1 + k]] -= 1;
        delta[chosen[0]] += 1;
    }
}
