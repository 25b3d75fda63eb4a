/* The lower bound: what the kernel asks of any server that tells many sockets the same thing. `floor [batch]`.
 *
 * One send() for each client and update; with `batch` one for all updates of a tick. No queue, no checks, no faults:
 * nobody would run this. It knows one handshake only, the example of RFC 6455, section 1.3, which the load uses.
 * The first line that it prints has its address; then it obeys its standard input as peers/driving.py does:
 *     run UPDATES PER_TICK MILLISECONDS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CLIENTS 65536
#define UPDATE_BYTES 280
#define FRAME_BYTES (4 + UPDATE_BYTES)
#define MOST_PER_TICK 64

static const char ACCEPTED[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static int clients[MOST_CLIENTS];
static size_t connected;
static int epoll, batch;
static uint64_t number;
static unsigned char frames[MOST_PER_TICK * FRAME_BYTES];

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void send_all(int fd, const void *bytes, size_t length) {
    for (size_t sent = 0; sent < length;) {
        ssize_t taken = send(fd, (const char *)bytes + sent, length - sent, MSG_NOSIGNAL);
        if (taken >= 0) {
            sent += (size_t)taken;
        } else if (errno != EAGAIN || poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000) != 1) {
            return;
        }
    }
}

static void tell_everybody(const void *bytes, size_t length) {
    for (size_t i = 0; i < connected; i++) send_all(clients[i], bytes, length);
}

/* An unmasked text frame with a payload of 126 to 65,535 bytes (RFC 6455, 5.2). */
static void frame_update(unsigned char *frame) {
    char text[UPDATE_BYTES + 1];
    int length = snprintf(text, sizeof text, "{\"n\":%llu,\"at\":%llu,\"pad\":\"", (unsigned long long)++number,
                          (unsigned long long)now());
    memset(text + length, 'x', (size_t)(UPDATE_BYTES - length));
    memcpy(text + UPDATE_BYTES - 2, "\"}", 2);
    frame[0] = 0x81;
    frame[1] = 126;
    frame[2] = UPDATE_BYTES >> 8;
    frame[3] = UPDATE_BYTES & 255;
    memcpy(frame + 4, text, UPDATE_BYTES);
}

static void tick(size_t updates) {
    for (size_t i = 0; i < updates; i++) {
        unsigned char *frame = frames + i * FRAME_BYTES;
        frame_update(frame);
        if (!batch) tell_everybody(frame, FRAME_BYTES);
    }
    if (batch) tell_everybody(frames, updates * FRAME_BYTES);
}

static void run(size_t updates, size_t per_tick, double milliseconds) {
    uint64_t due = now();
    for (size_t done = 0; done < updates; done += per_tick) {
        struct timespec at = {.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        tick(per_tick);
        due += (uint64_t)(milliseconds * 1e6);
        if (due < now()) due = now();
    }
    printf("done %llu\n", (unsigned long long)number);
    fflush(stdout);
}

static void obey(void) {
    char line[256];
    size_t updates, per_tick;
    double milliseconds;
    ssize_t got = read(0, line, sizeof line - 1);
    if (got <= 0) exit(0);
    line[got] = 0;
    if (sscanf(line, "run %zu %zu %lf", &updates, &per_tick, &milliseconds) == 3 && per_tick <= MOST_PER_TICK)
        run(updates, per_tick, milliseconds);
}

static void welcome(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void listen_to(int fd) {
    char text[4096];
    ssize_t got = read(fd, text, sizeof text);
    if (got > 4 && !memcmp(text, "GET ", 4) && connected < MOST_CLIENTS) {
        send_all(fd, ACCEPTED, sizeof ACCEPTED - 1);
        clients[connected++] = fd;
        return;
    }
    if (got > 0) return; /* a pong, or something else that needs no answer */
    for (size_t i = 0; i < connected; i++)
        if (clients[i] == fd) clients[i] = clients[--connected];
    close(fd);
}

int main(int count, char **arguments) {
    batch = count > 1 && !strcmp(arguments[1], "batch");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = 0;
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                welcome(listener);
            } else if (fd == 0) {
                obey();
            } else {
                listen_to(fd);
            }
        }
    }
}
