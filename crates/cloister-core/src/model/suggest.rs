//! Suggestions for a name that does not exist: "did you mean …?".

/// The name among these that is most similar to a word, if at most one letter in three differs, so that the word may be a
/// typing error. Of two that are equally similar, the first in alphabetical order.
pub fn closest<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let most = (word.chars().count() / 3).max(1);
    let alike = among.filter(|name| *name != word).filter_map(|name| {
        let distance = strsim::osa_distance(&lower, &name.to_lowercase());
        // A name with no letter in common is no suggestion.
        (distance <= most && distance < name.chars().count()).then_some((distance, name))
    });
    alike.min().map(|(_, name)| name)
}

/// The suggestion at the end of a sentence; empty if there is none.
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
