//! The response parser: every cut of a response gives the same status, headers and body; what is wrong is
//! refused whatever the cut.

use netstack::http::{Event, Expected, HttpError, Limits, ResponseParser};
use proptest::prelude::*;

/// Status, header values of `X-Test`, body, keep-alive.
type Response = (u16, Vec<Vec<u8>>, Vec<u8>, bool);

/// What was made of a stream of responses.
#[derive(Clone, Debug, PartialEq, Default)]
struct Read {
    interim: Vec<u16>,
    responses: Vec<Response>,
}

fn read(parser: &mut ResponseParser, expected: Expected, pieces: &[&[u8]], ended: bool) -> Result<Read, HttpError> {
    let mut read = Read::default();
    let mut body = Vec::new();
    parser.expect(expected);
    for piece in pieces {
        let mut at = 0;
        loop {
            let received = parser.receive(&piece[at..])?;
            at += received.consumed;
            match received.event {
                Event::NeedMore => {
                    assert_eq!(at, piece.len(), "asked for more before all was taken");
                    break;
                }
                Event::Interim(status) => read.interim.push(status),
                Event::Head => {}
                Event::Body(part) => {
                    assert!(!part.is_empty());
                    body.extend_from_slice(part);
                }
                Event::Complete => {
                    assert_eq!(parser.body_len(), body.len() as u64);
                    let tests = parser.headers().filter(|(name, _)| *name == b"X-Test").map(|(_, value)| value.to_vec()).collect();
                    read.responses.push((parser.status(), tests, std::mem::take(&mut body), parser.keep_alive()));
                    parser.expect(expected);
                    if at == piece.len() {
                        break;
                    }
                }
            }
        }
    }
    if ended && parser.status() != 0 {
        parser.end_of_input()?;
        read.responses.push((parser.status(), Vec::new(), body, parser.keep_alive()));
    }
    Ok(read)
}

fn whole(stream: &str) -> Result<Read, HttpError> {
    read(&mut ResponseParser::default(), Expected::Body, &[stream.as_bytes()], false)
}

const STREAM: &str = "HTTP/1.1 100 Continue\r\n\r\n\
    HTTP/1.1 200 OK\r\nX-Test: one\r\nX-Test:\ttwo \r\nContent-Length: 5\r\n\r\nhello\
    HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A ; ext=\"v\"\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n\
    HTTP/1.1 204 No Content\r\n\r\n\
    HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn expected() -> Read {
    Read {
        interim: vec![100],
        responses: vec![
            (200, vec![b"one".to_vec(), b"two".to_vec()], b"hello".to_vec(), true),
            (404, vec![], b"abc0123456789".to_vec(), true),
            (204, vec![], vec![], true),
            (200, vec![], vec![], false),
        ],
    }
}

#[test]
fn every_pair_of_cuts_reads_the_same() {
    let stream = STREAM.as_bytes();
    let mut parser = ResponseParser::default();
    for first in 0..stream.len() {
        for second in first..stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(read(&mut parser, Expected::Body, &pieces, false), Ok(expected()), "{first} {second}");
        }
    }
}

#[test]
fn every_size_of_pieces_reads_the_same() {
    for size in 1..=STREAM.len() {
        let pieces: Vec<&[u8]> = STREAM.as_bytes().chunks(size).collect();
        assert_eq!(read(&mut ResponseParser::default(), Expected::Body, &pieces, false), Ok(expected()), "{size}");
    }
}

#[test]
fn a_body_without_a_length_lasts_until_the_end() {
    let stream = b"HTTP/1.1 200 OK\r\n\r\nuntil the end";
    for cut in 0..stream.len() {
        let read = read(&mut ResponseParser::default(), Expected::Body, &[&stream[..cut], &stream[cut..]], true).unwrap();
        assert_eq!(read.responses, [(200, vec![], b"until the end".to_vec(), false)]);
    }
    for truncated in
        ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let error = read(&mut ResponseParser::default(), Expected::Body, &[truncated.as_bytes()], true);
        assert_eq!(error, Err(HttpError::Truncated), "{truncated}");
    }
}

#[test]
fn responses_to_head_and_upgrade_have_no_body() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    let read_head = read(&mut ResponseParser::default(), Expected::NoBody, &[head], false).unwrap();
    assert_eq!(read_head.responses, [(200, vec![], vec![], true)]);
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    let mut parser = ResponseParser::default();
    parser.expect(Expected::Upgrade);
    let mut input = [&upgrade[..], b"other protocol"].concat();
    let received = parser.receive(&input).unwrap();
    assert_eq!((received.event, received.consumed), (Event::Head, upgrade.len()));
    input.drain(..upgrade.len());
    let received = parser.receive(&input).unwrap();
    assert_eq!((received.event, received.consumed), (Event::Complete, 0));
    assert_eq!(whole("HTTP/1.1 101 Switching\r\n\r\n"), Err(HttpError::UnexpectedUpgrade));
}

#[test]
fn what_is_wrong_is_refused_at_every_cut() {
    let wrong: [(&str, HttpError); 24] = [
        ("ICY 200 OK\r\n\r\n", HttpError::BadStatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", HttpError::BadStatusLine),
        ("HTTP/2 200\r\n\r\n", HttpError::UnsupportedVersion),
        ("HTTP/1.1 20 OK\r\n\r\n", HttpError::BadStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", HttpError::BadStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", HttpError::BadStatusLine),
        ("HTTP/1.1 200\tOK\r\n\r\n", HttpError::BadStatusLine),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HttpError::BadHeader("illegal characters in the name")),
        ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", HttpError::BadHeader("a folded line")),
        ("HTTP/1.1 200 OK\r\nnothing\r\n\r\n", HttpError::BadHeader("no colon")),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", HttpError::BadHeader("control characters in the value")),
        ("HTTP/1.1 200 OK\r\nA: b\nB: c\r\n\r\n", HttpError::BadHeader("control characters in the value")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", HttpError::BadContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", HttpError::BadContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", HttpError::BadContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n", HttpError::BodyTooLarge { limit: 67_108_864 }),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            HttpError::BadTransferEncoding("together with Content-Length"),
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HttpError::BadTransferEncoding("not chunked")),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HttpError::BadTransferEncoding("in HTTP/1.0")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", HttpError::BadChunk("no size")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1234567890abcdef0\r\n", HttpError::BadChunk("a size out of range")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5000000000\r\n", HttpError::BodyTooLarge { limit: 67_108_864 }),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", HttpError::BadChunk("data longer than the chunk's size")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\n", HttpError::BadChunk("a line that does not end in CRLF")),
    ];
    for (stream, error) in wrong {
        let stream = stream.as_bytes();
        for cut in 0..stream.len() {
            let mut parser = ResponseParser::default();
            let result = read(&mut parser, Expected::Body, &[&stream[..cut], &stream[cut..]], false);
            assert_eq!(result, Err(error), "{}", String::from_utf8_lossy(stream));
            assert_eq!(parser.receive(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err(), error, "an error is final");
        }
    }
}

#[test]
fn every_limit_holds() {
    let limits = Limits { head_max: 64, headers_max: 2, body_max: 8 };
    let parse = |stream: &str| read(&mut ResponseParser::new(limits), Expected::Body, &[stream.as_bytes()], false).map(|_| ());
    assert_eq!(parse(&format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(64))), Err(HttpError::HeadTooLarge { limit: 64 }));
    assert_eq!(parse("HTTP/1.1 200 OK\r\nA:\r\nB:\r\nC:\r\n\r\n"), Err(HttpError::TooManyHeaders { limit: 2 }));
    assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n123456789"), Err(HttpError::BodyTooLarge { limit: 8 }));
    assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n12345678"), Ok(()));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(&format!("{chunked}8\r\n12345678\r\n1\r\n")), Err(HttpError::BodyTooLarge { limit: 8 }));
    assert_eq!(parse(&format!("{chunked}1;{}\r\n", "x".repeat(2000))), Err(HttpError::BadChunk("a line that is too long")));
    let trailers = format!("{chunked}0\r\n{}\r\n", "A: 0123456789\r\n".repeat(6));
    assert_eq!(parse(&trailers), Err(HttpError::HeadTooLarge { limit: 64 }));
    assert_eq!(parse(&"HTTP/1.1 100 Go on\r\n\r\n".repeat(9)), Err(HttpError::TooManyInterim { limit: 8 }));
}

#[test]
fn persistence_follows_version_and_connection_header() {
    let keep_alive = |head: &str| whole(&format!("{head}Content-Length: 0\r\n\r\n")).unwrap().responses[0].3;
    assert!(keep_alive("HTTP/1.1 200 OK\r\n"));
    assert!(!keep_alive("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n"));
    assert!(!keep_alive("HTTP/1.0 200 OK\r\n"));
    assert!(keep_alive("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes in whatever pieces: no panic, and the same verdict.
    #[test]
    fn any_bytes_in_any_pieces_get_the_same_verdict(
        cut in 0usize..STREAM.len(),
        garbage in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b':'), Just(b'0')], 0..60),
        size in 1usize..80,
    ) {
        let stream = [&STREAM.as_bytes()[..cut], &garbage].concat();
        let all = read(&mut ResponseParser::default(), Expected::Body, &[&stream], false);
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        let piecewise = read(&mut ResponseParser::default(), Expected::Body, &pieces, false);
        prop_assert_eq!(all, piecewise);
    }
}
