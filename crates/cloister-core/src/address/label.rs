//! The syntax of labels and of names, as the API server checks it.

use super::selector_fault::SelectorFault;

/// A label's key: a name, after an optional DNS subdomain and a slash.
pub(super) fn check_key(key: &str) -> Result<(), SelectorFault> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_right = prefix.is_none_or(is_dns_subdomain);
    if prefix_is_right && is_name(name) {
        Ok(())
    } else {
        Err(SelectorFault(format!("{key:?} is not the key of a label")))
    }
}

pub(super) fn check_value(value: &str) -> Result<(), SelectorFault> {
    if value.is_empty() || is_name(value) {
        Ok(())
    } else {
        Err(SelectorFault(format!("{value:?} is not the value of a label")))
    }
}

/// Up to 63 letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |end: Option<&u8>| end.is_some_and(u8::is_ascii_alphanumeric);
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inside)
}

/// Up to 253 characters: DNS labels with dots between them. Many objects, such as ServiceAccounts, have such a name.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Lower-case letters, digits and `-`, with a letter or a digit at both ends.
fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: &u8| alphanumeric(byte) || *byte == b'-';
    bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric) && bytes.iter().all(inside)
}
