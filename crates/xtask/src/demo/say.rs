//! How the demo prints: in 100 columns, with colours only on a terminal.

use console::{Style, Term, measure_text_width, style};
use std::time::{Duration, Instant};

const WIDTH: usize = 100;

/// Where what was seen begins: after the time.
const INDENT: usize = 15;

/// Writes what the demo has to say to standard output, and counts what it has shown.
#[derive(Debug)]
pub struct Say {
    terminal: Term,
    began: Instant,
    checks: usize,
    chapters: usize,
}

impl Say {
    /// Begins with the title.
    pub fn begin(title: &str) -> Self {
        let terminal = Term::stdout();
        let say = Say { terminal, began: Instant::now(), checks: 0, chapters: 0 };
        say.line("");
        say.line(&style(title).bold().to_string());
        say.line("");
        say
    }

    /// Counts the time from here: what came before was done once, and is not done again.
    pub fn built(&mut self) {
        self.began = Instant::now();
    }

    /// How long it took since [`Say::built`].
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many things were shown to be so.
    pub fn checks(&self) -> usize {
        self.checks
    }

    /// Says that something takes its time, until [`Doing::done`] says what came of it.
    pub fn doing(&self, what: &str) -> Doing {
        if self.terminal.is_term() {
            self.line(&style(format!("  … {what}")).dim().to_string());
        }
        Doing { terminal: self.terminal.clone(), began: Instant::now() }
    }

    /// A new chapter, with a sentence on what it is about.
    pub fn chapter(&mut self, title: &str, about: &str) {
        self.chapters += 1;
        self.line("");
        let number = self.chapters;
        let rule = "─".repeat(WIDTH.saturating_sub(measure_text_width(title) + 5));
        self.line(&format!("{} {} {}", style(format!("{number} ")).bold(), style(title).bold(), style(rule).dim()));
        self.wrapped(2, "", about, &Style::new().dim());
    }

    /// Somebody does something, by applying a file of the examples where one is named.
    pub fn act(&self, who: &str, does: &str, file: Option<&str>) {
        self.line("");
        let left = format!("  {} {does}", style(who).cyan().bold());
        match file {
            Some(file) => self.beside(&left, file),
            None => self.line(&left),
        }
    }

    /// Another file of the examples, with what was just done.
    pub fn also(&self, file: &str) {
        self.beside("", file);
    }

    fn beside(&self, left: &str, file: &str) {
        let right = format!("examples/{file}");
        let gap = WIDTH.saturating_sub(measure_text_width(left) + right.len()).max(2);
        self.line(&format!("{left}{}{}", " ".repeat(gap), style(right).dim()));
    }

    /// Something was seen, so long after it was asked for.
    pub fn seen(&self, after: Duration, what: &str) {
        let time = style(format!("{:>9.3} s", after.as_secs_f64())).dim().to_string();
        self.wrapped(INDENT, &format!("  {time}"), what, &Style::new());
    }

    /// Something was seen, when nobody counts the time.
    pub fn note(&self, what: &str) {
        self.wrapped(INDENT, "", what, &Style::new());
    }

    /// Something was shown to be so.
    pub fn check(&mut self, what: &str) {
        self.checks += 1;
        self.wrapped(INDENT, &format!("{}{}", " ".repeat(INDENT - 2), style("✓").green()), what, &Style::new());
    }

    /// The cluster refused something, in its own words.
    pub fn refused(&mut self, what: &str, words: &str) {
        self.checks += 1;
        self.wrapped(INDENT, &format!("{}{}", " ".repeat(INDENT - 2), style("✗").red()), what, &Style::new());
        for line in wrap(words, WIDTH - INDENT - 2) {
            self.line(&format!("{}{} {}", " ".repeat(INDENT), style("│").red().dim(), style(line).dim()));
        }
    }

    /// Rows of columns, each as wide as its widest cell; the last one is wrapped.
    pub fn table(&self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| measure_text_width(cell)).max();
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default()).collect();
        for row in rows {
            let Some((last, cells)) = row.split_last() else { continue };
            let mut left = " ".repeat(INDENT);
            for (cell, width) in cells.iter().zip(&widths) {
                let painted = match cell.as_str() {
                    "Active" | "True" => style(cell).green(),
                    "Refused" | "False" => style(cell).red(),
                    "NeedsGrant" => style(cell).yellow(),
                    _ => style(cell),
                };
                left.push_str(&format!("{painted}{}", " ".repeat(width + 2 - measure_text_width(cell))));
            }
            let indent = measure_text_width(&left);
            self.wrapped(indent, &left, last, &Style::new().dim());
        }
    }

    /// A line as it is.
    pub fn line(&self, text: &str) {
        // Whoever closed the output does not read on.
        let _ = self.terminal.write_line(text);
    }

    /// Rewrites the last line on a terminal; says nothing elsewhere.
    pub fn tick(&self, text: &str) {
        if self.terminal.is_term() {
            let _ = self.terminal.clear_line();
            let _ = self.terminal.write_str(&style(format!("{}{text}", " ".repeat(INDENT))).dim().to_string());
        }
    }

    /// Takes away what [`Say::tick`] wrote.
    pub fn ticked(&self) {
        if self.terminal.is_term() {
            let _ = self.terminal.clear_line();
        }
    }

    /// Writes a text in lines that begin at `indent`; `left` stands before the first.
    fn wrapped(&self, indent: usize, left: &str, text: &str, paint: &Style) {
        for (at, line) in wrap(text, WIDTH.saturating_sub(indent).max(30)).iter().enumerate() {
            let before = if at == 0 { left } else { "" };
            let gap = " ".repeat(indent.saturating_sub(measure_text_width(before)));
            self.line(format!("{before}{gap}{}", paint.apply_to(line)).trim_end());
        }
    }
}

/// Something that takes its time.
#[derive(Debug)]
pub struct Doing {
    terminal: Term,
    began: Instant,
}

impl Doing {
    /// Says what came of it, and how long it took.
    pub fn done(self, what: &str) {
        if self.terminal.is_term() {
            let _ = self.terminal.clear_last_lines(1);
        }
        let took = format!("{:.1} s", self.began.elapsed().as_secs_f64());
        let left = format!("  {} {what}", style("✓").green());
        let gap = WIDTH.saturating_sub(measure_text_width(&left) + took.len()).max(2);
        let _ = self.terminal.write_line(&format!("{left}{}{}", " ".repeat(gap), style(took).dim()));
    }
}

/// Breaks a text between words. A word that is too long stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            last.push_str(word);
        } else if measure_text_width(last) + 1 + measure_text_width(word) <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a-word-that-is-too-long b", 4), ["a-word-that-is-too-long", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
