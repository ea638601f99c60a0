//! Making certificates: ECDSA over P-256, as everything that speaks TLS knows it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::{CertError, NODE};

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

/// Makes the certificate of a node, which serves under these names and addresses.
///
/// # Errors
/// As [`create_ca`]; when there is no CA, or a name is none.
pub fn create_node(dir: &Path, hosts: &[String], lifetime: Lifetime) -> Result<(), CertError> {
    let mut params = params(NODE, lifetime);
    params.subject_alt_names = CertificateParams::new(hosts)
        .map_err(|error| CertError::Name(format!("not names or addresses of hosts: {}: {error}", hosts.join(" "))))?
        .subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    create_signed(dir, NODE, params)
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

fn create_signed(dir: &Path, stem: &str, mut params: CertificateParams) -> Result<(), CertError> {
    let read = |name: &str| {
        let path = dir.join(name);
        let text = fs::read_to_string(&path).map_err(|source| CertError::Io { path: path.clone(), source })?;
        Ok::<_, CertError>((path, text))
    };
    let (key_path, key) = read("ca.key")?;
    let (path, certificate) = read("ca.crt")?;
    let key = KeyPair::from_pem(&key).map_err(|error| unusable(&key_path, &error))?;
    let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| unusable(&path, &error))?;
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
