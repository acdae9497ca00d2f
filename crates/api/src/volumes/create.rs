//! `POST /volumes/create`

use berth_wire::VolumeCreate;
use http::StatusCode;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Result, absent};

pub(crate) async fn create(mut ctx: Ctx) -> Result<Response> {
    let request: VolumeCreate = ctx.required_json().await?;
    if request.cluster_volume_spec.is_some() && ctx.since(42) {
        // A volume of the swarm's: there is none.
        return absent::manager(ctx).await;
    }
    let volume = ctx.engine.volume_create(request).await?;
    reply::json(StatusCode::CREATED, &volume)
}
