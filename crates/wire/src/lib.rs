//! berth-wire
