use crate::schema::{DNS_SUBDOMAIN, rule::rule};
use kube::{
    KubeSchema,
    core::{Message, Reason, Rule},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a [`Subject`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum SubjectKind {
    /// A person, by the user name in the API server.
    User,
    /// Everybody in the group.
    Group,
    /// An account for programs, which belongs to a namespace.
    ServiceAccount,
}

/// That a ServiceAccount is named as Kubernetes names it, or the sentence.
fn bare_name(sentence: &str) -> Rule {
    let is_name = format!("self.name.size() <= 253 && self.name.matches(r'{DNS_SUBDOMAIN}')");
    Rule::new(format!("self.kind != 'ServiceAccount' || {is_name}"))
        .message(Message::Message(sentence.into()))
        .reason(Reason::FieldValueInvalid)
}

/// That nothing but a ServiceAccount has a namespace.
fn namespace_of_accounts_alone() -> Rule {
    Rule::new("self.kind == 'ServiceAccount' || !has(self.__namespace__)")
        .message(Message::Message("only a ServiceAccount has a namespace".into()))
        .reason(Reason::FieldValueForbidden)
}

/// A person, a group or a ServiceAccount. It has no namespace field: a ServiceAccount is in the namespace of the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind == 'ServiceAccount' || !self.name.startsWith('system:')")
    .message(Message::Message("users and groups of the system (system:*) cannot be named".into()))
    .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = bare_name("name a ServiceAccount by its plain name, such as trainer; it must be in the same namespace"))]
pub struct Subject {
    /// User, Group or ServiceAccount.
    pub kind: SubjectKind,
    /// The name. Of a User or a Group: exactly as the API server knows it (`kubectl auth whoami`). Of a ServiceAccount: its
    /// plain name, without a namespace.
    #[schemars(schema_with = "crate::schema::subject_name")]
    pub name: String,
}

/// A member of a research namespace: a person, a group, or a ServiceAccount of the namespace, or of the namespace of a
/// controller that creates pods for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind == 'ServiceAccount' || !self.name.startsWith('system:') || self.name.startsWith('system:serviceaccount:')")
    .message(Message::Message("users and groups of the system (system:*) cannot be named".into()))
    .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.kind == 'ServiceAccount' || !self.name.startsWith('system:serviceaccount:')")
    .message(Message::Message("name a ServiceAccount by its kind: {kind: ServiceAccount, name: NAME}, and namespace: NAMESPACE if it is in another namespace".into()))
    .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = bare_name("name a ServiceAccount by its plain name, such as trainer; if it is in another namespace, write that into the field namespace"))]
#[x_kube(validation = namespace_of_accounts_alone())]
pub struct MemberSubject {
    /// User, Group or ServiceAccount.
    pub kind: SubjectKind,
    /// The name. Of a User or a Group: exactly as the API server knows it (`kubectl auth whoami`). Of a ServiceAccount: its
    /// plain name, without a namespace.
    #[schemars(schema_with = "crate::schema::subject_name")]
    pub name: String,
    /// The namespace of a ServiceAccount, if it is not this one: one of `workloads.controllerNamespaces` of CloisterConfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: Option<String>,
}

/// Who may request or approve: a person, a group, or a ServiceAccount of any namespace. A ServiceAccount cannot approve or use
/// break-glass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind != 'ServiceAccount' || (has(self.__namespace__) && self.__namespace__ != '')")
    .message(Message::Message("a ServiceAccount needs its namespace".into()))
    .reason(Reason::FieldValueRequired))]
#[x_kube(validation = bare_name("name a ServiceAccount by its plain name, and write its namespace into the field namespace: {kind: ServiceAccount, namespace: NAMESPACE, name: NAME}"))]
#[x_kube(validation = namespace_of_accounts_alone())]
#[x_kube(validation = Rule::new("self.kind != 'User' || !self.name.startsWith('system:')")
    .message(Message::Message("users of the system (system:*) cannot be named; name a ServiceAccount by kind".into()))
    .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.kind != 'Group' || self.name != 'system:serviceaccounts' && !self.name.startsWith('system:serviceaccounts:')")
    .message(Message::Message("groups of ServiceAccounts (system:serviceaccounts*) cannot be used: name a ServiceAccount that \
                               requests as {kind: ServiceAccount, namespace: NAMESPACE, name: NAME}; a ServiceAccount cannot \
                               approve or use break-glass".into()))
    .reason(Reason::FieldValueForbidden))]
pub struct Principal {
    /// User, Group or ServiceAccount.
    pub kind: SubjectKind,
    /// The name. Of a User or a Group: exactly as the API server knows it (`kubectl auth whoami`). Of a ServiceAccount: its
    /// plain name, without a namespace.
    #[schemars(schema_with = "crate::schema::subject_name")]
    pub name: String,
    /// The namespace of a ServiceAccount; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: Option<String>,
}

/// A person, as the API server authenticated them at that time. Set by admission, never by the author.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The user name.
    #[schemars(length(max = 1024))]
    pub username: String,
    /// The user's unique id; empty for users of client certificates.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(length(max = 1024))]
    pub uid: String,
    /// The groups at that time.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "groups")]
    pub groups: Vec<String>,
    /// The value that is the same for all accounts of the person, if the identity provider sets such a key (`personKey` of
    /// CloisterConfig): the first value of the key.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(length(max = 1024))]
    pub person_key: String,
    /// All values of that key, if it has several. Two accounts that share one of them are one person.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub person_keys: Vec<String>,
}

/// The groups of a person. They are a set: admission, which writes them, can write no other list.
fn groups(_: &mut SchemaGenerator) -> Schema {
    let advice = "ask the administrators of the identity provider to send fewer groups to this cluster; kubectl auth whoami shows \
         them";
    json_schema!({
        "type": "array", "maxItems": 65536, "items": {"type": "string"}, "x-kubernetes-list-type": "set",
        "x-kubernetes-validations": [
            rule("self.size() <= 4096", &format!("you are in more than 4,096 groups, and Cloister records the groups of requesters and reviewers; {advice}")),
            rule(
                "self.size() > 4096 || self.map(g, g.size()).sum() <= 131072",
                &format!("the names of your groups have more than 131,072 characters together, and Cloister records them; {advice}"),
            ),
        ],
    })
}

impl Identity {
    /// All that stays the same over the person's accounts.
    pub fn persons(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.person_key).chain(&self.person_keys);
        all.map(String::as_str).filter(|key| !key.is_empty())
    }
}
