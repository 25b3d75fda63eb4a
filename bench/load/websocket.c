/* RFC 6455 from the client's side, as much as a load needs: whole text frames, pings, closes. */
#include "load.h"

#include <stdio.h>
#include <string.h>

#define MASK "mask" /* a client's frames are masked (5.3); against whom they are is not here */

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

void shake_hands(struct reader *reader, int port, const char *path, const char *subprotocol) {
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                          path, port, subprotocol ? "Sec-WebSocket-Protocol: " : "", subprotocol ? subprotocol : "",
                          subprotocol ? "\r\n" : "");
    if (length < 0 || (size_t)length >= sizeof request) fail("the request is too long");
    send_all(reader->fd, request, (size_t)length);
    reader->stage = HANDSHAKE;
}

void say(struct reader *reader, int opcode, const char *text, size_t length) {
    unsigned char frame[2048] = {(unsigned char)(0x80 | opcode)};
    size_t head = length < 126 ? 2 : 4;
    if (length + 8 > sizeof frame) fail("what a reader says is too long");
    frame[1] = (unsigned char)(0x80 | (length < 126 ? length : 126));
    if (head == 4) {
        frame[2] = (unsigned char)(length >> 8);
        frame[3] = (unsigned char)length;
    }
    memcpy(frame + head, MASK, 4);
    for (size_t i = 0; i < length; i++) frame[head + 4 + i] = (unsigned char)text[i] ^ (unsigned char)MASK[i % 4];
    send_all(reader->fd, frame, head + 4 + length);
}

/* The length of the frame's head, its payload's in `*payload`; 0 while the head is not whole. */
size_t head_of(const unsigned char *frame, size_t length, size_t *payload) {
    if (length < 2) return 0;
    size_t size = frame[1] & 127, bytes = size < 126 ? 0 : size == 126 ? 2 : 8;
    if (length < 2 + bytes) return 0;
    if (bytes) size = 0;
    for (size_t i = 0; i < bytes; i++) size = size << 8 | frame[2 + i];
    *payload = size;
    return 2 + bytes;
}

/* Take the answer to the handshake; its length, 0 while it is not whole, the whole input where it is a refusal. */
static size_t accepted(enum dialect dialect, struct reader *reader, char *bytes, size_t length) {
    char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return 0;
    if (length < 12 || memcmp(bytes + 9, "101", 3)) {
        tally.broken++;
        reader->stage = CLOSED;
        return length;
    }
    reader->stage = dialect == PLAIN ? READING : JOINING;
    if (reader->says) say(reader, TEXT, reader->says, strlen(reader->says));
    return (size_t)(end + 4 - bytes);
}

/* Take all whole frames; returns how many bytes those were. */
size_t frames(enum dialect dialect, struct reader *reader, char *bytes, size_t length, uint64_t at) {
    size_t taken = 0, payload = 0, head;
    if (reader->stage == HANDSHAKE) {
        taken = accepted(dialect, reader, bytes, length);
        if (!taken) return 0;
    }
    while (reader->stage != CLOSED &&
           (head = head_of((unsigned char *)bytes + taken, length - taken, &payload)) != 0) {
        if (payload > BUFFER_BYTES / 2) fail("a message of %zu bytes", payload);
        if (length - taken < head + payload) break;
        unsigned char first = (unsigned char)bytes[taken];
        char *text = bytes + taken + head;
        if (first == (0x80 | TEXT)) {
            if (!understand(dialect, reader, text, payload, at) && !tally.broken++)
                fprintf(stderr, "load: not what had to come after %llu.%llu: %.*s\n",
                        (unsigned long long)reader->number, (unsigned long long)reader->held,
                        (int)(payload < 400 ? payload : 400), text);
        } else if (first == (0x80 | PING)) {
            say(reader, PONG, text, payload);
        } else if (first == (0x80 | CLOSE)) {
            reader->stage = CLOSED;
        } else if (first != (0x80 | PONG)) {
            tally.broken++; /* fragments and compressed frames were not asked for */
        }
        taken += head + payload;
    }
    return taken;
}
