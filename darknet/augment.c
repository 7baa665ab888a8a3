/* Augmentation of one image in Darknet's manner, every random draw from the caller's counter-based generator.
 * In: 8-bit pixels. Out: (c, h, w) floats of the network's size, and for detectors where the original went.
 * The image arithmetic is the host library's own (exported, without state): so pictures look as they do when the host trains. */
#include "loader_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Exported by the host library, declared nowhere in its header. */
image rotate_crop_image(image im, float rad, float s, int w, int h, float dx, float dy, float aspect);
void place_image(image im, int w, int h, int dx, int dy, image canvas);
void distort_image(image im, float hue, float sat, float val);

static const float gray = 0.5f;

const layer *network_detector_head(const network *net)
{
    for (int i = net->n - 1; i >= 0; i--) {
        LAYER_TYPE type = net->layers[i].type;
        if (type == YOLO || type == REGION || type == DETECTION) return &net->layers[i];
    }
    return NULL;
}

struct augmentation augmentation_of(const network *net)
{
    const layer *head = network_detector_head(net);
    return (struct augmentation){
        .w = net->w, .h = net->h, .c = net->c, .min_crop = net->min_crop, .max_crop = net->max_crop, .angle = net->angle, .aspect = net->aspect,
        .jitter = head ? head->jitter : 0, .hue = net->hue, .saturation = net->saturation, .exposure = net->exposure, .flip = true, .center = net->center != 0};
}

/* A factor between 1 and s or its inverse, each half of the time. */
static double draw_factor(struct prune_random *r, double s)
{
    double factor = prune_random_range(r, 1, s);
    return prune_random_u64(r) >> 63 ? factor : 1 / factor;
}

static bool draw_coin(struct prune_random *r)
{
    return prune_random_u64(r) >> 63;
}

/* Always the same number of draws, so that switching colours off changes nothing else. */
static void draw_colours(image im, const struct augmentation *a, struct prune_random *r)
{
    double hue = prune_random_range(r, -(double)a->hue, (double)a->hue);
    double saturation = draw_factor(r, (double)a->saturation), exposure = draw_factor(r, (double)a->exposure);
    bool changes = hue < 0 || hue > 0 || saturation < 1 || saturation > 1 || exposure < 1 || exposure > 1;
    if (changes && im.c == 3) distort_image(im, (float)hue, (float)saturation, (float)exposure);
}

static void move_out(image *im, float *out)
{
    memcpy(out, im->data, (size_t)im->w * (size_t)im->h * (size_t)im->c * sizeof *out);
    free_image(*im);
}

/* Pads `pad` black pixels on every side, takes a random w x h window, mirrors it half of the time: the recipe of the CIFAR literature. */
static void pad_crop(image im, const struct augmentation *a, struct prune_random *r, float *out)
{
    int dx = (int)prune_random_below(r, 2 * (uint64_t)a->pad + 1) - a->pad, dy = (int)prune_random_below(r, 2 * (uint64_t)a->pad + 1) - a->pad;
    bool mirror = draw_coin(r) && a->flip;
    for (int k = 0; k < im.c; k++)
        for (int y = 0; y < im.h; y++)
            for (int x = 0; x < im.w; x++) {
                int from_x = (mirror ? im.w - 1 - x : x) + dx, from_y = y + dy;
                bool inside = from_x >= 0 && from_x < im.w && from_y >= 0 && from_y < im.h;
                *out++ = inside ? im.data[(k * im.h + from_y) * im.w + from_x] : 0.0f;
            }
}

/* Shorter side to a random length in min_crop..max_crop, random rotation and stretch, random window of w x h; outside is black. */
static image scale_crop(image im, const struct augmentation *a, int w, int h, struct prune_random *r)
{
    double ratio = (double)w / a->w; /* multi-scale: the crop range follows the size */
    int lo = (int)(a->min_crop * ratio), hi = (int)(a->max_crop * ratio);
    if (hi < lo) hi = lo;
    double aspect = draw_factor(r, (double)a->aspect);
    double side = (double)lo + (double)prune_random_below(r, (uint64_t)(hi - lo) + 1);
    double scale = side / fmin(im.h, im.w * aspect);
    double radians = prune_random_range(r, -(double)a->angle, (double)a->angle) * 3.14159265358979323846 / 180;
    double slack_x = (im.w * scale / aspect - w) / 2, slack_y = (im.h * scale - h) / 2;
    double dx = prune_random_range(r, -slack_x, slack_x), dy = prune_random_range(r, -slack_y, slack_y);
    return rotate_crop_image(im, (float)radians, (float)scale, w, h, (float)dx, (float)dy, (float)aspect);
}

enum prune_code augment_classifier(const struct pixels *p, const struct augmentation *a, int w, int h, struct prune_random *r, float *out, struct prune_status *st)
{
    image im;
    enum prune_code rc = pixels_to_image(p, &im, st);
    if (rc) return rc;
    if (a->pad > 0) {
        if (im.w != w || im.h != h) {
            image sized = resize_image(im, w, h);
            free_image(im);
            im = sized;
        }
        image window = make_image(w, h, im.c);
        pad_crop(im, a, r, window.data);
        free_image(im);
        im = window;
    } else {
        image window = a->center ? center_crop_image(im, w, h) : scale_crop(im, a, w, h, r);
        free_image(im);
        im = window;
        if (draw_coin(r) && a->flip) flip_image(im);
    }
    draw_colours(im, a, r);
    move_out(&im, out);
    return PRUNE_OK;
}

enum prune_code augment_detector(const struct pixels *p, const struct augmentation *a, int w, int h, struct prune_random *r, float *out,
                                 struct placement *where, struct prune_status *st)
{
    image im;
    enum prune_code rc = pixels_to_image(p, &im, st);
    if (rc) return rc;
    double jitter = fmin((double)a->jitter, 0.95); /* at 1 a side could become 0 */
    double wide = im.w * (1 + prune_random_range(r, -jitter, jitter)), high = im.h * (1 + prune_random_range(r, -jitter, jitter));
    double aspect = wide / high, scale = prune_random_range(r, 0.25, 2);
    double new_w = aspect < 1 ? scale * h * aspect : scale * w, new_h = aspect < 1 ? scale * h : scale * w / aspect;
    new_w = fmax(new_w, 1);
    new_h = fmax(new_h, 1);
    double dx = prune_random_range(r, 0, w - new_w), dy = prune_random_range(r, 0, h - new_h);
    int at_x = (int)dx, at_y = (int)dy, size_x = (int)new_w, size_y = (int)new_h;
    image canvas = make_image(w, h, im.c);
    fill_image(canvas, gray);
    place_image(im, size_x, size_y, at_x, at_y, canvas);
    free_image(im);
    draw_colours(canvas, a, r);
    bool mirror = draw_coin(r) && a->flip;
    if (mirror) flip_image(canvas);
    move_out(&canvas, out);
    *where = (struct placement){(double)size_x / w, (double)at_x / w, (double)size_y / h, (double)at_y / h, mirror};
    return PRUNE_OK;
}

enum prune_code plain_classifier(const struct pixels *p, int w, int h, float *out, struct prune_status *st)
{
    image im;
    enum prune_code rc = pixels_to_image(p, &im, st);
    if (rc) return rc;
    if (im.w != w || im.h != h) {
        image window = center_crop_image(im, w, h);
        free_image(im);
        im = window;
    }
    move_out(&im, out);
    return PRUNE_OK;
}

enum prune_code plain_detector(const struct pixels *p, int w, int h, bool letterbox, float *out, struct placement *where, struct prune_status *st)
{
    image im;
    enum prune_code rc = pixels_to_image(p, &im, st);
    if (rc) return rc;
    *where = (struct placement){1, 0, 1, 0, false};
    if (letterbox) {
        /* the same whole-pixel sizes as the host's letterbox */
        bool wide = (float)w / (float)im.w < (float)h / (float)im.h;
        int size_x = wide ? w : im.w * h / im.h, size_y = wide ? im.h * w / im.w : h;
        *where = (struct placement){(double)size_x / w, (double)((w - size_x) / 2) / w, (double)size_y / h, (double)((h - size_y) / 2) / h, false};
    }
    if (im.w != w || im.h != h) {
        image sized = letterbox ? letterbox_image(im, w, h) : resize_image(im, w, h);
        free_image(im);
        im = sized;
    }
    move_out(&im, out);
    return PRUNE_OK;
}
