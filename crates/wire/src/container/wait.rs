//! The answer to a wait.

use crate::object::object;

object! {
    /// How a container ended.
    pub struct WaitResponse {
        /// Its exit code; -1 when the wait itself failed.
        status_code: i64 = "StatusCode";
        /// Why there is no exit code.
        error: Option<WaitError> = "Error" omit;
    }

    /// Why a wait failed.
    pub struct WaitError {
        /// What went wrong.
        message: String = "Message" omit;
    }
}
