/* `load follow …` or `load poll …`: see follow.c and poll.c. */
#include "load.h"

#include <stdio.h>
#include <string.h>

int main(int count, char **arguments) {
    raise_limit();
    if (count > 1 && !strcmp(arguments[1], "follow")) return follow(count - 1, arguments + 1);
    if (count > 1 && !strcmp(arguments[1], "poll")) return poll_http(count - 1, arguments + 1);
    fputs("usage: load follow|poll --port PORT …\n", stderr);
    return 2;
}
