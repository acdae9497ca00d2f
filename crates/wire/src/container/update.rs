//! The answer to an update.

use crate::object::object;

object! {
    /// What an update was warned of.
    pub struct UpdateResponse {
        /// What is not as it was asked for.
        warnings: Vec<String> = "Warnings";
    }
}
