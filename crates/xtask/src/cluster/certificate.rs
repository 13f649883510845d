//! Client certificates: who somebody is to the API server.
//!
//! The user name is the common name, each group an organization. (rcgen is not used because a name of its making has
//! at most one organization.)

use std::path::Path;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder, RequestBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier, SetOfVec, Utf8StringRef};
use x509_cert::der::{Decode, DecodePem, Encode, EncodePem};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use super::{Error, Result};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const VALID: Duration = Duration::from_secs(24 * 60 * 60);
const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate and its key, both PEM. It has no `Debug`: a key must not get into a log.
pub(super) struct Identity {
    pub certificate: String,
    pub key: String,
}

/// Signs a certificate with the authority of an embedded cluster.
pub(super) fn sign(ca_cert: &Path, ca_key: &Path, user: &str, groups: &[&str]) -> Result<Identity> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(Error::io("read", path));
    let (ca_cert, ca_key) = (read(ca_cert)?, read(ca_key)?);
    let key = SigningKey::generate();
    let certificate = sign_key(&ca_cert, &ca_key, &key, user, groups).map_err(|e| Error::certificate(user, e))?;
    Ok(Identity { certificate, key: pem_of(&key, user)? })
}

type Failure = Box<dyn std::error::Error>;

fn sign_key(ca_cert: &str, ca_key: &str, key: &SigningKey, user: &str, groups: &[&str]) -> Result<String, Failure> {
    let issuer = Certificate::from_pem(ca_cert)?.tbs_certificate().subject().clone();
    let ca_key = SigningKey::from_pkcs8_pem(ca_key)?;
    let now = SystemTime::now();
    // Begun a little earlier, for a clock that is a little late.
    let validity = Validity::new(Time::try_from(now - Duration::from_secs(60))?, Time::try_from(now + VALID)?);
    let public = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
    // As unique as the key, of which this is a part; a leading bit would make it negative.
    let mut serial: [u8; 16] = public.subject_public_key.raw_bytes()[1..17].try_into()?;
    serial[0] = serial[0] & 0x3f | 0x40;
    let profile = ClientProfile { issuer, subject: subject(user, groups)? };
    let builder = CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, public)?;
    Ok(builder.build::<_, DerSignature>(&ca_key)?.to_pem(LineEnding::LF)?)
}

struct ClientProfile {
    issuer: Name,
    subject: Name,
}

impl BuilderProfile for ClientProfile {
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
        Ok(vec![
            KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(tbs.subject(), &[])?,
            ExtendedKeyUsage(vec![CLIENT_AUTH]).to_extension(tbs.subject(), &[])?,
        ])
    }
}

fn subject(user: &str, groups: &[&str]) -> Result<Name, Failure> {
    let mut names = RdnSequence::default();
    let all = groups.iter().map(|group| (ORGANIZATION, *group)).chain([(COMMON_NAME, user)]);
    for (oid, value) in all {
        let value = Any::encode_from(&Utf8StringRef::new(value)?)?;
        let pair = SetOfVec::from_iter([AttributeTypeAndValue { oid, value }])?;
        names.push(RelativeDistinguishedName::from(pair));
    }
    Ok(Name::from_der(&names.to_der()?)?)
}

fn pem_of(key: &SigningKey, user: &str) -> Result<String> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| Error::certificate(user, e))?;
    Ok(pem.to_string())
}

/// Asks the cluster for a certificate, and approves that as the administrator.
pub(super) async fn request(admin: Client, user: &str, groups: &[&str]) -> Result<Identity> {
    let key = SigningKey::generate();
    let csr = request_of(&key, user, groups).map_err(|e| Error::certificate(user, e))?;
    let api: Api<CertificateSigningRequest> = Api::all(admin);
    let object = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("cloister-xtask-".to_owned()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(csr.into_bytes()),
            signer_name: SIGNER.to_owned(),
            expiration_seconds: i32::try_from(VALID.as_secs()).ok(),
            usages: Some(vec!["client auth".to_owned()]),
            ..Default::default()
        },
        ..Default::default()
    };
    let created = api
        .create(&PostParams::default(), &object)
        .await
        .map_err(Error::api(format!("cannot ask the cluster for a certificate of {user:?}")))?;
    let name = created.metadata.name.unwrap_or_default();
    let certificate = approve_and_wait(&api, &name, user).await;
    let _ = api.delete(&name, &DeleteParams::default()).await;
    Ok(Identity { certificate: certificate?, key: pem_of(&key, user)? })
}

fn request_of(key: &SigningKey, user: &str, groups: &[&str]) -> Result<String, Failure> {
    let builder = RequestBuilder::new(subject(user, groups)?)?;
    Ok(builder.build::<_, DerSignature>(key)?.to_pem(LineEnding::LF)?)
}

async fn approve_and_wait(api: &Api<CertificateSigningRequest>, name: &str, user: &str) -> Result<String> {
    let approval = serde_json::json!({"status": {"conditions": [{
        "type": "Approved", "status": "True", "reason": "Xtask", "message": "asked for by cargo xtask",
    }]}});
    api.patch_approval(name, &PatchParams::default(), &Patch::Strategic(approval))
        .await
        .map_err(Error::api(format!("cannot approve the certificate of {user:?}")))?;
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        let csr = api.get(name).await.map_err(Error::api(format!("cannot read the certificate of {user:?}")))?;
        let status = csr.status.unwrap_or_default();
        if let Some(ByteString(pem)) = status.certificate {
            return String::from_utf8(pem).map_err(|e| Error::certificate(user, e));
        }
        let failed = status.conditions.into_iter().flatten().find(|c| c.type_ != "Approved");
        if let Some(condition) = failed {
            return Err(Error::certificate(user, condition.message.unwrap_or(condition.type_)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seconds = PATIENCE.as_secs();
    Err(Error::certificate(user, format!("the cluster's signer {SIGNER} did not answer within {seconds} s")))
}
