/* States of criteria kept and taken up again; see score_resume.h. */
#include "score_resume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/progress.h"
#include "data_file.h"

/* Images go through in portions of about so long: what a Ctrl-C loses at most. */
static const double PORTION_SECONDS = 10, SAVE_SECONDS = 30;

enum prune_code prune_resume_open(struct prune_resume *r, const struct prune_args *a, struct prune_status *st)
{
    *r = (struct prune_resume){.from = prune_args_string(a, "resume", NULL), .to = prune_args_string(a, "state", NULL)};
    if (!r->from) return PRUNE_OK;
    if (!r->to) r->to = r->from;
    if (prune_args_has(a, "first")) return prune_fail_usage(st, "flag '-first': with '-resume' the images go on where the state ends; leave it away");
    enum prune_code rc = prune_state_open(&r->file, r->from, st);
    if (!rc) rc = prune_score_state_criteria(&r->file, &r->criteria, st);
    return rc;
}

enum prune_code prune_resume_settings(struct prune_resume *r, const struct prune_args *a, struct prune_scoring *s, struct prune_open_options *open, struct prune_status *st)
{
    if (!r->from) return PRUNE_OK;
    struct prune_scoring of_state = *s;
    enum prune_code rc = prune_score_state_settings(&r->file, &of_state, st);
    for (size_t i = 0; !rc && prune_score_setting(i); i++) {
        char was[PRUNE_SETTING_ROOM], is[PRUNE_SETTING_ROOM];
        const char *name = prune_score_setting(i);
        if (!prune_args_has(a, name)) continue;
        prune_score_setting_text(&of_state, i, was);
        prune_score_setting_text(s, i, is);
        if (strcmp(was, is) != 0)
            rc = prune_fail_usage(st, "flag '-%s %s': '%s' was made with %s; leave the flag away, or score anew without -resume", name, is, r->from, was);
    }
    if (rc) return rc;
    *s = of_state;
    open->seed = s->input.seed;
    open->batch = (int)s->minibatch;
    return PRUNE_OK;
}

static enum prune_code count_images(struct prune_resume *r, struct prune_scoring *s, size_t done, struct prune_status *st)
{
    s->set.first = r->first + done;
    if (!s->set.data_path) return PRUNE_OK;
    enum prune_code rc = prune_set_count(&s->set, &r->list, st);
    if (!rc) rc = prune_hash_file(r->list, r->origin.list, st);
    r->origin.list_path = r->list;
    return rc;
}

/* Factors of which only a share of the layers is there at a time cannot go on with more images. */
static enum prune_code check_shares(const struct prune_score_input *in, const struct prune_scored *items, size_t count, struct prune_status *st)
{
    for (size_t i = 0; i < count; i++) {
        const struct prune_criterion *c = items[i].criterion;
        if ((c->signals & PRUNE_SIGNAL_LAYERS) && c->passes && c->passes(in) > 1)
            return prune_fail_usage(st, "criterion '%s' does not fit '-memory' and takes several passes, so it has no state to keep; give more memory, or leave '-state' and '-resume' away",
                                    c->name);
    }
    return PRUNE_OK;
}

enum prune_code prune_resume_load(struct prune_resume *r, const struct prune_mask_origin *origin, struct prune_scoring *s, struct prune_scored *items, size_t count,
                                  struct prune_scoring_facts *facts, struct prune_status *st)
{
    size_t done = 0;
    char text[PRUNE_SETTING_ROOM];
    if (!r->to) return PRUNE_OK;
    if (check_shares(&s->input, items, count, st)) return PRUNE_USAGE;
    r->origin.cfg_path = origin->cfg_path;
    r->origin.weights_path = origin->weights_path;
    memcpy(r->origin.cfg, origin->cfg_hash, sizeof r->origin.cfg);
    memcpy(r->origin.weights, origin->weights_hash, sizeof r->origin.weights);
    r->first = s->set.first;
    if (r->from && prune_state_fact(&r->file, "images", text, sizeof text)) done = strtoul(text, NULL, 10);
    enum prune_code rc = count_images(r, s, done, st);
    if (!rc && r->from) rc = prune_score_state_load(&r->file, &r->origin, &s->input, items, count, facts, st);
    if (rc || !r->from) return rc;
    if (facts->images) fprintf(stderr, "score: goes on after the %zu images of '%s'\n", facts->images, r->from);
    if (s->minibatch && facts->images % s->minibatch)
        fprintf(stderr, "score: the last minibatch of '%s' has %zu of %zu images, so criteria of minibatches differ from one long run (docs/scores.md)\n", r->from,
                facts->images % s->minibatch, s->minibatch);
    return PRUNE_OK;
}

static enum prune_code take_state(struct prune_resume *r, const struct prune_scoring *s, const struct prune_scored *items, size_t count,
                                  const struct prune_scoring_facts *facts, struct prune_status *st)
{
    struct prune_scoring whole = *s;
    free(r->bytes);
    r->bytes = NULL;
    whole.set.first = r->first;
    return prune_score_state_encode(&whole, &r->origin, items, count, facts, &r->bytes, &r->size, st);
}

static enum prune_code save(struct prune_resume *r, struct prune_status *st)
{
    r->saved = prune_now();
    return prune_write_file(r->to, r->bytes, r->size, st);
}

/* The images in portions: a portion that was interrupted is in the items' states, but not in r->bytes. */
static enum prune_code feed_portions(struct prune_resume *r, struct prune_scoring *s, struct prune_scored *items, size_t count, struct prune_scoring_facts *facts,
                                     struct prune_status *st)
{
    size_t left = s->set.limit, portion = s->minibatch;
    enum prune_code rc = PRUNE_OK;
    while (!rc && left) {
        double began = prune_now();
        s->set.limit = portion < left ? portion : left;
        rc = prune_scoring_feed(s, items, count, facts, st);
        if (rc) break;
        left -= s->set.limit;
        s->set.first += s->set.limit;
        if (prune_now() - began < PORTION_SECONDS / 2 && portion < left) portion *= 2;
        else if (prune_now() - began > PORTION_SECONDS && portion / 2 >= s->minibatch) portion = portion / s->minibatch / 2 * s->minibatch;
        rc = take_state(r, s, items, count, facts, st);
        if (!rc && prune_now() - r->saved >= SAVE_SECONDS) rc = save(r, st);
    }
    return rc;
}

enum prune_code prune_resume_feed(struct prune_resume *r, struct prune_scoring *s, struct prune_scored *items, size_t count, struct prune_scoring_facts *facts,
                                  struct prune_status *st)
{
    struct prune_net_facts net;
    size_t wanted = s->set.limit;
    if (!r->to) return prune_scoring_feed(s, items, count, facts, st);
    s->host->facts(s->host_net, &net);
    if (!s->minibatch) s->minibatch = (size_t)net.batch;
    size_t end = s->set.first + wanted;
    r->saved = -SAVE_SECONDS;            /* the first portion is written at once */
    enum prune_code rc = take_state(r, s, items, count, facts, st), written;
    if (!rc) rc = feed_portions(r, s, items, count, facts, st);
    if (rc && rc != PRUNE_INTERRUPTED) return rc;
    written = save(r, st);
    if (written || !rc) return written;
    prune_fail(st, "interrupted; the sums of the images done are in '%s': go on with -resume '%s' -images %zu", r->to, r->to, end - s->set.first);
    return PRUNE_INTERRUPTED;
}

void prune_resume_close(struct prune_resume *r)
{
    prune_state_close(&r->file);
    free(r->criteria);
    free(r->list);
    free(r->bytes);
    *r = (struct prune_resume){0};
}
