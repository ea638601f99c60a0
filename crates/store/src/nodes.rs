//! The nodes of the cluster as this one knows them: learned from each other a few times a minute, kept beside the
//! log so that a cluster that was stopped as a whole finds itself again.

use bytes::Bytes;
use keys::{NodeId, StoreId};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

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
                && let Ok(info) = postcard::from_bytes(value)
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
                let moved = before.rpc_addr != info.rpc_addr || before.leaving != info.leaving;
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
        }
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
