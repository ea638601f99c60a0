//! One run: the tables are made, clients work until the time is over, all is read once more, and the history is judged.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use checkers::{Anomaly, Verdict};
use rand::{SeedableRng, rngs::StdRng};
use tokio_postgres::Config;

use crate::{
    Failure, Kind, Outcome,
    kinds::Shared,
    record::{Figures, Recorder},
    schema,
    session::{Session, Target, connect},
    tpcc,
};

/// How long the server may take to answer once the clients have ended.
const LAST_WITHIN: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(1);

/// What is to be run.
pub struct Options {
    pub kind: Kind,
    /// Clients are spread over them in turn.
    pub servers: Vec<Config>,
    pub duration: Duration,
    pub clients: usize,
    pub seed: u64,
    /// `SERIALIZABLE`, `REPEATABLE READ` or `READ COMMITTED`.
    pub isolation: &'static str,
    pub check: bool,
    /// Where the history goes, a line an event.
    pub history: Option<Box<dyn Write + Send>>,
}

/// What a run came to.
pub struct Finished {
    pub figures: Figures,
    pub took: Duration,
    /// None where it was not to be checked.
    pub verdict: Option<Verdict>,
}

/// Makes the tables, runs, and judges. `tell` gets a line about every second.
///
/// # Errors
/// When the tables cannot be made, or the history not be written down.
pub async fn run(options: Options, tell: &mut dyn FnMut(String)) -> Outcome<Finished> {
    let Options { kind, servers, duration, clients, seed, isolation, check, mut history } = options;
    let admin = first_of(&servers).await?;
    schema::make(&admin, &kind.tables()).await?;
    if let (Some(file), Some(judge)) = (&mut history, kind.judge()) {
        writeln!(file, "{}", judge.to_json()).map_err(|error| Failure::Outside(format!("the history's file: {error}")))?;
    }
    let recorder = Arc::new(Recorder::new(check && kind.judge().is_some(), history));
    if kind == Kind::Tpcc {
        tell("loading one warehouse".into());
        tpcc::fill(&admin, seed).await?;
    }
    let target = Arc::new(Target { servers, isolation, recorder: recorder.clone(), processes: AtomicU64::new(0) });
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let deadline = began + duration;
    let mut tasks = Vec::new();
    let shared = Arc::new(Shared::new());
    for number in 0..clients {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        if kind == Kind::Tpcc {
            let connection = first_of(&target.servers[number % target.servers.len()..]).await?;
            connection.batch_execute(&format!("SET search_path TO {}", schema::SCHEMA)).await?;
            let client = tpcc::Client::over(connection, tpcc::Mode::Prepared, isolation).await?;
            let work = tpcc::work(client, random, Arc::default(), stop.clone(), Some(recorder.clone()));
            tasks.push(tokio::spawn(work));
            continue;
        }
        let session = Session::new(target.clone(), number);
        tasks.push(tokio::spawn(work(kind, session, random, shared.clone(), deadline)));
    }
    let mut second = 0;
    while Instant::now() < deadline {
        tokio::time::sleep(EVERY.min(deadline.saturating_duration_since(Instant::now()))).await;
        second += 1;
        tell(format!("{second:5} s {}", recorder.take_window().line(EVERY.as_secs_f64())));
    }
    stop.store(true, Ordering::Relaxed);
    let mut outcome = Ok(());
    for task in tasks {
        outcome = outcome.and(task.await.unwrap_or(Err(Failure::Outside("a client panicked".into()))));
    }
    outcome?;
    let took = began.elapsed();
    let figures = recorder.total();
    let mut last = Session::new(target.clone(), 0);
    if last.ready(Instant::now() + LAST_WITHIN).await {
        kind.last(&mut last).await;
    }
    let events = recorder.finish().map_err(|error| Failure::Outside(format!("the history's file: {error}")))?;
    let verdict = match (check, kind.judge()) {
        (false, _) => None,
        (true, Some(judge)) => {
            let judged = judge.judge(&events);
            Some(judged.map_err(|malformed| Failure::Outside(format!("the history makes no sense: {malformed}")))?)
        }
        (true, None) => Some(conditions(&first_of(&target.servers).await?, figures.done).await?),
    };
    Ok(Finished { figures, took, verdict })
}

/// Works until the deadline, connecting anew whenever it is cut off.
async fn work(
    kind: Kind,
    mut session: Session,
    mut random: StdRng,
    shared: Arc<Shared>,
    deadline: Instant,
) -> Outcome<()> {
    while Instant::now() < deadline && session.ready(deadline).await {
        kind.step(&mut session, &mut random, &shared).await;
    }
    Ok(())
}

/// A connection to the first server that takes one.
async fn first_of(servers: &[Config]) -> Outcome<tokio_postgres::Client> {
    let mut outcome = Err(Failure::Outside("no server was named".into()));
    for server in servers {
        outcome = connect(server).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn conditions(client: &tokio_postgres::Client, done: u64) -> Outcome<Verdict> {
    client.batch_execute(&format!("SET search_path TO {}", schema::SCHEMA)).await?;
    let broken = tpcc::check(client).await?.into_iter().map(|(number, rows)| Anomaly {
        name: "broken condition",
        operations: Vec::new(),
        evidence: format!("condition {number} of clause 3.3.2 is contradicted by {rows} rows"),
    });
    Ok(Verdict {
        checked: format!("TPC-C: the {} consistency conditions", tpcc::CONDITIONS),
        ok: usize::try_from(done).unwrap_or(usize::MAX),
        anomalies: broken.collect(),
        ..Verdict::default()
    })
}
