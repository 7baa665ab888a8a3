/* The yolo head: several heads share a list of anchors, each truth trains one predictor of one of them; classes are logistic. Deltas follow the rule
 * of the training host (head_boxes.c), so training is unchanged; host_context()->image_loss gets the loss whose negative gradient delta is. */
#include "../context.h"
#include "head_boxes.h"

#include <stdio.h>

enum { TRUTH = 5 };

void forward_yolo_layer(layer l, network net);

struct box_head yolo_head(const layer *l, const network *net)
{
    int room = l->truths / TRUTH;   /* the host believes [yolo] max= beyond the room it has */
    if (l->max_boxes < room) room = l->max_boxes;
    return (struct box_head){l, net, {.free_above = l->ignore_thresh, .truth_above = l->truth_thresh, .object = 1, .noobject = 1, .classes = 1, .box = 1,
                                      .mask = l->mask, .anchors = l->total, .unit_w = (float)net->w, .unit_h = (float)net->h, .max_truths = room}};
}

static void print_statistics(const layer *l, int index, const struct box_totals *s)
{
    double count = s->count;
    printf("Region %d Avg IOU: %f, Class: %f, Obj: %f, No Obj: %f, .5R: %f, .75R: %f,  count: %d\n", index, s->iou / count,
           s->category / s->categories, s->object / count, s->anywhere / ((double)l->w * l->h * l->n * l->batch), s->over_half / count,
           s->over_three_quarters / count, s->count);
}

void forward_yolo_layer(layer l, network net)
{
    const struct box_head head = yolo_head(&l, &net);
    struct box_totals sums;
    box_head_forward(&head, &sums);
    if (net.train && !host_context()->quiet) print_statistics(&l, net.index, &sums);
}
