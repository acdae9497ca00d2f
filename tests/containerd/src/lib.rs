//! containerd-tests
