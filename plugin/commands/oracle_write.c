/* Results of `darknet prune oracle`: score file, tables, and the JSON of the oracles over sets; docs/oracle.md has the formats. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../base/file_io.h"
#include "../base/json_write.h"
#include "oracle.h"

static const struct prune_channel *channel_of(const struct prune_oracle_job *j, int unit)
{
    return &j->project.units.members[j->project.units.items[unit].first_member];
}

/* ---- single units ---- */

static enum prune_code write_scores(const struct prune_oracle_job *j, struct prune_status *st)
{
    const struct prune_oracle *o = &j->oracle;
    const struct prune_score_file about = {.criterion = "oracle", .images = o->images, .loss = o->base / (double)o->images, .seed = j->open.seed};
    double *scores = calloc(j->project.units.count + 1, sizeof *scores);   /* what cannot go, or has no reader, changes nothing */
    if (!scores) return prune_fail_memory(st, j->project.units.count * sizeof *scores, "scores");
    for (size_t k = 0; k < j->count; k++) scores[j->units[k]] = prune_oracle_score(o, k);
    enum prune_code rc = prune_scores_write(j->out, &j->project.units, scores, &about, &j->project.origin, st);
    free(scores);
    return rc;
}

static bool put_units(FILE *f, const struct prune_oracle_job *j)
{
    const struct prune_oracle *o = &j->oracle;
    bool done = fputs("layer,channel,unit,loss_without,change,oracle\n", f) >= 0;
    for (size_t k = 0; done && k < j->count; k++) {
        const struct prune_channel *c = channel_of(j, j->units[k]);
        done = fprintf(f, "%d,%d,%d,%.17g,%.17g,%.17g\n", c->layer, c->channel, j->units[k], o->loss[k] / (double)o->images, prune_oracle_change(o, k), prune_oracle_score(o, k)) > 0;
    }
    return done;
}

static void print_units(const struct prune_oracle_job *j)
{
    const struct prune_oracle *o = &j->oracle;
    size_t least = 0, most = 0;
    for (size_t k = 1; k < j->count; k++) {
        if (o->loss[k] < o->loss[least]) least = k;
        if (o->loss[k] > o->loss[most]) most = k;
    }
    const struct prune_channel *a = channel_of(j, j->units[least]), *b = channel_of(j, j->units[most]);
    printf("oracle: %zu units, %zu images, loss %.9g\n", j->count, o->images, o->base / (double)o->images);
    printf("  change from %.4g without layer %d channel %d to %.4g without layer %d channel %d\n", prune_oracle_change(o, least), a->layer, a->channel, prune_oracle_change(o, most),
           b->layer, b->channel);
}

/* ---- sets of units ---- */

static enum prune_code put(void *to, const void *bytes, size_t size, struct prune_status *st) { return prune_writer_put(to, bytes, size, st); }

static void put_unit(struct prune_json *json, const struct prune_oracle_job *j, int unit)
{
    prune_json_whole(json, "unit", unit);
    prune_json_whole(json, "layer", channel_of(j, unit)->layer);
    prune_json_whole(json, "channel", channel_of(j, unit)->channel);
}

static void put_file(struct prune_json *json, const char *key, const char *path, const char *hash)
{
    prune_json_begin_object(json, key);
    prune_json_string(json, "file", path);
    prune_json_string(json, "hash", hash);
    prune_json_end(json);
}

static void put_head(struct prune_json *json, const struct prune_oracle_job *j, const char *kind, double loss)
{
    prune_json_string(json, "format", "darknet-prune-oracle");
    prune_json_whole(json, "version", 1);
    prune_json_string(json, "kind", kind);
    put_file(json, "cfg", j->cfg, j->project.origin.cfg_hash);
    put_file(json, "weights", j->weights, j->project.origin.weights_hash);
    prune_json_whole(json, "images", (int64_t)j->scoring.set.limit);
    prune_json_number(json, "loss", loss);
    prune_json_whole(json, "seed", (int64_t)j->open.seed);
}

static void put_greedy(struct prune_json *json, const struct prune_oracle_job *j)
{
    put_head(json, j, "greedy", j->steps.base);
    prune_json_begin_array(json, "steps");
    for (size_t i = 0; i < j->steps.count; i++) {
        prune_json_begin_object(json, NULL);
        put_unit(json, j, j->steps.removed[i]);
        prune_json_number(json, "loss", j->steps.loss[i]);
        prune_json_end(json);
    }
    prune_json_end(json);
}

static void put_subsets(struct prune_json *json, const struct prune_oracle_job *j)
{
    struct prune_subset_size sizes[PRUNE_SUBSET_UNITS + 1];
    prune_subsets_result(&j->oracle, j->count, sizes);
    put_head(json, j, "subsets", j->oracle.base / (double)j->oracle.images);
    prune_json_begin_array(json, "units");
    for (size_t i = 0; i < j->count; i++) {
        prune_json_begin_object(json, NULL);
        put_unit(json, j, j->units[i]);
        prune_json_end(json);
    }
    prune_json_end(json);
    prune_json_begin_array(json, "sizes");
    for (size_t k = 0; k <= j->count; k++) {
        int best[PRUNE_SUBSET_UNITS];
        size_t n = 0;
        for (size_t i = 0; i < j->count; i++)
            if (sizes[k].best >> i & 1) best[n++] = j->units[i];
        prune_json_begin_object(json, NULL);
        prune_json_whole(json, "removed", (int64_t)k);
        prune_json_whole(json, "subsets", (int64_t)sizes[k].subsets);
        prune_json_number(json, "least", sizes[k].least);
        prune_json_number(json, "mean", sizes[k].mean);
        prune_json_number(json, "most", sizes[k].most);
        prune_json_wholes(json, "best", best, n);
        prune_json_end(json);
    }
    prune_json_end(json);
}

static enum prune_code write_json(const struct prune_oracle_job *j, struct prune_status *st)
{
    struct prune_writer *w;
    struct prune_json json;
    enum prune_code rc = prune_writer_open(&w, j->out, st);
    if (rc) return rc;
    prune_json_start(&json, PRUNE_JSON_ROWS, put, w, st);
    prune_json_begin_object(&json, NULL);
    if (j->greedy) put_greedy(&json, j);
    else put_subsets(&json, j);
    prune_json_end(&json);
    rc = prune_json_end_text(&json);
    if (!rc) return prune_writer_commit(w, st);
    prune_writer_abort(w);
    return rc;
}

static bool put_steps(FILE *f, const struct prune_oracle_job *j)
{
    bool done = fprintf(f, "step,layer,channel,unit,loss\n0,,,,%.17g\n", j->steps.base) > 0;
    for (size_t i = 0; done && i < j->steps.count; i++) {
        const struct prune_channel *c = channel_of(j, j->steps.removed[i]);
        done = fprintf(f, "%zu,%d,%d,%d,%.17g\n", i + 1, c->layer, c->channel, j->steps.removed[i], j->steps.loss[i]) > 0;
    }
    return done;
}

static bool put_sizes(FILE *f, const struct prune_oracle_job *j)
{
    struct prune_subset_size sizes[PRUNE_SUBSET_UNITS + 1];
    prune_subsets_result(&j->oracle, j->count, sizes);
    bool done = fputs("removed,subsets,least,mean,most,best\n", f) >= 0;
    for (size_t k = 0; done && k <= j->count; k++) {
        done = fprintf(f, "%zu,%llu,%.17g,%.17g,%.17g,", k, (unsigned long long)sizes[k].subsets, sizes[k].least, sizes[k].mean, sizes[k].most) > 0;
        const char *gap = "";
        for (size_t i = 0; done && i < j->count; i++) {
            if (!(sizes[k].best >> i & 1)) continue;
            done = fprintf(f, "%s%d", gap, channel_of(j, j->units[i])->channel) > 0;
            gap = " ";
        }
        done = done && fputc('\n', f) >= 0;
    }
    return done;
}

static void print_sets(const struct prune_oracle_job *j)
{
    if (j->greedy) printf("greedy oracle: %zu units removed, %zu images, loss %.9g -> %.9g\n", j->steps.count, j->scoring.set.limit, j->steps.base, j->steps.loss[j->steps.count - 1]);
    else printf("combinatorial oracle: %zu subsets of %zu units, %zu images, loss %.9g\n", j->oracle.count, j->count, j->oracle.images, j->oracle.base / (double)j->oracle.images);
}

static enum prune_code write_csv(const struct prune_oracle_job *j, struct prune_status *st)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return prune_fail_memory(st, 0, "CSV");
    bool done = j->greedy ? put_steps(f, j) : j->subsets >= 0 ? put_sizes(f, j) : put_units(f, j);
    if (fclose(f) || !text || !size) done = false;
    enum prune_code rc = !done ? prune_fail_memory(st, size, "CSV") : prune_write_file(j->csv, text, size, st);
    free(text);
    return rc;
}

enum prune_code prune_oracle_report(const struct prune_oracle_job *j, struct prune_status *st)
{
    bool sets = j->greedy || j->subsets >= 0;
    enum prune_code rc = PRUNE_OK;
    if (sets) print_sets(j);
    else print_units(j);
    if (j->out) rc = sets ? write_json(j, st) : write_scores(j, st);
    if (!rc && j->csv) rc = write_csv(j, st);
    if (rc) return rc;
    if (j->out) printf("saved the oracle to %s\n", j->out);
    if (j->csv) printf("saved the table to %s\n", j->csv);
    return PRUNE_OK;
}
