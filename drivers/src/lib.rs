//! Frames: poll-mode ports that hand Ethernet frames in and out of frame memory.
//!
//! One idea: a [`port::Port`] owns a region of frame memory cut into chunks. Receiving lends chunks to
//! the caller (a [`port::Burst`] of handles) until they are recycled; sending allocates a chunk, lets
//! the caller fill it, and commits it; [`port::Port::flush`] makes the NIC look, with at most one
//! system call. No frame is copied by this crate, except where the kernel does it in copy mode and on
//! the way into the AF_PACKET transmit ring.
//!
//! | module | what it is |
//! |---|---|
//! | [`port`] | the interface all ports share |
//! | [`select`] | `link = "auto"`: the best port that works, and why not the better ones |
//! | [`af_xdp`] | AF_XDP: rings, UMEM, XDP program, `bpf_link` |
//! | [`af_packet`] | TPACKET_V2 rings: works on any NIC and kernel |
//! | [`memory`] | two ports joined in process, with seeded faults |
//! | [`tap`] | a pcapng recorder around any port |
//! | [`filter`] | which frames are ours |
//! | [`xdp_program`] | the filter as eBPF |
//! | [`bpf`] | eBPF assembled, loaded and attached without a compiler; memory shared with its programs |
//! | [`socket_filter`] | the filter as classic BPF |
//! | [`frame_memory`] | huge-page chunk memory and its free list |
//! | [`purpose`] | whether a message is sent, or goes the way of one for practice |
//! | [`spsc`] | the lock-free ring between two threads |
//! | [`pcapng`] | the capture format: writer and reader |
//! | [`interface`] | what the kernel says about an interface; offload switches |
//! | [`testbed`] | two network namespaces and a veth pair, for tests and the demonstration |

pub mod af_packet;
pub mod af_xdp;
pub mod bpf;
#[cfg(test)]
mod bpf_interpreter;
pub mod error;
pub mod filter;
pub mod frame_memory;
pub mod interface;
pub mod memory;
pub mod pages;
pub mod pcapng;
pub mod port;
pub(crate) mod prefetch;
pub mod purpose;
mod retry;
pub mod select;
pub mod socket_filter;
pub mod spsc;
pub mod tap;
pub mod testbed;
pub mod xdp_program;
mod xsk_ring;

pub use error::DriverError;
