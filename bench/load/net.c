/* Sockets, time, and the end of a load that cannot go on. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PORTS_AN_ADDRESS 20000 /* connections from one source address: it has some 28,000 ports */
#define SMALL_BUFFER 4096

uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* As many open files as this process may have. */
void raise_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* A connection under way; every 20,000 of them come from another address of this machine. */
int dial(int port, size_t number, bool small) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, size = SMALL_BUFFER;
    if (fd < 0) fail("socket: %s", strerror(errno));
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (number >= PORTS_AN_ADDRESS) {
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number / PORTS_AN_ADDRESS));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&from, sizeof from)) fail("bind: %s", strerror(errno));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (small) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
    return fd;
}

void watch(int epoll, int fd, uint32_t events, void *what, bool anew) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(epoll, anew ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

/* What the load says is short: it fits the socket's buffer, or waits for a moment. */
void send_all(int fd, const void *bytes, size_t length) {
    for (size_t sent = 0; sent < length;) {
        ssize_t taken = send(fd, (const char *)bytes + sent, length - sent, MSG_NOSIGNAL);
        if (taken >= 0) {
            sent += (size_t)taken;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000);
        } else {
            return; /* the next read tells that the other side has left */
        }
    }
}

char *whole_file(const char *path, size_t *length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about)) fail("%s: %s", path, strerror(errno));
    char *text = malloc((size_t)about.st_size + 1);
    ssize_t got = text ? read(fd, text, (size_t)about.st_size) : -1;
    if (got != about.st_size) fail("%s cannot be read", path);
    close(fd);
    text[got] = 0;
    *length = (size_t)got;
    return text;
}
