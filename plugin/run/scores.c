/* Scores of a run; see scores.h. */
#include "scores.h"

#include <stdlib.h>

static int unit_before(const struct prune_work *w, const struct prune_units *original, size_t unit)
{
    struct prune_channel m = w->units.members[w->units.items[unit].first_member];
    return original->of_channel[m.layer][w->origin[m.layer][m.channel]];
}

enum prune_code prune_run_scores_write(const char *path, const struct prune_work *w, const struct prune_units *original, const struct prune_loop_options *o,
                                       const struct prune_loop_result *r, const struct prune_mask_origin *origin, struct prune_status *st)
{
    if (!w->scored) return PRUNE_OK;
    struct prune_net_facts net;
    double *scores = calloc(original->count + 1, sizeof *scores), least = 0;
    if (!scores) return prune_fail_memory(st, original->count * sizeof *scores, "scores");
    for (size_t u = 0; u < w->units.count; u++)
        if (!w->removed[u] && w->scores[u] < least) least = w->scores[u];
    for (size_t u = 0; u < original->count; u++) scores[u] = least;
    for (size_t u = 0; u < w->units.count; u++) {
        int was = unit_before(w, original, u);
        if (!w->removed[u] && was >= 0) scores[was] = w->scores[u];
    }
    w->host->facts(w->host_net, &net);
    bool passes = r->score_images > 0;
    const struct prune_score_file about = {.criterion = o->criterion->name, .images = passes ? r->score_images : r->images,
                                           .minibatches = passes ? r->score_minibatches : r->steps * (size_t)net.subdivisions, .loss = r->loss, .seed = w->options.open.seed,
                                           .momentum = {o->smoothing, r->iterations}};
    enum prune_code rc = prune_scores_write(path, original, scores, &about, origin, st);
    free(scores);
    return rc;
}
