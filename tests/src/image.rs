//! An image for tests in Docker, made here: nothing is pulled.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

/// Its name.
pub const BUSYBOX: &str = "windrow-e2e-busybox:1";

/// Whether `WINDROW_TEST_NO_DOCKER=1` says that no engine is meant to be here. Without it and without
/// an engine tests that need one fail.
pub fn is_docker_left_out() -> bool {
    std::env::var_os("WINDROW_TEST_NO_DOCKER").is_some_and(|value| value == "1")
}

/// Makes [`BUSYBOX`] of the static busybox, with a shell and a few tools.
pub fn make_busybox() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let bin = root.path().join("bin");
    fs::create_dir_all(&bin).expect("a directory for programs");
    fs::create_dir(root.path().join("tmp")).expect("a directory for files");
    fs::copy("/bin/busybox", bin.join("busybox")).expect("Debian's busybox-static is installed");
    for tool in ["sh", "cat", "echo", "sleep", "nc", "grep", "sort", "timeout"] {
        symlink("busybox", bin.join(tool)).expect("a link to busybox");
    }
    let mut tar = Command::new("tar")
        .args(["-C", &root.path().to_string_lossy(), "-c", "."])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar runs");
    let import = Command::new("docker")
        .args(["import", "-c", "ENV PATH=/bin", "-", BUSYBOX])
        .stdin(tar.stdout.take().expect("its output is piped"))
        .output()
        .expect("docker runs");
    assert!(tar.wait().expect("tar ends").success());
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}
