/* A Modbus/TCP server on libmodbus that obeys commands: one a line on standard input, one answer a line on standard
 * output ("ok ..." or "error ..."). It ends when standard input ends, so it never outlives the test that started it.
 *
 *   set <table> <address> <value>...        put values into coil, discrete, input or holding
 *   get <table> <address> <count>           say values
 *   count <table> <first> <last> read|<ms>  registers go up by one: at each read of them, or every so many ms
 *   count clear                             registers stand still
 *   refuse <table> <first> <last> <code>    requests that touch the range get exception <code>; 0: no answer;
 *                                           -1: this range is not refused any more; refuse clear: nothing is
 *   fail <code> <n>                         the next n requests get exception <code> (-1: all, until "fail 0 0")
 *   forbid <function>...                    these functions get exception 1 (none: all are known)
 *   silent <n>                              the next n requests get no answer, and nothing is done
 *   mute <n>                                the next n requests are carried out, and their answers are lost
 *   astray <n>                              the next n writes go to the neighbouring address, and their answers say so
 *   delay <ms> <n>                          the next n answers come that much later
 *   stale <n>                               before each of the next n answers, one with an earlier transaction id
 *   transaction <n>                         the next n answers carry another transaction id
 *   function <n>                            the next n answers carry another function code (3 and 4 swapped, 1 and 2)
 *   unit <n>                                the next n answers carry another unit id
 *   garbage <bytes> <n>                     the next n answers are so many bytes of no meaning
 *   hangup <n>                              the next n requests end their connection
 *   units <id>...                           only these units answer; others get exception 11 (none: all answer)
 *   lost <id>...                            these units get no request (none: all do)
 *   reset                                   forget the requests seen so far
 *   requests                                unit:function:address:count of each request since then, the last 4096
 *   connections                             how many are open, and how many there were
 */
#define _GNU_SOURCE
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 64, RANGES_MAX = 256, DELAYED_MAX = 64, REQUESTS_MAX = 4096, CELLS = 65536, LINE_BYTES = 1 << 16 };
enum table { COIL = 1, DISCRETE = 2, HOLDING = 3, INPUT = 4 };

struct range { int table, first, last, code; };
struct counting { int table, first, last, period_ms; long long begin_ms; };
struct answer { int fd, length; long long due_ms; uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH]; };
struct seen { uint8_t unit, function; uint16_t address, count; };

static modbus_t *context;
static modbus_mapping_t *cells;
static struct range refused[RANGES_MAX];
static int refused_count;
static struct counting countings[RANGES_MAX];
static int counting_count;
static struct answer delayed[DELAYED_MAX];
static int delayed_count;
static struct seen requests[REQUESTS_MAX];
static long requests_seen;
static int clients[CLIENTS_MAX];
static int client_count;
static long connections_seen;
static uint8_t units[256], forbidden[256], lost[256];
static int units_limited;
static int fail_code, fail_left, silent_left, delay_ms, delay_left, stale_left, transaction_left, function_left,
    unit_left, garbage_bytes, garbage_left, hangup_left, mute_left, astray_left;

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* Whether one of a number of occasions is left; uses it up. A negative number never ends. */
static int take(int *left) {
    if (*left == 0) return 0;
    if (*left > 0) --*left;
    return 1;
}

static int table_named(const char *name) {
    static const char *const names[] = {"", "coil", "discrete", "holding", "input"};
    for (int table = COIL; name && table <= INPUT; table++)
        if (!strcmp(name, names[table])) return table;
    return 0;
}

static int cell(int table, int at) {
    switch (table) {
        case COIL: return cells->tab_bits[at];
        case DISCRETE: return cells->tab_input_bits[at];
        case HOLDING: return cells->tab_registers[at];
        default: return cells->tab_input_registers[at];
    }
}

static void set_cell(int table, int at, int value) {
    switch (table) {
        case COIL: cells->tab_bits[at] = value != 0; break;
        case DISCRETE: cells->tab_input_bits[at] = value != 0; break;
        case HOLDING: cells->tab_registers[at] = (uint16_t)value; break;
        default: cells->tab_input_registers[at] = (uint16_t)value; break;
    }
}

static int table_of_function(int function) {
    switch (function) {
        case 1: case 5: case 15: return COIL;
        case 2: return DISCRETE;
        case 4: return INPUT;
        default: return HOLDING;
    }
}

static int cells_touched(const uint8_t *request) {
    int function = request[7];
    return function == 5 || function == 6 || function == 22 ? 1 : request[10] << 8 | request[11];
}

static void advance_counting(int table, int first, int last) {
    for (int i = 0; i < counting_count; i++) {
        struct counting *one = &countings[i];
        if (one->table != table || one->last < first || one->first > last) continue;
        int steps = 1;
        if (one->period_ms) {
            steps = (int)((now_ms() - one->begin_ms) / one->period_ms);
            one->begin_ms += (long long)steps * one->period_ms;
        }
        for (int at = one->first; at <= one->last && steps; at++) set_cell(table, at, cell(table, at) + steps);
    }
}

static void drop_client(int fd) {
    for (int i = 0; i < client_count; i++)
        if (clients[i] == fd) clients[i] = clients[--client_count];
    for (int i = delayed_count - 1; i >= 0; i--)
        if (delayed[i].fd == fd) delayed[i] = delayed[--delayed_count];
    close(fd);
}

static void answer_now(int fd, uint8_t *request, int length) {
    modbus_set_socket(context, fd);
    if (stale_left && take(&stale_left)) {
        uint8_t earlier[MODBUS_TCP_MAX_ADU_LENGTH];
        memcpy(earlier, request, (size_t)length);
        earlier[0] ^= 0x40;
        modbus_reply(context, earlier, length, cells);
    }
    if (transaction_left && take(&transaction_left)) request[1] ^= 0x55;
    if (unit_left && take(&unit_left)) request[6] ^= 0x0F;
    int swapped = request[7] <= 2 ? 3 - request[7] : 7 - request[7];
    if (function_left && take(&function_left)) request[7] = (uint8_t)swapped;
    if (garbage_left && take(&garbage_left)) {
        uint8_t noise[1024];
        for (int i = 0; i < garbage_bytes && i < 1024; i++) noise[i] = (uint8_t)(0xA5 ^ (i * 37));
        send(fd, noise, (size_t)(garbage_bytes < 1024 ? garbage_bytes : 1024), MSG_NOSIGNAL);
        return;
    }
    if (request[7] >= 5 && astray_left && take(&astray_left)) request[9] ^= 1;
    if (mute_left && take(&mute_left)) modbus_set_socket(context, -1);
    modbus_reply(context, request, length, cells);
}

/* The exception that a request is to get: -1 for none, 0 for no answer at all. */
static int exception_for(const uint8_t *request, int table, int first, int last) {
    if (lost[request[6]]) return 0;
    if (units_limited && !units[request[6]]) return MODBUS_EXCEPTION_GATEWAY_TARGET;
    if (forbidden[request[7]]) return MODBUS_EXCEPTION_ILLEGAL_FUNCTION;
    if (fail_left && fail_code && take(&fail_left)) return fail_code;
    for (int i = 0; i < refused_count; i++)
        if (refused[i].table == table && refused[i].first <= last && refused[i].last >= first) return refused[i].code;
    if (silent_left && take(&silent_left)) return 0;
    return -1;
}

static void serve(int fd) {
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_set_socket(context, fd);
    int length = modbus_receive(context, request);
    if (length < 0) {
        drop_client(fd);
        return;
    }
    if (length < 12) return;
    int table = table_of_function(request[7]);
    int first = request[8] << 8 | request[9], count = cells_touched(request), last = first + count - 1;
    requests[requests_seen++ % REQUESTS_MAX] =
        (struct seen){request[6], request[7], (uint16_t)first, (uint16_t)count};
    if (hangup_left && take(&hangup_left)) {
        drop_client(fd);
        return;
    }
    int code = exception_for(request, table, first, last);
    if (code == 0) return;
    if (code > 0) {
        modbus_reply_exception(context, request, (unsigned)code);
        return;
    }
    advance_counting(table, first, last);
    if (delay_left && delayed_count < DELAYED_MAX && take(&delay_left)) {
        struct answer *later = &delayed[delayed_count++];
        later->fd = fd;
        later->length = length;
        later->due_ms = now_ms() + delay_ms;
        memcpy(later->request, request, (size_t)length);
        return;
    }
    answer_now(fd, request, length);
}

static void answer_delayed(void) {
    long long now = now_ms();
    for (int i = 0; i < delayed_count;) {
        if (delayed[i].due_ms > now) {
            i++;
            continue;
        }
        struct answer due = delayed[i];
        delayed[i] = delayed[--delayed_count];
        answer_now(due.fd, due.request, due.length);
    }
}

static int number(char **rest, long fallback) {
    char *word = strtok_r(NULL, " \n", rest);
    return (int)(word ? strtol(word, NULL, 0) : fallback);
}

static void say_requests(void) {
    long first = requests_seen > REQUESTS_MAX ? requests_seen - REQUESTS_MAX : 0;
    printf("ok");
    for (long i = first; i < requests_seen; i++) {
        struct seen *one = &requests[i % REQUESTS_MAX];
        printf(" %d:%d:%d:%d", one->unit, one->function, one->address, one->count);
    }
    say("");
}

static void refuse(int table, int first, int last, int code) {
    if (code >= 0) refused[refused_count++] = (struct range){table, first, last, code};
    for (int i = refused_count - 1; i >= 0 && code < 0; i--)
        if (refused[i].table == table && refused[i].first == first && refused[i].last == last)
            refused[i] = refused[--refused_count];
}

static int obey_cells(const char *verb, char **rest) {
    int table = table_named(strtok_r(NULL, " \n", rest));
    int first = number(rest, -1);
    if (!table || first < 0 || first >= CELLS) return 0;
    if (!strcmp(verb, "set")) {
        char *word;
        for (int at = first; (word = strtok_r(NULL, " \n", rest)) && at < CELLS; at++)
            set_cell(table, at, (int)strtol(word, NULL, 0));
        say("ok");
        return 1;
    }
    int second = number(rest, -1);
    if (!strcmp(verb, "get")) {
        if (second < 1 || first + second > CELLS) return 0;
        printf("ok");
        for (int at = first; at < first + second; at++) printf(" %d", cell(table, at));
        say("");
        return 1;
    }
    if (second < first || second >= CELLS) return 0;
    if (!strcmp(verb, "count") && counting_count < RANGES_MAX) {
        countings[counting_count++] = (struct counting){table, first, second, number(rest, 0), now_ms()};
    } else if (!strcmp(verb, "refuse") && refused_count < RANGES_MAX) {
        refuse(table, first, second, number(rest, 2));
    } else {
        return 0;
    }
    say("ok");
    return 1;
}

static int obey_fault(const char *verb, char **rest) {
    static const struct { const char *name; int *value, *left; } faults[] = {
        {"fail", &fail_code, &fail_left}, {"delay", &delay_ms, &delay_left}, {"garbage", &garbage_bytes, &garbage_left},
        {"silent", NULL, &silent_left}, {"stale", NULL, &stale_left}, {"transaction", NULL, &transaction_left},
        {"function", NULL, &function_left}, {"unit", NULL, &unit_left}, {"hangup", NULL, &hangup_left},
        {"mute", NULL, &mute_left}, {"astray", NULL, &astray_left},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (strcmp(verb, faults[i].name)) continue;
        if (faults[i].value) *faults[i].value = number(rest, faults[i].value == &garbage_bytes);
        *faults[i].left = number(rest, 1);
        say("ok");
        return 1;
    }
    return 0;
}

/* Reads numbers into a set, and says ok; how many there were. */
static int read_set(uint8_t *set, char **rest) {
    char *word;
    int count = 0;
    for (memset(set, 0, 256); (word = strtok_r(NULL, " \n", rest)); count++) set[atoi(word) & 0xFF] = 1;
    say("ok");
    return count;
}

static void obey(char *line) {
    char *rest = NULL;
    char *verb = strtok_r(line, " \n", &rest);
    if (!verb) return;
    if (!strcmp(verb, "requests")) {
        say_requests();
    } else if (!strcmp(verb, "connections")) {
        say("ok %d %ld", client_count, connections_seen);
    } else if (!strcmp(verb, "reset")) {
        requests_seen = 0;
        say("ok");
    } else if (rest && !strncmp(rest, "clear", 5)) {
        *(!strcmp(verb, "count") ? &counting_count : &refused_count) = 0;
        say("ok");
    } else if (!strcmp(verb, "units")) {
        units_limited = read_set(units, &rest);
    } else if (!strcmp(verb, "forbid") || !strcmp(verb, "lost")) {
        read_set(*verb == 'f' ? forbidden : lost, &rest);
    } else if (!obey_fault(verb, &rest) && !obey_cells(verb, &rest)) {
        say("error %s", verb);
    }
}

/* Reads what is there and obeys each whole line; false at the end of standard input. */
static int obey_input(void) {
    static char buffer[LINE_BYTES];
    static size_t filled;
    ssize_t count = read(STDIN_FILENO, buffer + filled, sizeof buffer - filled - 1);
    if (count <= 0) return 0;
    filled += (size_t)count;
    buffer[filled] = 0;
    char *end;
    while ((end = strchr(buffer, '\n'))) {
        *end = 0;
        obey(buffer);
        filled -= (size_t)(end + 1 - buffer);
        memmove(buffer, end + 1, filled + 1);
    }
    return filled < sizeof buffer - 1;
}

static void accept_client(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), yes = 1;
    if (fd < 0) return;
    if (client_count == CLIENTS_MAX) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    clients[client_count++] = fd;
    connections_seen++;
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof here;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, size) || listen(fd, 16)) {
        say("error cannot listen on port %d: %s", port, strerror(errno));
        return -1;
    }
    getsockname(fd, (struct sockaddr *)&here, &size);
    say("ok %d", ntohs(here.sin_port));
    return fd;
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    context = modbus_new_tcp("127.0.0.1", 1502);
    cells = modbus_mapping_new(CELLS, CELLS, CELLS, CELLS);
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    if (!context || !cells || listener < 0) return 1;
    for (;;) {
        struct pollfd watched[CLIENTS_MAX + 2] = {{STDIN_FILENO, POLLIN, 0}, {listener, POLLIN, 0}};
        int count = client_count;
        for (int i = 0; i < count; i++) watched[i + 2] = (struct pollfd){clients[i], POLLIN, 0};
        if (poll(watched, (nfds_t)count + 2, delayed_count ? 1 : -1) < 0) return 1;
        if (watched[0].revents && !obey_input()) return 0;
        for (int i = 0; i < count; i++)
            if (watched[i + 2].revents) serve(watched[i + 2].fd);
        if (watched[1].revents) accept_client(listener);
        answer_delayed();
    }
}
