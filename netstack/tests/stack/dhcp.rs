//! An address from a tiny scripted server.

use std::net::{Ipv4Addr, SocketAddrV4};

use netstack::stack::StackConfig;
use netstack::transport::{CloseReason, ConnectError, SocketState, Transport};
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr};

use crate::frames::{self, OUR_MAC};
use crate::link::Script;
use crate::peer::{PEER, PORT};
use crate::world::{SECOND_NS, US, stack_config};

const LEASE_S: u32 = 600;

/// What a client asked for.
#[derive(Clone, Debug)]
struct Asked {
    kind: DhcpMessageType,
    transaction: u32,
    address: Option<Ipv4Addr>,
    client: Ipv4Addr,
    to: Ipv4Addr,
}

fn asked(frames: &[Vec<u8>]) -> Vec<Asked> {
    frames
        .iter()
        .filter_map(|frame| frames::read_udp(frame))
        .filter(|(from, to, _)| (from.1, to.1) == (68, 67))
        .map(|(_, to, message)| {
            let packet = DhcpPacket::new_checked(&message[..]).expect("a DHCP message");
            let repr = DhcpRepr::parse(&packet).expect("a sound one");
            assert_eq!(repr.client_hardware_address.0, OUR_MAC);
            Asked {
                kind: repr.message_type,
                transaction: repr.transaction_id,
                address: repr.requested_ip,
                client: repr.client_ip,
                to: to.0,
            }
        })
        .collect()
}

fn say(asked: &Asked, kind: DhcpMessageType, address: Ipv4Addr) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: asked.transaction,
        secs: 0,
        client_hardware_address: smoltcp::wire::EthernetAddress(OUR_MAC),
        client_ip: none,
        your_ip: address,
        server_ip: PEER,
        router: None,
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: none,
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(PEER),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(LEASE_S),
        renew_duration: None,
        rebind_duration: None,
        // Two routers and a name server.
        additional_options: &[DhcpOption { kind: 3, data: &[10, 0, 0, 1, 10, 0, 0, 254] }, DhcpOption { kind: 6, data: &[10, 0, 0, 1] }],
    };
    let mut message = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).expect("room");
    frames::udp((PEER, 67), (Ipv4Addr::BROADCAST, 68), &message)
}

fn script() -> Script {
    Script::new(&StackConfig { address: None, gateway: None, ..stack_config() })
}

/// Takes the stack through offer and acknowledgement.
fn bind(script: &mut Script) {
    let discover = asked(&script.pass());
    assert_eq!((discover[0].kind, discover[0].to), (DhcpMessageType::Discover, Ipv4Addr::BROADCAST));
    let request = asked(&script.tell(&say(&discover[0], DhcpMessageType::Offer, US)));
    assert_eq!((request[0].kind, request[0].address), (DhcpMessageType::Request, Some(US)));
    script.tell(&say(&request[0], DhcpMessageType::Ack, US));
    assert_eq!(script.stack.address(), Some(US));
}

#[test]
fn a_lease_gives_address_gateway_and_name_server() {
    let mut script = script();
    assert_eq!(script.stack.connect(SocketAddrV4::new(PEER, PORT), 0), Err(ConnectError::NoAddress));
    bind(&mut script);
    // The name server is asked through the gateway's entry, which is being looked for.
    script.stack.resolve("venue.example", 0);
    let arp = frames::arp(smoltcp::wire::ArpOperation::Reply, (frames::PEER_MAC, PEER), (OUR_MAC, US), OUR_MAC);
    let out = script.tell(&arp);
    assert!(out.iter().filter_map(|frame| frames::read_udp(frame)).any(|(_, to, _)| to == (PEER, 53)));
    script.open();
}

#[test]
fn nobody_answering_is_asked_again_and_again_but_ever_more_slowly() {
    let mut script = script();
    let mut times = Vec::new();
    while script.now_ns < 120 * SECOND_NS {
        if !asked(&script.pass()).is_empty() {
            times.push(script.now_ns / SECOND_NS);
        }
        script.now_ns += SECOND_NS / 10;
    }
    assert!((8..16).contains(&times.len()), "{times:?}");
}

#[test]
fn a_refusal_starts_over_and_strangers_are_not_believed() {
    let mut script = script();
    let discover = asked(&script.pass());
    let mut stranger = discover[0].clone();
    stranger.transaction ^= 1;
    assert!(script.tell(&say(&stranger, DhcpMessageType::Offer, US)).is_empty());
    assert!(script.tell(&say(&discover[0], DhcpMessageType::Ack, US)).is_empty(), "not asked for yet");
    assert!(script.tell(&say(&discover[0], DhcpMessageType::Offer, Ipv4Addr::BROADCAST)).is_empty());
    assert_eq!(script.stack.statistics().unexpected_datagrams, 3);
    let request = asked(&script.tell(&say(&discover[0], DhcpMessageType::Offer, US)));
    let again = asked(&script.tell(&say(&request[0], DhcpMessageType::Nak, US)));
    assert_eq!(again[0].kind, DhcpMessageType::Discover);
    assert_ne!(again[0].transaction, discover[0].transaction);
    assert_eq!(script.stack.address(), None);
}

#[test]
fn a_lease_is_renewed_in_time_and_connections_live_on() {
    let mut script = script();
    bind(&mut script);
    script.tell(&frames::arp(smoltcp::wire::ArpOperation::Reply, (frames::PEER_MAC, PEER), (OUR_MAC, US), OUR_MAC));
    let (socket, _) = script.open();
    for _ in 0..5 {
        script.now_ns += u64::from(LEASE_S / 2) * SECOND_NS;
        let renewal = asked(&script.pass());
        assert_eq!((renewal[0].kind, renewal[0].client, renewal[0].to), (DhcpMessageType::Request, US, PEER), "to the server itself");
        script.tell(&say(&renewal[0], DhcpMessageType::Ack, US));
    }
    assert_eq!(script.stack.state(socket), SocketState::Open);
}

#[test]
fn a_lease_that_ends_takes_address_and_connections_with_it() {
    let mut script = script();
    bind(&mut script);
    script.tell(&frames::arp(smoltcp::wire::ArpOperation::Reply, (frames::PEER_MAC, PEER), (OUR_MAC, US), OUR_MAC));
    let (socket, _) = script.open();
    let mut to_all = 0;
    while script.now_ns < u64::from(LEASE_S + 1) * SECOND_NS {
        script.now_ns += SECOND_NS;
        to_all += asked(&script.pass()).iter().filter(|asked| asked.kind == DhcpMessageType::Request && asked.to.is_broadcast()).count();
    }
    assert!(to_all > 0, "other servers are asked before the end");
    assert_eq!(script.stack.address(), None);
    assert_eq!(script.stack.state(socket), SocketState::Closed(CloseReason::Unreachable));
    script.stack.release(socket);
    bind_again(&mut script);
}

fn bind_again(script: &mut Script) {
    script.now_ns += 20 * SECOND_NS;
    let discover = asked(&script.pass());
    let request = asked(&script.tell(&say(discover.last().expect("a search"), DhcpMessageType::Offer, US)));
    script.tell(&say(&request[0], DhcpMessageType::Ack, US));
    assert_eq!(script.stack.address(), Some(US));
}
