//! What a coordinator's process is connected to the simulation by: what the product's code asks of the
//! world goes out here, and answers, messages and the end of waits come in. Whatever is polled must be
//! polled again when something has come in; nothing else wakes it.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use windrow_common::sabotage;
use windrow_common::time::Timestamp;
use windrow_coordinator::shell::election::{Record, Seen, Written};
use windrow_coordinator::shell::journal::Position;
use windrow_coordinator::shell::outside::{
    AppendError, Clock, Extent, JournalStream, KeyError, LeaderKey, Outside, Reader,
    SnapshotBucket, timeout,
};

use super::{millis, wall};
use crate::bus::{Demands, PublishError};
use crate::names;
use crate::net::{Answer, Message, Op};

/// How long a request to the server may go unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The key of the election.
const KEY: &str = "leader";
/// After so long without an answer a reader of the journal asks again, as ordered consumers do when they
/// miss heartbeats.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// What the process wants of the simulation.
pub(super) enum Want {
    Connect,
    Send(Op),
    /// To be woken after so many milliseconds.
    Wake {
        delay: u64,
        number: u64,
    },
    /// A line of the trace.
    Note(u64, String),
    /// It leads.
    Leads,
    /// This was decided, and will be stored as the message at the position.
    Decided(Position, Bytes),
    /// This message is known to be stored.
    Acknowledged(u64),
    DeadLetter(Bytes),
}

/// The process's end; copies are the same.
#[derive(Clone, Default)]
pub(super) struct Port(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    life: u32,
    now: u64,
    clock_offset: i64,
    next: u64,
    wants: VecDeque<Want>,
    /// Questions that somebody waits for, and their answers.
    asked: BTreeMap<u64, Option<Answer>>,
    /// Waits that somebody waits for, and whether they are over.
    waits: BTreeMap<u64, bool>,
    is_connected: bool,
    is_lost: bool,
    /// Messages for whoever leads.
    inbox: VecDeque<Message>,
    background: Vec<Background>,
}

type Background = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Port {
    /// Of a process.
    pub(super) fn new(life: u32) -> Self {
        Self(Arc::new(Mutex::new(Inner { life, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("one thread uses it")
    }

    pub(super) fn set_time(&self, now: u64, clock_offset: i64) {
        let mut inner = self.inner();
        (inner.now, inner.clock_offset) = (now, clock_offset);
    }

    pub(super) fn next_want(&self) -> Option<Want> {
        self.inner().wants.pop_front()
    }

    /// What was begun beside the rest.
    pub(super) fn take_background(&self) -> Vec<Background> {
        std::mem::take(&mut self.inner().background)
    }

    /// Goes on with this beside the rest, for as long as the process lives.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner().background.push(Box::pin(work));
    }

    /// A wait is over; whether somebody still waited.
    pub(super) fn on_woken(&self, number: u64) -> bool {
        let mut inner = self.inner();
        let wait = inner.waits.get_mut(&number);
        wait.map(|is_over| *is_over = true).is_some()
    }

    /// Something has come; whether it is of interest.
    pub(super) fn on_message(&self, message: Message) -> bool {
        let mut inner = self.inner();
        match message {
            Message::Connected => inner.is_connected = true,
            Message::Disconnected => (inner.is_connected, inner.is_lost) = (false, true),
            Message::Answer { token, answer } => match inner.asked.get_mut(&token) {
                Some(slot) => *slot = Some(answer),
                None => return false,
            },
            Message::Plain { .. } | Message::Delivered { .. } | Message::PullEnded { .. } => {
                inner.inbox.push_back(message);
            }
        }
        true
    }

    pub(super) fn want(&self, want: Want) {
        self.inner().wants.push_back(want);
    }

    pub(super) fn send(&self, op: Op) {
        self.want(Want::Send(op));
    }

    pub(super) fn note(&self, number: u64, text: impl Into<String>) {
        self.want(Want::Note(number, text.into()));
    }

    fn number(&self) -> u64 {
        let mut inner = self.inner();
        inner.next += 1;
        (u64::from(inner.life) << 32) | inner.next
    }

    /// A new connection.
    pub(super) async fn connect(&self) {
        {
            let mut inner = self.inner();
            (inner.is_connected, inner.is_lost) = (false, false);
            inner.inbox.clear();
            inner.wants.push_back(Want::Connect);
        }
        poll_fn(|_| match self.inner().is_connected {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        self.inner().is_lost = false;
    }

    /// Whether the connection was lost since it was made.
    pub(super) fn is_lost(&self) -> bool {
        self.inner().is_lost
    }

    /// Waits until it is.
    pub(super) async fn lost(&self) -> String {
        poll_fn(|_| match self.is_lost() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        "the connection to NATS was lost".to_owned()
    }

    /// Waits until there is a message.
    pub(super) async fn has_message(&self) {
        poll_fn(|_| match self.inner().inbox.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
    }

    pub(super) fn next_message(&self) -> Option<Message> {
        self.inner().inbox.pop_front()
    }

    /// Asks the server, as long as it takes: who asks has a patience of its own.
    pub(super) async fn ask(&self, op: impl FnOnce(u64) -> Op) -> Answer {
        Asked::new(self, op).answer().await
    }

    /// Asks the server, as long as clients of NATS wait by themselves.
    pub(super) async fn ask_as_a_client(&self, op: impl FnOnce(u64) -> Op) -> Answer {
        let answered = timeout(self, REQUEST_TIMEOUT, self.ask(op)).await;
        answered.unwrap_or(Answer::TimedOut)
    }
}

/// A question under way; dropped, nobody waits for its answer any more.
struct Asked {
    port: Port,
    token: u64,
}

impl Asked {
    fn new(port: &Port, op: impl FnOnce(u64) -> Op) -> Self {
        let token = port.number();
        port.inner().asked.insert(token, None);
        port.send(op(token));
        Self { port: port.clone(), token }
    }

    async fn answer(&self) -> Answer {
        poll_fn(|_| {
            let mut inner = self.port.inner();
            let slot = inner.asked.get_mut(&self.token).and_then(Option::take);
            slot.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.port.inner().asked.remove(&self.token);
    }
}

/// A wait; dropped, it is forgotten.
struct Wait {
    port: Port,
    number: u64,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.port.inner().waits.remove(&self.number);
    }
}

impl Clock for Port {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.inner().now)
    }

    fn wall(&self) -> Timestamp {
        let inner = self.inner();
        wall(inner.now, inner.clock_offset)
    }

    async fn sleep(&self, time: Duration) {
        let wait = Wait { port: self.clone(), number: self.number() };
        let number = wait.number;
        // Never early: a part of a millisecond counts as one.
        let whole = millis(time.min(Duration::from_secs(1_000_000)));
        let delay = whole + u64::from(!time.subsec_nanos().is_multiple_of(1_000_000));
        self.inner().waits.insert(number, false);
        self.want(Want::Wake { delay, number });
        poll_fn(|_| match self.inner().waits.get(&number) {
            Some(false) => Poll::Pending,
            Some(true) | None => Poll::Ready(()),
        })
        .await;
    }
}

fn odd(answer: &Answer) -> String {
    format!("the server answers {answer:?}")
}

impl JournalStream for Port {
    type Clock = Self;
    type Reader = SimReader;

    fn clock(&self) -> &Self {
        self
    }

    async fn extent(&self) -> Result<Option<Extent>, String> {
        let stream = names::JOURNAL.to_owned();
        match self.ask(|token| Op::Info { stream, token }).await {
            Answer::Info(info) => Ok(Some(Extent { first: info.first, last: info.last })),
            Answer::NotFound => Ok(None),
            other => Err(odd(&other)),
        }
    }

    async fn message(&self, sequence: u64) -> Result<Bytes, String> {
        let stream = names::JOURNAL.to_owned();
        match self.ask(|token| Op::Get { stream, sequence, token }).await {
            Answer::Message(Some(payload)) => Ok(payload),
            other => Err(odd(&other)),
        }
    }

    async fn read_from(&self, first: u64) -> Result<SimReader, String> {
        let (buffer, asked) = Default::default();
        Ok(SimReader { port: self.clone(), next: first, buffer, asked })
    }

    async fn append(&self, payload: Bytes, expected_last: u64) -> Result<u64, AppendError> {
        let expected_last = Some(expected_last).filter(|_| !sabotage::is("append-not-fenced"));
        let demands = Demands { expected_last, ..Demands::default() };
        let subject = names::JOURNAL_SUBJECT.to_owned();
        match self.ask(|token| Op::Store { subject, payload, demands, token }).await {
            Answer::Stored(Ok(ack)) => Ok(ack.sequence),
            Answer::Stored(Err(PublishError::Full)) => {
                Err(AppendError::Refused("the stream is full".to_owned()))
            }
            other => Err(AppendError::Failed(odd(&other))),
        }
    }

    async fn purge_before(&self, sequence: u64) -> Result<u64, String> {
        match self.ask_as_a_client(|token| Op::PurgeJournal { before: sequence, token }).await {
            Answer::Done => Ok(0),
            other => Err(odd(&other)),
        }
    }
}

/// Reads the journal as it grows.
pub(super) struct SimReader {
    port: Port,
    next: u64,
    buffer: VecDeque<(u64, Bytes)>,
    asked: Option<(Asked, Duration)>,
}

impl Reader for SimReader {
    async fn next(&mut self) -> Result<(u64, Bytes), String> {
        loop {
            if let Some(message) = self.buffer.pop_front() {
                self.next = message.0 + 1;
                return Ok(message);
            }
            let now = self.port.elapsed();
            let (stream, from) = (names::JOURNAL.to_owned(), self.next);
            self.asked.take_if(|(_, until)| now >= *until);
            let (asked, until) = self.asked.get_or_insert_with(|| {
                let asked = Asked::new(&self.port, |token| Op::Read { stream, from, token });
                (asked, now + READER_PATIENCE)
            });
            let left = until.saturating_sub(now);
            let answer = tokio::select! {
                biased;
                answer = asked.answer() => answer,
                () = self.port.sleep(left) => continue,
            };
            self.asked = None;
            match answer {
                Answer::Messages(messages) => self.buffer.extend(messages),
                other => return Err(odd(&other)),
            }
        }
    }
}

impl SnapshotBucket for Port {
    async fn names(&self) -> Result<Vec<String>, String> {
        match self.ask_as_a_client(|token| Op::ListObjects { token }).await {
            Answer::Names(names) => Ok(names),
            other => Err(odd(&other)),
        }
    }

    async fn get(&self, name: &str) -> Result<Bytes, String> {
        let name = name.to_owned();
        match self.ask_as_a_client(|token| Op::GetObject { name, token }).await {
            Answer::Object(Some(bytes)) => Ok(bytes),
            other => Err(odd(&other)),
        }
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let (name, bytes) = (name.to_owned(), Bytes::copy_from_slice(bytes));
        match self.ask_as_a_client(|token| Op::PutObject { name, bytes, token }).await {
            Answer::Done => Ok(()),
            other => Err(odd(&other)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        self.send(Op::DeleteObject { name: name.to_owned() });
        Ok(())
    }
}

impl LeaderKey for Port {
    async fn look(&self) -> Result<Option<Seen>, KeyError> {
        let key = KEY.to_owned();
        match self.ask(|token| Op::Look { key, token }).await {
            Answer::Value(value) => Ok(value.and_then(|(revision, bytes)| {
                let record = serde_json::from_slice(&bytes).ok()?;
                Some(Seen { revision, record })
            })),
            _ => Err(KeyError::Unanswered),
        }
    }

    async fn write(&self, expected: u64, record: &Record) -> Result<Written, KeyError> {
        let key = KEY.to_owned();
        let value = serde_json::to_vec(record).expect("a record has a JSON form").into();
        match self.ask(|token| Op::Set { key, value, revision: expected, token }).await {
            Answer::Revision(Some(revision)) => Ok(Written::Stored(revision)),
            Answer::Revision(None) => Ok(Written::Refused),
            _ => Err(KeyError::Unanswered),
        }
    }

    fn is_gone(&self, _process: &str) -> bool {
        false
    }
}

impl Outside for Port {
    type Clock = Self;
    type Journal = Self;
    type Snapshots = Self;

    fn clock(&self) -> &Self {
        self
    }

    fn journal(&self) -> &Self {
        self
    }

    fn snapshots(&self) -> &Self {
        self
    }

    async fn told_before(&self) -> Result<u64, String> {
        let stream = names::EVENTS.to_owned();
        let last = match self.ask_as_a_client(|token| Op::Info { stream, token }).await {
            Answer::Info(info) => info.last,
            other => return Err(odd(&other)),
        };
        let stream = names::EVENTS.to_owned();
        match self.ask_as_a_client(|token| Op::Get { stream, sequence: last, token }).await {
            Answer::Message(Some(mark)) => {
                let mark = mark.as_ref().try_into().map_err(|_| "a mark is 8 bytes")?;
                Ok(u64::from_le_bytes(mark))
            }
            Answer::Message(None) => Ok(0),
            other => Err(odd(&other)),
        }
    }

    async fn announce(&self, name: &str, position: Position) {
        let subject = names::subjects().standby(&names::name(name));
        let payload = serde_json::to_vec(&position).expect("a position has a JSON form").into();
        self.send(Op::Publish { subject, reply: None, payload });
    }
}
