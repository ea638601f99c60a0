//! What is set for the whole cluster: its names, its stored form, and that form read.
//!
//! ```text
//! fields behind the rules and the secret, with tags ([`crate::tagged`]):
//!   2 maps of names of users   4 rules of the audit log   6 1: what cannot be written there is counted
//!   8 1: the audit log shows values   10 zone configurations of databases, and the default
//! ```
//! **Invariant (read-before-stored):** a text is stored only if it could be read, so that a bad one leaves the old one in
//! force ([`ClusterSettings::set`]).

use audit::OnFailure;
use auth::{hba, ident};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tagged::{Malformed, Reader, Writer};
use crate::zones::ClusterZones;

/// The settings that SET CLUSTER SETTING knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterSetting {
    /// The rules of [`auth::hba`].
    Hba,
    /// The maps of [`auth::ident`].
    IdentityMap,
    /// The rules of [`audit::Rules`].
    AuditRules,
    AuditOnFailure,
    AuditRedaction,
}

impl ClusterSetting {
    pub const ALL: [Self; 5] =
        [Self::Hba, Self::IdentityMap, Self::AuditRules, Self::AuditOnFailure, Self::AuditRedaction];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hba => "server.host_based_authentication.configuration",
            Self::IdentityMap => "server.identity_map.configuration",
            Self::AuditRules => "sql.audit.rules",
            Self::AuditOnFailure => "sql.audit.on_failure",
            Self::AuditRedaction => "sql.audit.redaction.enabled",
        }
    }

    /// Whether it says what the audit log is told of and how. Every session heeds it from its next statement on: the versions
    /// of all databases are raised with it.
    #[must_use]
    pub fn is_of_audit(self) -> bool {
        match self {
            Self::AuditRules | Self::AuditOnFailure | Self::AuditRedaction => true,
            Self::Hba | Self::IdentityMap => false,
        }
    }

    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }
}

/// What is set for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// The rules of [`auth::hba`]; none until they are set.
    pub hba: Option<String>,
    /// What only the cluster knows: the salts of roles that do not exist follow from it.
    pub secret: [u8; 16],
    #[serde(skip)]
    pub parts: ClusterParts,
}

/// What came later, stored behind the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterParts {
    pub identity_map: String,
    pub audit_rules: String,
    pub audit_on_failure: OnFailure,
    /// Statements are logged with the values in them, save passwords.
    pub audit_shows_values: bool,
    pub zones: ClusterZones,
}

impl ClusterSettings {
    /// Gives a setting a value, or its default.
    ///
    /// # Errors
    /// What is wrong with the value; nothing has changed then.
    pub fn set(&mut self, setting: ClusterSetting, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or_default();
        let in_line = |error: &dyn std::fmt::Display| format!("In {error}.");
        match setting {
            ClusterSetting::Hba => {
                value.map_or(Ok(hba::Rules::default()), hba::Rules::parse).map_err(|error| in_line(&error))?;
                self.hba = value.map(str::to_owned);
            }
            ClusterSetting::IdentityMap => {
                ident::Mappings::parse(text).map_err(|error| in_line(&error))?;
                text.clone_into(&mut self.parts.identity_map);
            }
            ClusterSetting::AuditRules => {
                audit::Rules::parse(text).map_err(|error| in_line(&error))?;
                text.clone_into(&mut self.parts.audit_rules);
            }
            ClusterSetting::AuditOnFailure => {
                self.parts.audit_on_failure = match value {
                    None | Some("block") => OnFailure::Block,
                    Some("drop") => OnFailure::Drop,
                    Some(_) => return Err("Available values: block, drop.".into()),
                }
            }
            ClusterSetting::AuditRedaction => {
                self.parts.audit_shows_values = match value {
                    None | Some("on" | "true") => false,
                    Some("off" | "false") => true,
                    Some(_) => return Err("Available values: on, off.".into()),
                }
            }
        }
        Ok(())
    }
}

impl ClusterParts {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.text(2, &self.identity_map);
        writer.text(4, &self.audit_rules);
        writer.flag(6, self.audit_on_failure == OnFailure::Drop);
        writer.flag(8, self.audit_shows_values);
        if !self.zones.is_empty() {
            writer.bytes(10, &self.zones.encode());
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let (identity_map, audit_rules) = (reader.text(2)?, reader.text(4)?);
        let audit_on_failure = if reader.flag(6)? { OnFailure::Drop } else { OnFailure::Block };
        let audit_shows_values = reader.flag(8)?;
        let zones = reader.bytes(10)?.map(ClusterZones::decode).transpose()?.unwrap_or_default();
        reader.finish()?;
        Ok(Self { identity_map, audit_rules, audit_on_failure, audit_shows_values, zones })
    }
}

impl Serialize for ClusterParts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for ClusterParts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

/// What is set for the whole cluster, read.
#[derive(Debug, Default)]
pub struct Cluster {
    pub settings: ClusterSettings,
    /// The rules that were set, if any were.
    pub rules: Option<hba::Rules>,
    pub mappings: ident::Mappings,
    pub audit: audit::Rules,
}

impl Cluster {
    pub(crate) fn new(settings: ClusterSettings) -> Self {
        // They were read before they were stored; of rules that cannot be read by now none lets anybody in.
        let rules = settings.hba.as_deref().map(|text| hba::Rules::parse(text).unwrap_or_default());
        let mappings = ident::Mappings::parse(&settings.parts.identity_map).unwrap_or_default();
        let audit = audit::Rules::parse(&settings.parts.audit_rules).unwrap_or_default();
        Self { settings, rules, mappings, audit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;

    #[test]
    fn golden_cluster_settings() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut settings = ClusterSettings { hba: Some("x".into()), secret: [7; 16], ..ClusterSettings::default() };
        let old = postcard::to_allocvec(&Descriptor::Cluster(settings.clone())).unwrap();
        assert_eq!(hex(&old), format!("06010178{}", "07".repeat(16)), "bytes that are stored stay readable");
        settings.set(ClusterSetting::IdentityMap, Some("m a b")).unwrap();
        settings.set(ClusterSetting::AuditRules, Some("all all all all")).unwrap();
        settings.set(ClusterSetting::AuditOnFailure, Some("drop")).unwrap();
        settings.set(ClusterSetting::AuditRedaction, Some("off")).unwrap();
        let bytes = settings.parts.encode();
        assert_eq!(hex(&bytes), "02056d20612062040f616c6c20616c6c20616c6c20616c6c060101080101");
        let whole = Descriptor::Cluster(settings.clone());
        let stored = postcard::to_allocvec(&whole).unwrap();
        assert_eq!(postcard::from_bytes::<Descriptor>(&stored).unwrap(), whole);
        assert_eq!(postcard::from_bytes::<Descriptor>(&old).unwrap().id(), whole.id());
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = ClusterParts::decode(&bytes[..end]);
        }
    }

    #[test]
    fn a_bad_value_leaves_the_old_one() {
        let mut settings = ClusterSettings::default();
        for (setting, good, bad, reason) in [
            (ClusterSetting::Hba, "local all all peer", "nonsense", "In line 1: invalid connection type \"nonsense\"."),
            (ClusterSetting::IdentityMap, "m a b", "m a", "In line 1: missing entry at end of line."),
            (ClusterSetting::AuditRules, "all all all read", "all all all x", "In line 1: invalid access \"x\": it is read, write or all."),
            (ClusterSetting::AuditOnFailure, "drop", "stop", "Available values: block, drop."),
            (ClusterSetting::AuditRedaction, "off", "maybe", "Available values: on, off."),
        ] {
            assert_eq!(ClusterSetting::find(setting.name()), Some(setting));
            settings.set(setting, Some(good)).unwrap();
            let before = settings.clone();
            assert_eq!(settings.set(setting, Some(bad)).unwrap_err(), reason);
            assert_eq!(settings, before);
        }
        for setting in ClusterSetting::ALL {
            settings.set(setting, None).unwrap();
        }
        assert_eq!(settings, ClusterSettings::default());
    }
}
