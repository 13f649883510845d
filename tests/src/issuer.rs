//! An identity provider on this machine: what an OpenID Connect issuer shows to an API server that verifies its tokens
//! (OpenID Connect Discovery 1.0, RFC 7517), and the tokens (RFC 7519, ES256). Nobody logs in to it.

use anyhow::Result;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64_URL, Engine};
use p256::ecdsa::{DerSignature, Signature, SigningKey, signature::Signer};
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use x509_cert::builder::{Builder, CertificateBuilder, profile::BuilderProfile};
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::der::{
    Encode, EncodePem,
    asn1::{ObjectIdentifier, OctetString},
    pem::LineEnding,
};
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, name::GeneralName,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

/// Whom the tokens are for.
pub const AUDIENCE: &str = "cloister";

const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const KEY_ID: &str = "key";
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/keys";

const VALID: Duration = Duration::from_secs(60 * 60);
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_CONNECTIONS: usize = 16;
const LONGEST_REQUEST: u64 = 8 * 1024;

/// A running issuer. It ends with this value.
pub struct Issuer {
    url: String,
    authority: String,
    key: SigningKey,
    server: JoinHandle<()>,
}

impl Issuer {
    /// Starts one with keys and a certificate authority of its own.
    pub async fn start() -> Result<Self> {
        xtask::cluster::install_crypto();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://{}", listener.local_addr()?);
        let (authority, config) = tls()?;
        let key = SigningKey::generate();
        let pages = Arc::new(pages(&url, &key)?);
        let server = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), pages));
        Ok(Issuer { url, authority, key, server })
    }

    /// Its name, which is where it is found.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority that its server is known by, PEM.
    pub fn certificate_authority(&self) -> &str {
        &self.authority
    }

    /// A token with these claims, and for an hour: `iss`, `aud`, `iat` and `exp` are put in where they are absent.
    pub fn token(&self, claims: Value) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut all = json!({
            "iss": self.url, "aud": AUDIENCE, "iat": now.as_secs(), "exp": (now + VALID).as_secs(),
        });
        for (claim, value) in claims.as_object().into_iter().flatten() {
            all[claim] = value.clone();
        }
        let encoded = |part: Value| BASE64_URL.encode(part.to_string());
        let signed = format!("{}.{}", encoded(json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID})), encoded(all));
        let signature: Signature = self.key.sign(signed.as_bytes());
        Ok(format!("{signed}.{}", BASE64_URL.encode(signature.to_bytes())))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// All that an API server asks for.
fn pages(url: &str, key: &SigningKey) -> Result<BTreeMap<&'static str, String>> {
    let point = key.verifying_key().to_sec1_point(false);
    let (x, y) = point.as_bytes()[1..].split_at(32);
    let (x, y) = (BASE64_URL.encode(x), BASE64_URL.encode(y));
    let about = json!({
        "issuer": url, "jwks_uri": format!("{url}{KEYS}"), "authorization_endpoint": format!("{url}/nobody-logs-in"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    let public = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": x, "y": y});
    Ok(BTreeMap::from([(DISCOVERY, about.to_string()), (KEYS, json!({"keys": [public]}).to_string())]))
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, pages: Arc<BTreeMap<&'static str, String>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        // Who hangs up, or is too slow, is not answered.
        connections.spawn(timeout(PATIENCE, answer(stream, tls.clone(), pages.clone())));
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, tls: TlsAcceptor, pages: Arc<BTreeMap<&'static str, String>>) -> Result<()> {
    let mut stream = tls.accept(stream).await?;
    let mut head = Vec::new();
    let mut request = (&mut stream).take(LONGEST_REQUEST);
    while !head.ends_with(b"\r\n\r\n") {
        head.push(request.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.strip_prefix("GET ").and_then(|rest| rest.split_once(' ')).map(|(path, _)| path);
    let (status, body) = match path.and_then(|path| pages.get(path)) {
        Some(page) => ("200 OK", page.as_str()),
        None => ("404 Not Found", "{}"),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A certificate authority (PEM), and a server on loopback with a certificate of it.
fn tls() -> Result<(String, ServerConfig)> {
    let make = || -> Result<(String, ServerConfig), Failure> {
        let (authority_key, key) = (SigningKey::generate(), SigningKey::generate());
        let authority = certificate("CN=issuer-ca", &authority_key, &authority_key)?;
        let server = CertificateDer::from(certificate("CN=issuer", &key, &authority_key)?.to_der()?);
        let key = PrivateKeyDer::try_from(key.to_pkcs8_der()?.as_bytes().to_vec())?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![server], key)?;
        Ok((authority.to_pem(LineEnding::LF)?, config))
    };
    make().map_err(|error| anyhow::anyhow!("cannot make the issuer's certificate: {error}"))
}

fn certificate(subject: &str, key: &SigningKey, authority: &SigningKey) -> Result<Certificate, Failure> {
    let is_authority = key == authority;
    let now = SystemTime::now();
    let validity = Validity::new(Time::try_from(now - Duration::from_secs(60))?, Time::try_from(now + 24 * VALID)?);
    let public = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
    let profile = Profile { subject: subject.parse()?, issuer: "CN=issuer-ca".parse()?, is_authority };
    let serial = if is_authority { 1_u32 } else { 2 };
    Ok(CertificateBuilder::new(profile, serial.into(), validity, public)?.build::<_, DerSignature>(authority)?)
}

/// The authority's own certificate, or that of its server.
struct Profile {
    issuer: Name,
    subject: Name,
    is_authority: bool,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let of = tbs.subject();
        if self.is_authority {
            return Ok(vec![
                BasicConstraints { ca: true, path_len_constraint: Some(0) }.to_extension(of, &[])?,
                KeyUsage(KeyUsages::KeyCertSign.into()).to_extension(of, &[])?,
            ]);
        }
        let address = GeneralName::IpAddress(OctetString::new(Ipv4Addr::LOCALHOST.octets())?);
        Ok(vec![
            KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(of, &[])?,
            ExtendedKeyUsage(vec![SERVER_AUTH]).to_extension(of, &[])?,
            SubjectAltName(vec![address]).to_extension(of, &[])?,
        ])
    }
}
