//! Other people's tools, as programs: what they print.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};
use xtask::cluster::build_tools;

/// What a program printed, and whether it succeeded.
#[derive(Debug)]
pub struct Printed {
    /// Whether its exit code is 0.
    pub success: bool,
    /// What it wrote, to standard output and then to standard error.
    pub text: String,
}

/// What kstatus says of an object.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The status, such as `InProgress`.
    pub status: String,
    /// Why.
    pub message: String,
}

/// Runs the program that asks other people's tools.
///
/// # Errors
///
/// It cannot be built, or run.
pub fn tool(arguments: &[&str], input: &str) -> Result<Printed> {
    let mut command = Command::new(build_tools()?);
    command.args(arguments);
    run(command, input)
}

/// What kstatus says of the objects of a list, as JSON.
///
/// # Errors
///
/// It cannot read one of them.
pub fn kstatus(list: &str) -> Result<Vec<Seen>> {
    let printed = tool(&["kstatus"], list)?;
    ensure!(printed.success, "{}", printed.text);
    lines(&printed.text)
}

/// That a grant is in a phase, and that who waits for it by kstatus takes it for this.
///
/// # Errors
///
/// It is in another, or is taken for something else.
pub fn is_taken_for(grant: &Value, phase: &str, status: &str) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [grant]});
    let seen = kstatus(&list.to_string())?;
    let said = &grant["status"];
    ensure!(said["phase"] == phase && seen[0].status == status, "{seen:?}: {said}");
    Ok(())
}

/// Lines of JSON.
///
/// # Errors
///
/// One of them is none of this type.
pub fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Vec<T>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Runs a program with this on its standard input.
///
/// # Errors
///
/// It cannot be run.
pub fn run(mut command: Command, input: &str) -> Result<Printed> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("it has no standard input")?;
    let input = input.to_owned();
    // It may print before it has read everything; one that does not read ends the pipe, which is no fault.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(Printed { success: output.status.success(), text })
}
