//! Cyclonus, asked by lines of JSON: another evaluator of NetworkPolicies.

use anyhow::{Context, Result, bail};
use cloister_api::Protocol;
use cloister_core::proof::{End, Flow, Labels, NamedPort, Pod, Policies, Reachability};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Policies, and flows to be asked of them.
#[derive(Debug, Default, Serialize)]
pub struct Case {
    /// The labels of the namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    /// The pods.
    #[serde(serialize_with = "pods")]
    pub pods: Vec<Pod>,
    /// The policies.
    pub policies: Vec<NetworkPolicy>,
    /// The flows.
    pub flows: Vec<Asked>,
}

/// A flow.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Asked {
    /// Who begins.
    pub from: Side,
    /// Who is reached.
    pub to: Side,
    /// By which protocol.
    pub protocol: Protocol,
    /// On which port.
    pub port: u16,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// Its address.
    pub address: IpAddr,
    /// The place of its pod among those of the case, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<usize>,
}

fn pods<S: serde::Serializer>(pods: &[Pod], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pods.iter().map(|pod| {
        let port =
            |port: &NamedPort| serde_json::json!({"name": port.name, "protocol": port.protocol, "port": port.port});
        let ports: Vec<_> = pod.ports.iter().map(port).collect();
        serde_json::json!({"namespace": pod.namespace, "labels": pod.labels, "ports": ports})
    }))
}

impl Case {
    /// What Cloister's own evaluator says of each flow.
    ///
    /// # Errors
    ///
    /// One of the policies is none that the API server takes.
    pub fn answers(&self) -> Result<Vec<Reachability>> {
        let namespaces = self.namespaces.iter().map(|(name, labels)| (name.as_str(), labels));
        let policies = Policies::read(namespaces, &self.policies)?;
        let end = |side: &Side| End { address: side.address, pod: side.pod.map(|at| &self.pods[at]) };
        let flow = |asked: &Asked| Flow {
            from: end(&asked.from),
            to: end(&asked.to),
            protocol: asked.protocol,
            port: asked.port,
        };
        Ok(self.flows.iter().map(|asked| policies.ask(&flow(asked))).collect())
    }

    /// The same, if Cyclonus says the same of each flow.
    ///
    /// # Errors
    ///
    /// They differ, or one of them cannot answer.
    pub fn agreed(&self, cyclonus: &mut Cyclonus) -> Result<Vec<Reachability>> {
        let (ours, theirs) = (self.answers()?, cyclonus.ask(self)?);
        if ours.len() != theirs.len() {
            bail!("Cyclonus answers {} of {} flows", theirs.len(), ours.len());
        }
        for ((flow, ours), theirs) in self.flows.iter().zip(&ours).zip(&theirs) {
            if (ours.egress, ours.ingress) != *theirs {
                let (flow, case) = (serde_json::to_string(flow)?, serde_json::to_string_pretty(self)?);
                bail!("{ours:?}, and Cyclonus says {theirs:?} of {flow}\n{case}");
            }
        }
        Ok(ours)
    }
}

/// A process that answers. It ends when it is dropped, because its standard input does.
pub struct Cyclonus {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _process: Child,
}

impl Cyclonus {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// It cannot be built or started.
    pub fn start() -> Result<Self> {
        let mut process = Command::new(xtask::cluster::build_cyclonus()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run Cyclonus")?;
        let input = process.stdin.take().context("it has no standard input")?;
        let output = BufReader::new(process.stdout.take().context("it has no standard output")?);
        Ok(Cyclonus { input, output, _process: process })
    }

    /// For each flow of a case: whether it may leave, and whether it may enter.
    fn ask(&mut self, case: &Case) -> Result<Vec<(bool, bool)>> {
        let mut line = serde_json::to_vec(case)?;
        line.push(b'\n');
        self.input.write_all(&line)?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("Cyclonus answers {answer:?}"))
    }
}
