//! A node's certificates, as they are now.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{CertError, NODE, Names, create::write_private, names};

/// What a node's connections are made with.
pub struct Served {
    /// For clients, who may show a certificate.
    pub config: Arc<ServerConfig>,
    /// For other nodes, who have to.
    pub from_nodes: Arc<ServerConfig>,
    pub to_nodes: Arc<ClientConfig>,
    /// For a node that has nothing but a token yet: it shows no certificate, and is shown the CA's beside the node's.
    pub joining: Arc<ServerConfig>,
    /// What the node's certificate says of whom it is for.
    pub names: Names,
    /// When it begins.
    pub not_before: i64,
    /// `tls-server-end-point` of RFC 5929; none where the certificate's signature names no hash.
    pub end_point: Option<Vec<u8>>,
    /// When the node's certificate ends, in seconds since 1970.
    pub not_after: i64,
}

/// The certificates of a directory. Connections keep what they were opened with.
pub struct NodeCerts {
    dir: PathBuf,
    /// Where the certificate is that the cluster has given the node, once it has.
    bound: PathBuf,
    current: ArcSwap<Served>,
}

impl NodeCerts {
    /// # Errors
    /// When a file is not there, is no certificate or key, does not fit the others, or can be read by others.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CertError> {
        let dir = dir.into();
        let bound = dir.join(BOUND);
        Self::open_with(dir, bound)
    }

    /// With the node's bound certificate in a file of its own: nodes may share a directory.
    ///
    /// # Errors
    /// As [`NodeCerts::open`].
    pub fn open_with(dir: impl Into<PathBuf>, bound: impl Into<PathBuf>) -> Result<Self, CertError> {
        let (dir, bound) = (dir.into(), bound.into());
        let current = ArcSwap::from_pointee(load(&dir, &bound)?);
        Ok(Self { dir, bound, current })
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes a certificate that the cluster has given the node, and serves with it.
    ///
    /// # Errors
    /// When it cannot be written, or is not good; what was there stays in use.
    pub fn adopt(&self, pem: &str) -> Result<(), CertError> {
        write_private(&self.bound, pem)?;
        self.reload()
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
        self.current.store(Arc::new(load(&self.dir, &self.bound)?));
        Ok(())
    }
}

/// A bound certificate's file.
pub(crate) const BOUND: &str = "node.pem";

/// The node's certificate and key, and the file of each. The one that the cluster has given is used unless there is one for
/// the same node in the directory that ends later, or it is of another CA than `ca.crt` is by now.
fn chosen(dir: &Path, bound: &Path, cas: &[CertificateDer<'static>]) -> Result<[PathBuf; 2], CertError> {
    let made = [dir.join("node.crt"), dir.join("node.key")];
    if !bound.exists() {
        return Ok(made);
    }
    let unusable = |reason: String| CertError::Unusable { path: bound.to_owned(), reason };
    let given = certificates(bound)?;
    let is_of_ca = cas.iter().any(|ca| is_signed_by(&given[0], ca));
    let given_until = facts(&given[0]).map_err(unusable)?.not_after;
    let identity = names(&given[0]).map_err(unusable)?.identity;
    let is_better = certificates(&made[0]).is_ok_and(|chain| {
        let is_for_it = names(&chain[0]).is_ok_and(|names| names.identity.is_some() && names.identity == identity);
        !is_of_ca || is_for_it && facts(&chain[0]).is_ok_and(|facts| facts.not_after > given_until)
    });
    Ok(if is_better { made } else { [bound.to_owned(), bound.to_owned()] })
}

/// Whether a CA has signed a certificate.
fn is_signed_by(certificate: &[u8], ca: &[u8]) -> bool {
    let (Ok((_, certificate)), Ok((_, ca))) = (X509Certificate::from_der(certificate), X509Certificate::from_der(ca)) else {
        return false;
    };
    certificate.issuer() == ca.subject() && certificate.verify_signature(Some(ca.public_key())).is_ok()
}

fn load(dir: &Path, bound: &Path) -> Result<Served, CertError> {
    let ca = dir.join("ca.crt");
    let unusable = |path: &Path, reason: String| CertError::Unusable { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let cas = certificates(&ca)?;
    for certificate in &cas {
        roots.add(certificate.clone()).map_err(|error| unusable(&ca, error.to_string()))?;
    }
    let [node, key] = chosen(dir, bound, &cas)?;
    let chain = certificates(&node)?;
    let Facts { end_point, not_before, not_after } = facts(&chain[0]).map_err(|reason| unusable(&node, reason))?;
    let names = names(&chain[0]).map_err(|reason| unusable(&node, reason))?;
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
    let shown: Vec<_> = chain.iter().chain(&cas).cloned().collect();
    let joining = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|config| config.with_no_client_auth().with_single_cert(shown, private.clone_key()));
    Ok(Served {
        joining: Arc::new(joining.map_err(of_key)?),
        names,
        not_before,
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

struct Facts {
    end_point: Option<Vec<u8>>,
    not_before: i64,
    not_after: i64,
}

/// The end point's hash, the beginning and the end of a certificate.
fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
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
    let validity = parsed.validity();
    Ok(Facts { end_point, not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
}

/// SHA-256 of the CA's certificate in a directory: what a join token names it by.
///
/// # Errors
/// When there is none.
pub fn ca_fingerprint(dir: &Path) -> Result<[u8; 32], CertError> {
    Ok(Sha256::digest(&certificates(&dir.join("ca.crt"))?[0]).into())
}

/// What a joining node calls with: it trusts the CA of this fingerprint, which whoever is called shows beside its own
/// certificate, and no other.
///
/// # Errors
/// When the library refuses its own defaults.
pub fn trusting(fingerprint: [u8; 32]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Fingerprint { fingerprint, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Checks a chain that brings its own CA along, by that CA's fingerprint.
#[derive(Debug)]
struct Fingerprint {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Fingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates.iter().find(|shown| <[u8; 32]>::from(Sha256::digest(shown)) == self.fingerprint);
        let Some(ca) = ca else {
            return Err(rustls::Error::General("whoever answers is not of the cluster that the join token is for".into()));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        // A client's certificate of the same CA does not do.
        match common_name(end_entity).as_deref() {
            Some(NODE) => Ok(ServerCertVerified::assertion()),
            _ => Err(rustls::Error::General("its certificate is not a node's".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
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
    use crate::{Identity, Lifetime, Request, create_ca, create_client, sign_node};

    fn hosts() -> Vec<String> {
        vec!["localhost".into(), "127.0.0.1".into(), "::1".into()]
    }

    fn create_node(dir: &Path, hosts: &[String], lifetime: Lifetime) -> Result<(), CertError> {
        crate::create_node(dir, hosts, None, lifetime)
    }

    #[test]
    fn a_bound_certificate_is_used_once_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, bound) = (dir.path().join("certs"), dir.path().join("node.pem"));
        create_ca(&dir, Lifetime(30)).unwrap();
        create_node(&dir, &hosts(), Lifetime(30)).unwrap();
        let certs = NodeCerts::open_with(&dir, &bound).unwrap();
        assert_eq!(certs.current().names, Names { identity: None, hosts: hosts() });
        let identity = Identity { cluster: uuid::Uuid::from_u128(7), node: 3 };
        let request = Request::new().unwrap();
        let pem = sign_node(&dir, &request.der, &certs.current().names.hosts, &identity, Lifetime(10)).unwrap();
        certs.adopt(&request.with_certificate(&pem)).unwrap();
        assert_eq!(fs::metadata(&bound).unwrap().mode() & 0o777, 0o600, "keys-stay-private");
        assert_eq!(certs.current().names, Names { identity: Some(identity), hosts: hosts() });
        assert_eq!(NodeCerts::open_with(&dir, &bound).unwrap().current().names.identity, Some(identity));
        // Not another's key, and nothing that is not a request.
        let other = Request::new().unwrap();
        assert!(certs.adopt(&other.with_certificate(&pem)).is_err());
        assert_eq!(certs.current().names.identity, Some(identity), "what was there stays in use");
        assert!(sign_node(&dir, b"nonsense", &hosts(), &identity, Lifetime(1)).is_err());
        let mut forged = request.der.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(sign_node(&dir, &forged, &hosts(), &identity, Lifetime(1)).is_err());
        certs.adopt(&request.with_certificate(&pem)).unwrap();
        // A bound one that ends later, made by hand.
        for name in ["node.crt", "node.key"] {
            fs::remove_file(dir.join(name)).unwrap();
        }
        let until = |certs: &NodeCerts| certs.current().not_after;
        let before = until(&certs);
        for (node, is_taken) in [(4, false), (3, true)] {
            crate::create_node(&dir, &hosts(), Some(&Identity { node, ..identity }), Lifetime(20)).unwrap();
            certs.reload().unwrap();
            assert_eq!((certs.current().names.identity, until(&certs) > before), (Some(identity), is_taken));
            for name in ["node.crt", "node.key"].into_iter().filter(|_| !is_taken) {
                fs::remove_file(dir.join(name)).unwrap();
            }
        }
        // Another CA: what the old one has signed is of no use.
        for name in ["ca.crt", "ca.key", "node.crt", "node.key"] {
            fs::remove_file(dir.join(name)).unwrap();
        }
        create_ca(&dir, Lifetime(30)).unwrap();
        create_node(&dir, &hosts(), Lifetime(5)).unwrap();
        certs.reload().unwrap();
        assert_eq!(certs.current().names.identity, None);
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
