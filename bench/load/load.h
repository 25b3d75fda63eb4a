/* The load: a crowd of connections that counts and checks whatever it is told, and says when it was told it.
 *
 * One process, one epoll, no threads: whatever this costs is on another core than the server's.
 * Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUFFER_BYTES (1 << 20) /* the largest message, or answer, that is understood */
#define MOST_STAMPS (1 << 16)  /* updates of one run whose times are known from a file */

/* What the messages of a server look like. */
enum dialect { PLAIN, SCANSTREAM, SOCKETIO };

enum stage { CONNECTING, HANDSHAKE, JOINING, READING, SILENT, CLOSED };

struct reader {
    int fd;
    enum stage stage;
    uint64_t number;  /* of the last update; of scanstream the seq */
    uint64_t held;    /* opportunities held: the n of the cursor */
    const char *says; /* what it sends once it is connected; NULL: nothing */
    char *rest;       /* the beginning of a frame, whose end has not come yet */
    size_t resting;
};

/* What came since the last report. */
struct tally {
    uint64_t messages, updates, bytes, results;
    uint64_t broken; /* messages that are not what they must be */
    uint64_t left;   /* connections that ended */
};

/* Microseconds in a histogram of about 1.5 % width, with the exact maximum. */
struct histogram {
    uint64_t counts[64 * 64];
    uint64_t count, max;
};

/* When each update was durable, and when its writer began to append it: written by the server, mapped by the load. */
struct stamps {
    uint64_t durable[MOST_STAMPS];
    uint64_t appended[MOST_STAMPS];
};

/* net.c */
uint64_t now(void);
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void raise_limit(void);
int dial(int port, size_t number, bool small);
void watch(int epoll, int fd, uint32_t events, void *what, bool anew);
void send_all(int fd, const void *bytes, size_t length);
char *whole_file(const char *path, size_t *length);

/* histogram.c */
void record(struct histogram *into, uint64_t nanoseconds);
void forget(struct histogram *of);
void print_histogram(const char *name, const struct histogram *of);

/* message.c: what one message means; returns false where it is not what must come now */
extern struct tally tally;
extern struct histogram latency, whole;
extern const struct stamps *stamps;
bool understand(enum dialect dialect, struct reader *reader, char *text, size_t length, uint64_t at);

/* websocket.c */
void say(struct reader *reader, int opcode, const char *text, size_t length);
size_t frames(enum dialect dialect, struct reader *reader, char *bytes, size_t length, uint64_t at);
size_t head_of(const unsigned char *frame, size_t length, size_t *payload);
void shake_hands(struct reader *reader, int port, const char *path, const char *subprotocol);

/* follow.c, poll.c, hold.c, ask.c: the kinds of load */
int follow(int count, char **arguments);
int poll_http(int count, char **arguments);
int hold(int count, char **arguments);
int ask_in_turn(int count, char **arguments);

#endif
