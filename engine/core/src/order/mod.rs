//! Orders: their states, the table that holds them, and the memory of their fills.
//!
//! - [`state`]: the table (state, event) -> state. Read it first.
//! - [`entry`]: one order.
//! - [`table`]: a preallocated slot per order, found by id in O(1), threaded on lists (open orders of a
//!   strategy, of an instrument and side by price, awaited answers by deadline, closed orders by age: `lists`).
//! - [`fills`]: which trades were booked already, for every order still in the table.

pub mod entry;
pub mod fills;
mod lists;
pub mod state;
pub mod table;
#[cfg(test)]
mod table_test;

pub use entry::{Closing, Order, Reserved};
pub use fills::FillMemory;
pub use state::{Next, OrderEvent, OrderState};
pub use table::{OrderTable, Slot};
