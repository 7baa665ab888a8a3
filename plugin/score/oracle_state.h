/* The state file of an oracle that is not done (docs/oracle.md): sums so far, and of a greedy oracle the steps that are done, in the container of
 * base/state_file.h, so that what is continued is what was stopped. The key says what it is a state of; a file of another key is refused. */
#ifndef PRUNE_SCORE_ORACLE_STATE_H
#define PRUNE_SCORE_ORACLE_STATE_H

#include "oracle_sets.h"

/* o: the sums; NULL with a greedy oracle (greedy not NULL), whose are those of its round. key: one line. */
enum prune_code prune_oracle_state_write(const char *path, const char *key, const struct prune_oracle *o, const struct prune_greedy *greedy, struct prune_status *st);
/* Into an oracle (and a greedy one) just initialised for the same units. No file: PRUNE_OK, and nothing is changed. */
enum prune_code prune_oracle_state_read(const char *path, const char *key, struct prune_oracle *o, struct prune_greedy *greedy, struct prune_status *st);

#endif
