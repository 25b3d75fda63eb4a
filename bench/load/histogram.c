/* Times in buckets: 64 to each doubling of microseconds/64, so a bucket is at most 1.6 % wide. */
#include "load.h"

#include <stdio.h>
#include <string.h>

#define STEPS 64

static unsigned bucket(uint64_t nanoseconds) {
    if (nanoseconds < STEPS) return (unsigned)nanoseconds;
    unsigned power = 63u - (unsigned)__builtin_clzll(nanoseconds) - 6u;
    return (power + 1) * STEPS + (unsigned)((nanoseconds >> power) - STEPS);
}

static double middle(unsigned index) {
    if (index < STEPS) return index;
    unsigned power = index / STEPS - 1;
    return ((double)(index % STEPS + STEPS) + 0.5) * (double)(1ull << power);
}

void record(struct histogram *into, uint64_t nanoseconds) {
    if ((int64_t)nanoseconds < 0) nanoseconds = 0; /* clocks of two cores may differ by a few */
    into->counts[bucket(nanoseconds)]++;
    into->count++;
    if (nanoseconds > into->max) into->max = nanoseconds;
}

void forget(struct histogram *of) { memset(of, 0, sizeof *of); }

static double centile(const struct histogram *of, double share) {
    uint64_t wanted = (uint64_t)(share * (double)of->count), seen = 0;
    for (unsigned index = 0; index < sizeof of->counts / sizeof *of->counts; index++) {
        seen += of->counts[index];
        if (seen > wanted) return middle(index);
    }
    return (double)of->max;
}

/* As a field of a JSON object, in milliseconds; null where nothing was timed. */
void print_histogram(const char *name, const struct histogram *of) {
    if (!of->count) {
        printf("\"%s\":null", name);
        return;
    }
    printf("\"%s\":{\"count\":%llu,\"p50\":%.4f,\"p99\":%.4f,\"max\":%.4f}", name, (unsigned long long)of->count,
           centile(of, 0.50) / 1e6, centile(of, 0.99) / 1e6, (double)of->max / 1e6);
}
