/* Margins of a classifier with a softmax head: a_k = logit of rival k - logit of the true class. The rivals of an image are its likeliest classes but
 * the true one, falling (of equals the lower index first). With every class a rival the image's loss is log(1 + sum_k exp a_k). */
#ifndef DARKNET_MARGINS_H
#define DARKNET_MARGINS_H

#include <darknet.h>
#include "../plugin/base/status.h"

/* Refuses other heads, groups, a temperature, and more rivals than there are. */
enum prune_code margins_check(const network *net, int rivals, struct prune_status *st);
/* After a forward pass: chosen (batch, 1 + rivals), the true class and the rivals of each image; margins (batch, rivals). */
void margins_choose(const network *net, int rivals, int *chosen, float *margins);
/* The head's delta := -d a_k / d logits of every image. */
void margins_cotangent(network *net, int rivals, int k, const int *chosen);

#endif
