//! A fingerprint of a range's bytes as of one moment, computed in small steps: a store compares its copy with others'.
//!
//! Everything counts: versions with their times, locks, local records. Two copies that applied the same log have the same
//! bytes, whatever their files look like.

use keys::Span;
use sha2::{Digest as _, Sha256};

use crate::{
    EngineSnapshot, StorageError,
    write::{DATA_FAMILY, LOCAL_FAMILY, LOCK_FAMILY},
};

/// A fingerprint, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Digest {
    pub sha256: [u8; 32],
    /// Versions of rows, locks, local records.
    pub counts: [u64; 3],
    /// Of their keys and values.
    pub bytes: u64,
}

/// A fingerprint that is being computed. It keeps its snapshot.
pub struct Digesting {
    snapshot: EngineSnapshot,
    /// Taken from the back.
    parts: Vec<(u32, Span)>,
    hasher: Sha256,
    counts: [u64; 3],
    bytes: u64,
}

impl EngineSnapshot {
    /// Begins a fingerprint of the versions and locks of `span` and the local records of `local_spans`.
    #[must_use]
    pub fn digest(&self, span: &Span, local_spans: &[Span]) -> Digesting {
        let mut parts: Vec<(u32, Span)> = local_spans.iter().map(|local| (LOCAL_FAMILY, local.clone())).collect();
        parts.extend([LOCK_FAMILY, DATA_FAMILY].map(|family| (family, span.clone())));
        parts.retain(|(_, span)| !span.is_empty());
        Digesting { snapshot: self.clone(), parts, hasher: Sha256::new(), counts: [0; 3], bytes: 0 }
    }
}

impl Digesting {
    /// Reads on by about so many bytes. The fingerprint, once all is read. `skips` says which local records do not count.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn step(
        &mut self,
        bytes: u64,
        skips: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Digest>, StorageError> {
        let mut left = bytes;
        while let Some((family, span)) = self.parts.pop() {
            let (mut read, snapshot) = (0, self.snapshot.clone());
            let rest = snapshot.each(family, &span, |key, value| {
                if family == LOCAL_FAMILY && skips(key) {
                    return true;
                }
                self.hasher.update([family as u8]);
                for part in [key, value] {
                    self.hasher.update((part.len() as u64).to_le_bytes());
                    self.hasher.update(part);
                }
                read += (key.len() + value.len()) as u64;
                self.counts[(family - DATA_FAMILY) as usize] += 1;
                read < left
            })?;
            self.bytes += read;
            left = left.saturating_sub(read);
            self.parts.extend(rest.map(|rest| (family, rest)));
            if left == 0 && !self.parts.is_empty() {
                return Ok(None);
            }
        }
        let sha256 = self.hasher.clone().finalize().into();
        Ok(Some(Digest { sha256, counts: self.counts, bytes: self.bytes }))
    }
}

#[cfg(test)]
mod tests {
    use hlc::Timestamp;
    use keys::Key;

    use super::*;
    use crate::{Engine, EngineConfig, WriteBatch};

    fn digest(engine: &Engine, step: u64) -> Digest {
        let span = |start: &str, end: &str| Span::new(Key::from(start.as_bytes()), Key::from(end.as_bytes()));
        let mut digesting = engine.snapshot().digest(&span("a", "m"), &[span("x", "y")]);
        for _ in 0..10_000 {
            if let Some(digest) = digesting.step(step, |key| key == b"x-own").unwrap() {
                return digest;
            }
        }
        panic!("it does not end");
    }

    /// What the files look like, and how large the steps are, makes no difference; every byte of the span does.
    #[test]
    fn equal_bytes_have_equal_digests() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let engines = [&one, &two].map(|dir| Engine::open(dir.path(), &EngineConfig::small()).unwrap());
        let at = |wall| Timestamp::new(wall, 0);
        for (flush, engine) in engines.iter().enumerate() {
            for n in 0..100_u64 {
                let mut batch = WriteBatch::new();
                batch.put_version(format!("a{n}").as_bytes(), at(n + 1), Some(&[7; 100]));
                batch.put_local(format!("x{n}").as_bytes(), b"record");
                engine.apply(&batch).unwrap();
                if flush == 1 && n % 30 == 0 {
                    engine.flush().unwrap();
                }
            }
        }
        let first = digest(&engines[0], 1 << 20);
        assert_eq!(first.counts, [100, 0, 100]);
        assert_eq!(digest(&engines[1], 150), first);
        let put = |key: &str, local: bool| {
            let mut batch = WriteBatch::new();
            if local { batch.put_local(key.as_bytes(), b"other") } else { batch.put_version(key.as_bytes(), at(500), None) }
            engines[1].apply(&batch).unwrap();
            digest(&engines[1], 1 << 20) == first
        };
        assert!(put("x-own", true) && put("z", true) && put("m", false));
        assert!(!put("a5", false));
    }
}
