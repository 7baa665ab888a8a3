/* Weights of the reference interpreter: bytes -> parts, random values, parts -> bytes. The file: int32 major, minor, revision; seen in 4 or 8 bytes;
 * float32 in the order of the layers, each part in the order its letters say. See interpreter.h. */
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kinds.h"

static int role_of(char letter)
{
    return (int)(strchr("bsmvw", letter) - "bsmvw");
}

/* How many values of a role the file holds, of those that the layer has. */
static size_t stored_count(const struct ref_net *net, const struct ref_layer *l, const struct ref_part *p, int role)
{
    int numload = 0, skip = 0;
    struct prune_status st;
    if (!l->stored || p->borrowed) return 0;
    prune_cfg_int(&net->cfg, l->section, "numload", 0, &numload, &st);
    prune_cfg_int(&net->cfg, l->section, "dontloadscales", 0, &skip, &st);
    if (skip && role != REF_BIASES && role != REF_WEIGHTS && strchr(p->order, 'w')) return 0;
    if (numload && !strcmp(l->kind->name, "convolutional")) return p->counts[role] / (size_t)p->n * (size_t)numload;
    return p->counts[role];
}

static size_t count_values(const struct ref_net *net)
{
    size_t sum = 0;
    for (int i = 0; i < net->count; i++)
        for (int k = 0; k < net->layers[i].part_count; k++) {
            const struct ref_part *p = &net->layers[i].parts[k];
            for (const char *letter = p->order; *letter; letter++) sum += stored_count(net, &net->layers[i], p, role_of(*letter));
        }
    return sum;
}

/* rows x columns -> columns x rows */
static void transpose(float *values, size_t rows, size_t columns)
{
    float *copy = ref_alloc(rows * columns, sizeof *copy);
    memcpy(copy, values, rows * columns * sizeof *copy);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) values[c * rows + r] = copy[r * columns + c];
    free(copy);
}

/* The two layouts that turn weights (n, k) into (k, n). */
static bool is_turned(const struct ref_layer *l, const struct ref_part *p, bool transposed)
{
    return (p->connected && transposed) || (!strcmp(l->kind->name, "convolutional") && l->flag);
}

/* Room for every value. What a file does not hold depends on the layer's number and the place alone. */
static void allocate(struct ref_net *net)
{
    for (int i = 0; i < net->count; i++)
        for (int k = 0; k < net->layers[i].part_count; k++) {
            struct ref_part *p = &net->layers[i].parts[k];
            for (const char *letter = p->order; *letter && !p->borrowed; letter++) {
                int role = role_of(*letter);
                float *values = p->values[role] = ref_alloc(p->counts[role], sizeof *values);
                struct prune_random r = prune_random_make(3, (uint64_t)(i * 100 + k), (uint64_t)role);
                for (size_t j = stored_count(net, &net->layers[i], p, role); j < p->counts[role]; j++)
                    values[j] = role == REF_SCALES || role == REF_VARIANCES ? 1 : role == REF_WEIGHTS ? (float)prune_random_range(&r, -.3, .3) : 0;
            }
        }
}

/* Size of the header; *transposed as its version says. 0: too short. */
static size_t read_header(const unsigned char *bytes, size_t size, bool *transposed)
{
    int32_t version[3];
    if (size < 16) return 0;
    memcpy(version, bytes, sizeof version);
    *transposed = version[0] > 1000 || version[1] > 1000;
    return version[0] * 10 + version[1] >= 2 && version[0] < 1000 && version[1] < 1000 ? 20 : 16;
}

void ref_read_weights(struct ref_net *net, const void *weights, size_t size)
{
    bool transposed = false, fits = false;
    size_t at = weights ? read_header(weights, size, &transposed) : 0, needed = 0;
    bool theirs = net->alexeyab || (!weights && size);
    for (int reading = theirs; reading < 2 && !net->code && !fits; reading++) {
        net->their_files = reading;
        ref_shape(net);
        needed = net->code ? 0 : count_values(net);
        fits = !weights || (at && size == at + 4 * needed);
    }
    if (net->code) return;
    if (!fits) {
        net->code = prune_fail(net->st, "reference interpreter: the weights of '%s' have %zu bytes, and the last reading needs %zu", net->cfg.path, size, at + 4 * needed);
        return;
    }
    allocate(net);
    for (int i = 0; weights && i < net->count; i++)
        for (int k = 0; k < net->layers[i].part_count; k++) {
            struct ref_part *p = &net->layers[i].parts[k];
            for (const char *letter = p->order; *letter; letter++) {
                size_t count = stored_count(net, &net->layers[i], p, role_of(*letter));
                if (!count) continue;
                memcpy(p->values[role_of(*letter)], (const char *)weights + at, 4 * count);
                at += 4 * count;
                if (*letter == 'w' && is_turned(&net->layers[i], p, transposed)) transpose(p->values[REF_WEIGHTS], count / (size_t)p->n, (size_t)p->n);
            }
        }
}

void *ref_weights_bytes(const struct ref_net *net, int version, size_t *size)
{
    static const int32_t versions[4][3] = {{0, 1, 0}, {0, 2, 0}, {0, 2, 5}, {0, 1002, 5}};
    size_t at = version == 0 || version == 3 ? 16 : 20;
    *size = at + 4 * count_values(net);
    char *bytes = ref_alloc(*size, 1);
    memcpy(bytes, versions[version], sizeof versions[version]);
    bytes[12] = 100;
    for (int i = 0; i < net->count; i++)
        for (int k = 0; k < net->layers[i].part_count; k++) {
            const struct ref_part *p = &net->layers[i].parts[k];
            for (const char *letter = p->order; *letter; letter++) {
                int role = role_of(*letter);
                size_t count = stored_count(net, &net->layers[i], p, role);
                if (!count) continue;
                float *copy = ref_alloc(count, sizeof *copy);
                memcpy(copy, p->values[role], count * sizeof *copy);
                if (role == REF_WEIGHTS && is_turned(&net->layers[i], p, version == 3)) transpose(copy, (size_t)p->n, count / (size_t)p->n);
                memcpy(bytes + at, copy, 4 * count);
                at += 4 * count;
                free(copy);
            }
        }
    return bytes;
}

/* ---- random values ---- */

static void draw_part(struct ref_part *p, struct prune_random *r)
{
    double fan_in = (double)p->c / p->groups * p->size * p->size;
    for (const char *letter = p->order; *letter && !p->borrowed; letter++) {
        int role = role_of(*letter);
        for (size_t i = 0; i < p->counts[role]; i++) {
            double z = prune_random_normal(r);
            p->values[role][i] = (float)(role == REF_WEIGHTS ? z * sqrt(2 / fan_in) : role == REF_SCALES ? 1 + .2 * z : role == REF_VARIANCES ? 1 + .2 * fabs(z) : .1 * z);
        }
    }
}

void ref_randomize(struct ref_net *net, uint64_t seed, const double *input)
{
    for (int i = 0; i < net->count; i++) {
        struct prune_random r = prune_random_make(seed, 5, (uint64_t)i);
        for (int k = 0; k < net->layers[i].part_count && net->layers[i].stored; k++) draw_part(&net->layers[i].parts[k], &r);
    }
    struct prune_random r = prune_random_make(seed, 6, 0);
    net->calibrate = &r;
    ref_run(net, input, NULL);
    net->calibrate = NULL;
}
