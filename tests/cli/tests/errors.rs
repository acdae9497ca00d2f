//! Errors and the protocol itself, on the raw connection.

use serde_json::json;
use testkit::{PATIENCE, shared, unique};

#[test]
fn ping_tells_what_the_server_is() {
    for method in ["GET", "HEAD"] {
        let answer = shared().api(method, "/_ping", None).is(200);
        assert_eq!(answer.text(), if method == "GET" { "OK" } else { "" });
        for (name, value) in [
            ("Ostype", "linux"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Docker-Experimental", "false"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {name}");
        }
        for name in ["Api-Version", "Server"] {
            assert!(answer.header(name).is_some(), "{method} {name}");
        }
        if !shared().is_old_dockerd() {
            assert_eq!(answer.header("Api-Version"), Some("1.55"));
            assert_eq!(answer.header("Swarm"), Some("inactive"));
            assert!(answer.header("Builder-Version").is_some());
        }
        assert!(
            answer
                .header("Server")
                .unwrap()
                .starts_with(if shared().is_old_dockerd() {
                    "Docker/"
                } else {
                    ""
                })
        );
    }
    shared().api("GET", "/v1.30/_ping", None).is(200);
}

#[test]
fn versions_out_of_range() {
    let newest = if shared().is_old_dockerd() {
        "1.41"
    } else {
        "1.55"
    };
    let answer = shared().api("GET", "/v1.99/containers/json", None).is(400);
    let text = format!("client version 1.99 is too new. Maximum supported API version is {newest}");
    assert_eq!(answer.message(), text);
    let oldest = if shared().is_old_dockerd() {
        "1.12"
    } else {
        "1.24"
    };
    let answer = shared().api("GET", "/v1.11/containers/json", None).is(400);
    let text = format!("client version 1.11 is too old. Minimum supported API version is {oldest}");
    // As it is older than JSON errors it is plain text, in 20.10 as in 28.
    assert!(answer.text().contains(&text), "{}", answer.text());
    let output = shared()
        .cli(["ps"])
        .env("DOCKER_API_VERSION", "1.99")
        .run()
        .exits(1);
    assert!(output.stderr.contains("is too new"), "{output}");
    for version in ["1.24", "1.30", "1.40", "1.41"] {
        shared()
            .api("GET", &format!("/v{version}/containers/json"), None)
            .is(200);
        let cli = shared().cli(["ps"]).env("DOCKER_API_VERSION", version);
        cli.run().ok();
    }
}

#[test]
fn the_answer_names_its_version() {
    let answer = shared().api("GET", "/v1.40/containers/json", None).is(200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert!(answer.header("Api-Version").is_some());
}

#[test]
fn unknown_paths_and_methods() {
    for path in [
        "/nosuch",
        "/v1.41/nosuch",
        "/containers",
        "/containers/json/",
        "//",
    ] {
        let answer = shared().api("GET", path, None);
        assert!(
            matches!(answer.status, 301 | 404),
            "{path}: {}",
            answer.status
        );
        if answer.status == 404 {
            assert_eq!(answer.message(), "page not found", "{path}");
        }
    }
    // gorilla/mux tells a known path with another method from an unknown one.
    let answer = shared().api("DELETE", "/containers/json", None);
    assert!(matches!(answer.status, 404 | 405), "{}", answer.status);
    let answer = shared().api("PUT", "/info", None);
    assert!(matches!(answer.status, 404 | 405), "{}", answer.status);
}

#[test]
fn unknown_containers_are_404_everywhere() {
    for (method, path) in [
        ("GET", "/containers/nosuch/json"),
        ("GET", "/containers/nosuch/logs?stdout=1"),
        ("POST", "/containers/nosuch/start"),
        ("POST", "/containers/nosuch/stop"),
        ("POST", "/containers/nosuch/restart"),
        ("POST", "/containers/nosuch/kill"),
        ("POST", "/containers/nosuch/rename?name=x"),
        ("POST", "/containers/nosuch/wait"),
        ("POST", "/containers/nosuch/attach?stream=1&stdout=1"),
        ("POST", "/containers/nosuch/resize?h=1&w=1"),
        ("DELETE", "/containers/nosuch"),
    ] {
        let answer = shared().api(method, path, None).is(404);
        // kill puts "cannot kill container: nosuch: " before it.
        // attach answers with plain text, as it does once it has taken the connection over.
        let message = match path.contains("/attach") {
            true => answer.text().trim_end().to_owned(),
            false => answer.message(),
        };
        assert!(
            message.contains("No such container: nosuch"),
            "{method} {path}: {message}"
        );
    }
    for (method, path) in [
        ("GET", "/images/nosuch/json"),
        ("DELETE", "/images/nosuch"),
        ("POST", "/images/nosuch/tag?repo=x"),
    ] {
        let answer = shared().api(method, path, None).is(404);
        let message = answer.message();
        assert!(
            message.contains("No such image: nosuch"),
            "{method} {path}: {message}"
        );
    }
}

#[test]
fn bodies_that_are_none() {
    let create = "/containers/create";
    let raw = |content_type: Option<&str>, body: &str| {
        let mut request = shared().request("POST", create).body(body);
        if let Some(kind) = content_type {
            request = request.header("Content-Type", kind);
        }
        request.send()
    };
    let json = Some("application/json");
    for body in [
        "{",
        "[]",
        "\"text\"",
        "{\"Cmd\": 7}",
        "{\"HostConfig\": {\"Memory\": \"much\"}}",
    ] {
        let answer = raw(json, body);
        assert!(
            (400..=500).contains(&answer.status),
            "{body}: {}",
            answer.status
        );
        // 20.10 blames itself; 400 since 22.06.
        assert!(
            answer.status == 400 || shared().is_old_dockerd(),
            "{body}: {}",
            answer.status
        );
        assert!(!answer.message().is_empty());
    }
    let answer = raw(None, "{\"Image\": \"busybox\"}");
    assert!(matches!(answer.status, 400 | 500), "{}", answer.status);
    assert!(
        answer.message().contains("Content-Type"),
        "{}",
        answer.message()
    );
    let answer = raw(Some("text/plain"), "{\"Image\": \"busybox\"}");
    assert!(matches!(answer.status, 400 | 500), "{}", answer.status);
    assert!(
        answer.message().contains("text/plain"),
        "{}",
        answer.message()
    );
    let answer = raw(json, "");
    assert!((400..=500).contains(&answer.status), "{}", answer.status);
}

#[test]
fn images_that_a_container_cannot_be_made_from() {
    let create = |image: &str| {
        let body = json!({"Image": image, "Cmd": ["true"]});
        shared().api("POST", "/containers/create", Some(&body))
    };
    assert_eq!(
        create("nosuch").is(404).message(),
        "No such image: nosuch:latest"
    );
    assert_eq!(
        create("nosuch:1").is(404).message(),
        "No such image: nosuch:1"
    );
    assert!(
        create("UPPER")
            .is(400)
            .message()
            .contains("invalid reference format")
    );
    let answer = create("127.0.0.1:9/x@sha256:00");
    assert!(
        answer.message().contains("invalid reference format"),
        "{}",
        answer.message()
    );
}

#[test]
fn names_of_containers() {
    let body = json!({"Image": "busybox", "Cmd": ["true"]});
    let create = |name: &str| {
        shared().api(
            "POST",
            &format!("/containers/create?name={name}"),
            Some(&body),
        )
    };
    for name in ["a/b", "-x", ".x", "x%20y", "x"] {
        let message = create(name).is(400).message();
        let shown = name.replace("%20", " ");
        let wanted =
            format!("Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
        assert_eq!(message, wanted);
    }
    let name = unique("taken");
    let id = create(&name).is(201).json()["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    let wanted = format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    );
    assert_eq!(create(&name).is(409).message(), wanted);
    assert_eq!(create(&format!("/{name}")).is(409).message(), wanted);
    shared().remove(&[&name]);
}

#[test]
fn ambiguous_prefixes() {
    let name = |n: usize| format!("{}-{n}", unique("prefix"));
    // 17 IDs: two of them begin alike.
    let ids: Vec<String> = (0..17)
        .map(|n| {
            let body = json!({"Image": "busybox", "Cmd": ["true"]});
            let target = format!("/containers/create?name={}", name(n));
            shared().api("POST", &target, Some(&body)).is(201).json()["Id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let twice = ids
        .iter()
        .find(|id| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1);
    let prefix = &twice.unwrap()[..1];
    let answer = shared().api("GET", &format!("/containers/{prefix}/json"), None);
    // 400 since 20.10; the name of the index differs between versions.
    assert!((400..=500).contains(&answer.status), "{}", answer.status);
    assert!(
        answer
            .message()
            .to_lowercase()
            .contains("multiple ids found with provided prefix: "),
        "{}",
        answer.message()
    );
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    shared().remove(&all);
}

#[test]
fn parameters_that_are_no_numbers() {
    let name = unique("numbers");
    shared().docker(["create", "--name", &name, "busybox"]).ok();
    for path in ["stop?t=x", "restart?t=x", "resize?h=1&w=x"] {
        let answer = shared().api("POST", &format!("/containers/{name}/{path}"), None);
        assert!(
            matches!(answer.status, 400 | 500),
            "{path}: {}",
            answer.status
        );
        assert!(
            answer.message().contains('x'),
            "{path}: {}",
            answer.message()
        );
    }
    for path in [
        "/containers/json?filters=nonsense",
        "/containers/json?filters={%22status%22:7}",
        "/events?filters=[",
    ] {
        let answer = shared().api("GET", path, None);
        // 20.10 blames itself.
        let old = shared().is_old_dockerd() && answer.status == 500;
        assert!(answer.status == 400 || old, "{path}: {}", answer.text());
        assert!(!answer.message().is_empty(), "{path}");
    }
    shared().remove(&[&name]);
}

#[test]
fn one_connection_serves_many_requests() {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(shared().socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Two at once, one in pieces, and an error between them that must not end the connection.
    let two = "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\nGET /containers/nosuch/json HTTP/1.1\r\nHost: d\r\n\r\n";
    stream.write_all(two.as_bytes()).unwrap();
    for piece in [
        "GET /ver",
        "sion HT",
        "TP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    ] {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    // A body without a newline at its end precedes the next status line.
    let statuses: Vec<_> = all
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| &rest[..3])
        .collect();
    assert_eq!(statuses, ["200", "404", "200"]);
}

#[test]
fn chunked_bodies_and_expectations() {
    let name = unique("chunked");
    let body = "{\"Image\": \"busybox\", \"Cmd\": [\"true\"]}";
    let (first, second) = body.split_at(10);
    let chunks = format!(
        "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let head = format!(
        "POST /containers/create?name={name} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n{chunks}"
    );
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(shared().socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.contains("HTTP/1.1 201 Created"), "{all}");
    shared().remove(&[&name]);
}

#[test]
fn nonsense_on_the_socket_is_answered_or_closed() {
    use std::io::{Read, Write};
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 << 20));
    for bytes in [
        "\r\n\r\n",
        "GARBAGE\r\n\r\n",
        "GET\r\n\r\n",
        &long,
        "\0\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(shared().socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    shared().api("GET", "/_ping", None).is(200);
}
