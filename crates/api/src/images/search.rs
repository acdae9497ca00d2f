//! `GET /images/search`

use http::StatusCode;

use super::credentials;
use crate::context::Ctx;
use crate::query::quote;
use crate::reply::{self, Response};
use crate::{Error, Result};

/// How many results there are when the client does not say.
const DEFAULT: i64 = 25;
/// The most that a client may ask for.
const MOST: i64 = 100;
/// The filters there are.
const KNOWN: &[&str] = &["is-automated", "is-official", "stars"];

pub(crate) async fn search(ctx: Ctx) -> Result<Response> {
    let limit = match ctx.query.given("limit") {
        None => DEFAULT,
        Some(text) => match text.parse::<i64>() {
            Ok(0) => DEFAULT,
            Ok(limit) if (1..=MOST).contains(&limit) => limit,
            Ok(limit) => {
                let message = format!("limit {limit} is outside the range of [1, {MOST}]");
                return Err(Error::invalid(message));
            }
            Err(_) => {
                let message = format!("strconv.Atoi: parsing {}: invalid syntax", quote(text));
                return Err(Error::invalid(message));
            }
        },
    };
    let wanted = Wanted::read(&ctx)?;
    let credentials = credentials::from_headers(&ctx.headers);
    let registry = ctx.engine.images().registry();
    let found = registry.search(ctx.query.get("term"), limit, credentials);
    let mut found = found.await.map_err(Error::from)?;
    found.retain(|result| wanted.fits(result));
    reply::json(StatusCode::OK, &found)
}

/// What the filters let through.
#[derive(Debug, Default)]
struct Wanted {
    automated: Option<bool>,
    official: Option<bool>,
    stars: i64,
}

impl Wanted {
    fn read(ctx: &Ctx) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        for (key, values) in ctx.filters()?.lists() {
            if !KNOWN.contains(&key.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{key}'")));
            }
            let invalid = || Error::invalid(format!("invalid filter '{key}={values:?}'"));
            for value in &values {
                if key == "stars" {
                    let stars: i64 = value.parse().map_err(|_| invalid())?;
                    wanted.stars = wanted.stars.max(stars);
                    continue;
                }
                let flag = match value.as_str() {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    _ => return Err(invalid()),
                };
                match key.as_str() {
                    "is-automated" => wanted.automated = Some(flag),
                    _ => wanted.official = Some(flag),
                }
            }
        }
        Ok(wanted)
    }

    fn fits(&self, found: &berth_registry::Found) -> bool {
        self.automated.is_none_or(|flag| flag == found.is_automated)
            && self.official.is_none_or(|flag| flag == found.is_official)
            && found.star_count >= self.stars
    }
}
