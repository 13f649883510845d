# The same as in .ci/run, one by one. `just` lists them.

_list:
    @just --list --unsorted

# Show what Cloister does, in a cluster of its own
demo *args:
    cargo demo {{args}}

# Everything that must hold before a change is taken
ci:
    .ci/run

# Format Rust and Go
fmt:
    cargo fmt --all
    gofmt -w tests/cluster

# Is it formatted, and does it lint?
lint:
    cargo fmt --all --check
    test -z "$(gofmt -l tests/cluster)"
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
    cd tests/cluster && CGO_ENABLED=0 go vet ./...

# All tests, the end-to-end ones included; `just test chaos` runs those of one test program
test *names:
    cargo xtask test {{names}}

# Write what is generated: crds/ and docs/reference.md
generate:
    cargo xtask crds
    cargo xtask docs

# Is what is generated current?
check-generated:
    cargo xtask crds --check
    cargo xtask docs --check

# A Kubernetes control plane on this machine, until `just down`
up:
    cargo xtask cluster up --detach

# End it
down:
    cargo xtask cluster down
