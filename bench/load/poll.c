/* HTTP polls over connections that are kept: `load poll …`.
 *
 * Each connection asks again as soon as it has its answer. Every answer must have the status that is expected, its whole
 * body, and in it what --expect says. With --each 1 it is a crowd of long polls: {"ready": …} is printed once all have asked.
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

struct poller {
    int fd;
    bool connected;
    size_t asked, have;
    uint64_t since;
    char *answer;
};

static struct {
    int port, status;
    size_t connections, each, total, length;
    double seconds, pause;
    const char *request, *expected;
} options = {.status = 200, .connections = 1, .seconds = 600, .expected = ""};

static const struct option FLAGS[] = {
    {"port", required_argument, NULL, 'p'},    {"connections", required_argument, NULL, 'c'},
    {"request", required_argument, NULL, 'r'}, {"status", required_argument, NULL, 'e'},
    {"each", required_argument, NULL, 'k'},    {"total", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 's'}, {"pause", required_argument, NULL, 'z'},
    {"expect", required_argument, NULL, 'x'},  {0},
};

static struct histogram taken;
static size_t answers, asked, broken, least = SIZE_MAX, most, ended;
static uint64_t bytes;
static int epoll;
static char buffer[BUFFER_BYTES + 1];

static void read_options(int count, char **arguments) {
    for (int flag; (flag = getopt_long(count, arguments, "", FLAGS, NULL)) != -1;) {
        switch (flag) {
            case 'p': options.port = atoi(optarg); break;
            case 'c': options.connections = strtoul(optarg, NULL, 10); break;
            case 'r': options.request = whole_file(optarg, &options.length); break;
            case 'e': options.status = atoi(optarg); break;
            case 'k': options.each = strtoul(optarg, NULL, 10); break;
            case 'n': options.total = strtoul(optarg, NULL, 10); break;
            case 's': options.seconds = atof(optarg); break;
            case 'z': options.pause = atof(optarg); break;
            case 'x': options.expected = optarg; break;
            default: exit(2);
        }
    }
    if (!options.request) fail("poll needs --request FILE");
}

static void ask(struct poller *poller) {
    if ((options.each && poller->asked >= options.each) || (options.total && asked >= options.total)) return;
    poller->asked++;
    asked++;
    poller->since = now();
    send_all(poller->fd, options.request, options.length);
}

/* How long the answer is that begins here, head and body; 0 while that cannot be told. */
static size_t length_of(const char *answer, size_t have) {
    char *end = memmem(answer, have, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end + 4 - answer);
    for (char *line = memchr(answer, '\n', head); line && line < end; line = memchr(line, '\n', head))
        if (!strncasecmp(++line, "content-length:", 15)) return head + strtoul(line + 15, NULL, 10);
    return head;
}

static void answered(struct poller *poller, const char *answer, size_t length) {
    int status = length > 12 ? atoi(answer + 9) : 0;
    record(&taken, now() - poller->since);
    answers++;
    bytes += length;
    bool right = status == options.status && memmem(answer, length, options.expected, strlen(options.expected));
    if (!right && !broken++) fprintf(stderr, "load: %.300s\n", answer);
    if (length < least) least = length;
    if (length > most) most = length;
}

static void take_in(struct poller *poller) {
    memcpy(buffer, poller->answer ? poller->answer : "", poller->have);
    ssize_t got = read(poller->fd, buffer + poller->have, BUFFER_BYTES - poller->have);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        ended++;
        close(poller->fd);
        return;
    }
    size_t have = poller->have + (size_t)got, length = length_of(buffer, have);
    free(poller->answer);
    poller->answer = NULL;
    poller->have = 0;
    if (length && have >= length) {
        if (have > length) broken++; /* an answer that nobody has asked for */
        answered(poller, buffer, length);
        if (options.pause > 0) usleep((useconds_t)(options.pause * 1e6));
        ask(poller);
        return;
    }
    poller->answer = malloc(have);
    if (!poller->answer) fail("no memory");
    memcpy(poller->answer, buffer, have);
    poller->have = have;
}

static void turn(struct poller *poller, uint32_t events) {
    if (poller->connected) {
        take_in(poller);
        return;
    }
    if (events & (EPOLLERR | EPOLLHUP)) fail("a connection was refused");
    poller->connected = true;
    watch(epoll, poller->fd, EPOLLIN, poller, false);
    ask(poller);
}

static size_t connect_all(struct poller *pollers) {
    size_t dialled = 0, connected = 0;
    struct epoll_event events[EVENTS];
    while (connected < options.connections) {
        for (; dialled < options.connections && dialled - connected < 500; dialled++) {
            pollers[dialled].fd = dial(options.port, dialled, false);
            watch(epoll, pollers[dialled].fd, EPOLLOUT, &pollers[dialled], true);
        }
        int count = epoll_wait(epoll, events, EVENTS, 10000);
        if (count <= 0) fail("%zu of %zu connections in 10 s", connected, options.connections);
        for (int i = 0; i < count; i++) {
            connected += !((struct poller *)events[i].data.ptr)->connected;
            turn(events[i].data.ptr, events[i].events);
        }
    }
    return connected;
}

int poll_http(int count, char **arguments) {
    read_options(count, arguments);
    struct poller *pollers = calloc(options.connections, sizeof *pollers);
    struct epoll_event events[EVENTS];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!pollers || epoll < 0) fail("no memory for %zu connections", options.connections);
    uint64_t began = now();
    printf("{\"ready\":%zu}\n", connect_all(pollers));
    fflush(stdout);
    size_t wanted = options.each ? options.each * options.connections : options.total ? options.total : SIZE_MAX;
    uint64_t deadline = began + (uint64_t)(options.seconds * 1e9);
    while (answers < wanted && now() < deadline && ended < options.connections) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) turn(events[i].data.ptr, events[i].events);
    }
    printf("{\"answers\":%zu,\"seconds\":%.6f,\"bytes\":%llu,\"broken\":%zu,\"left\":%zu,\"least\":%zu,\"most\":%zu,",
           answers, (double)(now() - began) / 1e9, (unsigned long long)bytes, broken, ended, answers ? least : 0, most);
    print_histogram("latency", &taken);
    puts("}");
    return 0;
}
