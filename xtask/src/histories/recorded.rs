//! `cargo xtask histories --recorded DIR`: whether our checkers come to the verdicts that are known of recorded histories.
//!
//! The histories are Jepsen's, Knossos's, Elle's and Porcupine's own test data; they lie outside the tree. What is known of
//! a file is told by its folder or name (`good`, `bad`, `ok`), by a file `NAME-result.json` beside it, or by the lists below.
//! Two verdicts of others are not followed, with the reason.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use checkers::history::{self, Call, NEVER};
use checkers::judges::Workload;
use checkers::linearizable::{self, Action, Found, Model, Register, STATES_MAX};
use checkers::verdict::Ending;
use checkers::{Event, EventKind, Malformed, Operation, Outcome, Verdict, list_append, rw_register};
use serde_json::{Value, json};

use super::edn;
use crate::command::{Error, IoContext, Result};

/// Of Porcupine's 102 histories of etcd, those that are linearizable, by number; all others are not.
const LINEARIZABLE: [u32; 23] =
    [2, 5, 7, 18, 25, 31, 38, 45, 48, 49, 51, 53, 56, 67, 75, 76, 80, 87, 92, 98, 100, 101, 102];

/// Files that no folder tells of.
const KNOWN: [(&str, bool); 13] = [
    ("bank", true),
    ("bank-neg", true),
    ("bank-negative-balances", false),
    ("bank-tidb", false),
    ("comments", false),
    ("counter", true),
    ("list-append-gh-30", false),
    ("long-fork", false),
    ("paper-example", false),
    ("set", true),
    ("etcd", false),
    ("rw-register", false),
    ("set_full", true),
];

/// Where another checker says otherwise, and is wrong.
const NOT_FOLLOWED: [(&str, &str); 2] = [
    ("rw-register", "Elle passes it, for it does not look for reads of what was never written; 3 is read and never written"),
    ("set_full", "elle-cli calls all 293 elements lost, for it compares pairs that were added with numbers that were read"),
];

struct Judged {
    verdict: Verdict,
    /// Cycles in real time count: the known verdict is one of strict serializability.
    strict: bool,
}

pub fn run(dir: &Path) -> Result {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    let (mut agreed, mut differed, mut skipped) = (0, 0, 0);
    for file in &files {
        let shown = file.strip_prefix(dir).unwrap_or(file).display();
        let Some(expected) = expected(file) else {
            println!("skipped   {shown}: no verdict is known of it");
            skipped += 1;
            continue;
        };
        let judged = match read(file) {
            Ok(Some(judged)) => judged,
            Ok(None) => {
                println!("skipped   {shown}: no operations");
                skipped += 1;
                continue;
            }
            Err(reason) => return Err(Error::Failed { command: format!("reading {shown}: {reason}") }),
        };
        let Judged { verdict, strict } = judged;
        let ours = match verdict.ending() {
            Ending::Holds if strict && !verdict.apart.is_empty() => Some(false),
            Ending::Holds => Some(true),
            Ending::Broken => Some(false),
            Ending::Undecided => None,
        };
        let mut names = verdict.names();
        names.extend(verdict.apart.iter().filter(|_| strict).map(|it| it.name));
        names.dedup();
        let said = match ours {
            Some(true) => "holds".to_owned(),
            Some(false) => names.join(", "),
            None => "undecided".to_owned(),
        };
        if ours == Some(expected) {
            agreed += 1;
            let aside = NOT_FOLLOWED.iter().find(|(name, _)| stem(file) == *name);
            println!("agreed    {shown}: {said}{}", aside.map_or_else(String::new, |(_, reason)| format!(" ({reason})")));
        } else {
            differed += 1;
            println!("DIFFERED  {shown}: {said}, known to {}\n{verdict}", if expected { "hold" } else { "be broken" });
        }
    }
    println!("{agreed} agreed, {differed} differed, {skipped} skipped");
    if agreed == 0 {
        return Err(Error::Missing { what: format!("no recorded history in {}", dir.display()), remedy: "unpack them".into() });
    }
    if differed > 0 { Err(Error::Checks { failed: differed }) } else { Ok(()) }
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result {
    for entry in fs::read_dir(dir).context(format!("reading {}", dir.display()))? {
        let path = entry.context("reading a directory entry")?.path();
        let is_history = path.extension().is_some_and(|it| ["edn", "json", "log", "txt"].iter().any(|known| it == *known));
        if path.is_dir() {
            collect(&path, found)?;
        } else if is_history && !stem(&path).ends_with("-result") {
            found.push(path);
        }
    }
    Ok(())
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn number_of_etcd(stem: &str) -> Option<u32> {
    stem.strip_prefix("etcd_")?.parse().ok()
}

/// Whether the history is known to hold.
fn expected(file: &Path) -> Option<bool> {
    let name = stem(file);
    if let Some(number) = number_of_etcd(&name) {
        return Some(LINEARIZABLE.contains(&number));
    }
    if let Some((_, holds)) = KNOWN.iter().find(|(known, _)| *known == name) {
        return Some(*holds);
    }
    let beside = file.with_file_name(format!("{name}-result.json"));
    if let Some(result) = fs::read_to_string(beside).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
        return result.get("valid?").and_then(Value::as_bool);
    }
    let folder = file.parent().and_then(Path::file_name).map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    match (folder.as_str(), name.rsplit('-').next()) {
        ("good", _) | (_, Some("ok")) => Some(true),
        ("bad", _) | (_, Some("bad")) => Some(false),
        _ => None,
    }
}

/// None when nothing happened in it.
fn read(file: &Path) -> std::result::Result<Option<Judged>, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let name = stem(file);
    let path = file.to_string_lossy();
    if number_of_etcd(&name).is_some() {
        return etcd_log(&text).map_err(told);
    }
    let is_json = file.extension().is_some_and(|it| it == "json");
    let objects = if is_json { json_objects(&text)? } else { edn::read_all(&text)? };
    // One list of all, or one object after the other.
    let objects: Vec<Value> =
        objects.into_iter().flat_map(|it| match it { Value::Array(inner) => inner, other => vec![other] }).collect();
    if objects.iter().any(|it| it.get("key").is_some()) {
        return strings(&objects).map(Some);
    }
    let mut events = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        events.extend(Event::of_value(at, object).map_err(told)?);
    }
    if events.is_empty() {
        return Ok(None);
    }
    let verdict = if path.contains("cas-register") {
        single_register(&events)
    } else if path.contains("mutex") {
        mutex(&events)
    } else if name.starts_with("list-append") || name == "paper-example" {
        list_append::decode(&numbered_keys(events)).map(|history| list_append::check(&history, None))
    } else if name.starts_with("rw-register") {
        let options = rw_register::Options { linearizable_keys: false };
        rw_register::decode(&numbered_keys(events)).map(|history| rw_register::check(&history, options))
    } else if name.starts_with("comments") {
        comments(&events)
    } else {
        by_workload(&name, events)
    };
    Ok(Some(Judged { verdict: verdict.map_err(told)?, strict: true }))
}

fn told(malformed: Malformed) -> String {
    malformed.to_string()
}

fn json_objects(text: &str) -> std::result::Result<Vec<Value>, String> {
    serde_json::Deserializer::from_str(text).into_iter().collect::<std::result::Result<_, _>>().map_err(|it| it.to_string())
}

fn by_workload(name: &str, mut events: Vec<Event>) -> std::result::Result<Verdict, Malformed> {
    let workload = if name.starts_with("bank") {
        // The total is what the first read shows.
        let first = events.iter().find_map(|event| Some(event.value.as_object().filter(|_| event.kind == EventKind::Ok && event.f == "read")?.values().filter_map(Value::as_i64).sum()));
        events.retain(|event| ["read", "transfer"].contains(&event.f.as_str()));
        Workload::Bank { total: first.unwrap_or_default(), negative: false }
    } else if name.starts_with("counter") {
        Workload::Counter
    } else if name.starts_with("long-fork") {
        for event in &mut events {
            event.f = "txn".into();
        }
        // One transaction after the other without a process.
        Workload::LongFork
    } else {
        // An element is a number, or a pair of a key and the number.
        for event in events.iter_mut().filter(|event| event.f == "add") {
            if let Some(element) = event.value.get(1).cloned() {
                event.value = element;
            }
        }
        Workload::Sets
    };
    workload.judge(&events)
}

/// Transactions whose keys are names get numbers for them.
fn numbered_keys(mut events: Vec<Event>) -> Vec<Event> {
    let mut numbers: HashMap<String, u64> = HashMap::new();
    for event in &mut events {
        for step in event.value.as_array_mut().into_iter().flatten() {
            if let Some(Value::String(name)) = step.get(1) {
                let next = 1_000_000 + numbers.len() as u64;
                step[1] = (*numbers.entry(name.clone()).or_insert(next)).into();
            }
        }
    }
    events
}

fn search<M: Model>(checked: &str, model: &M, history: &[Operation<M::Action>]) -> Verdict {
    let mut verdict = Verdict::over(checked, history);
    match linearizable::search(model, history, STATES_MAX) {
        Found::Order => {}
        Found::Undecided => verdict.undecided.push(format!("within {STATES_MAX} states")),
        Found::None { explained, stuck } => {
            let evidence = format!("{} operations were ordered; then {:?}", explained.len(), history[stuck].what);
            verdict.anomalies.push(checkers::Anomaly { name: "not linearizable", operations: vec![stuck], evidence });
        }
    }
    verdict
}

/// Failed operations did nothing, except that a compare-and-set of etcd's fails where it does not match.
fn single_register(events: &[Event]) -> std::result::Result<Verdict, Malformed> {
    let operations = history::pair(events)?.into_iter().filter(|it| it.outcome != Outcome::Fail).collect();
    let operations = history::decode(operations, |it: &Operation<Call>| {
        linearizable::action(&it.what.f, &it.what.asked, &it.what.answered, it.outcome)
    })?;
    Ok(search("register", &Register, &operations))
}

fn etcd_log(text: &str) -> std::result::Result<Option<Judged>, Malformed> {
    let mut events = Vec::new();
    for line in text.lines() {
        let Some((_, fields)) = line.split_once("jepsen.util - ") else { continue };
        let mut words = fields.split_whitespace();
        let (Some(process), Some(kind), Some(f)) = (words.next(), words.next(), words.next()) else { continue };
        let value = words.collect::<Vec<_>>().join(" ");
        let Ok(process) = process.parse::<u64>() else { continue };
        let value = edn::read_all(&value).ok().and_then(|values| values.into_iter().next()).unwrap_or(Value::Null);
        let object = json!({"type": &kind[1..], "process": process, "f": &f[1..], "value": value});
        events.extend(Event::of_value(events.len(), &object)?);
    }
    if events.is_empty() {
        return Ok(None);
    }
    let mut operations = Vec::new();
    for operation in history::pair(&events)? {
        let at = usize::try_from(operation.invoked).unwrap_or(usize::MAX);
        let Call { f, asked, answered } = &operation.what;
        let action = match (f.as_str(), operation.outcome) {
            ("read", Outcome::Fail | Outcome::Info) => continue,
            // Not a failure to do it: the register held something else.
            ("cas", Outcome::Fail) => match linearizable::action(f, asked, answered, Outcome::Ok) {
                Some(Action::CompareAndSet { from, to, .. }) => Some(Action::CompareAndSet { from, to, done: Some(false) }),
                other => other,
            },
            _ => linearizable::action(f, asked, answered, operation.outcome),
        };
        let Some(action) = action else {
            return Err(Malformed { event: at, reason: format!("not understood: {:?}", operation.what) });
        };
        operations.push(operation.map(|_| action));
    }
    Ok(Some(Judged { verdict: search("register", &Register, &operations), strict: false }))
}

struct Mutex;

#[derive(Debug, Clone)]
enum Lock {
    Acquire,
    Release,
}

impl Model for Mutex {
    type State = bool;
    type Action = Lock;

    fn initial(&self) -> bool {
        false
    }

    fn step(&self, is_held: &bool, action: &Lock) -> Option<bool> {
        match (action, is_held) {
            (Lock::Acquire, false) => Some(true),
            (Lock::Release, true) => Some(false),
            (Lock::Acquire, true) | (Lock::Release, false) => None,
        }
    }
}

fn mutex(events: &[Event]) -> std::result::Result<Verdict, Malformed> {
    let operations = history::pair(events)?.into_iter().filter(|it| it.outcome != Outcome::Fail).collect();
    let operations = history::decode(operations, |it: &Operation<Call>| match it.what.f.as_str() {
        "acquire" => Some(Lock::Acquire),
        "release" => Some(Lock::Release),
        _ => None,
    })?;
    Ok(search("mutex", &Mutex, &operations))
}

/// Every comment is a key that is written once, and a read reads all of them.
fn comments(events: &[Event]) -> std::result::Result<Verdict, Malformed> {
    let operations = history::pair(events)?;
    let written: Vec<u64> =
        operations.iter().filter(|it| it.what.f == "write").filter_map(|it| it.what.asked.as_u64()).collect();
    let history = history::decode(operations, |it: &Operation<Call>| {
        if it.what.f == "write" {
            return Some(vec![rw_register::Micro::Write(it.what.asked.as_u64()?, 1)]);
        }
        let seen: Vec<u64> = it.what.answered.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let read = |key: &u64| rw_register::Micro::Read(*key, Some(seen.contains(key).then_some(1)));
        Some(written.iter().map(read).collect())
    })?;
    Ok(rw_register::check(&history, rw_register::Options { linearizable_keys: false }))
}

/// Strings that are read, written and appended to, key by key.
struct Text;

#[derive(Debug, Clone)]
enum Edit {
    Get(String),
    Put(String),
    Append(String),
}

impl Model for Text {
    type State = String;
    type Action = Edit;

    fn initial(&self) -> String {
        String::new()
    }

    fn step(&self, text: &String, edit: &Edit) -> Option<String> {
        match edit {
            Edit::Get(seen) => (seen == text).then(|| text.clone()),
            Edit::Put(new) => Some(new.clone()),
            Edit::Append(more) => Some(format!("{text}{more}")),
        }
    }
}

fn strings(objects: &[Value]) -> std::result::Result<Judged, String> {
    let mut open: HashMap<u64, Operation<(String, Edit)>> = HashMap::new();
    let mut by_key: BTreeMap<String, Vec<Operation<Edit>>> = BTreeMap::new();
    for (at, object) in (0_u64..).zip(objects) {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let process = object.get("process").and_then(Value::as_u64).unwrap_or_default();
        let edit = match text("f").as_str() {
            "get" => Edit::Get(text("value")),
            "put" => Edit::Put(text("value")),
            _ => Edit::Append(text("value")),
        };
        if text("type") == "invoke" {
            let what = (text("key"), edit);
            let operation =
                Operation { process, invoked: at, returned: NEVER, outcome: Outcome::Info, what, error: String::new() };
            open.insert(process, operation);
        } else if let Some(begun) = open.remove(&process) {
            let (key, asked) = begun.what.clone();
            let what = if matches!(asked, Edit::Get(_)) { edit } else { asked };
            by_key.entry(key).or_default().push(Operation { returned: at, outcome: Outcome::Ok, ..begun.map(|_| what) });
        } else {
            return Err(format!("line {at}: an answer without an invocation"));
        }
    }
    for begun in open.into_values().filter(|it| !matches!(it.what.1, Edit::Get(_))) {
        by_key.entry(begun.what.0.clone()).or_default().push(begun.map(|(_, edit)| edit));
    }
    let mut verdict = Verdict { checked: "strings".into(), ..Verdict::default() };
    for history in by_key.values() {
        let of_key = search("strings", &Text, history);
        verdict.ok += of_key.ok;
        verdict.anomalies.extend(of_key.anomalies);
        verdict.undecided.extend(of_key.undecided);
    }
    Ok(Judged { verdict, strict: false })
}
