//! What is told of failures and of progress.

use crate::object::object;

object! {
    /// The body of an answer that tells of a failure.
    pub struct ErrorBody {
        /// What went wrong.
        message: String = "message";
    }

    /// One line of a progress stream: pull, load, build …
    pub struct JsonMessage {
        /// Text to print as it is.
        stream: String = "stream" omit;
        /// What is going on.
        status: String = "status" omit;
        /// How far it is.
        progress_detail: Option<ProgressDetail> = "progressDetail" omit;
        /// What it is about: a layer's short digest, or the tag.
        id: String = "id" omit;
        /// What went wrong.
        error_detail: Option<ErrorDetail> = "errorDetail" omit;
        /// The same, for clients of before `errorDetail`.
        error: String = "error" omit;
        /// What programs want to know: the ID of what was built …
        aux: Option<serde_json::Value> = "aux" omit;
    }

    /// How far something is.
    pub struct ProgressDetail {
        /// What is done.
        current: i64 = "current" omit;
        /// All there is to do.
        total: i64 = "total" omit;
        /// What is counted; empty for bytes.
        units: String = "units" omit;
    }

    /// What went wrong.
    pub struct ErrorDetail {
        /// An exit code.
        code: i64 = "code" omit;
        /// In words.
        message: String = "message" omit;
    }
}
