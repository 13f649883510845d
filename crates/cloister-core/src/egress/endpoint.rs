//! Why the endpoint of a storage resource stays closed, in words for whoever publishes it.

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
