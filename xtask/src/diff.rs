//! `cargo xtask diff`: random statements here and on PostgreSQL, whose answers must be the same.
//!
//! A seed makes a schema with its rows, and statements over it: queries, and changes in transactions that are rolled back.
//! Compared are rows, names and types of columns, command tags, and the codes of errors. A statement that is answered
//! otherwise is made as small as it still shows the difference, with the tables and rows it needs, and printed with both
//! answers; a kind of difference is printed once, and counted. Differences that are as they should be are listed with
//! their reasons ([`explained`]). A lost connection, a server that ends, and XX000 are differences too.
//!
//! Everything is in the generated tree ([`tree`]): the printer, the shrinker and the comparison know no other form.

mod changes;
mod compare;
mod expression;
mod explained;
mod pair;
mod query;
mod rules;
mod schema;
mod shrink;
mod tree;
mod types;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use self::compare::Kind;
use self::expression::Generator;
use self::pair::{Codes, Found, Frame, Pair, case, statements};
use self::schema::Schema;
use self::tree::Tree;
use self::wire::{Answer, Protocol};
use crate::command::{Error, IoContext, Result};
use crate::{demo, setup};

#[derive(clap::Args)]
pub struct Arguments {
    /// How many schemas, one a seed.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed; drawn when not given, and printed.
    #[arg(long)]
    first: Option<u64>,
    /// How many statements over each schema.
    #[arg(long, default_value_t = 100)]
    statements: u64,
    /// Only the statement with this number.
    #[arg(long)]
    only: Option<u64>,
    /// Compare the texts of errors too, not only their codes.
    #[arg(long)]
    messages: bool,
    /// How many smaller statements are tried for a difference.
    #[arg(long, default_value_t = 400)]
    tries: usize,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// A kind of error is shrunk so often; later ones are counted.
const SHRUNK_OF_A_KIND: usize = 2;

/// Rows of an answer that are printed.
const PRINTED_ROWS: usize = 6;

pub fn run(arguments: &Arguments) -> Result {
    setup::for_bench()?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => demo::build()?,
    };
    let scratch = std::env::temp_dir().join(format!("quorate-diff-{}", std::process::id()));
    let mut pair = Pair::start(&binary, &scratch)?;
    pair.messages = arguments.messages;
    let first = arguments.first.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("beside {}; first seed {first}", pair.version());
    let bar = ProgressBar::new(arguments.seeds * arguments.statements);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len}, {elapsed}: {msg}").expect("a valid template"));
    let mut run = Run { pair, arguments, bar, open: BTreeMap::new(), explained: BTreeMap::new(), counted: HashMap::new(), cases: 0, answered: 0 };
    let started = Instant::now();
    for seed in first..first + arguments.seeds {
        run.seed(seed)?;
    }
    run.bar.finish_and_clear();
    let open = run.print(started);
    run.pair.stop()?;
    if open > 0 {
        return Err(Error::Checks { failed: open });
    }
    fs::remove_dir_all(&scratch).context("removing the scratch folder")
}

/// A statement or transaction of a seed, by its number.
struct Case {
    tree: Tree,
    frame: Frame,
    protocol: Protocol,
}

impl Case {
    fn of(schema: &Schema, seed: u64, number: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let protocol = if rng.random_bool(0.25) { Protocol::Extended } else { Protocol::Simple };
        let mut generator = Generator::new(schema, rng.random());
        if rng.random_bool(0.75) {
            let depth = *[2, 2, 3, 3, 4].choose(&mut rng).expect("not empty");
            return Self { tree: case(vec![generator.top_query(depth)]), frame: Frame::None, protocol };
        }
        Self { tree: case(generator.transaction()), frame: Frame::Transaction, protocol }
    }
}

/// A kind of difference: how often it was seen, and where first.
struct Seen {
    count: usize,
    seed: u64,
    number: u64,
    sql: String,
}

struct Run<'a> {
    pair: Pair,
    arguments: &'a Arguments,
    bar: ProgressBar,
    open: BTreeMap<(Kind, Vec<&'static str>), Seen>,
    explained: BTreeMap<&'static str, usize>,
    /// Errors of a kind, shrunk or not.
    counted: HashMap<Kind, usize>,
    cases: usize,
    /// Cases without a difference whose first statement PostgreSQL did not refuse.
    answered: usize,
}

impl Run<'_> {
    fn seed(&mut self, seed: u64) -> Result {
        let mut schema = Schema::of(seed);
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7a6f_6e65);
        let zone = ["UTC", "America/New_York", "Asia/Kolkata"].choose(&mut rng).expect("not empty");
        self.pair.begin(vec![format!("set timezone = '{zone}'")])?;
        let mut made = Vec::new();
        for statement in &schema.setup {
            let (there, here) = self.pair.run(&statement.print(), Protocol::Simple);
            if let Some(kind) = compare::compare(statement, &there, &here, self.arguments.messages) {
                let found = Found { kind, position: 0, there, here };
                self.report(seed, 0, &case(vec![statement.clone()]), &[], Protocol::Simple, &found, &Codes::default(), false);
            } else if there.refusal.is_none() {
                made.push(statement.clone());
            }
        }
        // What one of them refused is not used.
        let is_made = |name: &str| {
            let begins = [format!("create table {name} "), format!("create view {name} ")];
            made.iter().map(Tree::print).any(|sql| begins.iter().any(|begin| sql.starts_with(begin.as_str())))
        };
        schema.tables.retain(|table| is_made(&table.name));
        schema.setup = made;
        if rng.random_bool(0.5) {
            self.pair.run("analyze", Protocol::Simple);
        }
        let numbers = self.arguments.only.map_or(1..self.arguments.statements + 1, |number| number..number + 1);
        if !schema.tables.iter().any(|table| !table.is_view) {
            return Ok(());
        }
        for number in numbers {
            self.bar.inc(1);
            self.bar.set_message(format!("{} kinds of differences", self.open.len()));
            self.case(&schema, seed, number)?;
        }
        Ok(())
    }

    fn case(&mut self, schema: &Schema, seed: u64, number: u64) -> Result {
        let Case { tree, frame, protocol } = Case::of(schema, seed, number);
        self.cases += 1;
        let mut codes = Codes::default();
        let Some(found) = self.pair.try_case(&tree, frame, protocol, &mut codes)? else {
            self.answered += usize::from(codes.there.is_empty());
            return Ok(());
        };
        let names_its_cause = matches!(found.kind, Kind::RefusedHere { .. } | Kind::RefusedThere { .. } | Kind::Internal(_));
        let count = self.counted.entry(found.kind.clone()).or_default();
        *count += 1;
        if names_its_cause && *count > SHRUNK_OF_A_KIND {
            return Ok(());
        }
        let tries = match &found.kind {
            Kind::Lost => 40,
            Kind::RefusedHere { code, .. } if code == "57014" => 30,
            _ => self.arguments.tries,
        };
        let kind = found.kind.clone();
        let mut codes = Codes::default();
        let small = self.shrink(&tree, frame, protocol, tries, &kind, &mut codes)?;
        // What it needs of the schema, if a transaction of its own shows it as well.
        let own: Vec<Tree> = schema.setup.iter().cloned().chain(statements(&small).iter().cloned()).collect();
        let whole = case(own);
        let is_new = !self.open.contains_key(&(kind.clone(), subject(&small, found.position).labels()));
        let shows = |found: &Option<Found>| found.as_ref().is_some_and(|found| found.kind == kind);
        let in_own_schema = is_new && kind != Kind::Lost && shows(&self.pair.try_case(&whole, Frame::Schema, protocol, &mut codes)?);
        let (small, frame) = match in_own_schema {
            true => (self.shrink(&whole, Frame::Schema, protocol, self.arguments.tries, &kind, &mut codes)?, Frame::Schema),
            false => (small, frame),
        };
        // A difference that comes and goes is told as it was first seen.
        let found = self.pair.try_case(&small, frame, protocol, &mut codes)?.unwrap_or(found);
        let setup = if in_own_schema { &[] } else { schema.setup.as_slice() };
        let fails_at_planning = match &found.kind {
            Kind::RefusedThere { code, .. } | Kind::OtherCode { there: code, .. } => self.pair.explains_with(&small, frame, found.position, code),
            _ => false,
        };
        self.report(seed, number, &small, setup, protocol, &found, &codes, fails_at_planning);
        Ok(())
    }

    fn shrink(&mut self, tree: &Tree, frame: Frame, protocol: Protocol, tries: usize, kind: &Kind, codes: &mut Codes) -> Result<Tree> {
        let mut failure = None;
        let pair = &mut self.pair;
        let small = shrink::shrink(tree, tries, |smaller| match pair.try_case(smaller, frame, protocol, codes) {
            Ok(found) => found.is_some_and(|found| found.kind == *kind),
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        });
        failure.map_or(Ok(small), Err)
    }

    #[allow(clippy::too_many_arguments)]
    fn report(
        &mut self,
        seed: u64,
        number: u64,
        tree: &Tree,
        setup: &[Tree],
        protocol: Protocol,
        found: &Found,
        codes: &Codes,
        fails_at_planning: bool,
    ) {
        let sql = subject(tree, found.position).print();
        let has_both_errors = match &found.kind {
            Kind::OtherCode { there, here } => codes.there.contains(here) && codes.here.contains(there),
            _ => false,
        };
        let refused_there = match &found.kind {
            Kind::RefusedHere { code, .. } => codes.there.contains(code),
            _ => false,
        };
        let refused_here = match &found.kind {
            Kind::RefusedThere { code, .. } => codes.here.contains(code),
            _ => false,
        };
        let evidence = explained::Evidence { has_both_errors, refused_there, refused_here, fails_at_planning };
        let whole: Vec<String> = setup.iter().map(Tree::print).chain([tree.print()]).collect();
        let whole = whole.join(";\n");
        let shrunk = explained::Shrunk { sql: &sql, whole: &whole, kind: &found.kind, there: &found.there, here: &found.here, evidence };
        if let Some(explained) = explained::explain(&shrunk) {
            *self.explained.entry(explained.name).or_default() += 1;
            return;
        }
        let labels = subject(tree, found.position).labels();
        if let Some(seen) = self.open.get_mut(&(found.kind.clone(), labels.clone())) {
            seen.count += 1;
            return;
        }
        let text = [
            format!("=== {} (--first {seed} --seeds 1 --only {number}; {protocol:?})", found.kind),
            setup.iter().map(|it| format!("{};\n", it.print())).collect::<String>() + &tree.print() + ";",
            format!("--- PostgreSQL\n{}", shown(&found.there)),
            format!("--- here\n{}\n", shown(&found.here)),
        ];
        self.bar.suspend(|| println!("{}", text.join("\n")));
        self.open.insert((found.kind.clone(), labels), Seen { count: 1, seed, number, sql });
    }

    /// Prints the summary; how many differences are open.
    fn print(&self, started: Instant) -> usize {
        println!("--- Differences by kind");
        let mut by_kind: BTreeMap<&Kind, Vec<(&Vec<&'static str>, &Seen)>> = BTreeMap::new();
        for ((kind, labels), seen) in &self.open {
            by_kind.entry(kind).or_default().push((labels, seen));
        }
        let mut open = 0;
        for (kind, all) in &by_kind {
            let shrunk: usize = all.iter().map(|(_, seen)| seen.count).sum();
            let count = shrunk.max(self.counted.get(kind).copied().unwrap_or(0));
            open += count;
            println!("{count:5}  {kind}");
            for (_, seen) in all {
                let sql: String = seen.sql.chars().take(160).collect();
                println!("         {:4}  {}.{}  {sql}", seen.count, seen.seed, seen.number);
            }
        }
        println!("--- Explained");
        for explained in explained::EXPLAINED {
            let count = self.explained.get(explained.name).copied().unwrap_or(0);
            println!("{count:5}  {}: {}", explained.name, explained.reason);
        }
        println!(
            "{} cases in {} s, {} of them answered alike and without an error; {} statements with those tried while shrinking; \
             {open} open differences of {} kinds, {} explained; the node ended {} times",
            self.cases,
            started.elapsed().as_secs(),
            self.answered,
            self.pair.statements,
            self.open.len(),
            self.explained.values().sum::<usize>(),
            self.pair.restarts
        );
        open
    }
}

/// The statement of a case that was answered otherwise.
fn subject(tree: &Tree, position: usize) -> &Tree {
    let all = statements(tree);
    &all[position.min(all.len() - 1)]
}

fn shown(answer: &Answer) -> String {
    if let Some(lost) = &answer.lost {
        return format!("no answer: {lost}");
    }
    if let Some(refusal) = &answer.refusal {
        return format!("{} {}", refusal.code, refusal.message);
    }
    let columns = answer.columns.iter().map(|column| format!("{} ({})", column.name, column.type_oid));
    let mut lines = vec![columns.collect::<Vec<_>>().join(" | ")];
    for row in answer.rows.iter().take(PRINTED_ROWS) {
        lines.push(row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(" | "));
    }
    if answer.rows.len() > PRINTED_ROWS {
        lines.push("…".into());
    }
    lines.push(format!("{}, {} rows", answer.tag, answer.rows.len()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_statements_again() {
        for seed in 0..20 {
            let (schema, again) = (Schema::of(seed), Schema::of(seed));
            let setup = |schema: &Schema| schema.setup.iter().map(Tree::print).collect::<Vec<_>>();
            assert_eq!(setup(&schema), setup(&again), "seed {seed}");
            let cases = |schema: &Schema| (1..50).map(|number| Case::of(schema, seed, number).tree.print()).collect::<Vec<_>>();
            let made = cases(&schema);
            assert_eq!(made, cases(&again), "seed {seed}");
            let mut distinct = made.clone();
            distinct.sort();
            distinct.dedup();
            assert!(distinct.len() > 45, "seed {seed} repeats itself: {} of 49", distinct.len());
        }
    }

    /// A case of two tables and a large query shrinks to the one thing that an artificial predicate looks for.
    #[test]
    fn the_shrinker_reaches_the_least_statement() {
        let mut shrunk = 0;
        for seed in 0..40 {
            let schema = Schema::of(seed);
            for number in 1..40 {
                let case = Case::of(&schema, seed, number).tree;
                if !case.print().contains("md5(") {
                    continue;
                }
                let small = shrink::shrink(&case, 5000, |smaller| smaller.print().contains("md5("));
                let text = small.print();
                assert!(text.contains("md5("), "{text}");
                // What is left beside it is the frame of its statement: an INSERT with all of its clauses has the longest.
                assert!(text.len() < 200, "seed {seed}.{number}: {text}");
                shrunk += 1;
            }
        }
        assert!(shrunk > 10, "only {shrunk} statements had what was looked for");
    }

    /// Columns of a table go with their values.
    #[test]
    fn tied_lists_shrink_together() {
        let schema = Schema::of(3);
        let setup: Vec<Tree> = schema.setup.iter().take(2).cloned().collect();
        let columns = |tree: &Tree| tree.print().matches("int4 primary key").count() == 1;
        let small = shrink::shrink(&case(setup), 5000, |smaller| columns(smaller) && smaller.print().contains("values (0"));
        let text = small.print();
        assert!(text.contains("(id int4 primary key)") && text.contains("(id) values (0)"), "{text}");
    }
}
