pub mod book;
pub mod decimal;
pub mod exchange;
pub mod ledger;
pub mod random;
