/* Finding and shrinking failures; see shrink.h. */
#include "shrink.h"

#include <stdio.h>
#include <string.h>

#include "../../plugin/base/file_io.h"
#include "kinds.h"

static bool found(struct finding *f, const char *words)
{
    snprintf(f->words, sizeof f->words, "%s", words);
    return true;
}

static bool try_mask(struct proof *p, enum mask_kind kind, uint64_t seed, struct finding *f, struct proof_counts *counts)
{
    uint8_t *removed = ref_alloc(p->units.count, 1);
    size_t groups = 0, gone = mask_draw(p, kind, seed, removed, &groups);
    double effect = 0;
    const char *said = gone ? proof_mask(p, removed, counts ? &effect : NULL) : NULL;
    if (counts && gone) {
        counts->masks++;
        counts->units += gone;
        counts->groups += groups;
        counts->effects += effect > 1e-6;
    }
    free(removed);
    f->has_mask = true;
    f->kind = kind;
    f->mask_seed = seed;
    return said && found(f, said);
}

bool find_failure(const char *text, const char *folder, uint64_t seed, int rounds, struct finding *f, struct proof_counts *counts)
{
    struct proof p;
    memset(f, 0, sizeof *f);
    if (!proof_open(&p, folder, text, seed)) {
        if (counts) counts->unfit += p.unfit;
        return !p.unfit && found(f, p.st.message);
    }
    const char *said = proof_keep_all(&p);
    bool failed = said && found(f, said);
    for (int i = 0; i < rounds * MASK_KINDS && !failed; i++) failed = try_mask(&p, (enum mask_kind)(i % MASK_KINDS), seed + (uint64_t)(i / MASK_KINDS), f, counts);
    if (counts) counts->unfit += p.unfit;
    proof_close(&p);
    return failed;
}

/* The same sentence, whatever the numbers, names and places in it. */
static bool same_words(const char *a, const char *b)
{
    static const char skipped[] = "0123456789.-+e ";
    while (*a || *b) {
        a += strspn(a, skipped);
        b += strspn(b, skipped);
        if (*a != *b) return false;
        if (*a) a++, b++;
    }
    return true;
}

static bool still_fails(const struct graph *g, const char *folder, const struct finding *f, bool plain, struct finding *now)
{
    char *text = graph_text(g, plain);
    bool fails = find_failure(text, folder, g->seed, f->has_mask ? 4 : 0, now, NULL) && same_words(f->words, now->words) && f->has_mask == now->has_mask;
    free(text);
    return fails;
}

static bool smaller(struct graph *g, const char *folder, const struct finding *f, bool plain, struct finding *now)
{
    struct graph *trial = ref_alloc(1, sizeof *trial);
    bool changed = false;
    for (int step = 0; step < 2; step++)
        for (int i = g->count - 2; i >= 0; i--) {
            *trial = *g;
            if (i + 1 >= g->count || !(step ? graph_halve : graph_drop)(trial, i) || !still_fails(trial, folder, f, plain, now)) continue;
            *g = *trial;
            changed = true;
        }
    free(trial);
    return changed;
}

/* Gives back removed units while the mask still fails. */
static void fewer_units(struct proof *p, uint8_t *removed)
{
    for (size_t u = 0; u < p->units.count; u++) {
        if (!removed[u]) continue;
        removed[u] = 0;
        if (!mask_is_legal(p, removed) || !proof_mask(p, removed, NULL)) removed[u] = 1;
    }
}

bool shrink_failure(struct graph *g, const char *folder, const struct finding *f, const char *keep, int *layers)
{
    struct finding now = *f;
    struct proof p;
    char path[256];
    bool plain = still_fails(g, folder, f, true, &now);
    if (!still_fails(g, folder, f, plain, &now)) return false;
    for (int round = 0; round < 4 && smaller(g, folder, f, plain, &now); round++) {}
    if (!still_fails(g, folder, f, plain, &now)) return false;
    *layers = g->count - 1;
    char *text = graph_text(g, plain);
    snprintf(path, sizeof path, "%s/%llu.cfg", keep, (unsigned long long)g->seed);
    bool ok = !prune_make_dirs(keep, NULL) && !prune_write_file(path, text, strlen(text), NULL);
    if (ok && f->has_mask && proof_open(&p, folder, text, g->seed)) {
        uint8_t *removed = ref_alloc(p.units.count, 1);
        mask_draw(&p, now.kind, now.mask_seed, removed, NULL);
        fewer_units(&p, removed);
        snprintf(path, sizeof path, "%s/%llu.mask.json", keep, (unsigned long long)g->seed);
        ok = !prune_mask_write(path, &p.units, removed, &p.origin, NULL);
        free(removed);
        proof_close(&p);
    }
    free(text);
    return ok;
}
