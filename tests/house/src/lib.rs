//! house-tests
