/* `darknet prune score`: one number per unit from one or several criteria, in one pass over the images.
 * In: data file, cfg, weights (weight-only criteria: cfg and weights). Out: a score file per criterion, or one CSV, or both. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/progress.h"
#include "../score/criteria.h"
#include "common.h"
#include "data_file.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune score <data> <cfg> <weights> [-criterion C[,C...]] (-out FILE | -csv FILE)\n"
    "                           [-flag value ...]\n"
    "       darknet prune score <cfg> <weights> -criterion C ...        criteria that need no images\n"
    "\n"
    "Scores every unit (channels that live or die together): the lower, the less it matters. Images are\n"
    "read in list order and not augmented, batch-norm uses its rolling statistics, nothing is trained.\n"
    "Several criteria share one pass.\n"
    "\n"
    "  -criterion C[,C]  'darknet prune criteria' lists them (default: taylor-fo)\n"
    "  -norm 1|2         magnitude: L1 or L2 norm of a filter (default: 2)\n"
    "  -minibatch B      images per minibatch; taylor-fo averages gradients inside one\n"
    "                    (default: the cfg's batch / subdivisions)\n"
    PRUNE_IMAGE_HELP("training")
    "  -protect L        layers whose units are marked protected: \"0\", \"0,81-83\" (default: none)\n"
    PRUNE_HOST_HELP
    "  -out FILE         score file (JSON) for 'select' and 'apply'; several criteria: FILE with\n"
    "                    -<criterion> before its ending\n"
    "  -csv FILE         one row per producing channel: layer,channel,unit,protected and a column per\n"
    "                    criterion\n"
    "\n"
    "examples:\n"
    "  darknet prune score data.data net.cfg net.weights -images 1000 -minibatch 128 -out scores.json\n"
    "  darknet prune score net.cfg net.weights -criterion magnitude,bn-scale -csv scores.csv\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

enum { MAX_CRITERIA = 16 };

struct scored { const struct prune_criterion *criterion; void *state; double *scores; };

struct job {
    const struct prune_host *host;
    const char *data, *cfg, *weights, *out, *csv;
    char *names;                                  /* the -criterion list, cut into words */
    struct scored items[MAX_CRITERIA];
    size_t count;
    unsigned signals;                             /* of all criteria */
    struct prune_project project;
    struct prune_score_input input;
    struct prune_image_set set;
    struct prune_open_options open;
    long minibatch;                               /* 0 = the network's batch */
    size_t images, minibatches;
    double loss;                                  /* sum over images, of the pass */
    struct prune_progress progress;
};

static enum prune_code add_criterion(struct job *j, const char *name, struct prune_status *st)
{
    const struct prune_criterion *c;
    enum prune_code rc = prune_args_criterion(name, &c, st);
    if (rc) return rc;
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].criterion == c) return prune_fail_usage(st, "flag '-criterion': '%s' is listed twice", name);
    if (j->count == MAX_CRITERIA) return prune_fail_usage(st, "flag '-criterion': more than %d criteria", MAX_CRITERIA);
    j->items[j->count++].criterion = c;
    j->signals |= c->signals;
    return PRUNE_OK;
}

static enum prune_code read_criteria(struct job *j, const char *list, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    j->names = strdup(list);
    if (!j->names) return prune_fail_memory(st, strlen(list), "criteria");
    for (char *name = j->names, *next; !rc && name; name = next) {
        next = strchr(name, ',');
        if (next) *next++ = 0;
        rc = add_criterion(j, name, st);
    }
    return rc;
}

/* Positionals are known by their number: <data> <cfg> <weights>, <cfg> <weights>, or <cfg>. */
static enum prune_code read_files(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    bool needs_weights = j->signals != 0;
    for (size_t i = 0; i < j->count; i++) needs_weights |= j->items[i].criterion->needs_weights;
    if (a->count == 3) j->data = a->positional[0];
    j->cfg = a->positional[a->count == 3];
    j->weights = a->count > 1 ? a->positional[a->count - 1] : NULL;
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].criterion->signals && !j->data)
            return prune_fail_usage(st, "criterion '%s' needs images: give <data> <cfg> <weights>", j->items[i].criterion->name);
    if (needs_weights && !j->weights) return prune_fail_usage(st, "no weights file is given: <cfg> <weights>");
    return PRUNE_OK;
}

/* Before a long pass: can the result be written, and is it not an input? */
static enum prune_code check_output(const struct job *j, const char *path, struct prune_status *st)
{
    const char *inputs[] = {j->data, j->cfg, j->weights, j->set.list};
    struct prune_writer *w;
    enum prune_code rc = prune_check_output(path, inputs, sizeof inputs / sizeof *inputs, st);
    if (rc) return rc;
    rc = prune_writer_open(&w, path, st);
    if (!rc) prune_writer_abort(w);
    return rc;
}

static enum prune_code read_options(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    long norm = 2;
    j->out = prune_args_string(a, "out", NULL);
    j->csv = prune_args_string(a, "csv", NULL);
    if (!j->out && !j->csv) return prune_fail_usage(st, "no output is given; add -out scores.json or -csv scores.csv");
    enum prune_code rc = read_criteria(j, prune_args_string(a, "criterion", "taylor-fo"), st);
    if (!rc) rc = read_files(j, a, st);
    if (!rc) rc = prune_args_int(a, "norm", 1, 2, 2, &norm, st);
    if (!rc) rc = prune_args_int(a, "minibatch", 1, INT_MAX, 0, &j->minibatch, st);
    if (!rc) rc = prune_args_images(a, j->data, PRUNE_DATA_TRAIN, &j->set, st);
    if (!rc) rc = prune_args_host(a, &j->open, st);
    if (!rc && j->out) rc = check_output(j, j->out, st);
    if (!rc && j->csv) rc = check_output(j, j->csv, st);
    j->input = (struct prune_score_input){.seed = j->open.seed, .norm = (int)norm};
    j->open.batch = (int)j->minibatch;
    return rc;
}

static enum prune_code prepare(struct job *j, struct prune_status *st)
{
    size_t n = j->project.units.count ? j->project.units.count : 1;
    j->input.net = &j->project.net;
    j->input.units = &j->project.units;
    j->input.weights = j->project.has_weights ? &j->project.weights : NULL;
    for (size_t i = 0; i < j->count; i++) {
        struct scored *s = &j->items[i];
        size_t bytes = s->criterion->state_size(&j->input);
        s->state = calloc(1, bytes ? bytes : 1);
        s->scores = calloc(n, sizeof *s->scores);
        if (!s->state || !s->scores) return prune_fail_memory(st, bytes + n * sizeof *s->scores, "scores");
        s->criterion->init(s->state, &j->input);
    }
    return PRUNE_OK;
}

static enum prune_code on_minibatch(void *user, const struct prune_signals *signals, struct prune_status *st)
{
    struct job *j = user;
    if (!isfinite(signals->loss))
        return prune_fail(st, "loss of minibatch %llu is not finite; check the weights and the labels of its images", (unsigned long long)signals->minibatch);
    for (size_t i = 0; i < j->count; i++) j->items[i].criterion->accumulate(j->items[i].state, &j->input, signals);
    j->images += signals->images;
    j->minibatches++;
    j->loss += signals->loss * (double)signals->images;
    prune_progress_update(&j->progress, j->images, "loss %.4f", j->loss / (double)j->images);
    if (!j->host->interrupted || !j->host->interrupted(j->host->context)) return PRUNE_OK;
    prune_fail(st, "interrupted after %zu images; nothing is written", j->images);
    return PRUNE_INTERRUPTED;
}

/* How many images the pass will read, for the progress line; 0 = unknown. Errors are left to the host, which words them with file and line. */
static size_t expected_images(const struct job *j)
{
    char *path = NULL;
    struct prune_lines lines = {0};
    size_t n = 0;
    if (!j->set.list && prune_data_value(j->data, "train", &path, NULL)) return 0;
    const char *list = j->set.list ? j->set.list : path;
    if (list && !prune_lines_read(&lines, list, NULL)) n = lines.count;
    prune_lines_free(&lines);
    free(path);
    return j->set.limit && (j->set.limit < n || !n) ? j->set.limit : n;
}

static enum prune_code score_images(struct job *j, struct prune_status *st)
{
    struct prune_host_net *net = NULL;
    struct prune_net_facts facts;
    const struct prune_units *units = &j->project.units;
    enum prune_code rc = prune_host_check(j->host, j->signals, st);
    if (!rc) rc = j->host->open(j->host->context, j->cfg, j->weights, &j->open, &net, st);
    if (rc) return rc;
    j->host->facts(net, &facts);
    const struct prune_score_options options = {.minibatch = j->minibatch ? (size_t)j->minibatch : (size_t)facts.batch, .signals = j->signals};
    rc = j->host->gates_attach(net, units->sites, units->site_count, units->count, st);
    prune_progress_start(&j->progress, stderr, "score", expected_images(j));
    if (!rc) rc = j->host->score(net, &j->set, &options, on_minibatch, j, st);
    prune_progress_end(&j->progress);
    j->host->close(net);
    return rc;
}

/* scores.json -> scores-taylor-fo.json; malloc'd. */
static char *name_with(const char *path, const char *criterion)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!dot || (slash && dot < slash)) dot = path + strlen(path);
    return prune_format("%.*s-%s%s", (int)(dot - path), path, criterion, dot);
}

static enum prune_code write_score_file(const struct job *j, const struct scored *s, struct prune_status *st)
{
    struct prune_score_file about = {.criterion = s->criterion->name, .loss = NAN, .seed = j->open.seed};
    if (s->criterion->signals) about = (struct prune_score_file){s->criterion->name, j->images, j->minibatches, j->loss / (double)j->images, j->open.seed};
    char *path = j->count > 1 ? name_with(j->out, s->criterion->name) : strdup(j->out);
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
    for (size_t i = 0; i < j->count; i++) done = done && fprintf(f, ",%s", j->items[i].criterion->name) > 0;
    done = done && fputc('\n', f) >= 0;
    for (size_t u = 0; u < units->count; u++) {
        for (size_t m = 0; m < units->items[u].member_count; m++) {
            const struct prune_channel *c = &units->members[units->items[u].first_member + m];
            done = done && fprintf(f, "%d,%d,%zu,%d", c->layer, c->channel, u, units->items[u].protected_because != NULL) > 0;
            for (size_t i = 0; i < j->count; i++) done = done && fprintf(f, ",%.9g", j->items[i].scores[u]) > 0;
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
static void print_ends(const struct job *j, const struct scored *s)
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
    if (s->criterion->signals) printf("; %zu images in %zu minibatches, loss %.6g", j->images, j->minibatches, j->loss / (double)j->images);
    putchar('\n');
    if (!removable) return;
    const struct prune_channel *a = &units->members[units->items[low].first_member], *b = &units->members[units->items[high].first_member];
    printf("  lowest %.4g at layer %d channel %d, highest %.4g at layer %d channel %d\n", s->scores[low], a->layer, a->channel, s->scores[high], b->layer, b->channel);
}

static enum prune_code finish(struct job *j, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < j->count; i++) rc = j->items[i].criterion->finish(j->items[i].state, &j->input, j->items[i].scores, st);
    if (rc) return rc;
    for (size_t i = 0; i < j->count; i++) print_ends(j, &j->items[i]);
    for (size_t i = 0; !rc && j->out && i < j->count; i++) rc = write_score_file(j, &j->items[i], st);
    if (!rc && j->csv) rc = write_csv(j, st);
    return rc;
}

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        free(j->items[i].state);
        free(j->items[i].scores);
    }
    free(j->names);
    prune_project_close(&j->project);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"criterion", true}, {"norm", true}, {"minibatch", true}, {"protect", true}, {"out", true}, {"csv", true},
                                              PRUNE_IMAGE_FLAGS, PRUNE_HOST_FLAGS, {0}};
    struct job j = {.host = host};
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 1, 3, st);
    if (!rc) rc = read_options(&j, &a, st);
    if (!rc) rc = prune_project_open(&j.project, j.cfg, j.weights, prune_args_string(&a, "protect", NULL), st);
    if (!rc) rc = prepare(&j, st);
    if (!rc && j.signals) rc = score_images(&j, st);
    if (!rc) rc = finish(&j, st);
    job_free(&j);
    return rc;
}

const struct prune_command prune_command_score = {"score", "one number per unit: how much it matters", USAGE, run};
