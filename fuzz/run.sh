#!/usr/bin/env bash
# Builds all fuzz targets and runs each for a while, two at a time, with the stable toolchain and without
# cargo-fuzz (which works as well: `cargo fuzz run TARGET`). A run begins with the corpus of earlier runs and the
# seeds, and uses the dictionary of the target if it has one. What a target finds is written to fuzz/artifacts.
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

run() { # TARGET: one line if nothing is found; the end of the log and status 1 if something is
    local target=$1 log options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1)
    mkdir -p "corpus/$target" "artifacts/$target"
    local inputs=("corpus/$target")
    [ -d "seeds/$target" ] && inputs+=("seeds/$target")
    [ -f "dictionaries/$target.dict" ] && options+=(-dict="dictionaries/$target.dict")
    log=$(mktemp)
    if ! "target/$host/release/$target" "${options[@]}" -artifact_prefix="artifacts/$target/" "${inputs[@]}" >"$log" 2>&1; then
        grep -A 6 "panicked at" "$log" || tail -n 60 "$log"
        echo "fuzz target $target FAILED; the input is in fuzz/artifacts/$target" >&2
        rm -f "$log"
        return 1
    fi
    printf '%-16s %s inputs in %s s, no finding\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$seconds"
    rm -f "$log"
}
export -f run
export seconds host
if ! printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'run {}'; then
    echo "fuzz: FAILED" >&2
    exit 1
fi
echo "fuzz: ${#targets[@]} targets passed"
