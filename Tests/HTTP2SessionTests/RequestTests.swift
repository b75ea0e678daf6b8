import HTTP2Session
import HTTP2SessionTesting
import HTTPWire
import Testing

@Suite("HTTP/2 requests and answers")
struct RequestTests {
    @Test("a request becomes HTTP/1.1's head, an answer HTTP/2's fields")
    func oneRequest() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let stream = client.request(
            "/v1/stream/a?offset=-1", [("accept", "*/*"), ("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")])
        try client.exchange(with: server)
        let request = try #require(server.requests.first)
        #expect(request.method == "GET" && request.target == "/v1/stream/a?offset=-1" && request.isComplete && request.refusal == nil)
        #expect(
            request.fields.map { "\($0.name): \($0.value)" } == ["host: example.org", "accept: */*", "te: trailers", "cookie: a=1; b=2"])
        let answer = client.answers[stream]!
        #expect(answer.status == 204 && answer.hasEnded && answer.closedWith == 0)
        #expect(answer.fields.map { "\($0.name): \($0.value)" } == [":status: 204", "x-answer: Yes"])
        #expect(request.closedWith == 0 && server.session.streamCount == 0 && server.session.failure == nil)
        #expect(server.announcements == 0, "what `receive` has caused is not announced")
    }

    @Test("bodies larger than all windows go both ways", arguments: [(1 << 20, 16_384), (600_000, 16), (300_000, 100)])
    func bodies(count: Int, step: Int) throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let content = pattern(count)
        let stream = client.request("/echo", method: "POST", [("content-length", "\(count)")], body: content)
        try client.exchange(with: server, step: max(step, 16))
        #expect(server.requests[0].content == content && server.requests[0].isComplete)
        #expect(client.answers[stream]!.body == content && client.answers[stream]!.hasEnded)
        #expect(client.answers[stream]!.value("content-length") == "\(count)")
    }
}
