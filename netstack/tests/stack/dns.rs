//! Names over the stack, against scripted servers.

use std::net::Ipv4Addr;

use netstack::dns::{GIVE_UP_NS, ROUNDS, TIMEOUT_NS};
use netstack::stack::StackConfig;
use netstack::transport::{Resolution, ResolveError, Transport};

use crate::frames::{self, PEER_MAC};
use crate::link::Script;
use crate::peer::PEER;
use crate::world::{SECOND_NS, US, stack_config};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
const VENUE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const NAME: &str = "stream.venue.example";

fn script() -> Script {
    let mut script = Script::new(&StackConfig {
        neighbours: vec![(PEER, PEER_MAC), (FIRST, PEER_MAC)],
        dns_servers: vec![FIRST, SECOND],
        hosts: vec![("sim.local".to_owned(), Ipv4Addr::new(10, 0, 0, 99))],
        ..stack_config()
    });
    script.pass();
    script
}

/// A question as a server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    server: Ipv4Addr,
    port: u16,
    message: Vec<u8>,
}

fn questions(frames: &[Vec<u8>]) -> Vec<Question> {
    frames
        .iter()
        .filter_map(|frame| frames::read_udp(frame))
        .map(|((source, port), (server, to_port), message)| {
            assert_eq!((source, to_port), (US, 53));
            Question { server, port, message }
        })
        .collect()
}

/// The answer to a question: code, and addresses of the asked name.
fn reply(question: &Question, code: u8, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let end = 12 + question.message[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
    let mut message = question.message[..end].to_vec();
    message[2] |= 0x80;
    message[3] = 0x80 | code;
    message[7] = addresses.len() as u8;
    message[11] = 0;
    for address in addresses {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address.octets());
    }
    message
}

fn answer(script: &mut Script, question: &Question, code: u8, addresses: &[Ipv4Addr]) -> Vec<Vec<u8>> {
    script.tell(&frames::udp((question.server, 53), (US, question.port), &reply(question, code, addresses)))
}

/// Asks for the name, and returns the question on the wire.
fn ask(script: &mut Script) -> Question {
    assert_eq!(script.stack.resolve(NAME, script.now_ns), Resolution::Pending);
    let asked = questions(&script.pass());
    assert_eq!(asked.len(), 1);
    asked[0].clone()
}

#[test]
fn literals_and_the_hosts_table_need_no_server() {
    let mut script = script();
    assert_eq!(script.stack.resolve("192.0.2.10", 0), Resolution::Address(VENUE));
    assert_eq!(script.stack.resolve("SIM.local", 0), Resolution::Address(Ipv4Addr::new(10, 0, 0, 99)));
    assert_eq!(script.stack.resolve("not a name", 0), Resolution::Failed(ResolveError::Invalid));
    assert!(questions(&script.pass()).is_empty());
    let mut without = Script::new(&stack_config());
    assert_eq!(without.stack.resolve(NAME, 0), Resolution::Failed(ResolveError::Invalid));
}

#[test]
fn a_name_is_asked_for_once_and_remembered_for_its_time() {
    let mut script = script();
    let question = ask(&mut script);
    assert_eq!(question.server, FIRST);
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Pending);
    assert!(questions(&script.pass()).is_empty(), "no second question");
    let other = Ipv4Addr::new(192, 0, 2, 11);
    answer(&mut script, &question, 0, &[VENUE, other]);
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Address(VENUE));
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Address(other));
    script.now_ns = 61 * SECOND_NS;
    ask(&mut script);
}

#[test]
fn answers_that_nobody_asked_for_are_dropped() {
    let mut script = script();
    let question = ask(&mut script);
    let evil = Ipv4Addr::new(203, 0, 113, 66);
    let good = reply(&question, 0, &[evil]);
    let mut wrong_id = good.clone();
    wrong_id[0] ^= 1;
    let mut wrong_name = good.clone();
    wrong_name[13] ^= 1;
    script.tell(&frames::udp((FIRST, 53), (US, question.port), &wrong_id));
    script.tell(&frames::udp((FIRST, 53), (US, question.port), &wrong_name));
    script.tell(&frames::udp((SECOND, 53), (US, question.port), &good));
    script.tell(&frames::udp((FIRST, 54), (US, question.port), &good));
    script.tell(&frames::udp((FIRST, 53), (US, question.port), &[0; 3]));
    assert_eq!(script.stack.statistics().unexpected_datagrams, 5);
    script.tell(&frames::udp((FIRST, 53), (US, question.port ^ 1), &good));
    assert_eq!(script.stack.statistics().no_port, 1);
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Pending);
    answer(&mut script, &question, 0, &[VENUE]);
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Address(VENUE));
    script.tell(&frames::udp((FIRST, 53), (US, question.port), &good));
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Address(VENUE), "too late");
}

#[test]
fn rfc5452_9_2_a_silent_server_is_followed_by_the_next_with_another_port_and_identifier() {
    let mut script = script();
    let first = ask(&mut script);
    script.now_ns += TIMEOUT_NS;
    let second = questions(&script.pass())[0].clone();
    assert_eq!(second.server, SECOND);
    assert_ne!((first.port, &first.message[..2]), (second.port, &second.message[..2]));
    answer(&mut script, &first, 0, &[Ipv4Addr::new(203, 0, 113, 66)]);
    assert_eq!(script.stack.resolve(NAME, script.now_ns), Resolution::Pending, "the old port is closed");
    answer(&mut script, &second, 0, &[VENUE]);
    assert_eq!(script.stack.resolve(NAME, script.now_ns), Resolution::Address(VENUE));
}

#[test]
fn a_failing_server_is_followed_by_the_next_at_once() {
    let mut script = script();
    let first = ask(&mut script);
    let next = answer(&mut script, &first, 2, &[]);
    assert_eq!(questions(&next)[0].server, SECOND);
}

#[test]
fn an_old_server_is_asked_again_in_the_old_way() {
    let mut script = script();
    let first = ask(&mut script);
    assert_eq!(first.message[11], 1, "with the EDNS option");
    let again = questions(&answer(&mut script, &first, 1, &[]))[0].clone();
    assert_eq!((again.server, again.message[11]), (FIRST, 0));
    answer(&mut script, &again, 0, &[VENUE]);
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Address(VENUE));
}

#[test]
fn a_name_that_does_not_exist_says_so() {
    let mut script = script();
    let question = ask(&mut script);
    answer(&mut script, &question, 3, &[]);
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Failed(ResolveError::NoSuchName));
    assert!(questions(&script.pass()).is_empty(), "and is not asked for again at once");
}

#[test]
fn silence_of_all_servers_is_a_time_out_and_old_addresses_serve_in_need() {
    let mut script = script();
    let question = ask(&mut script);
    answer(&mut script, &question, 0, &[VENUE]);
    script.now_ns = 100 * SECOND_NS;
    ask(&mut script);
    let mut asked = 1;
    for _ in 0..100 {
        script.now_ns += TIMEOUT_NS / 4;
        asked += questions(&script.pass()).len();
    }
    assert_eq!(asked, ROUNDS * 2);
    assert_eq!(script.stack.resolve(NAME, script.now_ns), Resolution::Address(VENUE));

    assert_eq!(script.stack.resolve("never.example", script.now_ns), Resolution::Pending);
    let from_ns = script.now_ns;
    while script.stack.resolve("never.example", script.now_ns) == Resolution::Pending {
        script.now_ns += TIMEOUT_NS / 4;
        script.pass();
        assert!(script.now_ns - from_ns <= GIVE_UP_NS + SECOND_NS);
    }
    assert_eq!(script.stack.resolve("never.example", script.now_ns), Resolution::Failed(ResolveError::TimedOut));
}

#[test]
fn a_server_whose_neighbour_is_not_known_yet_is_asked_as_soon_as_it_is() {
    let mut script = Script::new(&StackConfig { dns_servers: vec![SECOND], ..stack_config() });
    assert_eq!(script.stack.resolve(NAME, 0), Resolution::Pending);
    assert!(questions(&script.pass()).is_empty());
    script.now_ns += 1000;
    let arp = frames::arp(smoltcp::wire::ArpOperation::Reply, (PEER_MAC, PEER), (frames::OUR_MAC, US), frames::OUR_MAC);
    let out = script.tell(&arp);
    assert_eq!(questions(&out).len(), 1);
}

#[test]
fn too_many_questions_at_once_are_refused() {
    let mut script = script();
    let last = (0..100).map(|number| script.stack.resolve(&format!("host{number}.example"), 0)).last();
    assert_eq!(last, Some(Resolution::Failed(ResolveError::Busy)));
    assert_eq!(questions(&script.pass()).len(), netstack::dns::QUESTIONS_MAX);
}
