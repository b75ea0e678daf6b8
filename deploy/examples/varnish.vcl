# Varnish as a cache between readers and the server, on one machine or as the model for a CDN's configuration (Varnish 7.1 or newer).
# A thousand readers that long-poll one stream come to the server as one request; what has been read once is served from here.
# Tested by Tests/Proxies/run, as it stands but for addresses.
#
#     readers ──▶ HTTPS proxy ──▶ Varnish ──▶ server        writers may take the same way; their requests pass through

vcl 4.1;

backend durable_streams {
    .host = "127.0.0.1";
    .port = "4437";
    # Longer than long-poll-timeout and sse-interval.
    .first_byte_timeout = 90s;
    .between_bytes_timeout = 90s;
}

sub vcl_recv {
    # Writes; and HEAD, which Varnish would ask as GET, though it says other things of a stream.
    if (req.method != "GET") {
        return (pass);
    }
    # An event stream is one reader's own. It is piped, because Varnish would hold its first event back until a second one comes. A pipe
    # that is silent for a minute is cut, and the reader resumes; the server's comments (sse-heartbeat) keep it until sse-interval ends it.
    if (req.url ~ "[?&]live=sse(&|$)") {
        return (pipe);
    }
    # Reads with credentials are the reader's own, unless the proxy in front has checked them: then take the two fields away there.
    if (req.http.Authorization || req.http.Cookie) {
        return (pass);
    }
    # The whole URL is the key: stream, offset and cursor. Requests for a key that is being fetched wait for that one answer.
    return (hash);
}

sub vcl_pipe {
    # One request only: what comes behind it would pass unseen.
    set bereq.http.Connection = "close";
}

sub vcl_backend_response {
    # "Nothing new" of a long-poll is the same for all who waited for it. It is kept for a second, for those whose wait ended together;
    # the cursor in it makes their next request another one, so that nobody is told the same twice.
    if (beresp.status == 204 && bereq.url ~ "[?&]live=long-poll(&|$)") {
        set beresp.ttl = 1s;
        set beresp.grace = 0s;
        set beresp.keep = 0s;
        return (deliver);
    }
    # All else as the server says: max-age=60, stale-while-revalidate=300 for data; no-store and no-cache are not kept.
}
