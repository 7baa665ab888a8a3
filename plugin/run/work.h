/* The network a run works on: present cfg and shape, its units, which of them are masked, their smoothed scores, and the way back to the original channels.
 * A run shrinks it in the middle: the rewriter slices weights and momentum, the host opens the smaller network and training goes on. */
#ifndef PRUNE_RUN_WORK_H
#define PRUNE_RUN_WORK_H

#include "../host.h"
#include "../rewrite/rewrite.h"
#include "../units/units.h"

struct prune_work_options {
    const char *folder;             /* for intermediate files */
    const char *base;               /* base name of the user's cfg */
    const char *protect;            /* layer ranges, or NULL */
    struct prune_open_options open;
    struct prune_image_set train;
};

struct prune_work {
    const struct prune_host *host;
    struct prune_work_options options;
    char *cfg_path;                 /* of the present shape; the user's own file before the first shrink */
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    uint8_t *removed;               /* [units.count] masked at present */
    double *scores;                 /* [units.count] smoothed */
    bool scored;
    int **origin;                   /* [layer][present channel] -> channel of the user's cfg */
    struct prune_host_net *host_net;
    int shrinks;
};

/* Opens the user's pair in the host, ready to train. */
enum prune_code prune_work_open(struct prune_work *w, const struct prune_host *host, const char *cfg, const char *weights,
                                const struct prune_work_options *o, struct prune_status *st);
void prune_work_close(struct prune_work *w);

/* Starts training with gates on every unit; sink gets the signals. */
enum prune_code prune_work_train(struct prune_work *w, const struct prune_score_options *signals, prune_sink sink, void *user, struct prune_status *st);
/* removed[] as gate values; malloc'd, NULL: no memory (st says so). */
float *prune_work_gate_values(const struct prune_work *w, struct prune_status *st);
/* Pushes removed[] to the gates. */
enum prune_code prune_work_mask(struct prune_work *w, struct prune_status *st);
/* The gates of training again, and the mask, after a scoring pass had its own. For training without signals: those are lost with the gates before. */
enum prune_code prune_work_regate(struct prune_work *w, struct prune_status *st);
/* Removes the masked units for good and goes on with the smaller network (same signals and sink). */
enum prune_code prune_work_shrink(struct prune_work *w, const struct prune_score_options *signals, prune_sink sink, void *user, struct prune_status *st);
/* Writes the present network's cfg and weights with the masked units removed; `masked` (may be NULL) gets the present shape silenced. */
enum prune_code prune_work_write(struct prune_work *w, const char *cfg_path, const char *weights_path, const char *masked_path, struct prune_status *st);
/* Units of the user's cfg that are gone: removed has original->count entries. */
void prune_work_original_mask(const struct prune_work *w, const struct prune_units *original, uint8_t *removed);

#endif
