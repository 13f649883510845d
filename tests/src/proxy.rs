//! Faults of the network and of the API server's clock: a proxy between the operator and the API server.
//!
//! It speaks plain HTTP on a port of its own and TLS to the API server. It changes nothing by itself; each fault is begun
//! and ended by the test. A fault concerns what is under way and what comes, except where it says otherwise.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kube::config::Kubeconfig;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use xtask::cluster::Cluster;

/// Before the value of the header that says the API server's time, at the beginning of a line.
const DATE: &[u8] = b"date: ";

/// How long that value is.
const DATE_LENGTH: usize = "Thu, 26 Nov 2026 04:37:41 GMT".len();

/// By how many seconds the date of an answer is moved, by the number of the answer.
type Shift = dyn Fn(u64) -> i64 + Send + Sync;

/// A proxy. Its faults end with it, and so do its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    server: (String, u16),
    tls: TlsConnector,
    faults: watch::Sender<Faults>,
    shift: Mutex<Arc<Shift>>,
    answers: AtomicU64,
    connections: AtomicUsize,
}

/// What is wrong at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// New connections are closed at once.
    refuse: bool,
    /// New connections are accepted, and nothing comes of them.
    swallow: bool,
    /// Connections of this generation and older are silent.
    silent: u64,
    /// Connections of this generation and older are closed.
    closed: u64,
    /// The generation of new connections.
    generation: u64,
    /// How long each piece takes, in both directions.
    delay: Duration,
}

impl Faults {
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation - 1
    }
}

impl Proxy {
    /// Starts a proxy before the API server of this cluster. It lives in the runtime of the test that starts it.
    ///
    /// # Errors
    ///
    /// The cluster's kubeconfig does not say where it is.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        xtask::cluster::install_crypto();
        let kubeconfig = cluster.admin_kubeconfig();
        let at =
            kubeconfig.clusters.into_iter().find_map(|named| named.cluster).context("a kubeconfig of no cluster")?;
        let server: http::Uri = at.server.context("a cluster of no address")?.parse()?;
        let authority = at.certificate_authority_data.context("no certificate authority")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&STANDARD.decode(authority)?) {
            roots.add(certificate?)?;
        }
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let host = server.host().context("no host")?.trim_matches(['[', ']']).to_owned();
        let shared = Arc::new(Shared {
            server: (host, server.port_u16().unwrap_or(443)),
            tls: TlsConnector::from(Arc::new(tls)),
            faults: watch::Sender::new(Faults { generation: 1, ..Faults::default() }),
            shift: Mutex::new(Arc::new(|_| 0)),
            answers: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Proxy { address, shared, accepting })
    }

    /// The same kubeconfig, leading through the proxy. What it identifies itself by must be a token: a client certificate
    /// does not get through.
    pub fn kubeconfig(&self, mut kubeconfig: Kubeconfig) -> Kubeconfig {
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("http://{}", self.address));
            cluster.certificate_authority_data = None;
            cluster.certificate_authority = None;
        }
        kubeconfig
    }

    /// Moves the `Date` of each answer by as many seconds as this says for its number, which is counted from now on.
    pub fn shift_dates(&self, by: impl Fn(u64) -> i64 + Send + Sync + 'static) {
        *self.shared.shift() = Arc::new(by);
        self.shared.answers.store(0, Ordering::Relaxed);
    }

    /// How many answers had a date since dates were last moved.
    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Refuses connections, those that stand too, as an API server that is not there.
    pub fn refuse(&self) {
        self.shared.change(|faults| {
            faults.refuse = true;
            faults.closed = faults.next_generation();
        });
    }

    /// Accepts connections and answers nothing, also on those that stand.
    pub fn blackhole(&self) {
        self.shared.change(|faults| {
            faults.swallow = true;
            faults.silent = faults.next_generation();
        });
    }

    /// Lets nothing more through on the connections that stand, without closing them; new ones work.
    pub fn blackhole_existing(&self) {
        self.shared.change(|faults| faults.silent = faults.next_generation());
    }

    /// Closes the connections that stand; new ones work.
    pub fn reset(&self) {
        self.shared.change(|faults| faults.closed = faults.next_generation());
    }

    /// Delays each piece of a request and of an answer.
    pub fn delay(&self, by: Duration) {
        self.shared.change(|faults| faults.delay = by);
    }

    /// Ends all faults. Connections that were made silent stay so, as they would.
    pub fn heal(&self) {
        self.shift_dates(|_| 0);
        self.shared.change(|faults| {
            faults.refuse = false;
            faults.swallow = false;
            faults.delay = Duration::ZERO;
        });
    }

    /// How many connections there are, silent ones included.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.refuse();
    }
}

impl Shared {
    fn change(&self, how: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(how);
    }

    fn shift(&self) -> MutexGuard<'_, Arc<Shift>> {
        self.shift.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the dates in a piece of an answer. `line` says whether a line begins with it.
    fn move_dates(&self, piece: &mut [u8], line: bool) {
        let mut from = 0;
        while let Some(at) = find_date(piece, from, line) {
            let begin = at + DATE.len();
            let Some(date) = piece.get_mut(begin..begin + DATE_LENGTH) else { return };
            let number = self.answers.fetch_add(1, Ordering::Relaxed);
            let by = SignedDuration::from_secs((self.shift().clone())(number));
            if !by.is_zero()
                && let Some(moved) = moved(date, by)
            {
                date.copy_from_slice(moved.as_bytes());
            }
            from = begin + DATE_LENGTH;
        }
    }
}

fn begins_line(text: &[u8], at: usize, line: bool) -> bool {
    at.checked_sub(1).map_or(line, |before| text[before] == b'\n')
}

/// Where the header begins, from a place on.
fn find_date(text: &[u8], from: usize, line: bool) -> Option<usize> {
    (from..text.len()).find(|&at| {
        begins_line(text, at, line)
            && text[at..].get(..DATE.len()).is_some_and(|header| header.eq_ignore_ascii_case(DATE))
    })
}

fn moved(date: &[u8], by: SignedDuration) -> Option<String> {
    let at: Timestamp = jiff::fmt::rfc2822::parse(std::str::from_utf8(date).ok()?).ok()?.timestamp();
    let text = (at + by).to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    (text.len() == DATE_LENGTH).then_some(text)
}

/// How much of the end of a piece must wait for the next, because the header begins in it and does not end. The end of a
/// line is nothing to wait for: it may be the last for long.
fn kept_back(piece: &[u8], line: bool) -> usize {
    let whole = DATE.len() + DATE_LENGTH;
    let begins = |at: usize| {
        let known = &piece[at..];
        let known = &known[..known.len().min(DATE.len())];
        begins_line(piece, at, line) && known.eq_ignore_ascii_case(&DATE[..known.len()])
    };
    let first = (piece.len() + 1).saturating_sub(whole);
    (first..piece.len()).find(|at| begins(*at)).map_or(0, |at| piece.len() - at)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut faults = shared.faults.subscribe();
            let Faults { refuse, swallow, generation, .. } = *faults.borrow();
            if refuse {
                return;
            }
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let until_closed = faults.wait_for(|now| now.closed >= generation);
            tokio::select! {
                _ = until_closed => {}
                _ = relay(stream, &shared, generation), if !swallow => {}
            }
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Carries both directions until one ends.
async fn relay(client: TcpStream, shared: &Shared, generation: u64) -> Result<()> {
    let (host, port) = &shared.server;
    let upstream = TcpStream::connect((host.as_str(), *port)).await?;
    upstream.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let server = shared.tls.connect(ServerName::try_from(host.clone())?, upstream).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        ended = carry(from_client, to_server, shared, generation, false) => ended,
        ended = carry(from_server, to_client, shared, generation, true) => ended,
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    generation: u64,
    answers: bool,
) -> Result<()> {
    let mut held: Vec<u8> = Vec::new();
    let mut line = false;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        held.extend_from_slice(&buffer[..count]);
        let now = *shared.faults.borrow();
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if shared.faults.borrow().silent >= generation {
            std::future::pending::<()>().await;
        }
        let keep = if answers { kept_back(&held, line) } else { 0 };
        let rest = held.split_off(held.len() - keep);
        if answers {
            shared.move_dates(&mut held, line);
            line = held.last().map_or(line, |last| *last == b'\n');
        }
        to.write_all(&held).await?;
        to.flush().await?;
        held = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_moved_wherever_it_is_cut() {
        let moved = moved(b"Thu, 26 Nov 2026 23:59:41 GMT", SignedDuration::from_secs(60)).unwrap();
        assert_eq!(moved, "Fri, 27 Nov 2026 00:00:41 GMT");
        let answer = b"HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 23:59:41 GMT\r\n\r\n{}\r\n";
        let is_whole =
            |text: &[u8], line| find_date(text, 0, line).is_some_and(|at| text.len() >= at + DATE.len() + DATE_LENGTH);
        for cut in 1..answer.len() {
            let (first, second) = answer.split_at(cut);
            let passed = &first[..first.len() - kept_back(first, false)];
            let rest = &answer[passed.len()..];
            let line = passed.ends_with(b"\n");
            assert!(is_whole(passed, false) != is_whole(rest, line), "cut at {cut}");
            assert!(!second.is_empty());
        }
        for piece in [&answer[..], b"HTTP/1.1 200 OK\r\n\r\n", b"5\r\n{}\r\n0\r\n\r\n"] {
            assert_eq!(kept_back(piece, false), 0, "what is whole waits for nothing");
        }
    }
}
