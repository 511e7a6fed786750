//! The hot plane.

pub mod core_side;
