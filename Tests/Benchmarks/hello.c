// The least that an HTTP server can do, for comparison: one thread, one epoll, and for each request the same answer of about the size that the
// server's own answers have. It does not parse: a request ends with an empty line, and there is one at a time on a connection.
//
//     hello PORTFILE [CONTENT-BYTES]        listens on 127.0.0.1, a port of the kernel's choice, which it writes to PORTFILE
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 2) return 2;
    size_t content = count > 2 ? strtoul(arguments[2], NULL, 10) : 0;
    char *answer = malloc(content + 1024);
    int head = sprintf(answer,
                       "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 14:43:08 GMT\r\nX-Content-Type-Options: nosniff\r\n"
                       "Cross-Origin-Resource-Policy: cross-origin\r\nAccess-Control-Allow-Origin: *\r\n"
                       "Access-Control-Expose-Headers: Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, "
                       "Stream-Expires-At, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, "
                       "Producer-Received-Seq, ETag, Location\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                       content);
    memset(answer + head, 'x', content);
    size_t length = (size_t)head + content;

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        return 1;
    FILE *file = fopen(arguments[1], "w");
    if (!file) return 1;
    fprintf(file, "%d\n", ntohs(address.sin_port));
    fclose(file);

    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    char request[65536];
    for (;;) {
        int ready = epoll_wait(epoll, events, 512, -1);
        for (int index = 0; index < ready; index++) {
            int peer = events[index].data.fd;
            if (peer == listener) {
                while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    int one = 1;
                    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    event.data.fd = peer;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &event);
                }
                continue;
            }
            ssize_t got = recv(peer, request, sizeof request, 0);
            if (got <= 0) {
                if (got == 0 || errno != EAGAIN) close(peer);
                continue;
            }
            if (got >= 4 && memcmp(request + got - 4, "\r\n\r\n", 4) == 0) {
                if (send(peer, answer, length, MSG_NOSIGNAL) != (ssize_t)length) close(peer);
            }
        }
    }
}
