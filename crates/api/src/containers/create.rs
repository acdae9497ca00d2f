//! `POST /containers/create`

use berth_engine::CreateOptions;
use berth_wire::{ContainerConfig, CreateRequest};
use http::StatusCode;

use super::compat;
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn create(mut ctx: Ctx) -> Result<Response> {
    let mut request: CreateRequest = ctx.required_json().await?;
    if request.config == ContainerConfig::default() {
        return Err(Error::invalid(
            "config cannot be empty in order to create a container",
        ));
    }
    let engine = &ctx.engine;
    let cgroup_v1 = || !engine.has_unified_cgroups();
    let mut warnings = compat::adapt(&mut request, ctx.version, cgroup_v1)?;
    let platform = if ctx.since(41) {
        ctx.query.given("platform")
    } else {
        None
    };
    let options = CreateOptions {
        name: ctx.query.given("name").map(str::to_owned),
        platform: platform.map(str::to_owned),
    };
    let mut created = engine.create(options, request).await?;
    created.warnings.append(&mut warnings);
    reply::json(StatusCode::CREATED, &created)
}
