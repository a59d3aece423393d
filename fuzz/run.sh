#!/usr/bin/env bash
# Runs every fuzz target for a while: `make fuzz` ten minutes each, `make fuzz ARGS="--seconds 30"` a taste,
# `make fuzz ARGS="--seconds 600 policy_yaml"` one of them.
set -euo pipefail
cd "$(dirname "$0")"

ALL=(access_log_format codec edge_reports gate http1_request http2_head kept path policy_yaml rate_limit trace_context trace_intake traceparent xds_apply xds_decode)
seconds=600
targets=()
while (($#)); do
    case "$1" in
        --seconds) seconds="$2"; shift 2 ;;
        -*) echo "unknown option $1; usage: run.sh [--seconds N] [TARGET...]" >&2; exit 2 ;;
        *) targets+=("$1"); shift ;;
    esac
done
((${#targets[@]})) || targets=("${ALL[@]}")

command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
rustup toolchain list | grep -q nightly || rustup toolchain install nightly --profile minimal
for target in "${targets[@]}"; do
    echo "== $target for $seconds s"
    mkdir -p "target/corpus/$target"
    RUSTUP_TOOLCHAIN=nightly cargo fuzz run --fuzz-dir . "$target" "target/corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=25 -print_final_stats=1
done
