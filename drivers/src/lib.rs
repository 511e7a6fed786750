//! Frames: poll-mode ports that hand Ethernet frames in and out of frame memory.
//!
//! One idea: a [`port::Port`] owns a region of frame memory cut into chunks. Receiving lends chunks to
//! the caller (a [`port::Burst`] of handles) until they are recycled; sending allocates a chunk, lets
//! the caller fill it, and commits it; [`port::Port::flush`] makes the NIC look, with at most one
//! system call. No frame is copied by this crate, except where the kernel does it in copy mode.
//!
//! | module | what it is |
//! |---|---|
//! | [`port`] | the interface all ports share |
//! | `frame_memory` | huge-page chunk memory and its free list |
//! | `af_xdp` | AF_XDP: rings, UMEM, XDP program, `bpf_link` |
//! | `af_packet` | TPACKET_V2 rings: works on any NIC and kernel |
//! | `memory` | two ports joined in process, with seeded faults |
//! | `tap` | a pcapng recorder around any port |
//! | `select` | `link = "auto"`: the best port that works, and why not the better ones |

pub mod port;
