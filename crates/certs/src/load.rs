//! A node's certificates, as they are now.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::CertError;

/// What a node's connections are made with.
pub struct Served {
    /// For clients, who may show a certificate.
    pub config: Arc<ServerConfig>,
    /// For other nodes, who have to.
    pub from_nodes: Arc<ServerConfig>,
    pub to_nodes: Arc<ClientConfig>,
    /// `tls-server-end-point` of RFC 5929; none where the certificate's signature names no hash.
    pub end_point: Option<Vec<u8>>,
    /// When the node's certificate ends, in seconds since 1970.
    pub not_after: i64,
}

/// The certificates of a directory. Connections keep what they were opened with.
pub struct NodeCerts {
    dir: PathBuf,
    current: ArcSwap<Served>,
}

impl NodeCerts {
    /// # Errors
    /// When a file is not there, is no certificate or key, does not fit the others, or can be read by others.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CertError> {
        let dir = dir.into();
        let current = ArcSwap::from_pointee(load(&dir)?);
        Ok(Self { dir, current })
    }

    #[must_use]
    pub fn current(&self) -> Arc<Served> {
        self.current.load_full()
    }

    /// Reads them again.
    ///
    /// # Errors
    /// As [`NodeCerts::open`]; those at hand stay.
    pub fn reload(&self) -> Result<(), CertError> {
        self.current.store(Arc::new(load(&self.dir)?));
        Ok(())
    }
}

fn load(dir: &Path) -> Result<Served, CertError> {
    let [ca, node, key] = ["ca.crt", "node.crt", "node.key"].map(|name| dir.join(name));
    let unusable = |path: &Path, reason: String| CertError::Unusable { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&ca)? {
        roots.add(certificate).map_err(|error| unusable(&ca, error.to_string()))?;
    }
    let chain = certificates(&node)?;
    let (end_point, not_after) = facts(&chain[0]).map_err(|reason| unusable(&node, reason))?;
    let private = private_key(&key)?;
    let (provider, roots) = (Arc::new(ring::default_provider()), Arc::new(roots));
    let verifier = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let of_ca = |error: VerifierBuilderError| unusable(&ca, error.to_string());
    let of_key = |error: rustls::Error| unusable(&key, error.to_string());
    let serving = |verifier: Arc<dyn ClientCertVerifier>| {
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), private.clone_key())
            });
        config.map(Arc::new).map_err(of_key)
    };
    let to_nodes = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            let config = config.with_root_certificates(roots.clone());
            config.with_client_auth_cert(chain.clone(), private.clone_key())
        });
    Ok(Served {
        config: serving(verifier().allow_unauthenticated().build().map_err(of_ca)?)?,
        from_nodes: serving(verifier().build().map_err(of_ca)?)?,
        to_nodes: Arc::new(to_nodes.map_err(of_key)?),
        end_point,
        not_after,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let text = fs::read(path).map_err(|source| CertError::Io { path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(CertError::Unusable { path: path.to_owned(), reason: "there is no certificate in it".into() }),
        Err(error) => Err(CertError::Unusable { path: path.to_owned(), reason: error.to_string() }),
    }
}

/// *keys-stay-private*: a key that others can read is not used.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertError> {
    let io = |source| CertError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(io)?.mode() & 0o077 != 0 {
        return Err(CertError::Exposed { path: path.to_owned() });
    }
    let text = fs::read(path).map_err(io)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| CertError::Unusable { path: path.to_owned(), reason: error.to_string() })
}

/// The end point's hash and the end of a certificate.
fn facts(certificate: &CertificateDer<'_>) -> Result<(Option<Vec<u8>>, i64), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let signature = parsed.signature_algorithm.algorithm.to_id_string();
    // RFC 5929, 4.1: the hash of the signature, or SHA-256 where that is MD5 or SHA-1.
    let end_point = match signature.as_str() {
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(Sha256::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Sha384::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    };
    Ok((end_point, parsed.validity().not_after.timestamp()))
}

/// The only common name of a certificate's subject.
#[must_use]
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    // Who it is for must not depend on which of two is read; a zero byte would end the name for others.
    (names.next().is_none() && !name.contains('\0')).then_some(name)
}

/// A certificate's subject as PostgreSQL shows it: `/O=…/CN=…`.
#[must_use]
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut shown = String::new();
    for attribute in parsed.subject().iter_attributes() {
        let oid = attribute.attr_type();
        let name = x509_parser::objects::oid2abbrev(oid, x509_parser::objects::oid_registry())
            .map_or_else(|_| oid.to_id_string(), str::to_owned);
        shown.extend(["/", &name, "=", attribute.as_str().unwrap_or("?")]);
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Lifetime, create_ca, create_client, create_node};

    fn hosts() -> Vec<String> {
        vec!["localhost".into(), "127.0.0.1".into(), "::1".into()]
    }

    #[test]
    fn what_is_made_can_be_served() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("certs");
        assert!(matches!(create_node(&dir, &hosts(), Lifetime(30)), Err(CertError::Io { .. })), "there is no CA yet");
        create_ca(&dir, Lifetime(30)).unwrap();
        create_node(&dir, &hosts(), Lifetime(30)).unwrap();
        create_client(&dir, "Some One", Lifetime(30)).unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        let certs = NodeCerts::open(&dir).unwrap();
        let served = certs.current();
        assert_eq!(served.end_point.as_ref().unwrap().len(), 32);
        let client = certificates(&dir.join("client.Some One.crt")).unwrap();
        assert_eq!(common_name(&client[0]).as_deref(), Some("Some One"));
        assert_eq!(subject(&client[0]).as_deref(), Some("/CN=Some One"));
        assert_eq!(common_name(b"nonsense"), None);
        assert!(matches!(create_ca(&dir, Lifetime(30)), Err(CertError::Exists { .. })));
        for wrong in ["", "node", "a/b"] {
            assert!(matches!(create_client(&dir, wrong, Lifetime(1)), Err(CertError::Name(_))), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_served_leaves_what_was() {
        let dir = tempfile::tempdir().unwrap();
        create_ca(dir.path(), Lifetime(30)).unwrap();
        create_node(dir.path(), &hosts(), Lifetime(30)).unwrap();
        let certs = NodeCerts::open(dir.path()).unwrap();
        let before = certs.current();
        let key = dir.path().join("node.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(certs.reload(), Err(CertError::Exposed { .. })), "keys-stay-private");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let old = fs::read(&key).unwrap();
        fs::remove_file(&key).unwrap();
        fs::remove_file(dir.path().join("node.crt")).unwrap();
        create_node(dir.path(), &hosts(), Lifetime(60)).unwrap();
        let new = fs::read(&key).unwrap();
        fs::write(&key, old).unwrap();
        assert!(matches!(certs.reload(), Err(CertError::Unusable { .. })), "the key of another certificate");
        assert!(Arc::ptr_eq(&certs.current(), &before));
        fs::write(&key, new).unwrap();
        certs.reload().unwrap();
        assert!(certs.current().not_after > before.not_after);
    }
}
