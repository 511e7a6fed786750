//! Bytes: from Ethernet frames to WebSocket messages and back, sans-I/O.
//!
//! Nothing here owns a socket, reads a clock or draws randomness: frames come in through a
//! [`drivers::port::Port`] that the caller passes, time is a `now_ns` argument, seeds are given at
//! start. Layers, bottom to top:
//!
//! | module | what it is |
//! |---|---|
//! | `stack` | IP over a port: ARP, gateway, static neighbour, DHCP; sockets behind [`transport`] |
//! | `transport` | the interface of TCP towards those above |
//! | `tcp` | TCP: one connection, sans-I/O, without a stack |
//! | `dns` | name resolution over the stack |
//! | `tls` | TLS 1.3 and 1.2: rustls shakes hands, records are opened and sealed here, in place |
//! | `purpose` | sent or rehearsed |
//! | `websocket` | RFC 6455 client: messages out as borrowed slices |
//! | `http` | HTTP/1.1 client messages (upgrade and keep-alive requests) |
//! | `session` | the life of one connection: resolve, connect, TLS, upgrade, heartbeat, back-off, renewal |
//! | `wide` | loops over many bytes, for processors with wide registers |

pub mod dns;
pub mod http;
pub mod session;
pub mod stack;
pub mod tcp;
pub mod tls;
pub mod transport;
pub mod websocket;
mod wide;
