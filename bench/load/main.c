/* `load follow …`, `load poll …`, `load hold …` or `load ask …`: see follow.c, poll.c, hold.c and ask.c. */
#include "load.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int, char **);
} KINDS[] = {{"follow", follow}, {"poll", poll_http}, {"hold", hold}, {"ask", ask_in_turn}};

int main(int count, char **arguments) {
    raise_limit();
    for (size_t i = 0; count > 1 && i < sizeof KINDS / sizeof *KINDS; i++)
        if (!strcmp(arguments[1], KINDS[i].name)) return KINDS[i].run(count - 1, arguments + 1);
    fputs("usage: load follow|poll|hold|ask --port PORT …\n", stderr);
    return 2;
}
