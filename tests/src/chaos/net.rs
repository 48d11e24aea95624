//! A network of hosts that are network namespaces, joined by a bridge in a namespace of its own, so
//! that the packet filter of this machine has no say in it. Needs root.
//!
//! Networks are numbered. The number is held by a lock on a file; whoever gets it first removes what
//! an earlier holder, which must have died, left behind.

use std::fs::{File, TryLockError};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::part::processes_with;
use crate::program::Finished;

/// Networks of one machine at a time.
const NUMBERS: u8 = 200;
/// This machine's part of an address; hosts follow.
const GATEWAY: u8 = 1;
/// Hosts' addresses begin here.
const FIRST_HOST: u8 = 11;

/// Which packets of a host are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All.
    Both,
    /// Those to it: it speaks, and hears nothing.
    In,
    /// Those from it: it hears, and nobody hears it.
    Out,
}

/// A network; its hosts and all processes on them end with it.
#[derive(Debug)]
pub struct Net {
    number: u8,
    next: AtomicU8,
    _lock: File,
}

/// A network namespace with one address.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    /// Its address in the network.
    pub address: Ipv4Addr,
}

impl Net {
    /// A new network, or why there can be none here: that is no failure of what is tested.
    ///
    /// # Errors
    /// Not root, or namespaces cannot be made.
    ///
    /// # Panics
    /// When a network can be begun and not completed.
    pub fn new() -> Result<Self, String> {
        if !Uid::effective().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let (number, lock) = lock_number().ok_or("all network numbers are taken")?;
        let net = Self { number, next: AtomicU8::new(FIRST_HOST), _lock: lock };
        net.remove();
        let switch = net.switch();
        let made = Finished::run(Command::new("ip").args(["netns", "add", &switch]));
        if made.code != 0 {
            return Err(format!("network namespaces cannot be made here: {}", made.stderr.trim()));
        }
        let uplink = net.uplink();
        ip(&[
            &format!("-n {switch} link add br0 type bridge"),
            &format!("-n {switch} link set br0 up"),
            &format!("link add {uplink} type veth peer name gate netns {switch}"),
            &format!("-n {switch} link set gate master br0 up"),
            &format!("addr add {}/24 dev {uplink}", net.address(GATEWAY)),
            &format!("link set {uplink} up"),
        ]);
        Ok(net)
    }

    /// Adds a host. `name` is short, and unique in the network.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn host(&self, name: &str) -> Host {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (namespace, switch) = (format!("{}{name}", self.prefix()), self.switch());
        let address = self.address(number);
        ip(&[
            &format!("netns add {namespace}"),
            &format!("-n {switch} link add v{number} type veth peer name eth0 netns {namespace}"),
            &format!("-n {switch} link set v{number} master br0 up"),
            &format!("-n {namespace} addr add {address}/24 dev eth0"),
            &format!("-n {namespace} link set eth0 up"),
            &format!("-n {namespace} link set lo up"),
        ]);
        Host { namespace, address }
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, self.number, host)
    }

    fn prefix(&self) -> String {
        format!("wchaos{}-", self.number)
    }

    fn switch(&self) -> String {
        format!("{}switch", self.prefix())
    }

    fn uplink(&self) -> String {
        format!("wchaos{}", self.number)
    }

    /// Removes every namespace of this number, with the processes in it.
    fn remove(&self) {
        for namespace in namespaces(&self.prefix()) {
            end_all_in(&namespace);
            // The interfaces go with their namespace.
            Finished::run(Command::new("ip").args(["netns", "del", &namespace]));
        }
        Finished::run(Command::new("ip").args(["link", "del", &self.uplink()]));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Host {
    /// A command that runs on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--").arg(program);
        command
    }

    /// Names the host in what attempts write: the namespace's inode, as `/proc/self/ns/net` shows it.
    pub fn mark(&self) -> String {
        let shown = Finished::run(self.command("readlink").arg("/proc/self/ns/net"));
        shown.ok()
    }

    /// Loses these packets from now on, until [`Host::heal`].
    pub fn cut(&self, cut: Cut) {
        let chains: &[&str] = match cut {
            Cut::Both => &["INPUT", "OUTPUT"],
            Cut::In => &["INPUT"],
            Cut::Out => &["OUTPUT"],
        };
        for chain in chains {
            self.iptables(&["-A", chain, "-j", "DROP"]);
        }
    }

    /// Loses all packets from and to this address from now on, until [`Host::heal`].
    pub fn cut_from(&self, other: Ipv4Addr) {
        let other = other.to_string();
        self.iptables(&["-A", "INPUT", "-s", &other, "-j", "DROP"]);
        self.iptables(&["-A", "OUTPUT", "-d", &other, "-j", "DROP"]);
    }

    /// All packets pass again.
    pub fn heal(&self) {
        self.iptables(&["-F"]);
    }

    fn iptables(&self, arguments: &[&str]) {
        Finished::run(self.command("iptables").arg("-w").args(arguments)).ok();
    }

    /// Processes that run on this host.
    pub fn processes(&self) -> Vec<i32> {
        processes_in(&self.namespace)
    }

    /// Those whose command line holds `words`.
    pub fn processes_with(&self, words: &str) -> Vec<i32> {
        let here = self.processes();
        processes_with(&[words]).into_iter().filter(|pid| here.contains(pid)).collect()
    }

    /// Ends every process on the host at once, as when it loses power.
    pub fn power_off(&self) {
        end_all_in(&self.namespace);
    }
}

fn lock_number() -> Option<(u8, File)> {
    (1..=NUMBERS).find_map(|number| {
        let path = PathBuf::from(format!("/run/windrow-chaos-{number}.lock"));
        let file = File::options().create(true).append(true).open(path).ok()?;
        match file.try_lock() {
            Ok(()) => Some((number, file)),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    })
}

/// Runs several commands of `ip`, all of which must succeed.
fn ip(lines: &[&str]) {
    for line in lines {
        Finished::run(Command::new("ip").args(line.split(' '))).ok();
    }
}

fn namespaces(prefix: &str) -> Vec<String> {
    let listed = Finished::run(Command::new("ip").args(["netns", "list"])).stdout;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

fn processes_in(namespace: &str) -> Vec<i32> {
    let listed = Finished::run(Command::new("ip").args(["netns", "pids", namespace])).stdout;
    listed.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

fn end_all_in(namespace: &str) {
    // A process may start another one between the look and the signal.
    for _ in 0..10 {
        let running = processes_in(namespace);
        if running.is_empty() {
            return;
        }
        for pid in running {
            // It may have ended between the look and the signal.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
