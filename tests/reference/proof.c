/* Writing, rewriting, running and comparing one network; see proof.h. */
#include "proof.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../plugin/base/file_io.h"
#include "kinds.h"

static bool draw_weights(struct proof *p, const char *text, uint64_t seed)
{
    struct ref_net net;
    size_t size = 0;
    size_t theirs = p->net.dialects & PRUNE_ALEXEYAB ? seed / 4 % 2 : 0;
    if (ref_load(&net, p->cfg_path, text, strlen(text), NULL, theirs, &p->st)) return false;
    double *image = ref_random_image(&net, seed, 1);
    ref_randomize(&net, seed, image);
    void *bytes = ref_weights_bytes(&net, (int)(seed % 4), &size);
    enum prune_code code = prune_write_file(p->weights_path, bytes, size, &p->st);
    free(bytes);
    free(image);
    ref_free(&net);
    return !code;
}

/* Near the image that the statistics were fitted to: a deep network may amplify any other beyond what exp takes. */
static double *near_image(const struct ref_net *net, uint64_t seed)
{
    double *image = ref_random_image(net, seed, 1), *other = ref_random_image(net, seed, 2);
    for (size_t i = 0; i < net->inputs; i++) image[i] += .25 * (other[i] - image[i]);
    free(other);
    return image;
}

bool proof_open(struct proof *p, const char *folder, const char *text, uint64_t seed)
{
    memset(p, 0, sizeof *p);
    snprintf(p->folder, sizeof p->folder, "%s", folder);
    snprintf(p->cfg_path, sizeof p->cfg_path, "%s/net.cfg", p->folder);
    snprintf(p->weights_path, sizeof p->weights_path, "%s/net.weights", p->folder);
    if (prune_write_file(p->cfg_path, text, strlen(text), &p->st) || prune_net_read(&p->cfg, &p->net, p->cfg_path, &p->st)) return false;
    bool drawn = draw_weights(p, text, seed), opened = false, built = false, ok = drawn;
    if (ok) ok = opened = !prune_weights_open(&p->in, p->weights_path, &p->net, &p->st);
    if (ok) ok = !prune_weights_check_finite(&p->in, &p->st);
    if (ok) ok = built = !prune_units_build(&p->units, &p->net, &p->st);
    if (ok) ok = !ref_load_files(&p->original, p->cfg_path, p->weights_path, &p->st);
    if (ok) {
        p->image = near_image(&p->original, seed);
        ref_run(&p->original, p->image, NULL);
        ok = ref_difference(&p->original, &p->original, NULL) <= 0;
        if (!ok) {
            p->unfit++;
            prune_fail(&p->st, "the outputs of the original network are not finite");
            ref_free(&p->original);
            free(p->image);
        }
    }
    if (ok) {
        p->origin.cfg_path = p->cfg_path;
        p->origin.weights_path = p->weights_path;
        prune_hash_file(p->cfg_path, p->origin.cfg_hash, &p->st);
        prune_hash_file(p->weights_path, p->origin.weights_hash, &p->st);
        return true;
    }
    if (built) prune_units_free(&p->units);
    if (opened) prune_weights_close(&p->in);
    prune_net_free(&p->net);
    prune_cfg_free(&p->cfg);
    return false;
}

void proof_close(struct proof *p)
{
    ref_free(&p->original);
    free(p->image);
    prune_units_free(&p->units);
    prune_weights_close(&p->in);
    prune_net_free(&p->net);
    prune_cfg_free(&p->cfg);
}

static const char *say(struct proof *p, const char *format, ...) PRUNE_PRINTF(2, 3);
static const char *say(struct proof *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->st.message, sizeof p->st.message, format, args);
    va_end(args);
    return p->st.message;
}

/* ---- text ---- */

/* A line without the digits of its value; only keys that count channels or groups may differ there. */
static bool same_but_for_counts(const char *a, size_t a_size, const char *b, size_t b_size)
{
    static const char *const keys[] = {"filters", "output", "groups", "group_id"};
    size_t same = 0, a_end = a_size, b_end = b_size;
    char key[16] = "";
    while (same < a_size && same < b_size && a[same] == b[same]) same++;
    while (same && a[same - 1] >= '0' && a[same - 1] <= '9') same--;
    size_t n = 0;
    for (size_t i = 0; i < a_size && a[i] != '='; i++)
        if (a[i] != ' ' && a[i] != '\t' && n < 15) key[n++] = a[i];
    while (a_end > same && b_end > same && a[a_end - 1] == b[b_end - 1]) a_end--, b_end--;
    for (size_t i = same; i < a_end; i++)
        if (a[i] < '0' || a[i] > '9') return false;
    for (size_t i = same; i < b_end; i++)
        if (b[i] < '0' || b[i] > '9') return false;
    for (int i = 0; i < 4; i++)
        if (!strcmp(keys[i], key)) return memchr(a, '=', a_size) && (const char *)memchr(a, '=', a_size) < a + same;
    return false;
}

static const char *compare_text(struct proof *p, const char *path)
{
    char *bytes = NULL;
    const char *said = NULL;
    size_t size = 0, line = 1;
    if (prune_read_file(path, &bytes, &size, &p->st)) return p->st.message;
    const char *a = p->cfg.bytes, *b = bytes;
    while (!said && (*a || *b)) {
        size_t n = strcspn(a, "\n"), k = strcspn(b, "\n");
        if ((n != k || memcmp(a, b, n)) && !same_but_for_counts(a, n, b, k)) said = say(p, "line %zu of the cfg became '%.*s'", line, (int)k, b);
        if (!said && (a[n] != b[k])) said = say(p, "the cfg has another number of lines");
        a += n + (a[n] != 0);
        b += k + (b[k] != 0);
        line++;
    }
    free(bytes);
    return said;
}

static bool same_files(const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    bool same = !prune_read_file(a, &x, &n, NULL) && !prune_read_file(b, &y, &m, NULL) && n == m && !memcmp(x, y, n);
    free(x);
    free(y);
    return same;
}

/* ---- numbers ---- */

static struct ref_gates make_gates(const struct proof *p, const uint8_t *removed)
{
    struct ref_gates g = {ref_alloc((size_t)p->original.count, sizeof *g.before), ref_alloc((size_t)p->original.count, sizeof *g.after)};
    for (size_t i = 0; i < p->units.site_count; i++) {
        const struct prune_gate_site *s = &p->units.sites[i];
        double **row = &(s->place == PRUNE_GATE_BEFORE_ACTIVATION ? g.before : g.after)[s->layer];
        size_t n = (size_t)p->original.layers[s->layer].out_c;
        if (!*row) {
            *row = ref_alloc(n, sizeof **row);
            for (size_t k = 0; k < n; k++) (*row)[k] = 1;
        }
        if (removed[s->unit]) (*row)[s->channel] = 0;
    }
    return g;
}

static void free_gates(struct ref_gates *g, int layers)
{
    for (int i = 0; i < layers; i++) {
        free(g->before[i]);
        free(g->after[i]);
    }
    free(g->before);
    free(g->after);
}

static const char *compare_runs(struct proof *p, const struct prune_pair *pair, const uint8_t *removed, double *effect)
{
    struct ref_net pruned, masked;
    const char *said = NULL;
    int at = -1;
    if (ref_load_files(&pruned, pair->cfg, pair->weights, &p->st)) return p->st.message;
    if (ref_load_files(&masked, p->cfg_path, pair->masked, &p->st)) {
        ref_free(&pruned);
        return p->st.message;
    }
    ref_run(&pruned, p->image, NULL);
    ref_run(&masked, p->image, NULL);
    bool fit = ref_difference(&masked, &masked, NULL) <= 0 || ref_difference(&pruned, &pruned, NULL) <= 0;   /* one finite and the other not is a difference */
    p->unfit += !fit;
    double gap = fit ? ref_difference(&masked, &pruned, &at) : 0;
    if (!(gap <= PROOF_LIMIT)) said = say(p, "masked weights and the pruned pair differ by %.1e at layer %d", gap, at);
    struct ref_gates gates = make_gates(p, removed);
    ref_run(&p->original, p->image, &gates);
    free_gates(&gates, p->original.count);
    gap = fit ? ref_difference(&p->original, &pruned, &at) : 0;
    if (!said && !(gap <= PROOF_LIMIT)) said = say(p, "shut gates and the pruned pair differ by %.1e at layer %d", gap, at);
    if (effect) {
        ref_run(&p->original, p->image, NULL);
        *effect = ref_difference(&p->original, &pruned, &at);
    }
    ref_free(&masked);
    ref_free(&pruned);
    return said;
}

static void remove_pair(const struct prune_pair *pair)
{
    remove(pair->cfg);
    remove(pair->weights);
    remove(pair->mask);
    if (pair->masked) remove(pair->masked);
}

static const char *write_pair(struct proof *p, const uint8_t *removed, struct prune_pair *pair)
{
    char out[128];
    snprintf(out, sizeof out, "%s/out", p->folder);
    return prune_write_pair(&p->net, &p->units, removed, &p->in, &p->origin, out, true, pair, &p->st) ? p->st.message : NULL;
}

const char *proof_mask(struct proof *p, const uint8_t *removed, double *effect)
{
    struct prune_pair pair;
    const char *said = write_pair(p, removed, &pair);
    if (said) return said;
    said = compare_text(p, pair.cfg);
    if (!said) said = compare_runs(p, &pair, removed, effect);
    remove_pair(&pair);
    prune_pair_free(&pair);
    return said;
}

const char *proof_keep_all(struct proof *p)
{
    struct prune_pair pair;
    uint8_t *none = ref_alloc(p->units.count, 1);
    const char *said = write_pair(p, none, &pair);
    free(none);
    if (said) return said;
    if (!same_files(p->cfg_path, pair.cfg)) said = say(p, "a mask that keeps all changes the cfg");
    else if (!same_files(p->weights_path, pair.weights)) said = say(p, "a mask that keeps all changes the weights");
    else if (!same_files(p->weights_path, pair.masked)) said = say(p, "a mask that keeps all changes the masked weights");
    remove_pair(&pair);
    prune_pair_free(&pair);
    return said;
}

/* ---- dump ---- */

static bool write_floats(const char *folder, const char *name, const double *values, size_t count)
{
    char path[256];
    float *floats = ref_alloc(count, sizeof *floats);
    for (size_t i = 0; i < count; i++) floats[i] = (float)values[i];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    bool ok = !prune_write_file(path, floats, count * sizeof *floats, NULL);
    free(floats);
    return ok;
}

/* net.cfg and .weights, net-masked.weights, net-pruned.cfg and .weights, input.bin, and per end layer LAYER.bin (c h w in ends.txt). */
bool proof_dump(struct proof *p, const uint8_t *removed, const char *folder)
{
    struct prune_pair pair;
    char path[256], line[64], list[4096] = "";
    int count = 0, *ends = ref_ends(&p->original, &count);
    struct ref_net pruned;
    bool ok = !prune_write_pair(&p->net, &p->units, removed, &p->in, &p->origin, folder, true, &pair, &p->st);
    if (ok) ok = !ref_load_files(&pruned, pair.cfg, pair.weights, &p->st);
    if (ok) {
        ref_run(&pruned, p->image, NULL);
        ok = write_floats(folder, "input.bin", p->image, p->original.inputs);
        for (int i = 0; i < count && ok; i++) {
            const struct ref_layer *l = &pruned.layers[ends[i]];
            snprintf(line, sizeof line, "%d.bin", ends[i]);
            ok = write_floats(folder, line, l->output, l->outputs);
            snprintf(line, sizeof line, "%d %d %d %d\n", ends[i], l->out_c, l->out_h, l->out_w);
            strncat(list, line, sizeof list - strlen(list) - 1);
        }
        snprintf(path, sizeof path, "%s/ends.txt", folder);
        if (ok) ok = !prune_write_file(path, list, strlen(list), &p->st);
        ref_free(&pruned);
    }
    if (pair.cfg) prune_pair_free(&pair);
    free(ends);
    return ok;
}
