//! Every endpoint: method, path, handler.

use futures::future::BoxFuture;
use http::Method;

use crate::context::Ctx;
use crate::pattern::{Params, Pattern};
use crate::reply::Response;
use crate::{Error, Result, absent, containers, exec, images, networks, system};

/// Answers a request.
pub(crate) type Handler = fn(Ctx) -> BoxFuture<'static, Result<Response>>;

/// A row of the table. Without a method it is for any.
struct Route {
    method: Option<Method>,
    pattern: Pattern,
    handler: Handler,
}

/// The compiled table; the first row that fits answers.
pub(crate) struct Table {
    routes: Vec<Route>,
}

impl Table {
    /// The handler for a path without its version, and what the path's variables stand for.
    /// A known path with another method is unknown, as to dockerd.
    pub(crate) fn find<'p>(&self, method: &Method, path: &'p str) -> Option<(Handler, Params<'p>)> {
        self.routes.iter().find_map(|route| {
            if route.method.as_ref().is_some_and(|m| m != method) {
                return None;
            }
            Some((route.handler, route.pattern.matches(path)?))
        })
    }

    /// Compiles the table.
    pub(crate) fn new() -> Table {
        let mut routes = Vec::new();
        served(&mut routes);
        not_yet(&mut routes);
        Table { routes }
    }
}

/// One row a line: `METHOD "path" => handler`.
macro_rules! table {
    ($routes:ident: $($method:ident $path:literal => $handler:expr;)*) => {
        $($routes.push(Route {
            method: Some(Method::$method),
            pattern: Pattern::new($path),
            handler: |ctx| Box::pin($handler(ctx)),
        });)*
    };
}

/// One row a line: `METHOD "path": what is not supported yet`.
macro_rules! missing {
    ($routes:ident: $($method:ident $path:literal: $what:literal;)*) => {
        $($routes.push(Route {
            method: Some(Method::$method),
            pattern: Pattern::new($path),
            handler: |_| Box::pin(async { Err(Error::unsupported($what)) }),
        });)*
    };
}

#[rustfmt::skip]
fn served(routes: &mut Vec<Route>) {
    table! { routes:
        GET "/_ping" => system::ping;
        HEAD "/_ping" => system::ping;
        GET "/version" => system::version;
        GET "/info" => system::info;
        GET "/events" => system::events;

        GET "/containers/json" => containers::list;
        GET "/containers/{id:.*}/json" => containers::inspect;
        GET "/containers/{id:.*}/logs" => containers::logs;
        POST "/containers/create" => containers::create;
        POST "/containers/{id:.*}/start" => containers::start;
        POST "/containers/{id:.*}/stop" => containers::stop;
        POST "/containers/{id:.*}/restart" => containers::restart;
        POST "/containers/{id:.*}/kill" => containers::kill;
        POST "/containers/{id:.*}/pause" => containers::pause;
        POST "/containers/{id:.*}/unpause" => containers::unpause;
        POST "/containers/{id:.*}/rename" => containers::rename;
        POST "/containers/{id:.*}/resize" => containers::resize;
        POST "/containers/{id:.*}/wait" => containers::wait;
        POST "/containers/{id:.*}/attach" => containers::attach;
        POST "/containers/{id:.*}/exec" => exec::create;
        DELETE "/containers/{id:.*}" => containers::remove;

        GET "/exec/{id:.*}/json" => exec::inspect;
        POST "/exec/{id:.*}/start" => exec::start;
        POST "/exec/{id:.*}/resize" => exec::resize;

        GET "/images/json" => images::list;
        GET "/images/get" => images::save;
        GET "/images/{name:.*}/get" => images::save;
        GET "/images/{name:.*}/json" => images::inspect;
        GET "/images/{name:.*}/history" => images::history;
        POST "/images/load" => images::load;
        POST "/images/create" => images::create;
        POST "/images/{name:.*}/tag" => images::tag;

        GET "/networks" => networks::list;
        GET "/networks/" => networks::list;
        GET "/networks/{id:.*}" => networks::inspect;

        GET "/volumes" => absent::volumes;
        GET "/volumes/{name:.*}" => absent::volume;
        DELETE "/volumes/{name:.*}" => absent::volume;
        GET "/plugins" => absent::plugins;
        GET "/plugins/{name:.*}/json" => absent::plugin;
    }
}

#[rustfmt::skip]
fn not_yet(routes: &mut Vec<Route>) {
    missing! { routes:
        POST "/containers/prune": "pruning containers";
        GET "/containers/{id:.*}/attach/ws": "attaching over a WebSocket";
        GET "/containers/{id:.*}/top": "listing a container's processes";
        GET "/containers/{id:.*}/stats": "container statistics";
        GET "/containers/{id:.*}/changes": "listing a container's changes";
        GET "/containers/{id:.*}/export": "exporting a container";
        GET "/containers/{id:.*}/checkpoints": "checkpointing";
        POST "/containers/{id:.*}/checkpoints": "checkpointing";
        DELETE "/containers/{id:.*}/checkpoints/{name}": "checkpointing";
        POST "/containers/{id:.*}/update": "updating a container";
        HEAD "/containers/{id:.*}/archive": "copying files out of a container";
        GET "/containers/{id:.*}/archive": "copying files out of a container";
        PUT "/containers/{id:.*}/archive": "copying files into a container";
        POST "/commit": "committing a container";

        GET "/images/search": "searching for images";
        POST "/images/prune": "pruning images";
        POST "/images/{name:.*}/push": "pushing an image";
        GET "/images/{name:.*}/attestations": "listing an image's attestations";
        GET "/distribution/{name:.*}/json": "inspecting an image in its registry";
        POST "/auth": "logging in to a registry";

        POST "/build": "building images";
        POST "/build/prune": "pruning the build cache";
        POST "/build/cancel": "building images";
        POST "/session": "building images with BuildKit";
        POST "/grpc": "building images with BuildKit";
        GET "/system/df": "disk usage";

        POST "/networks/create": "creating a network";
        POST "/networks/prune": "pruning networks";
        POST "/networks/{id:.*}/connect": "connecting a container to a network";
        POST "/networks/{id:.*}/disconnect": "disconnecting a container from a network";
        DELETE "/networks/{id:.*}": "removing a network";
        POST "/volumes/create": "creating a volume";
        POST "/volumes/prune": "pruning volumes";
        PUT "/volumes/{name:.*}": "updating a volume";

        GET "/plugins/privileges": "installing plugins";
        POST "/plugins/pull": "installing plugins";
        POST "/plugins/create": "creating a plugin";
        POST "/swarm/init": "Swarm";
        POST "/swarm/join": "Swarm";
    }
    table! { routes:
        POST "/plugins/{name:.*}/enable" => absent::plugin;
        POST "/plugins/{name:.*}/disable" => absent::plugin;
        POST "/plugins/{name:.*}/push" => absent::plugin;
        POST "/plugins/{name:.*}/upgrade" => absent::plugin;
        POST "/plugins/{name:.*}/set" => absent::plugin;
        DELETE "/plugins/{name:.*}" => absent::plugin;
        DELETE "/images/{name:.*}" => images::remove;
    }
    for path in [
        "/swarm", "/swarm/{rest:.*}", "/nodes", "/nodes/{rest:.*}", "/services",
        "/services/{rest:.*}", "/tasks", "/tasks/{rest:.*}", "/secrets", "/secrets/{rest:.*}",
        "/configs", "/configs/{rest:.*}",
    ] {
        let handler: Handler = |ctx| Box::pin(absent::swarm(ctx));
        routes.push(Route { method: None, pattern: Pattern::new(path), handler });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(method: &Method, path: &str) -> Option<Vec<(&'static str, String)>> {
        let table = Table::new();
        let (_, params) = table.find(method, path)?;
        Some(params.into_iter().map(|(k, v)| (k, v.to_owned())).collect())
    }

    #[test]
    fn paths_find_their_handlers() {
        let one = |k: &'static str, v: &str| Some(vec![(k, v.to_owned())]);
        assert_eq!(params(&Method::GET, "/containers/json"), Some(vec![]));
        assert_eq!(params(&Method::GET, "/containers/abc/json"), one("id", "abc"));
        assert_eq!(
            params(&Method::GET, "/images/localhost:5000/a/b:c/json"),
            one("name", "localhost:5000/a/b:c")
        );
        assert_eq!(params(&Method::DELETE, "/images/a/b"), one("name", "a/b"));
        assert_eq!(params(&Method::GET, "/networks/bridge"), one("id", "bridge"));
        assert_eq!(params(&Method::GET, "/services/a/logs"), one("rest", "a/logs"));
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
}
