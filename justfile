# What CI runs is what a developer runs: the recipes call the same scripts.

# Lists the recipes.
default:
    @just --list

# Everything CI checks.
ci:
    tests/run.sh

# Format, clippy and shellcheck.
lint:
    tests/run.sh lint

# Unit and integration tests of the crates.
test:
    tests/run.sh unit

# End-to-end tests with real servers and processes, and the Python client.
e2e:
    tests/run.sh e2e python

# Rewrites the sources in the project's format.
format:
    cargo fmt --all

# A cluster on this machine and the example on it.
up:
    deploy/quickstart.sh
