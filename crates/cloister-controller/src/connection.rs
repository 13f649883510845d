//! The connection to the API server: one client for everything, whose connections are given up when they are dead.
//!
//! A connection can be dead without anybody saying so: its other end is gone, or something in between has forgotten it. What
//! is sent on it is never answered. So each request must be answered within a time, and one that is not has the client made
//! anew: what is sent from then on goes over new connections, and what still waits on old ones is given up once the new
//! ones answer.

use crate::clock::{Clock, elapsed};
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};
use tower::{BoxError, Service, util::MapRequestLayer};
use tracing::warn;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Until the API server begins to answer.
    answer: Duration,
    /// How long what was sent on older connections still waits once newer ones answer.
    grace: Duration,
    /// How long a connection may be silent, idle ones and watches included: the API server ends each watch before that.
    silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { answer: Duration::from_secs(12), grace: Duration::from_secs(3), silence: Duration::from_secs(45) }
    }
}

/// Something was not answered.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It took too long.
    #[error("no answer within {0:?}")]
    InTime(Duration),
    /// It waited on a connection that is taken for dead.
    #[error("its connection was closed, because newer connections answer and this one does not")]
    OnThisConnection,
}

/// The connection.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    clock: Clock,
    limits: Limits,
    client: Mutex<Client>,
    generation: watch::Sender<Generation>,
    ears: Mutex<HashMap<String, Weak<Ear>>>,
}

/// The connections that stand since the client was last made.
#[derive(Clone, Copy, Debug, Default)]
struct Generation {
    number: u64,
    /// Whether anything was answered on them.
    answers: bool,
}

/// When the API server last answered a list or a watch of some objects.
#[derive(Debug)]
pub struct Ear {
    /// In milliseconds of elapsed time.
    last: AtomicU64,
}

impl Default for Ear {
    fn default() -> Self {
        let ear = Ear { last: AtomicU64::new(0) };
        ear.hear();
        ear
    }
}

impl Ear {
    fn hear(&self) {
        self.last.store(millis(elapsed()), Ordering::Relaxed);
    }

    /// How long nothing was heard.
    pub fn silence(&self) -> Duration {
        let last = self.last.load(Ordering::Relaxed);
        Duration::from_millis(millis(elapsed()).saturating_sub(last))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Connection {
    /// A connection to the API server of this configuration, whose answers set the clock.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn new(config: Config, clock: Clock) -> kube::Result<Self> {
        Self::with(config, clock, Limits::default())
    }

    fn with(mut config: Config, clock: Clock, limits: Limits) -> kube::Result<Self> {
        // A failed request is tried again with its key, when what it was for has been decided anew.
        config.default_retry = false;
        config.read_timeout = Some(limits.silence);
        // Counted from the request, not from when the connection was last used.
        config.reset_reader_on_write = true;
        config.connect_timeout = Some(limits.answer / 3);
        let client = Mutex::new(make(&config)?);
        let generation = watch::Sender::new(Generation::default());
        let inner = Inner { config, clock, limits, client, generation, ears: Mutex::default() };
        Ok(Connection { inner: Arc::new(inner) })
    }

    /// The client that everything is to be asked by. It stays the same.
    pub fn client(&self) -> Client {
        Client::new(Through(self.inner.clone()), self.inner.config.default_namespace.clone())
    }

    /// Which connections things are sent over now, to be said to [`Connection::renew`].
    pub fn generation(&self) -> u64 {
        self.inner.generation.borrow().number
    }

    /// Says that something which was sent over these connections was not answered: what comes is sent over new ones.
    pub fn renew(&self, since: u64) {
        self.inner.renew(since);
    }

    /// Listens whether lists and watches at this path are answered.
    pub fn listen(&self, path: &str) -> Arc<Ear> {
        let ear = Arc::new(Ear::default());
        let mut ears = lock(&self.inner.ears);
        ears.retain(|_, ear| ear.strong_count() > 0);
        ears.insert(path.to_owned(), Arc::downgrade(&ear));
        ear
    }
}

impl Inner {
    fn ear(&self, request: &Request<Body>) -> Option<Arc<Ear>> {
        // A list of one is a question about something else: see the heartbeat.
        let is_probe = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "limit=1"));
        if is_probe {
            return None;
        }
        (request.method() == Method::GET).then(|| lock(&self.ears).get(request.uri().path())?.upgrade())?
    }

    /// Makes the client anew, unless somebody did since this generation.
    fn renew(&self, since: u64) {
        let mut client = lock(&self.client);
        if self.generation.borrow().number != since {
            return;
        }
        match make(&self.config) {
            Ok(made) => {
                *client = made;
                self.generation.send_replace(Generation { number: since + 1, answers: false });
                warn!("the API server does not answer; the operator opens new connections");
            }
            Err(error) => warn!(%error, "the API server does not answer, and the operator cannot create a new client"),
        }
    }

    fn answered(&self, generation: u64) {
        self.generation.send_if_modified(|now| {
            let news = now.number == generation && !now.answers;
            now.answers |= news;
            news
        });
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let ear = self.ear(&request);
        let (client, mut generation) = {
            let client = lock(&self.client);
            (client.clone(), self.generation.subscribe())
        };
        let number = generation.borrow_and_update().number;
        let overtaken = async {
            let _ = generation.wait_for(|now| now.number > number && now.answers).await;
            tokio::time::sleep(self.limits.grace).await;
        };
        let sent = elapsed();
        let answer = tokio::select! {
            answer = timeout(self.limits.answer, client.send(request)) => match answer {
                Ok(answer) => answer?,
                Err(_) => {
                    self.renew(number);
                    return Err(NoAnswer::InTime(self.limits.answer).into());
                }
            },
            () = overtaken => return Err(NoAnswer::OnThisConnection.into()),
        };
        self.clock.observe(&answer, sent);
        self.answered(number);
        if let Some(ear) = ear.filter(|_| answer.status().is_success()) {
            ear.hear();
        }
        Ok(answer)
    }
}

fn make(config: &Config) -> kube::Result<Client> {
    Ok(ClientBuilder::try_from(config.clone())?.with_layer(&MapRequestLayer::new(consistent)).build())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends each request by the client that is current.
#[derive(Clone)]
struct Through(Arc<Inner>);

impl Service<Request<Body>> for Through {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.send(request).await })
    }
}

/// Makes a streamed list one of what is stored, as other lists are: the client asks for whatever the API server has in its
/// cache, which may be old.
fn consistent<B>(mut request: http::Request<B>) -> http::Request<B> {
    let Some((path, query)) = request.uri().path_and_query().and_then(|all| all.as_str().split_once('?')) else {
        return request;
    };
    if query.split('&').any(|part| part == "sendInitialEvents=true") {
        let kept: Vec<&str> = query.split('&').filter(|part| *part != "resourceVersion=0").collect();
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = format!("{path}?{}", kept.join("&")).parse().ok();
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::oneshot,
    };

    /// A server whose first connection says nothing, and whose others answer. Tells when it was asked on the first.
    async fn half_dead(answer: Duration) -> (Connection, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = oneshot::channel();
        tokio::spawn(async move {
            let (mut silent, _) = listener.accept().await.unwrap();
            silent.read_u8().await.unwrap();
            sender.send(()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let limits = Limits { answer, grace: Duration::from_millis(20), ..Limits::default() };
        (Connection::with(config, Clock::default(), limits).unwrap(), asked)
    }

    async fn serve(mut stream: TcpStream) {
        let mut request = [0; 4096];
        while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        }
    }

    async fn ask(client: &Client) -> kube::Result<String> {
        client.request_text(Request::get("/api/v1/pods").body(Vec::new()).unwrap()).await
    }

    #[tokio::test]
    async fn a_dead_connection_is_given_up() {
        let (connection, _asked) = half_dead(Duration::from_millis(500)).await;
        let client = connection.client();
        let ear = connection.listen("/api/v1/pods");
        let error = ask(&client).await.unwrap_err();
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert!(ear.silence() >= Duration::from_millis(400), "nothing was heard");
        assert_eq!(ask(&client).await.unwrap(), "{}");
        assert!(ear.silence() < Duration::from_millis(400));
        assert_eq!(connection.inner.generation.borrow().number, 1, "it was made anew once");
    }

    #[tokio::test]
    async fn what_waits_on_a_dead_connection_is_given_up_once_another_answers() {
        let (connection, asked) = half_dead(Duration::from_secs(3600)).await;
        let client = connection.client();
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { ask(&client).await }
        });
        asked.await.unwrap();
        connection.inner.renew(0);
        connection.inner.renew(0);
        assert_eq!(connection.inner.generation.borrow().number, 1, "twice is once");
        assert_eq!(ask(&client).await.unwrap(), "{}");
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("was closed, because newer"), "{error}");
    }

    fn asked(uri: &str) -> String {
        consistent(http::Request::get(uri).body(()).unwrap()).uri().to_string()
    }
    #[test]
    fn a_streamed_list_is_never_an_old_one() {
        let streamed =
            "https://api:6443/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(asked(&format!("{streamed}&resourceVersion=0")), streamed);
        let watched = "https://api:6443/api/v1/pods?watch=true&resourceVersion=0";
        assert_eq!(asked(watched), watched);
        assert_eq!(asked("https://api:6443/livez"), "https://api:6443/livez");
    }
}
