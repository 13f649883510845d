//! From a Service's ports to its pods'.

use crate::{
    address::{
        PolicyPortNumber, Refusal,
        ports::{self, PortSet},
    },
    model::text::first_few,
};
use cloister_api::{Port, Protocol, ServiceReference};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What is known of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its uid: one that is made anew is another.
    pub uid: String,
    /// The labels of its pods. Empty where it has no selector.
    pub selector: BTreeMap<String, String>,
    /// Whether its type is ExternalName.
    pub external_name: bool,
    /// The first of its pods that are on the network of their nodes.
    pub on_node: Option<PodOnNode>,
    /// Its ports.
    pub ports: Vec<ServicePortFacts>,
}

impl ServiceFacts {
    /// The ports by which rules name it.
    fn ports_in_words(&self) -> String {
        let leading = self.ports.iter().filter(|fact| fact.target != PolicyPortNumber::Number(0));
        let named: Vec<String> = leading.map(|fact| ports::written(fact.protocol, &(fact.port..=fact.port))).collect();
        match named.is_empty() {
            true => "of which it has none".to_owned(),
            false => format!("which are {}", first_few(named.iter())),
        }
    }

    /// Everything by which whoever may change the Service could lead these of its ports elsewhere.
    pub fn pinned(&self, ports: &[Port]) -> Value {
        let is_named = |fact: &&ServicePortFacts| {
            ports.iter().any(|port| port.protocol == fact.protocol && ports::range(port).contains(&fact.port))
        };
        let mut targets: Vec<Value> = self
            .ports
            .iter()
            .filter(is_named)
            .map(|fact| {
                let target = match &fact.target {
                    PolicyPortNumber::Number(number) => json!(number),
                    PolicyPortNumber::Name(name) => json!(name),
                };
                json!({"protocol": fact.protocol, "port": fact.port, "target": target})
            })
            .collect();
        targets.sort_by_cached_key(Value::to_string);
        json!({"uid": self.uid, "externalName": self.external_name, "selector": self.selector, "ports": targets})
    }
}

/// A pod that is on the network of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOnNode {
    /// Its name. Its namespace is that of the Service or the gateway.
    pub pod: Arc<str>,
    /// Its Node. Empty where it has none yet.
    pub node: Arc<str>,
}

impl PodOnNode {
    /// The pod, by its name and its Node.
    pub(crate) fn named(&self, namespace: &str) -> String {
        match &*self.node {
            "" => format!("pod {namespace}/{}", self.pod),
            node => format!("pod {namespace}/{} on Node {node}", self.pod),
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortFacts {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The Service's own port, from 1 to 65535.
    pub port: u16,
    /// Its `targetPort`: where it leads at the pods. The Service's own port where there is none.
    pub target: PolicyPortNumber,
}

/// A Service and those of its ports that a rule names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePorts {
    pub(crate) reference: ServiceReference,
    pub(crate) selector: BTreeMap<String, String>,
    /// By the Service's own port: where it leads at the pods.
    pub(crate) targets: BTreeMap<(Protocol, u16), PolicyPortNumber>,
}

impl ServicePorts {
    /// The ports of the Service that `ports` names. Each single port must be one; of a range, at least one must be.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] where the Service is not there, leads to pods that are not selected, or does not have the ports.
    pub(crate) fn resolve(
        reference: &ServiceReference,
        ports: &[Port],
        facts: Option<ServiceFacts>,
    ) -> Result<Self, Refusal> {
        // Checks the ports themselves; a Service's ports are compared entry by entry.
        PortSet::parse(ports)?;
        if reference.namespace == "default" && reference.name == "kubernetes" {
            return Err(Refusal::ApiServer { what: "Service default/kubernetes".to_owned() });
        }
        let facts = facts.ok_or_else(|| Refusal::ServiceNotFound(reference.clone()))?;
        if facts.external_name {
            return Err(Refusal::ServiceExternalName(reference.clone()));
        }
        if facts.selector.is_empty() {
            return Err(Refusal::ServiceWithoutSelector(reference.clone()));
        }
        if let Some(pod) = &facts.on_node {
            let pod = pod.named(&reference.namespace);
            return Err(Refusal::ServiceOnNodes { service: reference.clone(), pod });
        }
        let leads_somewhere = |fact: &&ServicePortFacts| fact.target != PolicyPortNumber::Number(0);
        let mut targets = BTreeMap::new();
        for port in ports {
            let range = ports::range(port);
            let mut named = facts
                .ports
                .iter()
                .filter(leads_somewhere)
                .filter(|fact| fact.protocol == port.protocol && range.contains(&fact.port))
                .peekable();
            if named.peek().is_none() {
                let ports = ports::written(port.protocol, &range);
                let has = facts.ports_in_words();
                return Err(Refusal::ServicePortNotFound { service: reference.clone(), ports, has });
            }
            targets.extend(named.map(|fact| ((fact.protocol, fact.port), fact.target.clone())));
        }
        Ok(Self { reference: reference.clone(), selector: facts.selector, targets })
    }
}
