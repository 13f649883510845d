//! Durations and times.

use super::rule::{looks_like_or, matches, rule};
use kube::core::{Message, Reason, Rule};
use schemars::{Schema, SchemaGenerator, json_schema};

/// What a duration looks like, with so few digits that it can be computed with.
pub const DURATION: &str =
    r"^([0-9]{1,5}(\.[0-9]+)?h|[0-9]{1,7}(\.[0-9]+)?m|[0-9]{1,9}(\.[0-9]+)?s|[0-9]{1,12}(\.[0-9]+)?ms)+$";

const AT_MOST: &str = "must be at most 8760h (one year)";

/// How long: a metav1.Duration like `4h` or `90m`, more than nothing and at most a year.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    let faults = [(r"self.matches(r'^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$')", AT_MOST)];
    let otherwise = "must be a duration such as 30s, 90m, 4h or 1h30m: numbers with the units h, m, s and ms, without spaces; a \
         day is 24h";
    let written = matches(DURATION);
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [
            looks_like_or(DURATION, &faults, otherwise),
            rule(format!("!{written} || duration(self) >= duration('1s')"), "must be at least 1s"),
            rule(format!("!{written} || duration(self) <= duration('8760h')"), AT_MOST),
        ],
    })
}

/// That one duration of an object is no longer than another. One that is malformed has its own sentence.
pub fn no_longer(shorter: &str, longer: &str) -> Rule {
    let (short, long) = (format!("self.{shorter}"), format!("self.{longer}"));
    let malformed = |field: &str| format!("!{field}.matches(r'{DURATION}')");
    Rule::new(format!(
        "!has({short}) || {} || {} || duration({short}) <= duration({long})",
        malformed(&short),
        malformed(&long)
    ))
    .message(Message::Message(format!("{shorter} must not exceed {longer}")))
    .reason(Reason::FieldValueInvalid)
}

/// What a time looks like (RFC 3339), of a year that every program can compute with.
pub const TIME: &str = r"^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-8][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";

/// A time. It has no `format`, which would answer with its own name.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    let faults = [
        (
            r"self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}$')",
            "is a date without a time; add one, such as 2026-07-01T18:00:00Z",
        ),
        (
            r"self.matches('^[0-9-]{10}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2})?([.][0-9]+)?$')",
            "has no zone; write 2026-07-01T18:00:00Z, or 2026-07-01T18:00:00+02:00",
        ),
        ("self.matches('^(9|[0-9]{5})')", "must be before the year 9000; where there is no end, leave it out"),
    ];
    let otherwise = "must be a time with its date and zone (RFC 3339), such as 2026-07-01T18:00:00Z";
    // Not by `format.date()`, which tools that check manifests without an API server do not know.
    let year = "int(self.substring(0, 4))";
    let leap = format!("{year} % 4 == 0 && ({year} % 100 != 0 || {year} % 400 == 0)");
    let calendar = format!(
        "!self.matches('^....-(0[469]|11)-31') && !self.matches('^....-02-3') && (!self.matches('^....-02-29') || {leap})"
    );
    json_schema!({
        "type": "string", "maxLength": 40,
        "x-kubernetes-validations": [
            looks_like_or(TIME, &faults, otherwise),
            rule(format!("!{} || ({calendar})", matches(TIME)), "names a day that does not exist, such as 30 February"),
        ],
    })
}
