#!/usr/bin/env bash
# From a fresh Debian 12 to a running cluster with a real workload on it:
#
#     deploy/quickstart.sh [--docker] [--data-directory D]
#
# Installs what is missing, builds Windrow, starts a cluster on this machine, runs the lambda phage
# example and says what to type next. Run again, it is quick: nothing is installed, built or started
# twice. Needs root or sudo only to install packages. --docker runs the example in containers.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/lib.sh
. "$root/deploy/lib.sh"

example_options=()
usage() {
    sed -n 's/^#     /usage: /p' "${BASH_SOURCE[0]}"
    exit "$1"
}
while [ $# -gt 0 ]; do
    case $1 in
    --docker) example_options=(--docker) ;;
    --data-directory)
        shift
        mkdir -p "${1:?--data-directory needs a directory}"
        WINDROW_DATA_DIRECTORY=$(cd "$1" && pwd)
        export WINDROW_DATA_DIRECTORY
        ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
    esac
    shift
done

say "checking what is installed"
need_example
need_rust
need_nats_server
if [ ${#example_options[@]} -gt 0 ]; then
    need_packages busybox-static
    need_docker
fi

say "building Windrow (minutes the first time)"
# The whole workspace, as tests/run.sh builds it, so that both use the same artefacts.
(cd "$root" && cargo build --release --locked --workspace --bins)
target=${CARGO_TARGET_DIR:-$root/target}
export WINDROW=$target/release/windrow
# Beside windrow, where `windrow up` looks for it.
ln -sfn "$WINDROW_NATS_SERVER" "$target/release/nats-server"

say "starting a cluster"
# Agents look for Docker when they start; jobs are kept over a restart.
[ -z "$DOCKER_STARTED" ] || "$WINDROW" down
code=0
output=$("$WINDROW" up --detach 2>&1) || code=$?
case $code in
0) printf '%s\n' "$output" ;;
6) say "it is running already" ;;
*) fail "could not start a cluster: $output" ;;
esac

say "running the lambda phage example (deploy/examples/lambda-phage)"
"$root/deploy/examples/lambda-phage/run.sh" "${example_options[@]}"

data_directory_hint=
if [ -n "${WINDROW_DATA_DIRECTORY:-}" ]; then
    data_directory_hint="    export WINDROW_DATA_DIRECTORY=$(printf %q "$WINDROW_DATA_DIRECTORY")
"
fi
cat <<END

The cluster is running. To try next:

    export PATH=$(printf %q "$target/release"):\$PATH
$data_directory_hint    windrow run -- echo hello
    windrow job list --status all
    windrow agent list

To stop it (jobs are kept; start it again with \`windrow up\`):

    windrow down
END
if [ "$DOCKER_STARTED" = process ]; then
    cat <<END

The Docker engine was started, too, and runs on. To stop it:

    kill \$(cat $(printf %q "$WINDROW_TOOLS/dockerd.pid"))
END
fi
