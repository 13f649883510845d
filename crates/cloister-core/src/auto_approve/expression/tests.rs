use super::*;
use proptest::prelude::*;
use serde_json::json;

fn request() -> serde_json::Value {
    json!({
        "namespace": "interp",
        "role": "reader",
        "requestedDuration": "4h",
        "ticketRef": "SEC-114",
        "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
        "rule": {"ports": [{"port": 443}, {"port": 8000, "endPort": 8010}]},
        "requestedBy": {"username": "alice", "uid": "u1", "groups": ["researchers", "staff"], "personKey": ""},
    })
}

fn verdict(expression: &str) -> Evaluation {
    approves(&[expression.to_owned()], &request())
}

fn is_true(expression: &str) -> bool {
    matches!(verdict(expression), Evaluation::Approved { .. })
}

fn errors(expression: &str) -> Vec<String> {
    match verdict(expression) {
        Evaluation::NotApproved { errors } => errors,
        approved => panic!("{expression}: {approved:?}"),
    }
}

#[test]
fn durations_groups_and_fields() {
    for expression in [
        "duration(request.requestedDuration) <= duration('4h')",
        "duration(request.requestedDuration) == duration('3h59m60s')",
        "'researchers' in request.requestedBy.groups",
        "request.requestedBy.groups.exists(group, group.startsWith('res'))",
        "request.requestedBy.groups.exists_one(group, group == 'staff')",
        "request.subjects.all(subject, subject.kind == 'ServiceAccount' && subject.name in ['trainer'])",
        "request.subjects.map(subject, subject.name) == ['trainer']",
        "request.requestedBy.groups.filter(group, group != 'staff').size() == 1",
        "has(request.ticketRef) && request.ticketRef.startsWith('SEC-')",
        "!has(request.breakGlass)",
        "request.?breakGlass.orValue(false) == false",
        "request.namespace + '/' + request.role == 'interp/reader'",
        "request.?sensitivity.orValue('') in ['', 'Low', 'Critical']",
        "!has(request.kind) || request.kind != 'RoleGrant'",
        "duration(request.requestedDuration) <= duration('24h') && duration('1h') < duration('2h')",
        "1 + request.rule.ports[0].port == 444 && request.rule.ports[0].port in [443]",
        "request.rule.ports.filter(port, has(port.endPort) && port.endPort - port.port > 8).size() == 1",
    ] {
        assert!(is_true(expression), "{expression}: {:?}", verdict(expression));
        assert_eq!(check(&[expression.to_owned()]), [""; 0], "{expression}");
    }
    for expression in
        ["duration(request.requestedDuration) < duration('4h')", "'security' in request.requestedBy.groups", "false"]
    {
        assert_eq!(errors(expression), [""; 0], "{expression}");
    }
}

#[test]
fn what_fails_is_false() {
    for expression in [
        "request.mount.mountPath == '/mnt'",
        "duration(request.role) <= duration('4h')",
        "1 / (request.rule.ports[0].port - 443) == 1",
        "request.subjects[5].name == 'a'",
    ] {
        assert_eq!(errors(expression).len(), 1, "{expression}");
        assert_eq!(check(&[expression.to_owned()]), [""; 0], "{expression}: only its value shows it");
    }
}

#[test]
fn what_can_never_be_true_is_found_where_it_stands() {
    for (expression, place, problem) in [
        ("request.requestedDuraton == '1h'", "column 8", "request has no field requestedDuraton; it has breakGlass, "),
        ("request.rule.network == []", "column 13", "rule has no field network; it has domainNames, "),
        ("true && has(request.tickets)", "column 12", "no field tickets"),
        ("request['tickets'] == ''", "column 8", "no field tickets"),
        ("request.?tickets.orValue('') == ''", "column 8", "no field tickets"),
        ("request.requestedBy.groups.exists(g, g.name == 'a')", "column 39", "string has no field name"),
        ("request.subjects.all(s, s.kind == 'User' && s.nam == 'a')", "column 46", "subjects has no field nam"),
        ("duration(request.missing) <= duration('4h')", "column 17", "no field missing"),
        (
            "request.requestedDuration <= duration('4h')",
            "column 27",
            "<= does not go with values of types string, duration",
        ),
        ("request.requestedDuration == 4", "column 27", "string, int are never equal"),
        ("request.mount == null", "column 15", "never equal"),
        ("4 in request.requestedBy.groups", "column 3", "in does not go with values of types int, list of string"),
        ("request.rule.startsWith('a')", "column 24", "startsWith does not take object (rule), string"),
        ("request.role.size() > 'a'", "column 21", "int, string"),
        ("!request.role", "column 9", "is of type string, not bool"),
        ("true || request.role", "column 16", "is of type string, not bool"),
        ("request.namespace", "column 8", "its value is of type string, not bool"),
        ("true ? 1 : 2", "column", "its value is of type int, not bool"),
        ("true &&\n  request.rol == 'a'", "line 2, column 10", "no field rol"),
        ("'é' != '' && request.rol == 'a'", "column ", "no field rol"),
        (
            "request.sensitivity == 'low'",
            "column 24",
            "'low' (did you mean Low?), but is one of Low, Moderate, High, Critical",
        ),
        ("'low' != request.sensitivity", "column 1", "did you mean Low?"),
        (
            "request.?sensitivity.orValue('') == 'low'",
            "column",
            "(did you mean Low?), but is one of Low, Moderate, High, Critical",
        ),
        ("request.kind == 'storageaccessgrant'", "column 17", "did you mean StorageAccessGrant?"),
        ("request.kind in ['RoleGrant', 'egressgrant']", "column", "did you mean EgressGrant?"),
        ("request.subjects.all(s, s.kind == 'serviceaccount')", "column", "did you mean ServiceAccount?"),
        ("'user' in request.subjects.map(s, s.kind)", "column 1", "did you mean User?"),
        ("request.rule.ports.all(p, p.protocol == 'tcp')", "column", "did you mean TCP?"),
        (
            "request.requestedDuration <= '4h'",
            "column 27",
            "<= compares strings letter by letter, so that '30h' is before '4h'",
        ),
        ("request.startTime < '2027'", "column", "times with timestamp()"),
        ("request.sensitivity >= 'Low'", "column", "letter by letter"),
        ("duration(request.requestedDuration) <= duration('1d')", "column", "for example '90m' or '24h' for a day"),
        ("timestamp('soon') < timestamp(request.startTime)", "column", "for example '2026-12-31T00:00:00Z'"),
        (
            "request.subjects.all(s, duration('1 day') > duration('1h'))",
            "column",
            "it cannot be evaluated: duration cannot take its value; it takes numbers",
        ),
        ("duration('soon') <= duration('4h')", "column", "it cannot be evaluated: "),
        ("1 / 0 == 1", "column 3", "it divides by zero"),
        ("[1][5] == 1", "column 4", "it cannot be evaluated: "),
        ("1", "column 1", "its value is of type int, not bool"),
        ("request", "column 1", "its value is of type object (request), not bool"),
    ] {
        let reported = check(&[expression.to_owned()]);
        assert!(reported.len() == 1, "{expression}: {reported:?}");
        assert!(
            reported[0].starts_with("autoApprove[0]: ") && reported[0].contains(place),
            "{expression}: {reported:?}"
        );
        assert!(reported[0].contains(problem), "{expression}: {reported:?}");
        assert_eq!(errors(expression), reported, "{expression}: it counts as false");
    }
}

#[test]
fn an_error_does_not_quote_the_request() {
    for expression in [
        "true + request",
        "request < 1",
        "1 / 0 == 1",
        "[1][5] == 1",
        "9223372036854775807 + 1 == 0",
        "[request][request] == 1",
    ] {
        let errors = errors(expression);
        assert_eq!(errors.len(), 1, "{expression}");
        assert!(!errors[0].contains("SEC-114"), "{errors:?}");
        assert_eq!(errors, self::errors(expression));
    }
}

#[test]
fn what_does_not_compile_is_reported_and_false() {
    for (expression, problem) in [
        ("", "column"),
        ("true &&", "column 8"),
        ("true true", "column"),
        ("requests.role == 'reader'", "requests is unknown"),
        (".request.role == 'reader'", "unknown"),
        ("matches(request.role, 'r.*')", "no function matches"),
        ("request.role.matches('r.*')", "no function matches"),
        ("now() > timestamp('2020-01-01T00:00:00Z')", "no function now"),
        ("Request{role: 'reader'} == request", "not a type"),
        ("group.size() > 0 || request.requestedBy.groups.all(group, true)", "group is unknown"),
        ("group.all(group, true)", "group is unknown"),
        ("request.a.all(x, request.a.all(y, x == y))", "inside one another"),
        ("request.a.map(x, x).map(y, y) == []", "one another's result"),
        ("request.a.all(x, size(request.a + request.a) > 0)", "concatenated"),
        ("(request.a + request.a).all(x, true)", "concatenated"),
        ("request.a.map(x, x + x) == []", "concatenated"),
    ] {
        let reported = check(&[expression.to_owned()]);
        assert!(reported.len() == 1 && reported[0].contains(problem), "{expression}: {reported:?}");
        assert_eq!(errors(expression), reported, "{expression}");
    }
}

#[test]
fn the_first_that_is_true_approves_whatever_the_others_do() {
    let expressions = ["request.missing", "false", "((", "true", "true || true"].map(str::to_owned);
    let approved = Evaluation::Approved { index: 3, expression: "true".to_owned() };
    assert_eq!(approves(&expressions, &request()), approved);
    assert_eq!(approves(&[], &request()), Evaluation::NotApproved { errors: vec![] });
    let faults = check(&expressions);
    assert_eq!(faults.len(), 2);
    assert!(faults[0].starts_with("autoApprove[0]: ") && faults[1].starts_with("autoApprove[2]: "), "{faults:?}");
}

#[test]
fn length_and_nesting_are_bounded() {
    assert!(errors(&format!("true{}", " ".repeat(MAX_LENGTH)))[0].contains("at most 1024"));
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(is_true(&nested(usize::from(MAX_NESTING) - 1)));
    assert!(errors(&nested(usize::from(MAX_NESTING) + 1))[0].contains("Recursion limit"));
}

/// The worst expressions of the greatest length, on half of a thread's default stack.
#[test]
fn the_stack_suffices() {
    let patterns = [
        "(",
        "[",
        "{1:",
        "size(",
        "-",
        "!",
        "1+",
        "1<",
        "a.",
        "a[",
        "1?1:",
        "1&&",
        "a.a(",
        "[1].all(x,",
        "1?(",
        "1+1+1+1+(",
        "{1:1+1+(",
    ];
    let tails = ["1", "+1", "<1", ".a", "[1]", ".size()", "?1:1", "&&1", "||1", "==1", "-1"];
    let run = move || {
        for pattern in patterns {
            for tail in tails {
                for repeated in [8, 20, 24, 60, MAX_LENGTH] {
                    let head = pattern.repeat(repeated.min(MAX_LENGTH / pattern.len()));
                    let room = MAX_LENGTH - head.len();
                    let closing = pattern.chars().rev().filter_map(|open| match open {
                        '(' => Some(')'),
                        '[' => Some(']'),
                        '{' => Some('}'),
                        _ => None,
                    });
                    let closing: String = closing.collect::<String>().repeat(repeated);
                    let text = format!("{head}1{}", tail.repeat(room.saturating_sub(closing.len() + 1) / tail.len()));
                    verdict(&text);
                    verdict(&format!(
                        "{text}{}",
                        closing.get(..MAX_LENGTH.saturating_sub(text.len())).unwrap_or_default()
                    ));
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn the_work_is_bounded() {
    let groups: Vec<String> = (0..512).map(|group| format!("a-group-with-a-long-common-prefix-{group}")).collect();
    let request = json!({"requestedBy": {"groups": groups}});
    let mut expression = "request.requestedBy.groups.all(x, x in request.requestedBy.groups".to_owned();
    while expression.len() + 40 < MAX_LENGTH {
        expression += "&&x in request.requestedBy.groups";
    }
    let begun = std::time::Instant::now();
    assert!(matches!(approves(&[expression + ")"], &request), Evaluation::Approved { .. }));
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Pieces of expressions, put together at random: most do not parse, some do.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "request",
            "request.requestedBy.groups",
            "request.subjects",
            ".all(x, ",
            ".exists(x, ",
            ".map(x, ",
            ".filter(x, ",
            "has(",
            "size(",
            "duration(",
            "timestamp(",
            "int(",
            "uint(",
            "double(",
            "string(",
            "bool(",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            ".",
            ".?",
            "[?",
            "+",
            "-",
            "*",
            "/",
            "%",
            "!",
            "==",
            "!=",
            "<",
            "<=",
            ">",
            ">=",
            "&&",
            "||",
            " in ",
            "true",
            "false",
            "null",
            "0",
            "1",
            "-1",
            "1u",
            "1.5",
            "9223372036854775807",
            "-9223372036854775808",
            "1e308",
            "x",
            "'a'",
            "\"\\u00e9\"",
            "b'\\xff'",
            "r'\\'",
            "'''",
            "'4h'",
            "'-9e99h'",
            "'2020-01-01T00:00:00Z'",
            "//",
            "\n",
            "`a`",
            "\0",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_panics_or_approves_without_being_true(text in prop_oneof![soup(), any::<String>()]) {
        let expressions = [text];
        let refused = !check(&expressions).is_empty();
        let first = approves(&expressions, &request());
        let failed = matches!(&first, Evaluation::NotApproved { errors } if !errors.is_empty());
        prop_assert!(!refused || failed);
        if let Evaluation::NotApproved { errors } = &first {
            prop_assert!(!errors.iter().any(|error| error.contains("the CEL library failed")), "{:?} {:?}", expressions, errors);
        }
        prop_assert_eq!(first, approves(&expressions, &request()));
    }
}
