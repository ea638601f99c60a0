//! The nodes of the cluster as this one knows them: learned from each other a few times a minute, kept beside the
//! log so that a cluster that was stopped as a whole finds itself again.
//!
//! What descriptions came to have later ([`NodeParts`]) goes behind what is stored or sent, where a program that does not know
//! it stops reading ([`nodes_to_bytes`]):
//!
//! ```text
//! fields with tags: 2 list of nodes, each  2 its id   4 its locality   6 batches in a second
//! ```

use bytes::Bytes;
use keys::{
    Locality, NodeId, StoreId,
    tagged::{Malformed, Reader, Writer},
};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Where a node is and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub node_id: NodeId,
    pub store_id: StoreId,
    pub rpc_addr: String,
    pub sql_addr: String,
    pub http_addr: String,
    /// When it last said so, by its own clock: of two descriptions the later holds.
    pub as_of_ns: u64,
    pub ranges: u64,
    pub leases: u64,
    /// Of rows, about.
    pub bytes: u64,
    /// Of the ranges that it leads: those with fewer healthy replicas than wanted.
    pub under_replicated: u64,
    /// It is being decommissioned: its replicas and leases go to others.
    pub leaving: bool,
    #[serde(skip)]
    pub parts: NodeParts,
}

/// What came later, stored and sent behind the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeParts {
    /// Where it is, as it was started with.
    pub locality: Locality,
    /// That the ranges which it leads serve, of late.
    pub batches_per_second: u64,
    /// It is being drained: it takes no leases.
    pub draining: bool,
}

impl NodeParts {
    fn encode(&self, node: NodeId) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(2, node.get(), 0);
        if !self.locality.is_empty() {
            writer.bytes(4, &self.locality.encode());
        }
        writer.number(6, self.batches_per_second, 0);
        writer.flag(8, self.draining);
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<(NodeId, Self), Malformed> {
        let mut reader = Reader::new(bytes)?;
        let node = NodeId::new(reader.number(2, 0)?);
        let locality = reader.bytes(4)?.map(Locality::decode).transpose()?.unwrap_or_default();
        let batches_per_second = reader.number(6, 0)?;
        let draining = reader.flag(8)?;
        reader.finish()?;
        Ok((node, Self { locality, batches_per_second, draining }))
    }
}

/// A value that describes nodes, and what it cannot say of them behind it.
#[must_use]
pub fn nodes_to_bytes<'a, T: Serialize>(value: &T, nodes: impl IntoIterator<Item = &'a NodeInfo>) -> Vec<u8> {
    let mut bytes = postcard::to_stdvec(value).expect("a description is plain data");
    let mut writer = Writer::default();
    let with_parts = nodes.into_iter().filter(|node| node.parts != NodeParts::default());
    writer.list(2, with_parts.map(|node| node.parts.encode(node.node_id)));
    bytes.extend(writer.finish());
    bytes
}

/// A value of [`nodes_to_bytes`]; `nodes` gives the nodes in it that are to have what is behind it. Parts of a later version
/// are passed over.
///
/// # Errors
/// When the value cannot be read.
pub fn nodes_from_bytes<T: DeserializeOwned>(
    bytes: &[u8],
    nodes: impl FnOnce(&mut T) -> Vec<&mut NodeInfo>,
) -> Result<T, postcard::Error> {
    let (mut value, behind) = postcard::take_from_bytes::<T>(bytes)?;
    let read = || -> Result<FxHashMap<NodeId, NodeParts>, Malformed> {
        let mut reader = Reader::new(behind)?;
        let parts = reader.list(2)?.into_iter().map(NodeParts::decode).collect();
        reader.finish()?;
        parts
    };
    let mut parts = read().unwrap_or_default();
    for node in nodes(&mut value) {
        node.parts = parts.remove(&node.node_id).unwrap_or_default();
    }
    Ok(value)
}

#[derive(Default)]
pub struct Nodes {
    known: RwLock<FxHashMap<NodeId, NodeInfo>>,
}

pub(crate) const META_PREFIX: &[u8] = b"node/";

impl Nodes {
    pub(crate) fn recover(metas: &[(Bytes, Bytes)]) -> Self {
        let nodes = Self::default();
        for (key, value) in metas {
            if key.starts_with(META_PREFIX)
                && let Ok(info) = nodes_from_bytes(value, |info: &mut NodeInfo| vec![info])
            {
                nodes.learn(info);
            }
        }
        nodes
    }

    /// Takes news in; answers whether there is any that a restart must find.
    pub fn learn(&self, info: NodeInfo) -> bool {
        let mut known = self.known.write();
        match known.get_mut(&info.node_id) {
            Some(before) if before.as_of_ns >= info.as_of_ns => false,
            Some(before) => {
                let moved = before.rpc_addr != info.rpc_addr
                    || before.leaving != info.leaving
                    || before.parts.locality != info.parts.locality;
                *before = info;
                moved
            }
            None => {
                known.insert(info.node_id, info);
                true
            }
        }
    }

    #[must_use]
    pub fn all(&self) -> Vec<NodeInfo> {
        let mut all: Vec<NodeInfo> = self.known.read().values().cloned().collect();
        all.sort_by_key(|info| info.node_id);
        all
    }

    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<NodeInfo> {
        self.known.read().get(&node).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(as_of_ns: u64, rpc_addr: &str) -> NodeInfo {
        NodeInfo {
            node_id: NodeId::new(1),
            store_id: StoreId::new(1),
            rpc_addr: rpc_addr.into(),
            sql_addr: String::new(),
            http_addr: String::new(),
            as_of_ns,
            ranges: 0,
            leases: 0,
            bytes: 0,
            under_replicated: 0,
            leaving: false,
            parts: NodeParts::default(),
        }
    }

    #[test]
    fn golden_parts_go_behind_what_older_programs_read() {
        let mut node = info(5, "a");
        let plain = postcard::to_stdvec(&node).unwrap();
        assert_eq!(nodes_to_bytes(&node, [&node]), plain, "without parts nothing has changed");
        node.parts = NodeParts { locality: "r=a".parse().unwrap(), batches_per_second: 7, draining: false };
        let bytes = nodes_to_bytes(&node, [&node]);
        assert_eq!(bytes.strip_prefix(plain.as_slice()), Some(b"\x02\x0f\x0e\x02\x01\x01\x04\x06\x02\x04\x03r=a\x06\x01\x07".as_slice()));
        let read = |bytes: &[u8]| nodes_from_bytes(bytes, |info: &mut NodeInfo| vec![info]);
        assert_eq!(read(&bytes), Ok(node.clone()));
        let drained = NodeInfo { parts: NodeParts { draining: true, ..node.parts.clone() }, ..node.clone() };
        assert_eq!(read(&nodes_to_bytes(&drained, [&drained])), Ok(drained));
        assert_eq!(postcard::from_bytes::<NodeInfo>(&bytes).unwrap().parts, NodeParts::default());
        for end in plain.len()..bytes.len() {
            assert_eq!(read(&bytes[..end]).map(|read| read.node_id), Ok(node.node_id));
        }
        let nodes = Nodes::recover(&[(b"node/x".as_slice().into(), bytes.into())]);
        assert_eq!(nodes.get(node.node_id), Some(node));
    }

    #[test]
    fn later_news_hold() {
        let nodes = Nodes::default();
        assert!(nodes.learn(info(5, "a")));
        assert!(!nodes.learn(info(4, "b")));
        assert!(!nodes.learn(info(6, "a")));
        assert!(nodes.learn(info(7, "c")));
        assert_eq!(nodes.all()[0].rpc_addr, "c");
    }
}
