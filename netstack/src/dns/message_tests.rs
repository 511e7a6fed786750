//! Answers as bytes, true and false.

use super::*;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Header, question for `a.example`, then `records` (count and bytes).
fn answer(flags: u16, counts: [u16; 3], records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0x1234, flags, 1, counts[0], counts[1], counts[2]] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(b"\x01a\x07example\x00\x00\x01\x00\x01");
    bytes.extend(records);
    bytes
}

/// A pointer to the name of the question.
const QUESTION_NAME: [u8; 2] = [0xc0, 12];

fn record(owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(ttl_s.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn read(bytes: &[u8]) -> Answer {
    read_answer(bytes, 0x1234, &name("a.example"))
}

fn addresses(answer: Answer) -> (Vec<Ipv4Addr>, u32) {
    match answer {
        Answer::Addresses { addresses, ttl_s } => (addresses.as_slice().to_vec(), ttl_s),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_question_is_written_as_the_standard_says() {
    let mut out = [0; MESSAGE_MAX];
    let len = write_question(&mut out, 0x1234, &name("a.example"), true);
    let expected =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x07example\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    assert_eq!(out[..len], expected[..]);
    let longest = name(&[["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()].join("."));
    assert_eq!(write_question(&mut out, 1, &longest, true), MESSAGE_MAX);
}

#[test]
fn addresses_are_read_and_the_shortest_time_counts() {
    let records = [record(&QUESTION_NAME, TYPE_A, 300, &[192, 0, 2, 1]), record(&QUESTION_NAME, TYPE_A, 60, &[192, 0, 2, 2])].concat();
    let (list, ttl_s) = addresses(read(&answer(0x8180, [2, 0, 0], &records)));
    assert_eq!((list, ttl_s), (vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)], 60));
}

#[test]
fn aliases_are_followed_in_any_order() {
    let alias = record(&QUESTION_NAME, TYPE_CNAME, 30, b"\x03cdn\x04test\x00");
    let address = record(b"\x03CDN\x04test\x00", TYPE_A, 300, &[192, 0, 2, 7]);
    for records in [[alias.clone(), address.clone()].concat(), [address, alias].concat()] {
        let (list, ttl_s) = addresses(read(&answer(0x8180, [2, 0, 0], &records)));
        assert_eq!((list, ttl_s), (vec![Ipv4Addr::new(192, 0, 2, 7)], 30));
    }
}

#[test]
fn an_alias_circle_ends() {
    let there = record(&QUESTION_NAME, TYPE_CNAME, 30, b"\x01b\x07example\x00");
    let back = record(b"\x01b\x07example\x00", TYPE_CNAME, 30, &QUESTION_NAME);
    assert_eq!(read(&answer(0x8180, [2, 0, 0], &[there, back].concat())), Answer::Useless);
}

#[test]
fn what_is_not_an_answer_to_us_is_not_taken() {
    let record = record(&QUESTION_NAME, TYPE_A, 300, &[192, 0, 2, 1]);
    let good = answer(0x8180, [1, 0, 0], &record);
    assert!(matches!(read(&good), Answer::Addresses { .. }));
    assert_eq!(read_answer(&good, 0x1235, &name("a.example")), Answer::NotOurs, "identifier");
    assert_eq!(read_answer(&good, 0x1234, &name("b.example")), Answer::NotOurs, "name");
    assert_eq!(read(&answer(0x0180, [1, 0, 0], &record)), Answer::NotOurs, "a question");
    assert_eq!(read(&answer(0xa180, [1, 0, 0], &record)), Answer::NotOurs, "another operation");
    assert_eq!(read(&good[..11]), Answer::NotOurs, "no header");
    assert_eq!(read(&good[..20]), Answer::NotOurs, "half a question");
    let mut two_questions = good;
    two_questions[5] = 2;
    assert_eq!(read(&two_questions), Answer::NotOurs);
}

#[test]
fn records_for_other_names_are_not_taken() {
    let other = record(b"\x04bank\x07example\x00", TYPE_A, 300, &[192, 0, 2, 66]);
    assert!(matches!(read(&answer(0x8180, [1, 0, 0], &other)), Answer::NoSuchName { .. }));
    let nobody = record(&QUESTION_NAME, TYPE_A, 300, &[255, 255, 255, 255]);
    assert!(matches!(read(&answer(0x8180, [1, 0, 0], &nobody)), Answer::NoSuchName { .. }));
}

#[test]
fn failures_are_told_apart() {
    let soa = record(&QUESTION_NAME, TYPE_SOA, 900, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 20]);
    assert_eq!(read(&answer(0x8183, [0, 1, 0], &soa)), Answer::NoSuchName { ttl_s: 20 });
    assert_eq!(read(&answer(0x8183, [0, 0, 0], &[])), Answer::NoSuchName { ttl_s: NEGATIVE_TTL_S });
    assert_eq!(read(&answer(0x8182, [0, 0, 0], &[])), Answer::Useless, "server failure");
    assert_eq!(read(&answer(0x8185, [0, 0, 0], &[])), Answer::Useless, "refused");
    assert_eq!(read(&answer(0x8181, [0, 0, 0], &[])), Answer::NotUnderstood);
    assert_eq!(read(&[0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]), Answer::NotUnderstood, "without the question");
    assert_eq!(read(&answer(0x8380, [0, 0, 0], &[])), Answer::Useless, "cut off before the first address");
}

#[test]
fn names_that_point_at_themselves_or_forward_end() {
    for pointer in [[0xc0, 27], [0xc0, 40], [0xff, 0xff], [0x80, 0]] {
        let record = record(&pointer, TYPE_A, 300, &[192, 0, 2, 1]);
        assert_eq!(read(&answer(0x8180, [1, 0, 0], &record)), Answer::Useless, "{pointer:?}");
    }
    let chain: Vec<u8> = (0..200_u16).flat_map(|step| (0xc000 | (27 + 2 * step.saturating_sub(1))).to_be_bytes()).collect();
    assert_eq!(read(&answer(0x8180, [1, 0, 0], &chain)), Answer::Useless);
}

proptest! {
    #[test]
    fn no_answer_is_read_beyond_its_end_or_for_ever(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
        flags in prop_oneof![Just(0x8180_u16), any::<u16>()],
        counts in any::<[u16; 3]>(),
        whole in any::<bool>(),
    ) {
        if !whole {
            bytes = answer(flags, counts, &bytes);
        }
        read(&bytes);
    }

    #[test]
    fn changed_answers_never_panic(at in 0..120_usize, byte in any::<u8>(), cut in 0..120_usize) {
        let alias = record(&QUESTION_NAME, TYPE_CNAME, 30, b"\x03cdn\xc0\x0e");
        let address = record(b"\x03cdn\xc0\x0e", TYPE_A, 300, &[192, 0, 2, 7]);
        let mut bytes = answer(0x8180, [2, 0, 0], &[alias, address].concat());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        read(&bytes);
    }
}
