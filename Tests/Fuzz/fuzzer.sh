# Builds and runs one fuzzer; read by the run-…-fuzz scripts, which set `name` (of the build folder) and `root`.
#     compile MODULE [FLAG...]     the sources are those of Sources/MODULE; in the order of their dependencies
#     run "$@" [--] FLAG...        [SECONDS | replay FILE], and libFuzzer's flags with the seeds

build=$root/.build/$name
mkdir -p "$build/corpus" "$build/findings"
objects=()

compile() {
    module=$1
    shift
    swiftc -O -g -swift-version 6 -sanitize=fuzzer,address -parse-as-library -wmo -module-name "$module" -I "$build" \
        -emit-module -emit-module-path "$build/$module.swiftmodule" -emit-object -o "$build/$module.o" "$@" "$root/Sources/$module"/*.swift
    objects+=("$build/$module.o")
}

link() { swiftc -sanitize=fuzzer,address -use-ld=lld "${objects[@]}" -o "$build/$name" "$@"; }

# The options after the first argument `--` are the fuzzer's.
run() {
    arguments=()
    while [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    shift
    if [ "${arguments[0]:-}" = replay ]; then exec timeout 60 "$build/$name" "${arguments[1]}"; fi
    seconds=${arguments[0]:-60}
    exec timeout $((seconds + 60)) "$build/$name" -max_total_time="$seconds" -timeout=10 -max_len=1024 -print_final_stats=1 \
        -artifact_prefix="$build/findings/" "$@"
}
