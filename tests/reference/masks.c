/* Random legal masks; see proof.h. A mask is drawn unit by unit; balance is repaired by taking as many from the other parts, and the program's own plan
 * says whether the whole is legal (what it wrongly accepts shows as a difference, what it wrongly refuses as a mask that never occurs). */
#include <stdio.h>
#include <string.h>

#include "../../plugin/select/select.h"
#include "kinds.h"
#include "proof.h"

const char *const mask_names[MASK_KINDS] = {"random", "every second channel", "selected"};

struct drawer { const struct proof *p; struct prune_random r; uint8_t *removed, *trial, *balanced; size_t taken; };

bool mask_is_legal(const struct proof *p, const uint8_t *removed)
{
    struct prune_plan plan = {0};
    struct prune_status st;
    bool legal = !prune_plan_build(&plan, &p->net, &p->units, removed, &st);
    prune_plan_free(&plan);
    return legal;
}

static bool may_go(const struct drawer *d, int unit)
{
    return unit >= 0 && !d->p->units.items[unit].protected_because && !d->trial[unit];
}

static size_t gone_of(const struct drawer *d, const struct prune_balance *b, size_t part)
{
    size_t n = 0;
    for (size_t j = 0; j < b->part_size; j++) n += b->units[part * b->part_size + j] >= 0 && d->trial[b->units[part * b->part_size + j]];
    return n;
}

/* One more unit of the part, a random one. */
static bool take_from(struct drawer *d, const struct prune_balance *b, size_t part)
{
    size_t start = (size_t)prune_random_below(&d->r, b->part_size);
    for (size_t j = 0; j < b->part_size; j++) {
        int unit = b->units[part * b->part_size + (start + j) % b->part_size];
        if (!may_go(d, unit)) continue;
        d->trial[unit] = 1;
        return true;
    }
    return false;
}

/* Takes from every part as many as from the fullest; a few rounds, since constraints are chained. */
static void repair(struct drawer *d)
{
    bool changed = true;
    for (int round = 0; round < 4 && changed; round++) {
        changed = false;
        for (size_t k = 0; k < d->p->units.balance_count; k++) {
            const struct prune_balance *b = &d->p->units.balances[k];
            size_t most = 0;
            for (size_t part = 0; part < b->parts; part++)
                if (gone_of(d, b, part) > most) most = gone_of(d, b, part);
            for (size_t part = 0; part < b->parts; part++)
                while (gone_of(d, b, part) < most && take_from(d, b, part)) changed = true;
        }
    }
}

/* Keeps the trial when it is legal, else goes back. */
static bool settle(struct drawer *d)
{
    size_t count = d->p->units.count;
    bool legal = mask_is_legal(d->p, d->trial);
    if (legal) memcpy(d->removed, d->trial, count);
    else memcpy(d->trial, d->removed, count);
    return legal;
}

/* One part of a constraint with everything that belongs to it in the other constraints of the same layer. */
static void whole_group(struct drawer *d)
{
    if (!d->p->units.balance_count) return;
    const struct prune_balance *b = &d->p->units.balances[prune_random_below(&d->r, d->p->units.balance_count)];
    size_t part = (size_t)prune_random_below(&d->r, b->parts);
    bool all = true;
    for (size_t k = 0; k < d->p->units.balance_count; k++) {
        const struct prune_balance *other = &d->p->units.balances[k];
        if (other->layer != b->layer || other->parts != b->parts) continue;
        for (size_t j = 0; j < other->part_size; j++) {
            int unit = other->units[part * other->part_size + j];
            if (unit < 0 || d->p->units.items[unit].protected_because) all = false;
            else d->trial[unit] = 1;
        }
    }
    if (!all) memcpy(d->trial, d->removed, d->p->units.count);
    else if (settle(d)) d->taken++;
}

static void draw_random(struct drawer *d)
{
    static const double ratios[] = {.01, .1, .3, .5, .7, .9, .99};
    double ratio = ratios[prune_random_below(&d->r, 7)];
    size_t count = d->p->units.count;
    if (prune_random_below(&d->r, 3) == 0) whole_group(d);
    uint64_t seed = prune_random_u64(&d->r);
    for (size_t i = 0; i < count; i++) {
        int unit = (int)prune_random_permute(seed, 0, i, count);
        if (prune_random_uniform(&d->r) >= ratio || !may_go(d, unit)) continue;
        d->trial[unit] = 1;
        if (d->balanced[unit]) repair(d);
        settle(d);
    }
    if (prune_random_below(&d->r, 3) == 0) whole_group(d);
}

static void draw_every_second(struct drawer *d)
{
    for (size_t k = 0; k < d->p->units.balance_count; k++) {
        const struct prune_balance *b = &d->p->units.balances[k];
        for (size_t i = 0; i < b->parts * b->part_size; i++)
            if (i % b->part_size % 2 && may_go(d, b->units[i])) d->trial[b->units[i]] = 1;
        repair(d);
        settle(d);
    }
    for (size_t u = 0; u < d->p->units.count; u++) {
        const struct prune_unit *unit = &d->p->units.items[u];
        if (d->balanced[u] || !may_go(d, (int)u) || d->p->units.members[unit->first_member].channel % 2 == 0) continue;
        d->trial[u] = 1;
        settle(d);
    }
}

static void draw_selected(struct drawer *d)
{
    static const double remains[] = {.01, .1, .3, .5, .7, .9, .99};
    size_t count = d->p->units.count;
    struct prune_random *r = &d->r;
    double *scores = ref_alloc(count, sizeof *scores);
    struct prune_select_options o = {.target = (enum prune_target_kind)prune_random_below(r, 3), .remain = remains[prune_random_below(r, 7)],
                                     .per_layer = prune_random_below(r, 3) == 0, .min_keep = 1 + (int)prune_random_below(r, 4),
                                     .multiple = prune_random_below(r, 3) == 0 ? 1 << prune_random_below(r, 4) : 1, .cost = (enum prune_cost_kind)prune_random_below(r, 3), .cost_power = 1};
    struct prune_status st;
    for (size_t u = 0; u < count; u++) scores[u] = prune_random_uniform(r);
    if (prune_select(&d->p->net, &d->p->units, scores, &o, d->removed, NULL, &st)) {
        const char *least = strstr(st.message, "smallest reachable is ");
        memset(d->removed, 0, count);
        if (least) {
            o.remain = atof(least + strlen("smallest reachable is ")) + 2e-4;
            if (o.remain < 1 && prune_select(&d->p->net, &d->p->units, scores, &o, d->removed, NULL, &st)) memset(d->removed, 0, count);
        }
    }
    free(scores);
}

size_t mask_draw(const struct proof *p, enum mask_kind kind, uint64_t seed, uint8_t *removed, size_t *groups)
{
    static void (*const draws[MASK_KINDS])(struct drawer *) = {draw_random, draw_every_second, draw_selected};
    size_t count = p->units.count, gone = 0;
    struct drawer d = {.p = p, .r = prune_random_make(seed, 30 + (uint64_t)kind, 0), .removed = removed};
    memset(removed, 0, count);
    d.trial = ref_alloc(count, 1);
    d.balanced = ref_alloc(count, 1);
    for (size_t k = 0; k < p->units.balance_count; k++)
        for (size_t i = 0; i < p->units.balances[k].parts * p->units.balances[k].part_size; i++)
            if (p->units.balances[k].units[i] >= 0) d.balanced[p->units.balances[k].units[i]] = 1;
    draws[kind](&d);
    for (size_t u = 0; u < count; u++) gone += removed[u] != 0;
    if (groups) *groups = d.taken;
    free(d.trial);
    free(d.balanced);
    return gone;
}
