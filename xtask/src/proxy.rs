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
        let pids = self.state().pids.clone();
        let caller = from.peer_addr().ok().and_then(|peer| owner(peer.port(), &pids));
        // A node that is down refuses: so does its port.
        let Ok(to) = TcpStream::connect(to) else { return };
        let _slower = (from.set_nodelay(true), to.set_nodelay(true));
        let (Ok(back_from), Ok(back_to)) = (to.try_clone(), from.try_clone()) else { return };
        let links = self.clone();
        let back = thread::spawn(move || links.pump(back_from, back_to, caller.map(|caller| (node, caller))));
        self.pump(from, to, caller.map(|caller| (caller, node)));
        // A pump does not panic.
        let _ended = back.join();
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, link: Option<(usize, usize)>) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut bytes) {
            if let Some((sender, receiver)) = link {
                self.await_whole(sender, receiver);
            }
            if count == 0 || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // Either may be closed already.
        let _closed = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }
}

/// Which of the processes owns the local end of a connection from this port.
fn owner(port: u16, pids: &[u32]) -> Option<usize> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let wanted = format!("0100007F:{port:04X}");
    let inode = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1) == Some(&wanted.as_str())).then(|| words.get(9).copied()).flatten()
    })?;
    let socket = format!("socket:[{inode}]");
    pids.iter().position(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
