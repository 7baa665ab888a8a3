/* Truths: label files of detectors ("class x y w h" lines, relative to the image), classes of classifiers (by path), and how both are packed
 * for the network. Refuses, with file and line: missing files, classes out of range, NaN, values outside 0..1, lines of another form. */
#include "loader_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../plugin/base/file_io.h"

/* Tools round to a few digits and get 1.000002: that is no error, the box is clipped when it is packed. */
static const double rounding = 1e-3, smallest_box = 1e-3;

static void replace_first(char *path, const char *from, const char *to)
{
    char *at = strstr(path, from);
    size_t a = strlen(from), b = strlen(to);
    if (!at) return;
    memmove(at + b, at + a, strlen(at + a) + 1);
    memcpy(at, to, b);
}

char *label_path(const char *image_path)
{
    /* room for "raw" -> "labels" (+3) after the others (+0 and -4), and for ".txt" */
    char *path = malloc(strlen(image_path) + 16);
    if (!path) return NULL;
    strcpy(path, image_path);
    replace_first(path, "images", "labels");
    replace_first(path, "JPEGImages", "labels");
    replace_first(path, "raw", "labels");
    char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (dot && (!slash || dot > slash)) *dot = '\0';
    strcat(path, ".txt");
    return path;
}

static enum prune_code parse_box(const char *path, int line, const char *text, int classes, box_label *out, struct prune_status *st)
{
    static const char *const names[] = {"class", "x", "y", "w", "h"};
    double v[5];
    const char *p = text;
    for (int i = 0; i < 5; i++) {
        char *end = NULL;
        v[i] = strtod(p, &end);
        if (end == p || (*end && !isspace((unsigned char)*end))) return prune_fail(st, "%s:%d: '%s' is not of the form 'class x y w h'", path, line, text);
        if (!isfinite(v[i])) return prune_fail(st, "%s:%d: %s is not finite", path, line, names[i]);
        if (i && (v[i] < -rounding || v[i] > 1 + rounding)) return prune_fail(st, "%s:%d: %s is %g, outside 0..1 (relative to the image)", path, line, names[i], v[i]);
        p = end;
    }
    while (isspace((unsigned char)*p)) p++;
    if (*p) return prune_fail(st, "%s:%d: '%s' after 'class x y w h'", path, line, p);
    if (v[0] != floor(v[0]) || v[0] < 0 || v[0] >= classes) return prune_fail(st, "%s:%d: class %g is not one of 0..%d", path, line, v[0], classes - 1);
    *out = (box_label){.id = (int)v[0], .x = (float)v[1], .y = (float)v[2], .w = (float)v[3], .h = (float)v[4]};
    out->left = out->x - out->w / 2;
    out->right = out->x + out->w / 2;
    out->top = out->y - out->h / 2;
    out->bottom = out->y + out->h / 2;
    return PRUNE_OK;
}

enum prune_code labels_read(const char *path, int classes, box_label **boxes, int *n, struct prune_status *st)
{
    char *text = NULL, *next;
    size_t size = 0, lines = 1;
    int number = 0, count = 0;
    enum prune_code rc = prune_read_file(path, &text, &size, st);
    if (rc) return prune_explain(st, "labels of an image: ");
    if (strlen(text) != size) {
        free(text);
        return prune_fail(st, "label file '%s' is not a text file: it holds NUL bytes", path);
    }
    for (const char *p = text; (p = strchr(p, '\n')); p++) lines++;
    box_label *list = malloc(lines * sizeof *list);
    if (!list) rc = prune_fail_memory(st, lines * sizeof *list, "labels");
    for (char *line = text; line && !rc; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        number++;
        while (isspace((unsigned char)*line)) line++;
        size_t length = strlen(line);
        while (length && isspace((unsigned char)line[length - 1])) line[--length] = '\0';
        if (*line) rc = parse_box(path, number, line, classes, &list[count++], st);
    }
    free(text);
    if (rc || !count) {
        free(list);
        list = NULL;
    }
    if (rc) return rc;
    *boxes = list;
    *n = count;
    return PRUNE_OK;
}

enum prune_code class_of_path(const char *path, const struct string_list *labels, int *out, struct prune_status *st)
{
    size_t best = 0, longest = 0;
    for (size_t i = 0; i < labels->count; i++) {
        size_t length = strlen(labels->items[i]);
        if (length > longest && strstr(path, labels->items[i])) {
            best = i;
            longest = length;
        }
    }
    if (!longest) return prune_fail(st, "image '%s' has no class: its path contains none of the %zu labels ('%s', ...)", path, labels->count, labels->items[0]);
    *out = (int)best;
    return PRUNE_OK;
}

static void shuffle(box_label *boxes, int n, struct prune_random *r)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)prune_random_below(r, (uint64_t)i + 1);
        box_label other = boxes[j];
        boxes[j] = boxes[i];
        boxes[i] = other;
    }
}

static double clip01(double v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

/* false: nothing worth training on is left inside the picture. v: x y w h. */
static bool move_box(const box_label *b, const struct placement *p, double v[4])
{
    double left = clip01(((double)b->x - (double)b->w / 2) * p->scale_x + p->shift_x), right = clip01(((double)b->x + (double)b->w / 2) * p->scale_x + p->shift_x);
    double top = clip01(((double)b->y - (double)b->h / 2) * p->scale_y + p->shift_y), bottom = clip01(((double)b->y + (double)b->h / 2) * p->scale_y + p->shift_y);
    if (p->flip) {
        double swap = left;
        left = 1 - right;
        right = 1 - swap;
    }
    v[0] = (left + right) / 2;
    v[1] = (top + bottom) / 2;
    v[2] = right - left;
    v[3] = bottom - top;
    return v[2] >= smallest_box && v[3] >= smallest_box;
}

void truths_pack_list(box_label *boxes, int n, const struct placement *where, struct prune_random *r, int max_boxes, float *y)
{
    int used = 0;
    memset(y, 0, (size_t)max_boxes * 5 * sizeof *y);
    if (r) shuffle(boxes, n, r);
    for (int i = 0; i < n && used < max_boxes; i++) {
        double v[4];
        if (!move_box(&boxes[i], where, v)) continue;
        for (int k = 0; k < 4; k++) y[used * 5 + k] = (float)v[k];
        y[used * 5 + 4] = (float)boxes[i].id;
        used++;
    }
}

void truths_pack_grid(box_label *boxes, int n, const struct placement *where, struct prune_random *r, int side, int classes, float *y)
{
    int stride = 1 + classes + 4;
    memset(y, 0, (size_t)(side * side * stride) * sizeof *y);
    if (r) shuffle(boxes, n, r);
    for (int i = 0; i < n; i++) {
        double v[4];
        if (!move_box(&boxes[i], where, v)) continue;
        int column = (int)(v[0] * side), row = (int)(v[1] * side);
        if (column >= side) column = side - 1;
        if (row >= side) row = side - 1;
        float *cell = y + (size_t)((row * side + column) * stride);
        if (cell[0] > 0) continue;
        cell[0] = 1;
        cell[1 + boxes[i].id] = 1;
        float *at = cell + 1 + classes;
        at[0] = (float)(v[0] * side - column);
        at[1] = (float)(v[1] * side - row);
        at[2] = (float)v[2];
        at[3] = (float)v[3];
    }
}
