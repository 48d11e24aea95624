//! Connections: delays, order, cuts.

use super::{Answer, Happening, Message, Net, Node, Op};

/// Kinds of messages between which nothing is promised.
const LANES: usize = 3;

/// A node's connection.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Number of the connection: what belongs to an earlier one is lost.
    pub(super) epoch: u32,
    pub(super) is_up: bool,
    pub(super) cut: Option<Cut>,
    pub(super) subscriptions: Vec<String>,
    /// When the last message of each kind arrives, each way.
    to_server: [u64; LANES],
    to_node: [u64; LANES],
}

/// What does not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub to_server: bool,
    pub to_node: bool,
}

impl Net {
    /// A process begins: it connects.
    pub fn connect(&mut self, node: Node) {
        self.hang_up(node);
        let delay = self.random.within(1, 30);
        self.come_up(node, delay);
    }

    /// A process has ended, or its connection has.
    pub fn hang_up(&mut self, node: Node) {
        let link = self.links.entry(node).or_default();
        link.epoch += 1;
        link.is_up = false;
        link.subscriptions.clear();
        for readers in self.readers.values_mut() {
            readers.retain(|(reader, _)| *reader != node);
        }
    }

    /// The connection is made, unless something is in its way; then it is when that is over.
    pub(super) fn come_up(&mut self, node: Node, delay: u64) {
        let link = self.links.entry(node).or_default();
        if link.cut.is_some() || !self.server_is_up {
            return;
        }
        link.is_up = true;
        let epoch = link.epoch;
        let message = Message::Connected;
        self.after(delay, Happening::AtNode { to: node, epoch, message });
    }

    /// Nothing gets through any more, one way or both.
    pub fn cut(&mut self, node: Node, cut: Cut) {
        let link = self.links.entry(node).or_default();
        link.cut = Some(cut);
        let epoch = link.epoch;
        let delay = self.random.within(500, 15_000);
        self.after(delay, Happening::CutNoticed { node, epoch });
    }

    /// A cut goes on and is noticed: the node gives its connection up.
    pub fn on_cut_noticed(&mut self, node: Node, epoch: u32) {
        let link = self.links.entry(node).or_default();
        if link.cut.is_some() && link.epoch == epoch && link.is_up {
            self.break_off(node);
        }
    }

    /// Everything gets through again, on a new connection.
    pub fn heal(&mut self, node: Node) {
        let link = self.links.entry(node).or_default();
        if link.cut.take().is_none() {
            return;
        }
        if link.is_up {
            self.break_off(node);
        }
        let delay = self.random.within(5, 2000);
        self.come_up(node, delay);
    }

    fn break_off(&mut self, node: Node) {
        self.hang_up(node);
        let epoch = self.links[&node].epoch;
        let message = Message::Disconnected;
        self.after(1, Happening::AtNode { to: node, epoch, message });
    }

    /// The server dies and is back after so many milliseconds.
    pub fn restart_server(&mut self, delay: u64) {
        self.server_is_up = false;
        self.bus.restart();
        let nodes: Vec<Node> = self.links.keys().copied().collect();
        for node in nodes {
            if self.links[&node].is_up {
                self.break_off(node);
            }
        }
        self.readers.clear();
        self.after(delay, Happening::Fault(usize::MAX));
    }

    /// The server is back.
    pub fn server_up(&mut self) {
        self.server_is_up = true;
        let nodes: Vec<Node> = self.links.keys().copied().collect();
        for node in nodes {
            if !self.links[&node].is_up {
                let delay = self.random.within(5, 1500);
                self.come_up(node, delay);
            }
        }
    }

    /// Whether the process has a connection, as far as it knows.
    pub fn is_connected(&self, node: Node) -> bool {
        self.links.get(&node).is_some_and(|link| link.is_up)
    }

    /// The present connection.
    pub(super) fn epoch(&self, node: Node) -> u32 {
        self.links.get(&node).map_or(0, |link| link.epoch)
    }

    /// Whether what was on its way on this connection still counts.
    pub fn is_current(&self, node: Node, epoch: u32) -> bool {
        self.epoch(node) == epoch
    }

    /// Sends something to the server.
    pub fn send(&mut self, from: Node, op: Op) {
        let lane = usize::from(op.is_request());
        let delay = self.delay();
        let link = self.links.entry(from).or_default();
        if !link.is_up || link.cut.is_some_and(|cut| cut.to_server) {
            return;
        }
        let at = (self.now + delay).max(link.to_server[lane]);
        link.to_server[lane] = at;
        let epoch = link.epoch;
        self.at(at, Happening::AtServer { from, epoch, op });
    }

    /// Sends something to a node, on its present connection.
    pub(super) fn deliver(&mut self, to: Node, message: Message) {
        let lane = match &message {
            Message::Plain { .. } | Message::Connected | Message::Disconnected => 0,
            Message::Answer { .. } => 1,
            Message::Delivered { .. } | Message::PullEnded { .. } => 2,
        };
        let delay = self.delay();
        let link = self.links.entry(to).or_default();
        if !link.is_up || link.cut.is_some_and(|cut| cut.to_node) {
            return;
        }
        let at = (self.now + delay).max(link.to_node[lane]);
        link.to_node[lane] = at;
        let epoch = link.epoch;
        self.at(at, Happening::AtNode { to, epoch, message });
    }

    /// How long a message takes.
    fn delay(&mut self) -> u64 {
        let latency = self.weather.latency;
        match self.random.number() % 64 {
            0 => self.random.within(0, latency * 20),
            _ => self.random.within(0, latency),
        }
    }

    /// Asks the server; the answer, or [`Answer::TimedOut`] after so many milliseconds, carries the
    /// token.
    pub fn ask(&mut self, from: Node, life: u32, timeout: u64, op: impl FnOnce(u64) -> Op) -> u64 {
        let token = self.token();
        self.send(from, op(token));
        // Local, so on no connection: it comes whatever happens to that.
        let timer = super::Timer::Unanswered(token);
        self.timer(from, life, timeout, timer);
        token
    }

    /// A number that is used once.
    pub fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Message {
    /// What a node gets when its request was not answered.
    pub fn timed_out(token: u64) -> Self {
        Self::Answer { token, answer: Answer::TimedOut }
    }
}
