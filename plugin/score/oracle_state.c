/* State files of oracles; see oracle_state.h. Facts: kind oracle; key <key>; images <N>. Parts, of doubles: "bases": mean loss with nothing removed (of a
 * greedy oracle, else NaN), sum of losses with the gates as they are; "steps": place among the units that were left and mean loss, of each step that is done;
 * "sums": of the losses of each candidate, none between steps.
 * Refused: another key, sums of another number of candidates, a number that cannot be. */
#include "oracle_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/state_file.h"

enum { KEY_BYTES = 2048, STEP = 2, BASES = 2 };

enum prune_code prune_oracle_state_write(const char *path, const char *key, const struct prune_oracle *o, const struct prune_greedy *greedy, struct prune_status *st)
{
    if (greedy) o = &greedy->round;
    const double bases[BASES] = {greedy ? greedy->base : (double)NAN, o->base};
    size_t steps = greedy ? greedy->count : 0, size = 0;
    char *facts = prune_format("kind oracle\nkey %s\nimages %zu\n", key, o->images), *bytes = NULL;
    double *done = calloc(steps + 1, STEP * sizeof *done);
    enum prune_code rc = facts && done ? PRUNE_OK : prune_fail_memory(st, steps * STEP * sizeof *done, "oracle state");
    for (size_t i = 0; !rc && i < steps; i++) {
        done[STEP * i] = (double)greedy->places[i];
        done[STEP * i + 1] = greedy->loss[i];
    }
    const struct prune_state_part parts[] = {{"bases", bases, sizeof bases}, {"steps", done, steps * STEP * sizeof *done}, {"sums", o->loss, o->count * sizeof *o->loss}};
    if (!rc) rc = prune_state_encode(facts, parts, sizeof parts / sizeof *parts, &bytes, &size, st);
    if (!rc) rc = prune_write_file(path, bytes, size, st);
    free(facts);
    free(done);
    free(bytes);
    return rc;
}

static enum prune_code no_part(const struct prune_state_file *f, const char *what, struct prune_status *st)
{
    return prune_fail(st, "'%s' is no state of this oracle: %s; delete it to begin anew", f->path, what);
}

static enum prune_code check_key(const struct prune_state_file *f, const char *key, struct prune_status *st)
{
    char kind[8] = "", was[KEY_BYTES] = "";
    if (prune_state_fact(f, "kind", kind, sizeof kind) && strcmp(kind, "oracle") == 0 && prune_state_fact(f, "key", was, sizeof was) && strcmp(was, key) == 0) return PRUNE_OK;
    return prune_fail(st, "'%s' is the state of another command or of files that have changed (it is of: %s; wanted: %s); give the command that began it, or delete it to begin anew",
                      f->path, was, key);
}

/* Value i of a part of doubles, which are not aligned in the file. */
static double value(const struct prune_state_part *p, size_t i)
{
    double x;
    memcpy(&x, (const char *)p->bytes + i * sizeof x, sizeof x);
    return x;
}

static enum prune_code read_steps(const struct prune_state_file *f, const struct prune_state_part *part, struct prune_greedy *g, struct prune_status *st)
{
    size_t steps = part->size / (STEP * sizeof(double));
    if (steps > (g ? g->steps : 0)) return no_part(f, "it has more steps than are wanted", st);
    for (size_t i = 0; i < steps; i++) {
        double place = value(part, STEP * i), loss = value(part, STEP * i + 1);
        if (!(place >= 0 && place < (double)g->left_count) || place != floor(place) || !isfinite(loss)) return no_part(f, "a step is none", st);
        prune_greedy_take(g, (size_t)place, loss);
    }
    return PRUNE_OK;
}

static enum prune_code read_sums(const struct prune_state_file *f, const struct prune_state_part *part, struct prune_oracle *o, struct prune_greedy *g, struct prune_status *st)
{
    size_t count = part->size / sizeof(double);
    if (g && count) {
        enum prune_code rc = g->count < g->steps ? prune_greedy_begin(g, st) : no_part(f, "it has sums of a step too many", st);
        if (rc) return rc;
    }
    if (count != o->count) return no_part(f, "it has another number of candidates", st);
    for (size_t k = 0; k < count; k++)
        if (!isfinite(o->loss[k] = value(part, k))) return no_part(f, "a sum of losses is not finite", st);
    return PRUNE_OK;
}

static enum prune_code read_state(const struct prune_state_file *f, const char *key, struct prune_oracle *o, struct prune_greedy *g, struct prune_status *st)
{
    const struct prune_state_part *bases = prune_state_part(f, "bases"), *steps = prune_state_part(f, "steps"), *sums = prune_state_part(f, "sums");
    char text[32], *end = text;
    enum prune_code rc = check_key(f, key, st);
    if (rc) return rc;
    errno = 0;
    unsigned long images = prune_state_fact(f, "images", text, sizeof text) && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    if (end == text || *end || errno || !bases || bases->size != BASES * sizeof(double) || !isfinite(value(bases, 1)) || !steps || !sums) return no_part(f, "a part is missing", st);
    rc = read_steps(f, steps, g, st);
    if (!rc && g) g->base = value(bases, 0);
    if (!rc) rc = read_sums(f, sums, o, g, st);
    if (rc) return rc;
    o->images = images;
    o->base = value(bases, 1);
    return PRUNE_OK;
}

enum prune_code prune_oracle_state_read(const char *path, const char *key, struct prune_oracle *o, struct prune_greedy *greedy, struct prune_status *st)
{
    struct prune_state_file f;
    if (!prune_path_exists(path)) return PRUNE_OK;
    enum prune_code rc = prune_state_open(&f, path, st);
    if (rc) return rc;
    rc = read_state(&f, key, greedy ? &greedy->round : o, greedy, st);
    prune_state_close(&f);
    return rc;
}
