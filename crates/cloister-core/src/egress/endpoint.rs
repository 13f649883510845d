//! Why the endpoint of a storage resource, or the rule of a grant, stays closed, in words for whoever wrote it: a grant opens
//! addresses alone.

use super::Refusal;

/// Why an endpoint stays closed. It has no rule that could be corrected, and is opened by addresses alone.
pub fn endpoint_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::WildcardNotEnforceable { names } => format!(
            "{names} cannot be opened by addresses, because nobody can list the names that it stands for, and a grant opens nothing \
             else, whatever egress.backend of CloisterConfig is; name the hosts that are needed"
        ),
        refusal => refusal.to_string().replace("the rule", "the endpoint"),
    }
}

/// Why the rule of an EgressGrant stays closed.
pub fn grant_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::WildcardNotEnforceable { names } => format!(
            "{names} cannot be opened by addresses, because nobody can list the names that it stands for, and a grant opens nothing \
             else, whatever egress.backend of CloisterConfig is; name the hosts that are needed, or ask whoever publishes allowlists for \
             one with this name, which covers egress.rules of the ResearchNamespace that name hosts below it"
        ),
        refusal => refusal.to_string(),
    }
}
