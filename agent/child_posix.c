/* Child processes on POSIX systems: one pipe each, a process group of its own. Used by one thread at a time. */
#include "child.h"
#include "clock.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_EVERY_MS 20

extern char **environ;

struct child {
    pid_t pid;
    int fd;
};

enum status child_start(const char *const *argv, struct child **ret, struct error *err) {
    int fds[2];
    if (pipe(fds)) return error_set(err, status_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGTERM);
    sigaddset(&usual, SIGINT);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    pid_t pid = 0;
    /* The strings are not written to; the prototype is older than const. */
    int rc = posix_spawnp(&pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(fds[1]);
    if (rc) {
        close(fds[0]);
        return error_set(err, status_from_errno(rc), "cannot run %s: %s", argv[0], strerror(rc));
    }
    struct child *c = mem_zalloc(sizeof *c);
    c->pid = pid;
    c->fd = fds[0];
    *ret = c;
    return ST_OK;
}

enum status child_read(struct child *c, unsigned timeout_ms, size_t max, struct buf *into, struct error *err) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int rc = poll(&p, 1, (int)timeout_ms);
    if (rc == 0 || (rc < 0 && errno == EINTR)) return ST_AGAIN;
    if (rc < 0) return error_set(err, ST_IO, "cannot wait for a child's output: %s", strerror(errno));
    buf_reserve(into, max);
    ssize_t n = read(c->fd, into->p + into->len, max);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN
                   ? ST_AGAIN
                   : error_set(err, ST_IO, "cannot read a child's output: %s", strerror(errno));
    into->len += (size_t)n;
    return n ? ST_OK : ST_END;
}

void child_stop(struct child **cp) {
    struct child *c = *cp;
    if (!c) return;
    close(c->fd);
    kill(c->pid, SIGTERM);
    pid_t gone = 0;
    for (int i = 0; i < 50 && gone == 0; i++) {
        gone = waitpid(c->pid, NULL, WNOHANG);
        if (gone == 0) poll(NULL, 0, 10);
    }
    if (gone == 0) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    mem_free(c);
    *cp = NULL;
}

/* ---- to the end ---- */

/* In the new process: only what is safe after a fork of a program with threads. */
static void become(const struct child_run *o, int out) {
    sigset_t none;
    sigemptyset(&none);
    int in = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (in >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2 && chdir(o->dir) == 0) {
        /* The strings are not written to; the prototype is older than const. */
        execve(o->argv[0], (char *const *)(uintptr_t)o->argv, environ);
    }
    _exit(127);
}

/* What is there now; false: its end was reached. */
static bool drain(int fd, size_t max, struct buf *into) {
    char chunk[4096];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        if (n == 0) return false;
        size_t room = into->len < max ? max - into->len : 0;
        buf_append(into, chunk, (size_t)n < room ? (size_t)n : room);
    }
}

static void note_end(int how, struct child_end *e) {
    e->crashed = WIFSIGNALED(how);
    e->exit_code = e->crashed ? WTERMSIG(how) : WEXITSTATUS(how);
}

/* A child that has ended may have left others that hold the pipe open: its own end counts. */
static void wait_for_end(const struct child_run *o, pid_t pid, int fd, struct child_end *e) {
    uint64_t began = clock_mono_ms(), until = began + o->time_limit_ms;
    bool more = true, asked = false;
    int how = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, more ? 1 : 0, LOOK_EVERY_MS);
        if (more) more = drain(fd, o->max_output, &e->output);
        pid_t gone = waitpid(pid, &how, WNOHANG);
        uint64_t t = clock_mono_ms();
        if (gone == pid) {
            note_end(how, e);
            if (more) drain(fd, o->max_output, &e->output);
            break;
        }
        if (!asked && o->give_up && atomic_load(o->give_up)) {
            asked = true;
            if (t + CHILD_GRACE_MS < until) until = t + CHILD_GRACE_MS;
        }
        if (t < until) continue;
        e->gave_up = asked;
        e->timed_out = !asked;
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL); /* in case that it is not the leader of its group yet */
        while (waitpid(pid, &how, 0) < 0 && errno == EINTR) continue;
        if (more) drain(fd, o->max_output, &e->output);
        break;
    }
    e->ran_ms = (unsigned)(clock_mono_ms() - began);
}

enum status child_run(const struct child_run *o, struct child_end *ret, struct error *err) {
    struct child_end e = {0};
    int fds[2];
    if (pipe(fds)) return error_set(err, status_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    for (int i = 0; i < 2; i++) fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    pid_t pid = fork();
    if (pid == 0) become(o, fds[1]);
    int code = errno;
    close(fds[1]);
    if (pid > 0) {
        setpgid(pid, pid);
        wait_for_end(o, pid, fds[0], &e);
    }
    close(fds[0]);
    if (pid < 0) return error_set(err, status_from_errno(code), "cannot run %s: %s", o->argv[0], strerror(code));
    *ret = e;
    return ST_OK;
}

enum status child_check_program(const char *path, struct error *err) {
    struct stat sb;
    if (*path != '/') return error_set(err, ST_DENIED, "%s is no absolute path", path);
    if (stat(path, &sb)) return error_set(err, status_from_errno(errno), "%s: %s", path, strerror(errno));
    if (!S_ISREG(sb.st_mode) || access(path, X_OK))
        return error_set(err, ST_DENIED, "%s is no program that can be run", path);
    if ((sb.st_uid != 0 && sb.st_uid != geteuid()) || (sb.st_mode & 022))
        return error_set(err, ST_DENIED,
                         "%s can be changed by others than its owner, or is a stranger's: it is not run", path);
    return ST_OK;
}

void child_own_path(char *out, size_t cap) {
    ssize_t n = readlink("/proc/self/exe", out, cap - 1);
    out[n > 0 ? n : 0] = 0;
}
