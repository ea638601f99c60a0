//! What a peer sends, as functions of bytes: for fuzz targets, with the readers that connections use.

use std::{sync::Arc, time::Duration};

use hlc::Clock;
use keys::NodeId;

use crate::{
    connection::Connection,
    error::decode_error,
    greeting::{Greeting, Judged, Standing},
};

/// Frames, read until the connection would end.
pub fn frames(bytes: &[u8]) {
    let standing = if bytes.len().is_multiple_of(2) { Standing::Member } else { Standing::Stranger };
    let judged = Judged { node: NodeId::new(1), standing };
    let clock = Arc::new(Clock::system(Duration::from_millis(500)));
    let connection = Arc::new(Connection::new("peer".into(), judged, clock, Arc::default()));
    futures::executor::block_on(connection.read_loop(bytes, |_, _, _, _, _| {}));
}

/// The first words, and an error as it travels.
pub fn greeting(bytes: &[u8]) {
    let _refused = postcard::from_bytes::<Greeting>(bytes);
    decode_error(bytes, "peer");
}
