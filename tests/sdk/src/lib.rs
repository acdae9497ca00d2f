//! What the SDKs that programs are built on see of a daemon: bollard for Rust and docker-py for
//! Python. Each does one container's life its own way; the details are for the tests of the CLI.
