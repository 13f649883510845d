//! What somebody meant who named something that is not there.

/// The name among these that is the most like a word, where one is so much like it that the word may be a slip: at most one
/// letter in three differs. Of two that are equally like it, the first in the alphabet.
pub fn closest<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let most = (word.chars().count() / 3).max(1);
    let alike = among.filter(|name| *name != word).filter_map(|name| {
        let distance = strsim::osa_distance(&lower, &name.to_lowercase());
        // A name of which nothing is left is not meant.
        (distance <= most && distance < name.chars().count()).then_some((distance, name))
    });
    alike.min().map(|(_, name)| name)
}

/// What is added to a sentence that says that there is no such name: nothing where no other is like it.
pub fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["frontier-weights", "package-mirror", "eval-data", "eval-date", "a"];

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        for (word, meant) in [
            ("frontier-weigths", "frontier-weights"),
            ("frontier_weights", "frontier-weights"),
            ("Package-Mirror", "package-mirror"),
            ("package-miror", "package-mirror"),
            // Equally far from two: the first in the alphabet, in whatever order they come.
            ("eval-dat", "eval-data"),
        ] {
            assert_eq!(closest(word, NAMES.into_iter()), Some(meant), "{word}");
            assert_eq!(closest(word, NAMES.into_iter().rev()), Some(meant), "{word}");
        }
        assert_eq!(did_you_mean(closest("package-miror", NAMES.into_iter())), " (did you mean package-mirror?)");
    }

    #[test]
    fn another_word_finds_nothing() {
        for word in ["", "b", "weights", "datasets", "frontier", "package-mirror-of-another-team"] {
            assert_eq!(closest(word, NAMES.into_iter()), None, "{word}");
        }
        // A name that is there is not misspelt.
        assert_eq!(closest("a", NAMES.into_iter()), None);
        assert_eq!(did_you_mean(closest("datasets", NAMES.into_iter())), "");
    }
}
