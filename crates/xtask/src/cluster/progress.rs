//! Says how far a build is: a bar on a terminal, a line now and then elsewhere.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::{Error, Result};

const EVERY: Duration = Duration::from_secs(20);
const LAST_WORDS: usize = 30;

pub(super) struct Progress {
    began: Instant,
    told: Instant,
    phase: &'static str,
    done: u64,
    total: u64,
    /// On a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A line on standard error. Not by `eprintln!`, which a test swallows.
    pub(super) fn say(text: &str) {
        let _ = writeln!(std::io::stderr(), "cluster: {text}");
    }

    pub(super) fn start(text: &str) -> Self {
        Self::say(text);
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        Self { began: now, told: now, phase: "", done: 0, total: 0, bar }
    }

    pub(super) fn phase(&mut self, phase: &'static str) {
        self.phase = phase;
        self.done = 0;
        self.tell("");
    }

    pub(super) fn total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            let template = "{spinner} {elapsed} [{wide_bar}] {pos}/{len} {msg}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
    }

    /// Runs a command, counts the lines that it prints and shows the last one. Returns their number.
    pub(super) fn run(&mut self, command: &mut Command) -> Result<u64> {
        let failed = |command: &Command, output: String| {
            let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
            let command = format!("{} {}", command.get_program().to_string_lossy(), arguments.join(" "));
            Error::Build { command, output }
        };
        // Both streams into one pipe: `go list` lists on the first, `go build -v` on the second.
        let (reader, writer) = std::io::pipe().map_err(|e| failed(command, e.to_string()))?;
        let second = writer.try_clone().map_err(|e| failed(command, e.to_string()))?;
        command.stdout(Stdio::from(writer)).stderr(Stdio::from(second));
        let mut child = command.spawn().map_err(|e| failed(command, e.to_string()))?;
        // The command keeps its copies of the pipe's end, which would never end otherwise.
        command.stdout(Stdio::null()).stderr(Stdio::null());

        let mut lines = 0;
        let mut last_words = std::collections::VecDeque::new();
        for line in BufReader::new(reader).lines().map_while(|line| line.ok()) {
            if !line.starts_with("go: ") {
                lines += 1;
            }
            self.done = lines;
            self.show(&line);
            last_words.push_back(line);
            if last_words.len() > LAST_WORDS {
                last_words.pop_front();
            }
        }
        let status = child.wait().map_err(|e| failed(command, e.to_string()))?;
        if !status.success() {
            return Err(failed(command, Vec::from(last_words).join("\n")));
        }
        Ok(lines)
    }

    fn show(&mut self, line: &str) {
        if let Some(bar) = &self.bar {
            if self.total > 0 {
                bar.set_position(self.done);
            }
            bar.set_message(line.to_owned());
        } else if self.told.elapsed() >= EVERY {
            self.tell(line);
        }
    }

    fn tell(&mut self, line: &str) {
        self.told = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_message(self.phase);
            return;
        }
        let elapsed = self.began.elapsed().as_secs();
        let mut text = format!("{}:{:02} {}", elapsed / 60, elapsed % 60, self.phase);
        if self.total > 0 && self.done > 0 {
            text += &format!(", {} of at most {} packages: {line}", self.done, self.total);
        }
        Self::say(&text);
    }

    pub(super) fn finish(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        Self::say(&format!("{text} in {}", HumanDuration(self.began.elapsed())));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
