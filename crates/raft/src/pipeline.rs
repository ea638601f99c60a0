//! Appends to one follower: several under way at a time, and no message for what the next one will say anyway.
//!
//! ```text
//! entries 5..6 ──▶            openraft asks for a message whenever the commit index has moved. Most often the next
//! entries 7..9 ──▶            entries follow within a millisecond and carry it: an empty append waits a little, and
//!   commit 6  (held)          whoever asked for it is answered from here, as the follower has said already that it
//! entries 10 (carries 9) ──▶  holds everything up to that point.
//! ```
//!
//! Answers come back in the order of the requests. With the number under way bounded, appends grow under load instead
//! of multiplying.
//!
//! **Invariants**
//! - *no-reversion-told*: openraft never hears of a conflict at or below what the follower has acknowledged. An append
//!   that overtook the one before it looks like that, and so does a follower that has lost its log; the first is sent
//!   again, the second must not be the end of the leader.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use futures::{Stream, StreamExt, stream::FuturesOrdered};
use openraft::{
    errors::{RPCError, Unreachable},
    raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    sound,
    types::{RaftLogId, Types},
};

/// Appends under way to one follower. More would cut the wait of a new entry little, and cost a message each.
const UNDER_WAY_MAX: usize = 4;
/// What they may carry together; a single append may be larger.
const UNDER_WAY_BYTES_MAX: usize = 8 << 20;
/// How long a follower may be left in the dark about a commit when nothing else is said to it.
const COMMIT_DELAY: Duration = Duration::from_millis(10);

pub(crate) type Sent = Pin<Box<dyn Future<Output = Result<AppendEntriesResponse<Types>, Unreachable<Types>>> + Send>>;
type Answer = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// An append under way.
struct UnderWay {
    previous: Option<RaftLogId>,
    last: Option<RaftLogId>,
    bytes: usize,
    /// Whether its answer was given when it was held.
    answered: bool,
}

struct Pipeline<'s, S, F> {
    requests: Option<S>,
    send: F,
    answers: FuturesOrdered<Sent>,
    under_way: VecDeque<UnderWay>,
    bytes: usize,
    /// The follower holds everything up to here; kept from one stream to the next.
    acknowledged: &'s mut Option<RaftLogId>,
    held: Option<(AppendEntriesRequest<Types>, Instant)>,
}

enum Step {
    Answered(Option<Result<AppendEntriesResponse<Types>, Unreachable<Types>>>),
    Asked(Option<AppendEntriesRequest<Types>>),
    Due,
}

/// The answers to a stream of appends; ends with it, or at the first answer that is not a success.
pub(crate) fn run<'s, S, F>(
    requests: S,
    acknowledged: &'s mut Option<RaftLogId>,
    send: F,
) -> impl Stream<Item = Answer> + Send + 's
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin + Send + 's,
    F: FnMut(AppendEntriesRequest<Types>) -> (usize, Sent) + Send + 's,
{
    let pipeline = Pipeline {
        requests: Some(requests),
        send,
        answers: FuturesOrdered::new(),
        under_way: VecDeque::new(),
        bytes: 0,
        acknowledged,
        held: None,
    };
    futures::stream::unfold(Some(pipeline), |state| async move {
        let mut pipeline = state?;
        let answer = pipeline.next().await?;
        let goes_on = matches!(answer, Ok(Ok(_)));
        Some((answer, goes_on.then_some(pipeline)))
    })
}

impl<S, F> Pipeline<'_, S, F>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
    F: FnMut(AppendEntriesRequest<Types>) -> (usize, Sent),
{
    async fn next(&mut self) -> Option<Answer> {
        loop {
            let step = self.step().await?;
            match step {
                Step::Answered(None) => return None,
                Step::Answered(Some(answer)) => {
                    if let Some(answer) = self.take_answer(answer) {
                        return Some(answer);
                    }
                }
                Step::Asked(None) => {
                    self.requests = None;
                    self.send_held();
                }
                Step::Asked(Some(request)) => {
                    if let Some(answer) = self.take_request(request) {
                        return Some(answer);
                    }
                }
                Step::Due => self.send_held(),
            }
        }
    }

    /// What happens next; none at the end of everything.
    async fn step(&mut self) -> Option<Step> {
        let full = self.under_way.len() >= UNDER_WAY_MAX || self.bytes >= UNDER_WAY_BYTES_MAX;
        if self.requests.is_none() && self.under_way.is_empty() {
            return None;
        }
        let waits = !self.under_way.is_empty();
        let due = self.held.as_ref().map(|(_, due)| *due);
        let requests = &mut self.requests;
        let asked = async {
            match requests {
                Some(requests) if !full => requests.next().await,
                _ => std::future::pending().await,
            }
        };
        let held = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        Some(tokio::select! {
            biased;
            answer = self.answers.next(), if waits => Step::Answered(answer),
            request = asked => Step::Asked(request),
            () = held => Step::Due,
        })
    }

    /// Sends a request, or holds it and answers at once.
    fn take_request(&mut self, request: AppendEntriesRequest<Types>) -> Option<Answer> {
        let known = request.prev_log_id.is_some() && request.prev_log_id == *self.acknowledged;
        if request.entries.is_empty() && known && self.under_way.is_empty() {
            let position = request.prev_log_id;
            let due = self.held.take().map_or_else(|| Instant::now() + COMMIT_DELAY, |(_, due)| due);
            self.held = Some((request, due));
            return Some(Ok(Ok(position)));
        }
        // It carries what the held one would have said.
        self.held = None;
        self.submit(request, false);
        None
    }

    fn send_held(&mut self) {
        if let Some((request, _)) = self.held.take() {
            self.submit(request, true);
        }
    }

    fn submit(&mut self, request: AppendEntriesRequest<Types>, answered: bool) {
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let (bytes, sent) = (self.send)(request);
        self.bytes += bytes;
        self.under_way.push_back(UnderWay { previous, last, bytes, answered });
        self.answers.push_back(sent);
    }

    fn take_answer(&mut self, answer: Result<AppendEntriesResponse<Types>, Unreachable<Types>>) -> Option<Answer> {
        let sent = self.under_way.pop_front().expect("an answer is to something sent");
        self.bytes -= sent.bytes;
        let response = match answer {
            Ok(response) => response,
            Err(error) => return Some(Err(error.into())),
        };
        if matches!(response, AppendEntriesResponse::Conflict) && sent.previous <= *self.acknowledged {
            // *no-reversion-told*
            let reason = "the follower denies what it has acknowledged";
            return Some(Err(Unreachable::from_string(reason).into()));
        }
        if let Err(why) = sound::append_response(&response, sent.previous, sent.last) {
            tracing::error!(%why, "a follower answered what no follower should");
            return Some(Err(Unreachable::from_string(why).into()));
        }
        let whole = matches!(response, AppendEntriesResponse::Success);
        let result = response.into_stream_result(sent.previous, sent.last);
        if let Ok(position) = &result {
            *self.acknowledged = (*self.acknowledged).max(*position);
            if !whole {
                // What was sent behind a part that was not taken will not be taken either.
                self.requests = None;
            }
            if sent.answered {
                return None;
            }
        }
        Some(Ok(result))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::channel::mpsc;
    use keys::Term;
    use openraft::EntryPayload;
    use parking_lot::Mutex;

    use super::*;
    use crate::types::{LogPosition, Payload, RaftEntry, RaftVote};

    fn at(index: u64) -> RaftLogId {
        LogPosition { term: Term::new(1), index }.to_raft()
    }

    fn request(previous: u64, count: u64, committed: u64) -> AppendEntriesRequest<Types> {
        let entry = |index| RaftEntry { log_id: at(index), payload: EntryPayload::Normal(Payload::default()) };
        AppendEntriesRequest {
            vote: RaftVote::new_committed(1, 1),
            prev_log_id: Some(at(previous)),
            entries: (previous + 1..=previous + count).map(entry).collect(),
            leader_commit: Some(at(committed)),
        }
    }

    type Wire = Arc<Mutex<Vec<(u64, usize, futures::channel::oneshot::Sender<AppendEntriesResponse<Types>>)>>>;

    /// A pipeline whose sendings lie in `Wire` until a test answers them.
    fn start() -> (mpsc::UnboundedSender<AppendEntriesRequest<Types>>, Wire, Pin<Box<dyn Stream<Item = Answer> + Send>>) {
        let (requests, asked) = mpsc::unbounded();
        let wire = Wire::default();
        let sendings = wire.clone();
        let answers = run(asked, Box::leak(Box::default()), move |request: AppendEntriesRequest<Types>| {
            let (answer, wait) = futures::channel::oneshot::channel();
            let committed = request.leader_commit.map_or(0, |position| position.index);
            sendings.lock().push((committed, request.entries.len(), answer));
            let sent: Sent = Box::pin(async move { Ok(wait.await.unwrap()) });
            (100, sent)
        });
        (requests, wire, Box::pin(answers))
    }

    async fn idle(answers: &mut Pin<Box<dyn Stream<Item = Answer> + Send>>) {
        let polled = tokio::time::timeout(Duration::from_millis(1), answers.next()).await;
        assert!(polled.is_err(), "nothing was to be answered yet: {polled:?}");
    }

    fn success(wire: &Wire, at: usize) {
        let (_, _, answer) = wire.lock().remove(at);
        answer.send(AppendEntriesResponse::Success).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn several_go_out_before_the_first_is_answered_and_answers_keep_their_order() {
        let (requests, wire, mut answers) = start();
        for previous in 0..6 {
            requests.unbounded_send(request(previous, 1, 0)).unwrap();
        }
        idle(&mut answers).await;
        assert_eq!(wire.lock().len(), UNDER_WAY_MAX);
        success(&wire, 1);
        idle(&mut answers).await;
        success(&wire, 0);
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(1)));
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_travels_with_the_next_entries_or_alone_after_a_while() {
        let (requests, wire, mut answers) = start();
        requests.unbounded_send(request(0, 1, 0)).unwrap();
        idle(&mut answers).await;
        success(&wire, 0);
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(1)));
        requests.unbounded_send(request(1, 0, 1)).unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(1)));
        assert!(wire.lock().is_empty(), "a commit alone was sent at once");
        requests.unbounded_send(request(1, 1, 1)).unwrap();
        idle(&mut answers).await;
        success(&wire, 0);
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(2)));
        // Nothing follows this one.
        requests.unbounded_send(request(2, 0, 2)).unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(2)));
        let waited = tokio::time::timeout(COMMIT_DELAY * 2, answers.next()).await;
        assert!(waited.is_err(), "a request was answered twice");
        let sent: Vec<(u64, usize)> = wire.lock().iter().map(|(committed, count, _)| (*committed, *count)).collect();
        assert_eq!(sent, [(2, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_reversion_told_when_an_append_overtakes_another() {
        let (requests, wire, mut answers) = start();
        requests.unbounded_send(request(4, 1, 0)).unwrap();
        requests.unbounded_send(request(5, 1, 0)).unwrap();
        idle(&mut answers).await;
        let (_, _, second) = wire.lock().remove(1);
        second.send(AppendEntriesResponse::Conflict).unwrap();
        success(&wire, 0);
        assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(at(5)));
        assert!(answers.next().await.unwrap().is_err(), "no-reversion-told");
        assert!(answers.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_it() {
        let (requests, wire, mut answers) = start();
        requests.unbounded_send(request(4, 1, 0)).unwrap();
        requests.unbounded_send(request(5, 1, 0)).unwrap();
        idle(&mut answers).await;
        let (_, _, answer) = wire.lock().remove(0);
        answer.send(AppendEntriesResponse::Conflict).unwrap();
        assert!(answers.next().await.unwrap().unwrap().is_err());
        assert!(answers.next().await.is_none());
    }
}
