//! Cargo, run by a program that Cargo runs.

use std::{
    env,
    io::{IsTerminal, stderr},
    process::Command,
};

/// What Cargo tells a program, or a test, of the package that it belongs to.
const OF_THE_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Cargo, as somebody starts it from a shell.
pub fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    as_from_a_shell(&mut command);
    command
}

/// `--quiet`, unless somebody looks on: a build takes minutes the first time, and Cargo shows how far it is.
pub fn quiet() -> Option<&'static str> {
    (!stderr().is_terminal()).then_some("--quiet")
}

/// Takes from a command what Cargo told this program of its package: some build scripts, such as ring's, look at it, and all
/// that is built on them would be built again and again, once for who calls Cargo here and once for who calls it from a
/// shell.
pub fn as_from_a_shell(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| OF_THE_PACKAGE.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
}
