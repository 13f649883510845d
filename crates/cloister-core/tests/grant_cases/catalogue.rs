//! What is said of policies and roles.

use super::{
    desk::*,
    grants::{Shelf, World, debugger, role_facts},
};
use cloister_api::{AccessPolicy, AccessRole};
use cloister_core::{
    catalogue,
    catalogue::Input,
    grant::{CredentialFacts, Lookup},
    model::suggest::closest,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde_json::{Value, json};

/// The status and the reason of a condition.
fn of(conditions: &[Condition], type_: &str) -> Option<(String, String)> {
    conditions.iter().find(|c| c.type_ == type_).map(|c| (c.status.clone(), c.reason.clone()))
}

fn said(status: &str, reason: &str) -> Option<(String, String)> {
    Some((status.to_owned(), reason.to_owned()))
}

fn of_policy(more: Value) -> Vec<Condition> {
    let Shelf::Read(mut policy): Shelf<AccessPolicy> = policy(more) else { unreachable!() };
    let now = world().now;
    policy.status = catalogue::policy(&policy, now);
    assert_eq!(catalogue::policy(&policy, now), None, "it is said once");
    policy.into_inner().status.unwrap().conditions
}

#[test]
fn whether_there_are_enough_people_for_a_policy_is_said_where_it_is_known() {
    let rule = |name: &str, required: u32, kind: &str, who: &[&str]| {
        let approvers: Vec<Value> = who.iter().map(|name| json!({"kind": kind, "name": name})).collect();
        json!({"name": name, "required": required, "approvers": approvers})
    };
    let satisfiable = |rules: Value| of(&of_policy(json!({"approvalRules": rules})), "Satisfiable");
    assert_eq!(satisfiable(json!([])), None);
    assert_eq!(satisfiable(json!([rule("a", 2, "User", &["sam", "sue"])])), said("True", "EnoughPeople"));
    assert_eq!(satisfiable(json!([rule("a", 2, "User", &["sam"])])), said("False", "TooFewPeople"));
    let both = json!([rule("a", 1, "User", &["sam"]), rule("b", 1, "User", &["sam"])]);
    assert_eq!(satisfiable(both), said("False", "TooFewPeople"));
    assert_eq!(satisfiable(json!([rule("a", 2, "Group", &["security"])])), said("Unknown", "GroupsUnknown"));
    let mixed = json!([rule("a", 2, "Group", &["security"]), rule("b", 2, "User", &["sam"])]);
    assert_eq!(satisfiable(mixed), said("False", "TooFewPeople"));
    // Who asks does not decide.
    let asks = |requesters: &[&str], rules: Value| {
        let requesters: Vec<Value> = requesters.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        of_policy(json!({"requesters": requesters, "approvalRules": rules, "autoApprove": []}))
    };
    let alone = asks(&["olga"], json!([rule("a", 1, "User", &["olga"])]));
    assert_eq!(of(&alone, "Satisfiable"), said("False", "TooFewPeople"));
    assert_eq!(of(&alone, "Ready"), said("True", "TooFewPeople"));
    let both = asks(&["olga", "sam"], json!([rule("a", 2, "User", &["olga", "sam"])]));
    assert_eq!(of(&both, "Satisfiable"), said("False", "TooFewPeople"));
    let one = asks(&["olga", "sam"], json!([rule("a", 1, "User", &["olga", "sam"])]));
    assert_eq!(of(&one, "Satisfiable"), said("True", "EnoughPeople"));
}

/// What is said of a policy that never approves, where whoever publishes it looks.
const STEP: &str = "; name approvers in approvalRules, or correct autoApprove; a policy administrator (ClusterRole \
                    cloister:policy-admin) can do that";

/// Policies that give nothing to anybody, the reason, and why.
fn of_no_use() -> Vec<(Value, &'static str, &'static str)> {
    let rule = |required: u32, name: &str| json!([{"name": "a", "required": required, "approvers": [{"kind": "User", "name": name}]}]);
    let account = json!([{"kind": "ServiceAccount", "namespace": "gitops", "name": "bot"}]);
    vec![
        (json!({"requesters": []}), "NobodyMayAsk", "requesters is empty, so nobody may ask"),
        (
            json!({"autoApprove": []}),
            "NeverApproves",
            "there are neither approvalRules nor autoApprove, so it never approves",
        ),
        (
            json!({"requesters": account, "autoApprove": ["true"]}),
            "NeverApproves",
            "only ServiceAccounts may ask, autoApprove never approves their requests, and there are no approvalRules, so it \
             never approves",
        ),
        (
            json!({"requesters": account, "autoApprove": ["true"], "approvalRules": rule(1, "bob")}),
            "TooFewPeople",
            "its approvalRules can never be met: a request of a ServiceAccount needs the approvals of 2 people, and rule a \
             requires 2 approvals, and has 1 approver; name more people or another group, who are \
             neither requester nor beneficiary",
        ),
        (
            json!({"autoApprove": [], "beneficiaries": [{"kind": "User", "name": "nina"}], "approvalRules": rule(1, "nina")}),
            "TooFewPeople",
            "its approvalRules can never be met: a beneficiary cannot approve; without the beneficiary, rule a requires 1 \
             approval, and has 0 approvers; name more people or another group, who are neither \
             requester nor beneficiary",
        ),
    ]
}

fn step(reason: &str) -> &'static str {
    match reason {
        "NeverApproves" => STEP,
        "NobodyMayAsk" => {
            "; name those who may in requesters; a policy administrator (ClusterRole cloister:policy-admin) can do that"
        }
        _ => "",
    }
}

#[test]
fn a_policy_that_nobody_can_fulfil_says_so_and_so_does_what_names_it() {
    for (more, reason, why) in of_no_use() {
        let conditions = of_policy(more.clone());
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str(), ready.message.as_str()),
            ("True", reason, &*format!("{why}{}", step(reason))),
            "{more}"
        );
        if reason != "NobodyMayAsk" {
            assert_eq!(of(&conditions, "Satisfiable"), said("False", reason), "{more}");
        }
        let world = World { policy: policy(more.clone()), ..world() };
        let role = conditions_of_role(&world, debugger());
        let ready = role.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let told = format!(
            "AccessPolicy standard never gives access: {why}; ask a policy administrator (ClusterRole cloister:policy-admin) \
             to correct it, or name another policy"
        );
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str(), ready.message.as_str()),
            ("True", reason, told.as_str()),
            "{more}"
        );
    }
    // One that somebody can fulfil is no such policy.
    let nina = json!({"kind": "User", "name": "nina"});
    let bob = json!({"kind": "User", "name": "bob"});
    let account = json!({"kind": "ServiceAccount", "namespace": "gitops", "name": "bot"});
    for (requesters, beneficiaries, required) in [
        (json!([account]), json!([]), 2),
        (json!([account, bob]), json!([]), 1),
        (json!([{"kind": "Group", "name": "researchers"}]), json!([nina, {"kind": "Group", "name": "staff"}]), 1),
        (json!([bob]), json!([{"kind": "User", "name": "carl"}]), 1),
    ] {
        let rule = json!([{"name": "a", "required": required, "approvers": [nina, bob]}]);
        let more =
            json!({"requesters": requesters, "beneficiaries": beneficiaries, "autoApprove": [], "approvalRules": rule});
        assert_eq!(of(&of_policy(more.clone()), "Satisfiable"), said("True", "EnoughPeople"), "{more}");
        assert_eq!(of(&of_policy(more.clone()), "Ready"), said("True", "Reconciled"), "{more}");
    }
}

#[test]
fn a_policy_that_cannot_be_used_says_why() {
    let ready = |more: Value| of(&of_policy(more), "Ready");
    assert_eq!(ready(json!({})), said("True", "Reconciled"));
    assert_eq!(ready(json!({"requesters": []})), said("True", "NobodyMayAsk"));
    assert_eq!(ready(json!({"autoApprove": []})), said("True", "NeverApproves"));
    assert_eq!(ready(json!({"autoApprove": ["("]})), said("False", "ExpressionInvalid"));
    assert_eq!(ready(json!({"ticket": {"pattern": "("}})), said("False", "PatternInvalid"));
}

/// A policy that was stored before the schema refused such names.
#[test]
fn a_policy_that_names_nobody_is_stalled_and_says_what_to_write() {
    let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "namespace": namespace, "name": name});
    let conditions = of_policy(json!({
        "requesters": [account("flux", "sync"), account("flux-system", "system:serviceaccount:flux-system:flux")],
        "approvalRules": [{
            "name": "security", "required": 1,
            "approvers": [{"kind": "User", "name": "sam"}, {"kind": "Group", "name": "system:serviceaccounts:ci"}],
        }],
        "breakGlass": {
            "requesters": [{"kind": "User", "name": "system:serviceaccount:ci:bot"}], "maxDuration": "1h", "reviewWithin": "24h",
        },
    }));
    assert_eq!(of(&conditions, "Ready"), said("False", "PrincipalInvalid"));
    assert_eq!(of(&conditions, "Stalled"), said("True", "PrincipalInvalid"));
    let ready = conditions.iter().find(|said| said.type_ == "Ready").unwrap();
    let who = "; a policy administrator (ClusterRole cloister:policy-admin) can do that";
    let told = [
        "requesters[1]: system:serviceaccount:flux-system:flux is not the name of a ServiceAccount of flux-system, so it \
         matches nobody; write {kind: ServiceAccount, namespace: flux-system, name: flux}",
        "approvalRules[security].approvers[1]: system:serviceaccounts:ci is a group of ServiceAccounts, and matches none of \
         them; write {kind: ServiceAccount, namespace: ci, name: NAME} for each",
        "breakGlass.requesters[0]: system:serviceaccount:ci:bot is not a User, so it matches nobody; write {kind: \
         ServiceAccount, namespace: ci, name: bot}",
    ];
    assert_eq!(ready.message, told.map(|one| format!("{one}{who}")).join("; "));
}

fn of_role(world: &World, role: AccessRole) -> Option<(String, String)> {
    of(&conditions_of_role(world, role), "Ready")
}

/// What there is beside the policy `standard`, for what may have been meant.
const NAMES: [&str; 4] = ["standard", "cloister:debugger", "cloister:storage-reader", "strict"];

fn with_input<T>(world: &World, decide: impl FnOnce(&Input<'_>) -> T) -> T {
    let policies = |name: &str| match (&world.policy, name) {
        (Shelf::Read(policy), "standard") => Lookup::Read(&**policy),
        (Shelf::Undecodable, "standard") => Lookup::Undecodable,
        _ => Lookup::Absent,
    };
    decide(&Input {
        policies: &policies,
        cluster_roles: &|name| world.cluster_roles.get(name),
        credentials: &|at| (at.name == "weights").then(|| CredentialFacts::of(&ObjectMeta::default(), None)),
        services: &|_| None,
        meant: &|_, name| closest(name, NAMES.into_iter()).map(str::to_owned),
        settings: &world.settings,
    })
}

fn conditions_of_role(world: &World, mut role: AccessRole) -> Vec<Condition> {
    with_input(world, |input| {
        role.status = catalogue::role(&role, input, world.now);
        assert_eq!(catalogue::role(&role, input, world.now), None, "it is said once");
    });
    role.status.unwrap().conditions
}

/// Reason and message of what is said of a storage.
fn of_storage(more: Value) -> (String, String) {
    let (world, Shelf::Read(mut storage)) = (world(), storage(more)) else { unreachable!() };
    with_input(&world, |input| {
        storage.status = catalogue::storage(&storage, input, world.now);
        assert_eq!(catalogue::storage(&storage, input, world.now), None, "it is said once");
    });
    let ready = storage.into_inner().status.unwrap().conditions.into_iter().find(|said| said.type_ == "Ready").unwrap();
    (ready.reason, ready.message)
}

#[test]
fn a_role_that_cannot_be_given_says_why() {
    let with = |resources: &[&str], bindable: bool| {
        let mut world = world();
        world.cluster_roles.insert("cloister:debugger".into(), role_facts(resources, bindable));
        of_role(&world, debugger())
    };
    assert_eq!(with(&["pods/exec"], true), said("True", "Reconciled"));
    assert_eq!(with(&["pods/exec"], false), said("False", "ClusterRoleNotBindable"));
    assert_eq!(with(&["secrets"], true), said("False", "ClusterRoleRefused"));
    let mut other = debugger();
    other.spec.cluster_role = "cloister:nothing".into();
    assert_eq!(of_role(&world(), other), said("False", "ClusterRoleNotFound"));
    let gone = World { policy: Shelf::Absent, ..world() };
    assert_eq!(of_role(&gone, debugger()), said("False", "PolicyNotFound"));
    let unread = World { policy: Shelf::Undecodable, ..world() };
    assert_eq!(of_role(&unread, debugger()), said("False", "PolicyUndecodable"));
}

/// Nobody is sent to change a ClusterRole of Kubernetes itself.
#[test]
fn a_role_of_kubernetes_is_left_as_it_is() {
    let told = |name: &str| {
        let mut world = world();
        world.cluster_roles.insert(name.into(), role_facts(&["secrets"], true));
        let mut role = debugger();
        role.spec.cluster_role = name.into();
        let ready = conditions_of_role(&world, role).into_iter().find(|said| said.type_ == "Ready").unwrap();
        assert_eq!(ready.reason, "ClusterRoleRefused");
        ready.message
    };
    for name in ["cluster-admin", "admin", "edit", "view", "system:node"] {
        let message = told(name);
        assert!(message.starts_with(&format!("ClusterRole {name} would let its holder keep access")), "{message}");
        assert!(message.ends_with("); name a ClusterRole that is made for grants"), "{message}");
        assert!(message.contains(" of the core group ("), "{message}");
    }
    let own = "; remove that from the role: ask a cluster administrator to do that, or name another ClusterRole";
    assert!(told("cloister:debugger").ends_with(own));
}

/// Whom several rules name counts once: what is said of them together is true.
#[test]
fn rules_that_share_too_few_people_are_told_together() {
    let told = |rules: Value| {
        let conditions = of_policy(json!({"approvalRules": rules}));
        conditions.into_iter().find(|said| said.type_ == "Satisfiable").unwrap().message
    };
    let rule = |name: &str, required: u32, who: &[&str]| {
        let approvers: Vec<Value> = who.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        json!({"name": name, "required": required, "approvers": approvers})
    };
    let advice = "; name more people or another group, who are neither requester nor beneficiary";
    for (rules, why) in [
        (
            json!([rule("security", 2, &["olga"]), rule("owners", 1, &["olga"])]),
            "rules security and owners together require 3 approvals by different people, and have 1 approver",
        ),
        (
            json!([rule("security", 2, &["olga", "otto"]), rule("owners", 1, &["olga"]), rule("others", 1, &["pat"])]),
            "rules security and owners together require 3 approvals by different people, and have 2 approvers",
        ),
        (
            json!([rule("security", 2, &["olga", "olga"]), rule("others", 1, &["pat"])]),
            "rule security requires 2 approvals, and has 1 approver",
        ),
    ] {
        assert_eq!(told(rules), format!("{why}{advice}"));
    }
}

#[test]
fn all_that_is_wrong_with_a_role_is_said_at_once() {
    let mut role = debugger();
    role.spec.cluster_role = "cloister:debuger".into();
    role.spec.access_policy = "standart".into();
    let ready = conditions_of_role(&world(), role).into_iter().find(|said| said.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "ClusterRoleNotFound");
    assert_eq!(
        ready.message,
        "there is no ClusterRole cloister:debuger (did you mean cloister:debugger?); correct the name, or ask a cluster \
         administrator to create it; there is no AccessPolicy standart (did you mean standard?); correct the name, or ask a \
         policy administrator (ClusterRole cloister:policy-admin) to publish it"
    );
}

#[test]
fn all_that_is_wrong_with_a_policy_is_said_at_once() {
    let conditions =
        of_policy(json!({"autoApprove": ["(", "true", "request.nosuch == 1"], "ticket": {"pattern": "["}}));
    let ready = conditions.iter().find(|said| said.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "ExpressionInvalid");
    for words in ["autoApprove[0]", "autoApprove[2]", "nosuch", "; ticket.pattern: "] {
        assert!(ready.message.contains(words), "{words}: {}", ready.message);
    }
}

#[test]
fn all_that_is_wrong_with_a_storage_is_said_at_once() {
    let secret = |namespace: &str, name: &str| json!({"secretRef": {"namespace": namespace, "name": name}});
    let role = |name: &str, policy: &str, class: Value, credential: Value| json!({"name": name, "accessPolicy": policy, "clusterRole": class, "credential": credential});
    let roles = json!([
        role("reader", "standard", json!("cloister:storage-reder"), secret("cloister-credentials", "weights")),
        role("writer", "standrd", json!(null), secret("cloister-credential", "weights")),
        role("admin", "standard", json!(null), secret("cloister-credentials", "gone")),
    ]);
    let (reason, message) = of_storage(json!({"sensitivity": "High", "roles": roles}));
    assert_eq!(reason, "PolicyTooWeak");
    for words in [
        "role reader: AccessPolicy standard can approve with 0 people, but StorageResource weights sets sensitivity High, which needs at least 1",
        "role reader: there is no ClusterRole cloister:storage-reder (did you mean cloister:storage-reader?); correct the \
         name, or ask a cluster administrator to create it",
        "role reader: Secret weights in cloister-credentials does not allow StorageResource weights to use it",
        "role reader: Secret weights in cloister-credentials is empty; ask the owner of the Secrets in that Namespace to put \
         the credential there",
        "role writer: there is no AccessPolicy standrd (did you mean standard?); correct the name, or ask a policy \
         administrator (ClusterRole cloister:policy-admin) to publish it",
        "role writer: Secret cloister-credential/weights is outside the credentialNamespaces of CloisterConfig, which are \
         cloister-credentials; keep the credential in one of them and correct the secretRef, or ask a policy administrator \
         (ClusterRole cloister:policy-admin) to list cloister-credential",
        "role admin: AccessPolicy standard can approve with 0 people",
        "role admin: there is no Secret gone in cloister-credentials",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let many: Vec<Value> = (0..9).map(|at| role(&format!("r{at}"), "nowhere", json!(null), json!(null))).collect();
    let (_, message) = of_storage(json!({"roles": many}));
    assert!(message.ends_with("; and 1 more") && message.contains("role r7: "), "{message}");
}

/// No grant of such a storage is ever given: who publishes it is told, and who asks is told whom to ask.
#[test]
fn an_endpoint_that_never_opens_is_said_of_the_storage_and_sends_to_who_publishes_it() {
    let roles = json!([{"name": "reader", "accessPolicy": "standard"}]);
    let cases = [
        (
            json!({"domainNames": ["*.data.example.com", "files.example.org"], "ports": [{"port": 443}]}),
            "WildcardNotEnforceable",
            "*.data.example.com cannot be opened by addresses, because nobody can list the names that it stands for, and a \
             grant opens only addresses, whatever egress.backend of CloisterConfig is; name the hosts that are needed",
        ),
        (
            json!({"networks": ["169.254.169.254/32"], "ports": [{"port": 80}]}),
            "NetworksNeverOpened",
            "169.254.169.254/32 is never opened by address",
        ),
        (
            json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 9, "endPort": 1}]}),
            "PortsInvalid",
            "the ports are invalid",
        ),
    ];
    for (endpoint, reason, words) in cases {
        let (found, message) = of_storage(json!({"endpoint": endpoint, "roles": roles}));
        assert_eq!(found, reason);
        assert!(message.starts_with(&format!("the endpoint stays closed: {words}")), "{message}");
        assert!(!message.contains("the rule"), "{message}");
        let mut world = World { storage: storage(json!({"endpoint": endpoint, "roles": roles})), ..world() };
        world.policy = policy(json!({"autoApprove": [], "approvalRules": [
            {"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]},
        ]}));
        ask(&mut world, "eval", json!({"mount": null}));
        settle(&mut world);
        let told = status(&world, "eval");
        let message = &told.conditions.iter().find(|said| said.type_ == "Ready").unwrap().message;
        assert_eq!(told.reason, reason, "{message}");
        assert!(
            message.starts_with(&format!("the endpoint of StorageResource weights stays closed: {words}")),
            "{message}"
        );
        let ends =
            "; ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to correct the StorageResource";
        assert!(message.ends_with(ends) && !message.contains("the rule"), "{message}");
    }
    // No EgressGrant opens the endpoint of a StorageResource.
    let endpoint = json!({"domainNames": ["acme.s3.us-east-1.amazonaws.com"], "ports": [{"port": 443}]});
    let storage_of = || json!({"endpoint": endpoint, "roles": roles});
    let why = "acme.s3.us-east-1.amazonaws.com is a name of S3 below amazonaws.com, where anybody can have storage";
    let help = "declare it as privateEndpoint with private expectedNetworks, or remove endpoint from the StorageResource, and \
                then the network path needs an EgressGrant of its own";
    let (reason, message) = of_storage(storage_of());
    assert_eq!((reason.as_str(), message), ("TooBroad", format!("the endpoint stays closed: {why}; {help}")));
    let mut world = World { storage: storage(storage_of()), ..world() };
    ask(&mut world, "eval", json!({"mount": null}));
    settle(&mut world);
    let told = status(&world, "eval");
    let message = &told.conditions.iter().find(|said| said.type_ == "Ready").unwrap().message;
    let said = format!(
        "the endpoint of StorageResource weights stays closed: {why}; ask a catalogue administrator (ClusterRole \
         cloister:catalogue-admin) to correct the StorageResource: {help}"
    );
    assert!(message.starts_with(&said), "{message}");
    // Whoever runs a Service makes it: it may come.
    let service = json!({"service": {"namespace": "infra", "name": "store"}, "ports": [{"port": 443}]});
    let (reason, message) = of_storage(json!({"endpoint": service, "roles": roles}));
    assert_eq!(reason, "ServiceNotFound");
    assert!(
        message.contains("all roles can be asked for; the endpoint stays closed: Service infra/store does not exist"),
        "{message}"
    );
}
