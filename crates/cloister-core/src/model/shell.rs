//! Commands in messages. People paste them into a shell, so every word is quoted where the shell needs it.

/// A command line of these words.
pub fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A word for a shell, quoted if necessary.
fn word(word: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_./:=,@%+".contains(one);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn a_plain_word_stays_as_it_is() {
        let words = ["kubectl", "annotate", "cloister.dev/storage-resources=a,b-1", "-n", "x"];
        assert_eq!(command(words), words.join(" "));
        assert_eq!(command(["a b", "it's", ""]), r"'a b' 'it'\''s' ''");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_the_words_that_were_meant(words in prop::collection::vec("[a-z;#$`'\"\\\\ *~!&|<>(){}\n-]{0,8}", 1..4)) {
            let line = command(["printf", r"%s\0"].into_iter().chain(words.iter().map(String::as_str)));
            let read = Command::new("sh").arg("-c").arg(&line).output().unwrap();
            prop_assert_eq!(String::from_utf8(read.stdout).unwrap(), words.iter().map(|word| format!("{word}\0")).collect::<String>());
        }
    }

    /// Whoever writes a command into a message with a value in it writes it with [`command`].
    #[test]
    fn no_message_writes_a_value_into_a_command_by_itself() {
        let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let in_comment =
                    |at: usize| text[..at].rsplit('\n').next().unwrap_or_default().trim_start().starts_with("//");
                for (at, _) in text.match_indices(concat!("kube", "ctl ")).filter(|(at, _)| !in_comment(*at)) {
                    // To the end of the literal, or of the command in backquotes.
                    let rest = &text[at..];
                    let end = rest.find(['"', '`']).unwrap_or(rest.len());
                    // What is not from an object is named here.
                    if rest[..end].replace("get {list}", "").replace("-n {namespace}", "").contains('{') {
                        found.push(format!("{}: {}", path.display(), &rest[..end]));
                    }
                }
            }
        }
        assert_eq!(found, Vec::<String>::new());
    }
}
