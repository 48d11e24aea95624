//! One program on one host of a chaos network: started, killed, stopped, cut off.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::clock::Clock;
use super::net::{Cut, Host};
use crate::part::{Part, is_alive, signal};
use crate::wait_until;

/// A program that runs, or could, on a host of its own.
pub struct Node {
    /// Unique in its rig.
    pub name: String,
    /// Where it runs.
    pub host: Host,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    part: Option<Part>,
    clock: Option<Clock>,
}

impl Node {
    /// Not started yet. The log is appended to, over all starts.
    pub fn new(
        name: &str,
        host: Host,
        program: PathBuf,
        arguments: Vec<OsString>,
        log: PathBuf,
    ) -> Self {
        Self { name: name.to_owned(), host, program, arguments, log, part: None, clock: None }
    }

    /// Its wall clock is to be set by [`Self::set_clock`], by way of this file, where that is possible.
    #[must_use]
    pub fn with_clock(mut self, file: PathBuf) -> Self {
        self.clock = Clock::new(file);
        self
    }

    /// Its wall clock is off by so many seconds from now on. False where that is not possible.
    pub fn set_clock(&self, seconds: i64) -> bool {
        self.clock.as_ref().map(|clock| clock.set(seconds)).is_some()
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self) {
        if !self.is_running() {
            let mut command = self.host.command(&self.program);
            command.args(&self.arguments);
            if let Some(clock) = &self.clock {
                clock.take_effect_on(&mut command);
            }
            self.part = Some(Part::start(&mut command, &self.log));
        }
    }

    /// Whether its process is there, stopped or not.
    pub fn is_running(&self) -> bool {
        self.part.as_ref().is_some_and(|part| is_alive(part.pid()))
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut part) = self.part.take() {
            part.kill();
        }
    }

    /// Asks it to end, as a supervisor does, and waits for that.
    ///
    /// # Panics
    /// When it does not within 30 seconds.
    pub fn terminate(&mut self) {
        let Some(part) = self.part.take() else { return };
        if is_alive(part.pid()) {
            signal(part.pid(), Signal::SIGTERM);
            let what = format!("{} to end after SIGTERM", self.name);
            wait_until(&what, 30, || (!is_alive(part.pid())).then_some(()));
        }
    }

    /// Ends everything on its host, as when that loses power.
    pub fn power_off(&mut self) {
        self.host.power_off();
        self.part = None;
    }

    /// It stands still from now on (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It goes on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Everything on its host stands still: the program, and what it has started.
    pub fn freeze_host(&self) {
        self.signal_host(Signal::SIGSTOP);
    }

    /// Everything on its host goes on.
    pub fn thaw_host(&self) {
        self.signal_host(Signal::SIGCONT);
    }

    /// Its packets are lost from now on.
    pub fn cut(&self, cut: Cut) {
        self.host.cut(cut);
    }

    /// Packets between it and another are lost from now on.
    pub fn cut_from(&self, other: Ipv4Addr) {
        self.host.cut_from(other);
    }

    /// Its packets pass again.
    pub fn heal(&self) {
        self.host.heal();
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process, when it runs.
    pub fn pid(&self) -> Option<i32> {
        self.part.as_ref().map(Part::pid).filter(|&pid| is_alive(pid))
    }

    fn signal(&self, what: Signal) {
        if let Some(pid) = self.pid() {
            signal(pid, what);
        }
    }

    fn signal_host(&self, what: Signal) {
        for pid in self.host.processes() {
            // One of its jobs may have ended between the look and the signal.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), what);
        }
    }
}
