/* What `classifier train` and `detector train` share: arguments, opening and checking, the loop, backups, Ctrl-C. A manner is what differs. */
#ifndef DARKNET_TRAIN_VERB_H
#define DARKNET_TRAIN_VERB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct train_report { uint64_t iteration, images_seen; double epoch, loss, average, rate, seconds; };

struct train_manner {
    const char *noun;                 /* "classifier" */
    bool detector;
    const char *usage;
    void (*print)(const struct train_report *r);                     /* one line on stdout per iteration */
    bool (*backup_due)(uint64_t iteration);                          /* <base>.backup */
    /* <base>_N.weights: number after `iteration`, where images_before and images_after are the images drawn before and after it; false: not due */
    bool (*numbered_due)(uint64_t iteration, uint64_t images_before, uint64_t images_after, size_t list, uint64_t *number);
};

/* argv[0] is the verb ("train"). Returns the exit code: 0 done, 1 failed or interrupted, 2 bad usage. */
int train_verb(const struct train_manner *manner, int argc, char **argv);

/* The flags both verbs take, for their usage texts. */
#define TRAIN_FLAGS_HELP \
    "  -clear            start over: the images that the weights have seen count as none\n" \
    "  -iterations N     train N iterations from the schedule's beginning, whatever the weights have seen\n" \
    "                    (fine-tuning of trained weights)\n" \
    "  -threads N        worker threads (default: all cores)\n" \
    "  -seed N           order and augmentation of images, dropout and fresh weights depend on this\n" \
    "                    alone (default: 1)\n" \
    "  -gpus L -i N -nogpu   accepted as Darknet does; training runs on the CPU\n" \
    "  -help             this text\n"

#endif
