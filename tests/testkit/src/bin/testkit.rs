//! Makes the test kit's archives for scripts:
//! `testkit rootfs OUT.tar` (a busybox root file system), `testkit image OUT.tar [TAG]` (for
//! `docker load`), `testkit oci OUT.tar [TAG]`.

use std::process::ExitCode;

use testkit::{Compression, Image, rootfs_tar};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let tag = args.get(2).map_or("busybox:latest", String::as_str);
    let (what, out) = match args.as_slice() {
        [what, out, ..] => (what.as_str(), out),
        _ => return usage(),
    };
    let bytes = match what {
        "rootfs" => rootfs_tar().to_vec(),
        "image" => Image::busybox(tag).docker_archive(Compression::None),
        "oci" => Image::busybox(tag).oci_layout(Compression::Gzip),
        _ => return usage(),
    };
    match std::fs::write(out, bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testkit: {out}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: testkit rootfs|image|oci OUT.tar [NAME:TAG]");
    ExitCode::from(2)
}
