//! Quantities as Kubernetes compares them: by value, not by how they are written.
//!
//! The published crate for this multiplies by floating-point powers, so that `2Gi` and `2048Mi` come out different; this
//! is exact.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The quantity as a whole number of billionths, rounded up as Kubernetes does, so that `1`, `1000m` and `1e0` become the
/// same text. A quantity that does not parse, or needs more than 38 digits, stays as it is.
pub fn canonical(quantity: &Quantity) -> String {
    billionths(quantity.0.trim()).map_or_else(|| quantity.0.clone(), |value| format!("{value}n"))
}

fn billionths(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (binary, decimal) = multiplier(suffix)?;
    let exponent = decimal + 9 - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(1_u128.checked_shl(binary)?)?;
    match u32::try_from(exponent) {
        Ok(exponent) => scaled.checked_mul(10_u128.checked_pow(exponent)?),
        Err(_) => Some(scaled.div_ceil(10_u128.checked_pow(exponent.unsigned_abs())?)),
    }
}

/// The multiplier of a suffix: an exponent of two, and an exponent of ten.
fn multiplier(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|exponent: &i32| exponent.abs() <= 64)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(quantity: &str) -> String {
        canonical(&Quantity(quantity.into()))
    }

    #[test]
    fn one_value_has_one_text() {
        for same in [
            ["1", "1000m"],
            ["0.5", "500m"],
            ["2Gi", "2048Mi"],
            ["1k", "1000"],
            ["1e3", "1k"],
            ["64", "64.0"],
            ["1.5Gi", "1536Mi"],
            ["+7", "7"],
            ["1E", "1e18"],
            ["0.0000000001", "1n"],
        ] {
            assert_eq!(text(same[0]), text(same[1]), "{same:?}");
        }
        for other in [["1G", "1Gi"], ["1", "1m"], ["1E2", "1E"], ["1Ki", "1k"]] {
            assert_ne!(text(other[0]), text(other[1]), "{other:?}");
        }
    }

    #[test]
    fn what_does_not_parse_stays() {
        for odd in ["", ".", "abc", "1Zi", "99999999999999999999999999999999999999999Ei", "1e999999"] {
            assert_eq!(text(odd), odd);
        }
    }
}
