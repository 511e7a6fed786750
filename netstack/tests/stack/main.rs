//! The IP stack over the in-process link, against smoltcp as the peer (an implementation of ARP, IP and TCP
//! other than the stack's own layers) and against scripted hosts. One thread, simulated time, seeded chance.

mod allocator;
mod chance;
mod dhcp;
mod dns;
mod ends;
mod frames;
mod hostile;
mod hot_path;
mod kept;
mod link;
mod peer;
mod streams;
mod world;
