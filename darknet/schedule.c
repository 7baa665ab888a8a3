/* Learning rate of a cfg's policy at an iteration; see train.h. The formulas are Darknet's; the iteration is a parameter instead of a quotient
 * of `seen`, so trained weights can be trained on along a schedule of their own. */
#include "train.h"

#include <math.h>

double schedule_rate(const network *net, uint64_t iteration)
{
    double rate = (double)net->learning_rate, i = (double)iteration;
    if (net->burn_in > 0 && iteration < (uint64_t)net->burn_in) return rate * pow(i / net->burn_in, (double)net->power);
    switch (net->policy) {
    case STEP:
        return net->step > 0 ? rate * pow((double)net->scale, floor(i / net->step)) : rate;
    case STEPS:
        for (int k = 0; k < net->num_steps && (int64_t)iteration >= net->steps[k]; k++) rate *= (double)net->scales[k];
        return rate;
    case EXP:
        return rate * pow((double)net->gamma, i);
    case POLY:
        /* past max_batches the base would be negative: the schedule has ended at 0 */
        return net->max_batches > 0 && iteration < (uint64_t)net->max_batches ? rate * pow(1 - i / net->max_batches, (double)net->power) : 0;
    case SIG:
        return rate / (1 + exp((double)net->gamma * (i - net->step)));
    case CONSTANT:
    case RANDOM: /* a random rate would make a run unrepeatable and has no user: constant */
        return rate;
    }
    return rate;
}
