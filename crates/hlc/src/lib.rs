//! The problem: transactions on many nodes need one order of time, and the nodes' clocks disagree.
//!
//! A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014) pairs physical nanoseconds with a
//! counter. It never runs backwards, it passes every timestamp it has been shown, and it stays within the
//! configured offset of physical time.
//!
//! **Invariants**
//! - *clock-monotonic*: two calls of [`Clock::now`] on one clock return increasing timestamps; upheld here.
//! - *clock-causal*: after [`Clock::update`] with `t`, [`Clock::now`] is above `t`; upheld here, relied on by
//!   every message between nodes.
//! - *clock-durable*: no timestamp is given out above a bound that is on disk, and a clock that starts begins above the
//!   bound that it finds there. So whatever was served or acknowledged before a restart lies in the past after it, also
//!   when the physical clock was set back meanwhile; upheld by [`Clock::keep_bound`].
//! - *clock-bounded*: a remote timestamp further ahead than the offset bound is refused and not adopted, so one
//!   sick clock cannot drag the others along.
//!
//! HAZARD: correctness of reads across nodes assumes that physical clocks differ by less than
//! [`Clock::max_offset`]. Stores measure offsets ([`Offsets`]), and a node that finds itself outside stops.
//!
//! Deliberately left out: any I/O. A [`PhysicalClock`] and a [`BoundFile`] come in from outside.

mod bound;
mod clock;
mod offsets;
mod timestamp;

pub use bound::{Aside, BoundFile};
pub use clock::{Clock, ClockOffsetError, ManualClock, PhysicalClock, SystemClock};
pub use offsets::{Offsets, certain_offset};
pub use timestamp::{ENCODED_TIMESTAMP_BYTES, Timestamp};
