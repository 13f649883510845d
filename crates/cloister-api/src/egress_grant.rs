use crate::{EgressRule, grant::grant_spec};

grant_spec! {
    /// A request for one egress rule that no allowlist covers.
    #[kube(
        kind = "EgressGrant",
        plural = "egressgrants",
        shortname = "egr",
        doc = "A request for one egress rule that no allowlist covers. Once approved, the rule is open until the grant ends.",
    )]
    pub struct EgressGrantSpec {
        /// The rule that is open while the grant lasts. A rule of the same name in the ResearchNamespace says whether it is
        /// covered.
        pub rule: EgressRule,
    }
}
