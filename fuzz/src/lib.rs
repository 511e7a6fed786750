//! What the fuzz targets share: the bytes that drive them, the far ends of links, and the watch over
//! what a codec gives out.

pub mod codec;
#[path = "../../netstack/tests/tls_support/forge.rs"]
pub mod forge;
pub mod input;
pub mod link;
pub mod rest;
pub mod script;
pub mod tables;
pub mod transport;
