use std::os::unix::fs::symlink;

use super::*;

fn bind_unix(path: &Path, group: &str) -> Result<Bound, String> {
    let bound = bind(&[Host::Unix(path.to_owned())], group);
    bound
        .map(|mut bound| bound.remove(0))
        .map_err(|error| error.to_string())
}

#[test]
fn a_unix_socket_belongs_to_root_and_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let bound = bind_unix(&path, "12345").unwrap();
    let meta = fs::symlink_metadata(&path).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (0, 12345, 0o660)
    );
    UnixStream::connect(&path).unwrap();
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn the_group_must_exist_unless_it_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let message = bind_unix(&path, "no-such-group").unwrap_err();
    let wanted = format!(
        "failed to load listeners: can't create unix socket {}: group no-such-group not found",
        path.display()
    );
    assert_eq!(message, wanted);
    assert!(!path.exists());
    // Whether this machine has a group `docker` or not.
    let _bound = bind_unix(&path, "docker").unwrap();
    assert_eq!(
        path.metadata().unwrap().gid(),
        crate::group::lookup("docker").unwrap_or(0)
    );
}

#[test]
fn a_stale_socket_makes_way_and_a_live_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let bound = bind_unix(&path, "0").unwrap();
    let message = bind_unix(&path, "0").unwrap_err();
    assert!(
        message.ends_with(&format!(
            "can't create unix socket {}: address already in use",
            path.display()
        )),
        "{message}"
    );
    UnixStream::connect(&path).expect("the live one is still there");
    // Another daemon's socket in our place is not ours to remove.
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    fs::write(&path, "precious").unwrap();
    let link = dir.path().join("link.sock");
    symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let message = bind_unix(path, "0").unwrap_err();
        assert!(
            message.ends_with("a file that is not a socket is in the way"),
            "{message}"
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let message = bind_unix(&dir.path().join("no/dir.sock"), "0").unwrap_err();
    assert!(message.ends_with("no such file or directory"), "{message}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = bind(
        &[Host::Tcp {
            host: "127.0.0.1".into(),
            port,
        }],
        "0",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to load listeners: listen tcp 127.0.0.1:{port}: bind: address already in use"
        )
    );
}

#[test]
fn without_systemd_there_is_no_activation() {
    let error = bind(&[Host::Fd(String::new())], "0")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no sockets found via socket activation"),
        "{error}"
    );
}
