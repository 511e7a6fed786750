#!/usr/bin/env bash
# Builds all fuzz targets and runs each for a while, with the stable toolchain and without cargo-fuzz
# (which works as well: `cargo fuzz run TARGET`). What a target finds is written to fuzz/artifacts.
#
#   fuzz/run.sh [SECONDS [TARGET...]]     default: 15 seconds each, all targets
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-15}
shift || true

# The compiler's own instrumentation is marked unstable; the switch opens it in the pinned toolchain.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 AWS_LC_SYS_USE_SYSTEM=0
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS="--cfg fuzzing $coverage -Zsanitizer=address -Ccodegen-units=4"
cargo build --locked --release --target "$host" --bins

if (($#)); then
    targets=("$@")
else
    mapfile -t targets < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)
fi
passed=0
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    seeds=()
    [ -d "seeds/$target" ] && seeds=("seeds/$target")
    log=$(mktemp)
    if ! "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 "corpus/$target" "${seeds[@]}" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "fuzz target $target FAILED; the input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    printf '%-16s %s inputs in %s s, no finding\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$seconds"
    rm -f "$log"
    passed=$((passed + 1))
done
echo "fuzz: $passed targets passed"
