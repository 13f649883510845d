//! The hash of a value: SHA-256 of its canonical JSON.

use crate::canonical_json;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The hash of a value: SHA-256 of its canonical JSON, in hexadecimal.
pub fn hash(value: &Value) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(canonical_json::json(value));
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}
