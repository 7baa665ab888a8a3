/* What tests against recorded second-order values share (tests/golden/second-order; scripts/reference_second_order.py has the names): the matrices, the images of
 * tests/golden/criteria as files, and a network of there, open in the host and as a table of units. */
#ifndef TESTS_HOST_RECORDED_H
#define TESTS_HOST_RECORDED_H

#include "host_fixture.h"

#include <math.h>

#include "../../plugin/score/kfac.h"

unsigned char *stbi_load(char const *filename, int *x, int *y, int *comp, int req_comp);
void stbi_image_free(void *retval_from_stbi_load);

enum { KINDS = 4, TILES = 30, TILE = 16, SCENE = 32, TILES_IN_A_ROW = 6 };
static const char *const GOLDEN = "tests/golden/criteria", *const RECORDED = "tests/golden/second-order";
__attribute__((unused)) static const char *const FACTORED[] = {"plain", "residual", "grouped"};
static const double DAMPING = 1e-3;

/* ---- recorded matrices ---- */

struct recorded_matrix { char name[40]; size_t rows, columns; double *v; };
struct recorded { struct recorded_matrix m[1024]; size_t count; };

__attribute__((unused)) static void read_lower(FILE *f, struct recorded_matrix *m)
{
    m->columns = m->rows;
    m->v = calloc(m->rows * m->rows, sizeof *m->v);
    for (size_t i = 0; i < m->rows; i++)
        for (size_t j = 0; j <= i; j++) {
            assert_int_equal(fscanf(f, "%lf", &m->v[i * m->rows + j]), 1);
            m->v[j * m->rows + i] = m->v[i * m->rows + j];
        }
}

__attribute__((unused)) static void read_full(FILE *f, struct recorded_matrix *m, const char *columns)
{
    m->columns = (size_t)atol(columns);
    m->v = calloc(m->rows * m->columns, sizeof *m->v);
    for (size_t i = 0; i < m->rows * m->columns; i++) assert_int_equal(fscanf(f, "%lf", &m->v[i]), 1);
}

__attribute__((unused)) static struct recorded *recorded_read(const char *name)
{
    char path[128], columns[16];
    snprintf(path, sizeof path, "%s/%s.txt", RECORDED, name);
    FILE *f = fopen(path, "r");
    struct recorded *r = calloc(1, sizeof *r);
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*[^\n]"), 0);
    for (struct recorded_matrix *m = r->m; fscanf(f, "%39s %zu %15s", m->name, &m->rows, columns) == 3; m = r->m + ++r->count) {
        assert_true(r->count + 1 < sizeof r->m / sizeof *r->m && m->rows);
        if (strcmp(columns, "lower") == 0) read_lower(f, m);
        else read_full(f, m, columns);
    }
    fclose(f);
    return r;
}

__attribute__((unused)) static void recorded_free(struct recorded *r)
{
    for (size_t i = 0; i < r->count; i++) free(r->m[i].v);
    free(r);
}

/* NULL: not recorded. */
__attribute__((unused)) static const struct recorded_matrix *look(const struct recorded *r, const char *what, int layer, size_t group)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%d.%zu", what, layer, group);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->m[i].name, layer < 0 ? what : name) == 0) return &r->m[i];
    return NULL;
}

__attribute__((unused)) static const struct recorded_matrix *find(const struct recorded *r, const char *what, int layer, size_t group, size_t values)
{
    const struct recorded_matrix *m = look(r, what, layer, group);
    if (!m) fail_msg("%s of layer %d is not recorded", what, layer);
    assert_int_equal(m->rows * m->columns, values);
    return m;
}

__attribute__((unused)) static float *as_float(const struct recorded_matrix *m)
{
    float *out = malloc(m->rows * m->columns * sizeof *out);
    for (size_t k = 0; k < m->rows * m->columns; k++) out[k] = (float)m->v[k];
    return out;
}

/* ---- data: tiles of one sheet, with their own labels or with every label in turn ---- */

static const char LABELS[] = "kind_a\nkind_b\nkind_c\nkind_d\n";

__attribute__((unused)) static void write_tile(const char *path, const unsigned char *sheet, int width, int tile, int size)
{
    unsigned char px[SCENE * SCENE * 3];
    for (int y = 0; y < size; y++) {
        size_t row = (size_t)(tile / TILES_IN_A_ROW * size + y), column = (size_t)(tile % TILES_IN_A_ROW * size);
        memcpy(px + y * size * 3, sheet + (row * (size_t)width + column) * 3, (size_t)size * 3);
    }
    write_png(path, size, size, 3, px);
}

/* all: image b stands in the list with labels 0 .. KINDS - 1, one after the other. */
__attribute__((unused)) static const char *tiles_data(bool all)
{
    int truths[TILES], w, h, c;
    char list[TILES * KINDS * 128] = "", name[64];
    FILE *f = fopen("tests/golden/criteria/shapes.txt", "r");
    assert_non_null(f);
    for (int i = 0; i < TILES; i++) assert_int_equal(fscanf(f, "%d", &truths[i]), 1);
    fclose(f);
    unsigned char *sheet = stbi_load("tests/golden/criteria/shapes.png", &w, &h, &c, 3);
    assert_non_null(sheet);
    prune_make_dirs(at("tiles"), NULL);
    for (int i = 0; i < TILES; i++)
        for (int k = 0; k < KINDS; k++) {
            if (!all && k != truths[i]) continue;
            snprintf(name, sizeof name, "tiles/%02d_kind_%c.png", i, 'a' + k);
            write_tile(at(name), sheet, w, i, TILE);
            strcat(strcat(list, at(name)), "\n");
        }
    stbi_image_free(sheet);
    const char *train = at(all ? "all.txt" : "own.txt");
    assert_int_equal(prune_write_file(train, list, strlen(list), NULL), PRUNE_OK);
    return write_text(all ? "all.data" : "own.data", "classes=4\ntrain=%s\nvalid=%s\nlabels=%s\nbackup=%s\n", train, train, write_text("kinds.txt", "%s", LABELS), at(""));
}

/* Scenes of rectangles with their boxes, for the detector. */
__attribute__((unused)) static const char *scenes_data(void)
{
    char list[TILES * 128] = "", name[64], line[512];
    int w, h, c;
    FILE *f = fopen("tests/golden/criteria/scenes.txt", "r");
    unsigned char *sheet = stbi_load("tests/golden/criteria/scenes.png", &w, &h, &c, 3);
    assert_true(f && sheet);
    prune_make_dirs(at("scenes/images"), NULL);
    prune_make_dirs(at("scenes/labels"), NULL);
    for (int i = 0; i < TILES; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        for (char *p = line; *p; p++)
            if (*p == ';') *p = '\n';
        snprintf(name, sizeof name, "scenes/labels/%02d.txt", i);
        write_text(name, "%s", line[0] == '-' ? "" : line);
        snprintf(name, sizeof name, "scenes/images/%02d.png", i);
        write_tile(at(name), sheet, w, i, SCENE);
        strcat(strcat(list, at(name)), "\n");
    }
    fclose(f);
    stbi_image_free(sheet);
    const char *train = write_text("scenes.list", "%s", list);
    return write_text("scenes.data", "classes=3\ntrain=%s\nvalid=%s\nnames=%s\nbackup=%s\n", train, train, write_text("scenes.names", "one\ntwo\nthree\n"), at(""));
}

/* ---- a network with the state of K-FAC beside it ---- */

struct lab {
    struct prune_host_net *net;
    struct prune_cfg cfg;
    struct prune_net shape;
    struct prune_units units;
    struct prune_weights weights;
    struct prune_score_input in;
    const struct prune_criterion *criterion;
    void *state;
    const double *p;                     /* (images, KINDS) label probabilities: pass over all labels, expectation; NULL: labels as they come */
    size_t seen;
};

__attribute__((unused)) static void lab_open(struct lab *l, const char *cfg, const char *weights, uint64_t seed)
{
    const struct prune_open_options o = {.threads = 2, .seed = seed, .quiet = true};
    struct prune_status st = {0};
    *l = (struct lab){0};
    ok(prune_net_read(&l->cfg, &l->shape, cfg, &st), &st);
    ok(prune_units_build(&l->units, &l->shape, &st), &st);
    l->net = open_with(cfg, weights, &o);
    if (!weights) {
        weights = at("fresh.weights");
        ok(host()->save_weights(l->net, weights, &st), &st);
    }
    ok(prune_weights_open(&l->weights, weights, &l->shape, &st), &st);
    ok(host()->gates_attach(l->net, l->units.sites, l->units.site_count, l->units.count, &st), &st);
    l->in = (struct prune_score_input){.net = &l->shape, .units = &l->units, .weights = &l->weights, .seed = seed, .kfac = {.samples = 1, .damping = DAMPING}};
    l->criterion = prune_criterion_find("nap");
    assert_non_null(l->criterion);
}

__attribute__((unused)) static void lab_golden(struct lab *l, const char *name, uint64_t seed)
{
    char cfg[128], weights[128];
    snprintf(cfg, sizeof cfg, "%s/%s.cfg", GOLDEN, name);
    snprintf(weights, sizeof weights, "%s/%s.weights", GOLDEN, name);
    lab_open(l, cfg, weights, seed);
}

__attribute__((unused)) static void lab_close(struct lab *l)
{
    host()->close(l->net);
    free(l->state);
    prune_weights_close(&l->weights);
    prune_units_free(&l->units);
    prune_net_free(&l->shape);
    prune_cfg_free(&l->cfg);
}

#endif
