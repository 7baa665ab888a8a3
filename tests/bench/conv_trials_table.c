/* Rows of conv_trials -> markdown: a table per network, milliseconds as forward / weight gradient / both gradients, and the time that each method
 * would take for all convolutions of a training step. */
#include <math.h>
#include <string.h>

#include "conv_trials.h"

enum { MAX_ROWS = 1024, COUNTED = TRIAL_ONEDNN_BARE };     /* methods before COUNTED do all the work that a layer has to do */

struct row { char network[32]; struct trial_shape s; double ms[TRIAL_METHODS][TRIAL_PASSES]; };

static const char *const names[TRIAL_METHODS] = {"ours", "im2col", "batched", "oneDNN", "oneDNN kept"};

static bool read_row(FILE *f, struct row *r)
{
    int first;
    struct trial_shape *s = &r->s;

    if (fscanf(f, "%31s %d %d %d %d %d %d %d %d %d %d %d %d %d", r->network, &s->count, &first, &s->batch, &s->c, &s->h, &s->w, &s->n, &s->groups, &s->size,
               &s->stride, &s->pad, &s->oh, &s->ow) != 14) return false;
    s->first = first != 0;
    for (int m = 0; m < TRIAL_METHODS; ++m) for (int p = 0; p < TRIAL_PASSES; ++p) {
        char text[32];
        if (fscanf(f, "%31s", text) != 1) return false;
        if (strcmp(text, "-") == 0 || sscanf(text, "%lf", &r->ms[m][p]) != 1) r->ms[m][p] = INFINITY;
    }
    return true;
}

/* The backward pass that a training step needs. */
static enum trial_pass backward_of(const struct row *r) { return r->s.first ? TRIAL_WEIGHTS : TRIAL_BOTH; }

static int winner(const struct row *r, enum trial_pass pass)
{
    int best = 0;
    for (int m = 1; m < COUNTED; ++m) if (r->ms[m][pass] < r->ms[best][pass]) best = m;
    return best;
}

static void print_winner(const struct row *r, enum trial_pass pass)
{
    int m = winner(r, pass);

    printf("%s", names[m]);
    if (m != TRIAL_OURS) printf(" x%.2f", r->ms[TRIAL_OURS][pass] / r->ms[m][pass]);
}

static void print_row(const struct row *r)
{
    const struct trial_shape *s = &r->s;
    enum trial_pass back = backward_of(r);

    printf("| %d->%d %dx%d%s", s->c, s->n, s->size, s->size, s->stride > 1 ? "" : " ");
    if (s->stride > 1) printf("/%d ", s->stride);
    if (s->groups > 1) printf("g%d ", s->groups);
    printf("@%d | %d |", s->h, s->count);
    for (int m = 0; m < TRIAL_METHODS; ++m) {
        if (isinf(r->ms[m][0])) printf(" |");
        else printf(" %.2f / %.2f / %.2f |", r->ms[m][0], r->ms[m][1], r->ms[m][2]);
    }
    printf(" %.0f / %.0f | ", 2e-6 * trial_macs(s) / r->ms[TRIAL_OURS][TRIAL_FORWARD],
           (s->first ? 2e-6 : 4e-6) * trial_macs(s) / r->ms[TRIAL_OURS][back]);
    print_winner(r, TRIAL_FORWARD);
    printf(", ");
    print_winner(r, back);
    printf(" |\n");
}

/* A method that is not for a shape counts as per-image im2col there. */
static double step_of(const struct row *r, int m)
{
    const double *ms = r->ms[isinf(r->ms[m][0]) ? TRIAL_IM2COL : m];
    return r->s.count * (ms[TRIAL_FORWARD] + ms[backward_of(r)]);
}

static double best_of(const struct row *r)
{
    enum trial_pass back = backward_of(r);
    return r->s.count * (r->ms[winner(r, TRIAL_FORWARD)][TRIAL_FORWARD] + r->ms[winner(r, back)][back]);
}

static void print_total(const struct row *rows, int n)
{
    double total[TRIAL_METHODS] = {0}, best = 0, macs = 0;

    for (int i = 0; i < n; ++i) {
        for (int m = 0; m < TRIAL_METHODS; ++m) total[m] += step_of(&rows[i], m);
        best += best_of(&rows[i]);
        macs += rows[i].s.count * trial_macs(&rows[i].s) * (rows[i].s.first ? 2 : 3);
    }
    printf("| %s, batch %d |", rows[0].network, rows[0].s.batch);
    for (int m = 0; m < TRIAL_METHODS; ++m) {
        bool have = m < TRIAL_ONEDNN || !isinf(rows[0].ms[m][0]);
        if (have) printf(" %.1f |", total[m]);
        else printf(" |");
    }
    printf(" %.1f | %.0f |\n", best, 2e-6 * macs / total[TRIAL_OURS]);
}

static int network_rows(const struct row *rows, int count, int first)
{
    int n = 1;
    while (first + n < count && strcmp(rows[first + n].network, rows[first].network) == 0) ++n;
    return n;
}

int trial_tables(FILE *f)
{
    static struct row rows[MAX_ROWS];
    int count = 0;

    while (count < MAX_ROWS && read_row(f, &rows[count])) ++count;
    if (!feof(f) || count == 0) {
        fprintf(stderr, "row %d cannot be read\n", count + 1);
        return 1;
    }
    printf("| all convolutions of one training step, ms | ours | im2col | batched | oneDNN | oneDNN kept | best of the first four per shape | ours, GFLOP/s |\n"
           "|---|---|---|---|---|---|---|---|\n");
    for (int i = 0, n; i < count; i += n) {
        n = network_rows(rows, count, i);
        print_total(rows + i, n);
    }
    for (int i = 0, n; i < count; i += n) {
        n = network_rows(rows, count, i);
        printf("\n### %s, batch %d\n\n| shape | layers | ours | im2col | batched | oneDNN | oneDNN kept | ours, GFLOP/s | fastest forward, backward |\n"
               "|---|---|---|---|---|---|---|---|---|\n", rows[i].network, rows[i].s.batch);
        for (int k = 0; k < n; ++k) print_row(&rows[i + k]);
    }
    return 0;
}
