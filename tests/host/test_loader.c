/* The loader: files it reads and refuses, what augmentation does to pixels and boxes, and that nothing depends on the number of threads. */
#include "training_fixture.h"

#include <math.h>

#include "../../darknet/loader_parts.h"

image load_image_cv(char *filename, int channels);
image load_image_stb(char *filename, int channels);

static struct prune_status st;

static void a_data_file_gives_its_values_defaults_and_our_own_keys(void **state)
{
    (void)state;
    struct data_file d;
    const char *path = write_text("a.data", "# set\r\nclasses = 7\r\n train=a b.txt \r\neval=coco\r\npad_crop=4\nflip=0\nnames=n\nnames=second\n");
    assert_int_equal(data_file_read(&d, path, &st), PRUNE_OK);
    assert_int_equal(d.classes, 7);
    assert_int_equal(d.top, 1);
    assert_string_equal(d.train, "a b.txt");
    assert_string_equal(d.names, "n");
    assert_null(d.valid);
    assert_int_equal(d.pad, 4);
    assert_false(d.flip);
    data_file_free(&d);
}

static void a_bad_data_file_is_refused_with_its_line(void **state)
{
    (void)state;
    struct data_file d;
    assert_int_equal(data_file_read(&d, write_text("a.data", "classes=3\nnonsense\n"), &st), PRUNE_FAILED);
    assert_says(&st, "a.data:2: 'nonsense' has no '='");
    assert_int_equal(data_file_read(&d, write_text("b.data", "classes=three\n"), &st), PRUNE_FAILED);
    assert_says(&st, "b.data:1: 'classes=three'");
    assert_int_equal(data_file_read(&d, write_text("c.data", "train=x\n"), &st), PRUNE_FAILED);
    assert_says(&st, "has no classes= line");
    assert_int_equal(data_file_read(&d, at("missing.data"), &st), PRUNE_FAILED);
    assert_says(&st, "missing.data");
}

static void a_list_drops_blank_lines_and_an_empty_one_is_refused(void **state)
{
    (void)state;
    struct string_list l;
    assert_int_equal(string_list_read(&l, write_text("l.txt", "\n one.png\r\n\n\ttwo.png"), "image list", &st), PRUNE_OK);
    assert_int_equal(l.count, 2);
    assert_string_equal(l.items[0], "one.png");
    assert_string_equal(l.items[1], "two.png");
    string_list_free(&l);
    assert_int_equal(string_list_read(&l, write_text("e.txt", "\n \n"), "image list", &st), PRUNE_FAILED);
    assert_says(&st, "e.txt' is empty");
}

static void label_paths_follow_darknets_rule(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"/a/images/b.jpg", "/a/labels/b.txt"}, {"VOC/JPEGImages/2.x.png", "VOC/labels/2.x.txt"},
                                           {"raw/c.JPEG", "labels/c.txt"}, {"images/raw/JPEGImages/d", "labels/labels/labels/d.txt"},
                                           {"plain/e.png", "plain/e.txt"}, {"dir.v2/f", "dir.v2/f.txt"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = label_path(cases[i][0]);
        assert_string_equal(path, cases[i][1]);
        free(path);
    }
}

static void sound_labels_are_read(void **state)
{
    (void)state;
    box_label *b = NULL;
    int n = 0;
    assert_int_equal(labels_read(write_text("ok.txt", "0 .5 .25 .5 .125\r\n\n2 1 1 1 1.0005\n"), 3, &b, &n, &st), PRUNE_OK);
    assert_int_equal(n, 2);
    assert_int_equal(b[1].id, 2);
    assert_true(fabsf(b[0].left - .25f) < 1e-6f && fabsf(b[0].bottom - .3125f) < 1e-6f);
    free(b);
    assert_int_equal(labels_read(write_text("none.txt", "\n"), 3, &b, &n, &st), PRUNE_OK);
    assert_int_equal(n, 0);
    assert_null(b);
}

static void bad_labels_are_refused_with_file_and_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"0 .5 .5 .1 .1\n3 .5 .5 .1 .1\n", "bad.txt:2: class 3 is not one of 0..2"}, {"-1 .5 .5 .1 .1\n", "bad.txt:1: class -1"},
        {"0.5 .5 .5 .1 .1\n", "bad.txt:1: class 0.5"}, {"0 nan .5 .1 .1\n", "bad.txt:1: x is not finite"}, {"0 .5 .5 inf .1\n", "bad.txt:1: w is not finite"},
        {"0 .5 1.5 .1 .1\n", "bad.txt:1: y is 1.5, outside 0..1"}, {"0 .5 .5 .1\n", "is not of the form 'class x y w h'"},
        {"0 .5 .5 .1 .1 .9\n", "'.9' after"}, {"a .5 .5 .1 .1\n", "is not of the form"}, {"0 320 240 50 50\n", "x is 320, outside"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        box_label *b;
        int n;
        assert_int_equal(labels_read(write_text("bad.txt", "%s", cases[i][0]), 3, &b, &n, &st), PRUNE_FAILED);
        assert_says(&st, cases[i][1]);
    }
    box_label *b;
    int n;
    assert_int_equal(labels_read(at("absent.txt"), 3, &b, &n, &st), PRUNE_FAILED);
    assert_says(&st, "absent.txt");
}

static void the_longest_label_in_the_path_is_the_class(void **state)
{
    (void)state;
    static char *names[] = {(char *)"car", (char *)"cartoon", (char *)"dog"};
    struct string_list labels = {names, 3, NULL};
    int class = -1;
    assert_int_equal(class_of_path("set/cartoon_1.png", &labels, &class, &st), PRUNE_OK);
    assert_int_equal(class, 1);
    assert_int_equal(class_of_path("set/car_1.png", &labels, &class, &st), PRUNE_OK);
    assert_int_equal(class, 0);
    assert_int_equal(class_of_path("set/cat_1.png", &labels, &class, &st), PRUNE_FAILED);
    assert_says(&st, "set/cat_1.png");
    assert_says(&st, "'car'");
}

static void images_decode_as_the_host_decodes_them(void **state)
{
    (void)state;
    char path[] = "/usr/share/darknet/data/dog.jpg";
    if (!prune_path_exists(path)) skip();
    for (int channels = 1; channels <= 3; channels += 2) {
        image host = load_image_stb(path, channels), ours;
        assert_int_equal(image_read(path, channels, &ours, &st), PRUNE_OK);
        assert_int_equal(ours.w, 768);
        assert_int_equal(ours.h, 576);
        assert_int_equal(ours.c, channels);
        for (int i = 0; i < ours.w * ours.h * ours.c; i++) assert_true(fabsf(host.data[i] - ours.data[i]) < 1e-6f);
        free_image(host);
        free_image(ours);
    }
}

static void a_bad_image_is_an_error_and_never_a_shell_command(void **state)
{
    (void)state;
    image im;
    char name[256];
    snprintf(name, sizeof name, "%s/x; touch %s/owned", fixture_dir, fixture_dir);
    assert_int_equal(image_read(name, 3, &im, &st), PRUNE_FAILED);
    assert_says(&st, "No such file");
    im = load_image_cv(name, 3); /* the host's own entry */
    assert_int_equal(im.w, 10);
    assert_int_equal(im.h, 10);
    free_image(im);
    assert_false(prune_path_exists(at("owned")));
    assert_false(prune_path_exists("bad.list"));
    assert_int_equal(image_read(write_text("text.png", "no image"), 3, &im, &st), PRUNE_FAILED);
    assert_says(&st, "not an image");
    assert_int_equal(image_read(write_text("empty.png", "%s", ""), 3, &im, &st), PRUNE_FAILED);
    assert_says(&st, "the file is empty");
    assert_int_equal(image_read(fixture_dir, 3, &im, &st), PRUNE_FAILED);
    assert_says(&st, "not a file");
}

static void an_image_of_absurd_size_is_refused_before_it_is_decoded(void **state)
{
    (void)state;
    /* a BMP header that claims 60000 x 60000 pixels */
    unsigned char bmp[54] = {'B', 'M', 54, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0, 1, 0, 24, 0};
    image im;
    assert_int_equal(prune_write_file(at("huge.bmp"), bmp, sizeof bmp, NULL), PRUNE_OK);
    assert_int_equal(image_read(at("huge.bmp"), 3, &im, &st), PRUNE_FAILED);
    assert_says(&st, "60000 x 60000");
}

/* Opens a loader over the classifier set. */
struct set { struct data_file data; struct string_list images, labels; struct loader_options o; struct loader *l; };
static void set_open(struct set *s, enum loader_mode mode, int threads, uint64_t seed)
{
    if (mode == LOAD_CLASSIFIER_TRAIN || mode == LOAD_CLASSIFIER_PLAIN) make_classifier_data("");
    else make_detector_data();
    bool classifier = mode == LOAD_CLASSIFIER_TRAIN || mode == LOAD_CLASSIFIER_PLAIN;
    assert_int_equal(data_file_read(&s->data, at(classifier ? "set.data" : "boxes.data"), &st), PRUNE_OK);
    assert_int_equal(string_list_read(&s->images, s->data.train, "image list", &st), PRUNE_OK);
    s->labels = (struct string_list){0};
    if (classifier) assert_int_equal(string_list_read(&s->labels, s->data.labels, "labels", &st), PRUNE_OK);
    s->o = (struct loader_options){.mode = mode, .images = &s->images, .labels = classifier ? &s->labels : NULL, .classes = s->data.classes, .max_boxes = 5,
                                   .seed = seed, .threads = threads,
                                   .augment = {.w = SIDE, .h = SIDE, .c = 3, .min_crop = SIDE, .max_crop = SIDE + 4, .angle = 7, .aspect = .75f, .jitter = .2f,
                                               .hue = .1f, .saturation = .75f, .exposure = .75f, .flip = true}};
    assert_int_equal(loader_check(&s->o, &st), PRUNE_OK);
    assert_int_equal(loader_open(&s->l, &s->o, &st), PRUNE_OK);
}
static void set_close(struct set *s)
{
    loader_close(s->l);
    string_list_free(&s->images);
    string_list_free(&s->labels);
    data_file_free(&s->data);
}
static void load(struct set *s, uint64_t first, size_t n, int w, int h, float **X, float **y)
{
    assert_int_equal(loader_start(s->l, first, n, w, h, &st), PRUNE_OK);
    assert_int_equal(loader_wait(s->l, X, y, NULL, &st), PRUNE_OK);
}

static void a_batch_is_the_same_bytes_at_any_number_of_threads(void **state)
{
    (void)state;
    for (int mode = LOAD_CLASSIFIER_TRAIN; mode <= LOAD_DETECTOR_TRAIN; mode++) {
        struct set a, b, c;
        float *Xa, *ya, *Xb, *yb, *Xc, *yc;
        set_open(&a, (enum loader_mode)mode, 1, 5);
        set_open(&b, (enum loader_mode)mode, 3, 5);
        set_open(&c, (enum loader_mode)mode, 2, 6);
        size_t x = 40 * 3 * SIDE * SIDE * sizeof *Xa, t = 40 * loader_truths(&a.o) * sizeof *ya;
        load(&a, 100, 40, SIDE, SIDE, &Xa, &ya);
        load(&b, 0, 7, SIDE, SIDE, &Xb, &yb); /* another history, images cached or not */
        load(&b, 100, 40, SIDE, SIDE, &Xb, &yb);
        load(&c, 100, 40, SIDE, SIDE, &Xc, &yc);
        assert_memory_equal(Xa, Xb, x);
        assert_memory_equal(ya, yb, t);
        assert_int_not_equal(memcmp(Xa, Xc, x), 0);
        set_close(&a);
        set_close(&b);
        set_close(&c);
    }
}

static void two_batches_live_side_by_side(void **state)
{
    (void)state;
    struct set s;
    float *X1, *y1, *X2, *y2, copy[3 * SIDE * SIDE];
    set_open(&s, LOAD_CLASSIFIER_PLAIN, 2, 1);
    load(&s, 0, 1, SIDE, SIDE, &X1, &y1);
    memcpy(copy, X1, sizeof copy);
    load(&s, 1, 1, SIDE, SIDE, &X2, &y2);
    assert_ptr_not_equal(X1, X2);
    assert_memory_equal(copy, X1, sizeof copy);
    set_close(&s);
}

static void plain_images_of_the_networks_size_are_untouched(void **state)
{
    (void)state;
    struct set s;
    float *X, *y;
    set_open(&s, LOAD_CLASSIFIER_PLAIN, 2, 1);
    load(&s, 0, IMAGES, SIDE, SIDE, &X, &y);
    for (int i = 0; i < IMAGES; i++) {
        image im;
        assert_int_equal(image_read(s.images.items[i], 3, &im, &st), PRUNE_OK);
        assert_memory_equal(im.data, X + i * 3 * SIDE * SIDE, 3 * SIDE * SIDE * sizeof *X);
        free_image(im);
        for (int k = 0; k < CLASSES; k++) assert_int_equal((int)y[i * CLASSES + k], k == i % CLASSES);
    }
    set_close(&s);
}

static void every_epoch_draws_every_image_once_in_another_order(void **state)
{
    (void)state;
    struct set s;
    float *X, *y, first[2][IMAGES];
    set_open(&s, LOAD_CLASSIFIER_TRAIN, 2, 1);
    set_close(&s);
    /* each image a gray level of its own, nothing augmented */
    for (int i = 0; i < IMAGES; i++) {
        unsigned char px[SIDE * SIDE * 3];
        memset(px, i * 8, sizeof px);
        static const char *const names[] = {"left", "middle", "right"};
        char name[64];
        snprintf(name, sizeof name, "images/%02d_%s.png", i, names[i % CLASSES]);
        write_png(at(name), SIDE, SIDE, 3, px);
    }
    struct string_list images, labels;
    assert_int_equal(string_list_read(&images, at("train.txt"), "list", &st), PRUNE_OK);
    assert_int_equal(string_list_read(&labels, at("labels.txt"), "labels", &st), PRUNE_OK);
    s.o.images = &images;
    s.o.labels = &labels;
    s.o.augment = (struct augmentation){.w = SIDE, .h = SIDE, .c = 3, .min_crop = SIDE, .max_crop = SIDE, .aspect = 1, .saturation = 1, .exposure = 1, .flip = true};
    assert_int_equal(loader_open(&s.l, &s.o, &st), PRUNE_OK);
    for (int epoch = 0; epoch < 2; epoch++) {
        int count[IMAGES] = {0};
        load(&s, (uint64_t)epoch * IMAGES, IMAGES, SIDE, SIDE, &X, &y);
        for (int i = 0; i < IMAGES; i++) {
            int level = (int)lrintf(X[i * 3 * SIDE * SIDE] * 255 / 8);
            first[epoch][i] = X[i * 3 * SIDE * SIDE];
            count[level]++;
            assert_int_equal((int)y[i * CLASSES + level % CLASSES], 1);
        }
        for (int i = 0; i < IMAGES; i++) assert_int_equal(count[i], 1);
    }
    assert_int_not_equal(memcmp(first[0], first[1], sizeof first[0]), 0);
    loader_close(s.l);
    string_list_free(&images);
    string_list_free(&labels);
}

static void pad_crop_gives_every_shift_with_black_borders_and_both_mirrors(void **state)
{
    (void)state;
    enum { N = 8, PAD = 2, C = 1 };
    unsigned char px[N * N];
    for (int i = 0; i < N * N; i++) px[i] = (unsigned char)(1 + i * 3);
    struct pixels p = {px, N, N, C};
    struct augmentation a = {.w = N, .h = N, .c = C, .pad = PAD, .flip = true};
    int shifts[2 * PAD + 1][2 * PAD + 1] = {{0}}, mirrored = 0, total = 2000;
    for (int t = 0; t < total; t++) {
        struct prune_random r = prune_random_make(3, 1, (uint64_t)t);
        float out[N * N];
        assert_int_equal(augment_classifier(&p, &a, N, N, &r, out, &st), PRUNE_OK);
        int matches = 0;
        for (int m = 0; m < 2; m++)
            for (int dy = -PAD; dy <= PAD; dy++)
                for (int dx = -PAD; dx <= PAD; dx++) {
                    bool same = true;
                    for (int y = 0; y < N && same; y++)
                        for (int x = 0; x < N && same; x++) {
                            int fx = (m ? N - 1 - x : x) + dx, fy = y + dy;
                            float want = fx >= 0 && fx < N && fy >= 0 && fy < N ? (float)px[fy * N + fx] / 255.0f : 0.0f;
                            same = fabsf(out[y * N + x] - want) < 1e-6f;
                        }
                    if (!same) continue;
                    matches++;
                    mirrored += m;
                    shifts[dy + PAD][dx + PAD]++;
                }
        assert_int_equal(matches, 1);
    }
    assert_in_range(mirrored, 900, 1100);
    for (int i = 0; i < 25; i++) assert_in_range(shifts[i / 5][i % 5], 40, 125); /* 80 expected */
}

static void crops_at_the_images_own_size_change_nothing_but_the_mirror(void **state)
{
    (void)state;
    unsigned char px[6 * 6 * 3];
    for (int i = 0; i < 108; i++) px[i] = (unsigned char)(i * 2);
    struct pixels p = {px, 6, 6, 3};
    struct augmentation a = {.w = 6, .h = 6, .c = 3, .min_crop = 6, .max_crop = 6, .aspect = 1, .saturation = 1, .exposure = 1, .flip = true};
    int mirrored = 0;
    for (int t = 0; t < 400; t++) {
        struct prune_random r = prune_random_make(9, 1, (uint64_t)t);
        float out[108];
        assert_int_equal(augment_classifier(&p, &a, 6, 6, &r, out, &st), PRUNE_OK);
        bool straight = fabsf(out[0] - (float)px[0] / 255) < 1e-6f;
        mirrored += !straight;
        for (int i = 0; i < 108; i++) {
            int k = i / 36, y = i / 6 % 6, x = straight ? i % 6 : 5 - i % 6;
            assert_true(fabsf(out[i] - (float)px[(y * 6 + x) * 3 + k] / 255) < 1e-5f);
        }
    }
    assert_in_range(mirrored, 160, 240);
}

/* Bounds of the bright pixels, in 0..1. false: none. */
static bool bright_box(const float *image, int w, int h, double v[4])
{
    int x0 = w, x1 = -1, y0 = h, y1 = -1;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            if (image[y * w + x] > .75f) {
                if (x < x0) x0 = x;
                if (x > x1) x1 = x;
                if (y < y0) y0 = y;
                if (y > y1) y1 = y;
            }
    v[0] = (x0 + x1 + 1) / 2. / w;
    v[1] = (y0 + y1 + 1) / 2. / h;
    v[2] = (x1 + 1. - x0) / w;
    v[3] = (y1 + 1. - y0) / h;
    return x1 >= 0;
}

static void boxes_move_with_the_pixels(void **state)
{
    (void)state;
    enum { W = 96, H = 64, TURNS = 120 };
    struct set s;
    float *X, *y;
    int seen = 0, cut = 0;
    set_open(&s, LOAD_DETECTOR_TRAIN, 2, 4);
    loader_close(s.l);
    s.o.augment.hue = 0;
    s.o.augment.saturation = s.o.augment.exposure = 1; /* colours would hide the rectangle */
    assert_int_equal(loader_open(&s.l, &s.o, &st), PRUNE_OK);
    load(&s, 0, TURNS, W, H, &X, &y);
    for (int i = 0; i < TURNS; i++) {
        const float *t = y + i * 25;
        double v[4];
        bool visible = bright_box(X + (size_t)i * 3 * W * H, W, H, v);
        if (t[2] <= 0) {
            if (visible) assert_true(v[2] < .05 || v[3] < .05);
            cut++;
            continue;
        }
        if (!visible) continue; /* a sliver of less than a pixel */
        assert_true(fabs(v[0] - (double)t[0]) < 2.5 / W && fabs(v[1] - (double)t[1]) < 2.5 / H);
        assert_true(fabs(v[2] - (double)t[2]) < 4. / W && fabs(v[3] - (double)t[3]) < 4. / H);
        assert_true(t[0] - t[2] / 2 > -1e-6f && t[0] + t[2] / 2 < 1 + 1e-6f);
        assert_true(t[7] <= 0);
        seen++;
    }
    assert_in_range(seen, TURNS / 2, TURNS);
    assert_in_range(cut, 1, TURNS / 2);
    set_close(&s);
}

static void letterboxed_truths_fit_the_letterboxed_pixels(void **state)
{
    (void)state;
    enum { W = 96, H = 96 };
    struct set s;
    float *X, *y;
    set_open(&s, LOAD_DETECTOR_PLAIN, 2, 1);
    loader_close(s.l);
    for (int letterbox = 0; letterbox < 2; letterbox++) {
        const int(*sizes)[2];
        s.o.letterbox = letterbox;
        s.o.net_truths = true;
        assert_int_equal(loader_open(&s.l, &s.o, &st), PRUNE_OK);
        assert_int_equal(loader_start(s.l, 0, BOX_IMAGES, W, H, &st), PRUNE_OK);
        assert_int_equal(loader_wait(s.l, &X, &y, &sizes, &st), PRUNE_OK);
        for (int i = 0; i < BOX_IMAGES; i++) {
            double v[4];
            assert_true(bright_box(X + (size_t)i * 3 * W * H, W, H, v));
            for (int k = 0; k < 4; k++) assert_true(fabs(v[k] - (double)y[i * 25 + k]) < 3. / W);
            assert_int_equal((int)y[i * 25 + 4], i % 2);
            assert_int_equal(sizes[i][0], BOX_W);
            assert_int_equal(sizes[i][1], BOX_H);
        }
        loader_close(s.l);
    }
    /* without net_truths: the file's own numbers whatever the picture looks like */
    s.o.net_truths = false;
    assert_int_equal(loader_open(&s.l, &s.o, &st), PRUNE_OK);
    load(&s, 3, 1, W, H, &X, &y);
    assert_true(fabsf(y[0] - 14.0f / BOX_W) < 1e-6f && fabsf(y[1] - 14.0f / BOX_H) < 1e-6f && fabsf(y[3] - 16.0f / BOX_H) < 1e-6f);
    set_close(&s);
}

static void more_boxes_than_room_fail_in_an_evaluation(void **state)
{
    (void)state;
    struct set s;
    float *X, *y;
    set_open(&s, LOAD_DETECTOR_PLAIN, 1, 1);
    loader_close(s.l);
    write_text("det/labels/02.txt", "0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n");
    s.o.max_boxes = 2;
    assert_int_equal(loader_open(&s.l, &s.o, &st), PRUNE_OK);
    assert_int_equal(loader_start(s.l, 0, 4, 32, 32, &st), PRUNE_OK);
    assert_int_equal(loader_wait(s.l, &X, &y, NULL, &st), PRUNE_FAILED);
    assert_says(&st, "02.txt' holds 3 boxes; there is room for 2");
    set_close(&s);
}

static void grid_truths_have_the_layout_of_a_detection_head(void **state)
{
    (void)state;
    box_label boxes[] = {{.id = 1, .x = .5f, .y = .3f, .w = .2f, .h = .4f}, {.id = 0, .x = .99f, .y = .99f, .w = .02f, .h = .02f}};
    struct placement where = {1, 0, 1, 0, false};
    float y[3 * 3 * 7];
    truths_pack_grid(boxes, 2, &where, NULL, 3, 2, y);
    const float *cell = y + (0 * 3 + 1) * 7; /* row 0, column 1: .3*3 = .9, .5*3 = 1.5 */
    assert_true(cell[0] > 0 && cell[1] <= 0 && cell[2] > 0);
    assert_true(fabsf(cell[3] - .5f) < 1e-6f && fabsf(cell[4] - .9f) < 1e-6f && fabsf(cell[5] - .2f) < 1e-6f && fabsf(cell[6] - .4f) < 1e-6f);
    assert_true(y[8 * 7] > 0 && y[8 * 7 + 1] > 0 && fabsf(y[8 * 7 + 3] - .97f) < 1e-5f);
    int objects = 0;
    for (int i = 0; i < 9; i++) objects += y[i * 7] > 0;
    assert_int_equal(objects, 2);
}

static void flipping_mirrors_boxes_and_what_leaves_the_picture_is_dropped(void **state)
{
    (void)state;
    box_label boxes[] = {{.id = 0, .x = .25f, .y = .5f, .w = .1f, .h = .2f}, {.id = 1, .x = .9f, .y = .5f, .w = .1f, .h = .1f}};
    struct placement where = {2, 0, 1, 0, true};
    float y[3 * 5];
    truths_pack_list(boxes, 2, &where, NULL, 3, y);
    assert_true(fabsf(y[0] - .5f) < 1e-6f && fabsf(y[2] - .2f) < 1e-6f);
    assert_true(y[5] <= 0 && y[7] <= 0);
}

static void the_first_bad_image_of_a_batch_is_the_one_reported(void **state)
{
    (void)state;
    struct set s;
    float *X, *y;
    set_open(&s, LOAD_CLASSIFIER_PLAIN, 3, 1);
    write_text("images/05_right.png", "damaged");
    write_text("images/06_left.png", "damaged");
    for (int turn = 0; turn < 20; turn++) {
        assert_int_equal(loader_start(s.l, 0, IMAGES, SIDE, SIDE, &st), PRUNE_OK);
        assert_int_equal(loader_wait(s.l, &X, &y, NULL, &st), PRUNE_FAILED);
        assert_says(&st, "05_right.png");
    }
    load(&s, 10, 5, SIDE, SIDE, &X, &y); /* and the loader lives on */
    set_close(&s);
}

static void the_check_names_missing_images_and_classes(void **state)
{
    (void)state;
    struct set s;
    set_open(&s, LOAD_CLASSIFIER_TRAIN, 1, 1);
    char *good = s.images.items[4];
    s.images.items[4] = (char *)"nowhere/left.png";
    assert_int_equal(loader_check(&s.o, &st), PRUNE_FAILED);
    assert_says(&st, "'nowhere/left.png' (item 5 of the list)");
    s.images.items[4] = good;
    s.labels.items[1] = (char *)"centre";
    assert_int_equal(loader_check(&s.o, &st), PRUNE_FAILED);
    assert_says(&st, "01_middle.png' has no class");
    set_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_data_file_gives_its_values_defaults_and_our_own_keys), TEST(a_bad_data_file_is_refused_with_its_line),
        TEST(a_list_drops_blank_lines_and_an_empty_one_is_refused), TEST(label_paths_follow_darknets_rule), TEST(sound_labels_are_read),
        TEST(bad_labels_are_refused_with_file_and_line), TEST(the_longest_label_in_the_path_is_the_class), TEST(images_decode_as_the_host_decodes_them),
        TEST(a_bad_image_is_an_error_and_never_a_shell_command), TEST(an_image_of_absurd_size_is_refused_before_it_is_decoded),
        TEST(a_batch_is_the_same_bytes_at_any_number_of_threads), TEST(two_batches_live_side_by_side), TEST(plain_images_of_the_networks_size_are_untouched),
        TEST(every_epoch_draws_every_image_once_in_another_order), TEST(pad_crop_gives_every_shift_with_black_borders_and_both_mirrors),
        TEST(crops_at_the_images_own_size_change_nothing_but_the_mirror), TEST(boxes_move_with_the_pixels),
        TEST(letterboxed_truths_fit_the_letterboxed_pixels), TEST(more_boxes_than_room_fail_in_an_evaluation),
        TEST(grid_truths_have_the_layout_of_a_detection_head), TEST(flipping_mirrors_boxes_and_what_leaves_the_picture_is_dropped),
        TEST(the_first_bad_image_of_a_batch_is_the_one_reported), TEST(the_check_names_missing_images_and_classes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
