//! What clients did: events for the judge, and figures for whoever watches.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use checkers::{Event, EventKind};
use parking_lot::Mutex;
use serde_json::Value;

/// Shared by all clients of a run.
pub struct Recorder {
    since: Instant,
    /// Whether events are kept to be judged.
    keeps: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    events: Vec<Event>,
    file: Option<Box<dyn Write + Send>>,
    /// The first error of the file; nothing is written to it afterwards.
    file_error: Option<String>,
    window: Figures,
    total: Figures,
}

/// Counts and latencies of some time.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub done: u64,
    pub retries: u64,
    /// By SQLSTATE; `lost` for connections.
    pub errors: BTreeMap<String, u64>,
    latencies_us: Vec<u32>,
}

impl Figures {
    /// The latency that so many of a hundred operations did not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&mut self, of_hundred: usize) -> f64 {
        if self.latencies_us.is_empty() {
            return 0.0;
        }
        let at = (self.latencies_us.len() * of_hundred / 100).min(self.latencies_us.len() - 1);
        let (_, value, _) = self.latencies_us.select_nth_unstable(at);
        f64::from(*value) / 1_000.0
    }

    /// One line of them, for so many seconds.
    #[must_use]
    pub fn line(&mut self, seconds: f64) -> String {
        let (p50, p99) = (self.percentile_ms(50), self.percentile_ms(99));
        let errors: Vec<String> = self.errors.iter().map(|(code, count)| format!("{code}:{count}")).collect();
        let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(" ") };
        let rate = self.done as f64 / seconds;
        format!("{rate:9.1}/s  p50 {p50:7.1} ms  p99 {p99:7.1} ms  retries {:6}  errors {errors}", self.retries)
    }
}

impl Recorder {
    /// With `file`, every event is written to it as it happens.
    #[must_use]
    pub fn new(keeps: bool, file: Option<Box<dyn Write + Send>>) -> Self {
        let inner = Inner {
            events: Vec::new(),
            file,
            file_error: None,
            window: Figures::default(),
            total: Figures::default(),
        };
        Self { since: Instant::now(), keeps, inner: Mutex::new(inner) }
    }

    pub fn event(&self, kind: EventKind, process: u64, f: &str, value: Value, error: Option<String>) {
        let mut inner = self.inner.lock();
        if !self.keeps && inner.file.is_none() {
            return;
        }
        let time_ns = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let event = Event { kind, process, time_ns, f: f.to_owned(), value, error };
        if let Some(file) = &mut inner.file
            && let Err(error) = writeln!(file, "{}", event.to_json())
        {
            inner.file_error = Some(error.to_string());
            inner.file = None;
        }
        if self.keeps {
            inner.events.push(event);
        }
    }

    pub fn done(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut inner = self.inner.lock();
        for figures in inner.both() {
            figures.done += 1;
            figures.latencies_us.push(took);
        }
    }

    pub fn failed(&self, code: &str, is_retry: bool) {
        let mut inner = self.inner.lock();
        for figures in inner.both() {
            figures.retries += u64::from(is_retry);
            *figures.errors.entry(code.to_owned()).or_default() += 1;
        }
    }

    /// The figures since this was asked last.
    #[must_use]
    pub fn take_window(&self) -> Figures {
        std::mem::take(&mut self.inner.lock().window)
    }

    /// The figures of all the time.
    #[must_use]
    pub fn total(&self) -> Figures {
        self.inner.lock().total.clone()
    }

    /// The events, once all clients have ended.
    ///
    /// # Errors
    /// When some of them could not be written to the file.
    pub fn finish(&self) -> Result<Vec<Event>, String> {
        let mut inner = self.inner.lock();
        if let Some(file) = &mut inner.file
            && let Err(error) = file.flush()
        {
            inner.file_error = Some(error.to_string());
        }
        match inner.file_error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut inner.events)),
        }
    }
}

impl Inner {
    fn both(&mut self) -> [&mut Figures; 2] {
        [&mut self.window, &mut self.total]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_their_time() {
        let recorder = Recorder::new(true, None);
        for milliseconds in 1..=100 {
            recorder.done(Duration::from_millis(milliseconds));
        }
        recorder.failed("40001", true);
        let mut window = recorder.take_window();
        assert_eq!((window.percentile_ms(50), window.percentile_ms(99)), (51.0, 100.0));
        assert_eq!((window.done, window.retries, window.errors["40001"]), (100, 1, 1));
        assert_eq!(recorder.take_window().done, 0);
        assert_eq!(recorder.total().done, 100);
    }
}
