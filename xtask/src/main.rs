//! Developer commands: `cargo xtask demo | test | tidy | bench | bulk | catalogs | catalogue | chaos | histories | hostile | stalls |
//! queue | shapes | diff | startup | regress | clients | compat | tpcc | tpch | planted | soak | setup`.
//!
//! The problem: a fresh machine lacks system packages, a compiled RocksDB and a place where build output outlives a
//! clone. Each command here first makes sure of what it needs ([`setup`], [`rocksdb`]), then does its work with
//! progress shown, and ends with a clear verdict and exit code.
//!
//! Deliberately left out: anything a user of the database needs; that is the `quorate` binary.

mod bench;
mod beside;
mod bulk;
mod catalogs;
mod catalogue;
mod chaos;
mod clients;
mod cluster;
mod command;
mod compat;
mod corpus;
mod demo;
mod diff;
mod disk;
mod histories;
mod hostile;
mod planted;
mod proxy;
mod queue;
mod regress;
mod rocksdb;
mod setup;
mod shapes;
mod soak;
mod stalls;
mod startup;
mod test;
mod tidy;
mod tpcc;
mod tpch;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Quorate")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up this machine, build, and start three nodes with a sample database.
    Demo(demo::Arguments),
    /// Run every test.
    Test(test::Arguments),
    /// Check the invariants of the tree: layers, foreign crates, module docs.
    Tidy,
    /// Run pgbench against this database and against PostgreSQL, interleaved, and print the ratios.
    Bench(bench::Arguments),
    /// Run statements over many rows here and on PostgreSQL, step by step, and print the ratios.
    Bulk(bulk::Arguments),
    /// Compare the catalogs with PostgreSQL's signatures, and write what is missing.
    Catalogue(catalogue::Arguments),
    /// Kill, pause and cut off nodes of a cluster under load, one after another, and look for what was lost.
    Chaos(chaos::Arguments),
    /// Run schedules of clients and faults, one a seed, and judge what the clients saw.
    Histories(histories::Arguments),
    /// Attack a node in many ways, and measure what others feel and what memory it takes.
    Hostile(hostile::Arguments),
    /// Measure how long clients stand still when the node that leads their rows is in trouble.
    Stalls(stalls::Arguments),
    /// Take jobs from a table with many workers, beside PostgreSQL.
    Queue(queue::Arguments),
    /// Give a server statements of random shape: deep, wide and long.
    Shapes(shapes::Arguments),
    /// Run random statements here and on PostgreSQL, compare the answers, and shrink what differs.
    Diff(diff::Arguments),
    /// Measure how long a node takes to answer, and what it costs at rest.
    Startup(startup::Arguments),
    /// Run PostgreSQL's regression files here and on PostgreSQL, and count the statements answered alike.
    Regress(regress::Arguments),
    /// Run programs over stock drivers here and on PostgreSQL, and compare them step by step.
    Clients(clients::Arguments),
    /// Run the test suites of drivers and ORMs, and compare with the failures that are known.
    Compat(compat::Arguments),
    /// Time what clients ask of the catalogs of a database with many tables, and changes of it beside PostgreSQL.
    Catalogs(catalogs::Arguments),
    /// Run TPC-C's transactions here and on PostgreSQL in turn, and check its consistency conditions.
    Tpcc(tpcc::Arguments),
    /// Run TPC-H's queries here and on PostgreSQL in turn, and print the ratios.
    Tpch(tpch::Arguments),
    /// Switch known bugs on, one at a time, and demand that the suite sees each.
    Planted(planted::Arguments),
    /// Run histories, chaos, workloads and planted bugs for a while, with one verdict.
    Soak(soak::Arguments),
    /// Install or name the system packages that building needs.
    Setup,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run_demo(&arguments),
        Command::Test(arguments) => test::run_tests(&arguments),
        Command::Tidy => tidy::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Bulk(arguments) => bulk::run(&arguments),
        Command::Catalogue(arguments) => catalogue::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Catalogs(arguments) => catalogs::run(&arguments),
        Command::Clients(arguments) => clients::run(&arguments),
        Command::Compat(arguments) => compat::run(&arguments),
        Command::Histories(arguments) => histories::run(&arguments),
        Command::Hostile(arguments) => hostile::run(&arguments),
        Command::Stalls(arguments) => stalls::run(&arguments),
        Command::Queue(arguments) => queue::run(&arguments),
        Command::Shapes(arguments) => shapes::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Startup(arguments) => startup::run(&arguments),
        Command::Regress(arguments) => regress::run(&arguments),
        Command::Tpcc(arguments) => tpcc::run(&arguments),
        Command::Tpch(arguments) => tpch::run(&arguments),
        Command::Planted(arguments) => planted::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Setup => setup::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
