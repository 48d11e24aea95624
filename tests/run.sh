#!/usr/bin/env bash
# Everything that CI checks, on Debian 12, from nothing installed:
#
#     tests/run.sh [STAGE...]
#
# STAGE is one or more of: format clippy shell unit build e2e chaos python compat sim; `lint` is the first three.
# Without one, all run. Every stage runs even when one before it failed; the summary at the end
# names those that did. Servers are started on free ports and stopped again.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=deploy/lib.sh
. "$root/deploy/lib.sh"
# shellcheck source=tests/lib/stages.sh
. "$root/tests/lib/stages.sh"
cd "$root" || exit 1

stages=()
add_stages() {
    local stage
    for stage in "$@"; do
        [[ " ${stages[*]} " == *" $stage "* ]] || stages+=("$stage")
    done
}
[ $# -gt 0 ] || set -- lint unit sim e2e chaos python compat
for argument in "$@"; do
    case $argument in
    lint) add_stages format clippy shell ;;
    format | clippy | shell | unit | build | sim) add_stages "$argument" ;;
    # These run the programs, so they need them built.
    e2e | chaos | python | compat) add_stages build "$argument" ;;
    *)
        sed -n 's/^#     /usage: /p' "$0" >&2
        exit 2
        ;;
    esac
done

trap stop_docker EXIT
trap 'exit 130' INT TERM

prepare_tools "${stages[@]}" || exit 1
for stage in "${stages[@]}"; do
    run_stage "$stage"
done
summary
