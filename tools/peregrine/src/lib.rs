//! The command `peregrine`, as a library: each subcommand is a module of the same name, with its
//! `Arguments` and a `run`. A library so that the tests of the whole system can use its parts.

pub mod bench;
pub mod decode;
pub mod demo;
pub mod journal;
pub mod launch;
pub mod live;
pub mod names;
pub mod relay;
pub mod replay;
pub mod run;
pub mod signals;
pub mod sim;
pub mod summary;
