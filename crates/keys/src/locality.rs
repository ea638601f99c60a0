//! Where a node is: tiers such as `region=eu,zone=a`, the widest first, and how different two nodes' places are.

use std::{fmt, str::FromStr};

use crate::tagged::{Malformed, Reader, Writer};

/// As many are enough for a region, a zone, a rack and a host.
const TIERS_MAX: usize = 16;

/// One tier of a locality.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tier {
    pub key: String,
    pub value: String,
}

/// Where a node is; without tiers where none was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    tiers: Vec<Tier>,
}

/// What is wrong with the text of a locality.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLocality {
    #[error("a tier is KEY=VALUE, and \"{0}\" is not")]
    Tier(String),
    #[error("the tier \"{0}\" is given twice")]
    Twice(String),
    #[error("a locality has at most {TIERS_MAX} tiers")]
    Many,
}

/// A name in a locality or a constraint: no character that has a meaning there.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|it| it.is_alphanumeric() || matches!(it, '-' | '_' | '.' | '/' | ':'))
}

impl Locality {
    /// The score of two places that differ in the widest tier.
    pub const DIVERSITY_MAX: u64 = 720_720;

    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty()
    }

    #[must_use]
    pub fn has(&self, key: &str, value: &str) -> bool {
        self.tiers.iter().any(|tier| tier.key == key && tier.value == value)
    }

    /// How unlikely it is that both places fail at once: 0 for the same place, [`Self::DIVERSITY_MAX`] where they share no
    /// tier. The number of tiers that they share, counted from the widest, decides.
    #[must_use]
    pub fn diversity(&self, other: &Self) -> u64 {
        let (least, most) = (self.tiers.len().min(other.tiers.len()), self.tiers.len().max(other.tiers.len()));
        let shared = self.tiers.iter().zip(&other.tiers).take_while(|(one, two)| one == two).count();
        let (differing, of) = match () {
            () if shared < least => (least - shared, least),
            // One of them is described in more detail: it may be the same place.
            () if most > least => (1, most + 1),
            () => (0, 1),
        };
        Self::DIVERSITY_MAX * differing as u64 / of as u64
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.list(2, self.tiers.iter().map(|tier| tier.to_string().into_bytes()));
        writer.finish()
    }

    /// # Errors
    /// For bytes that no locality was encoded to.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let texts = reader.list(2)?.into_iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
        reader.finish()?;
        texts.map_err(|_| Malformed::Bad(2))?.join(",").parse().map_err(|_| Malformed::Bad(2))
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, tier) in self.tiers.iter().enumerate() {
            write!(f, "{}{tier}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Locality {
    type Err = BadLocality;

    fn from_str(text: &str) -> Result<Self, BadLocality> {
        let mut tiers: Vec<Tier> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let bad = || BadLocality::Tier(part.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(bad)?;
            let (key, value) = (key.trim(), value.trim());
            if !is_name(key) || !is_name(value) {
                return Err(bad());
            }
            if tiers.iter().any(|tier| tier.key == key) {
                return Err(BadLocality::Twice(key.to_owned()));
            }
            tiers.push(Tier { key: key.to_owned(), value: value.to_owned() });
        }
        if tiers.len() > TIERS_MAX {
            return Err(BadLocality::Many);
        }
        Ok(Self { tiers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Locality {
        text.parse().unwrap()
    }

    #[test]
    fn localities_are_read_and_shown() {
        for text in ["", "region=eu", "region=eu,zone=eu-1,rack=7"] {
            let read = at(text);
            assert_eq!(read.to_string(), text);
            assert_eq!(Locality::decode(&read.encode()), Ok(read));
        }
        assert!(at("region=eu,zone=a").has("zone", "a") && !at("region=eu").has("region", "us"));
        for (bad, reason) in [
            ("eu", "a tier is KEY=VALUE, and \"eu\" is not"),
            ("region=", "a tier is KEY=VALUE, and \"region=\" is not"),
            ("region=eu,", "a tier is KEY=VALUE, and \"\" is not"),
            ("region=a b", "a tier is KEY=VALUE, and \"region=a b\" is not"),
            ("region=eu,region=us", "the tier \"region\" is given twice"),
        ] {
            assert_eq!(bad.parse::<Locality>().unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn golden_locality() {
        assert_eq!(at("r=a,z=b").encode(), b"\x02\x08\x03r=a\x03z=b", "bytes that are stored stay readable");
        assert_eq!(Locality::decode(b""), Ok(Locality::default()));
        assert!(Locality::decode(b"\x02\x04\x03r-a").is_err());
    }

    #[test]
    fn the_widest_tier_counts_most() {
        let score = |one: &str, two: &str| at(one).diversity(&at(two));
        assert_eq!(score("region=a,zone=1", "region=a,zone=1"), 0);
        assert_eq!(score("region=a,zone=1", "region=b,zone=1"), Locality::DIVERSITY_MAX);
        assert_eq!(score("region=a,zone=1", "region=a,zone=2"), Locality::DIVERSITY_MAX / 2);
        assert_eq!(score("", ""), 0);
        assert_eq!(score("region=a", "region=a,zone=2"), Locality::DIVERSITY_MAX / 3);
        assert_eq!(score("region=a,zone=2", "region=a"), score("region=a", "region=a,zone=2"));
    }
}
