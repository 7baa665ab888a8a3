/* Oracles; see oracle.h. Sums are taken image after image in the order of the set, so that where a run was stopped does not show in them. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum prune_code prune_oracle_init(struct prune_oracle *o, size_t candidates, struct prune_status *st)
{
    memset(o, 0, sizeof *o);
    o->loss = calloc(candidates ? candidates : 1, sizeof *o->loss);
    if (!o->loss) return prune_fail_memory(st, candidates * sizeof *o->loss, "losses");
    o->count = candidates;
    return PRUNE_OK;
}

void prune_oracle_free(struct prune_oracle *o)
{
    free(o->loss);
    memset(o, 0, sizeof *o);
}

struct feed { struct prune_oracle *o; const struct prune_host *host; prune_oracle_step step; void *user; };

static enum prune_code take_piece(void *user, const struct prune_perturbed *piece, struct prune_status *st)
{
    const struct feed *f = user;
    struct prune_oracle *o = f->o;
    for (size_t b = 0; b < piece->images; b++) o->base += piece->base[b];
    for (size_t k = 0; k < o->count; k++) {
        for (size_t b = 0; b < piece->images; b++) o->loss[k] += (double)piece->loss[k * piece->images + b];
        if (!isfinite(o->loss[k])) return prune_fail(st, "the loss of candidate %zu of the oracle is not finite; check the weights", k);
    }
    o->images += piece->images;
    enum prune_code rc = f->step ? f->step(f->user, o, st) : PRUNE_OK;
    if (rc || !f->host->interrupted || !f->host->interrupted(f->host->context)) return rc;
    prune_fail(st, "interrupted after %zu images", o->images);
    return PRUNE_INTERRUPTED;
}

enum prune_code prune_oracle_feed(struct prune_oracle *o, const struct prune_scoring *s, const struct prune_candidates *candidates, prune_oracle_step step, void *user,
                                  struct prune_status *st)
{
    const struct prune_units *units = s->input.units;
    struct feed feed = {o, s->host, step, user};
    struct prune_image_set rest = s->set;
    if (candidates->count != o->count) return prune_fail(st, "the oracle was begun with %zu candidates and is continued with %zu", o->count, candidates->count);
    if (rest.limit && o->images >= rest.limit) return PRUNE_OK;
    rest.first += o->images;
    if (rest.limit) rest.limit -= o->images;
    enum prune_code rc = prune_host_check(s->host, PRUNE_CAN_PERTURB, st);
    if (!rc) rc = s->host->gates_attach(s->host_net, units->sites, units->site_count, units->count, st);
    if (!rc && s->z) rc = s->host->gates_set(s->host_net, s->z, units->count, st);
    if (!rc) rc = s->host->perturb(s->host_net, &rest, candidates, false, take_piece, &feed, st);
    return rc;
}

enum prune_code prune_oracle_units(struct prune_oracle *o, const struct prune_scoring *s, const int *units, size_t count, prune_oracle_step step, void *user,
                                   struct prune_status *st)
{
    size_t *first = malloc((count + 1) * sizeof *first);
    float *z = calloc(count + 1, sizeof *z);
    for (size_t k = 0; first && k <= count; k++) first[k] = k;
    const struct prune_candidates candidates = {units, first, z, count};
    enum prune_code rc = first && z ? prune_oracle_feed(o, s, &candidates, step, user, st) : prune_fail_memory(st, count * sizeof *first, "candidates");
    free(first);
    free(z);
    return rc;
}

double prune_oracle_change(const struct prune_oracle *o, size_t k) { return o->images ? (o->loss[k] - o->base) / (double)o->images : NAN; }

double prune_oracle_score(const struct prune_oracle *o, size_t k)
{
    double change = prune_oracle_change(o, k);
    return change * change;
}
