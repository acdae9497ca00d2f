//! Every endpoint: method, path, handler.

use futures::future::BoxFuture;
use http::Method;

use crate::context::Ctx;
use crate::pattern::{Params, Pattern};
use crate::reply::Response;
use crate::{
    Error, Result, absent, auth, containers, distribution, exec, images, networks, system, volumes,
};

/// Answers a request.
pub(crate) type Handler = fn(Ctx) -> BoxFuture<'static, Result<Response>>;

/// A row of the table.
struct Route {
    method: Method,
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
            if route.method != method {
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
        swarm(&mut routes);
        shorter(&mut routes);
        Table { routes }
    }
}

/// One row a line: `METHOD "path" => handler`.
macro_rules! table {
    ($routes:ident: $($method:ident $path:literal => $handler:expr;)*) => {
        $($routes.push(Route {
            method: Method::$method,
            pattern: Pattern::new($path),
            handler: |ctx| Box::pin($handler(ctx)),
        });)*
    };
}

/// One row a line: `METHOD "path": what is not supported yet`.
macro_rules! missing {
    ($routes:ident: $($method:ident $path:literal: $what:literal;)*) => {
        $($routes.push(Route {
            method: Method::$method,
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
        GET "/system/df" => system::df;

        GET "/containers/json" => containers::list;
        GET "/containers/{id:.*}/json" => containers::inspect;
        GET "/containers/{id:.*}/logs" => containers::logs;
        GET "/containers/{id:.*}/stats" => containers::stats;
        GET "/containers/{id:.*}/top" => containers::top;
        POST "/containers/create" => containers::create;
        POST "/containers/prune" => containers::prune;
        POST "/containers/{id:.*}/start" => containers::start;
        POST "/containers/{id:.*}/stop" => containers::stop;
        POST "/containers/{id:.*}/restart" => containers::restart;
        POST "/containers/{id:.*}/kill" => containers::kill;
        POST "/containers/{id:.*}/pause" => containers::pause;
        POST "/containers/{id:.*}/unpause" => containers::unpause;
        POST "/containers/{id:.*}/update" => containers::update;
        POST "/containers/{id:.*}/rename" => containers::rename;
        POST "/containers/{id:.*}/resize" => containers::resize;
        POST "/containers/{id:.*}/wait" => containers::wait;
        POST "/containers/{id:.*}/attach" => containers::attach;
        GET "/containers/{id:.*}/attach/ws" => containers::attach_ws;
        POST "/containers/{id:.*}/exec" => exec::create;
        GET "/containers/{id:.*}/changes" => containers::changes;
        GET "/containers/{id:.*}/export" => containers::export;
        HEAD "/containers/{id:.*}/archive" => containers::path_stat;
        GET "/containers/{id:.*}/archive" => containers::path_archive;
        PUT "/containers/{id:.*}/archive" => containers::path_extract;
        POST "/commit" => images::commit;

        GET "/exec/{id:.*}/json" => exec::inspect;
        POST "/exec/{id:.*}/start" => exec::start;
        POST "/exec/{id:.*}/resize" => exec::resize;

        GET "/images/json" => images::list;
        GET "/images/get" => images::save;
        GET "/images/{name:.*}/get" => images::save;
        GET "/images/{name:.*}/json" => images::inspect;
        GET "/images/{name:.*}/history" => images::history;
        GET "/images/{name:.*}/attestations" => images::attestations;
        GET "/images/search" => images::search;
        POST "/images/{name:.*}/push" => images::push;
        GET "/distribution/{name:.*}/json" => distribution::inspect;
        POST "/auth" => auth::log_in;
        POST "/images/load" => images::load;
        POST "/images/create" => images::create;
        POST "/images/prune" => images::prune;
        POST "/images/{name:.*}/tag" => images::tag;

        GET "/networks" => networks::list;
        GET "/networks/" => networks::list;
        GET "/networks/{id:.*}" => networks::inspect;
        DELETE "/networks/{id:.*}" => networks::remove;
        POST "/networks/create" => networks::create;
        POST "/networks/prune" => networks::prune;
        POST "/networks/{id:.*}/connect" => networks::connect;
        POST "/networks/{id:.*}/disconnect" => networks::disconnect;

        GET "/volumes" => volumes::list;
        GET "/volumes/{name:.*}" => volumes::inspect;
        POST "/volumes/create" => volumes::create;
        POST "/volumes/prune" => volumes::prune;
        DELETE "/volumes/{name:.*}" => volumes::remove;

        GET "/plugins" => absent::plugins;
        GET "/plugins/{name:.*}/json" => absent::plugin;
        POST "/plugins/{name:.*}/enable" => absent::plugin;
        POST "/plugins/{name:.*}/disable" => absent::plugin;
        POST "/plugins/{name:.*}/push" => absent::plugin;
        POST "/plugins/{name:.*}/upgrade" => absent::plugin;
        POST "/plugins/{name:.*}/set" => absent::plugin;
        DELETE "/plugins/{name:.*}" => absent::plugin;
    }
}

#[rustfmt::skip]
fn not_yet(routes: &mut Vec<Route>) {
    missing! { routes:
        GET "/containers/{id:.*}/checkpoints": "checkpointing";
        POST "/containers/{id:.*}/checkpoints": "checkpointing";
        DELETE "/containers/{id}/checkpoints/{name}": "checkpointing";


        POST "/build": "building images";
        POST "/build/prune": "pruning the build cache";
        POST "/build/cancel": "building images";
        POST "/session": "building images with BuildKit";
        POST "/grpc": "building images with BuildKit";


        GET "/plugins/privileges": "installing plugins";
        POST "/plugins/pull": "installing plugins";
        POST "/plugins/create": "creating a plugin";
        POST "/swarm/init": "Swarm";
        POST "/swarm/join": "Swarm";
    }
}

/// Swarm, as an engine answers that is in none.
#[rustfmt::skip]
fn swarm(routes: &mut Vec<Route>) {
    table! { routes:
        GET "/swarm" => absent::manager;
        GET "/swarm/unlockkey" => absent::manager;
        POST "/swarm/update" => absent::manager;
        POST "/swarm/unlock" => absent::manager;
        POST "/swarm/leave" => absent::member;
        GET "/nodes" => absent::manager;
        GET "/nodes/{id}" => absent::manager;
        DELETE "/nodes/{id}" => absent::manager;
        POST "/nodes/{id}/update" => absent::manager;
        GET "/services" => absent::manager;
        POST "/services/create" => absent::manager;
        GET "/services/{id}" => absent::manager;
        DELETE "/services/{id}" => absent::manager;
        POST "/services/{id}/update" => absent::manager;
        GET "/services/{id}/logs" => absent::manager;
        GET "/tasks" => absent::manager;
        GET "/tasks/{id}" => absent::manager;
        GET "/tasks/{id}/logs" => absent::manager;
        GET "/secrets" => absent::manager;
        POST "/secrets/create" => absent::manager;
        GET "/secrets/{id}" => absent::manager;
        DELETE "/secrets/{id}" => absent::manager;
        POST "/secrets/{id}/update" => absent::manager;
        GET "/configs" => absent::manager;
        POST "/configs/create" => absent::manager;
        GET "/configs/{id}" => absent::manager;
        DELETE "/configs/{id}" => absent::manager;
        POST "/configs/{id}/update" => absent::manager;
        PUT "/volumes/{name:.*}" => absent::manager;
    }
}

/// Patterns that would also take longer paths of other rows: they come last.
#[rustfmt::skip]
fn shorter(routes: &mut Vec<Route>) {
    table! { routes:
        DELETE "/containers/{id:.*}" => containers::remove;
        DELETE "/images/{name:.*}" => images::remove;
        OPTIONS "{rest:.*}" => system::options;
    }
}

#[cfg(test)]
mod tests;
