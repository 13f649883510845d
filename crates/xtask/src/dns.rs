//! A real DNS server, CoreDNS, on loopback, with a zone that the test writes while it runs.

use crate::cluster::build_coredns;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// How often another port is tried.
const TRIES: usize = 8;

/// A server. It ends when it is dropped, because its standard input does.
pub struct DnsServer {
    address: SocketAddr,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Mutex<Child>,
    _corefile: tempfile::NamedTempFile,
}

impl DnsServer {
    /// Starts a server with an empty zone.
    ///
    /// # Errors
    ///
    /// It cannot be built or started.
    pub fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST)
    }

    /// The same at another address of this machine, for who cannot be told one on loopback.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(host: Ipv4Addr) -> Result<Self> {
        let binary = build_coredns()?;
        for _ in 0..TRIES {
            // Free for the moment. Where somebody else takes it first, CoreDNS ends at once.
            let address = UdpSocket::bind((host, 0))?.local_addr()?;
            let corefile = tempfile::NamedTempFile::new()?;
            let port = address.port();
            std::fs::write(&corefile, format!(".:{port} {{\n  bind {host}\n  errors\n  scripted\n}}\n"))?;
            let mut child = Command::new(&binary)
                .arg("-conf")
                .arg(corefile.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .context("cannot run CoreDNS")?;
            let input = child.stdin.take().context("it has no standard input")?;
            let mut output = BufReader::new(child.stdout.take().context("it has no standard output")?);
            if is_ready(&mut output)? {
                let (talk, child) = (Mutex::new((input, output)), Mutex::new(child));
                return Ok(DnsServer { address, talk, child, _corefile: corefile });
            }
            child.wait()?;
        }
        bail!("CoreDNS found no free port in {TRIES} tries")
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what a name is answered; see `tests/cluster/coredns` for the fields.
    ///
    /// # Errors
    ///
    /// The server is gone.
    pub fn set(&self, name: &str, answer: Value) -> Result<()> {
        let mut line = answer;
        line["name"] = json!(name);
        self.say(&line).map(drop)
    }

    /// Answers a name with these addresses.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn answer(&self, name: &str, addresses: &[&str], ttl: u32) -> Result<()> {
        self.set(name, json!({"addresses": addresses, "ttl": ttl}))
    }

    /// How often a name was asked for its IPv4 addresses.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn asked(&self, name: &str) -> Result<u32> {
        self.say(&json!({"name": name, "asked": true}))
    }

    fn say(&self, line: &Value) -> Result<u32> {
        let (input, output) = &mut *self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{line}")?;
        input.flush()?;
        loop {
            let mut said = String::new();
            ensure!(output.read_line(&mut said)? > 0, "CoreDNS has ended");
            if let Some(answer) = said.strip_prefix("> ") {
                return answer.trim().parse().with_context(|| format!("CoreDNS does not understand {line}: {answer}"));
            }
        }
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It has nothing to lose.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn is_ready(output: &mut BufReader<ChildStdout>) -> Result<bool> {
    let mut line = String::new();
    while output.read_line(&mut line)? > 0 {
        if line.starts_with("CoreDNS-") {
            return Ok(true);
        }
        line.clear();
    }
    Ok(false)
}
