//! `windrow-started SOCKET`: the job that benchmarks of starting jobs run.

use std::io;
use std::path::Path;

use windrow_tests::started;

fn main() -> io::Result<()> {
    let socket = std::env::args_os().nth(1).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "usage: windrow-started SOCKET")
    })?;
    started::send(Path::new(&socket))
}
