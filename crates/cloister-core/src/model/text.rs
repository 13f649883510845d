//! Texts that people write and other people read: which characters are visible, and how a text is shown safely.

use std::{
    borrow::Cow,
    fmt::{Display, Write},
};

/// Characters that are invisible, or change how others look (Unicode's general category Cf, and its property
/// Default_Ignorable_Code_Point). The tests compare them with Unicode's own tables.
const INVISIBLE: [(char, char); 29] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    // Blank, although Unicode classifies them as symbols: an empty Braille cell, the blank of a musical score, the ideographic
    // half-fill space, and the blank symbol of Khitan.
    ('\u{2800}', '\u{2800}'),
    ('\u{1d159}', '\u{1d159}'),
    ('\u{303f}', '\u{303f}'),
    ('\u{16fe4}', '\u{16fe4}'),
];

fn is_invisible(one: char) -> bool {
    !one.is_ascii() && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&one))
}

fn is_blank(one: char) -> bool {
    one.is_whitespace() || one.is_control() || is_invisible(one)
}

/// A text without the white space and invisible characters around it; `None` if nothing visible is left.
pub fn written(text: &str) -> Option<&str> {
    let text = text.trim_matches(is_blank);
    (!text.is_empty()).then_some(text)
}

/// A text as it is safe to show in a condition, an Event or a log: in one line, without characters that move the cursor,
/// change the direction of the text, or hide something. Those are escaped, as in `\u{202e}`.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_safe = |one: char| !one.is_control() && !is_line_end(one) && !is_deceptive(one);
    if text.chars().all(is_safe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\n' | '\t' => shown.push(' '),
            one if is_safe(one) => shown.push(one),
            one => shown.extend(one.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// A number with the singular or plural of what it counts.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

fn is_line_end(one: char) -> bool {
    matches!(one, '\u{2028}' | '\u{2029}')
}

/// Whether a character is invisible, and no script or symbol needs it.
fn is_deceptive(one: char) -> bool {
    is_invisible(one)
        && !matches!(one, '\u{fe00}'..='\u{fe0f}' | '\u{34f}' | '\u{2800}' | '\u{303f}' | '\u{1d159}' | '\u{16fe4}')
}

/// The first items, and how many more there are.
pub fn first_of<T: Display>(items: impl IntoIterator<Item = T>, most: usize, between: &str) -> String {
    let mut items = items.into_iter();
    let mut first = String::new();
    for (at, item) in items.by_ref().take(most).enumerate() {
        let between = if at == 0 { "" } else { between };
        write!(first, "{between}{item}").unwrap_or_default();
    }
    // With another separator than a comma, items may contain "and", so the end of the last item must be marked.
    let before = if between == ", " { " and" } else { "; and" };
    match items.count() {
        0 => first,
        more => format!("{first}{before} {more} more"),
    }
}

/// The end of a sentence: how many others are not named, and where to find them.
pub fn others(more: usize, what: &str, place: &str) -> String {
    let what = if what.is_empty() { String::new() } else { format!(" {what}{}", if more == 1 { "" } else { "s" }) };
    if more == 0 { String::new() } else { format!(" (and {more} more{what}, see {place})") }
}

/// The first eight items, and how many more there are.
pub(crate) fn first_few<T: Display>(items: impl ExactSizeIterator<Item = T>) -> String {
    const FEW: usize = 8;
    first_of(items, FEW, ", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn everything() -> impl Iterator<Item = char> {
        ('\0'..=char::MAX).filter(|one| *one as u32 <= 0x0010_ffff)
    }

    #[test]
    fn what_unicode_calls_invisible_is_invisible() {
        let invisible = regex::Regex::new(r"^[\p{Cf}\p{Default_Ignorable_Code_Point}]$").unwrap();
        let mut buffer = [0; 4];
        for one in everything() {
            let text: &str = one.encode_utf8(&mut buffer);
            assert!(!invisible.is_match(text) || is_invisible(one), "U+{:04X}", one as u32);
        }
    }

    #[test]
    fn one_is_one() {
        let people = [0, 1, 2].map(|count| counted(count, "person", "people"));
        assert_eq!(people, ["0 people", "1 person", "2 people"]);
    }

    #[test]
    fn a_text_that_shows_nothing_is_no_text() {
        for blank in
            ["", " ", "\t\n\r", "\u{200b}", "\u{a0}\u{3000}", "\u{feff}\u{2060}", "\u{3164}", "\u{2800} \u{202e}"]
        {
            assert_eq!(written(blank), None, "{blank:?}");
        }
        assert_eq!(written("\u{200b} SEC-1\u{a0}\n"), Some("SEC-1"));
        assert_eq!(written("a b"), Some("a b"));
    }

    #[test]
    fn what_is_shown_moves_nothing_and_hides_nothing() {
        assert_eq!(shown("all is well, é, 日本, ⚠\u{fe0f}"), "all is well, é, 日本, ⚠\u{fe0f}");
        assert_eq!(
            shown("routine\u{1b}[1A\rfor 10m\u{202e}\u{7}\nnext\tone"),
            "routine\\u{1b}[1A\\u{d}for 10m\\u{202e}\\u{7} next one"
        );
        assert_eq!(shown("a\u{2028}b\u{e0041}"), "a\\u{2028}b\\u{e0041}");
    }

    proptest! {
        #[test]
        fn every_text_is_shown_in_one_safe_line(text in any::<String>()) {
            let unsafe_in_a_line = regex::Regex::new(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]").unwrap();
            let line = shown(&text);
            prop_assert!(!unsafe_in_a_line.is_match(&line));
            prop_assert_eq!(shown(&line), line.clone());
            // What is trimmed was blank, and what is left begins and ends with something to be seen.
            if let Some(written) = written(&text) {
                prop_assert!(text.contains(written));
                prop_assert!(!written.starts_with(is_blank) && !written.ends_with(is_blank));
            } else {
                prop_assert!(text.chars().all(is_blank));
            }
        }
    }
}
