//! The record layer against rustls, on the very same bytes: a rustls client shakes hands with a server, our record layer
//! gets the secrets of that client, and from then on both read one stream of a server that may be up to anything, cut
//! anywhere. They must give out the same plaintext, close and fail at the same record, answer with the same bytes while
//! both are open, and end with the same alert.
//!
//! Where ours may refuse what rustls takes, and why, is the list in [`Script::may_be_refused`]; where their alerts differ, and why, in
//! [`Script::last_words_may_differ`]. The other way round, rustls
//! takes few warnings in all of a connection's life, and looks at tickets beyond those that we keep: no script goes so far.

mod tls_support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use netstack::tls::{Event, KeySchedule, MAX_TICKETS, RecordBuffer, RecordLayer, Suite, TlsError, TrafficKeys, Version, Versions};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use rustls::client::{ClientConnectionData, Resumption, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tls_support::*;

/// Warnings that rustls takes.
const WARNINGS_MAX: u32 = 4;
/// Descriptions of alerts (RFC 8446 section 6).
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const DECODE_ERROR: u8 = 50;
/// Enough data to make up any record whose length field was changed.
const TAIL: [usize; 2] = [16_384, 16_384];

/// A handshake message.
#[derive(Clone, Debug)]
enum Message {
    Ticket(TicketShape),
    /// A key update with this request in it.
    KeyUpdate(u8),
    Other(u8, Vec<u8>),
}

/// A session ticket (RFC 8446 section 4.6.1), well made or not.
#[derive(Clone, Copy, Debug)]
enum TicketShape {
    Of(usize),
    WithEarlyData,
    Empty,
    CutShort,
    TooLong,
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Message::Ticket(shape) => (4, shape.body()),
            Message::KeyUpdate(request) => (24, vec![*request]),
            Message::Other(kind, body) => (*kind, body.clone()),
        };
        let [_, header @ ..] = (body.len() as u32).to_be_bytes();
        [&[kind][..], &header, &body].concat()
    }
}

impl TicketShape {
    fn body(self) -> Vec<u8> {
        let (length, extensions) = match self {
            TicketShape::Of(length) => (length, &[0, 0][..]),
            TicketShape::WithEarlyData => (40, &[0, 8, 0, 42, 0, 4, 0, 0, 64, 0][..]),
            TicketShape::Empty => (0, &[0, 0][..]),
            TicketShape::CutShort => (40, &[][..]),
            TicketShape::TooLong => (40, &[0, 0, 7][..]),
        };
        let lifetime_age_nonce = [0, 0, 14, 16, 1, 2, 3, 4, 2, 5, 6];
        [&lifetime_age_nonce[..], &(length as u16).to_be_bytes(), &vec![0xab; length], extensions].concat()
    }
}

/// What the server does next.
#[derive(Clone, Debug)]
enum Saying {
    Data {
        length: usize,
        padding: usize,
    },
    /// Messages in one row, cut into records at these places.
    Handshake {
        messages: Vec<Message>,
        cuts: Vec<Index>,
        padding: usize,
    },
    Alert(u8, u8),
    Protected {
        content_type: u8,
        content: Vec<u8>,
        padding: usize,
    },
    Unprotected {
        content_type: u8,
        content: Vec<u8>,
    },
    /// New keys that no key update spoke of.
    KeysChange,
    /// It falls silent, and the client sends so many bytes.
    Listens(usize),
}

/// What the network does to one record.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Header(usize, u8),
    Body(Index, u8),
    Lost,
    Doubled,
    CutShort(Index),
    Late,
}

#[derive(Clone, Debug)]
struct Script {
    combination: usize,
    sayings: Vec<Saying>,
    harm: Option<(Index, Harm)>,
    /// Lengths of the pieces in which the stream arrives, over and over.
    pieces: Vec<usize>,
    /// It is cut at the end of every record, too.
    at_records: bool,
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let shape = prop_oneof![
        24 => (1usize..300).prop_map(TicketShape::Of),
        6 => Just(TicketShape::WithEarlyData),
        1 => Just(TicketShape::Empty),
        1 => Just(TicketShape::CutShort),
        1 => Just(TicketShape::TooLong),
    ];
    let odd = prop_oneof![
        (2u8..4).prop_map(Message::KeyUpdate),
        Just(Message::Other(24, vec![])),
        Just(Message::Other(24, vec![0, 0])),
        Just(Message::Other(0, vec![])),
        Just(Message::Other(0, vec![7])),
        (0u8..30, proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(kind, body)| Message::Other(kind, body)),
    ];
    let last = prop_oneof![16 => (0u8..2).prop_map(Message::KeyUpdate), 1 => odd, 10 => shape.clone().prop_map(Message::Ticket)];
    // Keys must change at the end of a record (RFC 8446 section 5.1): nothing may follow a key update.
    let early = proptest::option::weighted(0.03, (0u8..2).prop_map(Message::KeyUpdate));
    (early, proptest::collection::vec(shape.prop_map(Message::Ticket), 0..3), last)
        .prop_map(|(early, tickets, last)| early.into_iter().chain(tickets).chain([last]).collect())
}

/// `handshakes` is how often it sends handshake messages, which in TLS 1.2 are all errors but one.
fn saying(handshakes: u32) -> impl Strategy<Value = Saying> {
    let length = prop_oneof![8 => 0usize..600, 2 => 600usize..5000, 2 => 16_370usize..16_385];
    let padding = prop_oneof![6 => Just(0usize), 3 => 0usize..300];
    let content = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        // A message's start, a close_notify with more behind it.
        Just(vec![4, 0, 0, 50, 1, 2]),
        Just(vec![24, 0]),
        Just(vec![1, 0, 1, 0]),
    ];
    let alert =
        prop_oneof![8 => Just((1, 0)), 5 => Just((1, 90)), 1 => Just((1, 112)), 1 => (0u8..4, prop_oneof![Just(0), Just(90), any::<u8>()])];
    let content_type = prop_oneof![2 => Just(DATA), 2 => Just(ALERT), 2 => Just(HANDSHAKE), 1 => 0u8..30];
    prop_oneof![
        60 => (length, padding.clone()).prop_map(|(length, padding)| Saying::Data { length, padding }),
        handshakes => (messages(), proptest::collection::vec(any::<Index>(), 0..3), padding)
            .prop_map(|(messages, cuts, padding)| Saying::Handshake { messages, cuts, padding }),
        30 => (1usize..2000).prop_map(Saying::Listens),
        6 => alert.prop_map(|(level, description)| Saying::Alert(level, description)),
        // Around the greatest length.
        1 => (16_380usize..16_390, 0usize..8).prop_map(|(length, padding)| Saying::Data { length, padding }),
        1 => (0usize..4, 16_378usize..16_390).prop_map(|(length, padding)| Saying::Data { length, padding }),
        1 => (content_type.clone(), content.clone(), 0usize..20)
            .prop_map(|(content_type, content, padding)| Saying::Protected { content_type, content, padding }),
        1 => (content_type, content).prop_map(|(content_type, content)| Saying::Unprotected { content_type, content }),
        1 => Just(Saying::KeysChange),
    ]
}

fn scripts(combinations: Range<usize>, handshakes: u32) -> impl Strategy<Value = Script> {
    let harm = prop_oneof![
        2 => (0usize..5, 0u8..8).prop_map(|(at, bit)| Harm::Header(at, 1 << bit)),
        2 => (any::<Index>(), 1u8..=255).prop_map(|(at, change)| Harm::Body(at, change)),
        1 => Just(Harm::Lost),
        1 => Just(Harm::Doubled),
        1 => any::<Index>().prop_map(Harm::CutShort),
        1 => Just(Harm::Late),
    ];
    let piece = prop_oneof![2 => 1usize..8, 4 => 1usize..700, 4 => 1usize..40_000];
    (
        combinations,
        proptest::collection::vec(saying(handshakes), 0..14),
        proptest::option::weighted(0.25, (any::<Index>(), harm)),
        proptest::collection::vec(piece, 1..6),
        any::<bool>(),
    )
        .prop_map(|(combination, sayings, harm, pieces, at_records)| Script { combination, sayings, harm, pieces, at_records })
}

impl Script {
    /// Where our record layer refuses what a rustls client takes.
    fn may_be_refused(&self, version: Version, error: &TlsError) -> bool {
        match error {
            // RFC 8446 section 5.1 forbids empty handshake records; rustls counts them as empty records.
            TlsError::UnexpectedMessage("an empty handshake record") => true,
            // Nothing after the handshake is longer than a record.
            TlsError::HandshakeTooLarge { .. } => true,
            // A HelloRequest is empty (RFC 5246 section 7.4.1.1); rustls does not look into it.
            TlsError::UnexpectedMessage("a handshake message after the handshake") if version == Version::Tls12 => {
                self.sayings.iter().any(|saying| {
                    matches!(saying, Saying::Handshake { messages, .. }
                        if messages.iter().any(|message| matches!(message, Message::Other(0, body) if !body.is_empty())))
                })
            }
            _ => self.changes_what_rustls_does_not_see(version),
        }
    }

    /// A record's outer type and version are what they must be, and are authentic as they came (RFC 8446 section 5.2); rustls looks at
    /// neither.
    fn changes_what_rustls_does_not_see(&self, version: Version) -> bool {
        version == Version::Tls13 && matches!(self.harm, Some((_, Harm::Header(0 | 2, _))))
    }

    /// Where the alert that we send after an error is not the one that rustls sends. Each is a list: of one, or of none.
    fn last_words_may_differ(
        &self,
        version: Version,
        (our_error, ours): (&TlsError, &[u8]),
        (their_error, theirs): (&rustls::Error, &[u8]),
    ) -> bool {
        use rustls::{Error, InvalidMessage};
        match (our_error, their_error, theirs) {
            // The peer has had the last word (RFC 8446 section 6.2); rustls answers a warning that it does not know.
            (TlsError::PeerAlert(_), Error::AlertReceived(_), [DECODE_ERROR]) => ours.is_empty(),
            // To floods, to what is out of its order and to a message that is too long rustls says nothing.
            (_, Error::PeerMisbehaved(_) | Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge), []) => ours.len() == 1,
            // A record that is too long has an alert of its own (RFC 8446 sections 5.1 and 5.2). rustls calls it one that cannot be
            // decoded, or opens it first.
            (TlsError::RecordOverflow { .. }, _, [DECODE_ERROR | BAD_RECORD_MAC]) => ours == [RECORD_OVERFLOW],
            // What does not belong here is unexpected, whatever is in it (RFC 8446 section 5.1). rustls opens and decodes it first,
            // and if it cannot, says that.
            (TlsError::UnexpectedMessage(_), _, [DECODE_ERROR | BAD_RECORD_MAC]) => ours == [UNEXPECTED_MESSAGE],
            // What has no room for a tag is not authentic; rustls has a word for what is empty.
            (TlsError::BadRecordMac { .. }, Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload), [DECODE_ERROR]) => {
                ours == [BAD_RECORD_MAC]
            }
            // What rustls takes for authentic, and then finds fault with.
            (TlsError::BadRecordMac { .. } | TlsError::UnexpectedMessage(_), ..) => {
                self.changes_what_rustls_does_not_see(version) && ours.len() == 1
            }
            _ => false,
        }
    }
}

/// The secret of one direction and generation.
#[derive(Clone)]
struct Secret {
    suite: Suite,
    key: Vec<u8>,
    iv: [u8; 12],
    sequence: u64,
}

impl Secret {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Secret {
        let (suite, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Suite::ChaCha20Poly1305, key, iv),
            _ => panic!("another suite"),
        };
        Secret { suite, key: key.as_ref().to_vec(), iv: iv.as_ref().try_into().unwrap(), sequence }
    }

    fn keys(&self) -> TrafficKeys {
        TrafficKeys::new(self.suite, &self.key, self.iv, self.sequence).unwrap()
    }

    fn forge(&self, version: Version) -> Forge {
        Forge::new(version, self.suite, &self.key, self.iv, self.sequence)
    }
}

/// All secrets of a connection, each direction's generations in their order, from the server's rustls.
struct Secrets {
    server: KernelConnection<ServerConnectionData>,
    for_client: Vec<Secret>,
    for_server: Vec<Secret>,
}

impl Secrets {
    fn for_client(&mut self, generation: usize) -> Secret {
        while self.for_client.len() <= generation {
            self.for_client.push(Secret::new(self.server.update_tx_secret().unwrap()));
        }
        self.for_client[generation].clone()
    }

    fn for_server(&mut self, generation: usize) -> Secret {
        while self.for_server.len() <= generation {
            self.for_server.push(Secret::new(self.server.update_rx_secret().unwrap()));
        }
        self.for_server[generation].clone()
    }
}

/// The same secrets for our record layer; tickets are judged by a rustls client of another connection.
struct Schedule {
    secrets: Rc<RefCell<Secrets>>,
    sent: usize,
    received: usize,
    judge: Rc<RefCell<KernelConnection<ClientConnectionData>>>,
}

impl KeySchedule for Schedule {
    fn next_send_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        self.sent += 1;
        Ok(self.secrets.borrow_mut().for_server(self.sent).keys())
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys, TlsError> {
        self.received += 1;
        Ok(self.secrets.borrow_mut().for_client(self.received).keys())
    }

    fn new_session_ticket(&mut self, body: &[u8]) -> Result<(), TlsError> {
        self.judge.borrow_mut().handle_new_session_ticket(body).map_err(|_| TlsError::Malformed("a ticket"))
    }
}

/// Lets an unbuffered connection go on until it waits; returns what it says.
fn pump(input: &mut Vec<u8>, mut step: impl FnMut(&mut Vec<u8>, &mut Vec<u8>) -> (usize, bool)) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let (used, again) = step(input, &mut out);
        input.drain(..used);
        if !again {
            return out;
        }
    }
}

/// Puts what there is to say behind `out`; gives the input used and whether there is more to do.
fn say<Data>(UnbufferedStatus { discard, state, .. }: UnbufferedStatus<'_, '_, Data>, out: &mut Vec<u8>) -> (usize, bool) {
    let again = match state.unwrap() {
        ConnectionState::EncodeTlsData(mut chunk) => {
            let start = out.len();
            out.resize(start + (1 << 14), 0);
            let length = chunk.encode(&mut out[start..]).unwrap();
            out.truncate(start + length);
            true
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            true
        }
        _ => false,
    };
    (discard, again)
}

/// Both ends of every connection.
struct Parties {
    server: Arc<ServerConfig>,
    clients: Vec<(Version, Arc<ClientConfig>)>,
    judge: Rc<RefCell<KernelConnection<ClientConnectionData>>>,
}

impl Parties {
    fn new() -> Parties {
        let authority = Authority::new();
        let mut server = ServerConfig::clone(&authority.server_config(&[]));
        server.enable_secret_extraction = true;
        let server = Arc::new(server);
        let clients: Vec<_> = combinations().map(|(versions, suite)| rustls_client(&authority, versions, suite)).collect();
        let mut client = UnbufferedClientConnection::new(clients[0].1.clone(), ServerName::try_from(SERVER_NAME).unwrap()).unwrap();
        let mut peer = Server::new(&server);
        let mut input = Vec::new();
        for _ in 0..4 {
            peer.receive(&pump(&mut input, |input, out| say(client.process_tls_records(input), out)));
            input.extend(peer.output());
        }
        let judge = Rc::new(RefCell::new(client.dangerous_into_kernel_connection().unwrap().1));
        Parties { server, clients, judge }
    }
}

fn rustls_client(authority: &Authority, versions: Versions, suite: Suite) -> (Version, Arc<ClientConfig>) {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let name = match suite {
        Suite::Aes128Gcm => "AES_128_GCM",
        Suite::Aes256Gcm => "AES_256_GCM",
        Suite::ChaCha20Poly1305 => "CHACHA20",
    };
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains(name));
    let (version, protocol) = match versions {
        Versions::Tls12 => (Version::Tls12, &rustls::version::TLS12),
        _ => (Version::Tls13, &rustls::version::TLS13),
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.ca_der.clone())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[protocol]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    (version, Arc::new(config))
}

/// The server's ear: it opens what one of the two says.
struct Listener {
    version: Version,
    secrets: Rc<RefCell<Secrets>>,
    generation: usize,
    forge: Forge,
}

impl Listener {
    fn new(version: Version, secrets: &Rc<RefCell<Secrets>>) -> Listener {
        let forge = secrets.borrow_mut().for_server(0).forge(version);
        Listener { version, secrets: secrets.clone(), generation: 0, forge }
    }

    /// The descriptions of the fatal alerts in these records.
    fn fatal_alerts(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut alerts = Vec::new();
        while let Some(&[_, _, _, high, low]) = bytes.first_chunk::<5>() {
            let (record, rest) = bytes.split_at(5 + usize::from(u16::from_be_bytes([high, low])));
            bytes = rest;
            match self.forge.open(record) {
                (HANDSHAKE, message) if self.version == Version::Tls13 && message[0] == 24 => {
                    self.generation += 1;
                    self.forge = self.secrets.borrow_mut().for_server(self.generation).forge(self.version);
                }
                (ALERT, alert) if alert[0] == 2 => alerts.push(alert[1]),
                _ => {}
            }
        }
        alerts
    }
}

/// A rustls client and our record layer on one connection's secrets, and what each made of the stream.
struct Pair {
    version: Version,
    theirs: ClientConnection,
    their_plaintext: Vec<u8>,
    their_error: Option<rustls::Error>,
    they_closed: bool,
    ours: RecordLayer<Schedule>,
    buffer: RecordBuffer,
    our_plaintext: Vec<u8>,
    our_error: Option<TlsError>,
    we_closed: bool,
    /// Who hears them, and who hears us.
    listeners: [Listener; 2],
}

impl Pair {
    fn new(parties: &Parties, combination: usize) -> (Pair, Rc<RefCell<Secrets>>) {
        let (version, config) = &parties.clients[combination];
        let mut theirs = ClientConnection::new(config.clone(), ServerName::try_from(SERVER_NAME).unwrap()).unwrap();
        let mut server = UnbufferedServerConnection::new(parties.server.clone()).unwrap();
        let mut input = Vec::new();
        for _ in 0..4 {
            while theirs.wants_write() {
                theirs.write_tls(&mut input).unwrap();
            }
            let output = pump(&mut input, |input, out| say(server.process_tls_records(input), out));
            let mut output = output.as_slice();
            while !output.is_empty() {
                theirs.read_tls(&mut output).unwrap();
                theirs.process_new_packets().unwrap();
            }
        }
        let (secrets, server) = server.dangerous_into_kernel_connection().unwrap();
        let (for_client, for_server) = (Secret::new(secrets.tx), Secret::new(secrets.rx));
        let (send, receive) = (for_server.keys(), for_client.keys());
        let secrets = Rc::new(RefCell::new(Secrets { server, for_client: vec![for_client], for_server: vec![for_server] }));
        let schedule = Schedule { secrets: secrets.clone(), sent: 0, received: 0, judge: parties.judge.clone() };
        let pair = Pair {
            version: *version,
            theirs,
            their_plaintext: Vec::new(),
            their_error: None,
            they_closed: false,
            ours: RecordLayer::new(*version, &send, &receive, schedule).unwrap(),
            buffer: RecordBuffer::new(),
            our_plaintext: Vec::new(),
            our_error: None,
            we_closed: false,
            listeners: [Listener::new(*version, &secrets), Listener::new(*version, &secrets)],
        };
        (pair, secrets)
    }

    /// Both get this piece of the stream.
    fn feed(&mut self, piece: &[u8]) {
        let mut input = piece;
        while !input.is_empty() && self.their_error.is_none() && !self.they_closed {
            self.theirs.read_tls(&mut input).unwrap();
            match self.theirs.process_new_packets() {
                Ok(state) => self.they_closed = state.peer_has_closed(),
                Err(error) => self.their_error = Some(error),
            }
            let mut plaintext = [0; 4096];
            while let Ok(length) = self.theirs.reader().read(&mut plaintext)
                && length > 0
            {
                self.their_plaintext.extend_from_slice(&plaintext[..length]);
            }
        }
        let mut input = piece.to_vec();
        let mut at = 0;
        while at < input.len() && self.our_error.is_none() && !self.we_closed {
            match self.ours.receive(&mut input[at..], &mut self.buffer) {
                Ok(received) => {
                    at += received.consumed;
                    match received.event {
                        Event::Plaintext(plaintext) => self.our_plaintext.extend_from_slice(plaintext),
                        Event::PeerClosed => self.we_closed = true,
                        Event::NeedMore => assert_eq!(at, input.len()),
                        Event::Progress => {}
                        Event::Established => panic!("established long ago"),
                    }
                }
                Err(error) => self.our_error = Some(error),
            }
        }
    }

    /// Both send this: what is due first, then the text.
    fn speak(&mut self, text: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut theirs = Vec::new();
        self.theirs.writer().write_all(text).unwrap();
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut theirs).unwrap();
        }
        let mut ours = vec![0; text.len() + 256];
        let mut length = self.ours.write_pending(&mut ours);
        length += self.ours.seal(text, &mut ours[length..]).unwrap();
        ours.truncate(length);
        for listener in &mut self.listeners {
            assert!(listener.fatal_alerts(&theirs).is_empty());
        }
        (theirs, ours)
    }

    /// The fatal alerts that both say after an error, theirs and ours.
    fn last_words(&mut self) -> [Vec<u8>; 2] {
        let mut theirs = Vec::new();
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut theirs).unwrap();
        }
        let mut ours = vec![0; 256];
        let length = self.ours.write_pending(&mut ours);
        let [them, us] = &mut self.listeners;
        [them.fatal_alerts(&theirs), us.fatal_alerts(&ours[..length])]
    }

    fn is_over(&self) -> bool {
        self.our_error.is_some() || self.their_error.is_some() || self.we_closed || self.they_closed
    }

    fn agree(&self, at_end: bool) -> Result<(), TestCaseError> {
        let context = format!("{:?} {:?}: {:?} / {:?}", self.version, self.ours.suite(), self.our_error, self.their_error);
        prop_assert!(
            self.our_plaintext == self.their_plaintext,
            "{} / {}, {context}",
            self.our_plaintext.len(),
            self.their_plaintext.len()
        );
        prop_assert_eq!(self.we_closed, self.they_closed, "{}", context);
        // By a record's header alone, before the rest of it is there, one may refuse it earlier than the other.
        let same = !at_end || self.our_error.is_some() == self.their_error.is_some();
        prop_assert!(same, "{context}");
        Ok(())
    }
}

/// The server's records, and after how many of them the client speaks.
fn records(script: &Script, version: Version, secrets: &RefCell<Secrets>) -> (Vec<Vec<u8>>, Vec<(usize, usize)>) {
    let mut generation = 0;
    let mut forge = secrets.borrow_mut().for_client(0).forge(version);
    let (mut records, mut speaks) = (Vec::new(), Vec::new());
    let (mut tickets, mut warnings) = (0, 0);
    let mut data = 0u8;
    for saying in &script.sayings {
        match saying {
            Saying::Data { length, padding } => {
                data = data.wrapping_add(1);
                let content: Vec<u8> = (0..*length).map(|at| (at as u8) ^ data).collect();
                records.push(forge.record(DATA, &content, *padding));
            }
            Saying::Handshake { messages, cuts, padding } => {
                tickets += messages.iter().filter(|message| matches!(message, Message::Ticket(_))).count();
                // Further ones are not looked at.
                if tickets > MAX_TICKETS as usize {
                    continue;
                }
                let bytes = messages.iter().flat_map(Message::bytes).collect::<Vec<_>>();
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
                cuts.sort_unstable();
                cuts.dedup();
                records.extend(cuts.windows(2).map(|ends| forge.record(HANDSHAKE, &bytes[ends[0]..ends[1]], *padding)));
                if version == Version::Tls13 && matches!(messages.last(), Some(Message::KeyUpdate(0 | 1))) {
                    generation += 1;
                    forge = secrets.borrow_mut().for_client(generation).forge(version);
                }
            }
            Saying::Alert(level, description) => {
                warnings += u32::from(*level == 1 && *description != 0);
                if warnings <= WARNINGS_MAX {
                    records.push(forge.record(ALERT, &[*level, *description], 0));
                }
            }
            Saying::Protected { content_type, content, padding } => records.push(forge.record(*content_type, content, *padding)),
            Saying::Unprotected { content_type, content } => {
                records.push([&[*content_type, 3, 3, 0, content.len() as u8][..], content].concat());
            }
            Saying::KeysChange if version == Version::Tls12 => {}
            Saying::KeysChange => {
                generation += 1;
                forge = secrets.borrow_mut().for_client(generation).forge(version);
            }
            Saying::Listens(length) => speaks.push((records.len(), *length)),
        }
    }
    records.extend(TAIL.map(|length| forge.record(DATA, &vec![0x55; length], 0)));
    (records, speaks)
}

impl Harm {
    fn of(self, records: &mut [Vec<u8>], index: Index) {
        let at = index.index(records.len() - TAIL.len() + 1);
        let record = &mut records[at];
        match self {
            Harm::Header(byte, change) => record[byte] ^= change,
            Harm::Body(byte, change) => {
                let body = &mut record[5..];
                if !body.is_empty() {
                    body[byte.index(body.len())] ^= change;
                }
            }
            Harm::Lost => record.clear(),
            Harm::Doubled => *record = [&record[..], record].concat(),
            Harm::CutShort(length) => record.truncate(length.index(record.len())),
            Harm::Late => records.swap(at, at + 1),
        }
    }
}

/// Where the records of a stream end, by their own words.
fn boundaries(stream: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while let Some(&[_, _, _, high, low]) = stream[at..].first_chunk::<5>() {
        at += 5 + usize::from(u16::from_be_bytes([high, low]));
        if at > stream.len() {
            break;
        }
        ends.push(at);
    }
    ends
}

/// What happened in all scripts together.
#[derive(Debug, Default)]
struct Seen {
    completed: Cell<u64>,
    failed: Cell<u64>,
    closed: Cell<u64>,
    refused: Cell<u64>,
    answers: Cell<u64>,
    same_words: Cell<u64>,
    other_words: Cell<u64>,
    key_updates: Cell<u64>,
    tickets: Cell<u64>,
    stitched: Cell<u64>,
}

fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get() + more);
}

/// Runs a script; an error says where the two disagree.
fn run(parties: &Parties, script: &Script, seen: &Seen) -> Result<(), TestCaseError> {
    let (mut pair, secrets) = Pair::new(parties, script.combination);
    let (mut records, mut speaks) = records(script, pair.version, &secrets);
    if let Some((index, harm)) = script.harm {
        harm.of(&mut records, index);
    }
    let length_of_stream = records.iter().map(Vec::len).sum::<usize>();
    let ends = boundaries(&records.concat());
    let mut fed = 0;
    let mut pieces = script.pieces.iter().cycle();
    speaks.push((records.len(), 1));
    let mut sent = 0;
    for (until, length) in speaks {
        let stretch = records[sent..until].concat();
        sent = until;
        let mut rest = stretch.as_slice();
        while !rest.is_empty() {
            let next_end = ends.iter().find(|end| script.at_records && **end > fed).map_or(usize::MAX, |end| end - fed);
            let (piece, later) = rest.split_at((*pieces.next().unwrap()).min(next_end).min(rest.len()));
            rest = later;
            pair.feed(piece);
            fed += piece.len();
            if let Some(error) = &pair.our_error
                && (pair.their_error.is_none() || pair.their_plaintext.len() > pair.our_plaintext.len())
                && script.may_be_refused(pair.version, error)
            {
                prop_assert!(pair.their_plaintext.starts_with(&pair.our_plaintext));
                add(&seen.refused, 1);
                return Ok(());
            }
            pair.agree(ends.binary_search(&fed).is_ok() || fed == length_of_stream)?;
        }
        if !pair.is_over() {
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (theirs, ours) = pair.speak(&text);
            prop_assert!(theirs == ours, "the answers differ: {ours:02x?} / {theirs:02x?}");
            add(&seen.answers, 1);
        }
    }
    if let (Some(our_error), Some(their_error)) = (pair.our_error.clone(), pair.their_error.clone()) {
        let [theirs, ours] = pair.last_words();
        let same = theirs == ours;
        let may_differ = script.last_words_may_differ(pair.version, (&our_error, &ours), (&their_error, &theirs));
        prop_assert!(same || may_differ, "the alerts differ, {:?}: {our_error:?}, {ours:?} / {their_error:?}, {theirs:?}", pair.version);
        add(if same { &seen.same_words } else { &seen.other_words }, 1);
    }
    add(&seen.failed, u64::from(pair.our_error.is_some()));
    add(&seen.closed, u64::from(pair.we_closed));
    add(&seen.completed, u64::from(!pair.is_over()));
    let statistics = pair.ours.statistics();
    add(&seen.key_updates, statistics.key_updates_in);
    add(&seen.tickets, u64::from(statistics.tickets));
    add(&seen.stitched, statistics.stitched);
    Ok(())
}

#[test]
fn the_same_bytes_get_the_verdict_of_a_rustls_client() {
    let parties = Parties::new();
    let seen = Seen::default();
    const CASES: u32 = 1500;
    let mut runner = TestRunner::new(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() });
    let scripts = prop_oneof![2 => scripts(0..3, 30), 1 => scripts(3..6, 2)];
    if let Err(error) = runner.run(&scripts, |script| run(&parties, &script, &seen)) {
        panic!("{error}");
    }
    // Scripts that say nothing would agree as well.
    let often = u64::from(CASES / 30);
    let counts = [&seen.completed, &seen.failed, &seen.closed, &seen.answers, &seen.key_updates, &seen.tickets, &seen.stitched];
    for count in counts.into_iter().chain([&seen.same_words]) {
        assert!(count.get() > often, "{seen:?}");
    }
    assert!(seen.other_words.get() < seen.same_words.get(), "{seen:?}");
    assert!(seen.refused.get() < u64::from(CASES / 10), "{seen:?}");
}

#[test]
fn floods_of_what_says_nothing_end_where_a_rustls_client_ends_them() {
    let parties = Parties::new();
    let seen = Seen::default();
    let nothing = || Saying::Data { length: 0, padding: 0 };
    let handshake = |message| Saying::Handshake { messages: vec![message], cuts: vec![], padding: 0 };
    for combination in 0..parties.clients.len() {
        for count in [31, 32, 33, 40] {
            for saying in
                [nothing(), handshake(Message::KeyUpdate(0)), handshake(Message::KeyUpdate(1)), handshake(Message::Other(0, vec![]))]
            {
                let script = Script { combination, sayings: vec![saying; count], harm: None, pieces: vec![1000], at_records: true };
                run(&parties, &script, &seen).unwrap();
            }
        }
    }
    assert!(seen.completed.get() > 0 && seen.failed.get() > 0 && seen.refused.get() == 0, "{seen:?}");
}
