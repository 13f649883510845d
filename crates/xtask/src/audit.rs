//! `cargo xtask audit verify FILE`: proves that nothing was changed in an audit record, taken out of it or put into it.

use anyhow::{Context, Result, ensure};
use cloister_core::audit::Proof;
use std::{
    fs::File,
    io::{BufRead, BufReader, stdin},
    path::PathBuf,
};

/// What to do with an audit record.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prove that the chain holds, or name the first record that is broken
    Verify {
        /// The record; - is standard input
        file: PathBuf,
    },
}

/// Does it.
///
/// # Errors
///
/// The file cannot be read, or its chain is broken.
pub fn run(args: &Args) -> Result<()> {
    let Command::Verify { file } = &args.command;
    let name = file.display();
    let reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(BufReader::new(stdin()))
    } else {
        Box::new(BufReader::new(File::open(file).with_context(|| format!("cannot open {name}"))?))
    };
    let mut proof = Proof::default();
    for line in reader.lines() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        proof.take(&line).with_context(|| format!("{name} does not hold"))?;
    }
    let Proof { records, chains, head, resumed } = proof;
    ensure!(
        records > 0,
        "{name} holds no record: nothing is proved; see whether it is the file that the operator writes"
    );
    for (line, why) in resumed {
        println!("line {line}: a new chain begins, because {why}");
    }
    println!(
        "{records} records in {chains} {} hold; the last hash is {}",
        if chains == 1 { "chain" } else { "chains" },
        head.hash
    );
    Ok(())
}
