// Ends of the process and of the power, and the starts after them.

import StreamActors
import StreamRules
import StreamStore
import SystemPackage

extension Simulation {
    /// The first start.
    func start() {
        armFaults()
        do {
            server = try SimulatedServer(disk: disk, catalog: catalog, clock: clock, limits: limits)
            lastNews = 0
        } catch { fail("the first start fails: \(error)") }
    }

    /// What a step of a history in crash mode may be.
    func misfortune() {
        switch dice.below(10) {
        case 0..<3:
            note("the process ends")
            restart()
        case 3..<7:
            let calls = dice.number(1, 25)
            note("the process ends in \(calls) calls")
            disk.callsLeft = calls
        case 7: endInOrder()
        default:
            guard hasFaults else { return }
            faultsAreOn.toggle()
            note("faults \(faultsAreOn)")
        }
    }

    /// SIGTERM: what is asked is answered, then the last checkpoint is made.
    private func endInOrder() {
        note("the server is to end")
        faultsAreOn = false
        disk.callsLeft = nil
        finishAll()
        guard failure == nil else { return }
        let ending = server!
        ending.end()
        for _ in 0..<20 where failure == nil && server === ending && !ending.hasEnded { drain() }
        if failure != nil || server !== ending { return }
        if !ending.hasEnded { return fail("the server does not end") }
        restart()
        if failure == nil, server.recovered.recordsReplayed > 0 {
            fail("\(server.recovered.recordsReplayed) records are replayed after an orderly end")
        }
    }

    /// Makes calls fail now and then, while `faultsAreOn`.
    private func armFaults() {
        disk.fault = { [unowned self] call, path in
            guard faultsAreOn, dice.chance(faultRate) else { return nil }
            faultsMade += 1
            faultsInLife += 1
            let error: Errno =
                switch call {
                case .open, .makeDirectory, .rename, .write, .syncData, .allocate: dice.pick([.ioError, .noSpace, .noSpace])
                default: .ioError
                }
            note("fault: \(call) \(path) \(error)")
            return error
        }
        catalog.fault = { [unowned self] in
            guard faultsAreOn, dice.chance(faultRate) else { return nil }
            faultsMade += 1
            faultsInLife += 1
            let isNoSpace = dice.chance(50)
            note("fault: catalog, no space \(isNoSpace)")
            return CatalogFault("a fault of the simulation", isNoSpace: isNoSpace)
        }
    }

    /// The process has ended, or ends now. What the disk keeps is for the dice to say; then a new process starts on it.
    func restart(orderly: Bool = false) {
        crashes += 1
        faultsAreOn = false
        order.crash(at: clock.wall)
        open = [:]
        waiting = []
        server.drop()
        var attempts = 0
        while failure == nil {
            let crashes: [SimulatedDisk.Crash] = [.everythingKept, .onlySyncedKept, .anythingKept, .anythingKept]
            let crash = orderly ? .everythingKept : dice.pick(crashes)
            note("after the crash: \(crash)")
            disk = disk.after(crash)
            catalog = catalog.reopened(with: disk)
            armFaults()
            if crash != .everythingKept { clock.reboot() }
            clock.advance(Int64(dice.pick([0, 5, 700, 2_000])))
            faultsInLife = 0
            faultsAreOn = hasFaults && !orderly && attempts < 3 && dice.chance(20)
            if !orderly, attempts < 3, dice.chance(25) { disk.callsLeft = dice.number(1, 12) }
            attempts += 1
            do {
                server = try SimulatedServer(disk: disk, catalog: catalog, clock: clock, limits: limits)
                lastNews = 0
                break
            } catch {
                if disk.isDead || faultsAreOn {
                    note("the process ends in its start: \(error)")
                } else {
                    fail("the server does not start: \(error)")
                }
                disk.kill()
            }
        }
        if failure != nil { return }
        note("started: \(server.recovered.notes), LSN \(server.recovered.position.lastLSN)")
        disk.callsLeft = nil
        faultsAreOn = false
        readBack(thoroughly: dice.chance(30))
        order.forgetAbandoned()
        note("\(order.candidates.count) states are possible")
    }
}
