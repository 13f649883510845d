//! A cluster whose operator goes through a proxy, and people who ask for grants.

mod play;

pub use play::{CONVERGED, LATE, Reach};

use crate::ledger::{Ledger, Place};
use anyhow::{Context, Result, ensure};
use cloister_api::GrantKind;
use cloister_tests::{
    PATIENCE,
    bare::Bare,
    eventually,
    ours::{make, ours},
    proxy::Proxy,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
};
use serde_json::{Value, json};
use xtask::operator::Operator;

/// How many accounts a namespace has: each mount has one of its own.
const ACCOUNTS: usize = 16;

/// A grant that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub kind: GrantKind,
    pub namespace: String,
    pub name: String,
    pub end: Timestamp,
    opens: Vec<Place>,
}

impl Asked {
    /// The Secret that is its copy of the credential, where it has one.
    pub fn secret(&self) -> Option<&str> {
        self.opens.iter().find(|place| place.0 == "Secret").map(|place| place.2.as_str())
    }

    /// The account whose pods get that copy.
    pub fn account(&self) -> Option<&str> {
        Some(self.secret()?.rsplit_once('.')?.1)
    }
}

/// A cluster, its operator and its people.
pub struct Stage {
    pub bare: Bare,
    pub proxy: Proxy,
    pub operator: Option<Operator>,
    arguments: Vec<String>,
    ledger: Ledger,
    alice: Client,
    namespaces: Vec<String>,
    asked: Vec<Asked>,
    held: Vec<(GrantKind, String)>,
    replaced: Vec<Place>,
    count: usize,
    mounts: usize,
}

impl Stage {
    /// Starts the cluster, a proxy and an operator with these options, and makes a namespace to ask in.
    pub async fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_as(name, arguments, |_| Ok(())).await
    }

    /// The same, with something prepared before an operator is started.
    pub async fn start_as(
        name: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Bare) -> Result<()>,
    ) -> Result<Self> {
        let mut bare = Bare::start(name).await?;
        prepare(&mut bare)?;
        let proxy = Proxy::start(&bare.cluster).await?;
        let alice = bare.cluster.client_for("alice", &["researchers", "system:masters"]).await?;
        let ledger = Ledger::begin(&bare.admin);
        let mut stage = Stage {
            bare,
            proxy,
            operator: None,
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            ledger,
            alice,
            namespaces: Vec::new(),
            asked: Vec::new(),
            held: Vec::new(),
            replaced: Vec::new(),
            count: 0,
            mounts: 0,
        };
        stage.catalogue().await?;
        stage.start_operator().await?;
        stage.declare("lab").await?;
        stage.converged().await?;
        Ok(stage)
    }

    /// Starts an operator in the place of the one before.
    pub async fn start_operator(&mut self) -> Result<()> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.operator = Some(self.bare.operator_through(&self.proxy, &arguments).await?);
        Ok(())
    }

    /// Ends the operator, and keeps the cluster for the next test.
    pub async fn give_back(mut self) -> Result<()> {
        if let Some(operator) = self.operator.take() {
            operator.stop().await?;
        }
        self.bare.give_back().await
    }

    /// The operator.
    ///
    /// # Errors
    ///
    /// None runs.
    pub fn operator(&self) -> Result<&Operator> {
        self.operator.as_ref().context("no operator runs")
    }

    async fn catalogue(&self) -> Result<()> {
        let policy = json!({
            "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "autoApprove": ["true"],
            "limits": {"active": 64, "pending": 64},
            "approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}],
            "breakGlass": {
                "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "1h", "reviewWithin": "24h",
            },
        });
        self.make("AccessPolicy", None, "egress", policy).await?;
        let secret = json!({
            "metadata": {"name": "data", "annotations": {"cloister.dev/storage-resources": "data"}},
            "stringData": {"token": "an-example-that-opens-nothing"},
        });
        let secrets: Api<Secret> = Api::namespaced(self.bare.admin.clone(), "cloister-credentials");
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        let role = json!({
            "name": "reader", "accessPolicy": "egress", "clusterRole": "cloister:storage-reader",
            "credential": {"secretRef": {"namespace": "cloister-credentials", "name": "data"}},
        });
        let endpoint = json!({"networks": ["198.51.100.0/28"], "ports": [{"port": 443, "protocol": "TCP"}]});
        let storage = json!({"sensitivity": "Low", "endpoint": endpoint, "roles": [role]});
        self.make("StorageResource", None, "data", storage).await?;
        let role = json!({"clusterRole": "cloister:debugger", "accessPolicy": "egress"});
        self.make("AccessRole", None, "debug", role).await
    }

    /// Makes an object: in a namespace as alice, without one as an administrator.
    pub async fn make(&self, kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Result<()> {
        make(self.whose(namespace), kind, namespace, name, spec).await
    }

    /// The objects of a kind of ours: in a namespace as alice sees them, without one as an administrator does.
    pub fn api(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        ours(self.whose(namespace), kind, namespace)
    }

    fn whose(&self, namespace: Option<&str>) -> &Client {
        if namespace.is_some() { &self.alice } else { &self.bare.admin }
    }

    /// Declares a research namespace.
    pub async fn declare(&mut self, name: &str) -> Result<()> {
        let accounts: Vec<Value> = (0..ACCOUNTS).map(|at| json!({"name": format!("trainer-{at}")})).collect();
        self.make("ResearchNamespace", None, name, json!({"tier": "Standard", "serviceAccounts": accounts})).await?;
        self.namespaces.push(name.to_owned());
        Ok(())
    }

    /// Asks for a grant of each kind in a namespace, for so long, and waits until all are Active.
    pub async fn ask_for_all(&mut self, namespace: &str, seconds: u64) -> Result<()> {
        for kind in GrantKind::ALL {
            self.ask(kind, namespace, seconds).await?;
        }
        Ok(())
    }

    /// Asks for a grant for so long, and waits until it is Active and all that it opens stands. A busy machine may need longer
    /// for that than it is asked for, so it is asked for again, for twice as long each time.
    pub async fn ask(&mut self, kind: GrantKind, namespace: &str, mut seconds: u64) -> Result<Asked> {
        loop {
            if let Some(asked) = self.ask_once(kind, namespace, seconds).await? {
                self.asked.push(asked.clone());
                return Ok(asked);
            }
            ensure!(seconds < PATIENCE.as_secs(), "{} for {seconds} s ended before all of it was open", kind.as_str());
            seconds *= 2;
        }
    }

    /// Asks for a grant: `None` where it ends before all of it is open.
    async fn ask_once(&mut self, kind: GrantKind, namespace: &str, seconds: u64) -> Result<Option<Asked>> {
        let (name, spec) = self.request(kind, seconds);
        self.make(kind.as_str(), Some(namespace), &name, spec).await?;
        eventually(&format!("{} {name} to be open, or over", kind.as_str()), async || {
            let object = self.api(kind.as_str(), Some(namespace)).get(&name).await?;
            let status = &object.data["status"];
            if status["phase"] == "Expired" {
                return Ok(None);
            }
            ensure!(status["phase"] == "Active", "it is {}: {}", status["phase"], status["reason"]);
            let end = status["expiresAt"].as_str().context("it has no end")?.parse()?;
            let opens = self.opened_by(kind, namespace, &name, status);
            // The watch may be a little behind.
            opens.iter().try_for_each(|place| self.ledger.seen(place).map(drop))?;
            Ok(Some(Asked { kind, namespace: namespace.to_owned(), name: name.clone(), end, opens }))
        })
        .await
    }

    /// Asks in `lab` and waits for nothing. When everything is as declared again, it is Active. Returns its name, and the
    /// account that it is for where it is for one.
    pub async fn ask_ahead(&mut self, kind: GrantKind) -> Result<(String, String)> {
        let (name, spec) = self.request(kind, 3600);
        let account = spec["mount"]["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        self.make(kind.as_str(), Some("lab"), &name, spec).await?;
        self.held.push((kind, name.clone()));
        Ok((name, account))
    }

    /// Asks in `lab` for what is not opened now, and waits until it says this reason. When everything is as declared
    /// again, it is Active.
    pub async fn ask_in_vain(&mut self, kind: GrantKind, reason: &str) -> Result<()> {
        let (name, _) = self.ask_ahead(kind).await?;
        eventually(&format!("{name} to say {reason}"), async || {
            let status = &self.api(kind.as_str(), Some("lab")).get(&name).await?.data["status"];
            ensure!(status["reason"] == reason, "it is {}: {}", status["phase"], status["reason"]);
            Ok(())
        })
        .await
    }

    /// Expects that an object goes and is made anew: what it was made as by another cannot be changed.
    pub fn expect_another(&mut self, place: Place) {
        self.replaced.push(place);
    }

    /// When what a grant opened was gone, all of it.
    pub fn closed_at(&self, asked: &Asked) -> Result<Timestamp> {
        let mut gone = asked.opens.iter().map(|place| self.ledger.seen(place)?.gone.context("it is still there"));
        gone.try_fold(Timestamp::MIN, |latest, gone| Ok(latest.max(gone?)))
    }

    /// Sees that what was asked for in vain is not open.
    pub async fn nothing_held_is_open(&self) -> Result<()> {
        for (kind, name) in &self.held {
            let status = &self.api(kind.as_str(), Some("lab")).get(name).await?.data["status"];
            ensure!(status["activatedAt"].is_null(), "{} {name} was opened: {status}", kind.as_str());
            let opened = self.ledger.which(|place, _| place.1 == "lab" && place.2.ends_with(&format!("grant.{name}")));
            ensure!(opened.is_empty(), "{opened:?} were opened");
        }
        Ok(())
    }

    /// What was asked for, and was Active.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// The phase of a grant now.
    pub async fn phase(&self, asked: &Asked) -> Result<String> {
        let object = self.api(asked.kind.as_str(), Some(&asked.namespace)).get(&asked.name).await?;
        Ok(object.data["status"]["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether nothing is left of what a grant opened.
    pub fn is_closed(&self, asked: &Asked) -> Result<()> {
        for place in &asked.opens {
            ensure!(self.ledger.seen(place)?.gone.is_some(), "{place:?} is still there");
        }
        Ok(())
    }

    /// Whether all of what a grant opened is there.
    pub fn is_open(&self, asked: &Asked) -> Result<()> {
        for place in &asked.opens {
            ensure!(self.ledger.seen(place)?.gone.is_none(), "{place:?} is gone");
        }
        Ok(())
    }

    /// Waits until an alert of the operator is raised, or over.
    pub async fn until_alert(&self, alert: &str, wanted: bool) -> Result<()> {
        eventually(&format!("the alert {alert} to be {wanted}"), async || {
            let count = self.operator()?.metric("cloister_alerts", &format!("alert=\"{alert}\"")).await?;
            ensure!((count > 0.0) == wanted, "it is {count}");
            Ok(())
        })
        .await
    }

    /// Waits until readiness says this.
    pub async fn until_readiness(&self, code: u16, text: &str) -> Result<()> {
        eventually(&format!("readiness to say {code} {text}"), async || {
            let (is, said) = self.operator()?.get("/readyz").await?;
            ensure!(is == code && said.contains(text), "it says {is} {said}");
            Ok(())
        })
        .await
    }

    fn request(&mut self, kind: GrantKind, seconds: u64) -> (String, Value) {
        self.count += 1;
        self.mounts += usize::from(kind == GrantKind::StorageAccessGrant);
        let account = format!("trainer-{}", self.mounts % ACCOUNTS);
        let mut spec = match kind {
            GrantKind::StorageAccessGrant => json!({
                "storage": "data", "role": "reader", "subjects": [{"kind": "ServiceAccount", "name": account}],
                "mount": {"serviceAccountName": account, "mountPath": "/var/run/cloister/data"},
            }),
            GrantKind::EgressGrant => json!({"rule": {
                "name": "lab", "networks": [format!("192.0.2.{}/32", self.count % 250)],
                "ports": [{"port": 443, "protocol": "TCP"}],
            }}),
            GrantKind::RoleGrant => json!({"role": "debug", "subjects": [{"kind": "User", "name": "alice"}]}),
        };
        spec["requestedDuration"] = json!(format!("{seconds}s"));
        spec["justification"] = json!("chaos");
        (format!("g{}", self.count), spec)
    }

    fn opened_by(&self, kind: GrantKind, namespace: &str, name: &str, status: &Value) -> Vec<Place> {
        let at = |kind, name: String| (kind, namespace.to_owned(), name);
        match kind {
            GrantKind::StorageAccessGrant => {
                let secret = status["secretName"].as_str().unwrap_or_default().to_owned();
                let mount = secret.trim_start_matches("cloister-grant-").to_owned();
                vec![
                    at("RoleBinding", format!("cloister-grant.{name}")),
                    at("NetworkPolicy", format!("cloister-grant.{name}")),
                    at("Secret", secret),
                    at("GrantMount", mount),
                ]
            }
            GrantKind::EgressGrant => vec![at("NetworkPolicy", format!("cloister-egress-grant.{name}"))],
            GrantKind::RoleGrant => vec![at("RoleBinding", format!("cloister-role-grant.{name}"))],
        }
    }
}
