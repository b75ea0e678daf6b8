// The innocent client: a few ordinary requests at a steady rate, and how long each of them waits.
//
//     innocent HOST PORT TLS_PORT READ_PATH APPEND_PATH
//
// Four threads run until standard input ends. `get` and `append` each keep one connection. `connect` opens a new connection for each GET.
// `tls` opens a new TLS connection for each GET. With APPEND_PATH `-` there is no `append`, and with TLS_PORT 0 no `tls`.
//
// A wait counts from the moment at which the request is due, not from the moment at which it is sent. A server that pauses is charged for
// all requests of the pause. A request that still waits at the end counts with what it has waited so far.
//
// The output is one JSON object. For each thread it has how many requests were due and how many waits there are, the p50, p99, and longest wait in
// milliseconds, and the number of requests that were refused: another status than 2xx, or a connection that failed.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most = 200000, answer_size = 64 * 1024 };

struct channel {
    int descriptor;
    SSL *tls;
};

struct kind {
    const char *name;
    double interval;
    int port, keeps;
    SSL_CTX *context;
    char request[4096];
    double waits[most];
    int count, refused;
    double start, due;
    pthread_mutex_t lock;
};

static struct sockaddr_in address;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void sleep_until(double moment) {
    struct timespec time = {(time_t)(moment / 1e3), 0};
    time.tv_nsec = (long)((moment - time.tv_sec * 1e3) * 1e6);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void close_channel(struct channel *channel) {
    if (channel->tls) SSL_free(channel->tls);
    if (channel->descriptor >= 0) close(channel->descriptor);
    channel->tls = NULL;
    channel->descriptor = -1;
}

static int open_channel(struct channel *channel, const struct kind *kind) {
    struct sockaddr_in target = address;
    struct timeval limit = {60, 0};
    int one = 1;
    target.sin_port = htons(kind->port);
    channel->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (channel->descriptor < 0) return 0;
    setsockopt(channel->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(channel->descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(channel->descriptor, (struct sockaddr *)&target, sizeof target)) return 0;
    if (!kind->context) return 1;
    channel->tls = SSL_new(kind->context);
    return SSL_set_fd(channel->tls, channel->descriptor) == 1 && SSL_connect(channel->tls) == 1;
}

static int send_all(struct channel *channel, const char *bytes, int count) {
    while (count > 0) {
        int sent = channel->tls ? SSL_write(channel->tls, bytes, count) : (int)send(channel->descriptor, bytes, count, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        bytes += sent;
        count -= sent;
    }
    return 1;
}

/// Reads one whole answer. Returns its status, or 0 if the connection fails first.
static int receive_answer(struct channel *channel, char *answer) {
    int filled = 0;
    while (filled < answer_size - 1) {
        int space = answer_size - 1 - filled;
        int got = channel->tls ? SSL_read(channel->tls, answer + filled, space) : (int)recv(channel->descriptor, answer + filled, space, 0);
        if (got <= 0) return 0;
        filled += got;
        answer[filled] = 0;
        char *end = strstr(answer, "\r\n\r\n");
        if (!end) continue;
        char *length = strcasestr(answer, "\r\ncontent-length:");
        long body = length && length < end ? atol(length + 17) : 0;
        if (answer + filled >= end + 4 + body) return atoi(answer + 9);
    }
    return 0;
}

_Noreturn static void *run(void *argument) {
    struct kind *kind = argument;
    struct channel channel = {-1, NULL};
    char *answer = malloc(answer_size);
    int length = (int)strlen(kind->request);
    for (;;) {
        sleep_until(kind->due);
        int status = 0;
        if (channel.descriptor >= 0 || open_channel(&channel, kind))
            if (send_all(&channel, kind->request, length)) status = receive_answer(&channel, answer);
        double wait = now() - kind->due;
        if (!status || !kind->keeps) close_channel(&channel);
        pthread_mutex_lock(&kind->lock);
        if (status / 100 != 2) kind->refused++;
        if (kind->count < most) kind->waits[kind->count++] = wait;
        kind->due += kind->interval;
        pthread_mutex_unlock(&kind->lock);
    }
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void report(struct kind *kind, int first) {
    double pending;
    pthread_mutex_lock(&kind->lock);
    pending = now() - kind->due;
    if (pending > 0 && kind->count < most) kind->waits[kind->count++] = pending;
    qsort(kind->waits, kind->count, sizeof *kind->waits, ascending);
    int count = kind->count, due = (int)((now() - kind->start) / kind->interval);
    double p50 = count ? kind->waits[count / 2] : 0, p99 = count ? kind->waits[(int)(count * 0.99)] : 0;
    double longest = count ? kind->waits[count - 1] : 0;
    printf("%s\"%s\": {\"due\": %d, \"count\": %d, ", first ? "" : ", ", kind->name, due, count);
    printf("\"p50\": %.3f, \"p99\": %.3f, \"longest\": %.3f, \"refused\": %d}", p50, p99, longest, kind->refused);
    pthread_mutex_unlock(&kind->lock);
}

int main(int count, char **arguments) {
    if (count != 6) {
        fprintf(stderr, "usage: innocent HOST PORT TLS_PORT READ_PATH APPEND_PATH\n");
        return 2;
    }
    address.sin_family = AF_INET;
    inet_pton(AF_INET, arguments[1], &address.sin_addr);
    signal(SIGPIPE, SIG_IGN);
    int port = atoi(arguments[2]), tls_port = atoi(arguments[3]);
    static struct kind kinds[] = {
        {.name = "get", .interval = 10, .keeps = 1},
        {.name = "append", .interval = 20, .keeps = 1},
        {.name = "connect", .interval = 50},
        {.name = "tls", .interval = 100},
    };
    int used[] = {1, strcmp(arguments[5], "-") != 0, 1, tls_port != 0};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    double start = now();
    for (int index = 0; index < 4; index++) {
        if (!used[index]) continue;
        struct kind *kind = &kinds[index];
        int appends = index == 1;
        kind->port = index == 3 ? tls_port : port;
        if (index == 3) kind->context = context;
        snprintf(kind->request, sizeof kind->request, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s", appends ? "POST" : "GET",
                 arguments[appends ? 5 : 4], arguments[1], appends ? "Content-Type: text/plain\r\nContent-Length: 8\r\n" : "",
                 appends ? "innocent" : "");
        kind->start = kind->due = start + kind->interval * (index + 1) / 4;
        pthread_mutex_init(&kind->lock, NULL);
        pthread_t thread;
        if (pthread_create(&thread, NULL, run, kind)) return 1;
    }
    char byte;
    while (read(0, &byte, 1) > 0) {}
    printf("{");
    for (int index = 0; index < 4; index++)
        if (used[index]) report(&kinds[index], index == 0);
    printf("}\n");
    fflush(stdout);
    _exit(0);
}
