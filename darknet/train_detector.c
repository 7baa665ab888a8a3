/* `darknet detector train`: Darknet's arguments, its line per iteration, its backups: <base>.backup every 100 iterations, <base>_N.weights every
 * 100 below 1000 and then every 10000. */
#include "train.h"

#include <inttypes.h>

#include "train_verb.h"

static void print_line(const struct train_report *r)
{
    printf("%" PRIu64 ": %f, %f avg, %f rate, %f seconds, %" PRIu64 " images\n", r->iteration, r->loss, r->average, r->rate, r->seconds, r->images_seen);
}

static bool backup_due(uint64_t iteration)
{
    return iteration % 100 == 0;
}

static bool numbered_due(uint64_t iteration, uint64_t images_before, uint64_t images_after, size_t list, uint64_t *number)
{
    (void)images_before, (void)images_after, (void)list;
    *number = iteration;
    return iteration % 10000 == 0 || (iteration < 1000 && iteration % 100 == 0);
}

static const char usage[] =
    "usage: darknet detector train <data> <cfg> [weights] [flags]\n"
    "  Trains the detector of <cfg> on the train list of <data>; labels/NAME.txt beside images/NAME.jpg holds its boxes.\n"
    "  Backups go to the data file's backup= folder: <base>_N.weights, <base>.backup, <base>_final.weights.\n"
    "  Weights that hold only the first layers (darknet53.conv.74) are accepted; the rest starts from random numbers.\n"
    "flags:\n" TRAIN_FLAGS_HELP
    "example: darknet detector train voc.data yolov3-tiny.cfg darknet53.conv.74\n";

int detector_train_main(int argc, char **argv)
{
    static const struct train_manner manner = {"detector", true, usage, print_line, backup_due, numbered_due};
    return train_verb(&manner, argc, argv);
}
