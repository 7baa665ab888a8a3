/* render-data: example data sets drawn from a seed, for the demo, the tests and the results that need no download.
 *   render-data classify DIR   one textured shape per image, its class in the file name; writes labels.txt
 *   render-data detect DIR     several overlapping shapes per image, boxes in labels/; writes shapes.names
 * Both write DIR/images/{train,valid}/, DIR/train.txt, DIR/valid.txt, DIR/shapes.data and an empty DIR/backup. Paths in the lists start with DIR as it was
 * given. Image i of a list depends on (seed, list, i) only. Refuses sizes and counts it cannot draw; replaces what an earlier run left. */
#include <errno.h>
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/base/random.h"

#define PI 3.14159265358979323846
#define MAX_OBJECTS 8
#define SUBSAMPLES 4   /* per pixel and axis */

struct canvas { int size; float *rgb; /* (size, size, 3), 0..1 */ };
struct color { double r, g, b; };
enum texture { TEXTURE_SOLID, TEXTURE_STRIPES, TEXTURE_CHECKS, TEXTURE_COUNT };
struct paint { enum texture texture; struct color front, back; double period, angle; };
struct shape { size_t kind; double x, y, radius, angle, aspect; struct paint paint; };
struct box { int left, top, right, bottom; /* inclusive; right < left: nothing was drawn */ };

/* Regular polygon of n sides whose nearest boundary point is `apothem` away from the centre. */
static int in_polygon(double x, double y, int n, double apothem)
{
    double sector = 2 * PI / n, a = fmod(atan2(y, x) + 2 * PI, sector) - sector / 2;
    return sqrt(x * x + y * y) * cos(a) < apothem;
}
static int in_triangle(double x, double y) { return in_polygon(x, y, 3, .5); }
static int in_square(double x, double y) { return in_polygon(x, y, 4, .7); }
static int in_hexagon(double x, double y) { return in_polygon(x, y, 6, .82); }
static int in_disc(double x, double y) { return x * x + y * y < .85 * .85; }
static int in_ring(double x, double y) { double r = x * x + y * y; return r < .95 * .95 && r > .5 * .5; }
static int in_cross(double x, double y) { x = fabs(x), y = fabs(y); return (x < .3 && y < .95) || (y < .3 && x < .95); }
static int in_crescent(double x, double y) { double dx = x - .45; return x * x + y * y < .95 * .95 && dx * dx + y * y > .72 * .72; }
static int in_star(double x, double y)
{
    /* In the folded sector the edge runs from the tip (radius 1) to the notch (radius .4, half a sector away). */
    double half = PI / 5, a = fabs(fmod(atan2(y, x) + 2 * PI, 2 * half) - half), r = sqrt(x * x + y * y);
    double tip_x = cos(half), tip_y = sin(half), notch_x = .4, px = r * cos(a), py = r * sin(a);
    return (tip_x - notch_x) * py - tip_y * (px - notch_x) > 0;
}

/* Inside tests on the unit disc. Labels carry a prefix because Darknet looks for them anywhere in a path. Detection uses the first DETECT_KINDS. */
static const struct { const char *name, *label; int (*inside)(double x, double y); } kinds[] = {
    { "triangle", "shape_triangle", in_triangle }, { "ring", "shape_ring", in_ring },
    { "cross", "shape_cross", in_cross },          { "disc", "shape_disc", in_disc },
    { "star", "shape_star", in_star },             { "square", "shape_square", in_square },
    { "hexagon", "shape_hexagon", in_hexagon },    { "crescent", "shape_crescent", in_crescent },
};
#define KINDS (sizeof kinds / sizeof kinds[0])
#define DETECT_KINDS 4

static struct color random_color(struct prune_random *r)
{
    double red = prune_random_uniform(r), green = prune_random_uniform(r), blue = prune_random_uniform(r);
    return (struct color){ red, green, blue };
}
static struct color mix(struct color a, struct color b, double t)
{
    return (struct color){ a.r + t * (b.r - a.r), a.g + t * (b.g - a.g), a.b + t * (b.b - a.b) };
}
/* A colour brighter than `ground` by `least` or more, though sometimes barely: shapes are lit, so that a small network learns them in a minute. */
static struct color brighter_color(struct prune_random *r, struct color ground, double least)
{
    for (int i = 0; i < 64; ++i) {
        struct color c = random_color(r);
        if (c.r + c.g + c.b - ground.r - ground.g - ground.b >= 3 * least) return c;
    }
    return (struct color){ 1, 1, 1 };
}
static struct paint random_paint(struct prune_random *r, struct color ground, double least, double radius)
{
    struct paint p;
    p.texture = (enum texture)prune_random_below(r, TEXTURE_COUNT);
    p.front = brighter_color(r, ground, least);
    p.back = mix(p.front, brighter_color(r, ground, least), prune_random_range(r, .3, 1));
    p.period = fmax(2.5, radius * prune_random_range(r, .3, .8));
    p.angle = prune_random_range(r, 0, PI);
    return p;
}
static struct color paint_at(const struct paint *p, double x, double y)
{
    double u = (x * cos(p->angle) + y * sin(p->angle)) / p->period, v = (y * cos(p->angle) - x * sin(p->angle)) / p->period;
    switch (p->texture) {
    case TEXTURE_STRIPES: return mix(p->front, p->back, .5 + .5 * sin(2 * PI * u));
    case TEXTURE_CHECKS: return mix(p->front, p->back, ((long)floor(u) + (long)floor(v)) & 1 ? 1 : 0);
    default: return p->front;
    }
}
static void blend(struct canvas *c, int x, int y, struct color ink, double alpha)
{
    float *p = c->rgb + 3 * ((size_t)y * (size_t)c->size + (size_t)x);
    p[0] += (float)(alpha * (ink.r - (double)p[0]));
    p[1] += (float)(alpha * (ink.g - (double)p[1]));
    p[2] += (float)(alpha * (ink.b - (double)p[2]));
}

/* Part of pixel (x, y) that the shape covers, 0..1. */
static double coverage(const struct shape *s, int x, int y)
{
    int hits = 0;
    double ca = cos(s->angle), sa = sin(s->angle), stretch = sqrt(s->aspect);
    for (int i = 0; i < SUBSAMPLES * SUBSAMPLES; ++i) {
        double dx = x + (i % SUBSAMPLES + .5) / SUBSAMPLES - s->x, dy = y + (i / SUBSAMPLES + .5) / SUBSAMPLES - s->y;
        double u = (dx * ca + dy * sa) / s->radius / stretch, v = (dy * ca - dx * sa) / s->radius * stretch;
        hits += kinds[s->kind].inside(u, v);
    }
    return hits / (double)(SUBSAMPLES * SUBSAMPLES);
}
/* Draws the shape (alpha 0: only measures it) and returns the box around the pixels it covers by half or more. */
static struct box draw_shape(struct canvas *c, const struct shape *s, double alpha)
{
    struct box b = { c->size, c->size, -1, -1 };
    int reach = (int)ceil(s->radius * 1.3) + 1;
    for (int y = (int)s->y - reach; y <= (int)s->y + reach; ++y) {
        for (int x = (int)s->x - reach; x <= (int)s->x + reach; ++x) {
            if (x < 0 || y < 0 || x >= c->size || y >= c->size) continue;
            double cover = coverage(s, x, y);
            if (cover <= 0) continue;
            if (alpha > 0) blend(c, x, y, paint_at(&s->paint, x - s->x, y - s->y), alpha * cover);
            if (cover < .5) continue;
            if (x < b.left) b.left = x;
            if (x > b.right) b.right = x;
            if (y < b.top) b.top = y;
            if (y > b.bottom) b.bottom = y;
        }
    }
    return b;
}
static void draw_line(struct canvas *c, struct prune_random *r, double width, double alpha)
{
    struct color ink = random_color(r);
    double x0 = prune_random_range(r, 0, c->size), y0 = prune_random_range(r, 0, c->size), a = prune_random_range(r, 0, 2 * PI);
    double length = prune_random_range(r, .2, .8) * c->size, dx = cos(a), dy = sin(a);
    for (int y = 0; y < c->size; ++y) {
        for (int x = 0; x < c->size; ++x) {
            double px = x + .5 - x0, py = y + .5 - y0, along = px * dx + py * dy, off = fabs(py * dx - px * dy);
            if (along >= 0 && along <= length && off < width / 2 + .5) blend(c, x, y, ink, alpha * fmin(1, width / 2 + .5 - off));
        }
    }
}

/* A gradient with faint small shapes (of kinds from first_kind on) and lines on it; returns its mean colour. */
static struct color draw_background(struct canvas *c, struct prune_random *r, size_t first_kind)
{
    struct color black = { 0, 0, 0 }, from = mix(black, random_color(r), .6), to = mix(black, random_color(r), .6), mean = black;
    double a = prune_random_range(r, 0, 2 * PI), n = (double)c->size * c->size;
    for (int y = 0; y < c->size; ++y) {
        for (int x = 0; x < c->size; ++x) {
            double t = .5 + ((x - c->size / 2.0) * cos(a) + (y - c->size / 2.0) * sin(a)) / c->size / 1.42;
            blend(c, x, y, mix(from, to, t), 1);
        }
    }
    int blobs = 3 + (int)prune_random_below(r, 5);
    for (int i = 0; i < blobs; ++i) {
        struct shape s = { .kind = first_kind + (size_t)prune_random_below(r, KINDS - first_kind), .aspect = prune_random_range(r, .4, 2.5), .angle = prune_random_range(r, 0, 2 * PI) };
        s.x = prune_random_range(r, 0, c->size), s.y = prune_random_range(r, 0, c->size);
        s.radius = c->size * prune_random_range(r, .03, .12);
        s.paint = random_paint(r, from, 0, s.radius);
        draw_shape(c, &s, prune_random_range(r, .15, .5));
    }
    int lines = (int)prune_random_below(r, 4);
    for (int i = 0; i < lines; ++i) draw_line(c, r, c->size / 32.0 * prune_random_range(r, .6, 1.6), .6);
    for (size_t i = 0; i < (size_t)c->size * (size_t)c->size; ++i) {
        mean.r += (double)c->rgb[3 * i] / n;
        mean.g += (double)c->rgb[3 * i + 1] / n;
        mean.b += (double)c->rgb[3 * i + 2] / n;
    }
    return mean;
}
static void add_noise(struct canvas *c, struct prune_random *r, double deviation)
{
    for (size_t i = 0; i < 3 * (size_t)c->size * (size_t)c->size; ++i) c->rgb[i] += (float)(deviation * prune_random_normal(r));
}

/* One shape, large, anywhere; returns its kind. */
static size_t draw_classify(struct canvas *c, struct prune_random *r, uint64_t ordinal)
{
    struct color ground = draw_background(c, r, 0);
    double half = c->size / 2.0;
    struct shape s = { .kind = (size_t)(ordinal % KINDS) };
    s.radius = c->size * prune_random_range(r, .2, .42);
    s.x = half + prune_random_range(r, -1, 1) * (half - s.radius * .85);
    s.y = half + prune_random_range(r, -1, 1) * (half - s.radius * .85);
    s.angle = prune_random_range(r, 0, 2 * PI);
    s.aspect = prune_random_range(r, .75, 1.33);
    s.paint = random_paint(r, ground, .2, s.radius);
    draw_shape(c, &s, prune_random_range(r, .7, 1));
    if (prune_random_below(r, 2) == 0) draw_line(c, r, c->size / 32.0, .8);
    add_noise(c, r, prune_random_range(r, .02, .14));
    return s.kind;
}

/* Objects may overlap, but none hides most of another. */
static int acceptable(const struct box *boxes, int n, struct box b)
{
    if (b.right - b.left < 5 || b.bottom - b.top < 5) return 0;
    double area = (double)(b.right - b.left + 1) * (b.bottom - b.top + 1);
    for (int i = 0; i < n; ++i) {
        const struct box *o = boxes + i;
        int w = (b.right < o->right ? b.right : o->right) - (b.left > o->left ? b.left : o->left) + 1;
        int h = (b.bottom < o->bottom ? b.bottom : o->bottom) - (b.top > o->top ? b.top : o->top) + 1;
        double other = (double)(o->right - o->left + 1) * (o->bottom - o->top + 1);
        if (w > 0 && h > 0 && (double)w * h > .55 * fmin(area, other)) return 0;
    }
    return 1;
}
/* Up to MAX_OBJECTS shapes; their label lines go to `text`. */
static void draw_detect(struct canvas *c, struct prune_random *r, char *text, size_t text_size)
{
    struct color ground = draw_background(c, r, DETECT_KINDS);
    struct box boxes[MAX_OBJECTS];
    int wanted = 1 + (int)prune_random_below(r, MAX_OBJECTS), n = 0;
    size_t used = 0;
    text[0] = 0;
    for (int tries = 0; n < wanted && tries < 50; ++tries) {
        struct shape s = { .kind = (size_t)prune_random_below(r, DETECT_KINDS) };
        s.radius = c->size * prune_random_range(r, .035, .2);
        s.x = prune_random_range(r, s.radius * .6, c->size - s.radius * .6);
        s.y = prune_random_range(r, s.radius * .6, c->size - s.radius * .6);
        s.angle = prune_random_range(r, 0, 2 * PI);
        s.aspect = prune_random_range(r, .75, 1.33);
        s.paint = random_paint(r, ground, .12, s.radius);
        struct box b = draw_shape(c, &s, 0);
        if (!acceptable(boxes, n, b)) continue;
        draw_shape(c, &s, prune_random_range(r, .5, 1));
        boxes[n++] = b;
        double size = c->size, w = b.right - b.left + 1, h = b.bottom - b.top + 1;
        used += (size_t)snprintf(text + used, text_size - used, "%zu %.6f %.6f %.6f %.6f\n", s.kind, (b.left + w / 2) / size, (b.top + h / 2) / size, w / size, h / size);
    }
    add_noise(c, r, prune_random_range(r, .02, .14));
}

/* Thousands of small files that can be drawn again: written without the sync that files of a user get. */
static enum prune_code write_png(const struct canvas *c, const char *path, struct prune_status *st)
{
    size_t n = 3 * (size_t)c->size * (size_t)c->size;
    png_bytep bytes = malloc(n);
    png_image image = { .version = PNG_IMAGE_VERSION, .width = (png_uint_32)c->size, .height = (png_uint_32)c->size, .format = PNG_FORMAT_RGB };
    if (!bytes) return prune_fail_memory(st, n, "an image");
    for (size_t i = 0; i < n; ++i) bytes[i] = (png_byte)lround(255 * fmin(1, fmax(0, (double)c->rgb[i])));
    int written = png_image_write_to_file(&image, path, 0, bytes, 0, NULL);
    free(bytes);
    return written ? PRUNE_OK : prune_fail(st, "cannot write '%s': %s", path, image.message);
}
static enum prune_code write_text(const char *path, const char *text, struct prune_status *st)
{
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fflush(f)) {
        prune_fail(st, "cannot write '%s': %s", path, strerror(errno));
        if (f) fclose(f);
        return PRUNE_FAILED;
    }
    return fclose(f) ? prune_fail(st, "cannot write '%s': %s", path, strerror(errno)) : PRUNE_OK;
}

struct job { const char *dir; int detect; long images, valid, size; uint64_t seed; };

/* One list: the images, their label files when boxes are drawn, and the list itself. */
static enum prune_code render_list(const struct job *job, const char *split, uint64_t stream, long count, struct prune_status *st)
{
    struct canvas c = { (int)job->size, malloc(3 * sizeof(float) * (size_t)(job->size * job->size)) };
    char *images = prune_format("%s/images/%s", job->dir, split), *labels = prune_format("%s/labels/%s", job->dir, split);
    char *list = prune_format("%s/%s.txt", job->dir, split), text[64 * MAX_OBJECTS];
    struct prune_writer *w = NULL;
    enum prune_code code = c.rgb && images && labels && list ? PRUNE_OK : prune_fail_memory(st, 0, "the list of images");
    if (!code) code = prune_make_dirs(images, st);
    if (!code && job->detect) code = prune_make_dirs(labels, st);
    if (!code) code = prune_writer_open(&w, list, st);
    for (long i = 0; i < count && !code; ++i) {
        struct prune_random r = prune_random_make(job->seed, stream, (uint64_t)i);
        char *path, *label = NULL;
        if (job->detect) {
            draw_detect(&c, &r, text, sizeof text);
            path = prune_format("%s/%05ld.png", images, i);
            label = prune_format("%s/%05ld.txt", labels, i);
        } else {
            path = prune_format("%s/%05ld_%s.png", images, i, kinds[draw_classify(&c, &r, (uint64_t)i)].label);
        }
        if (!path || (job->detect && !label)) code = prune_fail_memory(st, 0, "a path");
        if (!code) code = write_png(&c, path, st);
        if (!code && label) code = write_text(label, text, st);
        if (!code) code = prune_writer_put(w, path, strlen(path), st);
        if (!code) code = prune_writer_put(w, "\n", 1, st);
        free(path);
        free(label);
    }
    if (!code) code = prune_writer_commit(w, st);
    else prune_writer_abort(w);
    free(list);
    free(labels);
    free(images);
    free(c.rgb);
    return code;
}

/* labels.txt or shapes.names, shapes.data, backup/ */
static enum prune_code write_description(const struct job *job, struct prune_status *st)
{
    size_t classes = job->detect ? DETECT_KINDS : KINDS;
    const char *key = job->detect ? "names" : "labels", *file = job->detect ? "shapes.names" : "labels.txt";
    char *names = prune_format("%s/%s", job->dir, file), *data = prune_format("%s/shapes.data", job->dir), *backup = prune_format("%s/backup", job->dir);
    char *body = prune_format("classes=%zu\ntrain=%s/train.txt\nvalid=%s/valid.txt\n%s=%s/%s\nbackup=%s/backup\n%s", classes, job->dir, job->dir, key, job->dir, file,
                              job->dir, job->detect ? "" : "top=2\n");
    char text[64 * KINDS] = "";
    size_t used = 0;
    enum prune_code code = names && data && backup && body ? PRUNE_OK : prune_fail_memory(st, 0, "the data file");
    for (size_t i = 0; i < classes; ++i) used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", job->detect ? kinds[i].name : kinds[i].label);
    if (!code) code = write_text(names, text, st);
    if (!code) code = write_text(data, body, st);
    if (!code) code = prune_make_dirs(backup, st);
    free(body);
    free(backup);
    free(data);
    free(names);
    return code;
}

static int usage(void)
{
    fputs("usage: render-data (classify | detect) DIR [-images N] [-valid M] [-size PIXELS] [-seed S]\n"
          "  -images  training images, default 4000 (detect: 1000)\n"
          "  -valid   validation images, default 1000 (detect: 200)\n"
          "  -size    side in pixels, 16 to 1024, default 32 (detect: 160)\n"
          "  -seed    default 1; the same seed draws the same files\n", stderr);
    return 2;
}
static int parse(struct job *job, int argc, char **argv)
{
    if (argc < 3 || (strcmp(argv[1], "classify") && strcmp(argv[1], "detect")) || argc % 2 == 0) return 0;
    job->detect = !strcmp(argv[1], "detect");
    job->dir = argv[2];
    job->images = job->detect ? 1000 : 4000, job->valid = job->detect ? 200 : 1000, job->size = job->detect ? 160 : 32, job->seed = 1;
    for (int i = 3; i < argc; i += 2) {
        char *end;
        errno = 0;
        long v = strtol(argv[i + 1], &end, 10);
        if (errno || *end || end == argv[i + 1] || v < 0) return 0;
        if (!strcmp(argv[i], "-images") && v >= 1 && v <= 99999) job->images = v;
        else if (!strcmp(argv[i], "-valid") && v >= 1 && v <= 99999) job->valid = v;
        else if (!strcmp(argv[i], "-size") && v >= 16 && v <= 1024) job->size = v;
        else if (!strcmp(argv[i], "-seed")) job->seed = (uint64_t)v;
        else return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    struct job job;
    struct prune_status st;
    if (!parse(&job, argc, argv)) return usage();
    enum prune_code code = render_list(&job, "train", 1, job.images, &st);
    if (!code) code = render_list(&job, "valid", 2, job.valid, &st);
    if (!code) code = write_description(&job, &st);
    if (code) {
        fprintf(stderr, "render-data: %s\n", st.message);
        return 1;
    }
    printf("%s: %ld training and %ld validation images, %s/shapes.data\n", job.dir, job.images, job.valid, job.dir);
    return 0;
}
