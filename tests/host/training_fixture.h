/* Small data sets that the training tests draw themselves: a scratch folder, images by the host library's PNG writer, lists, labels, cfgs.
 * Everything lies below one temporary folder that fixture_close removes. */
#ifndef TESTS_TRAINING_FIXTURE_H
#define TESTS_TRAINING_FIXTURE_H

#include <darknet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../darknet/context.h"
#include "../../plugin/base/file_io.h"
#include "../../plugin/base/random.h"

int stbi_write_png(char const *filename, int w, int h, int comp, const void *data, int stride);

static char fixture_dir[64];

__attribute__((unused)) static void fixture_open(void)
{
    strcpy(fixture_dir, "/tmp/prune-test-XXXXXX");
    assert_non_null(mkdtemp(fixture_dir));
}

__attribute__((unused)) static void fixture_close(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", fixture_dir);
    assert_int_equal(system(command), 0);
}

__attribute__((unused)) static int fixture_setup(void **state)
{
    (void)state;
    fixture_open();
    return 0;
}

__attribute__((unused)) static int fixture_teardown(void **state)
{
    (void)state;
    fixture_close();
    return 0;
}

/* A test in a folder of its own. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* "dir/name" in one of many static buffers: each lives through a test's calls. */
__attribute__((unused)) static const char *at(const char *name)
{
    static char buffers[1024][256];
    static int next;
    char *b = buffers[next++ % 1024];
    snprintf(b, sizeof buffers[0], "%s/%s", fixture_dir, name);
    return b;
}

__attribute__((unused)) static const char *write_text(const char *name, const char *format, ...)
{
    char text[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *path = at(name);
    assert_int_equal(prune_write_file(path, text, strlen(text), NULL), PRUNE_OK);
    return path;
}

__attribute__((unused)) static void assert_says(const struct prune_status *st, const char *part)
{
    if (!strstr(st->message, part)) fail_msg("'%s' does not contain '%s'", st->message, part);
}

/* Returns their size. */
__attribute__((unused)) static size_t assert_same_files(const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    assert_int_equal(prune_read_file(a, &x, &n, NULL), PRUNE_OK);
    assert_int_equal(prune_read_file(b, &y, &m, NULL), PRUNE_OK);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
    return n;
}

__attribute__((unused)) static void write_png(const char *path, int w, int h, int c, const unsigned char *pixels)
{
    assert_true(stbi_write_png(path, w, h, c, pixels, w * c));
}

/* 3 classes of 12x12 images, told apart by which third is bright, with noise: images/N_left.png, _middle, _right; train.txt, labels.txt, set.data. */
enum { CLASSES = 3, SIDE = 12, IMAGES = 30 };
__attribute__((unused)) static const char *make_classifier_data(const char *more_keys)
{
    static const char *const names[] = {"left", "middle", "right"};
    char list[4096] = "";
    prune_make_dirs(at("images"), NULL);
    for (int i = 0; i < IMAGES; i++) {
        unsigned char px[SIDE * SIDE * 3];
        struct prune_random r = prune_random_make(7, 1, (uint64_t)i);
        for (int k = 0; k < SIDE * SIDE * 3; k++) {
            int third = k / 3 % SIDE / (SIDE / 3);
            px[k] = (unsigned char)((third == i % CLASSES ? 150 : 20) + (int)prune_random_below(&r, 80));
        }
        char name[64];
        snprintf(name, sizeof name, "images/%02d_%s.png", i, names[i % CLASSES]);
        write_png(at(name), SIDE, SIDE, 3, px);
        strcat(strcat(list, at(name)), "\n");
    }
    const char *train = write_text("train.txt", "%s", list), *labels = write_text("labels.txt", "left\nmiddle\nright\n");
    return write_text("set.data", "classes=3\ntrain=%s\nvalid=%s\nlabels=%s\nbackup=%s\n%s", train, train, labels, at("backup"), more_keys);
}

/* 48x36 images with one or two bright rectangles each (class 0 wide, 1 high) and their labels: boxes.data. */
enum { BOX_IMAGES = 12, BOX_W = 48, BOX_H = 36 };
__attribute__((unused)) static const char *make_detector_data(void)
{
    char list[4096] = "";
    prune_make_dirs(at("det/images"), NULL);
    prune_make_dirs(at("det/labels"), NULL);
    for (int i = 0; i < BOX_IMAGES; i++) {
        unsigned char px[BOX_W * BOX_H * 3] = {0};
        int w = i % 2 ? 8 : 16, h = i % 2 ? 16 : 8, x0 = 4 + i * 2, y0 = 3 + i;
        for (int y = y0; y < y0 + h; y++)
            for (int x = x0; x < x0 + w; x++)
                for (int k = 0; k < 3; k++) px[(y * BOX_W + x) * 3 + k] = 255;
        char name[64];
        snprintf(name, sizeof name, "det/images/%02d.png", i);
        write_png(at(name), BOX_W, BOX_H, 3, px);
        strcat(strcat(list, at(name)), "\n");
        snprintf(name, sizeof name, "det/labels/%02d.txt", i);
        write_text(name, "%d %.9g %.9g %.9g %.9g\n", i % 2, (x0 + w / 2.) / BOX_W, (y0 + h / 2.) / BOX_H, (double)w / BOX_W, (double)h / BOX_H);
    }
    const char *train = write_text("boxes.txt", "%s", list);
    return write_text("boxes.data", "classes=2\ntrain=%s\nvalid=%s\nnames=%s\nbackup=%s\n", train, train, write_text("boxes.names", "wide\nhigh\n"), at("backup"));
}

/* A residual classifier with everything training touches: batch-norm, shortcut, dropout, connected. */
static const char classifier_layers[] =
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=relu\n\n"
    "[shortcut]\nfrom=-2\nactivation=linear\n\n[maxpool]\nsize=2\nstride=2\n\n[dropout]\nprobability=.2\n\n"
    "[connected]\noutput=3\nactivation=linear\n\n[softmax]\n";
static const char classifier_net[] = "[net]\nbatch=%d\nsubdivisions=%d\nwidth=12\nheight=12\nchannels=3\nmomentum=0.9\ndecay=0.0005\nlearning_rate=%g\npolicy=steps\nsteps=15,18\nscales=.5,.5\n"
                                     "burn_in=4\nmax_batches=%d\nmin_crop=12\nmax_crop=15\nhue=.1\nsaturation=.75\nexposure=.75\n\n";
__attribute__((unused)) static const char *make_classifier_cfg(const char *name, int batch, int subdivisions, double rate, int max_batches)
{
    char top[1024];
    snprintf(top, sizeof top, classifier_net, batch, subdivisions, rate, max_batches);
    return write_text(name, "%s%s", top, classifier_layers);
}

static const char detector_net[] = "[net]\nbatch=4\nsubdivisions=2\nwidth=64\nheight=64\nchannels=3\nmomentum=0.9\ndecay=0.0005\nlearning_rate=%g\npolicy=constant\nmax_batches=%d\n"
                                   "hue=.1\nsaturation=1.5\nexposure=1.5\n\n"
                                   "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
                                   "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
                                   "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
                                   "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=1\nactivation=linear\n\n"
                                   "[yolo]\nmask=0,1\nanchors=20,12, 12,20\nclasses=2\nnum=2\njitter=.2\nignore_thresh=.7\ntruth_thresh=1\nrandom=%d\n";
__attribute__((unused)) static const char *make_detector_cfg(const char *name, double rate, int max_batches, int random)
{
    return write_text(name, detector_net, rate, max_batches, random);
}

#endif
