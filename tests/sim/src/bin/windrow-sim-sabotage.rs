//! `windrow-sim` with the deliberate bugs in it, to be switched on by name.

fn main() -> std::process::ExitCode {
    windrow_sim::arguments::run()
}
