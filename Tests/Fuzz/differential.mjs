// Compares HTTPWire with the HTTP parser inside Node (llhttp): thousands of mutated requests go to both, and both must accept or refuse
// alike and read the same messages: method, target, version, fields, content, place of the end, and whether the connection persists.
//
//     node differential.mjs HTTP-PARSE-CHECK [COUNT [SEED]]      prints a summary; exit status 1 when there is a difference not listed below
//
// A difference is a place where one of two honest implementations can be made to see another request than the other. All that are
// intended are listed below, each with the paragraph that allows or demands it. Where HTTPWire is the laxer, nothing depends on it where a message ends.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
const { HTTPParser, methods } = createRequire(import.meta.url)("_http_common");

const [checker, countText = "20000", seedText = "1"] = process.argv.slice(2);
const count = Number(countText);

// ---- Allowed differences -------------------------------------------------------------------------------------------------------------

// HTTPWire refuses with this reason; Node may accept, provided that the third entry, if there is one, holds for its message
// and for what stands where the message begins.
const stricter = [
    [/^malformed request line/, "RFC 9112 3: a request line has a version; Node takes a line without one for HTTP/0.9", (m) => m.major === 0],
    [/^line feed without/, "RFC 9112 2.3: as above, with the line ended by LF alone", (m) => m.major === 0],
    [/^malformed request line|^malformed HTTP version/, "RFC 9112 3: single spaces; accepting more is free",
        (_, raw) => /^(\r\n)*[^\r\n]*  /.test(raw)],
    [/^carriage return without|^line feed without/, "RFC 9112 2.2: CRLF before a request line is to be ignored; a lone CR or LF need not be",
        (_, raw) => /^(\r\n)*(\n|\r[^\n])/.test(raw)],
    [/^too many empty lines/, "RFC 9112 2.2: at least one empty line is to be ignored; how many more is free"],
    [/^Content-Length together/, "RFC 9112 6.3: both fields ought to be handled as an error; Node ignores an empty Transfer-Encoding",
        (m) => m.fields.some(([name, value]) => /^transfer-encoding$/i.test(name) && value === "")],
    [/^Transfer-Encoding in an HTTP\/1.0/, "RFC 9112 6.1: framing faulty, the connection is to be closed; refused at once"],
    [/^unsupported Transfer-Encoding/, "RFC 9112 6.1: a coding that is not understood; PROTOCOL.md 11 refuses all but chunked"],
    [/^unsupported Expect/, "RFC 9110 10.1.1: 417 for other expectations; Node decides it above its parser"],
    [/^Host missing/, "RFC 9112 3.2: a server MUST answer 400; Node checks it above its parser"],
    [/^Host given more than once/, "RFC 9112 3.2: a server MUST answer 400; Node checks it above its parser"],
    [/^malformed Host/, "RFC 9112 3.2: an invalid Host MUST be answered with 400; RFC 3986 3.2.2 has the grammar"],
    [/^malformed request target: '#'/, "RFC 9112 3.2: no form of a target has a fragment"],
    [/^malformed request target: expected \/path/, "RFC 9112 3.2.1 to 3.2.4: authority-form is for CONNECT, * for OPTIONS"],
    [/^malformed authority/, "RFC 9110 4.2.1 and 4.2.4: empty host and user information are errors"],
    [/^HTTP version not supported/, "RFC 9110 15.6.6, PROTOCOL.md 11: 505 for every version but 1.0 and 1.1"],
    [/^malformed chunk size/, "RFC 9112 7.1: large numbers are to be anticipated; here by 15 digits at most", (_, raw) => /[0-9a-f]{16}/i.test(raw)],
];

// Node refuses with this code; HTTPWire may accept, under the same proviso.
const laxer = [
    ["HPE_INVALID_METHOD", "RFC 9110 9.1: any token is a method; an unknown one is answered with 405, above the parser",
        (m) => !methods.includes(text(m.method)) || text(m.method) === "PRI"],
    ["HPE_UNEXPECTED_CONTENT_LENGTH", "RFC 9110 8.6: a repeated identical Content-Length MAY be taken as one", (m) => lengths(m) > 1],
    ["HPE_INVALID_CONTENT_LENGTH", "RFC 9110 8.6: a list of identical lengths MAY be taken as one", (m) => lengths(m) > 1],
    ["HPE_INVALID_CONTENT_LENGTH", "RFC 9110 6.5.1: a trailer says nothing about framing, whatever its name; it is dropped",
        (m) => m.framing === "chunked"],
    ["HPE_INVALID_CONTENT_LENGTH", "RFC 9110 5.5: a tab behind the value is no part of it", (_, raw) => /content-length:[ \t]*[0-9]+[ \t]*\t/i.test(raw)],
    ["HPE_INVALID_TRANSFER_ENCODING", "RFC 9110 5.5: a tab behind the value is no part of it", (_, raw) => /chunked[ \t]*\t/i.test(raw)],
    ["HPE_STRICT", "RFC 9112 7.1.1: an extension that is not understood is ignored; Node parses its inside", (m) => m.framing === "chunked"],
];
const lengths = (m) => m.fields.filter(([name]) => /^content-length$/i.test(text(name))).flatMap(([, value]) => text(value).split(",")).length;

// ---- What Node reads -----------------------------------------------------------------------------------------------------------------

function readWithNode(bytes) {
    const parser = new HTTPParser();
    parser.initialize(HTTPParser.REQUEST, {}, 1 << 20);
    const messages = [];
    let current = null;
    let flushed = { headers: [], url: "" };
    // The binding hands out what it cannot hold: long lists of fields, trailers, and after trailers the next head.
    parser[HTTPParser.kOnHeaders] = (headers, url) => {
        if (current) return;  // trailers
        flushed.headers.push(...headers);
        flushed.url += url;
    };
    parser[HTTPParser.kOnHeadersComplete] = (major, minor, headers, method, url, _status, _text, isUpgrade, keepAlive) => {
        const all = flushed.headers.concat(headers ?? []);
        url = flushed.url + (url ?? "");
        flushed = { headers: [], url: "" };
        const fields = [];
        for (let i = 0; i < all.length; i += 2) fields.push([all[i], all[i + 1]]);
        current = { method: methods[method], target: url, minor, major, fields, keepAlive, content: [], upgrade: isUpgrade };
        return 0;
    };
    parser[HTTPParser.kOnBody] = (part) => { current.content.push(Buffer.from(part)); };
    parser[HTTPParser.kOnMessageComplete] = () => {
        current.content = Buffer.concat(current.content).toString("hex");
        messages.push(current);
        current = null;
    };
    const outcome = parser.execute(bytes);
    const refused = outcome instanceof Error ? outcome.code : null;
    parser.close();
    return { messages, refused };
}

// ---- Cases -----------------------------------------------------------------------------------------------------------------------------

let state = BigInt.asUintN(64, BigInt(seedText) * 0x9e3779b97f4a7c15n) || 1n;
function roll(sides) {  // xorshift64: the same cases for the same seed
    state ^= BigInt.asUintN(64, state << 13n);
    state ^= state >> 7n;
    state ^= BigInt.asUintN(64, state << 17n);
    return Number((state >> 11n) % BigInt(sides));
}
const pick = (list) => list[roll(list.length)];

const methodsUsed = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "get", "FROB"];
const targets = ["/", "/a", "/v1/stream/a?offset=-1&live=sse", "*", "http://a/b", "http://[::1]:8/b?c", "http://u@a/", "a:443", "/a#b", "/%zz", "/\xe9", "", "//", "http://a"];
const versions = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/1.10", "http/1.1", "HTTP/0.9", ""];
const lines = [
    "Accept: */*", "X: a b\tc", "X:", "X: ", "X : a", " X: a", "X", ": a", "X: \x01", "X: \x7f", "X: \xff", "X(: a", "X\xe9: a", "Host: b", "Host:",
    "Content-Length: 5", "Content-Length: 0", "content-length: 5", "Content-Length: +5", "Content-Length: 5, 5", "Content-Length: 05", "Content-Length: 5 ",
    "Content-Length: 5x", "Content-Length: ", "Content-Length: 6", "Content-Length: 18446744073709551617", "Content-Length : 5",
    "Transfer-Encoding: chunked", "Transfer-Encoding: CHUNKED", "transfer-encoding:\tchunked ", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: identity", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked;a=b", "Transfer-Encoding:", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding : chunked",
    "Connection: close", "Connection: keep-alive", "Connection: Keep-Alive, x", "Connection: x,close", "Connection: closed", "Expect: 100-continue", "Expect: x",
];
const sizes = ["5", "05", "5;a", "5;a=b", "5;a=\"b\"", "5; a=b", "5 ", "5 ;a", "+5", "0x5", "5;", "5;\x01", " 5", "-5", "5\t", "00000000000000005", "fffffffffffffffff"];
const trailers = ["", "", "T: u\r\n", "T:\r\n", "T : u\r\n", " T: u\r\n", "T\r\n", "T: \x01\r\n", "Content-Length: 9\r\n"];
const ends = (text) => roll(60) ? "\r\n" : pick(["\n", "\r", "\r\r\n", "\n\r", "\r\n "]);

function request() {
    let target = roll(3) ? "/a" : pick(targets);
    let text = `${roll(3) ? pick(["GET", "POST", "PUT"]) : pick(methodsUsed)} ${target} ${roll(4) ? "HTTP/1.1" : pick(versions)}${ends()}`;
    if (roll(30)) text += `Host: ${roll(12) ? "a" : pick(["a:1", "[::1]", "a b", "a/b", "", "u@a"])}${ends()}`;
    for (let i = roll(3); i > 0; i--) text += (roll(2) ? pick(lines) : pick(lines.slice(0, 4))) + ends();
    const kind = roll(4);
    if (kind === 1) return `${text}Content-Length: 5${ends()}${ends()}hello`;
    if (kind === 2) {
        text += `Transfer-Encoding: chunked${ends()}${ends()}`;
        for (let i = roll(3); i > 0; i--) text += `${roll(3) ? "5" : pick(sizes)}${ends()}hello${ends()}`;
        return `${text}${roll(8) ? "0" : pick(["00", "0;a", "0;a=b", "0 "])}${ends()}${pick(trailers)}${ends()}`;
    }
    return text + ends();
}

const octets = [..."\r\n\t :;,/#*0159afAF?=\"\0\x01\x0b\x7f\x80\xff"].map((c) => c.charCodeAt(0));
function mutated(text) {
    const bytes = [...Buffer.from(text, "latin1")];
    for (let i = roll(4) ? 0 : 1 + roll(3); i > 0 && bytes.length; i--) {
        const at = roll(bytes.length);
        switch (roll(4)) {
            case 0: bytes[at] = pick(octets); break;
            case 1: bytes.splice(at, 0, pick(octets)); break;
            case 2: bytes.splice(at, 1); break;
            default: bytes.splice(at, 0, ...bytes.slice(at, at + roll(12))); break;
        }
    }
    return Buffer.from(bytes);
}

// ---- Comparison ------------------------------------------------------------------------------------------------------------------------

const text = (hex) => Buffer.from(hex, "hex").toString("latin1");
/** null when the two agree, else a description; `note` counts each allowed difference that was needed. */
function difference(bytes, ours, node, note) {
    const reason = ours.reason === undefined ? "" : text(ours.reason);
    const shared = Math.min(ours.messages.length, node.messages.length);
    for (let i = 0; i < shared; i++) {
        const a = ours.messages[i], b = node.messages[i];
        const authority = a.authority === null ? "" : text(a.authority);
        const target = text(a.target);
        const theirs = a.authority === null ? b.target : b.target.replace(/^https?:\/\//i, "");
        const fields = JSON.stringify(a.fields.map(([n, v]) => [text(n), text(v)]));
        if (text(a.method) !== b.method) return `message ${i}: method ${text(a.method)} / ${b.method}`;
        if (authority + target !== theirs) return `message ${i}: target ${authority + target} / ${theirs}`;
        if (b.major !== 1 || a.minor !== b.minor) return `message ${i}: version 1.${a.minor} / ${b.major}.${b.minor}`;
        if (fields !== JSON.stringify(b.fields)) return `message ${i}: fields ${fields} / ${JSON.stringify(b.fields)}`;
        if (a.content !== b.content) return `message ${i}: content ${text(a.content)} / ${text(b.content)}`;
        if (b.upgrade) { note("RFC 9110 7.8: Node hands the connection over at Upgrade; this server ignores the field"); return null; }
        if (a.minor === 0 && !a.keepAlive && b.keepAlive && /(^|[\s,])close/i.test(JSON.stringify(b.fields))) {
            note("RFC 9112 9.3: close wins over keep-alive, also in HTTP/1.0; Node has it the other way round there");
            return null;
        }
        if (a.keepAlive !== b.keepAlive) return `message ${i}: keep-alive ${a.keepAlive} / ${b.keepAlive}`;
        if (!a.keepAlive) {
            // Node refuses bytes after the last request, or silently drops them; HTTPWire does not look at them.
            return ours.messages.length === i + 1 && node.messages.length <= i + 1 ? null : `messages after the last`;
        }
    }
    const rest = bytes.toString("latin1", shared ? ours.messages[shared - 1].at : 0);
    if (ours.messages.length < node.messages.length) {
        if (ours.end !== "refused") return `Node has ${node.messages.length} messages, HTTPWire ${ours.messages.length} and ${ours.end}`;
        const rule = stricter.find(([pattern, , holds]) => pattern.test(reason) && (!holds || holds(node.messages[shared], rest)));
        if (!rule) return `Node accepts, HTTPWire refuses: ${reason}`;
        note(`stricter (${rule[0].source.slice(1)}): ${rule[1]}`);
    } else if (ours.messages.length > node.messages.length) {
        if (!node.refused) return `HTTPWire has ${ours.messages.length} messages, Node ${node.messages.length} and waits`;
        const rule = laxer.find(([code, , holds]) => code === node.refused && holds(ours.messages[shared], rest));
        if (!rule) return `HTTPWire accepts, Node refuses: ${node.refused}`;
        note(`laxer (${node.refused}): ${rule[1]}`);
    }
    // Neither accepts a further message. One may say so earlier than the other; nothing depends on that.
    return null;
}

const cases = Array.from({ length: count }, () => {
    let bytes = mutated(request());
    if (roll(3) === 0) bytes = Buffer.concat([bytes, mutated(request())]);
    return Buffer.concat([bytes, Buffer.from("GET /next HTTP/1.1\r\nHost: next\r\n\r\n")]);
});
const input = Buffer.concat(cases.flatMap((bytes) => {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(bytes.length);
    return [prefix, bytes];
}));
const checked = spawnSync(checker, [], { input, maxBuffer: 1 << 30, timeout: 120_000 });
if (checked.status !== 0) {
    console.error(`${checker} failed: ${checked.stderr}`);
    process.exit(1);
}
const answers = checked.stdout.toString().trim().split("\n").map((line) => JSON.parse(line));
if (answers.length !== count) {
    console.error(`${checker} answered ${answers.length} of ${count} cases`);
    process.exit(1);
}

const notes = new Map();
const tally = { accepted: 0, refused: 0, messages: 0 };
let different = 0;
cases.forEach((bytes, index) => {
    const ours = answers[index];
    tally[ours.end === "refused" ? "refused" : "accepted"] += 1;
    tally.messages += ours.messages.length;
    const problem = difference(bytes, ours, readWithNode(bytes), (rule) => notes.set(rule, (notes.get(rule) ?? 0) + 1));
    if (!problem) return;
    different += 1;
    if (different <= 20) console.log(`case ${index}: ${problem}\n    ${JSON.stringify(bytes.toString("latin1"))}`);
});
console.log(`${count} cases, seed ${seedText}, Node ${process.version} (llhttp ${process.versions.llhttp}):`);
console.log(`    ${tally.accepted} without a refusal, ${tally.refused} with one, ${tally.messages} messages read alike`);
for (const [rule, times] of [...notes].sort((a, b) => b[1] - a[1])) console.log(`    ${String(times).padStart(6)}  ${rule}`);
console.log(`    ${different} differences that are not allowed`);
process.exit(different ? 1 : 0);
