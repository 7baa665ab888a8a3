/* `score -state FILE` and `score -resume FILE`: the states of criteria in a file, written while images are fed and at the end, and taken up again. */
#ifndef PRUNE_COMMANDS_SCORE_RESUME_H
#define PRUNE_COMMANDS_SCORE_RESUME_H

#include "../score/score_state.h"
#include "common.h"

struct prune_resume {
    const char *from, *to;             /* -resume, -state; NULL: not wanted. -resume alone: both are that file */
    struct prune_state_file file;      /* of `from` */
    char *criteria;                    /* that it holds: "a,b,c" */
    struct prune_score_origin origin;
    char *list;                        /* the image list; NULL: no images are needed */
    size_t first;                      /* of the first image ever fed */
    char *bytes; size_t size;          /* the state after the last images that are done */
    double saved;                      /* when it was written last */
};

#define PRUNE_RESUME_FLAGS {"state", true}, {"resume", true}
#define PRUNE_RESUME_HELP \
    "  -state FILE       keep the sums here while scoring (every 30 s), at the end and at Ctrl-C\n" \
    "  -resume FILE      take up such a file: its criteria and flags, the next -images N of the list;\n" \
    "                    the scores are those of one long run, and FILE (or -state) gets the new sums\n"

/* Opens the file of -resume. */
enum prune_code prune_resume_open(struct prune_resume *r, const struct prune_args *a, struct prune_status *st);
/* Settings of the file for flags that are not given; a flag that says otherwise is refused. */
enum prune_code prune_resume_settings(struct prune_resume *r, const struct prune_args *a, struct prune_scoring *s, struct prune_open_options *open, struct prune_status *st);
/* Hashes of the files, states of the items (just initialised), and where the images go on; s->set.limit becomes a number. */
enum prune_code prune_resume_load(struct prune_resume *r, const struct prune_mask_origin *origin, struct prune_scoring *s, struct prune_scored *items, size_t count,
                                  struct prune_scoring_facts *facts, struct prune_status *st);
/* prune_scoring_feed that keeps r->to up to date. Interrupted: the file is written and st says how to go on. */
enum prune_code prune_resume_feed(struct prune_resume *r, struct prune_scoring *s, struct prune_scored *items, size_t count, struct prune_scoring_facts *facts,
                                  struct prune_status *st);
void prune_resume_close(struct prune_resume *r);

#endif
