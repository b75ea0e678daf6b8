// Many seeds of the simulation: the server against the model (PROTOCOL.md), without and with everything that can go wrong.
//
// More seeds, and the history of one: swift run -c release stream-simulation --mode crash --seeds '0..<100000'

import StreamSimulation
import Testing

@Suite struct ModelTests {
    private static let parts = 4
    private static let seeds = 2_000

    /// Every answer is one that PROTOCOL.md allows, whatever is under way at the same time.
    @Test(arguments: 0..<parts)
    func everyAnswerIsTheModels(part: Int) { run(part, .model) }

    /// Over several lives of the server, whatever its process, its disk and the power do: what was acknowledged or seen stays.
    @Test(arguments: 0..<parts)
    func nothingIsLostInACrash(part: Int) { run(part, .crash) }

    /// Shows the first seed that fails, with its history.
    private func run(_ part: Int, _ mode: SimulationMode) {
        let count = UInt64(Self.seeds / Self.parts)
        for seed in UInt64(part) * count..<UInt64(part + 1) * count where Simulation.run(seed: seed, mode: mode).failure != nil {
            let again = Simulation.run(seed: seed, mode: mode, keepsHistory: true)
            Issue.record(
                """
                seed \(seed): \(again.failure ?? "did not fail again")
                to replay: swift run stream-simulation --mode \(mode.rawValue) --seeds \(seed) --verbose
                \(again.history.joined(separator: "\n"))
                """)
            return
        }
    }
}
