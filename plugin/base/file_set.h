/* Files that only make sense together: written beside their targets under names of their own, then put in place all at once, or none.
 * A file called F is staged as ".F.new.<pid>"; while the set is put in place an old F is called ".F.old.<pid>". A process that is killed
 * leaves whole files only: a target is absent, old or new, and the last file of a set (the cfg of a pair) is there only with all the
 * others of its generation. Sets that go to one folder at the same time are put in place one after the other (flock on the folder). */
#ifndef PRUNE_BASE_FILE_SET_H
#define PRUNE_BASE_FILE_SET_H

#include "status.h"
#include <stddef.h>

enum { PRUNE_SET_ROOM = 4 };
struct prune_file_set {
    struct prune_set_file { char *path, *target, *staged, *old; } items[PRUNE_SET_ROOM];   /* as given; symbolic links resolved; where to write; where the old one waits */
    size_t count;
};

/* *staged: the path to write the file to, owned by the set. The folder must exist. Refuses folders, special files and two names of one file. */
enum prune_code prune_set_add(struct prune_file_set *set, const char *path, const char **staged, struct prune_status *st);
/* Puts every staged file in place, in the order of adding; keeps permissions of old ones; then removes what killed processes left of these files.
 * On failure the old files are back. */
enum prune_code prune_set_publish(struct prune_file_set *set, struct prune_status *st);
/* Removes what is still staged; frees. */
void prune_set_free(struct prune_file_set *set);

#endif
