//! The links between the nodes of a cluster, each of which can be cut one way: a forwarded port for each node, which the
//! others are told of instead of its own.
//!
//! A link that is cut swallows nothing: what is sent waits, as it does in the kernel of a machine whose packets are
//! lost, and arrives when the link is whole again, unless somebody has given up before. Who has connected is found out
//! by the process that owns the other end of the connection.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::command::{IoContext, Result};

#[derive(Default)]
struct State {
    /// Process of each node, by position; 0 while it is not known.
    pids: Vec<u32>,
    cut: Vec<(usize, usize)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Cuts and heals.
#[derive(Clone, Default)]
pub struct Links {
    shared: Arc<Shared>,
}

impl Links {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards a port of its own to `node`, and answers its address.
    pub fn forward(&self, node: usize, to: SocketAddr) -> Result<SocketAddr> {
        let listener =
            TcpListener::bind(("127.0.0.1", crate::cluster::free_port()?)).context("forwarding a port")?;
        let address = listener.local_addr().context("forwarding a port")?;
        let links = self.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let links = links.clone();
                thread::spawn(move || links.carry(connection, node, to));
            }
        });
        Ok(address)
    }

    /// Tells which process a node is now.
    pub fn set_pid(&self, node: usize, pid: u32) {
        let mut state = self.state();
        if state.pids.len() <= node {
            state.pids.resize(node + 1, 0);
        }
        state.pids[node] = pid;
    }

    /// Holds up everything that goes from one node to another.
    pub fn cut(&self, from: usize, to: usize) {
        self.state().cut.push((from, to));
    }

    pub fn heal(&self) {
        self.state().cut.clear();
        self.shared.changed.notify_all();
    }

    /// Returns when the link is whole.
    fn await_whole(&self, from: usize, to: usize) {
        let state = self.state();
        let whole = self.shared.changed.wait_while(state, |state| state.cut.contains(&(from, to)));
        drop(whole.unwrap_or_else(PoisonError::into_inner));
    }

    fn carry(&self, from: TcpStream, node: usize, to: SocketAddr) {
        let (Ok(peer), Ok(here)) = (from.peer_addr(), from.local_addr()) else { return };
        // One that nobody is known to have made would pass through every cut.
        let Some(caller) = self.caller(peer.port(), here.port()) else { return };
        // A node that is down refuses: so does its port.
        let Ok(to) = TcpStream::connect(to) else { return };
        let _slower = (from.set_nodelay(true), to.set_nodelay(true));
        let (Ok(back_from), Ok(back_to)) = (to.try_clone(), from.try_clone()) else { return };
        let links = self.clone();
        let back = thread::spawn(move || links.pump(back_from, back_to, (node, caller)));
        self.pump(from, to, (caller, node));
        // A pump does not panic.
        let _ended = back.join();
    }

    /// The node whose process has connected from `port`; one that has just been started is not known at once.
    fn caller(&self, port: u16, to: u16) -> Option<usize> {
        for _ in 0..50 {
            let pids = self.state().pids.clone();
            if let Some(caller) = owner(port, to, &pids) {
                return Some(caller);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, (sender, receiver): (usize, usize)) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut bytes) {
            self.await_whole(sender, receiver);
            if count == 0 || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // Either may be closed already.
        let _closed = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }
}

/// Which of the processes owns the local end of the connection between these ports.
fn owner(port: u16, to: u16, pids: &[u32]) -> Option<usize> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, port, to)?;
    let socket = format!("socket:[{inode}]");
    pids.iter().position(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    })
}

/// The socket of the end at `port`. A local port alone does not name it: connections to other ports may have the same,
/// and one that has just ended stands in the table without a socket.
fn inode(table: &str, port: u16, to: u16) -> Option<&str> {
    let (local, remote) = (format!("0100007F:{port:04X}"), format!("0100007F:{to:04X}"));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_it = words.next() == Some(&local) && words.next() == Some(&remote);
        is_it.then(|| words.nth(6)).flatten().filter(|inode| *inode != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_two_connections_names_neither_alone() {
        let table = "\
            sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:9C40 0100007F:4476 06 00000000:00000000 03:00000F6E 00000000     0        0 0 3 00\n\
            1: 0100007F:9C40 0100007F:4477 01 00000000:00000000 00:00000000 00000000     0        0 81 1 00\n\
            2: 0100007F:9C40 0100007F:4478 01 00000000:00000000 00:00000000 00000000     0        0 82 1 00\n";
        assert_eq!(inode(table, 0x9C40, 0x4478), Some("82"));
        assert_eq!(inode(table, 0x9C40, 0x4477), Some("81"));
        assert_eq!(inode(table, 0x9C40, 0x4476), None);
        assert_eq!(inode(table, 0x4478, 0x9C40), None);
    }

    #[test]
    fn a_link_that_is_cut_one_way_holds_up_that_way_only() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let links = Links::default();
        // This process is both ends: node 0 calls node 1.
        links.set_pid(0, std::process::id());
        let address = links.forward(1, server.local_addr().unwrap()).unwrap();
        let mut caller = TcpStream::connect(address).unwrap();
        let (mut called, _) = server.accept().unwrap();
        for side in [&caller, &called] {
            side.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        let mut byte = [0];
        caller.write_all(b"1").unwrap();
        called.read_exact(&mut byte).unwrap();
        links.cut(0, 1);
        caller.write_all(b"2").unwrap();
        called.write_all(b"3").unwrap();
        caller.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"3");
        called.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(called.read_exact(&mut byte).is_err(), "it came through a link that is cut");
        called.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        links.heal();
        called.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"2");
    }
}
