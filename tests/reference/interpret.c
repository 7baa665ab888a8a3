/* The reference interpreter on the command line, for tests and tables:
 *   interpret run CFG WEIGHTS INPUT OUTPUT       INPUT: float32 of one image; OUTPUT: float32 of all ends, one behind the other; their shapes are printed
 *   interpret compare A.CFG A.WEIGHTS B.CFG B.WEIGHTS [-seed N] [-images N] [-zero-layer L,...]      prints max|a-b| / max|a| over the ends;
 *                                                -zero-layer: the outputs of these layers of A are multiplied by 0
 *   interpret random CFG OUT.WEIGHTS [-seed N] [-version 0..3]    random weights, calibrated so that deep networks stay finite
 *   interpret ends CFG                           the numbers of the layers that are compared, with c h w
 * Status 0 ok, 1 failed, 2 bad usage. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../plugin/base/file_io.h"
#include "kinds.h"

struct options { long seed, images, version; const char *zero; };

static int failed(const struct prune_status *st)
{
    fprintf(stderr, "interpret: %s\n", st->message);
    return 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: interpret run CFG WEIGHTS INPUT OUTPUT | compare A.CFG A.WEIGHTS B.CFG B.WEIGHTS [-seed N] [-images N] [-zero-layer L,...] | "
                    "random CFG OUT.WEIGHTS [-seed N] [-version 0..3] | ends CFG\n");
    return 2;
}

static void print_ends(const struct ref_net *net)
{
    int count = 0, *ends = ref_ends(net, &count);
    for (int i = 0; i < count; i++) printf("%d %d %d %d\n", ends[i], net->layers[ends[i]].out_c, net->layers[ends[i]].out_h, net->layers[ends[i]].out_w);
    free(ends);
}

static enum prune_code write_ends(const struct ref_net *net, const char *path, struct prune_status *st)
{
    int count = 0, *ends = ref_ends(net, &count);
    size_t floats = 0, at = 0;
    for (int i = 0; i < count; i++) floats += net->layers[ends[i]].outputs;
    float *values = ref_alloc(floats, sizeof *values);
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < net->layers[ends[i]].outputs; k++) values[at++] = (float)net->layers[ends[i]].output[k];
    enum prune_code code = prune_write_file(path, values, floats * sizeof *values, st);
    free(values);
    free(ends);
    return code;
}

static int verb_run(char **a)
{
    struct prune_status st;
    struct ref_net net;
    char *bytes = NULL;
    size_t size = 0;
    if (ref_load_files(&net, a[0], a[1], &st)) return failed(&st);
    enum prune_code code = prune_read_file(a[2], &bytes, &size, &st);
    if (!code && size != 4 * net.inputs) code = prune_fail(&st, "'%s' has %zu bytes, and the network reads %zu numbers", a[2], size, net.inputs);
    if (!code) {
        double *image = ref_alloc(net.inputs, sizeof *image);
        for (size_t i = 0; i < net.inputs; i++) {
            float value;
            memcpy(&value, bytes + 4 * i, 4);
            image[i] = (double)value;
        }
        ref_run(&net, image, NULL);
        free(image);
        print_ends(&net);
        code = write_ends(&net, a[3], &st);
    }
    free(bytes);
    ref_free(&net);
    return code ? failed(&st) : 0;
}

static void shut_layers(const struct ref_net *net, double **after, const char *list)
{
    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        int layer = atoi(at);
        if (layer >= 0 && layer < net->count && !after[layer]) after[layer] = ref_alloc((size_t)net->layers[layer].out_c, sizeof **after);
    }
}

static int verb_compare(char **a, const struct options *o)
{
    struct prune_status st;
    struct ref_net one, two;
    double worst = 0;
    int at = -1;
    if (ref_load_files(&one, a[0], a[1], &st)) return failed(&st);
    if (ref_load_files(&two, a[2], a[3], &st)) {
        ref_free(&one);
        return failed(&st);
    }
    struct ref_gates gates = {NULL, ref_alloc((size_t)one.count, sizeof *gates.after)};
    shut_layers(&one, gates.after, o->zero);
    for (long i = 0; i < o->images && one.inputs == two.inputs; i++) {
        double *image = ref_random_image(&one, (uint64_t)o->seed, (uint64_t)i);
        ref_run(&one, image, &gates);
        ref_run(&two, image, NULL);
        worst = fmax(worst, ref_difference(&one, &two, &at));
        free(image);
    }
    if (one.inputs != two.inputs) worst = INFINITY;
    printf("%.3e\n", worst);
    for (int i = 0; i < one.count; i++) free(gates.after[i]);
    free(gates.after);
    ref_free(&one);
    ref_free(&two);
    return isfinite(worst) ? 0 : 1;
}

static int verb_random(char **a, const struct options *o)
{
    struct prune_status st;
    struct ref_net net;
    if (o->version < 0 || o->version > 3) return usage();
    if (ref_load_files(&net, a[0], NULL, &st)) return failed(&st);
    double *image = ref_random_image(&net, (uint64_t)o->seed, 0);
    ref_randomize(&net, (uint64_t)o->seed, image);
    size_t size = 0;
    void *bytes = ref_weights_bytes(&net, (int)o->version, &size);
    enum prune_code code = prune_write_file(a[1], bytes, size, &st);
    free(bytes);
    free(image);
    ref_free(&net);
    return code ? failed(&st) : 0;
}

static int verb_ends(char **a)
{
    struct prune_status st;
    struct ref_net net;
    if (ref_load_files(&net, a[0], NULL, &st)) return failed(&st);
    print_ends(&net);
    ref_free(&net);
    return 0;
}

static bool read_options(int count, char **a, struct options *o)
{
    for (int i = 0; i < count; i += 2) {
        if (i + 1 == count) return false;
        if (!strcmp(a[i], "-seed")) o->seed = atol(a[i + 1]);
        else if (!strcmp(a[i], "-images")) o->images = atol(a[i + 1]);
        else if (!strcmp(a[i], "-version")) o->version = atol(a[i + 1]);
        else if (!strcmp(a[i], "-zero-layer")) o->zero = a[i + 1];
        else return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .images = 1, .version = 2};
    static const struct { const char *name; int arguments; } verbs[] = {{"run", 4}, {"compare", 4}, {"random", 2}, {"ends", 1}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (argc < 2 || strcmp(verbs[i].name, argv[1])) continue;
        char **a = argv + 2;
        if (argc - 2 < verbs[i].arguments || !read_options(argc - 2 - verbs[i].arguments, a + verbs[i].arguments, &o)) return usage();
        return i == 0 ? verb_run(a) : i == 1 ? verb_compare(a, &o) : i == 2 ? verb_random(a, &o) : verb_ends(a);
    }
    return usage();
}
