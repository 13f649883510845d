//! Cyclonus, asked by lines of JSON.

use crate::cases::Case;
use anyhow::{Context, Result, ensure};
use std::{
    io::{BufWriter, Write},
    process::{Command, Stdio},
};

pub struct Cyclonus;

impl Cyclonus {
    /// For each case and each of its flows: whether it may leave, and whether it may enter.
    pub fn ask_all(cases: &[Case]) -> Result<Vec<Vec<(bool, bool)>>> {
        let mut cyclonus = Command::new(xtask::cluster::build_cyclonus()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run Cyclonus")?;
        let mut input = BufWriter::new(cyclonus.stdin.take().context("it has no standard input")?);
        let output = std::thread::scope(|scope| -> Result<_> {
            let written = scope.spawn(move || -> Result<()> {
                for case in cases {
                    serde_json::to_writer(&mut input, case)?;
                    input.write_all(b"\n")?;
                }
                Ok(input.flush()?)
            });
            let output = cyclonus.wait_with_output()?;
            written.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            Ok(output)
        })?;
        ensure!(output.status.success(), "Cyclonus ended with {}", output.status);
        let answers = String::from_utf8(output.stdout)?;
        let answers: Vec<_> = answers.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(answers.len() == cases.len(), "Cyclonus answered {} of {} cases", answers.len(), cases.len());
        Ok(answers)
    }
}
