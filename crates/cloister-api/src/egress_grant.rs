use crate::{EgressRule, grant::grant_spec};

grant_spec! {
    /// Asks for one egress rule that no allowlist covers, and becomes the grant.
    #[kube(
        kind = "EgressGrant",
        plural = "egressgrants",
        shortname = "egr",
        doc = "Asks for one egress rule that no allowlist covers, and becomes the grant: the rule is open until it ends.",
    )]
    pub struct EgressGrantSpec {
        /// The rule that is open while the grant lasts. A rule of the same name in the ResearchNamespace says whether it is
        /// covered.
        pub rule: EgressRule,
    }
}
