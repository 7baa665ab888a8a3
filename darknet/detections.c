/* What a detector's heads say, as a list of boxes: yolo, region and detection heads, any image of a batch. Takes network outputs as the
 * forward pass left them; the threshold and the suppression of overlapping boxes are the caller's choice. */
#include "detections.h"

#include <math.h>

void found_list_free(struct found_list *l)
{
    free(l->items);
    *l = (struct found_list){0};
}

static enum prune_code append(struct found_list *l, const struct found_box *found, struct prune_status *st)
{
    if (l->count == l->capacity) {
        size_t wanted = l->capacity ? 2 * l->capacity : 1024;
        struct found_box *items = realloc(l->items, wanted * sizeof *items);
        if (!items) return prune_fail_memory(st, wanted * sizeof *items, "detections");
        l->items = items;
        l->capacity = wanted;
    }
    l->items[l->count++] = *found;
    return PRUNE_OK;
}

bool is_detection_head(const layer *l)
{
    return l->type == YOLO || l->type == REGION || l->type == DETECTION;
}

/* The part of the network input that the image covers, in pixels: whole pixels, rounded down, as the letterboxing loader draws it. */
static void covered(const struct framing *f, int *w, int *h)
{
    *w = f->net_w;
    *h = f->net_h;
    if (!f->letterbox || f->image_w <= 0 || f->image_h <= 0) return;
    if ((float)f->net_w / (float)f->image_w < (float)f->net_h / (float)f->image_h) *h = (int)((long)f->image_h * f->net_w / f->image_w);
    else *w = (int)((long)f->image_w * f->net_h / f->image_h);
}

box framing_to_image(const struct framing *f, box b)
{
    int w, h;
    covered(f, &w, &h);
    float part_w = (float)w / (float)f->net_w, part_h = (float)h / (float)f->net_h;
    return (box){(b.x - (1 - part_w) / 2) / part_w, (b.y - (1 - part_h) / 2) / part_h, b.w / part_w, b.h / part_h};
}

/* x and y are logistic already, w and h are logarithms of multiples of the anchor. */
static enum prune_code decode_yolo(const layer *l, const float *x, const struct framing *f, size_t image, float threshold, struct found_list *out,
                                   struct prune_status *st)
{
    size_t plane = (size_t)l->w * (size_t)l->h;
    for (int n = 0; n < l->n; ++n, x += plane * (size_t)(5 + l->classes))
        for (size_t place = 0; place < plane; ++place) {
            const float *p = x + place, objectness = p[4 * plane];
            if (!(objectness > threshold)) continue;
            const float *anchor = l->biases + 2 * l->mask[n];
            box seen = {((float)(place % (size_t)l->w) + p[0]) / (float)l->w, ((float)(place / (size_t)l->w) + p[plane]) / (float)l->h,
                        expf(p[2 * plane]) * anchor[0] / (float)f->net_w, expf(p[3 * plane]) * anchor[1] / (float)f->net_h};
            struct found_box found = {.where = framing_to_image(f, seen), .image = image};
            for (found.class_id = 0; found.class_id < l->classes; ++found.class_id) {
                found.score = objectness * p[(size_t)(5 + found.class_id) * plane];
                if (found.score > threshold && append(out, &found, st)) return PRUNE_FAILED;
            }
        }
    return PRUNE_OK;
}

/* The host's own decoders of the older heads read the first image of a batch: give them a layer that starts at the wanted one. They write
 * into boxes whose arrays the caller provides. */
static enum prune_code decode_with_host(const layer *l, int b, const struct framing *f, size_t image, float threshold, struct found_list *out,
                                        struct prune_status *st)
{
    layer one = *l;
    one.batch = 1;
    one.output += (size_t)b * (size_t)l->outputs;
    size_t boxes = l->type == REGION ? (size_t)l->w * (size_t)l->h * (size_t)l->n : (size_t)l->side * (size_t)l->side * (size_t)l->n;
    size_t extra = l->coords > 4 ? (size_t)l->coords - 4 : 0, each = (size_t)l->classes + extra;
    detection *dets = calloc(boxes, sizeof *dets);
    float *numbers = calloc(boxes * each, sizeof *numbers);
    enum prune_code code = dets && numbers ? PRUNE_OK : prune_fail_memory(st, boxes * (sizeof *dets + each * sizeof *numbers), "detections");
    if (code == PRUNE_OK) {
        for (size_t i = 0; i < boxes; ++i) {
            dets[i].prob = numbers + i * each;
            dets[i].mask = extra ? dets[i].prob + l->classes : NULL;
            dets[i].classes = l->classes;
        }
        if (l->type == REGION) get_region_detections(one, f->net_w, f->net_h, f->net_w, f->net_h, threshold, NULL, .5f, 1, dets);
        else get_detection_detections(one, 1, 1, threshold, dets);
    }
    for (size_t i = 0; code == PRUNE_OK && i < boxes; ++i) {
        struct found_box found = {.where = framing_to_image(f, dets[i].bbox), .image = image};
        for (found.class_id = 0; code == PRUNE_OK && found.class_id < l->classes; ++found.class_id) {
            found.score = dets[i].prob[found.class_id];
            if (found.score > threshold) code = append(out, &found, st);
        }
    }
    free(numbers);
    free(dets);
    return code;
}

enum prune_code detections_decode(const network *net, int b, const struct framing *f, size_t image, float threshold, struct found_list *out,
                                  struct prune_status *st)
{
    for (int i = 0; i < net->n; ++i) {
        const layer *l = &net->layers[i];
        if (!is_detection_head(l)) continue;
        enum prune_code code = l->type == YOLO
            ? decode_yolo(l, l->output + (size_t)b * (size_t)l->outputs, f, image, threshold, out, st)
            : decode_with_host(l, b, f, image, threshold, out, st);
        if (code) return code;
    }
    return PRUNE_OK;
}

static int by_class_and_score(const void *left, const void *right)
{
    const struct found_box *a = left, *b = right;
    if (a->class_id != b->class_id) return a->class_id < b->class_id ? -1 : 1;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->where.x != b->where.x) return a->where.x < b->where.x ? -1 : 1;
    return a->where.y < b->where.y ? -1 : a->where.y > b->where.y;
}

void detections_suppress(struct found_list *l, size_t first, float max_iou)
{
    struct found_box *items = l->items + first;
    size_t n = l->count - first, kept = 0, class_start = 0;
    if (!n) return;
    qsort(items, n, sizeof *items, by_class_and_score);
    for (size_t i = 0; i < n; ++i) {
        if (kept > class_start && items[i].class_id != items[class_start].class_id) class_start = kept;
        bool overlaps = false;
        for (size_t k = class_start; k < kept && !overlaps; ++k) overlaps = box_iou(items[i].where, items[k].where) > max_iou;
        if (!overlaps) items[kept++] = items[i];
    }
    l->count = first + kept;
}
