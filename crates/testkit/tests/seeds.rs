//! One short history of each concern of the schedules. `cargo xtask histories` runs many, at full length.

use std::time::Duration;

use tempfile::TempDir;
use testkit::{
    run::run,
    schedule::{Concern, Schedule},
};

async fn judge(seed: u64, concern: Concern) {
    let dir = TempDir::new().unwrap();
    let schedule = Schedule { load: Duration::from_secs(2), enough: ("", 0), ..Schedule::of(seed) };
    assert_eq!(schedule.concern, concern);
    let report = run(dir.path(), schedule).await;
    assert_eq!(report.faults, Vec::<String>::new(), "seed {seed}: {report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_coordinators_die_in_the_middle_of_commits() {
    judge(1, Concern::Coordinators).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_ranges_split_and_followers_fall_behind_cut_logs() {
    judge(18, Concern::Ranges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_clocks_disagree_and_step() {
    judge(3, Concern::Clocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_spans_are_cleared_under_readers() {
    judge(4, Concern::Clearing).await;
}
