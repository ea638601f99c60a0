//! Constructors for every key that is not a row: see the map in the crate's doc.

use crate::encoding::{put_bytes, put_u64, put_uvarint, take_bytes};
use crate::{IndexId, Key, NodeId, RangeId, Span, TableId, TxnId};

pub const LOCAL_PREFIX: u8 = 0x01;
pub const META_PREFIX: u8 = 0x02;
pub const SYSTEM_PREFIX: u8 = 0x04;
pub const TABLE_PREFIX: u8 = 0x10;

/// Tables from here on are users'; below are the catalogs.
pub const FIRST_USER_TABLE: TableId = TableId::new(16_384);

const LOCAL_RANGE_ID: u8 = b'i';
const LOCAL_RANGE_KEY: u8 = b'k';

/// Everything filed under a range's id: this replica's private state.
#[must_use]
pub fn range_id_prefix(range_id: RangeId) -> Key {
    let mut out = vec![LOCAL_PREFIX, LOCAL_RANGE_ID];
    put_u64(&mut out, range_id.get());
    out.into()
}

/// A named item filed under a range's id.
#[must_use]
pub fn range_id_local(range_id: RangeId, item: &str) -> Key {
    let mut out = range_id_prefix(range_id).as_bytes().to_vec();
    out.extend_from_slice(item.as_bytes());
    out.into()
}

fn range_key_prefix(key: &[u8]) -> Vec<u8> {
    let mut out = vec![LOCAL_PREFIX, LOCAL_RANGE_KEY];
    put_bytes(&mut out, key);
    out
}

/// All keys filed under a key of `span`: what moves when a range is split or copied.
#[must_use]
pub fn range_local_span(span: &Span) -> Span {
    let start = range_key_prefix(span.start.as_bytes());
    let end = range_key_prefix(span.end.as_bytes());
    Span::new(start.into(), end.into())
}

/// The descriptor of the range that starts at `start`.
#[must_use]
pub fn range_descriptor(start: &Key) -> Key {
    let mut out = range_key_prefix(start.as_bytes());
    out.extend_from_slice(b"rdsc");
    out.into()
}

/// The record of a transaction whose first lock is on `anchor`.
#[must_use]
pub fn txn_record(anchor: &Key, txn_id: TxnId) -> Key {
    let mut out = range_key_prefix(anchor.as_bytes());
    out.extend_from_slice(b"txn-");
    out.extend_from_slice(txn_id.as_bytes());
    out.into()
}

/// A row lock of a prepared transaction, filed under the row's key.
#[must_use]
pub fn kept_lock(key: &Key, txn_id: TxnId) -> Key {
    let mut out = range_key_prefix(key.as_bytes());
    out.extend_from_slice(b"lock");
    out.extend_from_slice(txn_id.as_bytes());
    out.into()
}

/// Says that the range `right` was merged into the one that begins at `left_start`.
#[must_use]
pub fn merged_range(left_start: &Key, right: RangeId) -> Key {
    let mut out = range_key_prefix(left_start.as_bytes());
    out.extend_from_slice(b"mrgd");
    put_u64(&mut out, right.get());
    out.into()
}

/// Says that a range boundary at `at` was set by a statement: ranges are not merged across it.
#[must_use]
pub fn kept_split(at: &Key) -> Key {
    let mut out = range_key_prefix(at.as_bytes());
    out.extend_from_slice(b"stck");
    out.into()
}

/// The key whose range a request for `key` goes to: local keys belong to the range of the key they are filed under.
#[must_use]
pub fn addressing_key(key: &Key) -> Key {
    let bytes = key.as_bytes();
    if let [LOCAL_PREFIX, LOCAL_RANGE_KEY, rest @ ..] = bytes {
        let (mut rest, mut decoded) = (rest, Vec::new());
        if take_bytes(&mut rest, &mut decoded).is_ok() {
            return decoded.into();
        }
    }
    key.clone()
}

/// Where the descriptor of the range that ends at `end` is kept for others to find.
#[must_use]
pub fn meta(end: &Key) -> Key {
    let mut out = vec![META_PREFIX];
    put_bytes(&mut out, end.as_bytes());
    out.into()
}

/// All addressing records.
#[must_use]
pub fn meta_span() -> Span {
    Span::prefix(Key::from(vec![META_PREFIX]))
}

/// The addressing records to scan for the range that holds `key`: the first one found is it.
#[must_use]
pub fn meta_lookup_span(key: &Key) -> Span {
    // A range that ends exactly at `key` does not hold it, so the record of that end key is stepped over.
    Span::new(meta(key).next(), meta_span().end)
}

/// A named item of the system keyspace, such as `id/table`.
#[must_use]
pub fn system(name: &str) -> Key {
    let mut out = vec![SYSTEM_PREFIX];
    put_bytes(&mut out, name.as_bytes());
    out.into()
}

/// The registry entry of a node.
#[must_use]
pub fn node_registry(node_id: NodeId) -> Key {
    let mut out = node_registry_span().start.as_bytes().to_vec();
    put_uvarint(&mut out, node_id.get());
    out.into()
}

/// All registry entries of nodes.
#[must_use]
pub fn node_registry_span() -> Span {
    Span::prefix(system("node"))
}

/// What is known of a transaction that was prepared under a name.
#[must_use]
pub fn prepared_txn(gid: &str) -> Key {
    let mut out = prepared_txns().start.as_bytes().to_vec();
    put_bytes(&mut out, gid.as_bytes());
    out.into()
}

/// All transactions that were prepared, by name.
#[must_use]
pub fn prepared_txns() -> Span {
    Span::prefix(system("prepared"))
}

/// What comes before the keys of all notifications.
const NOTIFY_PREFIX: &[u8] = b"\x04notify\0\x01";

/// The time in a notification's key is at most so far behind the clock of the leaseholder that writes it. A reader that has
/// read up to some time finds all later ones behind that time less this. More makes it look at more keys, less makes more
/// commits choose another key.
pub const NOTIFICATION_FRESH_NS: u64 = 1_000_000_000;

/// Notifications of a database whose keys bear this time, in nanoseconds, or a later one.
#[must_use]
pub fn notifications_from(database: u32, time_ns: u64) -> Key {
    let mut out = NOTIFY_PREFIX.to_vec();
    out.extend_from_slice(&database.to_be_bytes());
    put_u64(&mut out, time_ns);
    out.into()
}

/// All notifications of a database.
#[must_use]
pub fn notifications(database: u32) -> Span {
    let mut prefix = NOTIFY_PREFIX.to_vec();
    prefix.extend_from_slice(&database.to_be_bytes());
    Span::prefix(prefix.into())
}

/// The `n`th notification of a transaction; the time is when its gateway began to commit it.
#[must_use]
pub fn notification(database: u32, time_ns: u64, txn_id: TxnId, n: u32) -> Key {
    let mut out = notifications_from(database, time_ns).as_bytes().to_vec();
    out.extend_from_slice(txn_id.as_bytes());
    out.extend_from_slice(&n.to_be_bytes());
    out.into()
}

/// What the key of a notification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotificationKey {
    pub time_ns: u64,
    pub txn_id: TxnId,
    pub n: u32,
}

/// None for other keys. Asked for every key that is written, and nearly all end it at their first byte.
#[must_use]
pub fn parse_notification(key: &[u8]) -> Option<NotificationKey> {
    let rest = key.strip_prefix(NOTIFY_PREFIX)?;
    let (_database, rest) = rest.split_first_chunk::<4>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (txn, rest) = rest.split_first_chunk::<16>()?;
    let n: [u8; 4] = rest.try_into().ok()?;
    Some(NotificationKey {
        time_ns: u64::from_be_bytes(*time),
        txn_id: TxnId::from_bytes(*txn),
        n: u32::from_be_bytes(n),
    })
}

/// All notifications of all databases.
#[must_use]
pub fn all_notifications() -> Span {
    Span::prefix(NOTIFY_PREFIX.to_vec().into())
}

/// The end of what is not a table: ranges below it are the system's.
#[must_use]
pub fn table_data_start() -> Key {
    vec![TABLE_PREFIX].into()
}

#[must_use]
pub fn table(table_id: TableId) -> Key {
    let mut out = vec![TABLE_PREFIX];
    put_uvarint(&mut out, u64::from(table_id.get()));
    out.into()
}

/// The prefix of every entry of one index; the encoded columns follow.
#[must_use]
pub fn index(table_id: TableId, index_id: IndexId) -> Key {
    let mut out = vec![TABLE_PREFIX];
    put_uvarint(&mut out, u64::from(table_id.get()));
    put_uvarint(&mut out, u64::from(index_id.get()));
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores have these bytes on disk.
    #[test]
    fn golden_keys() {
        let anchor = index(TableId::new(104), IndexId::new(1));
        let txn = TxnId::from_random(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let keys = [
            range_id_local(RangeId::new(7), "appl"),
            range_descriptor(&table(TableId::new(104))),
            txn_record(&anchor, txn),
            meta(&Key::MAX),
            system("id/range"),
            node_registry(NodeId::new(3)),
            table(TableId::new(104)),
            index(TableId::new(300), IndexId::new(2)),
            kept_lock(&anchor, txn),
            prepared_txn("g"),
            notification(5, 0x0102, txn, 3),
        ];
        let expected: [&[u8]; 11] = [
            b"\x01i\0\0\0\0\0\0\0\x07appl",
            b"\x01k\x10h\0\x01rdsc",
            b"\x01k\x10h\x01\0\x01txn-\x01\x02\x03\x04\x05\x06G\x08\x89\n\x0b\x0c\r\x0e\x0f\x10",
            b"\x02\xff\xff\0\x01",
            b"\x04id/range\0\x01",
            b"\x04node\0\x01\x03",
            b"\x10h",
            b"\x10\xf1\x01,\x02",
            b"\x01k\x10h\x01\0\x01lock\x01\x02\x03\x04\x05\x06G\x08\x89\n\x0b\x0c\r\x0e\x0f\x10",
            b"\x04prepared\0\x01g\0\x01",
            b"\x04notify\0\x01\0\0\0\x05\0\0\0\0\0\0\x01\x02\x01\x02\x03\x04\x05\x06G\x08\x89\n\x0b\x0c\r\x0e\x0f\x10\0\0\0\x03",
        ];
        let printed = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(keys.each_ref().map(|key| printed(key.as_bytes())), expected.map(printed));
    }

    #[test]
    fn notifications_lie_by_database_and_time() {
        let txn = TxnId::from_random(7);
        let key = notification(5, 9, txn, 3);
        assert_eq!(parse_notification(key.as_bytes()), Some(NotificationKey { time_ns: 9, txn_id: txn, n: 3 }));
        assert_eq!(parse_notification(prepared_txn("g").as_bytes()), None);
        assert!(key.as_bytes().starts_with(system("notify").as_bytes()));
        assert!(notifications(5).contains(key.as_bytes()) && !notifications(6).contains(key.as_bytes()));
        assert!(all_notifications().contains(key.as_bytes()));
        assert!(notifications_from(5, 9) < key && key < notifications_from(5, 10));
    }

    #[test]
    fn meta_lookup_finds_the_range_that_holds_the_key() {
        let ends = [table(TableId::new(7)), table(TableId::new(9)), Key::MAX];
        let find = |key: &Key| {
            let span = meta_lookup_span(key);
            ends.iter().find(|end| span.contains(meta(end).as_bytes())).cloned()
        };
        assert_eq!(find(&Key::MIN), Some(ends[0].clone()));
        assert_eq!(find(&table(TableId::new(8))), Some(ends[1].clone()));
        assert_eq!(find(&ends[0]), Some(ends[1].clone()), "an end key belongs to the next range");
        assert_eq!(find(&table(TableId::new(300))), Some(Key::MAX));
    }

    #[test]
    fn local_keys_go_to_the_range_of_their_anchor() {
        let anchor = index(TableId::new(104), IndexId::new(1));
        let record = txn_record(&anchor, TxnId::from_random(7));
        assert_eq!(addressing_key(&record), anchor);
        assert_eq!(addressing_key(&anchor), anchor);
        let span = Span::new(table(TableId::new(104)), table(TableId::new(105)));
        assert!(range_local_span(&span).contains(record.as_bytes()));
        assert!(!range_local_span(&Span::new(span.end.clone(), Key::MAX)).contains(record.as_bytes()));
    }

    #[test]
    fn system_keys_lie_below_tables() {
        assert!(node_registry(NodeId::new(3)) < table_data_start());
        assert!(meta(&Key::MAX) < system("id"));
    }
}
