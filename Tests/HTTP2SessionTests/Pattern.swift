import HTTP2SessionTesting

func pattern(_ count: Int) -> [UInt8] { (0..<count).map(RecordedRequest.pattern) }
