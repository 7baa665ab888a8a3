/* `darknet classifier train`: Darknet's arguments, its line per iteration, its backups: one per epoch, <base>.backup every 1000 iterations. */
#include "train.h"

#include <inttypes.h>

#include "train_verb.h"

static void print_line(const struct train_report *r)
{
    printf("%" PRIu64 ", %.3f: %f, %f avg, %f rate, %f seconds, %" PRIu64 " images\n", r->iteration, r->epoch, r->loss, r->average, r->rate, r->seconds, r->images_seen);
}

static bool backup_due(uint64_t iteration)
{
    return iteration % 1000 == 0;
}

static bool numbered_due(uint64_t iteration, uint64_t images_before, uint64_t images_after, size_t list, uint64_t *number)
{
    (void)iteration;
    *number = images_after / list;
    return images_after / list > images_before / list;
}

static const char usage[] =
    "usage: darknet classifier train <data> <cfg> [weights] [flags]\n"
    "  Trains the classifier of <cfg> on the train list of <data>; an image's class is the label that its path contains.\n"
    "  Backups go to the data file's backup= folder: <base>_EPOCH.weights, <base>.backup, <base>_final.weights.\n"
    "  Weights that hold only the first layers are accepted; the rest starts from random numbers.\n"
    "flags:\n" TRAIN_FLAGS_HELP
    "example: darknet classifier train cifar.data resnet20.cfg -seed 3\n";

int classifier_train_main(int argc, char **argv)
{
    static const struct train_manner manner = {"classifier", false, usage, print_line, backup_due, numbered_due};
    return train_verb(&manner, argc, argv);
}
