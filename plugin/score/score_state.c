/* States of criteria in files; see score_state.h. */
#include "score_state.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char KIND[] = "score";

/* ---- settings ---- */

enum kind { SIZE, SEED, INT, PROBES, BOOL, DOUBLE, GATE, FISHER };
static const char *const FISHERS[] = {[PRUNE_FISHER_SAMPLED] = "sampled", [PRUNE_FISHER_EMPIRICAL] = "empirical"};
static const struct setting { const char *name; enum kind kind; size_t at; } SETTINGS[] = {
    {"seed", SEED, offsetof(struct prune_scoring, input.seed)},
    {"minibatch", SIZE, offsetof(struct prune_scoring, minibatch)},
    {"gate", GATE, offsetof(struct prune_scoring, gate)},
    {"norm", INT, offsetof(struct prune_scoring, input.norm)},
    {"rivals", INT, offsetof(struct prune_scoring, input.rivals)},
    {"probes", PROBES, offsetof(struct prune_scoring, input.probes)},
    {"step", DOUBLE, offsetof(struct prune_scoring, input.step)},
    {"first", SIZE, offsetof(struct prune_scoring, set.first)},
    {"drawn", BOOL, offsetof(struct prune_scoring, set.drawn)},
    {"letterbox", INT, offsetof(struct prune_scoring, set.letterbox)},
    {"kfac-samples", DOUBLE, offsetof(struct prune_scoring, input.kfac.samples)},
    {"kfac-decay", DOUBLE, offsetof(struct prune_scoring, input.kfac.decay)},
    {"fisher", FISHER, offsetof(struct prune_scoring, input.kfac.fisher)},
};
enum { SETTING_COUNT = sizeof SETTINGS / sizeof *SETTINGS, FIRST_SETTINGS = SETTING_COUNT - 3 };   /* files from before the others were there do without: they mean 0 */

const char *prune_score_setting(size_t i) { return i < SETTING_COUNT ? SETTINGS[i].name : NULL; }

void prune_score_setting_text(const struct prune_scoring *s, size_t i, char text[PRUNE_SETTING_ROOM])
{
    const void *at = (const char *)s + SETTINGS[i].at;
    switch (SETTINGS[i].kind) {
    case SIZE: snprintf(text, PRUNE_SETTING_ROOM, "%zu", *(const size_t *)at); break;
    case SEED: snprintf(text, PRUNE_SETTING_ROOM, "%llu", (unsigned long long)*(const uint64_t *)at); break;
    case INT: snprintf(text, PRUNE_SETTING_ROOM, "%d", *(const int *)at); break;
    case PROBES:
        if (*(const int *)at != PRUNE_PROBES_EXACT) snprintf(text, PRUNE_SETTING_ROOM, "%d", *(const int *)at);
        else snprintf(text, PRUNE_SETTING_ROOM, "exact");
        break;
    case BOOL: snprintf(text, PRUNE_SETTING_ROOM, "%d", *(const bool *)at); break;
    case DOUBLE: snprintf(text, PRUNE_SETTING_ROOM, "%.17g", *(const double *)at); break;
    case FISHER: snprintf(text, PRUNE_SETTING_ROOM, "%s", FISHERS[*(const enum prune_fisher *)at]); break;
    case GATE: snprintf(text, PRUNE_SETTING_ROOM, "%s", prune_gate_choice_name(*(const enum prune_gate_choice *)at)); break;
    }
}

static bool read_whole(const char *text, uint64_t most, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !errno && !*end && *out <= most;
}

static bool read_double(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && isfinite(*out);
}

static bool read_fisher(const char *text, enum prune_fisher *out)
{
    for (int i = 0; i < (int)(sizeof FISHERS / sizeof *FISHERS); i++) {
        if (strcmp(FISHERS[i], text) != 0) continue;
        *out = (enum prune_fisher)i;
        return true;
    }
    return false;
}

static bool read_setting(struct prune_scoring *s, const struct setting *setting, const char *text)
{
    static const uint64_t most[] = {[SIZE] = SIZE_MAX, [SEED] = UINT64_MAX, [INT] = INT_MAX, [PROBES] = INT_MAX, [BOOL] = 1, [DOUBLE] = 0, [GATE] = 0, [FISHER] = 0};
    void *at = (char *)s + setting->at;
    uint64_t whole = 0;
    double value = 0;
    if (setting->kind == GATE) return prune_gate_choice_parse(text, at);
    if (setting->kind == FISHER) return read_fisher(text, at);
    if (setting->kind == PROBES && strcmp(text, "exact") == 0) return *(int *)at = PRUNE_PROBES_EXACT, true;
    if (setting->kind == DOUBLE ? !read_double(text, &value) || value < 0 : !read_whole(text, most[setting->kind], &whole)) return false;
    switch (setting->kind) {
    case SIZE: *(size_t *)at = (size_t)whole; break;
    case SEED: *(uint64_t *)at = whole; break;
    case INT:
    case PROBES: *(int *)at = (int)whole; break;
    case BOOL: *(bool *)at = whole != 0; break;
    case DOUBLE: *(double *)at = value; break;
    case GATE: case FISHER: break;
    }
    return true;
}

/* ---- writing ---- */

static bool put_facts(FILE *out, const struct prune_scoring *s, const struct prune_score_origin *o, const struct prune_scoring_facts *facts)
{
    bool done = fprintf(out, "kind %s\ncfg %s\nweights %s\nlist %s\nunits %zu\nimages %zu\nminibatches %zu\npasses %zu\nloss %a\n", KIND, o->cfg, o->weights, o->list,
                        s->input.units->count, facts->images, facts->minibatches, facts->passes, facts->loss_sum) > 0;
    for (size_t i = 0; done && i < SETTING_COUNT; i++) {
        char text[PRUNE_SETTING_ROOM];
        prune_score_setting_text(s, i, text);
        done = fprintf(out, "%s %s\n", SETTINGS[i].name, text) > 0;
    }
    return done;
}

enum prune_code prune_score_state_encode(const struct prune_scoring *s, const struct prune_score_origin *origin, const struct prune_scored *items, size_t count,
                                         const struct prune_scoring_facts *facts, char **bytes, size_t *size, struct prune_status *st)
{
    char *text = NULL;
    size_t length = 0;
    struct prune_state_part *parts = calloc(count + 1, sizeof *parts);
    FILE *out = parts ? open_memstream(&text, &length) : NULL;
    bool done = out && put_facts(out, s, origin, facts);
    if (out && (fclose(out) || !text || !length)) done = false;
    for (size_t i = 0; done && i < count; i++)
        parts[i] = (struct prune_state_part){items[i].criterion->name, items[i].state, items[i].criterion->state_size(&s->input)};
    enum prune_code rc = done ? prune_state_encode(text, parts, count, bytes, size, st) : prune_fail_memory(st, length, "state file");
    free(text);
    free(parts);
    return rc;
}

/* ---- reading ---- */

static enum prune_code no_fact(const struct prune_state_file *f, const char *name, struct prune_status *st)
{
    return prune_fail(st, "'%s' is no state of scores: it has no valid \"%s\"; score anew without it", f->path, name);
}

static enum prune_code check_kind(const struct prune_state_file *f, struct prune_status *st)
{
    char kind[PRUNE_SETTING_ROOM];
    return prune_state_fact(f, "kind", kind, sizeof kind) && strcmp(kind, KIND) == 0 ? PRUNE_OK : no_fact(f, "kind", st);
}

enum prune_code prune_score_state_criteria(const struct prune_state_file *f, char **names, struct prune_status *st)
{
    size_t length = 1;
    enum prune_code rc = check_kind(f, st);
    if (rc) return rc;
    if (!f->count) return prune_fail(st, "'%s' holds no criterion; score anew without it", f->path);
    for (size_t i = 0; i < f->count; i++) length += strlen(f->parts[i].name) + 1;
    char *text = calloc(length, 1), *at = text;
    if (!text) return prune_fail_memory(st, length, "criteria");
    for (size_t i = 0; i < f->count; i++) at += snprintf(at, length - (size_t)(at - text), "%s%s", i ? "," : "", f->parts[i].name);
    *names = text;
    return PRUNE_OK;
}

enum prune_code prune_score_state_settings(const struct prune_state_file *f, struct prune_scoring *s, struct prune_status *st)
{
    enum prune_code rc = check_kind(f, st);
    for (size_t i = 0; !rc && i < SETTING_COUNT; i++) {
        char text[PRUNE_SETTING_ROOM];
        bool there = prune_state_fact(f, SETTINGS[i].name, text, sizeof text);
        if (there ? !read_setting(s, &SETTINGS[i], text) : i < FIRST_SETTINGS) rc = no_fact(f, SETTINGS[i].name, st);
    }
    if (!rc && !s->minibatch && f->count) rc = s->set.data_path ? no_fact(f, "minibatch", st) : PRUNE_OK;
    return rc;
}

static enum prune_code check_file(const struct prune_state_file *f, const char *what, const char *path, const char hash[32], struct prune_status *st)
{
    char was[32] = "";
    if (!prune_state_fact(f, what, was, sizeof was)) return no_fact(f, what, st);
    if (strcmp(was, hash) == 0) return PRUNE_OK;
    return prune_fail(st, "'%s' is the state of another %s (hash '%s', '%s' has '%s'); give the file it was made with, or score anew without -resume", f->path, what, was,
                      path ? path : "none", hash);
}

static enum prune_code read_count(const struct prune_state_file *f, const char *name, size_t *out, struct prune_status *st)
{
    char text[PRUNE_SETTING_ROOM];
    uint64_t value = 0;
    if (!prune_state_fact(f, name, text, sizeof text) || !read_whole(text, SIZE_MAX / 2, &value)) return no_fact(f, name, st);
    *out = (size_t)value;
    return PRUNE_OK;
}

static enum prune_code read_facts(const struct prune_state_file *f, const struct prune_score_input *in, struct prune_scoring_facts *facts, struct prune_status *st)
{
    struct prune_scoring_facts read = {0};
    char text[PRUNE_SETTING_ROOM];
    size_t units = 0;
    enum prune_code rc = read_count(f, "units", &units, st);
    if (!rc && units != in->units->count) rc = prune_fail(st, "'%s' has states of %zu units, this network has %zu; score anew without it", f->path, units, in->units->count);
    if (!rc) rc = read_count(f, "images", &read.images, st);
    if (!rc) rc = read_count(f, "minibatches", &read.minibatches, st);
    if (!rc) rc = read_count(f, "passes", &read.passes, st);
    if (!rc && (!prune_state_fact(f, "loss", text, sizeof text) || !read_double(text, &read.loss_sum))) rc = no_fact(f, "loss", st);
    if (rc) return rc;
    if (read.images) read.loss = read.loss_sum / (double)read.images;
    *facts = read;
    return PRUNE_OK;
}

static enum prune_code load_item(const struct prune_state_file *f, const struct prune_score_input *in, struct prune_scored *item, struct prune_status *st)
{
    const struct prune_criterion *c = item->criterion;
    const struct prune_state_part *part = prune_state_part(f, c->name);
    size_t bytes = c->state_size(in);
    if (!part) return prune_fail(st, "'%s' holds no state of criterion '%s'; leave -criterion away, or score it anew without -resume", f->path, c->name);
    void *state = part->size == bytes ? malloc(bytes ? bytes : 1) : NULL;   /* aligned, and not of the state before it is known to be right */
    if (part->size == bytes && !state) return prune_fail_memory(st, bytes, "scores");
    if (state && bytes) memcpy(state, part->bytes, bytes);
    bool fits = state && (!c->state_ok || c->state_ok(state, item->state));
    if (fits && bytes) memcpy(item->state, state, bytes);
    free(state);
    return fits ? PRUNE_OK : prune_fail(st, "'%s' holds a state of criterion '%s' of another shape; score anew without it", f->path, c->name);
}

enum prune_code prune_score_state_load(const struct prune_state_file *f, const struct prune_score_origin *origin, const struct prune_score_input *in,
                                       struct prune_scored *items, size_t count, struct prune_scoring_facts *facts, struct prune_status *st)
{
    enum prune_code rc = check_kind(f, st);
    if (!rc) rc = check_file(f, "cfg", origin->cfg_path, origin->cfg, st);
    if (!rc) rc = check_file(f, "weights", origin->weights_path, origin->weights, st);
    if (!rc) rc = check_file(f, "list", origin->list_path, origin->list, st);
    for (size_t i = 0; !rc && i < f->count; i++) {
        bool wanted = false;
        for (size_t k = 0; k < count; k++) wanted |= strcmp(items[k].criterion->name, f->parts[i].name) == 0;
        if (!wanted) rc = prune_fail(st, "'%s' also holds criterion '%s', which would be lost; leave -criterion away", f->path, f->parts[i].name);
    }
    for (size_t i = 0; !rc && i < count; i++) rc = load_item(f, in, &items[i], st);
    return rc ? rc : read_facts(f, in, facts, st);
}
