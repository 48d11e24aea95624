#!/usr/bin/env bash
# Builds everything in release mode and measures it:
#
#     tests/bench.sh [array|control|latency|submit-million|http|recovery|agents|docker|fsync|queries] [OPTION...]
#
# Without a name, all are run, and the results are kept in tests/benches/results/DATE.{json,md}.
# OPTION: --pairs N (array, control, http, agents, docker, fsync), --children N (array); --tries N (latency); --submissions N (submit-million);
# --singles N (http); --jobs N (recovery, queries); --restarts N (recovery); --agents N,N (agents).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/lib.sh
. "$root/deploy/lib.sh"
cd "$root"

need_rust
[ -n "${WINDROW_NATS_SERVER:-}" ] || need_nats_server

case ${1:-} in
array | control | latency | submit-million | http | recovery | agents | docker | fsync | queries) ;;
*) set -- --results "$root/tests/benches/results/$(date -u +%F)" "$@" ;;
esac
case " $* " in
*" docker "* | *" --results "*)
    need_packages busybox-static
    need_docker
    trap stop_docker EXIT
    ;;
esac

# With what the benchmarks depend on, so that nothing is built twice.
cargo build --release --locked --workspace --bins --bench windrow-bench
WINDROW_BIN_DIRECTORY=${CARGO_TARGET_DIR:-$root/target}/release
export WINDROW_BIN_DIRECTORY
# Says when the tree holds more than the commit.
commit=$(git describe --always --dirty)
cargo bench --locked --workspace --bench windrow-bench -- --commit "$commit" "$@"
