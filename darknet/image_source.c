/* What a data file's role names: its lists opened, the options of a loader over them for a given network, and the check of every image and
 * label before a first step. Refuses: a role without list, labels that do not fit the classes, networks this loader cannot feed. */
#include "loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void image_source_close(struct image_source *s)
{
    string_list_free(&s->images);
    string_list_free(&s->labels);
    data_file_free(&s->data);
}

static enum prune_code check_classes(const struct image_source *s, const network *net, const layer *head, struct prune_status *st)
{
    const struct data_file *d = &s->data;
    int of_net = head ? head->classes : net->truths;
    if (of_net != d->classes)
        return prune_fail(st, "classes=%d in '%s', but the network has %d %s", d->classes, d->path, of_net, head ? "classes (classes= of its last layer)" : "outputs");
    if (s->labels.count && s->labels.count < (size_t)d->classes)
        return prune_fail(st, "classes=%d in '%s', but '%s' holds %zu labels", d->classes, d->path, d->labels ? d->labels : d->names, s->labels.count);
    if (net->c != 1 && net->c != 3) return prune_fail(st, "the network reads %d channels; images have 1 or 3", net->c);
    if (!head && net->hierarchy) return prune_fail(st, "the network's classes form a tree (tree=); only flat classes can be trained and scored");
    return PRUNE_OK;
}

static enum prune_code choose_images(struct image_source *s, const struct prune_image_set *set, const char *list, struct prune_status *st)
{
    struct string_list *images = &s->images;
    size_t epoch = set->drawn ? set->first % images->count : set->first;
    if (epoch >= images->count)
        return prune_fail(st, "images from %zu on are asked for, but '%s' holds %zu", set->first + 1, list, images->count);
    s->count = images->count - epoch;
    if (set->limit && (set->drawn || set->limit < s->count)) s->count = set->limit;
    if (set->drawn) {
        s->first = set->first;
        return PRUNE_OK;
    }
    memmove(images->items, images->items + set->first, s->count * sizeof *images->items);
    images->count = s->count;
    return PRUNE_OK;
}

static enum prune_code open_lists(struct image_source *s, const struct prune_image_set *set, bool detector, struct prune_status *st)
{
    const char *role = set->role == PRUNE_DATA_TRAIN ? "train" : "valid";
    const char *list = set->list ? set->list : set->role == PRUNE_DATA_TRAIN ? s->data.train : s->data.valid;
    const char *labels = s->data.labels ? s->data.labels : s->data.names;
    if (!list) return prune_fail(st, "data file '%s' has no %s= line", s->data.path, role);
    if (!detector && !labels) return prune_fail(st, "data file '%s' has no labels= line (nor names=): a classifier's classes are found by the image path", s->data.path);
    enum prune_code rc = string_list_read(&s->images, list, "image list", st);
    if (rc) return rc;
    rc = choose_images(s, set, list, st);
    if (rc) return rc;
    if (detector) return PRUNE_OK;
    rc = string_list_read(&s->labels, labels, "labels", st);
    /* Darknet reads the first `classes` labels of a longer file */
    if (!rc && s->labels.count > (size_t)s->data.classes) s->labels.count = (size_t)s->data.classes;
    return rc;
}

enum prune_code image_source_open(struct image_source *s, const struct prune_image_set *set, const network *net, struct prune_status *st)
{
    const layer *head = network_detector_head(net);
    struct image_source opened = {0};
    enum prune_code rc = data_file_read(&opened.data, set->data_path, st);
    if (!rc) rc = open_lists(&opened, set, head != NULL, st);
    if (!rc) rc = check_classes(&opened, net, head, st);
    if (rc) image_source_close(&opened);
    else *s = opened;
    return rc;
}

struct loader_options image_source_options(const struct image_source *s, const network *net, bool train, int letterbox)
{
    const layer *head = network_detector_head(net);
    struct loader_options o = {
        .images = &s->images, .labels = s->labels.count ? &s->labels : NULL, .augment = augmentation_of(net), .classes = s->data.classes,
        .letterbox = letterbox, .net_truths = true, .seed = 1, .threads = 1};
    o.augment.pad = s->data.pad;
    o.augment.flip = s->data.flip;
    if (head) {
        o.mode = train ? LOAD_DETECTOR_TRAIN : LOAD_DETECTOR_PLAIN;
        if (head->type == DETECTION) o.side = head->side;
        else o.max_boxes = net->truths / 5;
    } else {
        o.mode = train ? LOAD_CLASSIFIER_TRAIN : LOAD_CLASSIFIER_PLAIN;
    }
    return o;
}

static enum prune_code check_labels(const char *path, int classes, struct prune_status *st)
{
    box_label *boxes = NULL;
    int n = 0;
    char *labels = label_path(path);
    if (!labels) return prune_fail_memory(st, strlen(path), "a path");
    enum prune_code rc = labels_read(labels, classes, &boxes, &n, st);
    free(labels);
    if (!rc) free(boxes);
    return rc;
}

enum prune_code loader_check(const struct loader_options *o, struct prune_status *st)
{
    bool detector = o->mode == LOAD_DETECTOR_TRAIN || o->mode == LOAD_DETECTOR_PLAIN;
    bool boxes = detector && (o->max_boxes || o->side);
    for (size_t i = 0; i < o->images->count; i++) {
        const char *path = o->images->items[i];
        enum prune_code rc = PRUNE_OK;
        int class = 0;
        if (access(path, R_OK)) return prune_fail(st, "cannot read image '%s' (item %zu of the list): %s", path, i + 1, strerror(errno));
        if (boxes) rc = check_labels(path, o->classes, st);
        else if (o->labels) rc = class_of_path(path, o->labels, &class, st);
        if (rc) return rc;
    }
    return PRUNE_OK;
}
