//! Pre-trade risk: every order, replace and cancel passes here, in the same call, before it becomes an output.
//!
//! - [`refusal`]: the catalogue of reasons.
//! - [`gate`]: the switches, limits and rates, and the checks in their order.
//! - [`exposure`]: what open orders bind and what all of it is worth: sums kept in step with every change, so that
//!   a check reads a handful of numbers and walks nothing.
//! - [`loss`]: daily loss and drawdown.
//! - `step`: multiples of ticks and lots, without a division.
//! - [`window`]: at most so many within so long.
//!
//! The one idea: *limits hold in the worst case.* An order that is open in any state (unknown included) counts as
//! if it filled whole, at the worst price and quantity that may be in force.

pub mod exposure;
pub mod gate;
pub mod loss;
pub mod refusal;
mod step;
pub mod window;

pub use exposure::Exposure;
pub use gate::{Gate, Request, View};
pub use loss::LossWatch;
pub use refusal::Refusal;
pub use window::Window;
