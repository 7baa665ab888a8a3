/* Files put in place together; see file_set.h. Old files step aside last to first, new ones step in first to last: at every moment the
 * last file of the set vouches for the others. What fails in between is undone in the opposite order. */
#include "file_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_io.h"

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static char *beside(const char *target, const char *what)
{
    const char *name = name_of(target);
    return prune_format("%.*s.%s.%s.%ld", (int)(name - target), target, name, what, (long)getpid());
}

static char *folder_of(const char *target)
{
    int length = (int)(name_of(target) - target);
    return length ? prune_format("%.*s", length, target) : strdup(".");
}

/* Said here, a folder that takes no files is named with the file the caller knows, not with the staged one. */
static enum prune_code check_folder(const struct prune_set_file *f, struct prune_status *st)
{
    char *folder = folder_of(f->target);
    if (!folder) return prune_fail_memory(st, strlen(f->target), "a file name");
    int why = access(folder, W_OK | X_OK) ? errno : 0;
    free(folder);
    return why ? prune_fail(st, "cannot write '%s': %s", f->path, strerror(why)) : PRUNE_OK;
}

enum prune_code prune_set_add(struct prune_file_set *set, const char *path, const char **staged, struct prune_status *st)
{
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (set->count == PRUNE_SET_ROOM) return prune_fail(st, "cannot write '%s': more than %d files in one set", path, PRUNE_SET_ROOM);
    if (exists && !S_ISREG(info.st_mode)) return prune_fail(st, "cannot write '%s': %s, not a file", path, S_ISDIR(info.st_mode) ? "it is a folder" : "it is a special file");
    struct prune_set_file *f = &set->items[set->count++];
    *f = (struct prune_set_file){ .path = strdup(path), .target = exists ? realpath(path, NULL) : strdup(path) };
    if (f->target) f->staged = beside(f->target, "new");
    if (f->target) f->old = beside(f->target, "old");
    if (!f->path || !f->target || !f->staged || !f->old) return prune_fail_memory(st, strlen(path), "a file name");
    for (size_t i = 0; i + 1 < set->count; i++)
        if (prune_same_file(set->items[i].target, f->target)) return prune_fail(st, "cannot write '%s': it is the same file as '%s'; remove that link", path, set->items[i].path);
    *staged = f->staged;
    return check_folder(f, st);
}

/* An open folder, locked; -1: cannot be opened. Where locks are not to be had (some network file systems) the lock is left out. */
static int lock_folder(const char *target)
{
    char *folder = folder_of(target);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    if (fd >= 0)
        while (flock(fd, LOCK_EX) && errno == EINTR) continue;
    return fd;
}

struct progress { bool aside[PRUNE_SET_ROOM], in_place[PRUNE_SET_ROOM]; };

static enum prune_code step_aside(const struct prune_set_file *f, bool *aside, struct prune_status *st)
{
    struct stat info;
    if (stat(f->target, &info)) return errno == ENOENT ? PRUNE_OK : prune_fail(st, "cannot write '%s': %s", f->path, strerror(errno));
    if (chmod(f->staged, info.st_mode & 07777)) return prune_fail(st, "cannot write '%s': %s (keeping its permissions)", f->path, strerror(errno));
    if (rename(f->target, f->old)) return prune_fail(st, "cannot replace '%s': %s", f->path, strerror(errno));
    *aside = true;
    return PRUNE_OK;
}

static enum prune_code exchange(const struct prune_file_set *set, struct progress *p, struct prune_status *st)
{
    for (size_t i = set->count; i-- > 0;) {
        enum prune_code rc = step_aside(&set->items[i], &p->aside[i], st);
        if (rc) return rc;
    }
    for (size_t i = 0; i < set->count; i++) {
        const struct prune_set_file *f = &set->items[i];
        if (rename(f->staged, f->target)) return prune_fail(st, "cannot write '%s': %s", f->path, strerror(errno));
        p->in_place[i] = true;
    }
    return PRUNE_OK;
}

/* What cannot be put back is named in the message: it is not lost, it has another name. */
static void undo(const struct prune_file_set *set, const struct progress *p, struct prune_status *st)
{
    for (size_t i = set->count; i-- > 0;)
        if (p->in_place[i]) unlink(set->items[i].target);
    for (size_t i = 0; i < set->count; i++)
        if (p->aside[i] && rename(set->items[i].old, set->items[i].target)) prune_explain(st, "the old '%s' is now called '%s': ", set->items[i].path, set->items[i].old);
}

/* Left over: ".F.new.N", ".F.old.N", "..F.new.N.tmp.N", ".F.tmp.N" where no process N lives. */
static bool is_leftover(const char *entry, const char *name)
{
    size_t length = strlen(name);
    if (*entry != '.') return false;
    while (*entry == '.') entry++;
    while (*name == '.') {
        name++;
        length--;
    }
    if (strncmp(entry, name, length) != 0) return false;
    const char *rest = entry + length;
    if (strncmp(rest, ".new.", 5) != 0 && strncmp(rest, ".old.", 5) != 0 && strncmp(rest, ".tmp.", 5) != 0) return false;
    char *end;
    long pid = strtol(rest + 5, &end, 10);
    if (end == rest + 5 || pid <= 0 || pid > 0x7fffffff || (*end && strncmp(end, ".tmp.", 5) != 0)) return false;
    return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static void remove_leftovers(const struct prune_set_file *f)
{
    const char *name = name_of(f->target);
    char *folder = name > f->target ? prune_format("%.*s", (int)(name - f->target), f->target) : strdup("./");
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (is_leftover(e->d_name, name)) (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
    free(folder);
}

enum prune_code prune_set_publish(struct prune_file_set *set, struct prune_status *st)
{
    struct progress p = { 0 };
    if (!set->count) return PRUNE_OK;
    int folder = lock_folder(set->items[set->count - 1].target);
    enum prune_code rc = exchange(set, &p, st);
    if (rc) undo(set, &p, st);
    if (folder >= 0) (void)fsync(folder);   /* the names; folders that cannot be synced are no error, the data is on disk */
    for (size_t i = 0; !rc && i < set->count; i++) {
        if (p.aside[i]) unlink(set->items[i].old);
        remove_leftovers(&set->items[i]);
    }
    if (folder >= 0) close(folder);
    return rc;
}

void prune_set_free(struct prune_file_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        struct prune_set_file *f = &set->items[i];
        if (f->staged) unlink(f->staged);    /* published: not there any more */
        free(f->path);
        free(f->target);
        free(f->staged);
        free(f->old);
    }
    memset(set, 0, sizeof *set);
}
