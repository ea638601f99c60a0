//! Which configuration holds of which keys, as the store was told last.
//!
//! A range has one configuration: it is split at the borders of the spans that have one of their own (`queues`), and not
//! merged across them (`merge_queue`). Until it is split, the configuration at its start holds.
//!
//! **Invariant (known-before-decided):** a store that is to be told and was not yet decides nothing about replicas: three
//! replicas are not too few, nor five too many, by a default that does not hold.

use std::{sync::Arc, time::Duration};

use keys::{Key, RangeDescriptor, Span, SpanConfig, ZoneConfig};

use crate::store::{Store, StoreConfig};

/// The configuration of one span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Zone {
    pub config: SpanConfig,
    /// Versions superseded for longer than this are removed.
    pub gc_after: Duration,
}

/// The configurations of all keys.
#[derive(Debug, PartialEq)]
pub(crate) struct Zones {
    default: Arc<Zone>,
    /// In the order of their keys, none overlapping another.
    spans: Vec<(Span, Arc<Zone>)>,
}

impl Zones {
    fn new(default: &ZoneConfig, mut spans: Vec<(Span, ZoneConfig)>, config: &StoreConfig) -> Self {
        let defaults = SpanConfig {
            num_replicas: u32::try_from(config.replication_factor).unwrap_or(u32::MAX),
            range_min_bytes: config.range_max_bytes / 4,
            range_max_bytes: config.range_max_bytes,
            ..SpanConfig::default()
        };
        let zone = |zone: &ZoneConfig| {
            let gc_after = zone.gc_ttl_seconds.map_or(config.gc_after, |seconds| Duration::from_secs(seconds.into()));
            Arc::new(Zone { config: zone.resolve(&defaults), gc_after })
        };
        spans.sort_by(|one, two| one.0.start.cmp(&two.0.start));
        let spans = spans.iter().map(|(span, over)| (span.clone(), zone(over))).collect();
        Self { default: zone(default), spans }
    }

    pub fn at(&self, key: &Key) -> &Arc<Zone> {
        let after = self.spans.partition_point(|(span, _)| span.start <= *key);
        let before = after.checked_sub(1).and_then(|at| self.spans.get(at));
        before.filter(|(span, _)| span.contains(key.as_bytes())).map_or(&self.default, |(_, zone)| zone)
    }

    /// The first border of a configuration within a range, where it is to be split.
    pub fn border_within(&self, range: &RangeDescriptor) -> Option<Key> {
        let after = self.spans.partition_point(|(span, _)| span.end <= range.start);
        let borders = self.spans[after..].iter().flat_map(|(span, _)| [&span.start, &span.end]);
        borders.into_iter().take(3).find(|border| range.start < **border && **border < range.end).cloned()
    }

    fn is_border(&self, key: &Key) -> bool {
        let at = self.spans.partition_point(|(span, _)| span.end < *key);
        self.spans[at..].iter().take(2).any(|(span, _)| span.start == *key || span.end == *key)
    }
}

impl Store {
    /// Takes in which configuration holds of which keys: the spans overlap nowhere, and for all other keys the first holds.
    pub fn set_zones(&self, default: &ZoneConfig, spans: Vec<(Span, ZoneConfig)>) {
        let zones = Zones::new(default, spans, &self.inner.config);
        let mut known = self.inner.zones.write();
        if known.as_deref() != Some(&zones) {
            *known = Some(Arc::new(zones));
        }
    }

    /// *known-before-decided*
    pub(crate) fn zones(&self) -> Option<Arc<Zones>> {
        let known = self.inner.zones.read().clone();
        let own = || Arc::new(Zones::new(&ZoneConfig::default(), Vec::new(), &self.inner.config));
        known.or_else(|| (!self.inner.config.awaits_zones).then(own))
    }

    /// What holds of a range, if that is known.
    pub(crate) fn zone_of(&self, range: &RangeDescriptor) -> Option<Arc<Zone>> {
        self.zones().map(|zones| zones.at(&range.start).clone())
    }

    pub(crate) fn is_zone_border(&self, key: &Key) -> bool {
        self.zones().is_none_or(|zones| zones.is_border(key))
    }

    /// The most replicas that any configuration wants.
    pub(crate) fn most_replicas(&self) -> u32 {
        let own = u32::try_from(self.inner.config.replication_factor).unwrap_or(u32::MAX);
        self.zones().map_or(own, |zones| {
            let all = zones.spans.iter().map(|(_, zone)| zone).chain([&zones.default]);
            all.map(|zone| zone.config.num_replicas).max().unwrap_or(own)
        })
    }
}

#[cfg(test)]
mod tests {
    use keys::{RangeId, ReplicaId};

    use super::*;

    fn span(start: &str, end: &str) -> Span {
        Span::new(start.as_bytes().into(), end.as_bytes().into())
    }

    #[test]
    fn ranges_are_split_at_borders() {
        let with = |num_replicas| ZoneConfig { num_replicas: Some(num_replicas), ..ZoneConfig::default() };
        let spans = vec![(span("m", "n"), with(7)), (span("c", "d"), with(5)), (span("d", "e"), with(1))];
        let zones = Zones::new(&ZoneConfig::default(), spans, &StoreConfig::default());
        let at = |key: &str| zones.at(&key.as_bytes().into()).config.num_replicas;
        assert_eq!(["b", "c", "cz", "d", "e", "m", "z"].map(at), [3, 5, 5, 1, 3, 7, 3]);
        let within = |start: &str, end: &str| {
            let (start, end) = (start.as_bytes().into(), end.as_bytes().into());
            let range =
                RangeDescriptor { range_id: RangeId::new(1), start, end, replicas: Vec::new(), next_replica_id: ReplicaId::new(1), generation: 1 };
            zones.border_within(&range).map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned())
        };
        let cases = [("a", "z"), ("c", "z"), ("d", "z"), ("e", "z"), ("m", "z"), ("n", "z"), ("c", "d"), ("a", "b"), ("ca", "cb")];
        let found = cases.map(|(start, end)| within(start, end).unwrap_or_default());
        assert_eq!(found, ["c", "d", "e", "m", "n", "", "", "", ""]);
        let is_border = |key: &str| zones.is_border(&key.as_bytes().into());
        assert_eq!(["a", "c", "cz", "d", "e", "f", "m", "n"].map(is_border), [false, true, false, true, true, false, true, true]);
    }

    #[test]
    fn what_a_node_is_started_with_holds_where_nothing_is_configured() {
        let config = StoreConfig { range_max_bytes: 8 << 20, gc_after: Duration::from_millis(6_500), ..StoreConfig::default() };
        let zone = ZoneConfig { gc_ttl_seconds: Some(60), ..ZoneConfig::default() };
        let zones = Zones::new(&ZoneConfig::default(), vec![(span("c", "d"), zone)], &config);
        let (default, own) = (zones.at(&b"a".as_slice().into()), zones.at(&b"c".as_slice().into()));
        assert_eq!((default.config.range_min_bytes, default.config.range_max_bytes), (2 << 20, 8 << 20));
        assert_eq!((default.gc_after, own.gc_after), (Duration::from_millis(6_500), Duration::from_secs(60)));
    }
}
