# The loops of development. `just` lists them. `just ci` is what .ci/run does, in one go.

_list:
    @just --list --unsorted

# Show what Cloister does, in a cluster of its own; `just demo --keep` leaves it running
demo *args:
    cargo demo {{args}}

# Everything that must hold before a change is taken
ci:
    .ci/run

# All tests, or those of the test programs that are named: `just test chaos`
test *programs:
    cargo xtask test {{programs}}

# One test, or all whose names contain the text: `just test-one a_grant_opens`
test-one name *args:
    cargo test --workspace {{name}} {{args}}

# One test of a program whose name is known, which builds less: `just test-in operator a_grant_opens`
test-in program name='' *args:
    cargo test --workspace --test {{program}} {{name}} {{args}}

# One attack, or all whose names contain the text, with how many were tried: `just attack nobody_approves`
attack name='' *args:
    cargo test --workspace --test attacks {{name}} -- --nocapture {{args}}

# The faults, with a line for each, or those whose names contain the text
chaos name='' *args:
    cargo test --workspace --test chaos {{name}} -- --nocapture {{args}}

# Benchmarks beside a raw loop, by their letters (a to n): `just bench b`, `just bench c,d --scale 0.2`
bench letters *args:
    cargo xtask bench --only {{letters}} {{args}}

# One benchmark of the core, without a cluster: `just bench-core plan` or `just bench-core evaluator`
bench-core name='plan' *args:
    cargo bench -p cloister-core --bench {{name}} {{args}}

# Format Rust and Go
fmt:
    cargo fmt --all
    gofmt -w tests/cluster

# Clippy, with warnings as errors
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# Format, clippy, documentation of the code and go vet, without tests
lint: clippy
    cargo fmt --all --check
    test -z "$(gofmt -l tests/cluster)"
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
    for module in . coredns plugins tools validate; do (cd tests/cluster/$module && CGO_ENABLED=0 go vet -trimpath ./...) || exit 1; done

# Run the commands and check the manifests, links and reasons of the documentation
docs:
    cargo xtask docs --check
    cargo xtask test docs

# The same without a cluster: links, reasons and the reference
docs-quick:
    cargo test --workspace --test docs -- --skip manifests_are_accepted

# Write what is generated: crds/ and docs/reference.md
generate:
    cargo xtask crds
    cargo xtask docs

# Is what is generated current?
check-generated:
    cargo xtask crds --check
    cargo xtask docs --check

# Prove that the chain of an audit record holds
audit-verify file:
    cargo xtask audit verify {{file}}

# A Kubernetes control plane on this machine, until `just down`
up:
    cargo xtask cluster up --detach

# End it
down:
    cargo xtask cluster down
