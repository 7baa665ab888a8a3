/* The proof's walk: both networks layer by layer, the same layer of each at a time; see proof.h. Every layer must be the same function (keys,
 * sizes), read the same values where it reads, and say so where its own channels are cut. Whatever cannot be followed channel by channel
 * must lose nothing. */
#include "proof.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof_private.h"

struct proof {
    struct proof_side before, after;
    const struct prune_plan *plan;
    struct proof_reader old_weights, new_weights;
    int *old_of;                         /* [layer of the new network] */
    int *stays;                          /* room for the kept channels of one layer */
    size_t tensor;                       /* of the new weights: first of the layer at hand */
    const struct prune_layer *was, *is;  /* the layer at hand */
    const struct prune_layer_plan *cut;
    struct prune_proof found;
    struct prune_status *st;
};

enum prune_code proof_wrong(struct prune_status *st, const struct prune_layer *was, const struct prune_layer *is, const char *format, ...)
{
    char text[640];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return prune_fail(st, "the rewritten network is not the masked original: layer %d ('%s', layer %d of the original, line %d) %s; this is an error of the program, please report it with the cfg and the mask",
                      is->index, prune_kind_info(is->kind)->name, was->index, was->line, text);
}

#define WRONG(p, ...) proof_wrong((p)->st, (p)->was, (p)->is, __VA_ARGS__)

/* Keys that say how many channels, or which layer: what they mean is compared, not what they say. */
static bool may_differ(const char *key, enum prune_channel_rule rule)
{
    static const char *const counts[] = { "filters", "output", "groups", "group_id" };
    static const char *const layers[] = { "layers", "from", "share_index", "embedding_layer", "yolo_layer" };
    bool cut = rule == PRUNE_CH_PRODUCE || rule == PRUNE_CH_CONCAT;
    for (size_t i = 0; cut && i < sizeof counts / sizeof *counts; i++)
        if (!strcmp(key, counts[i])) return true;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (!strcmp(key, layers[i])) return true;
    return false;
}

static const struct prune_option *next_fixed(const struct prune_section *s, size_t *at, enum prune_channel_rule rule)
{
    while (*at < s->option_count && may_differ(s->options[*at].key, rule)) ++*at;
    return *at < s->option_count ? &s->options[(*at)++] : NULL;
}

/* The first key that differs: *a of the old section, *b of the new one (NULL: none left); both NULL: all the same. */
static void first_difference(const struct prune_section *was, const struct prune_section *is, enum prune_channel_rule rule, const struct prune_option **a, const struct prune_option **b)
{
    size_t i = 0, k = 0;
    do {
        *a = next_fixed(was, &i, rule);
        *b = next_fixed(is, &k, rule);
    } while (*a && *b && !strcmp((*a)->key, (*b)->key) && !strcmp((*a)->value, (*b)->value));
}

static enum prune_code same_keys(struct proof *p)
{
    const struct prune_option *a, *b;
    first_difference(&p->before.net->cfg->sections[p->was->section], &p->after.net->cfg->sections[p->is->section], prune_kind_info(p->was->kind)->rule, &a, &b);
    if (!a && !b) return PRUNE_OK;
    return WRONG(p, "says %.40s=%.80s where the original says %.40s=%.80s", b ? b->key : "nothing", b ? b->value : "", a ? a->key : "nothing", a ? a->value : "");
}

static enum prune_code same_fields(struct proof *p)
{
#define FIELD(name) { #name, offsetof(struct prune_layer, name) }
    static const struct { const char *name; size_t at; } fields[] = {
        FIELD(w), FIELD(h), FIELD(out_w), FIELD(out_h), FIELD(size), FIELD(stride), FIELD(stride_x), FIELD(stride_y), FIELD(pad), FIELD(dilation), FIELD(antialiasing),
        FIELD(sharp_w), FIELD(sharp_h), FIELD(atoms), FIELD(classes), FIELD(coords), FIELD(num), FIELD(side), FIELD(hidden), FIELD(numload) };
#undef FIELD
    if (p->was->kind != p->is->kind) return WRONG(p, "stands where the original has '%s'", prune_kind_info(p->was->kind)->name);
    if (p->was->activation != p->is->activation || p->was->batch_normalize != p->is->batch_normalize) return WRONG(p, "has another activation or batch_normalize than the original");
    if (p->was->source_count != p->is->source_count) return WRONG(p, "reads %zu layers where the original reads %zu", p->is->source_count, p->was->source_count);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        int a, b;
        memcpy(&a, (const char *)p->was + fields[i].at, sizeof a);
        memcpy(&b, (const char *)p->is + fields[i].at, sizeof b);
        if (a != b) return WRONG(p, "has %s %d where the original has %d", fields[i].name, b, a);
    }
    return same_keys(p);
}

/* Layers named by number, other than as sources: the same layer in both. */
static enum prune_code same_layer(struct proof *p, const char *what, int was, int is)
{
    bool both = was >= 0 && is >= 0 && is < (int)p->after.net->layer_count;
    if (both ? p->old_of[is] == was : was == is) return PRUNE_OK;
    return WRONG(p, "%s layer %d, which is layer %d of the original, and should be layer %d", what, is, both ? p->old_of[is] : -1, was);
}

static enum prune_code wrong_value(struct proof *p, size_t source, size_t place, uint64_t should, const uint64_t *is)
{
    char a[96], b[96];
    int from = p->is->sources[source];
    if (!is) snprintf(b, sizeof b, "nothing");
    else proof_name(&p->before, *is, b);
    return WRONG(p, "reads %s as input channel %zu of layer %d and should read %s", b, place, from, proof_name(&p->before, should, a));
}

/* new[b .. b_end) is old[a .. a_end) without its zeros; all: it has none. */
static enum prune_code same_inputs(struct proof *p, size_t source, size_t a, size_t a_end, size_t b, size_t b_end, bool all)
{
    struct proof_row was = proof_row_read(&p->before, p->was, source), is = proof_row_read(&p->after, p->is, source);
    size_t begin = b;
    if (was.area != is.area) return WRONG(p, "reads maps of %zu numbers where the original reads %zu", is.area, was.area);
    for (; a < a_end; a++) {
        if (!was.v[a] && !all) continue;
        if (!was.v[a]) return WRONG(p, "needs every channel it reads, and channel %zu of layer %d is removed", a, p->was->sources[source]);
        if (b == b_end || is.v[b] != was.v[a]) return wrong_value(p, source, b, was.v[a], b < b_end ? &is.v[b] : NULL);
        b++;
    }
    if (b < b_end) return wrong_value(p, source, b, 0, &is.v[b]);
    p->found.channels += b - begin;
    return PRUNE_OK;
}

static enum prune_code same_sources(struct proof *p)
{
    enum prune_code rc = PRUNE_OK;
    for (size_t k = 0; !rc && k < p->was->source_count; k++)
        rc = same_inputs(p, k, 0, proof_row_read(&p->before, p->was, k).count, 0, proof_row_read(&p->after, p->is, k).count, true);
    return rc;
}

/* An activation that sees all channels at once, zeros too. */
static enum prune_code may_lose(struct proof *p, size_t kept, size_t of)
{
    const struct prune_activation_info *a = prune_activation_info(p->was->activation);
    return kept == of || !a->mixes_channels ? PRUNE_OK : WRONG(p, "keeps %zu of %zu channels, which activation=%s mixes", kept, of, a->name);
}

/* The plan's list of kept outputs is a list, fits the new layer, and says what both layers make. */
static enum prune_code make_outputs(struct proof *p)
{
    size_t olds, news, n = p->cut->out_count;
    uint64_t *old = proof_out(&p->before, p->was, &olds), *new = proof_out(&p->after, p->is, &news);
    if (n != news) return WRONG(p, "makes %zu channels, and the plan keeps %zu", news, n);
    for (size_t i = 0, after = 0; i < n; i++) {
        int c = p->cut->out_keep[i];
        if (c < 0 || (size_t)c < after || (size_t)c >= olds) return WRONG(p, "has channel %d of %zu as kept channel %zu: no list in order", c, olds, i);
        after = (size_t)c + 1;
        old[c] = new[i] = proof_symbol(p->was->index, (size_t)c);
    }
    return may_lose(p, n, olds);
}

/* Inputs that the weights are cut by: those that are not zero. */
static enum prune_code same_kept_inputs(struct proof *p, const struct proof_row *in)
{
    size_t n = 0;
    for (size_t i = 0; i < in->count; i++) {
        if (!in->v[i]) continue;
        if (n >= p->cut->in_count || p->cut->in_keep[n] != (int)i)
            return WRONG(p, "loses input channel %zu of layer %d, which is not removed", i, p->was->sources[0]);
        n++;
    }
    if (n != p->cut->in_count) return WRONG(p, "keeps %zu input channels, and %zu of layer %d are left", p->cut->in_count, n, p->was->sources[0]);
    if (p->was->kind == PRUNE_CONNECTED && p->cut->in_area != in->area) return WRONG(p, "has %zu weights for each input channel, and maps have %zu numbers", p->cut->in_area, in->area);
    return PRUNE_OK;
}

/* Filters of one group of the new layer come from one group of the old one, and both groups read the same. */
static enum prune_code same_group(struct proof *p, size_t group, size_t inputs_was, size_t inputs_is)
{
    size_t each_was = (size_t)(p->was->out_c / p->was->groups), each_is = (size_t)(p->is->out_c / p->is->groups);
    size_t from = (size_t)p->cut->out_keep[group * each_is] / each_was;
    for (size_t i = group * each_is; i < (group + 1) * each_is; i++)
        if ((size_t)p->cut->out_keep[i] / each_was != from) return WRONG(p, "has filters of groups %zu and %zu of the original in its group %zu", from, (size_t)p->cut->out_keep[i] / each_was, group);
    return same_inputs(p, 0, from * inputs_was, (from + 1) * inputs_was, group * inputs_is, (group + 1) * inputs_is, false);
}

static enum prune_code read_inputs(struct proof *p)
{
    if (!p->was->source_count) return PRUNE_OK;
    struct proof_row was = proof_row_read(&p->before, p->was, 0), is = proof_row_read(&p->after, p->is, 0);
    bool channels = p->was->kind == PRUNE_CONNECTED || was.count == (size_t)p->was->c;
    size_t groups = (size_t)p->is->groups, old_groups = (size_t)p->was->groups;
    p->found.readers++;
    enum prune_code rc = same_kept_inputs(p, &was);
    if (rc) return rc;
    if (!channels || (old_groups == 1 && groups == 1)) return same_inputs(p, 0, 0, was.count, 0, is.count, !channels);
    if (was.count % old_groups || is.count % groups || p->is->out_c % (int)groups) return WRONG(p, "has %zu groups for %zu inputs", groups, is.count);
    for (size_t g = 0; !rc && g < groups; g++) rc = same_group(p, g, was.count / old_groups, is.count / groups);
    return rc;
}

/* A layer that uses another's values must be cut as that one is. */
static enum prune_code same_share(struct proof *p)
{
    enum prune_code rc = same_layer(p, "shares the weights of", p->was->share, p->is->share);
    if (rc || p->was->share < 0) return rc;
    const struct prune_layer_plan *a = p->cut, *b = &p->plan->layers[p->was->share];
    bool same = a->out_count == b->out_count && a->in_count == b->in_count && !memcmp(a->out_keep, b->out_keep, a->out_count * sizeof *a->out_keep) &&
                !memcmp(a->in_keep, b->in_keep, a->in_count * sizeof *a->in_keep);
    return same ? PRUNE_OK : WRONG(p, "keeps other channels than layer %d, whose weights it uses", p->was->share);
}

static enum prune_code prove_producer(struct proof *p, struct proof_cut *cut)
{
    enum prune_code rc = make_outputs(p);
    if (!rc) rc = read_inputs(p);
    if (!rc) rc = same_share(p);
    if (rc) return rc;
    if (p->cut->out_count < (size_t)p->was->out_c) cut->out = p->cut->out_keep;
    if (p->was->source_count && p->cut->in_count < proof_row_read(&p->before, p->was, 0).count) cut->in = p->cut->in_keep;
    cut->area = p->cut->in_area;
    return PRUNE_OK;
}

/* Heads, losses, recurrent layers, and whatever mixes channels: all they read and make stays. */
static enum prune_code prove_fixed(struct proof *p)
{
    size_t olds, news;
    uint64_t *old = proof_out(&p->before, p->was, &olds), *new = proof_out(&p->after, p->is, &news);
    if (p->was->out_c != p->is->out_c || olds != news) return WRONG(p, "makes %d channels where the original makes %d, and none may go", p->is->out_c, p->was->out_c);
    for (size_t i = 0; i < olds; i++) old[i] = new[i] = proof_symbol(p->was->index, i);
    p->found.readers++;
    enum prune_code rc = same_sources(p);
    return rc ? rc : same_layer(p, "refers to", p->was->refers_to, p->is->refers_to);
}

/* "channel 3 of layer 7", or what a sum or product consists of. */
static const char *describe(const struct proof *p, const struct proof_side *s, const struct prune_layer *l, size_t channel, char text[208])
{
    char a[96], b[96];
    bool two = l->source_count > 1 && prune_kind_info(l->kind)->rule != PRUNE_CH_CONCAT;
    proof_name(&p->before, proof_row_of(s, l->index).v[channel], a);
    snprintf(text, 208, "%s", a);
    if (!two) return text;
    struct proof_row x = proof_row_read(s, l, 0), y = proof_row_read(s, l, 1);
    snprintf(text, 208, "%s with %s", channel < x.count ? proof_name(&p->before, x.v[channel], a) : "nothing", channel < y.count ? proof_name(&p->before, y.v[channel], b) : "nothing");
    return text;
}

/* Both sides make their values of what they read, and the new ones must be the old ones without zeros: readers would notice too, but not know
 * where it began. Stored values go with the channels that are not zero. */
static enum prune_code prove_followed(struct proof *p, struct proof_cut *cut)
{
    size_t olds, news, kept = 0;
    char is[208], should[208];
    if (!proof_follows(&p->after, p->is)) return WRONG(p, "reads channels that do not fit each other");
    proof_follow(&p->before, p->was, p->was->index);
    proof_follow(&p->after, p->is, p->was->index);
    const uint64_t *old = proof_out(&p->before, p->was, &olds), *new = proof_out(&p->after, p->is, &news);
    for (size_t i = 0; i < olds; i++) {
        if (!old[i]) continue;
        if (kept < news && new[kept] != old[i])
            return WRONG(p, "makes its channel %zu of %s and should make it of %s", kept, describe(p, &p->after, p->is, kept, is), describe(p, &p->before, p->was, i, should));
        p->stays[kept++] = (int)i;
    }
    if (kept != news) return WRONG(p, "has %zu channels, and %zu of the original's %zu are left", news, kept, olds);
    if (kept < olds) cut->out = p->stays;
    return may_lose(p, kept, olds);
}

/* What nobody reads is an output of the network. */
static enum prune_code prove_output(struct proof *p)
{
    size_t olds, news;
    const uint64_t *old = proof_out(&p->before, p->was, &olds), *new = proof_out(&p->after, p->is, &news);
    if (p->before.read[p->was->index] != p->after.read[p->is->index]) return WRONG(p, "is read by other layers than in the original");
    if (p->before.read[p->was->index]) return PRUNE_OK;
    p->found.readers += news > 0;        /* a head's own output is not followed: all that the head reads was compared */
    p->found.channels += news;
    for (size_t i = 0; i < olds; i++)
        if (!old[i] || i >= news || new[i] != old[i]) return WRONG(p, "is an output of the network, and its channel %zu is removed or another", i);
    return olds == news ? PRUNE_OK : WRONG(p, "is an output of the network and has %zu channels where the original has %zu", news, olds);
}

static enum prune_code prove_layer(struct proof *p, int layer)
{
    struct proof_cut cut = { NULL, NULL, 1 };
    p->is = &p->after.net->layers[layer];
    p->was = &p->before.net->layers[p->old_of[layer]];
    p->cut = &p->plan->layers[p->old_of[layer]];
    enum prune_code rc = same_fields(p);
    if (rc) return rc;
    if (prune_kind_info(p->was->kind)->rule == PRUNE_CH_PRODUCE) rc = prove_producer(p, &cut);
    else if (proof_follows(&p->before, p->was)) rc = prove_followed(p, &cut);
    else rc = prove_fixed(p);
    if (!rc) rc = prove_output(p);
    if (rc || !p->old_weights.weights) return rc;
    const struct proof_pair pair = { p->was, p->is, cut };
    return proof_weights(&p->old_weights, &p->new_weights, &pair, &p->tensor, &p->found.values, p->st);
}

static enum prune_code open_proof(struct proof *p, const struct prune_net *old_net, const struct prune_net *new_net)
{
    enum prune_code rc = proof_side_open(&p->before, old_net, p->st);
    if (!rc) rc = proof_side_open(&p->after, new_net, p->st);
    size_t widest = 1;
    for (size_t i = 0; i < old_net->layer_count; i++)
        if ((size_t)old_net->layers[i].out_c > widest) widest = (size_t)old_net->layers[i].out_c;
    p->old_of = malloc((new_net->layer_count + 1) * sizeof *p->old_of);
    p->stays = malloc(widest * sizeof *p->stays);
    if (!rc && (!p->old_of || !p->stays)) rc = prune_fail_memory(p->st, widest * sizeof *p->stays, "the proof of a rewrite");
    return rc;
}

/* Which layer of the old network each new one is; both inputs and [net] sections are the same. */
static enum prune_code match_nets(struct proof *p)
{
    const struct prune_net *a = p->before.net, *b = p->after.net;
    const struct prune_option *was, *is;
    if (a->layer_count != b->layer_count || p->plan->layer_count != a->layer_count)
        return prune_fail(p->st, "the rewritten network is not the masked original: it has %zu layers where %zu were planned; this is an error of the program", b->layer_count, a->layer_count);
    for (size_t i = 0; i < b->layer_count; i++) p->old_of[i] = (int)i;
    first_difference(&a->cfg->sections[0], &b->cfg->sections[0], PRUNE_CH_NONE, &was, &is);
    if (!was && !is && a->w == b->w && a->h == b->h && a->c == b->c) return PRUNE_OK;
    return prune_fail(p->st, "the rewritten network is not the masked original: its [net] section has another '%s'; this is an error of the program", is ? is->key : was ? was->key : "size");
}

/* Both files; their headers are the same. */
static enum prune_code open_weights(struct proof *p, const struct prune_weights *old_weights, const struct prune_weights *new_weights)
{
    if (!old_weights) return PRUNE_OK;
    const struct prune_weights_header *a = &old_weights->header, *b = &new_weights->header;
    if (a->major != b->major || a->minor != b->minor || a->revision != b->revision || a->seen != b->seen)
        return prune_fail(p->st, "the header of '%s' is not that of '%s'; this is an error of the program", new_weights->path, old_weights->path);
    enum prune_code rc = proof_reader_open(&p->old_weights, old_weights, p->st);
    return rc ? rc : proof_reader_open(&p->new_weights, new_weights, p->st);
}

enum prune_code prune_prove(const struct prune_net *old_net, const struct prune_weights *old_weights, const struct prune_plan *plan,
                            const struct prune_net *new_net, const struct prune_weights *new_weights, struct prune_proof *proof, struct prune_status *st)
{
    struct proof p = { .plan = plan, .st = st };
    enum prune_code rc = open_proof(&p, old_net, new_net);
    if (!rc) rc = match_nets(&p);
    if (!rc) rc = open_weights(&p, old_weights, new_weights);
    for (size_t i = 0; !rc && i < new_net->layer_count; i++) rc = prove_layer(&p, (int)i);
    p.found.layers = new_net->layer_count;
    if (!rc) *proof = p.found;
    proof_reader_close(&p.old_weights);
    proof_reader_close(&p.new_weights);
    proof_side_free(&p.before);
    proof_side_free(&p.after);
    free(p.old_of);
    free(p.stays);
    return rc;
}
