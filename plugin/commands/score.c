/* `darknet prune score`: one number per unit from one or several criteria, in as few passes over the images as they allow.
 * In: data file, cfg, weights (weight-only criteria: cfg and weights). Out: a score file per criterion, or one CSV, or both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "at_init.h"
#include "score_resume.h"
#include "scoring_flags.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune score <data> <cfg> <weights> [-criterion C[,C...]] [-out FILE] [-csv FILE]\n"
    "                           [-flag value ...]\n"
    "       darknet prune score <cfg> <weights> -criterion C ...        criteria that need no images\n"
    "       darknet prune score <data> <cfg> -at-init -init-weights FILE ...       before training\n"
    "\n"
    "Scores every unit (channels that live or die together): the lower, the less it matters. Images are\n"
    "read in list order and not augmented, batch-norm uses its rolling statistics, nothing is trained.\n"
    "Several criteria share passes where they can.\n"
    "\n"
    "  -criterion C[,C]  'darknet prune criteria' lists them; all: every one that this network and these\n"
    "                    inputs allow (default: taylor-fo)\n"
    PRUNE_SCORING_HELP
    PRUNE_IMAGE_HELP("training")
    "  -protect L        layers whose units are marked protected: \"0\", \"0,81-83\" (default: none)\n"
    PRUNE_HOST_HELP
    "  -out FILE         score file (JSON) for 'select' and 'apply'; several criteria: FILE with\n"
    "                    -<criterion> before its ending\n"
    "  -csv FILE         one row per producing channel: layer,channel,unit,protected and a column per\n"
    "                    criterion\n"
    PRUNE_AT_INIT_HELP
    PRUNE_RESUME_HELP
    "  -smooth FILE      scores become m S_old + (1 - m) S, S_old from the score file FILE of the same\n"
    "                    cfg and criterion; several criteria: FILE with -<criterion> before its ending\n"
    "  -momentum-score M m of -smooth (default: 0.9)\n"
    "\n"
    "examples:\n"
    "  darknet prune score data.data net.cfg net.weights -images 1000 -minibatch 128 -out scores.json\n"
    "  darknet prune score net.cfg net.weights -criterion magnitude,bn-scale -csv scores.csv\n"
    "  darknet prune score data.data net.cfg net.weights -criterion all -images 200 -csv scores.csv\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

struct job {
    const char *data, *cfg, *weights, *out, *csv, *smooth;
    double keep;                       /* m of -smooth */
    struct prune_momentum momentum[PRUNE_MAX_CRITERIA];
    struct prune_at_init init;
    struct prune_resume resume;
    struct prune_criteria_list list;
    struct prune_project project;
    struct prune_open_options open;
    struct prune_scoring scoring;
    struct prune_scoring_facts facts;
};

/* Positionals are known by their number: <data> <cfg> <weights>, <cfg> <weights>, or <cfg>; <data> <cfg> where the weights are made. */
static void read_files(struct job *j, const struct prune_args *a)
{
    bool data = a->count == 3 || j->init.path;
    if (data) j->data = a->positional[0];
    j->cfg = a->positional[data];
    j->weights = j->init.path ? j->init.path : a->count > 1 ? a->positional[a->count - 1] : NULL;
}

/* Before a long pass: can the result be written, and is it not an input? */
static enum prune_code check_output(const struct job *j, const char *path, struct prune_status *st)
{
    const char *inputs[] = {j->data, j->cfg, j->weights, j->scoring.set.list};
    const char *outputs[] = {j->out, j->csv, j->resume.to, j->init.path};
    struct prune_writer *w;
    enum prune_code rc = prune_check_output(path, inputs, sizeof inputs / sizeof *inputs, st);
    for (size_t i = 0; !rc && i < sizeof outputs / sizeof *outputs; i++)
        if (outputs[i] && outputs[i] != path && strcmp(outputs[i], path) == 0) rc = prune_fail_usage(st, "'%s' is named for two outputs", path);
    if (rc) return rc;
    rc = prune_writer_open(&w, path, st);
    if (!rc) prune_writer_abort(w);
    return rc;
}

static enum prune_code read_options(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    j->out = prune_args_string(a, "out", NULL);
    j->csv = prune_args_string(a, "csv", NULL);
    j->smooth = prune_args_string(a, "smooth", NULL);
    enum prune_code rc = prune_at_init_read(a, &j->init, st);
    if (rc) return rc;
    read_files(j, a);
    rc = prune_resume_open(&j->resume, a, st);
    if (!rc && j->init.path && j->resume.from) rc = prune_fail_usage(st, "'-resume' goes on with weights that are there; give '%s' as <weights> without '-at-init'", j->init.path);
    if (!rc && !j->out && !j->csv && !j->resume.to) rc = prune_fail_usage(st, "no output is given; add -out scores.json or -csv scores.csv");
    if (!rc && prune_args_has(a, "momentum-score") && !j->smooth) rc = prune_fail_usage(st, "'-momentum-score' needs '-smooth FILE', the scores to smooth with");
    if (!rc) rc = prune_args_double(a, "momentum-score", 0, 0.999999, 0.9, &j->keep, st);
    if (!rc) rc = prune_criteria_read(&j->list, "criterion", prune_args_string(a, "criterion", j->resume.criteria ? j->resume.criteria : "taylor-fo"), st);
    if (!rc && !j->list.all) rc = prune_criteria_allowed(&j->list, j->scoring.host, j->data, j->weights, PRUNE_TASK_OTHER, st);
    if (!rc && j->resume.to && !j->list.signals) rc = prune_fail_usage(st, "'-state' and '-resume' keep sums over images, and none of these criteria takes images");
    if (!rc) rc = prune_args_scoring(a, j->data, &j->scoring, &j->open, st);
    if (!rc) rc = prune_resume_settings(&j->resume, a, &j->scoring, &j->open, st);
    if (!rc && j->out) rc = check_output(j, j->out, st);
    if (!rc && j->csv) rc = check_output(j, j->csv, st);
    if (!rc && j->resume.to) rc = check_output(j, j->resume.to, st);
    return rc;
}

static enum prune_code score(struct job *j, struct prune_status *st)
{
    struct prune_scoring *s = &j->scoring;
    s->input.net = &j->project.net;
    s->input.units = &j->project.units;
    s->input.weights = j->project.has_weights ? &j->project.weights : NULL;
    enum prune_code rc = prune_criteria_allowed(&j->list, s->host, j->data, j->weights, j->project.net.task, st);
    if (!rc) rc = prune_criteria_init(&j->list, &s->input, st);
    if (!rc) rc = prune_resume_load(&j->resume, &j->project.origin, s, j->list.items, j->list.count, &j->facts, st);
    if (rc || !j->list.signals) return rc;
    rc = s->host->open(s->host->context, j->cfg, j->weights, &j->open, &s->host_net, st);
    if (rc) return rc;
    rc = prune_resume_feed(&j->resume, s, j->list.items, j->list.count, &j->facts, st);
    s->host->close(s->host_net);
    return rc;
}

/* scores.json -> scores-taylor-fo.json; malloc'd. */
static char *name_with(const char *path, const char *criterion)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!dot || (slash && dot < slash)) dot = path + strlen(path);
    return prune_format("%.*s-%s%s", (int)(dot - path), path, criterion, dot);
}

/* Scores of one criterion smoothed with those of an earlier file. */
static enum prune_code smooth_with(const struct job *j, const char *path, struct prune_scored *s, struct prune_momentum *momentum, struct prune_status *st)
{
    size_t units = j->project.units.count;
    char *criterion = NULL;
    double *old = calloc(units + 1, sizeof *old);
    enum prune_code rc = old ? PRUNE_OK : prune_fail_memory(st, units * sizeof *old, "scores");
    if (!rc) rc = prune_scores_read(path, &j->project.units, &j->project.origin, old, st);
    if (!rc) rc = prune_scores_about(path, &criterion, momentum, st);
    if (!rc && strcmp(criterion, s->criterion->name) != 0)
        rc = prune_fail(st, "scores in '%s' are of criterion '%s'; give -smooth a file of '%s'", path, criterion, s->criterion->name);
    for (size_t u = 0; !rc && u < units; u++) s->scores[u] = j->keep * old[u] + (1 - j->keep) * s->scores[u];
    *momentum = (struct prune_momentum){j->keep, (momentum->iterations ? momentum->iterations : 1) + 1};
    free(criterion);
    free(old);
    return rc;
}

static enum prune_code smooth(struct job *j, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < j->list.count; i++) {
        char *path = j->list.count > 1 ? name_with(j->smooth, j->list.items[i].criterion->name) : strdup(j->smooth);
        rc = path ? smooth_with(j, path, &j->list.items[i], &j->momentum[i], st) : prune_fail_memory(st, strlen(j->smooth), "paths");
        free(path);
    }
    return rc;
}

static enum prune_code write_score_file(const struct job *j, size_t item, struct prune_status *st)
{
    const struct prune_scored *s = &j->list.items[item];
    struct prune_score_file about = {.criterion = s->criterion->name, .loss = NAN, .seed = j->open.seed, .momentum = j->momentum[item]};
    if (s->criterion->signals) about.images = j->facts.images, about.minibatches = j->facts.minibatches, about.loss = j->facts.loss;
    char *path = j->list.count > 1 ? name_with(j->out, s->criterion->name) : strdup(j->out);
    if (!path) return prune_fail_memory(st, strlen(j->out), "paths");
    enum prune_code rc = prune_scores_write(path, &j->project.units, s->scores, &about, &j->project.origin, st);
    if (!rc) printf("saved %s scores to %s\n", s->criterion->name, path);
    free(path);
    return rc;
}

static enum prune_code write_csv(const struct job *j, struct prune_status *st)
{
    const struct prune_units *units = &j->project.units;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return prune_fail_memory(st, 0, "CSV");
    bool done = fputs("layer,channel,unit,protected", f) >= 0;   /* a stream in memory that could not grow does not set its error flag */
    for (size_t i = 0; i < j->list.count; i++) done = done && fprintf(f, ",%s", j->list.items[i].criterion->name) > 0;
    done = done && fputc('\n', f) >= 0;
    for (size_t u = 0; u < units->count; u++) {
        for (size_t m = 0; m < units->items[u].member_count; m++) {
            const struct prune_channel *c = &units->members[units->items[u].first_member + m];
            done = done && fprintf(f, "%d,%d,%zu,%d", c->layer, c->channel, u, units->items[u].protected_because != NULL) > 0;
            for (size_t i = 0; i < j->list.count; i++) done = done && fprintf(f, ",%.9g", j->list.items[i].scores[u]) > 0;
            done = done && fputc('\n', f) >= 0;
        }
    }
    if (fclose(f) || !text || !size) done = false;
    enum prune_code rc = !done ? prune_fail_memory(st, size, "CSV") : prune_write_file(j->csv, text, size, st);
    free(text);
    if (!rc) printf("saved the table of scores to %s\n", j->csv);
    return rc;
}

/* The two ends of the ranking among units that may be removed. */
static void print_ends(const struct job *j, const struct prune_scored *s)
{
    const struct prune_units *units = &j->project.units;
    size_t low = SIZE_MAX, high = SIZE_MAX, removable = 0;
    for (size_t u = 0; u < units->count; u++) {
        if (units->items[u].protected_because) continue;
        removable++;
        if (low == SIZE_MAX || s->scores[u] < s->scores[low]) low = u;
        if (high == SIZE_MAX || s->scores[u] > s->scores[high]) high = u;
    }
    printf("%s: %zu units, %zu of them removable", s->criterion->name, units->count, removable);
    if (s->criterion->signals) printf("; %zu images in %zu minibatches, loss %.6g", j->facts.images, j->facts.minibatches, j->facts.loss);
    putchar('\n');
    if (!removable) return;
    const struct prune_channel *a = &units->members[units->items[low].first_member], *b = &units->members[units->items[high].first_member];
    printf("  lowest %.4g at layer %d channel %d, highest %.4g at layer %d channel %d\n", s->scores[low], a->layer, a->channel, s->scores[high], b->layer, b->channel);
}

static enum prune_code finish(struct job *j, struct prune_status *st)
{
    enum prune_code rc = prune_criteria_finish(&j->list, &j->scoring.input, st);
    if (!rc) prune_criteria_notes(j->list.items, j->list.count);
    if (!rc) prune_differences_note(j->facts.differences);
    if (!rc && j->smooth) rc = smooth(j, st);
    if (rc) return rc;
    for (size_t i = 0; i < j->list.count; i++) print_ends(j, &j->list.items[i]);
    for (size_t i = 0; !rc && j->out && i < j->list.count; i++) rc = write_score_file(j, i, st);
    if (!rc && j->csv) rc = write_csv(j, st);
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"criterion", true}, {"protect", true}, {"out", true}, {"csv", true}, {"smooth", true}, {"momentum-score", true},
                                              PRUNE_AT_INIT_FLAGS, PRUNE_RESUME_FLAGS, PRUNE_SCORING_FLAGS, PRUNE_IMAGE_FLAGS, PRUNE_HOST_FLAGS, {0}};
    struct job j = {.scoring.host = host};
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 1, 3, st);
    if (!rc) rc = read_options(&j, &a, st);
    if (!rc && j.init.path) rc = prune_at_init_make(&j.init, host, j.data, j.cfg, &j.open, st);
    if (!rc) rc = prune_project_open(&j.project, j.cfg, j.weights, prune_args_string(&a, "protect", NULL), st);
    if (!rc) rc = score(&j, st);
    if (!rc) rc = finish(&j, st);
    if (rc == PRUNE_INTERRUPTED && !j.resume.to) prune_explain(st, "nothing is written: ");
    prune_resume_close(&j.resume);
    prune_scored_free(j.list.items, j.list.count);
    prune_project_close(&j.project);
    return rc;
}

const struct prune_command prune_command_score = {"score", "one number per unit: how much it matters", USAGE, run};
