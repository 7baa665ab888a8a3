/* For tests: makes one call of a program fail, by number (LD_PRELOAD). Counted from the first open of FAIL_FROM on, in that process:
 *   FAIL_WHAT=files   open, read, write, close, fsync, rename and whatever else files need         FAIL_WHAT=memory   malloc, calloc, realloc
 *   FAIL_NTH=n        the n-th of them, from 1            FAIL_FD=fd   the name of the call that failed is written there (an open pipe)
 *   FAIL_HOW=errno's number | short (half of a write or read) | kill (SIGKILL in place of the call) | killed (SIGKILL behind it)
 *             | cut, touch (FAIL_CUT is cut to nothing, or written to; the call itself goes well) */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fate { PASS, FAIL, SHORT, DIE_BEHIND };
enum what { FILES, MEMORY };
static atomic_long calls;
static atomic_int begun;   /* the process that counts */

static void say(const char *name)
{
    const char *fd = getenv("FAIL_FD");
    if (fd && syscall(SYS_write, atoi(fd), name, strlen(name)) < 0) return;
}

static void change(const char *path, bool cut)
{
    long fd = path ? syscall(SYS_open, path, O_RDWR) : -1;
    char byte;
    if (fd < 0) return;
    if (cut) syscall(SYS_ftruncate, fd, 0);
    else if (syscall(SYS_pread64, fd, &byte, 1, 0) == 1) syscall(SYS_pwrite64, fd, &byte, 1, 0);
    syscall(SYS_close, fd);
}

static enum fate fate_of(enum what what, const char *name)
{
    static const char *const WHAT[] = { "files", "memory" };
    const char *wanted = getenv("FAIL_WHAT"), *nth = getenv("FAIL_NTH"), *how = getenv("FAIL_HOW");
    if (begun != getpid() || !wanted || !nth || !how || strcmp(wanted, WHAT[what]) != 0 || ++calls != atol(nth)) return PASS;
    say(name);
    if (!strcmp(how, "short")) return SHORT;
    if (!strcmp(how, "killed")) return DIE_BEHIND;
    if (!strcmp(how, "kill")) raise(SIGKILL);
    if (!strcmp(how, "cut") || !strcmp(how, "touch")) {
        change(getenv("FAIL_CUT"), *how == 'c');
        return PASS;
    }
    errno = atoi(how);
    return FAIL;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
/* A function whose arguments need no look: fails with -1, is never short. */
#define PLAIN(type, name, parameters, arguments)                  \
    type name parameters                                          \
    {                                                             \
        enum fate fate = fate_of(FILES, #name);           \
        if (fate == FAIL) return (type)-1;                        \
        type result = REAL(name) arguments;                       \
        if (fate == DIE_BEHIND) raise(SIGKILL);                   \
        return result;                                            \
    }
/* Moves up to `count` bytes: may also move half of them. */
#define MOVES(name, parameters, count, arguments)                 \
    ssize_t name parameters                                       \
    {                                                             \
        enum fate fate = fate_of(FILES, #name);           \
        if (fate == FAIL) return -1;                              \
        if (fate == SHORT && count > 1) count /= 2;               \
        ssize_t result = REAL(name) arguments;                    \
        if (fate == DIE_BEHIND) raise(SIGKILL);                   \
        return result;                                            \
    }

MOVES(read, (int fd, void *to, size_t count), count, (fd, to, count))
MOVES(write, (int fd, const void *from, size_t count), count, (fd, from, count))
MOVES(pwrite, (int fd, const void *from, size_t count, off_t at), count, (fd, from, count, at))
MOVES(pread, (int fd, void *to, size_t count, off_t at), count, (fd, to, count, at))
MOVES(copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags), count, (in, from, out, to, count, flags))
MOVES(sendfile, (int out, int in, off_t *from, size_t count), count, (out, in, from, count))
PLAIN(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
PLAIN(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
PLAIN(int, close, (int fd), (fd))
PLAIN(int, fsync, (int fd), (fd))
PLAIN(int, fdatasync, (int fd), (fd))
PLAIN(int, ftruncate, (int fd, off_t size), (fd, size))
PLAIN(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
PLAIN(int, rename, (const char *from, const char *to), (from, to))
PLAIN(int, mkdir, (const char *path, mode_t mode), (path, mode))
PLAIN(int, chmod, (const char *path, mode_t mode), (path, mode))
PLAIN(int, fchmod, (int fd, mode_t mode), (fd, mode))
PLAIN(int, unlink, (const char *path), (path))
PLAIN(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
PLAIN(int, fstat, (int fd, struct stat *info), (fd, info))
PLAIN(int, flock, (int fd, int how), (fd, how))
PLAIN(int, remove, (const char *path), (path))

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *argument)
{
    enum fate fate = fate_of(FILES, "pthread_create");
    if (fate == FAIL) return EAGAIN;
    int result = REAL(pthread_create)(thread, how, start, argument);
    if (fate == DIE_BEHIND) raise(SIGKILL);
    return result;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    const char *from = getenv("FAIL_FROM");
    if (!begun && from && !strcmp(path, from)) begun = getpid();
    enum fate fate = fate_of(FILES, "open");
    if (fate == FAIL) return -1;
    int fd = REAL(open)(path, flags, mode);
    if (fate == DIE_BEHIND) raise(SIGKILL);
    return fd;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t from)
{
    enum fate fate = fd >= 0 ? fate_of(FILES, "mmap") : PASS;
    if (fate == FAIL) return MAP_FAILED;
    void *map = (void *)syscall(SYS_mmap, at, size, protection, flags, fd, from);
    if (fate == DIE_BEHIND) raise(SIGKILL);
    return map;
}

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static void *allocated(void *memory, enum fate fate)
{
    if (fate == DIE_BEHIND) raise(SIGKILL);
    return memory;
}
void *malloc(size_t size)
{
    enum fate fate = fate_of(MEMORY, "malloc");
    return fate == FAIL ? NULL : allocated(__libc_malloc(size), fate);
}
void *calloc(size_t count, size_t size)
{
    enum fate fate = fate_of(MEMORY, "calloc");
    return fate == FAIL ? NULL : allocated(__libc_calloc(count, size), fate);
}
void *realloc(void *old, size_t size)
{
    enum fate fate = fate_of(MEMORY, "realloc");
    return fate == FAIL ? NULL : allocated(__libc_realloc(old, size), fate);
}
