/* A Modbus RTU unit on libmodbus that obeys commands: one a line on standard input, one answer a line on standard output
 * ("ok ..." or "error ..."). It ends when standard input ends. Arguments: the serial port, its unit id.
 *
 *   set <address> <value>...   put values into the holding registers
 *   get <address>              say the value of one
 *   silent <n>                 the next n requests get no answer, and nothing is done
 *   noise <n>                  before each of the next n answers there are three stray bytes
 *   damage <n>                 the next n answers have a wrong checksum
 *   requests                   how many there were since the start
 */
#define _GNU_SOURCE
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { CELLS = 65536 };

static modbus_mapping_t *cells;
static int silent_left, noise_left, damage_left, requests_seen;

static int take(int *left) {
    if (*left <= 0) return 0;
    --*left;
    return 1;
}

static int number(char **rest, int fallback) {
    char *word = strtok_r(NULL, " \n", rest);
    return word ? atoi(word) : fallback;
}

static void obey(char *line) {
    char *rest = NULL, *verb = strtok_r(line, " \n", &rest), *word;
    if (!verb) return;
    if (!strcmp(verb, "set")) {
        for (int at = number(&rest, 0); (word = strtok_r(NULL, " \n", &rest)) && at < CELLS; at++)
            cells->tab_registers[at] = (uint16_t)atoi(word);
        puts("ok");
    } else if (!strcmp(verb, "get")) {
        printf("ok %d\n", cells->tab_registers[number(&rest, 0) & 0xFFFF]);
    } else if (!strcmp(verb, "silent")) {
        silent_left = number(&rest, 1);
        puts("ok");
    } else if (!strcmp(verb, "noise")) {
        noise_left = number(&rest, 1);
        puts("ok");
    } else if (!strcmp(verb, "damage")) {
        damage_left = number(&rest, 1);
        puts("ok");
    } else if (!strcmp(verb, "requests")) {
        printf("ok %d\n", requests_seen);
    } else {
        printf("error %s\n", verb);
    }
    fflush(stdout);
}

static void serve(modbus_t *unit) {
    uint8_t request[MODBUS_RTU_MAX_ADU_LENGTH];
    int length = modbus_receive(unit, request), port = modbus_get_socket(unit);
    if (length == 0) { /* for another unit, whose reply libmodbus waits for: it would take our next request for that */
        modbus_receive(unit, request);
        return;
    }
    if (length < 0) return; /* no request */
    requests_seen++;
    if (take(&silent_left)) return;
    if (noise_left && take(&noise_left) && write(port, "\xff\x00\xff", 3) != 3) return;
    if (take(&damage_left)) {
        uint8_t wrong[] = {request[0], request[1], 2, 0, 0, 0x55, 0x55};
        if (write(port, wrong, sizeof wrong) < 0) return;
        return;
    }
    modbus_reply(unit, request, length, cells);
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc < 3) return 2;
    modbus_t *unit = modbus_new_rtu(argv[1], 19200, 'N', 8, 1); /* a pseudo-terminal knows no parity */
    cells = modbus_mapping_new(CELLS, CELLS, CELLS, CELLS);
    if (!unit || !cells || modbus_set_slave(unit, atoi(argv[2])) || modbus_connect(unit)) {
        printf("error cannot use %s: %s\n", argv[1], modbus_strerror(errno));
        return 1;
    }
    modbus_set_response_timeout(unit, 0, 20000);
    puts("ok");
    fflush(stdout);
    for (;;) {
        struct pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {modbus_get_socket(unit), POLLIN, 0}};
        if (poll(watched, 2, -1) < 0) return 1;
        if (watched[0].revents) {
            char line[4096];
            ssize_t count = read(STDIN_FILENO, line, sizeof line - 1);
            if (count <= 0) return 0;
            line[count] = 0; /* the one that commands waits for each answer: there is one line at a time */
            obey(line);
        }
        if (watched[1].revents & POLLIN) serve(unit);
    }
}
