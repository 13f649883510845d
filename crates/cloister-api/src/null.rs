//! `null` is as good as absent. The API server stores it where a field may be null, which every optional field may.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// What is absent where the field is null.
///
/// # Errors
///
/// It is something else, and not what the field takes.
pub(crate) fn absent<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A map without the keys whose values are null.
///
/// # Errors
///
/// One of them is something else, and no text.
pub(crate) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map: Option<BTreeMap<String, Option<String>>> = Option::deserialize(from)?;
    Ok(map.into_iter().flatten().filter_map(|(key, value)| Some((key, value?))).collect())
}
