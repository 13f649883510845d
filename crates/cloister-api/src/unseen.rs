//! What the API server says of an object that the operator has not looked at yet: a default of its status, so that no tool
//! takes for healthy what nobody has seen.

use crate::{
    GrantKind,
    condition::{COUNTED, ENFORCED, READY, reason},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSON, JSONSchemaProps};
use serde_json::{Value, json};

/// What is said until the operator says more.
const MESSAGE: &str = "the operator has not looked at this yet; if this stays so, a platform engineer must see whether it runs: \
                       kubectl get pods -n cloister-system";

/// A time that no operator writes: a condition that was never set has not changed either.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// The status of an object of this kind that the operator has not looked at.
fn status(kind: &str) -> Value {
    let other = match kind {
        "ResearchNamespace" => Some(ENFORCED),
        "AccessReview" => Some(COUNTED),
        _ => None,
    };
    let condition = |type_: &str| {
        json!({
            "type": type_, "status": "Unknown", "reason": reason::WAITING_FOR_OPERATOR, "message": MESSAGE,
            "lastTransitionTime": NEVER,
        })
    };
    let conditions: Vec<Value> = [READY].into_iter().chain(other).map(condition).collect();
    let mut status = json!({"conditions": conditions});
    // The status of a grant has a phase and a reason of its own.
    if GrantKind::named(kind).is_some() {
        status["phase"] = json!("Pending");
        status["reason"] = json!(reason::WAITING_FOR_OPERATOR);
        // What lists show.
        status["summary"] = json!({"reason": reason::WAITING_FOR_OPERATOR});
    }
    status
}

/// Writes it into a kind's schema, where the kind has a status.
pub(crate) fn default_status(kind: &str, schema: &mut JSONSchemaProps) {
    if let Some(field) = schema.properties.iter_mut().find_map(|properties| properties.get_mut("status")) {
        field.default = Some(JSON(status(kind)));
    }
}

/// Whether a status is that default: the operator has said nothing of the object.
pub fn is_unseen(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    status["observedGeneration"].is_null()
        && conditions.any(|condition| condition["reason"] == reason::WAITING_FOR_OPERATOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessReviewStatus, GrantStatus, ResearchNamespaceStatus, crds};

    #[test]
    fn every_kind_with_a_status_has_the_default() {
        let mut with_status = 0;
        for crd in crds() {
            let version = crd.spec.versions.first().unwrap();
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
            let field = schema.properties.as_ref().and_then(|properties| properties.get("status"));
            assert_eq!(field.is_some(), version.subresources.is_some(), "{}", crd.spec.names.kind);
            if let Some(field) = field {
                with_status += 1;
                assert!(is_unseen(&field.default.as_ref().unwrap().0), "{}", crd.spec.names.kind);
            }
        }
        assert!(with_status > 8);
    }

    #[test]
    fn it_is_a_status_that_can_be_read() {
        serde_json::from_value::<GrantStatus>(status("RoleGrant")).unwrap();
        serde_json::from_value::<AccessReviewStatus>(status("AccessReview")).unwrap();
        serde_json::from_value::<ResearchNamespaceStatus>(status("ResearchNamespace")).unwrap();
    }

    #[test]
    fn what_the_operator_has_said_is_no_default() {
        assert!(!is_unseen(&Value::Null));
        assert!(!is_unseen(&json!({"phase": "Pending"})));
        let mut said = status("RoleGrant");
        said["observedGeneration"] = json!(1);
        assert!(!is_unseen(&said));
    }
}
