import StreamStore
import SystemPackage
import Testing

/// What an error of a call says of a segment's file.
@Suite struct SegmentScanTests {
    /// The process could not look, and looks again later.
    @Test(arguments: [Errno.tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .permissionDenied, .interrupted])
    func theProcess(error: Errno) {
        guard case .unknown(let what) = SegmentScan.judge(error, at: 4096, doing: "read") else { return #expect(Bool(false), "\(error)") }
        #expect(what.hasPrefix("it cannot be read"))
    }

    /// A device, or a file system that checks by itself: EIO, ENOENT, EUCLEAN, EBADMSG, ENODATA, EREMOTEIO.
    @Test(arguments: [Errno.ioError, .noSuchFileOrDirectory, Errno(rawValue: 117), .badMessage, .noData, Errno(rawValue: 121)])
    func theFile(error: Errno) {
        guard case .damaged(at: 4096, let what) = SegmentScan.judge(error, at: 4096, doing: "read") else {
            return #expect(Bool(false), "\(error)")
        }
        #expect(what.hasPrefix("it cannot be read"))
    }
}
