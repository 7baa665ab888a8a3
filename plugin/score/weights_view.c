#include "weights_view.h"

bool prune_filter_view(const struct prune_layer *layer, size_t filters, size_t count, bool transposed, int channel, struct prune_filter_view *view)
{
    size_t c = (size_t)channel, n = filters, area;
    if (c >= n) return false;
    switch (layer->kind) {
    case PRUNE_CONVOLUTIONAL:                       /* (n, c/groups, k, k) */
    case PRUNE_CONNECTED:                           /* (outputs, inputs); transposed: (inputs, outputs) */
        if (transposed) *view = (struct prune_filter_view){c, 1, 0, count / n, n};
        else *view = (struct prune_filter_view){c * (count / n), 1, 0, count / n, 1};
        return true;
    case PRUNE_DECONVOLUTIONAL:                     /* (c, n, k, k) */
        area = (size_t)layer->size * (size_t)layer->size;
        *view = (struct prune_filter_view){c * area, count / (n * area), n * area, area, 1};
        return true;
    case PRUNE_LOCAL:                               /* (locations, n, c, k, k) */
        area = (size_t)layer->c * (size_t)layer->size * (size_t)layer->size;
        *view = (struct prune_filter_view){c * area, count / (n * area), n * area, area, 1};
        return true;
    case PRUNE_IMPLICIT:                            /* (n, atoms) */
        *view = (struct prune_filter_view){c * (count / n), 1, 0, count / n, 1};
        return true;
    default:
        return false;
    }
}

bool prune_filter_of(const struct prune_score_input *in, struct prune_channel m, const struct prune_weights_tensor **tensor, struct prune_filter_view *view)
{
    const struct prune_layer *layer = &in->net->layers[m.layer];
    const struct prune_weights_tensor *t = prune_layout_find(&in->weights->layout, m.layer, PRUNE_WEIGHTS);
    bool transposed = layer->flipped || (layer->kind == PRUNE_CONNECTED && in->weights->header.transposed);
    size_t filters = (size_t)layer->out_c;
    if (!t) return false;
    if (layer->kind == PRUNE_CONVOLUTIONAL && layer->numload) filters = (size_t)layer->numload;
    *tensor = t;
    return prune_filter_view(layer, filters, t->count, transposed, m.channel, view);
}

size_t prune_filter_size(const struct prune_filter_view *view)
{
    return view->blocks * view->run;
}

void prune_filter_read(const float *tensor, const struct prune_filter_view *view, size_t from, size_t count, double *out)
{
    while (count > 0) {
        size_t within = from % view->run, n = view->run - within < count ? view->run - within : count;
        const float *x = tensor + view->first + from / view->run * view->block_step + within * view->step;
        if (view->step == 1) for (size_t i = 0; i < n; i++) out[i] = (double)x[i];
        else for (size_t i = 0; i < n; i++) out[i] = (double)x[i * view->step];
        from += n;
        count -= n;
        out += n;
    }
}

enum prune_code prune_check_filters(const struct prune_score_input *in, const char *criterion, struct prune_status *st)
{
    if (!in->weights) return prune_fail(st, "criterion '%s' reads the weights, and none are given", criterion);
    for (size_t u = 0; u < in->units->count; u++) {
        const struct prune_unit *unit = &in->units->items[u];
        for (size_t i = 0; i < unit->member_count && !unit->protected_because; i++) {
            struct prune_channel m = in->units->members[unit->first_member + i];
            const struct prune_weights_tensor *t;
            struct prune_filter_view view;
            if (in->net->layers[m.layer].share >= 0) continue;       /* its filters are another member's, of the layer that stores them */
            if (!prune_filter_of(in, m, &t, &view))
                return prune_fail(st, "layer %d has no filters in '%s', so '%s' cannot rank it; keep it with -protect %d", m.layer, in->weights->path, criterion, m.layer);
        }
    }
    return PRUNE_OK;
}
