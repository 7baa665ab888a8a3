/* The state of criteria over the images so far (base/state_file.h, docs/scores.md): `score -state` writes it, `score -resume` feeds it more images. A part
 * for each criterion, its flat state; the facts say of which files, settings and images. */
#ifndef PRUNE_SCORE_SCORE_STATE_H
#define PRUNE_SCORE_SCORE_STATE_H

#include "../base/state_file.h"
#include "scoring.h"

/* Of which files. Paths are for messages; hashes are "" where there is no such file. */
struct prune_score_origin { const char *cfg_path, *weights_path, *list_path; char cfg[32], weights[32], list[32]; };

/* The settings that scores depend on, by the names of their flags: number `i` of them, NULL behind the last. */
const char *prune_score_setting(size_t i);
enum { PRUNE_SETTING_ROOM = 32 };
void prune_score_setting_text(const struct prune_scoring *s, size_t i, char text[PRUNE_SETTING_ROOM]);

/* s->set.first: of the first image ever fed; s->minibatch: what was used, not 0. *bytes malloc'd. */
enum prune_code prune_score_state_encode(const struct prune_scoring *s, const struct prune_score_origin *origin, const struct prune_scored *items, size_t count,
                                         const struct prune_scoring_facts *facts, char **bytes, size_t *size, struct prune_status *st);

/* The criteria in a state, "a,b,c", malloc'd. */
enum prune_code prune_score_state_criteria(const struct prune_state_file *f, char **names, struct prune_status *st);
/* The settings of a state into *s. */
enum prune_code prune_score_state_settings(const struct prune_state_file *f, struct prune_scoring *s, struct prune_status *st);
/* Into items just initialised, which must be the criteria of the state in any order; files must be those of the state. */
enum prune_code prune_score_state_load(const struct prune_state_file *f, const struct prune_score_origin *origin, const struct prune_score_input *in,
                                       struct prune_scored *items, size_t count, struct prune_scoring_facts *facts, struct prune_status *st);

#endif
