// swift-tools-version: 6.2
import PackageDescription

// Generic code of one module that another uses is specialised there: 10 % of an append's instructions.
let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error), .swiftLanguageMode(.v6), .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]
// Exclusive access is proved where the compiler can and checked at run time elsewhere. The two modules that look at every byte, and have no classes
// that anybody shares, do without the check in release builds.
let unchecked: [SwiftSetting] = strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let deques = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heaps = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "durable-streams",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "durable-streams", targets: ["durable-streams"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", exact: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        // System libraries and kernel headers.
        .target(name: "CLinux"),
        .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
        .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
        .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),

        // The server, from the bottom up; each depends only on what stands above it here.
        .target(name: "SystemCalls", dependencies: ["CLinux", system], swiftSettings: strict),
        .target(name: "Reactor", dependencies: ["CLinux", "SystemCalls", system, heaps], swiftSettings: strict),
        .target(name: "HTTPWire", swiftSettings: unchecked),
        .target(name: "TransportSecurity", dependencies: ["SystemCalls", "COpenSSL", system], swiftSettings: strict),
        .target(name: "HTTP2Session", dependencies: ["HTTPWire", "CNGHTTP2"], swiftSettings: strict),
        .target(name: "StreamRules", swiftSettings: unchecked),
        .target(
            name: "StreamStore", dependencies: ["SystemCalls", "StreamRules", "CLMDB", "CISAL", system], swiftSettings: strict),
        .target(
            name: "StreamActors", dependencies: ["SystemCalls", "Reactor", "StreamRules", "StreamStore", system, deques],
            swiftSettings: strict),
        .target(name: "StreamHTTP", dependencies: ["HTTPWire", "StreamRules"], swiftSettings: strict),
        .target(name: "Systemd", dependencies: ["CSystemd"], swiftSettings: strict),
        .target(
            name: "ServerSettings",
            dependencies: [
                .product(name: "Configuration", package: "swift-configuration"), "SystemCalls", "Systemd", arguments, logging, "Yams",
                system,
            ],
            swiftSettings: strict),
        .target(
            name: "Server",
            dependencies: [
                "CLinux", "SystemCalls", "Reactor", "HTTPWire", "HTTP2Session", "TransportSecurity", "StreamRules", "StreamStore",
                "StreamActors", "StreamHTTP", "Systemd", "ServerSettings", logging, system, deques,
            ], swiftSettings: strict),
        .target(name: "StreamClient", dependencies: ["StreamRules", "CCurl"], swiftSettings: strict),
        .target(name: "StreamBench", dependencies: ["SystemCalls", "Reactor", "HTTPWire", system], swiftSettings: strict),
        .executableTarget(
            name: "durable-streams",
            dependencies: [
                "Server", "ServerSettings", "StreamBench", "StreamClient", "StreamStore", "SystemCalls", "Systemd", "TransportSecurity",
                arguments, logging,
            ],
            swiftSettings: strict),

        // Tools of the tests.
        .target(name: "HTTPWireTesting", dependencies: ["HTTPWire"], swiftSettings: strict),
        .target(name: "HTTP2SessionTesting", dependencies: ["HTTP2Session", "HTTPWire", "CNGHTTP2"], swiftSettings: strict),
        .executableTarget(name: "http-parse-check", dependencies: ["HTTPWire", "HTTPWireTesting"], swiftSettings: strict),
        .executableTarget(name: "http-head-bench", dependencies: ["HTTPWire"], swiftSettings: strict),

        .target(
            name: "StreamSimulation", dependencies: ["SystemCalls", "Reactor", "StreamRules", "StreamStore", "StreamActors", system],
            swiftSettings: strict),
        .executableTarget(name: "stream-simulation", dependencies: ["StreamSimulation", arguments], swiftSettings: strict),

        .testTarget(name: "HTTPWireTests", dependencies: ["HTTPWire", "HTTPWireTesting"], swiftSettings: strict),
        .testTarget(
            name: "TransportSecurityTests", dependencies: ["TransportSecurity", "SystemCalls", "COpenSSL", system], swiftSettings: strict),
        .testTarget(
            name: "HTTP2SessionTests", dependencies: ["HTTP2Session", "HTTP2SessionTesting", "HTTPWire", "CNGHTTP2"],
            swiftSettings: strict),
        .testTarget(name: "StreamRulesTests", dependencies: ["StreamRules"], swiftSettings: strict),
        .testTarget(
            name: "ServerSettingsTests", dependencies: ["ServerSettings", "Systemd", arguments, logging, system], swiftSettings: strict),
        .testTarget(name: "SystemdTests", dependencies: ["Systemd"], swiftSettings: strict),
        .testTarget(name: "SystemCallsTests", dependencies: ["SystemCalls", "CLinux", system], swiftSettings: strict),
        .testTarget(name: "ReactorTests", dependencies: ["Reactor", "SystemCalls", system], swiftSettings: strict),
        .testTarget(
            name: "StreamStoreTests", dependencies: ["StreamStore", "StreamRules", "StreamSimulation", "SystemCalls", "CLMDB", system],
            swiftSettings: strict),
        .testTarget(
            name: "StreamModelTests", dependencies: ["StreamSimulation", "StreamActors", "StreamStore", "StreamRules", "Reactor", system],
            swiftSettings: strict),
        .testTarget(name: "StreamHTTPTests", dependencies: ["StreamHTTP", "HTTPWire", "StreamRules"], swiftSettings: strict),
        .testTarget(
            name: "ServerTests",
            dependencies: [
                "Server", "CLinux", "COpenSSL", "SystemCalls", "Reactor", "HTTPWire", "HTTP2SessionTesting", "StreamRules", "StreamStore",
                "StreamActors", "StreamHTTP", "StreamSimulation", "ServerSettings", "Systemd", "TransportSecurity", logging, system,
            ], swiftSettings: strict),
        // Starts the executable and talks to it over loopback.
        .testTarget(
            name: "BlackBoxTests",
            dependencies: ["durable-streams", "HTTP2SessionTesting", "TransportSecurity", "CNGHTTP2", "COpenSSL"],
            swiftSettings: strict),
        .testTarget(name: "StreamBenchTests", dependencies: ["StreamBench"], swiftSettings: strict),
        .testTarget(name: "StreamClientTests", dependencies: ["StreamClient"], swiftSettings: strict),
    ]
)
