/* Stands between a process and the system calls that change files, to make one of them go wrong.

   Loaded with LD_PRELOAD, so it sees every such call of Python, SQLite, torch and safetensors alike.
   Calls on files below `root` are numbered from 1; the others pass untouched. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { OFF, COUNT, KILL, TEAR, FAIL_ONCE, FAIL_ON };
/* What a call needs of the disk: room, a working device, or neither. */
enum need { NOTHING, DEVICE, ROOM };

static char root[PATH_MAX];
static long target;
static enum mode mode = OFF;
static int error_number;
static int log_handle = -1;
static atomic_long calls;

void faults_arm(const char *folder, long number, int what, int error, int log) {
    strncpy(root, folder, sizeof root - 1);
    atomic_store(&calls, 0);
    target = number;
    error_number = error;
    log_handle = log;
    mode = what;
}

long faults_seen(void) { return atomic_load(&calls); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void stop(void) { syscall(SYS_exit_group, 9); }

static int is_ours(const char *path) { return strncmp(path, root, strlen(root)) == 0; }

static int is_ours_at(int folder, const char *path, char *full) {
    if (path[0] == '/') {
        snprintf(full, PATH_MAX, "%s", path);
    } else {
        char link[64], base[PATH_MAX];
        if (folder == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
        if (snprintf(full, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return is_ours(full);
}

static int is_ours_handle(int handle, char *full) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, full, PATH_MAX - 1);
    if (length < 0) return 0;
    full[length] = 0;
    return is_ours(full);
}

/* Counts one call. Returns 0 to let it happen, -1 with errno set to refuse it, and 1 to write half. */
static int met(const char *name, const char *path, enum need need, int can_tear) {
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (log_handle >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %s\n", name, path);
        syscall(SYS_write, log_handle, line, length);
    }
    if (mode == KILL && number == target) stop();
    if (mode == TEAR && number == target) {
        if (can_tear) return 1;
        stop();
    }
    if (mode == FAIL_ONCE && number == target && need != NOTHING) {
        errno = error_number;
        return -1;
    }
    if (mode == FAIL_ON && number >= target && need == ROOM) {
        errno = error_number;
        return -1;
    }
    return 0;
}

#define BY_PATH(name, folder, path, need)                                             \
    char full[PATH_MAX];                                                              \
    if (mode != OFF && is_ours_at(folder, path, full) && met(name, full, need, 0)) return -1;

#define BY_HANDLE(name, handle, need)                                                 \
    char full[PATH_MAX];                                                              \
    if (mode != OFF && is_ours_handle(handle, full) && met(name, full, need, 0)) return -1;

static int changes(int flags) { return flags & (O_CREAT | O_TRUNC); }

#define OPENED(call)                                                                  \
    mode_t permissions = 0;                                                           \
    if (flags & O_CREAT) {                                                            \
        va_list rest;                                                                 \
        va_start(rest, flags);                                                        \
        permissions = va_arg(rest, int);                                              \
        va_end(rest);                                                                 \
    }                                                                                 \
    if (changes(flags)) {                                                             \
        BY_PATH("create", folder, path, ROOM)                                         \
        return call;                                                                  \
    }                                                                                 \
    return call;

int open(const char *path, int flags, ...) {
    int folder = AT_FDCWD;
    OPENED(REAL(open)(path, flags, permissions))
}
int open64(const char *path, int flags, ...) {
    int folder = AT_FDCWD;
    OPENED(REAL(open64)(path, flags, permissions))
}
int openat(int folder, const char *path, int flags, ...) {
    OPENED(REAL(openat)(folder, path, flags, permissions))
}
int openat64(int folder, const char *path, int flags, ...) {
    OPENED(REAL(openat64)(folder, path, flags, permissions))
}

ssize_t write(int handle, const void *data, size_t size) {
    char full[PATH_MAX];
    if (mode != OFF && is_ours_handle(handle, full)) {
        int what = met("write", full, ROOM, size > 1);
        if (what < 0) return -1;
        if (what > 0) {
            REAL(write)(handle, data, size / 2);
            stop();
        }
    }
    return REAL(write)(handle, data, size);
}
ssize_t pwrite(int handle, const void *data, size_t size, off_t place) {
    char full[PATH_MAX];
    if (mode != OFF && is_ours_handle(handle, full)) {
        int what = met("write", full, ROOM, size > 1);
        if (what < 0) return -1;
        if (what > 0) {
            REAL(pwrite)(handle, data, size / 2, place);
            stop();
        }
    }
    return REAL(pwrite)(handle, data, size, place);
}
ssize_t pwrite64(int handle, const void *data, size_t size, off64_t place) {
    return pwrite(handle, data, size, place);
}
ssize_t writev(int handle, const struct iovec *parts, int count) {
    BY_HANDLE("write", handle, ROOM)
    return REAL(writev)(handle, parts, count);
}
int fsync(int handle) {
    BY_HANDLE("fsync", handle, DEVICE)
    return REAL(fsync)(handle);
}
int fdatasync(int handle) {
    BY_HANDLE("fsync", handle, DEVICE)
    return REAL(fdatasync)(handle);
}
int syncfs(int handle) {
    BY_HANDLE("fsync", handle, DEVICE)
    return REAL(syncfs)(handle);
}
int ftruncate(int handle, off_t size) {
    BY_HANDLE("truncate", handle, DEVICE)
    return REAL(ftruncate)(handle, size);
}
int ftruncate64(int handle, off64_t size) {
    BY_HANDLE("truncate", handle, DEVICE)
    return REAL(ftruncate64)(handle, size);
}
int rename(const char *from, const char *to) {
    BY_PATH("rename", AT_FDCWD, to, DEVICE)
    return REAL(rename)(from, to);
}
int renameat(int folder, const char *from, int other, const char *to) {
    BY_PATH("rename", other, to, DEVICE)
    return REAL(renameat)(folder, from, other, to);
}
int mkdir(const char *path, mode_t permissions) {
    BY_PATH("mkdir", AT_FDCWD, path, ROOM)
    return REAL(mkdir)(path, permissions);
}
int mkdirat(int folder, const char *path, mode_t permissions) {
    BY_PATH("mkdir", folder, path, ROOM)
    return REAL(mkdirat)(folder, path, permissions);
}
int unlink(const char *path) {
    BY_PATH("remove", AT_FDCWD, path, NOTHING)
    return REAL(unlink)(path);
}
int unlinkat(int folder, const char *path, int flags) {
    BY_PATH("remove", folder, path, NOTHING)
    return REAL(unlinkat)(folder, path, flags);
}
int rmdir(const char *path) {
    BY_PATH("remove", AT_FDCWD, path, NOTHING)
    return REAL(rmdir)(path);
}
int chmod(const char *path, mode_t permissions) {
    BY_PATH("chmod", AT_FDCWD, path, DEVICE)
    return REAL(chmod)(path, permissions);
}
