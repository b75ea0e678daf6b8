// A JSON body after it has been looked at: valid or not, and its messages in stored form (StreamRules/JSONMessages).
//
//     small body ──▶ validated and written where the stream's tail is, within the turn
//     large body ──▶ a worker: validated, brought to stored form in its own memory ──▶ the stream, which only takes it over
//
// What grows with a body's size is done once and off the reactor, whatever becomes of the command afterwards: one that waits for room in the
// journal keeps this, and is never worked out again.

import StreamRules
import StreamStore

public final class PreparedJSON: Sendable {
    /// The stored form; nil: there is no message in it, or a fault.
    let stored: OwnedBytes?
    let fault: JSONFault?

    private init(stored: OwnedBytes?, fault: JSONFault?) {
        self.stored = stored
        self.fault = fault
    }

    /// Works in the body's own memory, which is the stored form afterwards. Takes time in proportion to its size.
    convenience init(_ body: OwnedBytes) {
        do throws(JSONFault) {
            let messages = try JSONMessages.prepare(UnsafeMutableRawBufferPointer(start: body.base, count: body.count))
            if messages.count == 0 {
                self.init(stored: nil, fault: nil)
                return
            }
            let prepared = body.count
            body.grow(to: messages.storedLength)
            messages.writeInPlace(UnsafeMutableRawBufferPointer(start: body.base, count: body.capacity), preparedCount: prepared)
            body.count = messages.storedLength
            body.shrink()
            self.init(stored: body, fault: nil)
        } catch {
            self.init(stored: nil, fault: error)
        }
    }

    /// What `messages` has prepared in `content`, in memory of its own.
    convenience init(_ messages: JSONMessages, _ content: UnsafeRawBufferPointer) {
        if messages.count == 0 {
            self.init(stored: nil, fault: nil)
            return
        }
        let block = OwnedBytes(capacity: messages.storedLength)
        messages.write(content, to: UnsafeMutableRawBufferPointer(start: block.base, count: messages.storedLength))
        block.count = messages.storedLength
        self.init(stored: block, fault: nil)
    }
}

/// A body in the form in which a stream takes it.
enum StorableContent {
    /// As it came.
    case bytes(Content)
    /// JSON whose bytes `prepare` has been through.
    case messages(JSONMessages, Content)
    case prepared(OwnedBytes)
    case nothing

    /// Bytes of the stored form.
    var count: Int {
        switch self {
        case .bytes(let content): content.count
        case .messages(let messages, _): messages.storedLength
        case .prepared(let block): block.count
        case .nothing: 0
        }
    }

    /// To be kept while the command waits; it is not worked out again.
    var kept: Content {
        switch self {
        case .bytes(let content): content.kept
        case .messages(let messages, let content): .prepared(PreparedJSON(messages, UnsafeRawBufferPointer(content.bytes)))
        case .prepared(let block): .prepared(PreparedJSON(stored: block))
        case .nothing: .none
        }
    }

    enum Attempt {
        case ready(StorableContent)
        case invalid(JSONFault)
        /// A worker has to look at it first.
        case large
    }

    /// - Parameter threshold: a JSON body of so many bytes or more is a worker's.
    static func make(_ content: Content, isJSON: Bool, threshold: Int) -> Attempt {
        if content.count == 0 { return .ready(.nothing) }
        if case .prepared(let prepared) = content {
            if let fault = prepared.fault { return .invalid(fault) }
            guard let block = prepared.stored else { return .ready(.nothing) }
            return .ready(.prepared(block))
        }
        if !isJSON { return .ready(.bytes(content)) }
        if content.count >= threshold { return .large }
        do throws(JSONFault) {
            let messages = try JSONMessages.prepare(content.bytes)
            return .ready(messages.count == 0 ? .nothing : .messages(messages, content))
        } catch {
            return .invalid(error)
        }
    }
}

extension PreparedJSON {
    convenience init(stored: OwnedBytes) { self.init(stored: stored, fault: nil) }
}

extension StreamContext {
    /// Prepares a large body on a worker; `then` runs on the reactor.
    func prepare(_ content: Content, _ then: @escaping @Sendable (Content) -> Void) {
        let kept = content.kept
        guard case .owned(let block) = kept else {
            then(kept)
            return
        }
        bytesPrepared += block.count
        dispatcher.work(.compute) { [dispatcher] in
            let prepared = PreparedJSON(block)
            dispatcher.post { then(.prepared(prepared)) }
        }
    }
}
