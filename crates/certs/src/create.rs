//! Making certificates: ECDSA over P-256, as everything that speaks TLS knows it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::{CertError, Identity, NODE};

/// How long a certificate is valid, in days.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime(pub u32);

/// Makes a CA, in a directory that is made where there is none.
///
/// # Errors
/// When there is one already, or the files cannot be written.
pub fn create_ca(dir: &Path, lifetime: Lifetime) -> Result<(), CertError> {
    let mut params = params("Quorate CA", lifetime);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let path = dir.join("ca.crt");
    let key = KeyPair::generate().map_err(|error| unusable(&path, &error))?;
    let certificate = params.self_signed(&key).map_err(|error| unusable(&path, &error))?;
    write_pair(dir, "ca", &certificate.pem(), &key)
}

/// Makes the certificate of a node, which serves under these names and addresses; bound to a node of a cluster, or
/// unbound.
///
/// # Errors
/// As [`create_ca`]; when there is no CA, or a name is none.
pub fn create_node(dir: &Path, hosts: &[String], identity: Option<&Identity>, lifetime: Lifetime) -> Result<(), CertError> {
    create_signed(dir, NODE, node_params(hosts, identity, lifetime)?)
}

fn node_params(hosts: &[String], identity: Option<&Identity>, lifetime: Lifetime) -> Result<CertificateParams, CertError> {
    let mut params = params(NODE, lifetime);
    let not_names = |error| CertError::Name(format!("not names or addresses of hosts: {}: {error}", hosts.join(" ")));
    params.subject_alt_names = CertificateParams::new(hosts).map_err(not_names)?.subject_alt_names;
    if let Some(identity) = identity {
        params.subject_alt_names.push(SanType::URI(identity.to_string().try_into().map_err(not_names)?));
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// A key of this node's, and the request that a certificate be signed for it. The key does not leave the node.
pub struct Request {
    pub der: Vec<u8>,
    key: KeyPair,
}

impl Request {
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, CertError> {
        let failed = |error: rcgen::Error| CertError::Name(format!("a key could not be made: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        let request = CertificateParams::default().serialize_request(&key).map_err(failed)?;
        Ok(Self { der: request.der().to_vec(), key })
    }

    /// What a `node.pem` consists of.
    #[must_use]
    pub fn with_certificate(&self, pem: &str) -> String {
        format!("{}{pem}", self.key.serialize_pem())
    }
}

/// Whether the CA's key is in a directory.
#[must_use]
pub fn can_sign(dir: &Path) -> bool {
    dir.join("ca.key").exists()
}

/// Signs a request for a node of a cluster: of the request itself only the key counts. Answers PEM.
///
/// # Errors
/// As [`create_node`]; when the request is none, or is not signed by its own key.
pub fn sign_node(
    dir: &Path,
    request: &[u8],
    hosts: &[String],
    identity: &Identity,
    lifetime: Lifetime,
) -> Result<String, CertError> {
    let bad = |error| CertError::Name(format!("not a request for a certificate: {error}"));
    let request = CertificateSigningRequestParams::from_der(&request.into()).map_err(bad)?;
    let mut params = node_params(hosts, Some(identity), lifetime)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let issuer = issuer(dir)?;
    let path = dir.join("ca.key");
    let certificate = params.signed_by(&request.public_key, &issuer).map_err(|error| unusable(&path, &error))?;
    Ok(certificate.pem())
}

/// Writes a file with a key in it, in the place of one that may be there: *keys-stay-private*, and whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), CertError> {
    let at = |source| CertError::Io { path: path.to_owned(), source };
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(at)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at)?;
    fs::rename(&new, path).map_err(at)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(at)
}

/// Makes the certificate of a client that connects as a role.
///
/// # Errors
/// As [`create_node`].
pub fn create_client(dir: &Path, role: &str, lifetime: Lifetime) -> Result<(), CertError> {
    if role.is_empty() || role == NODE || role.contains(['/', '\0']) {
        return Err(CertError::Name(format!("a client's certificate cannot be for \"{role}\"")));
    }
    let mut params = params(role, lifetime);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    create_signed(dir, &format!("client.{role}"), params)
}

fn params(common_name: &str, lifetime: Lifetime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    // Clocks differ.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(i64::from(lifetime.0));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The CA of a directory.
fn issuer(dir: &Path) -> Result<Issuer<'static, KeyPair>, CertError> {
    let read = |name: &str| {
        let path = dir.join(name);
        let text = fs::read_to_string(&path).map_err(|source| CertError::Io { path: path.clone(), source })?;
        Ok::<_, CertError>((path, text))
    };
    let (key_path, key) = read("ca.key")?;
    let (path, certificate) = read("ca.crt")?;
    let key = KeyPair::from_pem(&key).map_err(|error| unusable(&key_path, &error))?;
    Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| unusable(&path, &error))
}

fn create_signed(dir: &Path, stem: &str, mut params: CertificateParams) -> Result<(), CertError> {
    let issuer = issuer(dir)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let path = dir.join(format!("{stem}.crt"));
    let key = KeyPair::generate().map_err(|error| unusable(&path, &error))?;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| unusable(&path, &error))?;
    write_pair(dir, stem, &certificate.pem(), &key)
}

fn unusable(path: &Path, error: &rcgen::Error) -> CertError {
    CertError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

/// *keys-stay-private*: the mode is there before the content.
fn write_pair(dir: &Path, stem: &str, certificate: &str, key: &KeyPair) -> Result<(), CertError> {
    let at = |path: &Path, source| CertError::Io { path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| at(dir, source))?;
    let paths = [dir.join(format!("{stem}.key")), dir.join(format!("{stem}.crt"))];
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(CertError::Exists { path: path.clone() });
    }
    for (path, text) in paths.iter().zip([key.serialize_pem().as_str(), certificate]) {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| at(path, source))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| at(path, source))?;
    }
    Ok(())
}
