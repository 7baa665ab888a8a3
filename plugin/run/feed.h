/* Which criterion a run goes by where the user leaves it open, and how a criterion is fed: by the signals of training itself, by scoring passes between
 * training steps, or not at all (weights alone). */
#ifndef PRUNE_RUN_FEED_H
#define PRUNE_RUN_FEED_H

#include "../score/criteria.h"

enum prune_feed { PRUNE_FEED_DEFAULT, PRUNE_FEED_HOOK, PRUNE_FEED_PASS };   /* DEFAULT: the hook where it can, else a pass */

/* THE default of a run, by the network's head; *head: of what networks, for the user. */
const struct prune_criterion *prune_default_criterion(const struct prune_net *net, const char **head);
/* Weight of the scores before where the user gives none: an order of removal is not averaged with another one. */
double prune_default_smoothing(const struct prune_criterion *criterion);
/* Is it fed by scoring passes? Otherwise by training (with its signals), or by nothing. */
bool prune_feeds_by_pass(const struct prune_criterion *criterion, enum prune_feed feed);
/* Refuses a criterion that this network has no signals for, and a way it cannot be fed in. */
enum prune_code prune_feed_check(const struct prune_criterion *criterion, enum prune_feed feed, const struct prune_net *net, struct prune_status *st);

#endif
