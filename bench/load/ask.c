/* One question after the other over WebSockets: `load ask …`.
 *
 * Each has a connection of its own, which is made before and closed after, so that what an answer brings with it (a
 * scan's frames) is not in the next one's way. Timed is from the question's send until the answer's frame is whole; it
 * must contain --expect.
 */
#include "load.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MILLISECONDS 60000
#define TEXT 0x81

static struct {
    int port;
    size_t total;
    double pause;
    const char *path, *subprotocol, *says, *expected;
    size_t length;
} options = {.path = "/ws", .total = 1, .expected = ""};

static const struct option FLAGS[] = {
    {"port", required_argument, NULL, 'p'},  {"path", required_argument, NULL, 'u'},
    {"says", required_argument, NULL, 's'},  {"subprotocol", required_argument, NULL, 'b'},
    {"total", required_argument, NULL, 'n'}, {"pause", required_argument, NULL, 'z'},
    {"expect", required_argument, NULL, 'e'}, {0},
};

static char buffer[BUFFER_BYTES + 1];
static size_t have;

static void read_options(int count, char **arguments) {
    for (int flag; (flag = getopt_long(count, arguments, "", FLAGS, NULL)) != -1;) {
        switch (flag) {
            case 'p': options.port = atoi(optarg); break;
            case 'u': options.path = optarg; break;
            case 's': options.says = whole_file(optarg, &options.length); break;
            case 'b': options.subprotocol = optarg; break;
            case 'n': options.total = strtoul(optarg, NULL, 10); break;
            case 'z': options.pause = atof(optarg); break;
            case 'e': options.expected = optarg; break;
            default: exit(2);
        }
    }
    if (!options.says) fail("ask needs --says FILE");
}

static void waits(int fd, short events) {
    if (poll(&(struct pollfd){.fd = fd, .events = events}, 1, PATIENCE_MILLISECONDS) != 1) fail("no answer");
}

static void reads(int fd) {
    waits(fd, POLLIN);
    ssize_t got = read(fd, buffer + have, BUFFER_BYTES - have);
    if (got <= 0) fail("the server has closed a connection: %s", buffer);
    have += (size_t)got;
    buffer[have] = 0;
}

static void connects(struct reader *reader) {
    reader->fd = dial(options.port, 0, false);
    waits(reader->fd, POLLOUT);
    shake_hands(reader, options.port, options.path, options.subprotocol);
    for (have = 0; !memmem(buffer, have, "\r\n\r\n", 4);) reads(reader->fd);
    if (memcmp(buffer + 9, "101", 3)) fail("no handshake: %s", buffer);
    if (memmem(buffer, have, "\r\n\r\n", 4) != buffer + have - 4) fail("a frame that nobody has asked for");
}

/* The first frame that comes is the answer. */
static bool answers(int fd) {
    size_t head = 0, payload = 0;
    for (have = 0; !(head = head_of((unsigned char *)buffer, have, &payload)) || have < head + payload;) reads(fd);
    bool right = (unsigned char)buffer[0] == TEXT && memmem(buffer + head, payload, options.expected,
                                                             strlen(options.expected));
    if (!right) fprintf(stderr, "load: %.300s\n", buffer + head);
    return right;
}

int ask_in_turn(int count, char **arguments) {
    static struct histogram taken;
    read_options(count, arguments);
    size_t broken = 0;
    printf("{\"ready\":1}\n");
    fflush(stdout);
    uint64_t began = now();
    for (size_t number = 0; number < options.total; number++) {
        struct reader reader = {0};
        connects(&reader);
        usleep((useconds_t)(options.pause * 1e6));
        uint64_t since = now();
        say(&reader, 1, options.says, options.length);
        broken += !answers(reader.fd);
        record(&taken, now() - since);
        close(reader.fd);
    }
    printf("{\"answers\":%zu,\"seconds\":%.6f,\"bytes\":0,\"broken\":%zu,\"left\":0,\"least\":0,\"most\":0,",
           options.total, (double)(now() - began) / 1e9, broken);
    print_histogram("latency", &taken);
    puts("}");
    return 0;
}
