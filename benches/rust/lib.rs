//! What is measured in Rust stands in the benches beside this file; each checks its answer before it counts the time.
