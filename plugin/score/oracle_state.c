/* State files of oracles; see oracle_state.h. Line by line:
 *   darknet-prune-oracle-state 1
 *   key <key>
 *   steps <N> base <mean loss with nothing removed>      and N lines: <place among the units that were left> <mean loss>; 0 of other oracles
 *   sums <K> images <N> base <sum of losses>             and K lines: <sum of losses of candidate k>; K = 0 between steps
 *   end
 * Refused: another format or key, a number that is none, too few or too many lines, sums of another number of candidates. */
#include "oracle_state.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"

static const char FORMAT[] = "darknet-prune-oracle-state 1";
enum { LINE_BYTES = 64, ABOUT_BYTES = 1 << 16 };

static bool put(FILE *f, const char *key, const struct prune_oracle *o, const struct prune_greedy *g)
{
    const struct prune_greedy none = {.base = NAN};
    if (!g) g = &none;
    bool done = fprintf(f, "%s\nkey %s\nsteps %zu base %a\n", FORMAT, key, g->count, g->base) > 0;
    for (size_t i = 0; done && i < g->count; i++) done = fprintf(f, "%zu %a\n", g->places[i], g->loss[i]) > 0;
    done = done && fprintf(f, "sums %zu images %zu base %a\n", o->count, o->images, o->base) > 0;
    for (size_t k = 0; done && k < o->count; k++) done = fprintf(f, "%a\n", o->loss[k]) > 0;
    return done && fputs("end\n", f) >= 0;
}

enum prune_code prune_oracle_state_write(const char *path, const char *key, const struct prune_oracle *o, const struct prune_greedy *greedy, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return prune_fail_memory(st, 0, "oracle state");
    if (greedy) o = &greedy->round;
    bool bad = !put(f, key, o, greedy);
    bad |= fclose(f) != 0 || !text || !size;
    enum prune_code rc = bad ? prune_fail_memory(st, size, "oracle state") : prune_write_file(path, text, size, st);
    free(text);
    return rc;
}

struct reader { const char *path; char *at; size_t line; };

static enum prune_code bad_line(const struct reader *r, const char *why, struct prune_status *st)
{
    return prune_fail(st, "%s:%zu: %s; delete the file to begin anew", r->path, r->line, why);
}

static char *next_line(struct reader *r)
{
    char *line = r->at, *end = strchr(line, '\n');
    if (!end) return NULL;
    *end = 0;
    r->at = end + 1;
    r->line++;
    return line;
}

static bool take_word(char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0) return false;
    *at += n;
    return true;
}

static bool take_count(char **at, size_t *out)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    errno = 0;
    *out = strtoul(*at, &end, 10);
    if (errno) return false;
    *at = end;
    return true;
}

static bool take_double(char **at, double *out)
{
    char *end;
    *out = strtod(*at, &end);
    if (end == *at) return false;
    *at = end;
    return true;
}

static enum prune_code check_key(struct reader *r, const char *key, struct prune_status *st)
{
    char *line = next_line(r);
    if (!line || strcmp(line, FORMAT) != 0) return prune_fail(st, "'%s' is not the state of an oracle of this version; move it away", r->path);
    line = next_line(r);
    if (!line || !take_word(&line, "key ")) return bad_line(r, "no key", st);
    if (strcmp(line, key) == 0) return PRUNE_OK;
    return prune_fail(st, "'%s' is the state of another command or of files that have changed (it is of: %s; wanted: %s); give the command that began it, or delete it to begin anew",
                      r->path, line, key);
}

static enum prune_code read_steps(struct reader *r, struct prune_greedy *g, struct prune_status *st)
{
    size_t steps = 0, place = 0;
    double base = NAN, loss = 0;
    char *line = next_line(r);
    if (!line || !take_word(&line, "steps ") || !take_count(&line, &steps) || !take_word(&line, " base ") || !take_double(&line, &base) || *line)
        return bad_line(r, "'steps N base B' expected", st);
    if (steps > (g ? g->steps : 0)) return bad_line(r, "more steps than are wanted", st);
    for (size_t i = 0; i < steps; i++) {
        line = next_line(r);
        if (!line || !take_count(&line, &place) || !take_word(&line, " ") || !take_double(&line, &loss) || *line || !isfinite(loss) || place >= g->left_count)
            return bad_line(r, "a step expected", st);
        prune_greedy_take(g, place, loss);
    }
    if (g) g->base = base;
    return PRUNE_OK;
}

static enum prune_code read_sums(struct reader *r, struct prune_oracle *o, struct prune_greedy *g, struct prune_status *st)
{
    size_t count = 0, images = 0;
    double base = 0;
    char *line = next_line(r);
    if (!line || !take_word(&line, "sums ") || !take_count(&line, &count) || !take_word(&line, " images ") || !take_count(&line, &images) ||
        !take_word(&line, " base ") || !take_double(&line, &base) || *line || !isfinite(base))
        return bad_line(r, "'sums K images N base B' expected", st);
    if (g && count) {
        enum prune_code rc = g->count < g->steps ? prune_greedy_begin(g, st) : bad_line(r, "sums of a step too many", st);
        if (rc) return rc;
    }
    if (count != o->count) return bad_line(r, "another number of candidates", st);
    for (size_t k = 0; k < count; k++) {
        line = next_line(r);
        if (!line || !take_double(&line, &o->loss[k]) || *line || !isfinite(o->loss[k])) return bad_line(r, "a sum of losses expected", st);
    }
    line = next_line(r);
    if (!line || strcmp(line, "end") != 0 || *r->at) return bad_line(r, "'end' expected", st);
    o->images = images;
    o->base = base;
    return PRUNE_OK;
}

enum prune_code prune_oracle_state_read(const char *path, const char *key, struct prune_oracle *o, struct prune_greedy *greedy, struct prune_status *st)
{
    size_t size = 0, lines = greedy ? greedy->steps + greedy->left_count : o->count;
    char *bytes = NULL;
    if (greedy) o = &greedy->round;
    if (!prune_path_exists(path)) return PRUNE_OK;
    enum prune_code rc = prune_read_file_within(path, ABOUT_BYTES + lines * LINE_BYTES, &bytes, &size, st);
    if (rc) return rc;
    struct reader r = {path, bytes, 0};
    rc = check_key(&r, key, st);
    if (!rc) rc = read_steps(&r, greedy, st);
    if (!rc) rc = read_sums(&r, o, greedy, st);
    free(bytes);
    return rc;
}
