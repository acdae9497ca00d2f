//! The only place where a kind of failure becomes an HTTP status.

use berth_errdefs::Kind;
use http::StatusCode;

/// The status that dockerd answers such a failure with.
pub(crate) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidArgument => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Cancelled | Kind::DeadlineExceeded | Kind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_dockerds() {
        let table = [
            (Kind::InvalidArgument, 400),
            (Kind::Unauthorized, 401),
            (Kind::Forbidden, 403),
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::NotModified, 304),
            (Kind::Unavailable, 503),
            (Kind::NotImplemented, 501),
            (Kind::Cancelled, 500),
            (Kind::DeadlineExceeded, 500),
            (Kind::Internal, 500),
        ];
        for (kind, code) in table {
            assert_eq!(status(kind).as_u16(), code, "{kind:?}");
        }
    }
}
