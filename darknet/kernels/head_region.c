/* The region head (yolo v2): every truth trains one of this head's anchors; classes are logistic, one softmax, or one softmax per group of a tree. Deltas
 * follow the rule of the training host (head_boxes.c). backward hands them on, which the library's CPU version forgets: there a region network
 * learns nothing. Left to the library, and without a loss (loss_check.c): background=1, whose deltas are no gradient of anything, and coords other than 4. */
#include "../context.h"
#include "head_boxes.h"
#include "stock.h"

#include <math.h>
#include <stdio.h>

enum { TRUTH = 5, WARM_UP_IMAGES = 12800 };

void forward_region_layer(layer l, network net);
void backward_region_layer(layer l, network net);

struct box_head region_head(const layer *l, const network *net)
{
    bool warm_up = net->seen && *net->seen < WARM_UP_IMAGES;
    return (struct box_head){l, net, {.free_above = l->thresh, .truth_above = INFINITY, .object = (double)l->object_scale, .noobject = (double)l->noobject_scale,
                                      .classes = (double)l->class_scale, .box = (double)l->coord_scale, .warm_up = warm_up ? .01 : 0, .rescore = l->rescore != 0,
                                      .softmax = l->softmax || l->softmax_tree, .seen_shape = !l->bias_match, .anchors = l->n, .unit_w = (float)l->w,
                                      .unit_h = (float)l->h, .max_truths = l->truths / TRUTH}};
}

static void print_statistics(const layer *l, const struct box_totals *s)
{
    double count = s->count;
    printf("Region Avg IOU: %f, Class: %f, Obj: %f, No Obj: %f, Avg Recall: %f,  count: %d\n", s->iou / count, s->category / s->categories,
           s->object / count, s->anywhere / ((double)l->w * l->h * l->n * l->batch), s->over_half / count, s->count);
}

void forward_region_layer(layer l, network net)
{
    if (l.background || l.coords != 4) {
        stock_layer_call("forward_region_layer", l, net);
        return;
    }
    const struct box_head head = region_head(&l, &net);
    struct box_totals sums;
    box_head_forward(&head, &sums);
    if (net.train && !host_context()->quiet) print_statistics(&l, &sums);
}

void backward_region_layer(layer l, network net)
{
    axpy_cpu(l.batch * l.inputs, 1, l.delta, 1, net.delta, 1);
}
