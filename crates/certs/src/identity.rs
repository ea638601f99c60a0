//! Which node of which cluster a certificate is for: a URI among its subject's names,
//! `quorate://cluster/6f1c…/node/3`. A certificate without one is *unbound*: it shows that the cluster's CA has signed it
//! for a node, and not for which.

use std::{fmt, str::FromStr};

use uuid::Uuid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SCHEME: &str = "quorate:";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub cluster: Uuid,
    pub node: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}//cluster/{}/node/{}", self.cluster, self.node)
    }
}

impl FromStr for Identity {
    type Err = ();

    /// Only as it is written: one name must not be another's in capitals.
    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix("//cluster/")).ok_or(())?;
        let (cluster, node) = rest.split_once("/node/").ok_or(())?;
        let identity = Self { cluster: cluster.parse().map_err(|_| ())?, node: node.parse().map_err(|_| ())? };
        (identity.node != 0 && identity.to_string() == text).then_some(identity).ok_or(())
    }
}

/// What a certificate says of whom it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// None where it is unbound.
    pub identity: Option<Identity>,
    /// Names and addresses of hosts.
    pub hosts: Vec<String>,
}

/// Reads the names of a certificate.
///
/// # Errors
/// When it is none, or has a name of this scheme that is no identity, or two: it must not matter which is read.
pub fn names(certificate: &[u8]) -> Result<Names, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let mut found = Names::default();
    let Some(names) = parsed.subject_alternative_name().map_err(|error| error.to_string())? else { return Ok(found) };
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) if uri.to_ascii_lowercase().starts_with(SCHEME) => {
                let identity = uri.parse().map_err(|()| format!("{uri} names no node of a cluster"))?;
                if found.identity.replace(identity).is_some() {
                    return Err("it names two nodes".into());
                }
            }
            GeneralName::DNSName(host) => found.hosts.push((*host).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                found.hosts.extend(address.ok().map(|address| address.to_string()));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_they_are_written() {
        let identity = Identity { cluster: Uuid::from_u128(0x6f1c), node: 3 };
        let text = identity.to_string();
        assert_eq!(text, "quorate://cluster/00000000-0000-0000-0000-000000006f1c/node/3");
        assert_eq!(text.parse(), Ok(identity));
        for wrong in ["", "quorate://cluster/x/node/3", &text.to_uppercase(), &format!("{text}/"), &format!("{text}a")] {
            assert_eq!(wrong.parse::<Identity>(), Err(()), "{wrong}");
        }
        let prefix = text.trim_end_matches('3');
        for wrong in ["0", "03", "+3", "-3", "18446744073709551616"] {
            assert_eq!(format!("{prefix}{wrong}").parse::<Identity>(), Err(()), "{wrong}");
        }
    }
}
