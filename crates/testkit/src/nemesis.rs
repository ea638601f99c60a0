//! What goes wrong beside the clients' own troubles: ranges split and merge, leases move, links break, stores or their disks stop
//! for a while, followers fall behind logs that are cut, clocks step.

use std::{sync::Arc, time::Duration};

use keys::{Key, NodeId};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use replica::api::Request;
use tokio::task::JoinHandle;

use crate::{
    clients::{key, lists},
    cluster::Cluster,
    run::Run,
    schedule::Concern,
};

/// How long one act of it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts what the schedule asks for; each ends with the run.
#[must_use]
pub fn start(run: &Arc<Run>) -> Vec<JoinHandle<()>> {
    let schedule = &run.schedule;
    let rng = |n: u64| SmallRng::seed_from_u64(schedule.seed.wrapping_mul(31).wrapping_add(n));
    let mut tasks = Vec::new();
    if schedule.splits {
        tasks.push(tokio::spawn(split(run.clone(), rng(1))));
    }
    if schedule.merges {
        tasks.push(tokio::spawn(merge(run.clone(), rng(8))));
    }
    if schedule.leases_move {
        tasks.push(tokio::spawn(move_leases(run.clone(), rng(2))));
    }
    if schedule.links_break {
        tasks.push(tokio::spawn(break_links(run.clone(), rng(3))));
    }
    if schedule.links_slow {
        tasks.push(tokio::spawn(slow_links(run.clone(), rng(7))));
    }
    if schedule.stores_stall {
        tasks.push(tokio::spawn(stall_stores(run.clone(), rng(6))));
    }
    if schedule.follower_lags {
        tasks.push(tokio::spawn(leave_a_follower_behind(run.clone(), rng(4))));
    }
    if schedule.clocks_step {
        tasks.push(tokio::spawn(step_clocks(run.clone(), rng(5))));
    }
    tasks
}

async fn pause(rng: &mut SmallRng, from_ms: u64, to_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(from_ms..to_ms))).await;
}

/// Somewhere among what clients are at.
fn some_key(run: &Run, rng: &mut SmallRng) -> Key {
    let draw = rng.random_range(0..10);
    match if run.schedule.list_clients == 0 { 1 + draw % 2 } else { draw } {
        0 => key(b'b', &[rng.random_range(0..8)]),
        1 => key(b'a', &[rng.random_range(0..4)]),
        2 => key(b'z', &[rng.random_range(0..4)]),
        3 => key(b't', &[rng.random_range(0..30), rng.random_range(0..60)]),
        _ => lists::list_key(lists::base(run) + rng.random_range(0..run.schedule.window)),
    }
}

async fn split_at(run: &Run, by: usize, at: &Key) -> bool {
    let split = run.cluster.members[by].db.split_at(at);
    let done = matches!(tokio::time::timeout(PATIENCE, split).await, Ok(Ok(())));
    if done {
        run.struck.note("range split");
    }
    done
}

async fn split(run: Arc<Run>, mut rng: SmallRng) {
    while !run.is_over() {
        pause(&mut rng, 100, 500).await;
        let at = some_key(&run, &mut rng);
        let by = rng.random_range(0..run.cluster.members.len());
        split_at(&run, by, &at).await;
    }
}

async fn merge(run: Arc<Run>, mut rng: SmallRng) {
    while !run.is_over() {
        pause(&mut rng, 100, 600).await;
        let at = some_key(&run, &mut rng);
        let by = rng.random_range(0..run.cluster.members.len());
        let merged = run.cluster.members[by].db.admin(&at, Request::Merge);
        // One that is refused in time has been ruled out; where it is open, the frozen range finds out by itself.
        if matches!(tokio::time::timeout(PATIENCE, merged).await, Ok(Ok(_))) {
            run.struck.note("ranges merged");
        }
    }
}

async fn move_leases(run: Arc<Run>, mut rng: SmallRng) {
    while !run.is_over() {
        pause(&mut rng, 100, 600).await;
        let at = some_key(&run, &mut rng);
        let count = run.cluster.members.len();
        let (by, to) = (rng.random_range(0..count), rng.random_range(0..count));
        let moved =
            tokio::time::timeout(Duration::from_secs(3), run.cluster.transfer_lease(by, &at, to)).await;
        if matches!(moved, Ok(true)) {
            run.struck.note("lease moved");
        }
    }
}

fn node(place: usize) -> NodeId {
    Cluster::node(place)
}

/// One way, both ways, or all of a node's.
async fn break_links(run: Arc<Run>, mut rng: SmallRng) {
    let count = run.cluster.members.len();
    while !run.is_over() {
        pause(&mut rng, 100, 800).await;
        let from = rng.random_range(0..count);
        let to = (from + rng.random_range(1..count)) % count;
        let others = (0..count).filter(|other| *other != from);
        // What is to go on beside it can: no node is alone then.
        let only_pairs = run.schedule.concern == Concern::Clocks;
        let links: Vec<(usize, usize)> = match if only_pairs { 4 } else { rng.random_range(0..6) } {
            0 => vec![(from, to)],
            1 => others.map(|other| (from, other)).collect(),
            2 => others.map(|other| (other, from)).collect(),
            3 => others.flat_map(|other| [(from, other), (other, from)]).collect(),
            _ => vec![(from, to), (to, from)],
        };
        for (from, to) in &links {
            run.cluster.network.partition(node(*from), node(*to));
        }
        run.struck.note("link cut");
        let length = rng.random_range(300..2500);
        run.over_or(Duration::from_millis(length)).await;
        for (from, to) in &links {
            run.cluster.network.heal(node(*from), node(*to));
        }
    }
}

/// What a store is sent, or what one sends, takes long: it learns late what the others, and their clocks, are at.
async fn slow_links(run: Arc<Run>, mut rng: SmallRng) {
    let count = run.cluster.members.len();
    while !run.is_over() {
        pause(&mut rng, 20, 300).await;
        let place = rng.random_range(0..count);
        let others = (0..count).filter(|other| *other != place);
        let links: Vec<(usize, usize)> = match rng.random_range(0..4) {
            0 => others.map(|other| (place, other)).collect(),
            1 => vec![(place, (place + rng.random_range(1..count)) % count)],
            _ => others.map(|other| (other, place)).collect(),
        };
        let by = Duration::from_millis(rng.random_range(20..200));
        for (from, to) in &links {
            run.cluster.network.slow(node(*from), node(*to), by);
        }
        run.struck.note("link slow");
        let length = rng.random_range(500..3000);
        run.over_or(Duration::from_millis(length)).await;
        for (from, to) in &links {
            run.cluster.network.slow(node(*from), node(*to), Duration::ZERO);
        }
    }
}

/// A store stands still, or the disk of one does.
async fn stall_stores(run: Arc<Run>, mut rng: SmallRng) {
    let count = run.cluster.members.len();
    while !run.is_over() {
        pause(&mut rng, 300, 900).await;
        let place = rng.random_range(0..count);
        let others: Vec<usize> = (0..count).filter(|other| *other != place).collect();
        let disk = rng.random_bool(0.5);
        if disk {
            run.cluster.hold_disk(place, true);
        } else {
            for other in &others {
                run.cluster.network.stall(node(place), node(*other));
                run.cluster.network.stall(node(*other), node(place));
            }
        }
        run.struck.note("store stalled");
        let length = rng.random_range(100..2000);
        run.over_or(Duration::from_millis(length)).await;
        if disk {
            run.cluster.hold_disk(place, false);
        }
        for other in others.iter().filter(|_| !disk) {
            run.cluster.network.heal(node(place), node(*other));
            run.cluster.network.heal(node(*other), node(place));
        }
    }
}

/// A follower is away while a range is split and written and its log is cut: what it comes back to is a snapshot of a
/// range that is half of what it knew.
async fn leave_a_follower_behind(run: Arc<Run>, mut rng: SmallRng) {
    let count = run.cluster.members.len();
    while !run.is_over() {
        pause(&mut rng, 100, 600).await;
        let at = some_key(&run, &mut rng);
        let Some(leader) = run.cluster.leader_of(&at) else { continue };
        let away = (leader + rng.random_range(1..count)) % count;
        run.cluster.isolate(away);
        let split = split_at(&run, leader, &at).await;
        pause(&mut rng, 50, 500).await;
        let mut cut = false;
        for (_, member) in run.cluster.members.iter().enumerate().filter(|(place, _)| *place != away) {
            // A store that is not there any more cuts nothing.
            let engine = member.store.engine().clone();
            let flushed = tokio::task::spawn_blocking(move || engine.flush().is_ok()).await.unwrap_or(false);
            for replica in member.store.replicas() {
                let applied = replica.group().status().applied_index;
                let truncated = tokio::time::timeout(PATIENCE, replica.group().truncate_log(applied)).await;
                cut |= flushed && truncated.is_ok();
            }
        }
        for other in (0..count).filter(|other| *other != away) {
            run.cluster.network.heal(node(away), node(other));
            run.cluster.network.heal(node(other), node(away));
        }
        if split && cut {
            run.struck.note("log cut under a follower that was away");
        }
        pause(&mut rng, 500, 1500).await;
    }
}

/// Steps forward and back, of stores and of gateways, within the bound.
async fn step_clocks(run: Arc<Run>, mut rng: SmallRng) {
    let bound = run.schedule.skew_ms;
    while !run.is_over() {
        // Nodes learn each other's time from all they are sent: one that goes back is behind only some time later.
        let (least, most) = if run.schedule.concern == Concern::Clocks { (200, 1500) } else { (20, 250) };
        pause(&mut rng, least, most).await;
        let off = match rng.random_range(0..4) {
            0 => bound,
            1 => -bound,
            _ => rng.random_range(-bound..=bound),
        };
        if rng.random_bool(0.5) {
            run.cluster.members[rng.random_range(0..run.cluster.members.len())].set_offset(off);
        } else {
            run.gateways.get(rng.random_range(0..run.gateways.count())).set_offset(off);
        }
        run.struck.note("clock stepped");
    }
}
