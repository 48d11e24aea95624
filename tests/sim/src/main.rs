//! `windrow-sim`: runs seeds of the simulation, and shows what a failing one did.

fn main() -> std::process::ExitCode {
    windrow_sim::arguments::run()
}
