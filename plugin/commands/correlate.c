/* `darknet prune correlate`: how well scores predict what removing a unit really costs (the paper's Tables 1 and 2), and how scores rank layers (Figure 5).
 * In: data, cfg, weights; or an earlier CSV; or score files. Out: a table on the terminal, CSV, JSON, two charts. */
#include "correlate.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/progress.h"
#include "../score/correlation_report.h"
#include "../score/oracle_state.h"
#include "data_file.h"
#include "scoring_flags.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune correlate <data> <cfg> <weights> -out BASE [-flag value ...]\n"
    "       darknet prune correlate -replot FILE.csv -out BASE\n"
    "       darknet prune correlate <cfg> <scores.json> [<cfg> <scores.json>] -ranks -out BASE\n"
    "\n"
    "Scores units with several criteria, removes them one by one to see what each really costs (the\n"
    "oracle: the squared change of the loss), and says how well the scores predict it: Pearson's,\n"
    "Spearman's and Kendall's (tau-b) coefficients over all layers and averaged over layers, with 95%\n"
    "bootstrap intervals. Layers with fewer than 3 units, or constant ones, are left out of averages.\n"
    "\n"
    "  -out BASE         writes BASE.csv (every unit), BASE.json (every coefficient), BASE.svg (bars) and\n"
    "                    BASE-scatter.svg\n"
    "  -criteria C[,C]   'darknet prune criteria' lists them; all: every one that fits; NAME@PLACE: with\n"
    "                    its gates at another place, e.g. taylor-fo@before-bn (default: taylor-fo,\n"
    "                    taylor-fg,taylor-weight,bn-taylor,taylor-output,magnitude,bn-scale,random)\n"
    PRUNE_SCORING_HELP
    PRUNE_IMAGE_HELP("-role")
    "  -oracle FILE      a score file of 'darknet prune oracle', or a CSV with columns layer, channel and\n"
    "                    oracle, instead of computing it\n"
    "  -oracle-role R    train or valid: the oracle on other images than the scores, as they are\n"
    "  -oracle-list FILE the same with a list of image paths\n"
    "  -oracle-images N  images of the oracle, 0: all (default: as many as are scored)\n"
    "  -units N          a sample of N units, drawn from each layer in proportion to its size, at least 3\n"
    "                    where that fits (default: all)\n"
    "  -protect L        layers to leave out: \"0\", \"0,81-83\" (default: none)\n"
    "  -rounds N         resamples of the bootstrap, 0: no intervals (default: 1000)\n"
    PRUNE_HOST_HELP
    "  -replot FILE      the coefficients of an earlier BASE.csv again, without a network\n"
    "  -ranks            boxplots of the ranks of units per layer, before and, with a second pair, after\n"
    "                    pruning: BASE.csv and BASE.svg\n"
    "\n"
    "An oracle that was stopped goes on where it stood when the same command is given again\n"
    "(BASE.state keeps its sums until it is done).\n"
    "\n"
    "examples:\n"
    "  darknet prune correlate data.data net.cfg net.weights -images 1000 -minibatch 128 -out study\n"
    "  darknet prune correlate data.data net.cfg net.weights -images 1000 -oracle-role valid -out user\n"
    "  darknet prune correlate data.data net.cfg net.weights -criteria taylor-fo,taylor-fo@before-bn \\\n"
    "      -units 300 -images 200 -out gates\n"
    "  darknet prune correlate -replot study.csv -rounds 10000 -out again\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

static const char DEFAULT_CRITERIA[] = "taylor-fo,taylor-fg,taylor-weight,bn-taylor,taylor-output,magnitude,bn-scale,random";

/* Criteria that have their gates at one place; the first group is that of -gate. */
struct group { const char *place; enum prune_gate_choice gate; char *names; struct prune_criteria_list list; };
static const char *const PLACES[] = {NULL, "after-bn", "before-bn", "after-activation"};
enum { GROUPS = sizeof PLACES / sizeof *PLACES };

struct job {
    const char *data, *cfg, *weights, *out, *oracle_file, *gate;
    struct group groups[GROUPS];
    long units, rounds;
    struct prune_project project;
    struct prune_open_options open;
    struct prune_scoring scoring;                 /* of the scores; of the oracle all but the set */
    struct prune_image_set oracle_set;
    struct prune_scoring_facts facts;
    size_t oracle_images;
    double oracle_loss;                           /* of the images of the oracle, nothing removed */
    unsigned char *picked;                        /* (units) */
    double *oracle, *without;                     /* (units), NaN: not known */
    struct prune_correlation_table table;
};

/* ---- options ---- */

/* The oracle looks at the images of the scores unless told otherwise; other images are taken as they are. */
static enum prune_code read_oracle_set(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    const char *role = prune_args_string(a, "oracle-role", NULL), *list = prune_args_string(a, "oracle-list", NULL);
    long images = 0;
    j->oracle_set = j->scoring.set;
    if (role || list) j->oracle_set = (struct prune_image_set){.data_path = j->data, .role = j->scoring.set.role, .list = list, .limit = j->scoring.set.limit, .letterbox = j->scoring.set.letterbox};
    if (role && prune_args_role(a, "oracle-role", PRUNE_DATA_TRAIN, &j->oracle_set.role, st)) return PRUNE_USAGE;
    if (j->oracle_file && (role || list || prune_args_has(a, "oracle-images")))
        return prune_fail_usage(st, "flag '-oracle' names a file that is done; -oracle-role, -oracle-list and -oracle-images say how to compute one");
    enum prune_code rc = prune_args_int(a, "oracle-images", 0, LONG_MAX, (long)j->oracle_set.limit, &images, st);
    if (!rc) j->oracle_set.limit = (size_t)images;
    return rc;
}

/* Sorts "a,b@before-bn" into the groups. */
static enum prune_code sort_names(struct job *j, const char *names, struct prune_status *st)
{
    size_t size = strlen(names) + 2;
    enum prune_code rc = PRUNE_OK;
    for (int g = 0; g < GROUPS; g++) {
        j->groups[g].place = PLACES[g];
        j->groups[g].gate = j->scoring.gate;
        if (g) prune_gate_choice_parse(PLACES[g], &j->groups[g].gate);
        j->groups[g].names = calloc(size, 1);
        if (!j->groups[g].names) return prune_fail_memory(st, size, "criteria");
    }
    for (const char *name = names; !rc && name; name = strchr(name, ',') ? strchr(name, ',') + 1 : NULL) {
        size_t length = strcspn(name, ","), bare = strcspn(name, ",@"), g = 0;
        if (bare < length) {
            for (g = 1; g < GROUPS && (strlen(PLACES[g]) != length - bare - 1 || strncmp(PLACES[g], name + bare + 1, length - bare - 1) != 0);) g++;
            if (g == GROUPS) return prune_fail_usage(st, "flag '-criteria': '%.*s': a place is one of after-bn, before-bn, after-activation", (int)length, name);
        }
        char *to = j->groups[g].names;
        sprintf(to + strlen(to), "%s%.*s", *to ? "," : "", (int)bare, name);
    }
    return rc;
}

static enum prune_code read_criteria(struct job *j, const char *names, struct prune_status *st)
{
    enum prune_code rc = sort_names(j, names, st);
    for (int g = 0; !rc && g < GROUPS; g++) {
        struct prune_criteria_list *l = &j->groups[g].list;
        if (g && !j->groups[g].names[0]) continue;
        if (!g && !j->groups[g].names[0] && *names) continue;
        rc = prune_criteria_read(l, "criteria", j->groups[g].names, st);
        if (!rc && g && l->all) rc = prune_fail_usage(st, "flag '-criteria': 'all@%s': name the criteria whose gates are to sit elsewhere", PLACES[g]);
        for (size_t i = 0; !rc && g && i < l->count; i++)
            if (!l->items[i].criterion->signals || l->items[i].criterion->gate != PRUNE_GATE_ANY)
                rc = prune_fail_usage(st, "criterion '%s' has no choice of gates; name it without '@%s'", l->items[i].criterion->name, PLACES[g]);
        if (!rc && !l->all) rc = prune_criteria_allowed(l, j->scoring.host, true, true, PRUNE_TASK_OTHER, st);
    }
    return rc;
}

static enum prune_code read_options(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    j->data = a->positional[0];
    j->cfg = a->positional[1];
    j->weights = a->positional[2];
    j->oracle_file = prune_args_string(a, "oracle", NULL);
    j->gate = prune_args_string(a, "gate", "after-bn");
    enum prune_code rc = prune_args_scoring(a, j->data, &j->scoring, &j->open, st);
    if (!rc) rc = prune_args_int(a, "units", 2, LONG_MAX, 0, &j->units, st);
    if (!rc) rc = read_oracle_set(j, a, st);
    if (!rc) rc = read_criteria(j, prune_args_string(a, "criteria", DEFAULT_CRITERIA), st);
    if (!rc && !j->oracle_file) rc = prune_host_check(j->scoring.host, PRUNE_CAN_PERTURB, st);
    return rc;
}

/* ---- units, scores, oracle ---- */

/* A score file starts with a brace. */
static enum prune_code read_oracle(struct job *j, struct prune_status *st)
{
    const struct prune_units *units = &j->project.units;
    FILE *f = fopen(j->oracle_file, "rb");
    int first = f ? fgetc(f) : EOF;
    if (f) fclose(f);
    if (first != '{') return prune_correlation_oracle_read(j->oracle_file, units, j->oracle, j->without, st);
    return prune_scores_read(j->oracle_file, units, &j->project.origin, j->oracle, st);
}

/* Units that can be removed and, where a file gives the oracle, are in it; then a sample of them. */
static enum prune_code pick_units(struct job *j, struct prune_status *st)
{
    const struct prune_units *units = &j->project.units;
    size_t n = units->count + 1, count = 0, rows = 0;
    j->picked = calloc(n, 1);
    j->oracle = malloc(n * sizeof *j->oracle);
    j->without = malloc(n * sizeof *j->without);
    int *layer = malloc(n * sizeof *layer);
    size_t *unit = malloc(n * sizeof *unit);
    unsigned char *sample = calloc(n, 1);
    enum prune_code rc = j->picked && j->oracle && j->without && layer && unit && sample ? PRUNE_OK : prune_fail_memory(st, n * 4 * sizeof *unit, "units");
    for (size_t u = 0; !rc && u < units->count; u++) j->oracle[u] = j->oracle_file ? NAN : 0, j->without[u] = NAN;
    if (!rc && j->oracle_file) rc = read_oracle(j, st);
    for (size_t u = 0; !rc && u < units->count; u++) {
        if (units->items[u].protected_because || !units->items[u].site_count || isnan(j->oracle[u])) continue;
        layer[count] = units->members[units->items[u].first_member].layer;
        unit[count++] = u;
    }
    if (!rc) rc = prune_sample_units(layer, count, j->units ? (size_t)j->units : count, j->open.seed, sample, st);
    for (size_t i = 0; !rc && i < count; i++) j->picked[unit[i]] = sample[i], rows += sample[i];
    if (!rc && rows < 2) rc = prune_fail(st, "%zu unit%s to correlate; a correlation needs 2 at least", rows, rows == 1 ? "" : "s");
    size_t columns = 0;
    for (int g = 0; g < GROUPS; g++) columns += j->groups[g].list.count;
    if (!rc) rc = prune_correlation_table_init(&j->table, rows, columns, st);
    if (!rc) prune_correlation_table_units(&j->table, units, j->picked);
    free(layer);
    free(unit);
    free(sample);
    return rc;
}

static enum prune_code score_group(struct job *j, struct group *g, struct prune_status *st)
{
    struct prune_scoring s = j->scoring;
    struct prune_scoring_facts facts = {0};
    s.gate = g->gate;
    if (!g->list.count) return PRUNE_OK;
    enum prune_code rc = prune_criteria_init(&g->list, &s.input, st);
    if (!rc && g->list.signals) rc = prune_scoring_feed(&s, g->list.items, g->list.count, &facts, st);
    if (!rc) rc = prune_criteria_finish(&g->list, &s.input, st);
    if (!rc) prune_criteria_notes(g->list.items, g->list.count);
    if (!rc && !j->facts.images) j->facts = facts;
    else if (*facts.differences) memcpy(j->facts.differences, facts.differences, sizeof facts.differences);
    return rc;
}

static enum prune_code fill_scores(struct job *j, struct prune_status *st)
{
    struct prune_correlation_table *t = &j->table;
    size_t column = 0;
    for (int k = 0; k < GROUPS; k++) {
        const struct group *g = &j->groups[k];
        for (size_t i = 0; i < g->list.count; i++, column++) {
            struct prune_correlation_column *c = &t->columns[column];
            const struct prune_scored *from = &g->list.items[i];
            c->name = prune_format("%s%s%s", from->criterion->name, g->place ? "@" : "", g->place ? g->place : "");
            if (!c->name) return prune_fail_memory(st, 64, "name of a column");
            c->is_signed = from->criterion->is_signed;
            for (size_t row = 0; row < t->row_count; row++) c->values[row] = from->scores[t->rows[row].unit];
        }
    }
    t->column_count = column;   /* "all" may have lost some */
    return PRUNE_OK;
}

/* A state is kept until the oracle is done: at the first piece of images, then every few seconds, and when it is stopped. */
struct oracle_watch { char *path, *key; double saved; };
static const double SAVE_SECONDS = 20;

static enum prune_code on_oracle(void *user, const struct prune_oracle *so_far, struct prune_status *st)
{
    struct oracle_watch *w = user;
    double now = prune_now();
    if (w->saved > 0 && now - w->saved < SAVE_SECONDS) return PRUNE_OK;
    w->saved = now;
    return prune_oracle_state_write(w->path, w->key, so_far, NULL, st);
}

/* The list of the oracle and what of it is read: a set that ends where the list ends is given a number, so that what is left is known. */
static enum prune_code count_images(struct job *j, char **list, struct prune_status *st)
{
    struct prune_image_set *set = &j->oracle_set;
    const char *key = set->role == PRUNE_DATA_TRAIN ? "train" : "valid";
    struct prune_lines lines = {0};
    enum prune_code rc = PRUNE_OK;
    *list = set->list ? strdup(set->list) : NULL;
    if (!set->list) rc = prune_data_value(set->data_path, key, list, st);
    if (!rc && !*list) rc = prune_fail(st, "data file '%s' has no %s= line", set->data_path, key);
    if (!rc) rc = prune_lines_read(&lines, *list, st);
    if (!rc && !set->limit && lines.count > set->first) set->limit = lines.count - set->first;
    prune_lines_free(&lines);
    return rc;
}

static enum prune_code watch_make(struct oracle_watch *w, struct job *j, const int *units, size_t count, struct prune_status *st)
{
    const struct prune_image_set *set = &j->oracle_set;
    char *list = NULL, hash[32];
    enum prune_code rc = count_images(j, &list, st);
    if (!rc) rc = prune_hash_file(list, hash, st);
    free(list);
    if (rc) return rc;
    w->path = prune_format("%s.state", j->out);
    w->key = prune_format("correlate cfg %s weights %s list %s first %zu images %zu drawn %d letterbox %d seed %llu batch %d units %zu xxh64:%016llx", j->project.origin.cfg_hash,
                          j->project.origin.weights_hash, hash, set->first, set->limit, (int)set->drawn, set->letterbox, (unsigned long long)j->open.seed, j->open.batch, count,
                          (unsigned long long)prune_hash_bytes(units, count * sizeof *units));
    return w->path && w->key ? PRUNE_OK : prune_fail_memory(st, 256, "state of the oracle");
}

/* Goes on where an earlier run was stopped. */
static enum prune_code feed_oracle(struct job *j, struct prune_oracle *o, const int *units, struct prune_status *st)
{
    struct prune_scoring s = j->scoring;
    struct oracle_watch w = {0};
    enum prune_code rc = watch_make(&w, j, units, o->count, st);
    if (!rc) rc = prune_oracle_state_read(w.path, w.key, o, NULL, st);
    if (!rc && o->images) fprintf(stderr, "oracle: continues '%s' after %zu images\n", w.path, o->images);
    s.set = j->oracle_set;
    if (!rc) {
        rc = prune_oracle_units(o, &s, units, o->count, on_oracle, &w, st);
        if (rc == PRUNE_INTERRUPTED && !prune_oracle_state_write(w.path, w.key, o, NULL, NULL))
            prune_fail(st, "interrupted after %zu images; '%s' holds what is done, and the same command continues", o->images, w.path), rc = PRUNE_INTERRUPTED;
        if (!rc) remove(w.path);
    }
    free(w.path);
    free(w.key);
    return rc;
}

static enum prune_code compute_oracle(struct job *j, struct prune_status *st)
{
    struct prune_correlation_table *t = &j->table;
    struct prune_oracle o;
    int *units = malloc((t->row_count + 1) * sizeof *units);
    enum prune_code rc = units ? prune_oracle_init(&o, t->row_count, st) : prune_fail_memory(st, t->row_count * sizeof *units, "units");
    if (rc) {
        free(units);
        return rc;
    }
    for (size_t i = 0; i < t->row_count; i++) units[i] = t->rows[i].unit;
    rc = feed_oracle(j, &o, units, st);
    for (size_t i = 0; !rc && i < t->row_count; i++) {
        j->oracle[units[i]] = prune_oracle_score(&o, i);
        j->without[units[i]] = o.loss[i] / (double)o.images;
    }
    if (!rc) {
        j->oracle_images = o.images;
        j->oracle_loss = o.base / (double)o.images;
    }
    prune_oracle_free(&o);
    free(units);
    return rc;
}

static enum prune_code measure(struct job *j, struct prune_status *st)
{
    struct prune_scoring *s = &j->scoring;
    bool images = !j->oracle_file;
    enum prune_code rc = PRUNE_OK;
    s->input.net = &j->project.net;
    s->input.units = &j->project.units;
    s->input.weights = &j->project.weights;
    for (int g = 0; !rc && g < GROUPS; g++) {
        if (j->groups[g].list.count) rc = prune_criteria_allowed(&j->groups[g].list, s->host, true, true, j->project.net.task, st);
        images |= j->groups[g].list.signals != 0;
    }
    if (!rc) rc = pick_units(j, st);
    if (!rc && images) rc = s->host->open(s->host->context, j->cfg, j->weights, &j->open, &s->host_net, st);
    for (int g = 0; !rc && g < GROUPS; g++) rc = score_group(j, &j->groups[g], st);
    if (!rc) prune_differences_note(j->facts.differences);
    if (!rc) rc = fill_scores(j, st);
    if (!rc && !j->oracle_file) rc = compute_oracle(j, st);
    if (s->host_net) s->host->close(s->host_net);
    for (size_t i = 0; !rc && i < j->table.row_count; i++) {
        j->table.oracle[i] = j->oracle[j->table.rows[i].unit];
        j->table.without[i] = j->without[j->table.rows[i].unit];
    }
    return rc;
}

/* ---- results ---- */

enum prune_code prune_correlate_path(const char *base, const char *ending, const char *const *inputs, size_t count, char **out, struct prune_status *st)
{
    char *path = prune_format("%s%s", base, ending);
    if (!path) return prune_fail_memory(st, strlen(base), "paths");
    enum prune_code rc = prune_check_output(path, inputs, count, st);
    if (rc) free(path);
    else *out = path;
    return rc;
}

enum output { CSV, JSON, BARS, SCATTER, OUTPUTS };
static const char *const ENDINGS[OUTPUTS] = {".csv", ".json", ".svg", "-scatter.svg"};

static enum prune_code write_results(const char *base, const struct prune_correlation_table *t, const struct prune_correlation_results *r, const struct prune_correlation_about *about,
                                     const char *const *inputs, size_t count, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (int k = 0; !rc && k < OUTPUTS; k++) {
        char *path = NULL;
        rc = prune_correlate_path(base, ENDINGS[k], inputs, count, &path, st);
        if (!rc && k == CSV) rc = prune_correlation_table_write(t, path, st);
        if (!rc && k == JSON) rc = prune_correlation_json(path, t, r, about, st);
        if (!rc && k == BARS) rc = prune_correlation_bars(path, t, r, st);
        if (!rc && k == SCATTER) rc = prune_correlation_scatter(path, t, r, st);
        free(path);
    }
    if (!rc) printf("saved %s.csv, %s.json, %s.svg and %s-scatter.svg\n", base, base, base, base);
    return rc;
}

static enum prune_code report(const char *base, const struct prune_correlation_table *t, size_t rounds, uint64_t seed, const struct prune_correlation_about *about,
                              const char *const *inputs, size_t count, struct prune_status *st)
{
    struct prune_correlation_results r;
    enum prune_code rc = prune_correlation_results_make(&r, t, rounds, seed, st);
    if (rc) return rc;
    rc = write_results(base, t, &r, about, inputs, count, st);
    if (!rc) prune_correlate_print(t, &r);
    prune_correlation_results_free(&r);
    return rc;
}

static void print_measured(const struct job *j)
{
    if (j->facts.images) printf("scored %zu images in %zu minibatches, loss %.6g\n", j->facts.images, j->facts.minibatches, j->facts.loss);
    if (j->oracle_images) printf("oracle on %zu images, loss %.6g\n", j->oracle_images, j->oracle_loss);
}

static void job_free(struct job *j)
{
    for (int g = 0; g < GROUPS; g++) {
        prune_scored_free(j->groups[g].list.items, j->groups[g].list.count);
        free(j->groups[g].names);
    }
    free(j->picked);
    free(j->oracle);
    free(j->without);
    prune_correlation_table_free(&j->table);
    prune_project_close(&j->project);
}

static enum prune_code correlate(const struct prune_args *a, const struct prune_host *host, const char *out, size_t rounds, struct prune_status *st)
{
    struct job j = {.scoring.host = host, .out = out};
    enum prune_code rc = read_options(&j, a, st);
    const char *inputs[] = {j.data, j.cfg, j.weights, j.oracle_file, j.scoring.set.list, j.oracle_set.list};
    char *csv = NULL;
    if (!rc) rc = prune_correlate_path(out, ENDINGS[CSV], inputs, sizeof inputs / sizeof *inputs, &csv, st);
    if (!rc) rc = prune_project_open(&j.project, j.cfg, j.weights, prune_args_string(a, "protect", NULL), st);
    if (!rc) rc = measure(&j, st);
    const struct prune_correlation_about about = {
        .origin = &j.project.origin, .gate = j.gate,
        .scored = {j.facts.images ? &j.scoring.set : NULL, j.facts.images, j.facts.loss, NULL},
        .oracle = {j.oracle_file ? NULL : &j.oracle_set, j.oracle_images, j.oracle_loss, j.oracle_file}};
    if (!rc) print_measured(&j);
    if (!rc) rc = report(out, &j.table, rounds, j.open.seed, &about, inputs, sizeof inputs / sizeof *inputs, st);
    free(csv);
    job_free(&j);
    return rc;
}

static enum prune_code replot(const char *file, const struct prune_args *a, const char *out, size_t rounds, struct prune_status *st)
{
    struct prune_correlation_table t = {0};
    long seed;
    enum prune_code rc = prune_args_int(a, "seed", 0, LONG_MAX, 1, &seed, st);
    if (!rc) rc = prune_correlation_table_read(&t, file, st);
    if (!rc && t.row_count < 2) rc = prune_fail(st, "'%s' has %zu unit; a correlation needs 2 at least", file, t.row_count);
    const struct prune_correlation_about about = {.scored.file = file, .oracle.file = file};
    if (!rc) rc = report(out, &t, rounds, (uint64_t)seed, &about, &file, 1, st);
    prune_correlation_table_free(&t);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"out", true}, {"criteria", true}, {"oracle", true}, {"oracle-role", true}, {"oracle-list", true},
                                              {"oracle-images", true}, {"units", true}, {"protect", true}, {"rounds", true}, {"replot", true}, {"ranks", false},
                                              PRUNE_SCORING_FLAGS, PRUNE_IMAGE_FLAGS, PRUNE_HOST_FLAGS, {0}};
    struct prune_args a;
    long rounds = 1000;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 0, 4, st);
    if (!rc) rc = prune_args_int(&a, "rounds", 0, 1000000, 1000, &rounds, st);
    if (rc) return rc;
    const char *out = prune_args_string(&a, "out", NULL), *csv = prune_args_string(&a, "replot", NULL);
    bool ranks = prune_args_has(&a, "ranks");
    if (!out) return prune_fail_usage(st, "no output is given; add -out BASE");
    if (csv && ranks) return prune_fail_usage(st, "both '-replot' and '-ranks' are given; each is a job of its own");
    if (csv && a.count) return prune_fail_usage(st, "unexpected argument '%s': -replot needs its CSV alone", a.positional[0]);
    if (csv) return replot(csv, &a, out, (size_t)rounds, st);
    if (ranks && a.count != 2 && a.count != 4) return prune_fail_usage(st, "-ranks needs <cfg> <scores.json>, or two such pairs; %d arguments are given", a.count);
    if (ranks) return prune_correlate_ranks(&a, out, st);
    if (a.count != 3) return prune_fail_usage(st, "%d argument%s given, 3 needed: <data> <cfg> <weights>", a.count, a.count == 1 ? "" : "s");
    return correlate(&a, host, out, (size_t)rounds, st);
}

const struct prune_command prune_command_correlate = {"correlate", "how well scores predict what removal really costs", USAGE, run};
