//! Every service of a node, so that no two share a number. A number is never given to another service.

use crate::{ServiceId, connection::MAX_MESSAGE_BYTES, greeting::Standing};

/// The heartbeats of connections. The transport answers them itself, unless somebody registers who knows more of this
/// node: a refusal counts as silence. A handler runs on the thread of the pulses and must never block.
pub const PULSE: ServiceId = ServiceId(0);
/// Consensus messages of all groups.
pub const RAFT: ServiceId = ServiceId(1);
/// Store liveness heartbeats.
pub const LIVENESS: ServiceId = ServiceId(2);
/// Requests to replicas.
pub const KV: ServiceId = ServiceId(3);
/// Work between stores: joining, registries, queues.
pub const STORE: ServiceId = ServiceId(4);
/// How a node gets its place in a cluster: the only service for a peer that is of none, *strangers-only-join*.
pub const JOIN: ServiceId = ServiceId(5);
/// Readings of a node's physical clock.
pub const CLOCK: ServiceId = ServiceId(6);
/// What a node shows of itself on the console of any other.
pub const CONSOLE: ServiceId = ServiceId(7);
/// Signing the certificates of nodes: members ask each other.
pub const CERTIFY: ServiceId = ServiceId(8);
/// Word that a transaction with notifications has committed.
pub const NOTIFY: ServiceId = ServiceId(9);

/// What a request to a service may have, in bytes: checked while it arrives, long before it is decoded. A stranger's has
/// little, whatever it is for.
pub(crate) fn request_bytes_max(service: ServiceId, peer: Standing) -> usize {
    match service {
        PULSE | LIVENESS | CLOCK | NOTIFY => SMALL_BYTES,
        JOIN | CERTIFY => ASKED_BYTES,
        _ if peer == Standing::Stranger => ASKED_BYTES,
        _ => MAX_MESSAGE_BYTES,
    }
}

/// Heartbeats, of which those of store liveness name stores.
const SMALL_BYTES: usize = 64 << 10;
/// Certificates and names.
const ASKED_BYTES: usize = 256 << 10;

/// Whether messages are taken also of a node whose clock is too far ahead: it has to hear that it is, and is not gone.
pub(crate) fn whatever_the_clock(service: ServiceId) -> bool {
    service == CLOCK || service == PULSE
}
