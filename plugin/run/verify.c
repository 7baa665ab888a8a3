/* Verification of a rewritten network against the masked original, in the host, image by image; see verify.h.
 * In: two cfg/weights pairs that read the same input. Compared: what each head reads, or the last layer where there is no head. */
#include "verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/random.h"
#include "../model/net_shape.h"

enum { DEFAULT_IMAGES = 4 };

struct side {
    const struct prune_host *host;
    struct prune_host_net *net;
    struct prune_cfg cfg;
    struct prune_net shape;
    int *heads;                  /* layers whose outputs are compared */
    size_t head_count;
};

static enum prune_code find_heads(struct side *s, struct prune_status *st)
{
    s->heads = calloc(s->shape.layer_count + 1, sizeof *s->heads);
    if (!s->heads) return prune_fail_memory(st, s->shape.layer_count * sizeof *s->heads, "list of heads");
    for (size_t i = 0; i < s->shape.layer_count; i++) {
        const struct prune_layer *l = &s->shape.layers[i];
        if (!prune_kind_info(l->kind)->is_head || !l->source_count || l->sources[0] < 0) continue;
        s->heads[s->head_count++] = l->sources[0];
    }
    if (!s->head_count) s->heads[s->head_count++] = (int)s->shape.layer_count - 1;
    return PRUNE_OK;
}

static enum prune_code side_open(struct side *s, const struct prune_host *host, const char *cfg, const char *weights,
                                 const struct prune_verify_options *o, struct prune_status *st)
{
    memset(s, 0, sizeof *s);
    s->host = host;
    enum prune_code rc = prune_net_read(&s->cfg, &s->shape, cfg, st);
    if (rc) return rc;
    struct prune_open_options open = {.threads = o->threads, .seed = o->seed, .batch = 1, .quiet = true};
    rc = find_heads(s, st);
    if (!rc) rc = host->open(host->context, cfg, weights, &open, &s->net, st);
    if (rc) {
        free(s->heads);
        prune_net_free(&s->shape);
        prune_cfg_free(&s->cfg);
        memset(s, 0, sizeof *s);
    }
    return rc;
}

static void side_close(struct side *s)
{
    if (!s->host) return;
    s->host->close(s->net);
    free(s->heads);
    prune_net_free(&s->shape);
    prune_cfg_free(&s->cfg);
}

/* max|a-b| / max|a|; NaN or infinity on either side gives infinity. */
static double relative_difference(const float *a, const float *b, size_t n)
{
    double largest = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
        double d = fabs((double)a[i] - (double)b[i]);
        if (d > difference) difference = d;
        if (fabs((double)a[i]) > largest) largest = fabs((double)a[i]);
    }
    if (difference == 0) return 0;
    return largest > 0 ? difference / largest : INFINITY;
}

static size_t tensor_count(const struct prune_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

static enum prune_code compare_image(struct side *a, struct side *b, const float *input, struct prune_verify_result *r, struct prune_status *st)
{
    enum prune_code rc = a->host->forward(a->net, input, 1, st);
    if (!rc) rc = b->host->forward(b->net, input, 1, st);
    for (size_t i = 0; !rc && i < a->head_count; i++) {
        struct prune_tensor x, y;
        rc = a->host->output(a->net, a->heads[i], &x, st);
        if (!rc) rc = b->host->output(b->net, b->heads[i], &y, st);
        if (rc) break;
        if (tensor_count(&x) != tensor_count(&y))
            return prune_fail(st, "networks differ in shape at layer %d: %zu and %zu outputs", a->heads[i], tensor_count(&x), tensor_count(&y));
        double d = relative_difference(x.data, y.data, tensor_count(&x));
        if (d > r->worst || r->worst_layer < 0) {
            r->worst = d;
            r->worst_layer = a->heads[i];
        }
    }
    return rc;
}

static enum prune_code make_input(const struct side *a, const struct prune_verify_options *o, size_t n, float **input, size_t *got, struct prune_status *st)
{
    size_t one = (size_t)a->shape.inputs;
    float *x = malloc(n * one * sizeof *x);
    if (!x) return prune_fail_memory(st, n * one * sizeof *x, "verification images");
    enum prune_code rc = PRUNE_OK;
    *got = n;
    if (o->data_path) {
        struct prune_image_set set = {.data_path = o->data_path, .role = PRUNE_DATA_VALID, .limit = n};
        rc = a->host->load_images(a->net, &set, n, x, got, st);
    } else {
        struct prune_random random = prune_random_make(o->seed, 7, 0);
        for (size_t i = 0; i < n * one; i++) x[i] = (float)prune_random_uniform(&random);
    }
    if (rc) free(x);
    else *input = x;
    return rc;
}

static enum prune_code compare_all(struct side *a, struct side *b, const struct prune_verify_options *o, struct prune_verify_result *r, struct prune_status *st)
{
    if (a->shape.inputs != b->shape.inputs || a->head_count != b->head_count)
        return prune_fail(st, "networks cannot be compared: %d inputs and %zu heads against %d inputs and %zu heads", a->shape.inputs, a->head_count,
                          b->shape.inputs, b->head_count);
    float *input = NULL;
    size_t got = 0;
    enum prune_code rc = make_input(a, o, o->images ? o->images : DEFAULT_IMAGES, &input, &got, st);
    for (size_t i = 0; !rc && i < got; i++) {
        rc = compare_image(a, b, input + i * (size_t)a->shape.inputs, r, st);
        r->images++;
    }
    free(input);
    r->heads = a->head_count;
    return rc;
}

enum prune_code prune_verify(const struct prune_host *host, const char *cfg_a, const char *weights_a, const char *cfg_b, const char *weights_b,
                             const struct prune_verify_options *o, struct prune_verify_result *r, struct prune_status *st)
{
    *r = (struct prune_verify_result){.worst_layer = -1};
    struct side a = {0}, b = {0};
    enum prune_code rc = prune_host_check(host, 0, st);
    if (!rc) rc = side_open(&a, host, cfg_a, weights_a, o, st);
    if (!rc) rc = side_open(&b, host, cfg_b, weights_b, o, st);
    if (!rc) rc = compare_all(&a, &b, o, r, st);
    side_close(&a);
    side_close(&b);
    double tolerance = o->tolerance > 0 ? o->tolerance : 1e-4;
    if (!rc && !(r->worst <= tolerance))
        rc = prune_fail(st, "networks differ: max|a-b| / max|a| = %g at layer %d, allowed %g ('%s' with '%s' against '%s' with '%s')", r->worst,
                        r->worst_layer, tolerance, cfg_a, weights_a, cfg_b, weights_b);
    return rc;
}
