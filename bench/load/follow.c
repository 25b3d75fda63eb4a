/* Many WebSockets that follow updates: `load follow …`.
 *
 * It prints {"ready": …} once all are connected and joined, and then obeys its standard input, a line at a time:
 *     take LAST SECONDS    wait until every reader has update LAST, at most so long, and print what came since
 * It ends with its standard input.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define EVENTS 512
#define JOIN_SECONDS 300

static struct {
    int port;
    const char *path, *subprotocol, *says;
    size_t readers, silent, window;
    unsigned long long number, held; /* where each reader goes on from; 0: from its first message */
    enum dialect dialect;
} options = {.path = "/ws", .readers = 1, .window = 200};

static struct reader *readers;
static size_t dialled, joined, closed;
static int epoll;
static char buffer[BUFFER_BYTES + 1];

static struct {
    bool asked;
    uint64_t last, since, deadline;
} wanted;

static const struct option FLAGS[] = {
    {"port", required_argument, NULL, 'p'},    {"path", required_argument, NULL, 'u'},
    {"readers", required_argument, NULL, 'n'}, {"silent", required_argument, NULL, 'k'},
    {"window", required_argument, NULL, 'w'},  {"dialect", required_argument, NULL, 'd'},
    {"says", required_argument, NULL, 's'},    {"subprotocol", required_argument, NULL, 'b'},
    {"stamps", required_argument, NULL, 't'},  {"since", required_argument, NULL, 'c'},
    {0},
};

static enum dialect dialect_of(const char *name) {
    static const char *names[] = {"plain", "scanstream", "socketio"};
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) return (enum dialect)i;
    fail("there is no dialect %s", name);
}

static const struct stamps *mapped(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct stamps), PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) fail("%s: %s", path, strerror(errno));
    close(fd);
    return at;
}

static void read_options(int count, char **arguments) {
    for (int flag; (flag = getopt_long(count, arguments, "", FLAGS, NULL)) != -1;) {
        size_t length;
        switch (flag) {
            case 'p': options.port = atoi(optarg); break;
            case 'u': options.path = optarg; break;
            case 'n': options.readers = strtoul(optarg, NULL, 10); break;
            case 'k': options.silent = strtoul(optarg, NULL, 10); break;
            case 'w': options.window = strtoul(optarg, NULL, 10); break;
            case 'd': options.dialect = dialect_of(optarg); break;
            case 's': options.says = whole_file(optarg, &length); break;
            case 'b': options.subprotocol = optarg; break;
            case 't': stamps = mapped(optarg); break;
            case 'c':
                if (sscanf(optarg, "%llu.%llu", &options.number, &options.held) != 2) exit(2);
                break;
            default: exit(2);
        }
    }
}

/* What each reader says: the lines of a file, in turn. */
static void hand_out_words(void) {
    char *line = (char *)options.says, *text = line;
    for (size_t i = 0; text && i < options.readers; i++) {
        char *end = strchr(line, '\n');
        if (!end) fail("the file of what readers say ends without a line's end");
        if (*end) *end = 0;
        readers[i].says = line;
        line = end + 1;
        if (!*line) break;
    }
    size_t lines = 0;
    while (lines < options.readers && readers[lines].says) lines++;
    for (size_t i = lines; lines && i < options.readers; i++) readers[i].says = readers[i % lines].says;
}

static void dial_more(void) {
    while (dialled < options.readers && dialled - joined < options.window) {
        struct reader *reader = &readers[dialled];
        reader->fd = dial(options.port, dialled, dialled < options.silent);
        watch(epoll, reader->fd, EPOLLOUT, reader, true);
        dialled++;
    }
}

static void closes(struct reader *reader) {
    close(reader->fd);
    free(reader->rest);
    reader->rest = NULL;
    reader->stage = CLOSED;
    tally.left++;
    closed++;
}

/* One read: what is left over of it, the beginning of a frame, is kept until its end comes. */
static void take_in(struct reader *reader) {
    memcpy(buffer, reader->rest ? reader->rest : "", reader->resting);
    ssize_t got = read(reader->fd, buffer + reader->resting, BUFFER_BYTES - reader->resting);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) closes(reader);
        return;
    }
    size_t length = reader->resting + (size_t)got, taken = frames(options.dialect, reader, buffer, length, now());
    if (reader->stage == CLOSED) {
        closes(reader);
        return;
    }
    free(reader->rest);
    reader->rest = NULL;
    reader->resting = length - taken;
    if (!reader->resting) return;
    reader->rest = malloc(reader->resting);
    if (!reader->rest) fail("no memory");
    memcpy(reader->rest, buffer + taken, reader->resting);
}

static bool has_joined(const struct reader *reader) { return reader->stage >= READING; }

static void turn(struct reader *reader, uint32_t events) {
    bool before = has_joined(reader);
    if (reader->stage == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) fail("a connection was refused");
        shake_hands(reader, options.port, options.path, options.subprotocol);
        watch(epoll, reader->fd, EPOLLIN, reader, false);
    } else if (reader->stage != CLOSED) {
        take_in(reader);
    }
    if (before || !has_joined(reader)) return;
    joined++;
    if (reader->stage == READING && reader < readers + options.silent) {
        reader->stage = SILENT;
        epoll_ctl(epoll, EPOLL_CTL_DEL, reader->fd, NULL);
    }
}

static void print_tally(const char *name, uint64_t count, uint64_t nanoseconds) {
    printf("{\"%s\":%llu,\"seconds\":%.6f,\"messages\":%llu,\"updates\":%llu,\"results\":%llu,\"bytes\":%llu,"
           "\"broken\":%llu,\"left\":%llu,",
           name, (unsigned long long)count, (double)nanoseconds / 1e9, (unsigned long long)tally.messages,
           (unsigned long long)tally.updates, (unsigned long long)tally.results, (unsigned long long)tally.bytes,
           (unsigned long long)tally.broken, (unsigned long long)tally.left);
    print_histogram("latency", &latency);
    putchar(',');
    print_histogram("whole", &whole);
    puts("}");
    fflush(stdout);
    memset(&tally, 0, sizeof tally);
    forget(&latency);
    forget(&whole);
}

static void obey(void) {
    char line[256];
    ssize_t got = read(0, line, sizeof line - 1);
    if (got <= 0) exit(0);
    line[got] = 0;
    double seconds;
    unsigned long long last;
    if (sscanf(line, "take %llu %lf", &last, &seconds) != 2) fail("not understood: %s", line);
    wanted.asked = true;
    wanted.last = last;
    wanted.since = now();
    wanted.deadline = wanted.since + (uint64_t)(seconds * 1e9);
}

static void report_if_taken(void) {
    uint64_t complete = 0, time = now();
    for (size_t i = options.silent; i < options.readers; i++) complete += readers[i].number >= wanted.last;
    bool right = !tally.broken && !tally.left; /* else there is nothing to wait for */
    if (complete + options.silent < options.readers && time < wanted.deadline && right) return;
    wanted.asked = false;
    print_tally("complete", complete, time - wanted.since);
}

static void turns(int milliseconds) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            turn(events[i].data.ptr, events[i].events);
        } else {
            obey();
        }
    }
}

int follow(int count, char **arguments) {
    read_options(count, arguments);
    readers = calloc(options.readers, sizeof *readers);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!readers || epoll < 0) fail("no memory for %zu readers", options.readers);
    hand_out_words();
    for (size_t i = 0; i < options.readers; i++) {
        readers[i].number = options.number;
        readers[i].held = options.held;
    }
    uint64_t began = now(), deadline = began + JOIN_SECONDS * 1000000000ull;
    while (joined < options.readers && !tally.broken) { /* one that is told something wrong may never join */
        dial_more();
        turns(1000);
        if (now() > deadline) fail("%zu of %zu readers have joined in %d s", joined, options.readers, JOIN_SECONDS);
    }
    print_tally("ready", joined - closed, now() - began);
    watch(epoll, 0, EPOLLIN, NULL, true);
    for (uint64_t looked = 0;;) {
        turns(wanted.asked ? 2 : -1);
        if (wanted.asked && now() - looked > 2000000) {
            report_if_taken();
            looked = now();
        }
    }
}
