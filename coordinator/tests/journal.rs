//! The journal on a real nats-server: what is written is read back, a second writer is refused, and
//! whatever was lost or replaced is noticed before anything is done with it.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::time::timeout;
use windrow_common::streams::{MESSAGE_BYTES_MAX, Retention, Streams};
use windrow_common::subjects::Subjects;
use windrow_common::time::Timestamp;
use windrow_coordinator::core::event::Event;
use windrow_coordinator::shell::election::Candidate;
use windrow_coordinator::shell::journal::follow::Follower;
use windrow_coordinator::shell::journal::{Error, Journal, Position};
use windrow_coordinator::shell::leadership::Leadership;
use windrow_coordinator::shell::nats::{NatsJournal, SystemClock};

/// A nats-server whose store can be put back to an older copy.
struct Server {
    child: Child,
    port: u16,
    store: TempDir,
}

impl Server {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let store = tempfile::tempdir().unwrap();
        let child = Self::spawn(port, store.path());
        Self { child, port, store }
    }

    fn spawn(port: u16, store: &Path) -> Child {
        let program = std::env::var_os("WINDROW_NATS_SERVER").unwrap_or("nats-server".into());
        let child = Command::new(&program)
            .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"])
            .arg("--store_dir")
            .arg(store.join("now"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("start {program:?} (set WINDROW_NATS_SERVER): {e}"));
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    /// Stops it, lets `change` have its store, starts it again.
    fn restart(&mut self, change: impl FnOnce(&Path)) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        change(self.store.path());
        self.child = Self::spawn(self.port, self.store.path());
    }

    /// The journal for a writer that has read up to `position`.
    async fn journal(&self, position: Position) -> Journal<NatsJournal> {
        let (context, stream, subject) = self.stream().await;
        Journal::new(NatsJournal::new(context, stream, subject), 7, position)
    }

    async fn stream(&self) -> (jetstream::Context, Stream, String) {
        let client = async_nats::connect(format!("nats://127.0.0.1:{}", self.port)).await.unwrap();
        let context = jetstream::new(client);
        let subjects = Subjects::new("test".parse().unwrap());
        let retention = Retention { replicas: 1, ..Retention::default() };
        let config = Streams::new(subjects.clone()).journal(&retention);
        let stream = context.get_or_create_stream(config).await.unwrap();
        (context, stream, subjects.journal())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn term(term: u64) -> Event {
    Event::TermStarted { term }
}

async fn append(journal: &mut Journal<NatsJournal>, terms: std::ops::Range<u64>) {
    for number in terms {
        journal.append(1, Timestamp(number), &[vec![term(number)]]).await.unwrap();
    }
}

/// The terms that a reader from `position` finds.
async fn read(server: &Server, position: Position) -> Result<Vec<u64>, Error> {
    let mut terms = Vec::new();
    let mut journal = server.journal(position).await;
    journal
        .read(async |_, entry| {
            for event in entry.events {
                if let Event::TermStarted { term } = event {
                    terms.push(term);
                }
            }
            Ok(())
        })
        .await?;
    Ok(terms)
}

async fn damage(server: &Server, position: Position) -> String {
    match read(server, position).await {
        Err(Error::Damaged(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_appended_is_read_back_from_any_position() {
    let server = Server::start();
    let mut journal = server.journal(Position::default()).await;
    append(&mut journal, 1..4).await;
    let position = journal.position();
    append(&mut journal, 4..6).await;
    assert_eq!(read(&server, Position::default()).await.unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(read(&server, position).await.unwrap(), [4, 5]);
    assert_eq!(read(&server, journal.position()).await.unwrap(), [0; 0]);
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let server = Server::start();
    let mut first = server.journal(Position::default()).await;
    append(&mut first, 1..3).await;
    let mut second = server.journal(Position::default()).await;
    second.read(async |_, _| Ok(())).await.unwrap();
    append(&mut second, 3..4).await;
    let refused = first.append(1, Timestamp(9), &[vec![term(9)]]).await;
    assert!(matches!(refused, Err(Error::Fenced { sequence: 3 })), "{refused:?}");
    assert_eq!(read(&server, Position::default()).await.unwrap(), [1, 2, 3]);
}

/// As after a store was put back to just before the message: its number is free again.
#[tokio::test]
async fn a_leader_that_has_lost_its_lease_stores_nothing_though_its_number_is_free() {
    let server = Server::start();
    let mut first = server.journal(Position::default()).await;
    append(&mut first, 1..3).await;
    let me = Candidate { holder: "me".to_owned(), nonce: 7, process: String::new() };
    let cut_off = Leadership::new(me, Duration::from_secs(3), SystemClock::default());
    let mut first = first.led_by(cut_off);
    let refused = first.append(1, Timestamp(9), &[vec![term(9)]]).await;
    assert!(matches!(refused, Err(Error::Fenced { sequence: 3 })), "{refused:?}");
    assert_eq!(read(&server, Position::default()).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn large_turns_become_several_messages_in_order() {
    let server = Server::start();
    let mut journal = server.journal(Position::default()).await;
    let count = u64::try_from(MESSAGE_BYTES_MAX / 10).unwrap();
    let groups: Vec<Vec<Event>> =
        (0..4).map(|part| (part * count..(part + 1) * count).map(term).collect()).collect();
    journal.append(1, Timestamp(1), &groups).await.unwrap();
    let single: Vec<Event> = (4 * count..8 * count).map(term).collect();
    journal.append(1, Timestamp(2), &[single]).await.unwrap();
    assert!(journal.position().sequence > 2, "it did not fit one message each");
    let read = read(&server, Position::default()).await.unwrap();
    assert!(read.iter().copied().eq(0..8 * count));
}

#[tokio::test]
async fn a_missing_message_is_noticed() {
    let server = Server::start();
    let mut journal = server.journal(Position::default()).await;
    append(&mut journal, 1..6).await;
    let (_, stream, _) = server.stream().await;
    stream.delete_message(3).await.unwrap();
    let what = damage(&server, Position::default()).await;
    assert!(what.contains("message 4 follows on message 2"), "{what}");
    stream.purge().sequence(4).await.unwrap();
    let what = damage(&server, Position::default()).await;
    assert!(what.contains("are gone and no snapshot has them"), "{what}");
}

#[tokio::test]
async fn a_store_put_back_to_an_older_copy_is_noticed() {
    let mut server = Server::start();
    let mut journal = server.journal(Position::default()).await;
    append(&mut journal, 1..4).await;
    server.restart(|store| copy(&store.join("now"), &store.join("old")));
    let mut journal = server.journal(journal.position()).await;
    append(&mut journal, 4..7).await;
    let snapshot = journal.position();
    server.restart(|store| {
        std::fs::remove_dir_all(store.join("now")).unwrap();
        copy(&store.join("old"), &store.join("now"));
    });
    let what = damage(&server, snapshot).await;
    assert!(what.contains("its last message is 3, the snapshot goes up to 6"), "{what}");
    // Old numbers are given to new messages: the number alone looks right.
    let mut other = server.journal(Position::default()).await;
    other.read(async |_, _| Ok(())).await.unwrap();
    append(&mut other, 14..18).await;
    let what = damage(&server, snapshot).await;
    assert!(what.contains("put back to an older copy"), "{what}");
}

/// A reader whose consumer vanishes before its first message goes on where it was to begin: the client
/// library begins at the beginning then.
#[tokio::test]
async fn a_consumer_that_vanishes_is_made_anew_where_it_was_to_begin() {
    let server = Server::start();
    let mut journal = server.journal(Position::default()).await;
    append(&mut journal, 1..4).await;
    let position = journal.position();
    let (_, stream, _) = server.stream().await;
    let mut follower = Follower::new(journal.stream().clone());
    let silence = Duration::from_millis(300);
    assert!(timeout(silence, follower.next(position)).await.is_err(), "nothing follows");
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    stream.delete_consumer(&names[0]).await.unwrap();
    assert!(timeout(silence, follower.next(position)).await.is_err(), "nothing follows");
    append(&mut journal, 4..5).await;
    let (entry, next) = follower.next(position).await.unwrap();
    assert_eq!((entry.events, next), (vec![term(4)], journal.position()));
}
