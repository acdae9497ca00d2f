use proptest::prelude::*;

use super::*;

/// Every endpoint of Docker's API definition 1.55, and those that it leaves out.
const DEFINED: &str = "
    GET /containers/json            POST /containers/create         GET /containers/{id}/json
    GET /containers/{id}/top        GET /containers/{id}/logs       GET /containers/{id}/changes
    GET /containers/{id}/export     GET /containers/{id}/stats      POST /containers/{id}/resize
    POST /containers/{id}/start     POST /containers/{id}/stop      POST /containers/{id}/restart
    POST /containers/{id}/kill      POST /containers/{id}/update    POST /containers/{id}/rename
    POST /containers/{id}/pause     POST /containers/{id}/unpause   POST /containers/{id}/attach
    GET /containers/{id}/attach/ws  POST /containers/{id}/wait      DELETE /containers/{id}
    HEAD /containers/{id}/archive   GET /containers/{id}/archive    PUT /containers/{id}/archive
    POST /containers/prune          POST /containers/{id}/exec      POST /exec/{id}/start
    POST /exec/{id}/resize          GET /exec/{id}/json
    GET /containers/{id}/checkpoints    POST /containers/{id}/checkpoints
    DELETE /containers/{id}/checkpoints/{name}
    GET /images/json                POST /images/create             GET /images/{name}/json
    GET /images/{name}/attestations GET /images/{name}/history      POST /images/{name}/push
    POST /images/{name}/tag         DELETE /images/{name}           GET /images/search
    POST /images/prune              GET /images/{name}/get          GET /images/get
    POST /images/load               GET /distribution/{name}/json   POST /commit
    POST /build                     POST /build/prune               POST /build/cancel
    POST /session                   POST /grpc
    POST /auth                      GET /info                       GET /version
    GET /_ping                      HEAD /_ping                     GET /events
    GET /system/df                  OPTIONS /anything
    GET /volumes                    POST /volumes/create            GET /volumes/{name}
    PUT /volumes/{name}             DELETE /volumes/{name}          POST /volumes/prune
    GET /networks                   GET /networks/                  GET /networks/{id}
    DELETE /networks/{id}           POST /networks/create           POST /networks/{id}/connect
    POST /networks/{id}/disconnect  POST /networks/prune
    GET /plugins                    GET /plugins/privileges         POST /plugins/pull
    GET /plugins/{name}/json        DELETE /plugins/{name}          POST /plugins/{name}/enable
    POST /plugins/{name}/disable    POST /plugins/{name}/upgrade    POST /plugins/create
    POST /plugins/{name}/push       POST /plugins/{name}/set
    GET /nodes                      GET /nodes/{id}                 DELETE /nodes/{id}
    POST /nodes/{id}/update         GET /swarm                      POST /swarm/init
    POST /swarm/join                POST /swarm/leave               POST /swarm/update
    GET /swarm/unlockkey            POST /swarm/unlock              GET /services
    POST /services/create           GET /services/{id}              DELETE /services/{id}
    POST /services/{id}/update      GET /services/{id}/logs         GET /tasks
    GET /tasks/{id}                 GET /tasks/{id}/logs            GET /secrets
    POST /secrets/create            GET /secrets/{id}               DELETE /secrets/{id}
    POST /secrets/{id}/update       GET /configs                    POST /configs/create
    GET /configs/{id}               DELETE /configs/{id}            POST /configs/{id}/update
";

fn params(method: &Method, path: &str) -> Option<Vec<(&'static str, String)>> {
    let table = Table::new();
    let (_, params) = table.find(method, path)?;
    Some(params.into_iter().map(|(k, v)| (k, v.to_owned())).collect())
}

/// Which row answers.
fn row(table: &Table, method: &Method, path: &str) -> Option<usize> {
    table
        .routes
        .iter()
        .position(|r| r.method == *method && r.pattern.matches(path).is_some())
}

#[test]
fn paths_find_their_handlers() {
    let one = |k: &'static str, v: &str| Some(vec![(k, v.to_owned())]);
    assert_eq!(params(&Method::GET, "/containers/json"), Some(vec![]));
    assert_eq!(
        params(&Method::GET, "/containers/abc/json"),
        one("id", "abc")
    );
    assert_eq!(
        params(&Method::GET, "/images/localhost:5000/a/b:c/json"),
        one("name", "localhost:5000/a/b:c")
    );
    assert_eq!(params(&Method::DELETE, "/images/a/b"), one("name", "a/b"));
    assert_eq!(
        params(&Method::GET, "/networks/bridge"),
        one("id", "bridge")
    );
    assert_eq!(params(&Method::GET, "/services/a/logs"), one("id", "a"));
    assert_eq!(
        params(&Method::DELETE, "/containers/a/checkpoints/b"),
        Some(vec![("id", "a".to_owned()), ("name", "b".to_owned())])
    );
}

#[test]
fn every_endpoint_of_the_definition_has_a_row_of_its_own() {
    let table = Table::new();
    let words: Vec<&str> = DEFINED.split_whitespace().collect();
    let mut taken = vec![None; table.routes.len()];
    for pair in words.chunks(2) {
        let (method, path) = (pair[0].parse::<Method>().unwrap(), pair[1]);
        let sample = path.replace("{id}", "some").replace("{name}", "some/where");
        let sample = sample.replace("checkpoints/some/where", "checkpoints/some");
        let row = row(&table, &method, &sample).unwrap_or_else(|| panic!("{method} {path}"));
        assert_eq!(
            taken[row].replace(path),
            None,
            "{method} {path} is shadowed"
        );
    }
    assert!(
        taken.iter().all(Option::is_some),
        "a row that no endpoint of the list reaches"
    );
}

#[test]
fn unknown_paths_and_methods_are_unknown() {
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, ""),
        (Method::GET, "/nonsense"),
        (Method::GET, "/containers"),
        (Method::POST, "/containers/json"),
        (Method::HEAD, "/info"),
        (Method::PATCH, "/_ping"),
        (Method::GET, "/containers/create"),
        (Method::GET, "/swarm/nonsense"),
        (Method::GET, "/nodes/a/b"),
        (Method::DELETE, "/_ping"),
    ] {
        assert!(params(&method, path).is_none(), "{method} {path}");
    }
}

proptest! {
    #[test]
    fn any_path_is_answered(
        path in "(/[a-z_{}:.*%/]{0,12}){0,6}",
        method in prop::sample::select(vec![Method::GET, Method::POST, Method::DELETE]),
    ) {
        let _ = Table::new().find(&method, &path);
    }

    #[test]
    fn an_images_name_is_kept_whole(name in "[a-z0-9:@._-]{1,8}(/[a-z0-9:@._-]{1,8}){0,3}") {
        prop_assume!(name != "search");
        let path = format!("/images/{name}/history");
        prop_assert_eq!(params(&Method::GET, &path), Some(vec![("name", name)]));
    }
}
