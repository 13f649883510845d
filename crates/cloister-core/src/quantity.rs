//! Quantities as Kubernetes compares them: by value, not by how they are written.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_quantity::{ParseQuantityError, ParsedQuantity};

/// The quantity as a number of billionths, so that `1`, `1000m` and `1e0` are one text. What does not parse stays as it
/// is written.
pub fn canonical(quantity: &Quantity) -> String {
    billionths(quantity).map_or_else(|_| quantity.0.clone(), |value| value.to_string())
}

fn billionths(quantity: &Quantity) -> Result<ParsedQuantity, ParseQuantityError> {
    // A sum has the format and the finer scale of its left side.
    let zero: ParsedQuantity = Quantity("0n".into()).try_into()?;
    let value: ParsedQuantity = quantity.clone().try_into()?;
    Ok(zero + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(quantity: &str) -> String {
        canonical(&Quantity(quantity.into()))
    }

    #[test]
    fn one_value_has_one_text() {
        for same in [["1", "1000m"], ["0.5", "500m"], ["2Gi", "2048Mi"], ["1k", "1000"], ["1e3", "1k"], ["64", "64.0"]] {
            assert_eq!(text(same[0]), text(same[1]), "{same:?}");
        }
        assert_ne!(text("1G"), text("1Gi"));
        assert_ne!(text("1"), text("1m"));
    }
}
