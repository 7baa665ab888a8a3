/* Files: read whole, map read-only, write atomically; see file_io.h.
 * A writer's bytes go to ".<name>.tmp.<pid>" in the target's own folder, which is fsynced and renamed over the target at
 * commit. Every failing path unlinks the temporary file. A symbolic link as target is followed, so that it stays one.
 * Refuses folders, pipes and devices on both sides: a rename would replace a device node by a file. */
#include "file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { BLOCK_BYTES = 1 << 18, TEMP_TRIES = 100, WRITE_BACK_BYTES = 8 << 20 };

static enum prune_code open_regular(const char *path, int *out_fd, struct stat *out, struct prune_status *st)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a pipe without writer must not hang */
    if (fd < 0) return prune_fail(st, "cannot read '%s': %s", path, strerror(errno));
    if (fstat(fd, &info)) {
        int why = errno;
        close(fd);
        return prune_fail(st, "cannot read '%s': %s", path, strerror(why));
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return prune_fail(st, "cannot read '%s': %s, not a file", path, S_ISDIR(info.st_mode) ? "it is a folder" : "it is a special file");
    }
    *out_fd = fd;
    *out = info;
    return PRUNE_OK;
}

enum prune_code prune_read_file(const char *path, char **bytes, size_t *size, struct prune_status *st)
{
    return prune_read_file_within(path, SIZE_MAX - 1, bytes, size, st);
}

enum prune_code prune_read_file_within(const char *path, size_t limit, char **bytes, size_t *size, struct prune_status *st)
{
    int fd = -1;
    struct stat info;
    enum prune_code code = open_regular(path, &fd, &info, st);
    if (code) return code;
    size_t want = (size_t)info.st_size, got = 0;
    if (want > limit) {
        close(fd);
        return prune_fail(st, "cannot read '%s': %zu bytes, where %zu are the most that make sense; is it the right file?", path, want, limit);
    }
    char *data = malloc(want + 1);
    if (!data) {
        close(fd);
        return prune_fail_memory(st, want + 1, path);
    }
    while (got < want) {
        ssize_t n = read(fd, data + got, want - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            int why = errno;
            close(fd);
            free(data);
            return prune_fail(st, "cannot read '%s': %s", path, strerror(why));
        }
        if (n == 0) break; /* cut while we read: the readers judge what is there */
        got += (size_t)n;
    }
    close(fd);
    data[got] = '\0';
    *bytes = data;
    *size = got;
    return PRUNE_OK;
}

enum prune_code prune_map_open(struct prune_map *map, const char *path, struct prune_status *st)
{
    int fd = -1;
    struct stat info;
    enum prune_code code = open_regular(path, &fd, &info, st);
    if (code) return code;
    size_t size = (size_t)info.st_size;
    void *bytes = NULL;
    if (size) {
        bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            int why = errno;
            close(fd);
            return prune_fail(st, "cannot map '%s' (%zu bytes): %s", path, size, strerror(why));
        }
    }
    close(fd);
    map->bytes = bytes;
    map->size = size;
    map->origin.device = info.st_dev;
    map->origin.inode = info.st_ino;
    map->origin.seconds = info.st_mtim.tv_sec;
    map->origin.nanoseconds = info.st_mtim.tv_nsec;
    return PRUNE_OK;
}

enum prune_code prune_map_check(const struct prune_map *map, const char *path, struct prune_status *st)
{
    struct stat now;
    if (stat(path, &now) || now.st_dev != map->origin.device || now.st_ino != map->origin.inode) return PRUNE_OK;
    if ((size_t)now.st_size == map->size && now.st_mtim.tv_sec == map->origin.seconds && now.st_mtim.tv_nsec == map->origin.nanoseconds) return PRUNE_OK;
    return prune_fail(st, "'%s' was written to while it was read; run again when it is complete", path);
}

void prune_map_release_pages(const struct prune_map *map, size_t begin, size_t end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = (begin + page - 1) / page * page; /* whole pages inside the range only: neighbours may be in use */
    size_t last = end >= map->size ? map->size : end / page * page;
    if (!map->bytes || first >= last) return;
    (void)madvise((void *)(uintptr_t)(map->bytes + first), last - first, MADV_DONTNEED);
}

void prune_map_close(struct prune_map *map)
{
    if (map->bytes) munmap((void *)(uintptr_t)map->bytes, map->size);
    map->bytes = NULL;
    map->size = 0;
}

/* Two blocks: while one is filled, a thread gives the other to the kernel, which takes as long as making it. A file of one block needs no thread. */
struct prune_writer {
    char *path;      /* as the user wrote it, for messages */
    char *target;    /* symbolic links resolved */
    char *temp;
    int fd;
    size_t written, started;   /* bytes given to the kernel; bytes of them whose way to the disk has begun */
    char *blocks[2];
    int filling;               /* the block that is filled, to `used` */
    size_t used;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;      /* from here on shared with the thread, under the lock */
    pthread_cond_t changed;
    size_t full;               /* bytes of the other block that wait or are being written; 0: it is free */
    bool ended;
    int why;                   /* errno of a write that failed */
};

static void writer_free(struct prune_writer *w)
{
    free(w->path);
    free(w->target);
    free(w->temp);
    free(w->blocks[0]);
    free(w->blocks[1]);
    free(w);
}

static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static enum prune_code open_temp(struct prune_writer *w, const struct stat *old, struct prune_status *st)
{
    int folder = (int)folder_length(w->target);
    for (int i = 0; i < TEMP_TRIES; i++) {
        /* a crashed process of the same number may have left its file: take the next name, never that file */
        char suffix[16] = "";
        if (i) snprintf(suffix, sizeof suffix, ".%d", i);
        w->temp = prune_format("%.*s.%s.tmp.%ld%s", folder, w->target, w->target + folder, (long)getpid(), suffix);
        if (!w->temp) return prune_fail_memory(st, strlen(w->target), "a file name");
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0) break;
        int why = errno;
        free(w->temp);
        w->temp = NULL;
        if (why != EEXIST || i == TEMP_TRIES - 1) return prune_fail(st, "cannot write '%s': %s", w->path, strerror(why));
    }
    if (old && fchmod(w->fd, old->st_mode & 07777)) return prune_fail(st, "cannot write '%s': %s (keeping its permissions)", w->path, strerror(errno));
    return PRUNE_OK;
}

enum prune_code prune_writer_open(struct prune_writer **out, const char *path, struct prune_status *st)
{
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode)) return prune_fail(st, "cannot write '%s': %s, not a file", path, S_ISDIR(info.st_mode) ? "it is a folder" : "it is a special file");
    size_t folder = folder_length(path);
    if (!path[folder]) return prune_fail(st, "cannot write '%s': no file name", path);
    struct prune_writer *w = calloc(1, sizeof *w);
    if (!w) return prune_fail_memory(st, sizeof *w, path);
    w->fd = -1;
    w->blocks[0] = malloc(BLOCK_BYTES);
    w->path = strdup(path);
    w->target = exists ? realpath(path, NULL) : strdup(path);
    enum prune_code code = PRUNE_OK;
    if (!w->path || !w->target || !w->blocks[0]) code = prune_fail_memory(st, BLOCK_BYTES, path);
    if (!code) code = open_temp(w, exists ? &info : NULL, st);
    if (code) {
        prune_writer_abort(w);
        return code;
    }
    *out = w;
    return PRUNE_OK;
}

/* The disk begins while the rest is still being made: the fsync at the end then has little left to wait for. No promise hangs on it. */
static void start_write_back(struct prune_writer *w)
{
    if (w->written - w->started < WRITE_BACK_BYTES) return;
    (void)sync_file_range(w->fd, (off_t)w->started, (off_t)(w->written - w->started), SYNC_FILE_RANGE_WRITE);
    w->started = w->written;
}

/* 0 or errno. */
static int write_all(struct prune_writer *w, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(w->fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        bytes += n;
        size -= (size_t)n;
        w->written += (size_t)n;
        start_write_back(w);
    }
    return 0;
}

static void *write_behind(void *writer)
{
    struct prune_writer *w = writer;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->full && !w->ended) pthread_cond_wait(&w->changed, &w->lock);
        if (!w->full) break;
        const char *block = w->blocks[!w->filling];
        size_t size = w->full;
        pthread_mutex_unlock(&w->lock);
        int why = write_all(w, block, size);
        pthread_mutex_lock(&w->lock);
        if (why) w->why = why;
        w->full = 0;
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Without memory or a thread the blocks are written one by one, as well. Signals are the main thread's. */
static void start_thread(struct prune_writer *w)
{
    sigset_t all, old;
    if (!w->blocks[1]) w->blocks[1] = malloc(BLOCK_BYTES);
    if (!w->blocks[1]) return;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->threaded = pthread_create(&w->thread, NULL, write_behind, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (w->threaded) return;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
}

static void end_thread(struct prune_writer *w)
{
    if (!w->threaded) return;
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    w->threaded = false;
}

static enum prune_code write_failed(const struct prune_writer *w, int why, struct prune_status *st)
{
    return why ? prune_fail(st, "cannot write '%s': %s", w->path, strerror(why)) : PRUNE_OK;
}

/* The block at hand is full: it becomes the thread's, and the other one is filled. */
static enum prune_code hand_over(struct prune_writer *w, struct prune_status *st)
{
    int why = 0;
    size_t size = w->used;
    if (!w->threaded) start_thread(w);
    w->used = 0;
    if (!w->threaded) return write_failed(w, write_all(w, w->blocks[w->filling], size), st);
    pthread_mutex_lock(&w->lock);
    while (w->full) pthread_cond_wait(&w->changed, &w->lock);
    why = w->why;
    if (!why) {
        w->filling = !w->filling;
        w->full = size;
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return write_failed(w, why, st);
}

static enum prune_code flush(struct prune_writer *w, struct prune_status *st)
{
    end_thread(w);
    int why = w->why ? w->why : write_all(w, w->blocks[w->filling], w->used);
    w->used = 0;
    return write_failed(w, why, st);
}

enum prune_code prune_writer_room(struct prune_writer *w, void **room, size_t *size, struct prune_status *st)
{
    enum prune_code code = w->used == BLOCK_BYTES ? hand_over(w, st) : PRUNE_OK;
    if (code) return code;
    *room = w->blocks[w->filling] + w->used;
    *size = BLOCK_BYTES - w->used;
    return PRUNE_OK;
}

void prune_writer_filled(struct prune_writer *w, size_t size)
{
    w->used += size;
}

enum prune_code prune_writer_put(struct prune_writer *w, const void *bytes, size_t size, struct prune_status *st)
{
    const char *from = bytes;
    while (size) {
        void *room;
        size_t n;
        enum prune_code code = prune_writer_room(w, &room, &n, st);
        if (code) return code;
        if (size < n) n = size;
        memcpy(room, from, n);
        prune_writer_filled(w, n);
        from += n;
        size -= n;
    }
    return PRUNE_OK;
}

/* The name lives in the folder: without this a power cut may bring the old file back. Folders that cannot be
 * synced (some network file systems) are no error: the data itself is on disk. */
static void sync_folder(const char *target)
{
    size_t length = folder_length(target);
    char *folder = length ? strndup(target, length) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

enum prune_code prune_writer_commit(struct prune_writer *w, struct prune_status *st)
{
    enum prune_code code = flush(w, st);
    if (!code && fsync(w->fd)) code = prune_fail(st, "cannot write '%s': %s", w->path, strerror(errno));
    if (!code) {
        int closed = close(w->fd);
        w->fd = -1;
        if (closed) code = prune_fail(st, "cannot write '%s': %s", w->path, strerror(errno));
    }
    if (!code && rename(w->temp, w->target)) code = prune_fail(st, "cannot write '%s': %s", w->path, strerror(errno));
    if (code) {
        prune_writer_abort(w);
        return code;
    }
    sync_folder(w->target);
    writer_free(w);
    return PRUNE_OK;
}

void prune_writer_abort(struct prune_writer *w)
{
    if (!w) return;
    end_thread(w);
    if (w->fd >= 0) close(w->fd);
    if (w->temp) unlink(w->temp);
    writer_free(w);
}

enum prune_code prune_write_file(const char *path, const void *bytes, size_t size, struct prune_status *st)
{
    struct prune_writer *w = NULL;
    enum prune_code code = prune_writer_open(&w, path, st);
    if (code) return code;
    code = prune_writer_put(w, bytes, size, st);
    if (code) {
        prune_writer_abort(w);
        return code;
    }
    return prune_writer_commit(w, st);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum prune_code prune_make_dirs(const char *path, struct prune_status *st)
{
    if (!*path) return prune_fail(st, "cannot create folder '': the name is empty");
    char *part = strdup(path);
    if (!part) return prune_fail_memory(st, strlen(path), "a folder name");
    int why = 0;
    for (char *p = part + 1; !why; p++) {
        if (*p != '/' && *p) continue;
        char kept = *p;
        *p = '\0';
        int failure = mkdir(part, 0777) ? errno : 0;
        if (failure && !is_folder(part)) why = failure == EEXIST ? ENOTDIR : failure;
        *p = kept;
        if (!kept) break;
    }
    free(part);
    return why ? prune_fail(st, "cannot create folder '%s': %s", path, strerror(why)) : PRUNE_OK;
}

char *prune_dirs_missing(const char *path)
{
    char *part = strdup(path);
    char *missing = NULL;
    while (part && *part && !prune_path_exists(part)) {
        free(missing);
        missing = strdup(part);
        char *slash = strrchr(part, '/');
        while (slash && slash > part && !slash[1]) {   /* "a/b/": the name before it */
            *slash = 0;
            slash = strrchr(part, '/');
        }
        if (!slash) break;
        *slash = 0;
    }
    free(part);
    return missing;
}

void prune_remove_dirs(const char *path, const char *from)
{
    char *part = from ? strdup(path) : NULL;
    while (part && strlen(part) >= strlen(from) && (rmdir(part) == 0 || errno == ENOENT)) {
        char *slash = strrchr(part, '/');
        if (!slash) break;
        *slash = 0;
    }
    free(part);
}

bool prune_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool prune_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

char *prune_format(const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

char *prune_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return prune_format(n && dir[n - 1] != '/' ? "%s/%s" : "%s%s", dir, name);
}

char *prune_base_name(const char *path)
{
    size_t end = strlen(path);
    while (end && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/') begin--;
    char *name = strndup(path + begin, end - begin);
    if (!name) return NULL;
    char *dot = strrchr(name, '.');
    if (dot && dot != name) *dot = '\0';
    for (char *p = name; *p; p++)
        if (*p == '.') *p = '_';
    return name;
}

uint64_t prune_hash_bytes(const void *bytes, size_t size)
{
    return XXH64(size ? bytes : "", size, 0);
}

struct prune_hash { XXH64_state_t *state; };

struct prune_hash *prune_hash_begin(void)
{
    struct prune_hash *h = malloc(sizeof *h);
    if (!h) return NULL;
    h->state = XXH64_createState();
    if (!h->state) {
        free(h);
        return NULL;
    }
    XXH64_reset(h->state, 0);
    return h;
}

void prune_hash_add(struct prune_hash *h, const void *bytes, size_t size)
{
    if (size) XXH64_update(h->state, bytes, size);
}

void prune_hash_end(struct prune_hash *h, char text[32])
{
    if (!h) return;
    if (text) snprintf(text, 32, "xxh64:%016llx", (unsigned long long)XXH64_digest(h->state));
    XXH64_freeState(h->state);
    free(h);
}

enum prune_code prune_hash_file(const char *path, char text[32], struct prune_status *st)
{
    struct prune_map map;
    enum prune_code code = prune_map_open(&map, path, st);
    if (code) return code;
    struct prune_hash *hash = prune_hash_begin();
    if (!hash) {
        prune_map_close(&map);
        return prune_fail_memory(st, sizeof map, "a hash");
    }
    const size_t step = (size_t)8 << 20; /* pages are dropped as we go: hashing 250 MB must not cost 250 MB */
    for (size_t at = 0; at < map.size; at += step) {
        size_t n = map.size - at < step ? map.size - at : step;
        prune_hash_add(hash, map.bytes + at, n);
        prune_map_release_pages(&map, at, at + n);
    }
    prune_hash_end(hash, text);
    prune_map_close(&map);
    return PRUNE_OK;
}
