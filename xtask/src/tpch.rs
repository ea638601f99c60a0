//! `cargo xtask tpch`: the 22 queries of TPC-H, here and on PostgreSQL, query by query in turn.
//!
//! The rows are made by a library; tables have their primary keys, and an index over each foreign key, on both servers.
//! Both must answer alike. A query that takes too long is cut off and counts as not ended.

mod queries;

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator, RegionGenerator,
    SupplierGenerator,
};

use self::queries::QUERIES;
use crate::beside::{Cost, Pair, Server, both, median, psql};
use crate::command::{Error, IoContext, Result};

#[derive(clap::Args)]
pub struct Arguments {
    /// The scale factor: 1 is 6 million rows of `lineitem`.
    #[arg(long, default_value_t = 0.05)]
    scale: f64,
    /// Rounds; each runs every query once on each server. The first one warms up and is not counted when there are more.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these queries.
    #[arg(long, value_delimiter = ',')]
    only: Vec<u32>,
    /// Seconds after which a query is cut off.
    #[arg(long, default_value_t = 120)]
    timeout: u32,
    /// Fail when the geometric mean of the ratios of time, ours to PostgreSQL's, is higher.
    #[arg(long)]
    at_most: Option<f64>,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

const TABLES: [&str; 8] = [
    "CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152))",
    "CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name char(25) NOT NULL, n_regionkey int NOT NULL,
        n_comment varchar(152))",
    "CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL,
        s_nationkey int NOT NULL, s_phone char(15) NOT NULL, s_acctbal numeric(15, 2) NOT NULL,
        s_comment varchar(101) NOT NULL)",
    "CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL,
        c_nationkey int NOT NULL, c_phone char(15) NOT NULL, c_acctbal numeric(15, 2) NOT NULL,
        c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL)",
    "CREATE TABLE part (p_partkey int PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL,
        p_brand char(10) NOT NULL, p_type varchar(25) NOT NULL, p_size int NOT NULL, p_container char(10) NOT NULL,
        p_retailprice numeric(15, 2) NOT NULL, p_comment varchar(23) NOT NULL)",
    "CREATE TABLE partsupp (ps_partkey int NOT NULL, ps_suppkey int NOT NULL, ps_availqty int NOT NULL,
        ps_supplycost numeric(15, 2) NOT NULL, ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey))",
    "CREATE TABLE orders (o_orderkey int PRIMARY KEY, o_custkey int NOT NULL, o_orderstatus char(1) NOT NULL,
        o_totalprice numeric(15, 2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL,
        o_clerk char(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL)",
    "CREATE TABLE lineitem (l_orderkey int NOT NULL, l_partkey int NOT NULL, l_suppkey int NOT NULL,
        l_linenumber int NOT NULL, l_quantity numeric(15, 2) NOT NULL, l_extendedprice numeric(15, 2) NOT NULL,
        l_discount numeric(15, 2) NOT NULL, l_tax numeric(15, 2) NOT NULL, l_returnflag char(1) NOT NULL,
        l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL,
        l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL,
        l_comment varchar(44) NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber))",
];

const INDEXES: [&str; 7] = [
    "CREATE INDEX ON nation (n_regionkey)",
    "CREATE INDEX ON supplier (s_nationkey)",
    "CREATE INDEX ON customer (c_nationkey)",
    "CREATE INDEX ON partsupp (ps_suppkey)",
    "CREATE INDEX ON orders (o_custkey)",
    "CREATE INDEX ON lineitem (l_partkey, l_suppkey)",
    "CREATE INDEX ON lineitem (l_suppkey)",
];

pub fn run(arguments: &Arguments) -> Result {
    let pair = Pair::start("tpch", arguments.binary.as_deref())?;
    load(&pair.servers, &pair.scratch, arguments.scale)?;
    let cut_off = format!("SET statement_timeout = '{}s';", arguments.timeout);
    let mut costs: Vec<(u32, Vec<[Cost; 2]>)> = Vec::new();
    let mut failed = Vec::new();
    for (number, sql) in QUERIES.iter().filter(|(number, _)| arguments.only.is_empty() || arguments.only.contains(number)) {
        let mut rounds = Vec::new();
        for round in 0..arguments.rounds.max(1) {
            match both(&pair.servers, round, &format!("query {number}"), &format!("{cut_off} {sql}")) {
                Ok(cost) => rounds.push(cost),
                Err(error) => {
                    println!("query {number}: {error}");
                    failed.push(*number);
                    break;
                }
            }
        }
        if rounds.len() > 1 {
            rounds.remove(0);
        }
        if !rounds.is_empty() {
            print(*number, &rounds);
            costs.push((*number, rounds));
        }
    }
    let mean = geometric_mean(&costs, |[ours, theirs]| ours.seconds / theirs.seconds);
    let cpu = geometric_mean(&costs, |[ours, theirs]| ours.cpu.max(0.01) / theirs.cpu.max(0.01));
    println!("{} of {} queries; geometric mean of the ratios: time {mean:.2}, CPU {cpu:.2}", costs.len(), costs.len() + failed.len());
    pair.stop()?;
    let too_slow = arguments.at_most.is_some_and(|most| !(mean <= most));
    if too_slow || !failed.is_empty() {
        let command = format!("TPC-H: mean {mean:.2}, queries that failed: {failed:?}");
        return Err(Error::Failed { command });
    }
    Ok(())
}

/// Makes the tables on both servers and fills them with the same rows.
fn load(servers: &[Server; 2], scratch: &Path, scale: f64) -> Result {
    let step = |name: &str, sql: &str| -> Result {
        let [ours, theirs] = both(servers, 0, name, sql)?;
        println!("{name:<40} {:>8.3} s here {:>8.3} s there", ours.seconds, theirs.seconds);
        Ok(())
    };
    for table in TABLES {
        servers.iter().try_for_each(|server| psql(server.port, &[table]).map(drop))?;
    }
    let file = scratch.join("rows.tbl");
    let copy = |table: &str, rows: &mut dyn Iterator<Item = String>| -> Result {
        let mut out = BufWriter::new(File::create(&file).context("making the file of rows")?);
        for row in rows {
            // Rows end with a separator, which COPY would take for one column more.
            writeln!(out, "{}", row.trim_end_matches('|')).context("writing rows")?;
        }
        out.flush().context("writing rows")?;
        drop(out);
        step(&format!("copy {table}"), &format!("\\copy {table} FROM '{}' WITH (DELIMITER '|')", file.display()))
    };
    copy("region", &mut texts(RegionGenerator::new(scale, 1, 1).iter()))?;
    copy("nation", &mut texts(NationGenerator::new(scale, 1, 1).iter()))?;
    copy("supplier", &mut texts(SupplierGenerator::new(scale, 1, 1).iter()))?;
    copy("customer", &mut texts(CustomerGenerator::new(scale, 1, 1).iter()))?;
    copy("part", &mut texts(PartGenerator::new(scale, 1, 1).iter()))?;
    copy("partsupp", &mut texts(PartSuppGenerator::new(scale, 1, 1).iter()))?;
    copy("orders", &mut texts(OrderGenerator::new(scale, 1, 1).iter()))?;
    copy("lineitem", &mut texts(LineItemGenerator::new(scale, 1, 1).iter()))?;
    for index in INDEXES {
        step(index, index)?;
    }
    for table in ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"] {
        let analyze = format!("ANALYZE {table}");
        step(&analyze, &analyze)?;
    }
    Ok(())
}

fn texts<T: Display>(rows: impl Iterator<Item = T>) -> impl Iterator<Item = String> {
    rows.map(|row| row.to_string())
}

fn print(number: u32, rounds: &[[Cost; 2]]) {
    let of = |value: &dyn Fn(&[Cost; 2]) -> f64| median(rounds.iter().map(value).collect());
    println!(
        "query {number:<4} {:>8.3} s here {:>8.3} there {:>7.2} | cpu {:>7.2} {:>7.2}",
        of(&|[ours, _]| ours.seconds),
        of(&|[_, theirs]| theirs.seconds),
        of(&|[ours, theirs]| ours.seconds / theirs.seconds),
        of(&|[ours, _]| ours.cpu),
        of(&|[_, theirs]| theirs.cpu),
    );
}

/// Of the queries' medians.
fn geometric_mean(costs: &[(u32, Vec<[Cost; 2]>)], ratio: impl Fn(&[Cost; 2]) -> f64) -> f64 {
    let logs: Vec<f64> = costs.iter().map(|(_, rounds)| median(rounds.iter().map(&ratio).collect()).ln()).collect();
    (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
}
