//! The pause container: it does nothing, for as long as an attempt of several containers lives, and
//! holds the network (and, if asked for, the process numbers and shared memory) that they share,
//! whichever of them comes or goes. Its image is made here: one program that waits.

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;

use super::container::{is_gone, message};

/// The image; a number for each change of what is in it.
pub(super) const IMAGE: &str = "windrow-pause:1";
/// The program in it.
pub(super) const PROGRAM: &str = "/pause";

/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;
/// Bytes before its code: the file's header and that of its only part.
const HEADERS: u64 = 64 + 56;

/// Makes the image unless it is here. The error is for the user.
pub(super) async fn ensure(docker: &Docker) -> Result<(), String> {
    match docker.inspect_image(IMAGE).await {
        Ok(_) => return Ok(()),
        Err(e) if is_gone(&e) => {}
        Err(e) => return Err(format!("CannotInspectContainerError: {}", message(&e))),
    }
    let program = program(std::env::consts::ARCH)
        .ok_or("several containers in one job are supported on x86_64 and aarch64 only")?;
    let failed = |e: String| format!("cannot make the image `{IMAGE}`: {e}");
    let archive = archive(&program).map_err(|e| failed(e.to_string()))?;
    let (name, tag) = IMAGE.split_once(':').expect("the constant has a tag");
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(name).tag(tag).build();
    let body = bollard::body_full(archive.into());
    let mut progress = Box::pin(docker.create_image(Some(options), Some(body), None));
    while let Some(step) = progress.next().await {
        step.map_err(|e| failed(message(&e)))?;
    }
    Ok(())
}

fn archive(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, PROGRAM.trim_start_matches('/'), program)?;
    archive.into_inner()
}

/// An ELF executable that calls `pause` (or `ppoll` with nothing to wait for) for ever.
fn program(architecture: &str) -> Option<Vec<u8>> {
    let (machine, code): (u16, &[u8]) = match architecture {
        // mov eax, 34; syscall; jmp to the start
        "x86_64" => (0x3e, &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]),
        // mov x8, 73; mov x0 to x3, 0; svc 0; b to the start
        "aarch64" => (
            0xb7,
            &[
                0x28, 0x09, 0x80, 0xd2, 0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00,
                0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
            ],
        ),
        _ => return None,
    };
    let size = HEADERS + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (executable, version, entry) = (2u16, 1u32, ADDRESS + HEADERS);
    file.extend(executable.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(version.to_le_bytes());
    // Where it begins, where the part's header is, and that there are no sections.
    [entry, 64, 0].iter().for_each(|number| file.extend(number.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    [64u16, 56, 1, 0, 0, 0].iter().for_each(|number| file.extend(number.to_le_bytes()));
    let (load, readable_and_executable) = (1u32, 5u32);
    file.extend(load.to_le_bytes());
    file.extend(readable_and_executable.to_le_bytes());
    [0, ADDRESS, ADDRESS, size, size, 0x1000].iter().for_each(|n| file.extend(n.to_le_bytes()));
    file.extend(code);
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_its_code_where_its_header_says() {
        for (architecture, length) in [("x86_64", 129), ("aarch64", 148)] {
            let file = program(architecture).unwrap();
            assert_eq!(file.len(), length);
            assert_eq!(file[24..32], (ADDRESS + 120).to_le_bytes());
        }
        assert_eq!(program("m68k"), None);
    }
}
