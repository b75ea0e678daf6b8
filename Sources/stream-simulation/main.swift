// Runs seeds of the simulation: stream-simulation --mode model --seeds 0..<100000
//
// A failing seed is run again with its history written down; `--verbose` writes down the history of a seed that does not fail.
// Exit status 0: no seed failed; 1: some did.

import ArgumentParser
import Glibc
import StreamSimulation

struct SimulationCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stream-simulation", abstract: "Checks the stream store against a model, from seeds.")

    @Option(help: "model (nothing goes wrong) or crash (everything does).")
    var mode = SimulationMode.model

    @Option(help: "One seed, or a range: 0..<100000.")
    var seeds: SeedRange

    @Flag(help: "Print the history of each seed.")
    var verbose = false

    @Flag(help: "Make no forks.")
    var withoutForks = false

    @Option(help: "Stop after so many failures.")
    var failures = 1

    func run() throws {
        var failed = 0
        var commands = 0
        var crashes = 0
        for seed in seeds.range {
            let result = Simulation.run(seed: seed, mode: mode, forks: !withoutForks, keepsHistory: verbose)
            commands += result.commands
            crashes += result.crashes
            if verbose { for line in result.history { print(line) } }
            if let failure = result.failure {
                failed += 1
                print("seed \(seed), mode \(mode.rawValue): \(failure)")
                if !verbose {
                    let again = Simulation.run(seed: seed, mode: mode, forks: !withoutForks, keepsHistory: true)
                    for line in again.history { print("    \(line)") }
                }
                if failed >= failures { break }
            }
            if (seed - seeds.range.lowerBound + 1) % 10_000 == 0 {
                print("\(seed + 1 - seeds.range.lowerBound) seeds, \(failed) failed")
                fflush(nil)
            }
        }
        print("\(mode.rawValue) \(seeds.range): \(commands) commands, \(crashes) ends of the process, \(failed) seeds failed")
        if failed > 0 { throw ExitCode(1) }
    }
}

struct SeedRange: ExpressibleByArgument {
    let range: Range<UInt64>

    init?(argument: String) {
        if let seed = UInt64(argument) {
            range = seed..<seed + 1
            return
        }
        guard let dots = argument.firstRange(of: "..<"), let low = UInt64(argument[..<dots.lowerBound]),
            let high = UInt64(argument[dots.upperBound...]), low < high
        else { return nil }
        range = low..<high
    }
}

extension SimulationMode: ExpressibleByArgument {}

// The order of hash tables is part of a history.
if getenv("SWIFT_DETERMINISTIC_HASHING") == nil {
    setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
    var arguments = CommandLine.arguments.map { strdup($0) } + [nil]
    execv("/proc/self/exe", &arguments)
}
SimulationCommand.main()
