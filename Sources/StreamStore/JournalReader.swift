// One journal file, read from front to back: its header, its batches, their records, and how it ends. Recovery, `verify` and `inspect` read through it;
// what lies between files (which batch follows which, which LSN) is the business of whoever reads them all.
//
//     header │ batch: record record record │ batch: record … │ end
//
// Where there is no batch that goes on, or no record, the reader says which it is:
//     end      there is no batch of this file here, and none behind it
//     torn     a batch was begun and not finished, and nothing comes behind it: no crash can have taken what was acknowledged
//     damaged  something is wrong here, and a later batch of this file shows that it was whole once
//     newer    a whole record of a kind or version that this program does not know; never taken for torn

import SystemCalls
import SystemPackage

struct JournalReader: ~Copyable {
    enum Start: Equatable {
        case valid
        /// There is no valid header: a file that was being prepared, or damage that the batches, which name their file themselves, do without.
        case unreadable
        /// Its header says that it is another file: about to be used again, or renamed.
        case foreign(UInt64)
        case newer(version: UInt32)
    }

    /// A later batch of the file.
    struct Witness: Equatable {
        let number: UInt64
        let offset: Int
        let lastLSN: UInt64
    }

    /// How the records of a batch end.
    enum RecordsEnd: Equatable {
        case whole
        case newer(lsn: UInt64, kind: UInt8, version: UInt8, offset: Int)
        /// Nothing valid stands where the record with this LSN should: the batch is torn, or damaged if something comes behind it.
        case broken(lsn: UInt64, offset: Int)
    }

    /// By the file's name.
    let number: UInt64
    let start: Start
    let size: Int
    /// Batches begin at multiples of it.
    let alignment: Int
    private var window: JournalWindow
    /// Of this life of the file; nil until a batch says it, where there is no header.
    private var salt: UInt64?
    /// Of the batch that comes next.
    private(set) var offset: Int

    var firstOffset: Int { JournalFile.firstBatch(alignment: alignment) }

    /// - Parameter memory: of the window in which the file is read; nobody else uses it meanwhile.
    init(_ file: any DiskFile, number: UInt64, memory: OwnedBytes) throws(Errno) {
        var window = try JournalWindow(file, memory)
        let head = try window.bytes(from: 0, atLeast: FileCalls.directBlock + JournalFile.batchHeaderLength)
        let start: Start
        var salt: UInt64?
        var alignment = 8
        switch JournalFile.decodeHeader(head) {
        case .newer(let version): start = .newer(version: version)
        case .damaged:
            start = .unreadable
            // The first batch says the alignment by where it is.
            let first = try window.bytes(from: JournalFile.headerLength, atLeast: JournalFile.batchHeaderLength)
            if !first.isEmpty, JournalFile.BatchHeader.decode(first) == nil { alignment = FileCalls.directBlock }
        case .valid(let found, let itsSalt, let itsAlignment):
            start = found == number ? .valid : .foreign(found)
            salt = itsSalt
            alignment = itsAlignment
        }
        self.number = number
        self.start = start
        self.salt = salt
        self.alignment = alignment
        size = window.size
        offset = JournalFile.firstBatch(alignment: alignment)
        self.window = window
    }

    /// The header of the batch that comes next, if there is one of this file.
    mutating func next() throws(Errno) -> JournalFile.BatchHeader? {
        let rest = try window.bytes(from: offset, atLeast: JournalFile.batchHeaderLength)
        guard let header = JournalFile.BatchHeader.decode(rest), header.file == number, header.salt == salt ?? header.salt else {
            return nil
        }
        salt = header.salt
        return header
    }

    /// Whether all of the batch lies within the file.
    func isWithin(_ batch: JournalFile.BatchHeader) -> Bool { batch.byteCount <= size - offset - JournalFile.batchHeaderLength }

    /// Gives the records of the batch that comes next to `visit`, with their places in the file, as far as they are whole and known. The reader then
    /// stands behind the batch. A record's payload lives until the next call.
    mutating func read(
        _ batch: JournalFile.BatchHeader, _ visit: (_ record: JournalRecord.View, _ offset: Int) throws -> Void
    ) throws -> (end: RecordsEnd, written: Range<Int>) {
        let begin = offset
        let end = min(begin + JournalFile.batchHeaderLength + batch.byteCount, size)
        let bytes = try window.bytes(from: begin, atLeast: end - begin)
        var position = begin + JournalFile.batchHeaderLength
        var lsn = batch.firstLSN
        defer { offset = JournalFile.align(begin + JournalFile.batchHeaderLength + batch.byteCount, to: alignment) }
        while position < end, bytes.count >= end - begin {
            switch JournalRecord.decode(UnsafeRawBufferPointer(rebasing: bytes[(position - begin)..<(end - begin)])) {
            case .newer(lsn, let kind, let version):
                return (.newer(lsn: lsn, kind: kind, version: version, offset: position), begin..<position)
            case .record(let record) where record.lsn == lsn:
                try visit(record, position)
                lsn += 1
                position += record.paddedLength
            default: return (.broken(lsn: lsn, offset: position), begin..<position)
            }
        }
        return (position < end ? .broken(lsn: lsn, offset: position) : .whole, begin..<position)
    }

    /// The first undamaged header of a batch behind `position` with at least the given number and records beyond an LSN: of this file, or of another one
    /// that the file was before.
    mutating func laterBatch(
        behind position: Int, of file: UInt64? = nil, atLeast number: UInt64, beyond lsn: UInt64 = 0
    ) throws(Errno) -> Witness? {
        var base = (position + 7) & ~7
        while base + JournalFile.batchHeaderLength <= size {
            let bytes = try window.bytes(from: base, atLeast: JournalWindow.smallest)
            var place = 0
            while place + JournalFile.batchHeaderLength <= bytes.count {
                if bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self) == JournalFile.batchMagic.littleEndian,
                    let header = JournalFile.BatchHeader.decode(UnsafeRawBufferPointer(rebasing: bytes[place...])),
                    header.file == file ?? self.number, header.salt == salt ?? header.salt, header.number >= number, header.lastLSN > lsn
                {
                    return Witness(number: header.number, offset: base + place, lastLSN: header.lastLSN)
                }
                place += 8
            }
            if place == 0 { return nil }
            base += place
        }
        return nil
    }
}
