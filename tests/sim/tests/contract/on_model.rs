//! The operations on the model, on its virtual clock.

use std::collections::VecDeque;

use bytes::Bytes;
use windrow_sim::Detail;
use windrow_sim::bus::{
    Ack, ConsumerError, ConsumerSpec, Delivery, Demands, Info, PublishError, Purge, StreamSpec,
};
use windrow_sim::net::{Happening, Message, Net, Node, Op};
use windrow_sim::oracle::Oracle;
use windrow_sim::random::Random;
use windrow_sim::trace::Trace;

use crate::{Got, Nats, Pulled, Refused};

const BUCKET: &str = "K";
const OBJECTS: &str = "O";
/// Who publishes.
const PUBLISHER: Node = Node::Client(0);

/// A model with its network.
pub(crate) struct Model {
    net: Net,
    /// What reached the readers and subscribers, by number.
    arrived: Vec<VecDeque<Message>>,
    /// Messages that came together, one after the other.
    pulled: Vec<VecDeque<Got>>,
    saved: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        let trace = Trace::new(Detail::Hash);
        let mut net = Net::new(Random::new(1), trace, Oracle::default());
        net.connect(PUBLISHER);
        let mut model = Self { net, arrived: Vec::new(), pulled: Vec::new(), saved: 0 };
        while model.step() {}
        model
    }

    /// One more that listens, connected.
    fn listener(&mut self) -> (usize, Node) {
        self.arrived.push(VecDeque::new());
        self.pulled.push(VecDeque::new());
        let number = self.arrived.len();
        let node = Node::Client(u8::try_from(number).expect("few"));
        self.net.connect(node);
        while self.step() {}
        (number - 1, node)
    }

    /// The next thing happens, unless nothing is left but messages that come again.
    fn step(&mut self) -> bool {
        let Some(happening) = self.net.pop() else { return false };
        match happening {
            Happening::AtServer { from, epoch, op } => {
                if self.net.is_current(from, epoch) {
                    self.net.serve(from, op);
                }
            }
            Happening::AtNode { to: Node::Client(number), epoch, message } => {
                let to = Node::Client(number);
                let is_news = !matches!(message, Message::Connected | Message::Answer { .. });
                if number > 0 && is_news && self.net.is_current(to, epoch) {
                    self.arrived[usize::from(number) - 1].push_back(message);
                }
            }
            Happening::Redeliver { stream, consumer } => self.net.redeliver(&stream, &consumer),
            Happening::AtNode { .. }
            | Happening::Timer { .. }
            | Happening::CutNoticed { .. }
            | Happening::Fault(_)
            | Happening::FaultOver(_)
            | Happening::Calm => {}
        }
        true
    }

    fn next(&mut self, listener: usize) -> Message {
        loop {
            if let Some(message) = self.arrived[listener].pop_front() {
                return message;
            }
            assert!(self.step(), "nothing more will come");
        }
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("properties send text")
}

fn got(delivery: Delivery) -> Got {
    let Delivery { sequence, subject, payload, delivered, message_id, at: _ } = delivery;
    Got { sequence, subject, payload: text(&payload), delivered, message_id }
}

impl Nats for Model {
    fn create_stream(&mut self, spec: StreamSpec) {
        self.net.bus.create_stream(spec);
    }

    fn delete_stream(&mut self, stream: &str) -> bool {
        self.net.bus.delete_stream(stream).is_ok()
    }

    fn publish(
        &mut self,
        subject: &str,
        payload: &str,
        demands: &Demands,
    ) -> Result<Ack, PublishError> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let stored = self.net.bus.publish(subject, payload, demands, self.net.now);
        if let Some(stream) = self.net.bus.stream_of(subject) {
            self.net.feed(&stream);
        }
        stored
    }

    fn info(&mut self, stream: &str) -> Option<Info> {
        self.net.bus.info(stream).ok()
    }

    fn message(&mut self, stream: &str, sequence: u64) -> Option<(String, String)> {
        let (subject, payload) = self.net.bus.message(stream, sequence).ok()?;
        Some((subject, text(&payload)))
    }

    fn read(&mut self, stream: &str, from: u64) -> Vec<(u64, String)> {
        let read = self.net.bus.read(stream, from, usize::MAX).expect("the stream is there");
        read.into_iter().map(|(sequence, payload)| (sequence, text(&payload))).collect()
    }

    fn purge(&mut self, stream: &str, purge: &Purge) -> Option<u64> {
        self.net.bus.purge(stream, purge).ok()
    }

    fn create_consumer(&mut self, stream: &str, spec: ConsumerSpec) -> Result<(), Refused> {
        self.net.bus.create_consumer(stream, spec).map_err(|error| match error {
            ConsumerError::NoStream => Refused::NoStream,
            ConsumerError::InTheWay => Refused::InTheWay,
        })
    }

    fn delete_consumer(&mut self, stream: &str, consumer: &str) -> bool {
        self.net.delete_consumer(stream, consumer).is_ok()
    }

    fn fetch(&mut self, stream: &str, consumer: &str, most: usize) -> Option<Vec<Got>> {
        let fetched = self.net.bus.fetch(stream, consumer, most, self.net.now).ok()?;
        Some(fetched.into_iter().map(got).collect())
    }

    fn ack(&mut self, stream: &str, consumer: &str, sequence: u64) {
        self.net.bus.ack(stream, consumer, sequence);
    }

    fn pull(&mut self, stream: &str, consumer: &str) -> usize {
        let (number, node) = self.listener();
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.net.serve(node, Op::Pull { stream, consumer });
        number
    }

    fn pulled(&mut self, pull: usize) -> Pulled {
        if let Some(got) = self.pulled[pull].pop_front() {
            return Pulled::Message(got);
        }
        match self.next(pull) {
            Message::Delivered { deliveries, .. } => {
                self.pulled[pull].extend(deliveries.into_iter().map(got));
                self.pulled(pull)
            }
            Message::PullEnded { .. } => Pulled::Ended,
            other => panic!("{other:?}"),
        }
    }

    fn kv_get(&mut self, key: &str) -> Option<(u64, String)> {
        let (revision, value) = self.net.bus.kv_get(BUCKET, key)?;
        Some((revision, text(&value)))
    }

    fn kv_update(&mut self, key: &str, value: &str, revision: u64) -> Option<u64> {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.net.bus.kv_update(BUCKET, key, value, revision).ok()
    }

    fn kv_delete(&mut self, key: &str) {
        self.net.bus.kv_delete(BUCKET, key);
    }

    fn put_object(&mut self, name: &str, bytes: &[u8]) {
        self.net.bus.put_object(OBJECTS, name, Bytes::copy_from_slice(bytes));
    }

    fn object(&mut self, name: &str) -> Option<Vec<u8>> {
        self.net.bus.object(OBJECTS, name).map(|bytes| bytes.to_vec())
    }

    fn objects(&mut self) -> Vec<String> {
        self.net.bus.objects(OBJECTS)
    }

    fn delete_object(&mut self, name: &str) {
        self.net.bus.delete_object(OBJECTS, name);
    }

    fn subscribe(&mut self, pattern: &str) -> usize {
        let (number, node) = self.listener();
        self.net.serve(node, Op::Subscribe(pattern.to_owned()));
        number
    }

    fn send(&mut self, subject: &str, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let publish = Op::Publish { subject: subject.to_owned(), reply: None, payload };
        self.net.send(PUBLISHER, publish);
    }

    fn heard(&mut self, subscription: usize) -> (String, String) {
        match self.next(subscription) {
            Message::Plain { subject, payload, .. } => (subject, text(&payload)),
            other => panic!("{other:?}"),
        }
    }

    fn restart(&mut self) {
        self.net.bus.restart();
    }

    fn save(&mut self) {
        self.saved = self.net.bus.info("S").expect("the stream is there").last;
    }

    fn put_back(&mut self) {
        let last = self.net.bus.info("S").expect("the stream is there").last;
        self.net.bus.restart();
        self.net.bus.lose_tail("S", last - self.saved);
    }

    fn wait(&mut self) {
        self.net.now += 25;
        while self.step() {}
    }
}
