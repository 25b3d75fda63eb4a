/* Connections that do nothing more once they have said something: `load hold …`.
 *
 * Each sends the bytes of a file and, with --expect, waits for an answer that begins so; without it nothing may come.
 * {"ready": …} is printed once all are there, and again for each line of standard input: those that are there still.
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 512
#define WINDOW 200 /* connections under way at a time */
#define PATIENCE_SECONDS 120

enum state { COMING, ASKED, THERE, GONE };

struct held {
    int fd;
    enum state state;
};

static struct {
    int port;
    size_t connections, length;
    const char *request, *expected;
} options = {.connections = 1};

static const struct option FLAGS[] = {
    {"port", required_argument, NULL, 'p'},
    {"connections", required_argument, NULL, 'c'},
    {"request", required_argument, NULL, 'r'},
    {"expect", required_argument, NULL, 'e'},
    {0},
};

static size_t there, left, broken;
static int epoll;
static char buffer[BUFFER_BYTES];

static void read_options(int count, char **arguments) {
    for (int flag; (flag = getopt_long(count, arguments, "", FLAGS, NULL)) != -1;) {
        switch (flag) {
            case 'p': options.port = atoi(optarg); break;
            case 'c': options.connections = strtoul(optarg, NULL, 10); break;
            case 'r': options.request = whole_file(optarg, &options.length); break;
            case 'e': options.expected = optarg; break;
            default: exit(2);
        }
    }
    if (!options.request) fail("hold needs --request FILE");
}

static void asks(struct held *one) {
    send_all(one->fd, options.request, options.length);
    watch(epoll, one->fd, EPOLLIN, one, false);
    one->state = options.expected ? ASKED : THERE;
    there += one->state == THERE;
}

/* An answer has begun, or goes on; what comes where none is expected is wrong. */
static void takes(struct held *one) {
    ssize_t got = read(one->fd, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        close(one->fd);
        there -= one->state == THERE;
        one->state = GONE;
        left++;
        return;
    }
    if (one->state == THERE && options.expected) return;
    size_t wanted = options.expected ? strlen(options.expected) : 0;
    if (!wanted || (size_t)got < wanted || memcmp(buffer, options.expected, wanted)) {
        if (!broken++) fprintf(stderr, "load: %.*s\n", (int)(got < 300 ? got : 300), buffer);
        return;
    }
    one->state = THERE;
    there++;
}

static void turns(void) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, 1000);
    for (int i = 0; i < count; i++) {
        struct held *one = events[i].data.ptr;
        char line[256];
        if (!one) {
            if (read(0, line, sizeof line) <= 0) exit(0);
            printf("{\"ready\":%zu,\"broken\":%zu,\"left\":%zu}\n", there, broken, left);
            fflush(stdout);
        } else if (one->state == COMING) {
            if (events[i].events & (EPOLLERR | EPOLLHUP)) fail("a connection was refused");
            asks(one);
        } else {
            takes(one);
        }
    }
}

int hold(int count, char **arguments) {
    read_options(count, arguments);
    struct held *all = calloc(options.connections, sizeof *all);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!all || epoll < 0) fail("no memory for %zu connections", options.connections);
    uint64_t deadline = now() + PATIENCE_SECONDS * 1000000000ull;
    for (size_t dialled = 0; there < options.connections && !broken && !left;) {
        for (; dialled < options.connections && dialled - there < WINDOW; dialled++) {
            all[dialled].fd = dial(options.port, dialled, false);
            watch(epoll, all[dialled].fd, EPOLLOUT, &all[dialled], true);
        }
        turns();
        if (now() > deadline) fail("%zu of %zu connections in %d s", there, options.connections, PATIENCE_SECONDS);
    }
    printf("{\"ready\":%zu,\"broken\":%zu,\"left\":%zu}\n", there, broken, left);
    fflush(stdout);
    watch(epoll, 0, EPOLLIN, NULL, true);
    for (;;) turns();
}
