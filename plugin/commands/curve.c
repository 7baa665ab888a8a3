/* `darknet prune curve`: loss and accuracy while units leave one by one in the order of each criterion, without fine-tuning. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file_io.h"
#include "../base/progress.h"
#include "../run/curve_file.h"
#include "scoring_flags.h"
#include "verbs.h"

static const char USAGE[] =
    "usage: darknet prune curve <data> <cfg> <weights> -criteria C[,C...] -out BASE [-flag value ...]\n"
    "\n"
    "Removes units one by one, lowest score first, without training, and measures the network after each\n"
    "step. Writes BASE.csv (a row per criterion, seed and step), BASE.json and BASE.svg. The same command\n"
    "goes on where an earlier one was stopped.\n"
    "\n"
    "  -criteria C[,C]   'darknet prune criteria' lists them; and oracle (the squared change of the loss\n"
    "                    when a unit goes, a forward pass each), oracle-loss (the change itself)\n"
    "  -out BASE         files to write; BASE.json is also what a stopped command goes on from\n"
    "  -recompute R      1: scores anew after each step, 0: those of the whole network, both: two curves\n"
    "                    (default: 1; criteria that need no images have one order)\n"
    "  -step N           units per step (default: 1)\n"
    "  -step-fraction F  the same as a fraction of the units that may go, for example 0.02\n"
    "  -until-loss X     stop at the first loss of X or more on the scored images\n"
    "  -loss-at X[,X]    tell how many units are gone when the loss first reaches X (default: 1)\n"
    "  -seeds N[,N]      a curve for each: of drawn images, 'random', random probes (default: 1)\n"
    "\n"
    "the scored images, of which loss and scores are:\n"
    PRUNE_IMAGE_HELP("training")
    PRUNE_SET_HELP
    "  -minibatch B      images per minibatch (default: the cfg's batch / subdivisions)\n"
    "  -norm 1|2         magnitude: L1 or L2 norm of a filter (default: 2)\n"
    "  -rivals N         taylor-logits: rivals of the true class (default: the criterion's own)\n"
    "  -probes N|exact   vectors of the second-order criteria (default: the criterion's own)\n"
    PRUNE_KFAC_HELP
    "\n"
    "the evaluation images, of which accuracy (detectors: mAP@0.5) and a second loss are:\n"
    "  -eval-images N    so many of the list; 0: all (default: no evaluation)\n"
    "  -eval-first N     images of the list to skip (default: 0)\n"
    "  -eval-role R      train or valid (default: valid)\n"
    "  -eval-every K     evaluate every K-th step, the first and the last (default: 1)\n"
    "  -recalibrate N    measure once more with batch-norm statistics of N images drawn as in training\n"
    "\n"
    "what may go (a target, if any, ends the curve):\n"
    PRUNE_SELECT_HELP
    PRUNE_SPANNING_HELP
    "  -threads N        worker threads (default: all cores)\n"
    "\n"
    "examples:\n"
    "  darknet prune curve cifar.data lenet3.cfg lenet3.weights -criteria taylor-fo,magnitude,oracle \\\n"
    "      -images 1000 -until-loss 1 -out lenet3-curve\n"
    "  darknet prune curve cifar.data resnet56.cfg resnet56.weights -criteria taylor-fo -images 1000 \\\n"
    "      -step-fraction 0.02 -no-spanning 1 -macs 0.4 -eval-images 5000 -recalibrate 2560 -out r56\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted, 2 wrong usage\n";

enum { MAX_CRITERIA = 24, MAX_SEEDS = 64, MAX_LOSSES = 8 };
static const double SAVE_SECONDS = 5;    /* between two writes in the middle */

struct job {
    const struct prune_host *host;
    const char *out;
    struct prune_curve_ranking rankings[MAX_CRITERIA]; size_t ranking_count;
    uint64_t seeds[MAX_SEEDS]; size_t seed_count;
    double losses[MAX_LOSSES]; size_t loss_count;
    bool fixed, recomputed;              /* which curves */
    bool no_spanning;
    const char *protect;
    double step_fraction;                /* 0: -step */
    struct prune_project project;
    struct prune_curve_setup setup;
    struct prune_curves set;
    size_t asked;                        /* curves of this command: the first ones of the set */
    char *json, *csv, *svg;
    struct prune_progress progress;
    size_t rows_each, rows_known;        /* for the time left: at most so many rows of a curve; rows that took no time (SIZE_MAX: not yet known) */
    double saved;
};

/* "a,b,c": calls take for each word. */
static enum prune_code each_word(const char *list, enum prune_code (*take)(struct job *j, const char *word, struct prune_status *st), struct job *j, struct prune_status *st)
{
    char *words = strdup(list);
    enum prune_code rc = words ? PRUNE_OK : prune_fail_memory(st, strlen(list), "a list");
    for (char *word = words, *next; !rc && word; word = next) {
        next = strchr(word, ',');
        if (next) *next++ = 0;
        rc = take(j, word, st);
    }
    free(words);
    return rc;
}

static enum prune_code take_criterion(struct job *j, const char *word, struct prune_status *st)
{
    const struct prune_criterion *unknown;
    struct prune_curve_ranking r;
    if (!prune_curve_ranking(word, &r)) return prune_args_criterion(word, &unknown, st);
    for (size_t i = 0; i < j->ranking_count; i++)
        if (strcmp(j->rankings[i].name, r.name) == 0) return prune_fail_usage(st, "flag '-criteria': '%s' is listed twice", word);
    if (j->ranking_count == MAX_CRITERIA) return prune_fail_usage(st, "flag '-criteria': more than %d criteria", MAX_CRITERIA);
    j->rankings[j->ranking_count++] = r;
    return prune_host_check(j->host, prune_curve_capabilities(&r), st);
}

static enum prune_code take_seed(struct job *j, const char *word, struct prune_status *st)
{
    char *end;
    unsigned long long seed = strtoull(word, &end, 10);
    if (*word < '0' || *word > '9' || *end || seed > (1ull << 53)) return prune_fail_usage(st, "flag '-seeds': '%s' is no list of whole numbers; write it as 1,2,3", word);
    for (size_t i = 0; i < j->seed_count; i++)
        if (j->seeds[i] == seed) return prune_fail_usage(st, "flag '-seeds': %s is listed twice", word);
    if (j->seed_count == MAX_SEEDS) return prune_fail_usage(st, "flag '-seeds': more than %d seeds", MAX_SEEDS);
    j->seeds[j->seed_count++] = seed;
    return PRUNE_OK;
}

static enum prune_code take_loss(struct job *j, const char *word, struct prune_status *st)
{
    char *end;
    double loss = strtod(word, &end);
    if (end == word || *end || !isfinite(loss)) return prune_fail_usage(st, "flag '-loss-at': '%s' is no list of numbers; write it as 0.5,1", word);
    if (j->loss_count == MAX_LOSSES) return prune_fail_usage(st, "flag '-loss-at': more than %d losses", MAX_LOSSES);
    j->losses[j->loss_count++] = loss;
    return PRUNE_OK;
}

static enum prune_code read_lists(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    const char *criteria = prune_args_string(a, "criteria", NULL), *recompute = prune_args_string(a, "recompute", "1");
    if (!criteria) return prune_fail_usage(st, "flag '-criteria C[,C...]' is missing, for example -criteria taylor-fo,magnitude");
    bool both = strcmp(recompute, "both") == 0;
    j->recomputed = both || strcmp(recompute, "1") == 0;
    j->fixed = both || strcmp(recompute, "0") == 0;
    if (!j->recomputed && !j->fixed) return prune_fail_usage(st, "flag '-recompute': '%s' is not one of 0, 1, both", recompute);
    enum prune_code rc = each_word(criteria, take_criterion, j, st);
    if (!rc) rc = each_word(prune_args_string(a, "seeds", "1"), take_seed, j, st);
    if (!rc) rc = each_word(prune_args_string(a, "loss-at", "1"), take_loss, j, st);
    return rc;
}

static enum prune_code read_step(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    long step = 1;
    if (prune_args_has(a, "step") && prune_args_has(a, "step-fraction")) return prune_fail_usage(st, "'-step' and '-step-fraction' exclude each other");
    enum prune_code rc = prune_args_select(a, true, &j->setup.select, st);
    if (!rc) rc = prune_args_int(a, "step", 1, INT_MAX, 1, &step, st);
    if (!rc) rc = prune_args_double(a, "step-fraction", 0, 1, 0, &j->step_fraction, st);
    if (!rc) rc = prune_args_double(a, "until-loss", -HUGE_VAL, HUGE_VAL, NAN, &j->setup.until_loss, st);
    j->setup.select.max_new = (size_t)step;
    j->setup.select.open_ended = !prune_args_has_target(a);
    return rc;
}

static enum prune_code read_evaluation(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    struct prune_curve_setup *s = &j->setup;
    long images = 0, first = 0, every = 1, recalibrate = 0;
    s->evaluates = prune_args_has(a, "eval-images");
    s->eval = s->recalibration = (struct prune_image_set){.data_path = s->scored.data_path, .letterbox = s->scored.letterbox};
    static const char *const NEED[] = {"eval-first", "eval-role"};
    for (size_t i = 0; i < sizeof NEED / sizeof *NEED; i++)
        if (!s->evaluates && prune_args_has(a, NEED[i])) return prune_fail_usage(st, "flag '-%s' has no meaning without '-eval-images N'", NEED[i]);
    enum prune_code rc = prune_args_int(a, "eval-images", 0, LONG_MAX, 0, &images, st);
    if (!rc) rc = prune_args_int(a, "eval-first", 0, LONG_MAX, 0, &first, st);
    if (!rc) rc = prune_args_role(a, "eval-role", PRUNE_DATA_VALID, &s->eval.role, st);
    if (!rc) rc = prune_args_int(a, "eval-every", 1, LONG_MAX, 1, &every, st);
    if (!rc) rc = prune_args_int(a, "recalibrate", 1, LONG_MAX, 0, &recalibrate, st);
    s->eval.limit = (size_t)images;
    s->eval.first = (size_t)first;
    s->eval_every = (size_t)every;
    s->recalibrate = (size_t)recalibrate;
    return rc;
}

static enum prune_code read_options(struct job *j, const struct prune_args *a, struct prune_status *st)
{
    struct prune_curve_setup *s = &j->setup;
    long minibatch = 0, norm = 2, rivals = 0;
    int probes = 0;
    s->host = j->host;
    s->cfg = a->positional[1];
    s->weights_path = a->positional[2];
    j->out = prune_args_string(a, "out", NULL);
    j->protect = prune_args_string(a, "protect", NULL);
    if (!j->out) return prune_fail_usage(st, "flag '-out BASE' is missing; BASE.csv, BASE.json and BASE.svg will be written");
    enum prune_code rc = read_lists(j, a, st);
    if (!rc) rc = prune_args_images(a, a->positional[0], PRUNE_DATA_TRAIN, &s->scored, st);
    if (!rc) rc = prune_args_host(a, &s->open, st);
    if (!rc) rc = read_step(j, a, st);
    if (!rc) rc = read_evaluation(j, a, st);
    if (!rc) rc = prune_args_switch(a, "no-spanning", false, &j->no_spanning, st);
    if (!rc) rc = prune_args_int(a, "minibatch", 1, INT_MAX, 0, &minibatch, st);
    if (!rc) rc = prune_args_int(a, "norm", 1, 2, 2, &norm, st);
    if (!rc) rc = prune_args_int(a, "rivals", 1, INT_MAX, 0, &rivals, st);
    if (!rc) rc = prune_args_probes(a, &probes, st);
    s->minibatch = (size_t)minibatch;
    s->open.batch = (int)minibatch;
    s->input = (struct prune_score_input){.norm = (int)norm, .rivals = (int)rivals, .probes = probes};
    if (!rc) rc = prune_args_kfac(a, &s->input.kfac, &s->input.scale, st);
    return rc;
}

static char *describe_set(const struct prune_image_set *set)
{
    return prune_format("%s, first %zu, images %zu, letterbox %d%s", set->list ? set->list : set->role == PRUNE_DATA_TRAIN ? "train" : "valid", set->first, set->limit, set->letterbox,
                        set->drawn ? ", drawn" : "");
}

/* "" where no flag of K-FAC was given: settings of files from before these flags. */
static void describe_kfac(const struct prune_score_input *in, char *out, size_t room)
{
    const struct prune_kfac_options *k = &in->kfac;
    bool given = k->samples > 0 || k->decay > 0 || k->damping > 0 || k->fisher != PRUNE_FISHER_SAMPLED || k->unnormalised || k->memory || in->scale;
    *out = 0;
    if (given)
        snprintf(out, room, "; kfac %.17g, %.17g, %.17g, %d, %d, %zu, scale %d", k->samples, k->decay, k->damping, (int)k->fisher, k->unnormalised, k->memory, (int)in->scale);
}

/* Everything but criteria and seeds that decides the numbers. */
static enum prune_code describe(struct job *j, struct prune_status *st)
{
    const struct prune_curve_setup *s = &j->setup;
    const struct prune_select_options *o = &s->select;
    char *scored = describe_set(&s->scored), *eval = s->evaluates ? describe_set(&s->eval) : strdup("none"), target[64] = "none", until[64] = "none", kfac[160];
    if (!o->open_ended) snprintf(target, sizeof target, "%d %.17g", (int)o->target, o->remain);
    if (!isnan(s->until_loss)) snprintf(until, sizeof until, "%.17g", s->until_loss);
    describe_kfac(&s->input, kfac, sizeof kfac);
    if (scored && eval)
        j->set.settings = prune_format("data %s; scored %s, minibatch %zu; evaluated %s; every %zu; recalibrated %zu; norm %d, rivals %d, probes %d; step %zu; target %s; until loss %s; "
                                       "protected %s%s; min-keep %d, multiple %d, cost %d^%g%s%s", s->scored.data_path, scored, s->minibatch, eval, s->eval_every, s->recalibrate,
                                       s->input.norm, s->input.rivals, s->input.probes, o->max_new, target, until, j->protect ? j->protect : "none",
                                       j->no_spanning ? " and spanning units" : "", o->min_keep, o->multiple, (int)o->cost, o->cost_power, o->per_layer ? ", per layer" : "", kfac);
    free(scored);
    free(eval);
    return j->set.settings ? PRUNE_OK : prune_fail_memory(st, 0, "settings");
}

static enum prune_code add_curves(struct job *j, struct prune_status *st)
{
    for (size_t i = 0; i < j->ranking_count; i++) {
        bool changes = prune_curve_needs_images(&j->rankings[i]);
        for (int recomputed = 1; recomputed >= 0; recomputed--) {
            if (recomputed ? !j->recomputed || !changes : !j->fixed && changes) continue;
            for (size_t k = 0; k < j->seed_count; k++)
                if (!prune_curves_add(&j->set, j->rankings[i].name, recomputed, j->seeds[k])) return prune_fail_memory(st, 0, "curves");
        }
    }
    j->asked = j->set.count;
    return PRUNE_OK;
}

static enum prune_code prepare_files(struct job *j, struct prune_status *st)
{
    const struct prune_curve_setup *s = &j->setup;
    const char *inputs[] = {s->scored.data_path, s->cfg, s->weights_path, s->scored.list};
    j->json = prune_format("%s.json", j->out);
    j->csv = prune_format("%s.csv", j->out);
    j->svg = prune_format("%s.svg", j->out);
    if (!j->json || !j->csv || !j->svg) return prune_fail_memory(st, strlen(j->out), "paths");
    const char *outputs[] = {j->json, j->csv, j->svg};
    enum prune_code rc = PRUNE_OK;
    for (size_t i = 0; !rc && i < sizeof outputs / sizeof *outputs; i++) rc = prune_check_output(outputs[i], inputs, sizeof inputs / sizeof *inputs, st);
    if (!rc && prune_path_exists(j->json)) rc = prune_curves_read(&j->set, j->json, &j->project.net, &j->project.units, st);
    if (!rc) rc = prune_curves_write_json(&j->set, j->json, st);   /* before a long run: can the result be written? */
    return rc;
}

static enum prune_code prepare(struct job *j, struct prune_status *st)
{
    struct prune_curve_setup *s = &j->setup;
    size_t removable = 0;
    if (j->no_spanning) prune_units_protect_spanning(&j->project.units);
    s->input.net = &j->project.net;
    s->input.units = &j->project.units;
    s->input.weights = &j->project.weights;
    for (size_t u = 0; u < j->project.units.count; u++) removable += !j->project.units.items[u].protected_because;
    if (!removable) return prune_fail(st, "nothing can be removed from '%s': every channel must stay ('darknet prune inspect' says why)", s->cfg);
    if (j->step_fraction > 0) s->select.max_new = (size_t)ceil(j->step_fraction * (double)removable);
    j->rows_each = removable / s->select.max_new + 1;
    j->set.data = s->scored.data_path;
    j->set.origin = &j->project.origin;
    j->set.loss_at = j->losses;
    j->set.loss_at_count = j->loss_count;
    j->set.accuracy = j->project.net.task == PRUNE_TASK_DETECTOR ? "mAP@0.5" : "top-1";
    enum prune_code rc = describe(j, st);
    if (!rc) rc = add_curves(j, st);
    return rc ? rc : prepare_files(j, st);
}

static enum prune_code save(struct job *j, struct prune_status *st)
{
    enum prune_code rc = prune_curves_write_json(&j->set, j->json, st);
    if (!rc) rc = prune_curves_write_csv(&j->set, j->csv, st);
    j->saved = prune_now();
    return rc;
}

static bool stopped(const struct job *j) { return j->host->interrupted && j->host->interrupted(j->host->context); }

static enum prune_code on_row(void *user, const struct prune_curve *c, struct prune_status *st)
{
    struct job *j = user;
    const struct prune_curve_row *r = &c->rows[c->count - 1];
    size_t index = (size_t)(c - j->set.items), done = index * j->rows_each + r->step + 1, whole = j->asked * j->rows_each;
    if (j->rows_known == SIZE_MAX) j->rows_known = done - 1;
    j->progress.total = whole > j->rows_known ? whole - j->rows_known : 0;
    prune_progress_update(&j->progress, done - j->rows_known, "%s%s, seed %llu, %zu units removed, loss %.4f", c->criterion, c->recomputed ? "" : " (fixed)",
                          (unsigned long long)c->seed, r->removed, r->values[PRUNE_CURVE_LOSS]);
    if (stopped(j)) {
        prune_fail(st, "interrupted; the same command goes on from '%s'", j->json);
        return PRUNE_INTERRUPTED;
    }
    return prune_now() - j->saved > SAVE_SECONDS ? save(j, st) : PRUNE_OK;
}

/* What has been measured is kept, whatever ends the command. */
static enum prune_code run_curves(struct job *j, struct prune_status *st)
{
    struct prune_curve_lab lab = {.setup = &j->setup};
    enum prune_code rc = PRUNE_OK;
    j->saved = -INFINITY;                /* the first row is written at once */
    j->rows_known = SIZE_MAX;
    prune_progress_start(&j->progress, stderr, "curve", j->asked * j->rows_each);
    for (size_t i = 0; !rc && i < j->asked; i++) rc = prune_curve_extend(&lab, &j->set.items[i], on_row, j, st);
    prune_progress_end(&j->progress);
    prune_curve_lab_close(&lab);
    prune_differences_note(lab.differences);
    enum prune_code kept = save(j, rc ? NULL : st);
    if (!rc) rc = kept;
    return rc ? rc : prune_curves_write_svg(&j->set, j->svg, st);
}

/* Mean and standard deviation over the seeds of a group; *n = how many have the value. */
struct spread { double mean, deviation; size_t n, of; };

static void spread_add(struct spread *s, double x)
{
    s->of++;
    if (isnan(x)) return;
    double d = x - s->mean;
    s->mean += d / (double)++s->n;
    s->deviation += d * (x - s->mean);   /* sum of squares until spread_end */
}

static void spread_end(struct spread *s) { s->deviation = s->n > 1 ? sqrt(s->deviation / (double)(s->n - 1)) : 0; }

static void print_reached(const struct spread *s)
{
    char text[48];
    if (s->n < s->of) snprintf(text, sizeof text, s->n ? "%zu of %zu" : "-", s->n, s->of);
    else if (s->of > 1) snprintf(text, sizeof text, "%.1f +- %.1f", s->mean, s->deviation);
    else snprintf(text, sizeof text, "%.0f", s->mean);
    printf(" %15s", text);
}

static void print_group(const struct job *j, size_t lead)
{
    const struct prune_curve *first = &j->set.items[lead];
    struct spread removed = {0}, left = {0}, loss = {0}, accuracy = {0}, reached[MAX_LOSSES] = {{0}};
    for (size_t i = lead; i < j->set.count; i++) {
        const struct prune_curve *c = &j->set.items[i];
        if (!prune_curves_same_group(c, first) || !c->count) continue;
        const struct prune_curve_row *r = &c->rows[c->count - 1];
        spread_add(&removed, (double)r->removed);
        spread_add(&left, c->rows[0].cost.macs ? (double)r->cost.macs / (double)c->rows[0].cost.macs : 1);
        spread_add(&loss, r->values[PRUNE_CURVE_LOSS]);
        spread_add(&accuracy, r->values[PRUNE_CURVE_ACCURACY]);
        for (size_t k = 0; k < j->loss_count; k++) spread_add(&reached[k], prune_curve_reaches(c, PRUNE_CURVE_LOSS, j->losses[k]));
    }
    printf("%-20s %-10s %5zu %8.1f %9.2f%% %11.5g", first->criterion, first->recomputed ? "recomputed" : "fixed", loss.of, removed.mean, 100 * left.mean, loss.mean);
    if (accuracy.n) printf(" %8.2f%%", 100 * accuracy.mean);
    else printf(" %9s", "-");
    for (size_t k = 0; k < j->loss_count; k++) {
        spread_end(&reached[k]);
        print_reached(&reached[k]);
    }
    putchar('\n');
}

static void print_table(const struct job *j)
{
    char head[32];
    printf("%-20s %-10s %5s %8s %10s %11s %9s", "at the end:", "order", "seeds", "removed", "MACs left", "loss", j->set.accuracy);
    for (size_t k = 0; k < j->loss_count; k++) {
        snprintf(head, sizeof head, "until loss %.4g", j->losses[k]);
        printf(" %15s", head);
    }
    putchar('\n');
    for (size_t i = 0; i < j->set.count; i++)
        if (prune_curves_leads(&j->set, i)) print_group(j, i);
    printf("rows in %s, everything in %s, chart in %s\n", j->csv, j->json, j->svg);
}

static void job_free(struct job *j)
{
    prune_curves_free(&j->set);
    free(j->json);
    free(j->csv);
    free(j->svg);
    prune_project_close(&j->project);
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    static const struct prune_flag flags[] = {{"criteria", true}, {"out", true}, {"recompute", true}, {"step", true}, {"step-fraction", true}, {"until-loss", true},
                                              {"loss-at", true}, {"seeds", true}, {"minibatch", true}, {"norm", true}, {"rivals", true}, {"probes", true},
                                              PRUNE_KFAC_FLAGS, {"eval-images", true}, {"eval-first", true}, {"eval-role", true}, {"eval-every", true}, {"recalibrate", true},
                                              {"no-spanning", true}, {"threads", true}, PRUNE_IMAGE_FLAGS, PRUNE_SET_FLAGS, PRUNE_SELECT_FLAGS, {0}};
    struct job j = {.host = host};
    struct prune_args a;
    enum prune_code rc = prune_args_parse(&a, argc, argv, flags, 3, 3, st);
    if (!rc) rc = read_options(&j, &a, st);
    if (!rc) rc = prune_project_open(&j.project, j.setup.cfg, j.setup.weights_path, j.protect, st);
    if (!rc) rc = prepare(&j, st);
    if (!rc) rc = run_curves(&j, st);
    if (!rc) print_table(&j);
    job_free(&j);
    return rc;
}

const struct prune_command prune_command_curve = {"curve", "loss and accuracy while units go one by one, without fine-tuning", USAGE, run};
