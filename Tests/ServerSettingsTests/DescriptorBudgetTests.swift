import Testing

@testable import ServerSettings

struct DescriptorBudgetTests {
    /// descriptors, connection-limit, descriptor-cache → connections, cached files
    static let cases: [(Int, Int, Int, Int, Int)] = [
        (1024, 0, 512, 704, 256), (65536, 0, 512, 64960, 512), (Int.max, 0, 512, 1 << 20, 512), (1024, 100, 512, 100, 256),
        (1024, 5000, 512, 704, 256), (1 << 30, 2_000_000, 512, 2_000_000, 512), (64, 0, 512, 1, 16), (0, 0, 512, 1, 1), (256, 0, 8, 184, 8),
    ]

    @Test(arguments: cases) func shares(_ descriptors: Int, _ limit: Int, _ cache: Int, _ connections: Int, _ files: Int) {
        var settings = Settings(mode: .serve)
        settings.connectionLimit = limit
        settings.descriptorCache = cache
        let budget = DescriptorBudget(settings: settings, descriptors: descriptors)
        #expect(budget.connections == connections)
        #expect(budget.cachedFiles == files)
    }

    @Test func theLimitOfThisProcessIsKnown() {
        #expect(DescriptorBudget.descriptorLimit() > 0)
    }
}
