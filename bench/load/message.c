/* What one message says, and whether it is the one that must come now: nothing lost, nothing twice, nothing torn. */
#include "load.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct tally tally;
struct histogram latency, whole;
const struct stamps *stamps;

static const char *behind(const char *text, const char *key) {
    const char *found = strstr(text, key);
    return found ? found + strlen(key) : NULL;
}

static uint64_t figure(const char *text, const char *key, uint64_t otherwise) {
    const char *found = behind(text, key);
    return found && isdigit((unsigned char)*found) ? strtoull(found, NULL, 10) : otherwise;
}

/* The peers': {"n": its number, "at": when the server had it, "pad": …}; the next one follows the last. */
static bool plain(struct reader *reader, const char *text, size_t length, uint64_t at) {
    uint64_t number = figure(text, "\"n\":", 0), stamp = figure(text, "\"at\":", 0);
    if (!number || !stamp || text[length - 1] != '}') return false;
    if (reader->number && number != reader->number + 1) return false;
    reader->number = number;
    tally.messages++;
    tally.updates++;
    record(&latency, at - stamp);
    return true;
}

/* Engine.IO 4 and Socket.IO 5 over a WebSocket: open, connect, events, and the ping that must be answered. */
static bool socketio(struct reader *reader, const char *text, size_t length, uint64_t at) {
    if (text[0] == '0') {
        say(reader, 1, "40", 2);
        return reader->stage == JOINING;
    }
    if (text[0] == '2') {
        say(reader, 1, "3", 1);
        return true;
    }
    if (!strncmp(text, "40", 2)) {
        reader->stage = READING;
        return true;
    }
    if (strncmp(text, "42[\"update\",", 12) || text[length - 1] != ']') return false;
    return plain(reader, text, length - 1, at);
}

static uint64_t occurrences(const char *text, const char *what) {
    uint64_t count = 0;
    for (const char *at = text; (at = behind(at, what)) != NULL;) count++;
    return count;
}

/* The times of all revisions that this frame is the first to tell of. */
static void time_revisions(uint64_t from, uint64_t to, uint64_t at) {
    for (uint64_t seq = from + 1; stamps && seq <= to && seq < MOST_STAMPS; seq++) {
        if (stamps->durable[seq]) record(&latency, at - stamps->durable[seq]);
        if (stamps->appended[seq]) record(&whole, at - stamps->appended[seq]);
    }
}

/* docs/protocol.md, sections 2 and 4: a frame goes on where the last one ended, in the log and in the list. */
static bool scanstream(struct reader *reader, const char *text, size_t length, uint64_t at) {
    const char *kind = behind(text, "{\"type\":\""), *cursor = behind(text, "\"cursor\":\"");
    if (!kind || !cursor || text[length - 1] != '}' || !(cursor = strchr(cursor, '-'))) return false;
    if (!strncmp(kind, "ack\"", 4)) return reader->stage == JOINING;
    char *dot;
    uint64_t seq = strtoull(cursor + 1, &dot, 10), n = *dot == '.' ? strtoull(dot + 1, NULL, 10) : UINT64_MAX;
    uint64_t brought = occurrences(text, "{\"id\":\""), offset = figure(text, "\"offset\":", brought ? UINT64_MAX : n);
    bool first = reader->stage == JOINING && !reader->number; /* a resumed reader has no first one: it goes on */
    if (!strncmp(kind, "snapshot\"", 9)) {
        if (offset || n != brought || !first) return false;
    } else if (!strncmp(kind, "update\"", 7)) {
        uint64_t skipped = figure(text, "\"skipped\":", 0);
        bool goes_on = seq == reader->number + 1 + skipped || (seq == reader->number && brought);
        if (!first && (!goes_on || offset != (brought ? reader->held : n) || n != reader->held + brought)) return false;
    } else {
        return !strncmp(kind, "end\"", 4) && seq == reader->number && n == reader->held;
    }
    if (!first) {
        tally.messages++;
        tally.updates += seq - reader->number;
        tally.results += brought;
        time_revisions(reader->number, seq, at);
    }
    if (!strstr(text, "\"more\":true")) reader->stage = READING;
    reader->number = seq;
    reader->held = n;
    return true;
}

bool understand(enum dialect dialect, struct reader *reader, char *text, size_t length, uint64_t at) {
    char after = text[length];
    bool right;
    text[length] = 0; /* there is room for it: see the buffer in follow.c */
    if (!length) {
        right = false;
    } else if (dialect == PLAIN) {
        right = plain(reader, text, length, at);
    } else {
        right = (dialect == SOCKETIO ? socketio : scanstream)(reader, text, length, at);
    }
    text[length] = after;
    tally.bytes += length;
    return right;
}
