//! The hash of a value: SHA-256 of its canonical JSON.

use super::canonical_json;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The hash of a value: SHA-256 of its canonical JSON, in hexadecimal.
pub fn hash(value: &Value) -> String {
    hexadecimal(&canonical_json::json(value))
}

/// The hash of an object with these fields.
pub fn hash_of_fields(fields: &BTreeMap<&str, &Value>) -> String {
    hexadecimal(&canonical_json::object(fields))
}

fn hexadecimal(content: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(content);
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}
