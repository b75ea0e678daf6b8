"""The official client `durable-streams` from PyPI, as its users call it, against the server whose URL is in DURABLE_STREAMS_URL.

What the client does on the wire is its own matter; that its users get what they were promised is tested here.
"""

import asyncio
import itertools
import os
import threading
import uuid

import pytest
from durable_streams import (
    AsyncDurableStream,
    DurableStream,
    DurableStreamError,
    FetchError,
    SeqConflictError,
    StreamExistsError,
    StreamNotFoundError,
    astream,
    stream,
)

BASE = os.environ["DURABLE_STREAMS_URL"]
ANY_ERROR = (DurableStreamError, FetchError)
START = "0000000000000000_0000000000000000"


@pytest.fixture
def url():
    """The URL of a stream that no other test has."""
    return f"{BASE}/python/{uuid.uuid4()}"


def create(url, content_type="text/plain", **options):
    return DurableStream.create(url, content_type=content_type, **options)


def read_text(url, **options):
    with stream(url, live=False, **options) as response:
        return response.read_text()


# Create, head, delete


def test_create_and_head(url):
    with create(url) as handle:
        head = handle.head()
        assert head.content_type == "text/plain"
        assert head.offset == START
        assert head.cache_control == "no-store"


def test_create_again_with_the_same_configuration(url):
    with create(url, ttl_seconds=600, body="once"):
        pass
    with create(url, ttl_seconds=600, body="twice"):
        pass
    assert read_text(url) == "once"


def test_create_again_with_another_configuration(url):
    with create(url):
        pass
    with pytest.raises(StreamExistsError):
        create(url, content_type="application/json")


def test_create_with_expiry(url):
    with create(url, expires_at="2099-01-01T00:00:00Z", body="x"):
        assert read_text(url) == "x"


def test_both_lifetimes_are_refused(url):
    with pytest.raises(ANY_ERROR) as caught:
        create(url, ttl_seconds=5, expires_at="2099-01-01T00:00:00Z")
    assert caught.value.status == 400


def test_connect(url):
    with create(url, content_type="text/x-log; charset=utf-8"):
        pass
    with DurableStream.connect(url) as handle:
        assert handle.content_type == "text/x-log; charset=utf-8"


def test_a_stream_that_does_not_exist(url):
    with pytest.raises(StreamNotFoundError):
        DurableStream.connect(url)
    with pytest.raises(StreamNotFoundError):
        stream(url, live=False)
    for live in ("long-poll", "sse"):
        with pytest.raises(StreamNotFoundError):
            stream(url, offset="-1", live=live)
    with DurableStream(url, content_type="text/plain") as handle, pytest.raises(StreamNotFoundError):
        handle.append("x")


def test_delete(url):
    with create(url, body="x") as handle:
        handle.delete()
        with pytest.raises(StreamNotFoundError):
            handle.head()
        with pytest.raises(StreamNotFoundError):
            handle.delete()
    with create(url, content_type="application/json") as handle:
        assert handle.head().offset == START


# Append


def test_append_returns_the_new_tail(url):
    with create(url) as handle:
        first = handle.append("hello ").next_offset
        second = handle.append("world").next_offset
        assert START < first < second
        assert handle.head().offset == second
    assert read_text(url) == "hello world"


def test_append_bytes(url):
    body = bytes(range(256)) * 40
    with create(url, content_type="application/octet-stream") as handle:
        handle.append(body)
    with stream(url, live=False) as response:
        assert response.read_bytes() == body


def test_append_with_sequence(url):
    with create(url) as handle:
        handle.append("a", seq="b")
        with pytest.raises(SeqConflictError):
            handle.append("b", seq="a")
        with pytest.raises(SeqConflictError):
            handle.append("b", seq="b")
        handle.append("c", seq="c")
    assert read_text(url) == "ac"


def test_appends_of_many_threads_are_batched_and_complete(url):
    """The client joins what is appended while a request is under way."""
    with create(url, content_type="application/json") as handle:

        def work(number):
            for index in range(20):
                handle.append({"thread": number, "index": index})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with stream(url, live=False) as response:
        items = response.read_json()
    assert len(items) == 160
    for number in range(8):
        assert [item["index"] for item in items if item["thread"] == number] == list(range(20))


def test_append_of_another_type_is_refused(url):
    with create(url):
        pass
    with DurableStream(url, content_type="text/html", batching=False) as handle, pytest.raises(ANY_ERROR) as caught:
        handle.append("<p>")
    assert caught.value.status == 409


# Catch-up


def test_catch_up_of_several_chunks(url):
    """The server's chunk is 64 KiB in this run; the client fetches the rest by itself unless it is told not to be live."""
    parts = [str(index) * 30_000 for index in range(10)]
    with create(url) as handle:
        for part in parts:
            handle.append(part)
    with stream(url, offset="-1", live="auto") as response:
        assert response.read_text() == "".join(parts)
        assert response.up_to_date


def test_catch_up_resumes_at_any_offset(url):
    with create(url) as handle:
        offsets = [handle.append(str(index)).next_offset for index in range(10)]
    for index, offset in enumerate(offsets):
        assert read_text(url, offset=offset) == "".join(str(later) for later in range(index + 1, 10))


def test_catch_up_from_now(url):
    with create(url, body="old"):
        pass
    with stream(url, offset="now", live=False) as response:
        assert response.read_text() == ""
        assert response.up_to_date
        assert response.offset.endswith("_0000000000000003")


def test_an_offset_that_is_none(url):
    with create(url, body="old"):
        pass
    with pytest.raises(ANY_ERROR) as caught:
        stream(url, offset="nonsense", live=False)
    assert caught.value.status == 400


# JSON


def test_json(url):
    values = [
        {"a": 1, "b": [1, 2, {"c": None}]}, [1, 2], [], {}, "text\n\u2028\U0001f600", 0, -1.5, True, None, 2**53 + 1, 10**40,
    ]
    with create(url, content_type="application/json") as handle:
        for value in values:
            handle.append(value)
    with stream(url, live=False) as response:
        assert response.read_json() == values


def test_json_batches(url):
    with create(url, content_type="application/json") as handle:
        tail = handle.append({"n": 1}).next_offset
        handle.append({"n": 2})
    with stream(url, offset=tail, live=False) as response:
        assert list(response.iter_json_batches()) == [[{"n": 2}]]


def test_json_that_is_none(url):
    with create(url, content_type="application/json"):
        pass
    with DurableStream(url, content_type="application/json") as handle:
        handle.append({"n": 1})
    with pytest.raises(ANY_ERROR) as caught:
        create(f"{url}-other", content_type="application/json", body="{")
    assert caught.value.status == 400


# Live


def append_later(url, words, content_type="text/plain", gap=0.05):
    """Appends from another thread, one after the other."""
    pause = threading.Event()

    def work():
        with DurableStream(url, content_type=content_type) as writer:
            for word in words:
                pause.wait(gap)
                writer.append(word)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_long_poll(url):
    """The words come over several time-outs of the long-poll, which is 1 s in this run."""
    with create(url, body="old "):
        pass
    thread = append_later(url, ["one ", "two ", "three"], gap=0.7)
    text = ""
    with stream(url, offset="-1", live="long-poll") as response:
        for piece in response.iter_text():
            text += piece
            if text.endswith("three"):
                break
    thread.join()
    assert text == "old one two three"


def test_long_poll_of_bytes(url):
    with create(url, content_type="application/octet-stream"):
        pass
    thread = append_later(url, [b"\x00\xff", b"\x80"], content_type="application/octet-stream")
    data = b""
    with stream(url, offset="-1", live="long-poll") as response:
        for piece in response:
            data += piece
            if len(data) == 3:
                break
    thread.join()
    assert data == b"\x00\xff\x80"


def test_auto_follows_after_catch_up(url):
    with create(url, content_type="application/json", body='[{"n": 0}]'):
        pass
    thread = append_later(url, [{"n": number} for number in range(1, 6)], content_type="application/json")
    with stream(url) as response:
        items = list(itertools.islice(response.iter_json(), 6))
    thread.join()
    assert items == [{"n": number} for number in range(6)]


def test_sse_of_json(url):
    with create(url, content_type="application/json", body='[{"n": 0}]'):
        pass
    thread = append_later(url, [{"n": number} for number in range(1, 6)], content_type="application/json")
    with stream(url, offset="-1", live="sse") as response:
        items = list(itertools.islice(response.iter_json(), 6))
    thread.join()
    assert items == [{"n": number} for number in range(6)]


def test_sse_of_text(url):
    """Over several connections: the server ends each after about 2 s, and the caller goes on from where it was."""
    with create(url, body="a\nb"):
        pass
    words = ["\nevent: control\ndata: {}\n\n", " c", "\u20ac", "end"]
    thread = append_later(url, words, gap=0.8)
    text = ""
    offset, cursor, connections = "-1", None, 0
    while not text.endswith("end"):
        connections += 1
        with stream(url, offset=offset, cursor=cursor, live="sse") as response:
            for piece in response.iter_text():
                text += piece
            offset, cursor = response.offset, response.cursor
    thread.join()
    assert text == "a\nb" + "".join(words)
    assert connections > 1


def test_sse_events_carry_offsets_to_resume_from(url):
    with create(url) as handle:
        tails = [handle.append(word).next_offset for word in ("a", "b", "c")]
    with stream(url, offset=tails[0], live="sse") as response:
        event = next(iter(response.iter_events(mode="text")))
    assert event.data == "bc"
    assert event.next_offset == tails[2]
    assert event.up_to_date
    assert event.cursor


def test_many_readers_at_once(url):
    with create(url, content_type="application/json"):
        pass
    results = {}

    def read(number, live):
        with stream(url, offset="-1", live=live) as response:
            results[number] = list(itertools.islice(response.iter_json(), 30))

    readers = [threading.Thread(target=read, args=(number, ("sse", "long-poll")[number % 2])) for number in range(10)]
    for reader in readers:
        reader.start()
    append_later(url, [{"n": number} for number in range(30)], content_type="application/json", gap=0.005).join()
    for reader in readers:
        reader.join(timeout=30)
    assert results == {number: [{"n": index} for index in range(30)] for number in range(10)}


# Asynchronous


def test_asynchronous_handle(url):
    async def work():
        async with await AsyncDurableStream.create(url, content_type="application/json") as handle:
            await asyncio.gather(*(handle.append({"n": number}) for number in range(50)))
            head = await handle.head()
            response = await astream(url, live=False)
            async with response:
                items = await response.read_json()
            await handle.delete()
            return head.offset, items

    offset, items = asyncio.run(work())
    assert offset > START
    assert sorted(item["n"] for item in items) == list(range(50))


def test_asynchronous_sse(url):
    async def read():
        items = []
        response = await astream(url, offset="-1", live="sse")
        async with response:
            async for item in response.iter_json():
                items.append(item["n"])
                if len(items) == 10:
                    return items

    with create(url, content_type="application/json"):
        pass
    thread = append_later(url, [{"n": number} for number in range(10)], content_type="application/json", gap=0.02)
    items = asyncio.run(asyncio.wait_for(read(), timeout=30))
    thread.join()
    assert items == list(range(10))
