//! Groups over real logs and a network in memory, with clocks that disagree.

mod cluster;
mod groups;
mod histories;
mod leases;
mod peers;
