/* A child process on POSIX systems: posix_spawn, one pipe. Used by one thread at a time. */
#include "child.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
