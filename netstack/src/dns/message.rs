//! The wire format (RFC 1035 section 4): one question out, one answer in.

use std::net::Ipv4Addr;

use super::name::Name;

/// Longest message that we send: header, name, types, and the EDNS option.
pub(super) const MESSAGE_MAX: usize = HEADER + 255 + 4 + EDNS_OPTION.len();
/// Addresses of one name that are kept.
pub(super) const ADDRESSES_MAX: usize = 8;

const HEADER: usize = 12;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const MASK_OPCODE: u16 = 0x7800;
const MASK_CODE: u16 = 0x000f;
const CODE_NO_ERROR: u16 = 0;
const CODE_FORMAT_ERROR: u16 = 1;
const CODE_NO_SUCH_NAME: u16 = 3;
const CODE_NOT_IMPLEMENTED: u16 = 4;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const CLASS_IN: u16 = 1;
/// How long a "no such name" without a stated time is believed.
const NEGATIVE_TTL_S: u32 = 15;
/// Records that are looked at in one answer, and aliases that are followed.
const RECORDS_MAX: usize = 64;
const ALIASES_MAX: usize = 16;
/// Bounds of one name (RFC 1035 section 2.3.4), and of the jumps in it.
const NAME_WIRE_MAX: usize = 255;
const POINTERS_MAX: usize = 32;
/// OPT record: root name, type 41, answers of up to 1232 bytes, no extended flags, no data (RFC 6891).
const EDNS_OPTION: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// Addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    list: [Ipv4Addr; ADDRESSES_MAX],
    count: usize,
}

impl Addresses {
    fn push(&mut self, address: Ipv4Addr) {
        if let Some(place) = self.list.get_mut(self.count) {
            *place = address;
            self.count += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[Ipv4Addr] {
        &self.list[..self.count]
    }
}

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not an answer to our question.
    NotOurs,
    /// The addresses, and how long they hold.
    Addresses { addresses: Addresses, ttl_s: u32 },
    /// There is no such name, or it has no IPv4 address.
    NoSuchName { ttl_s: u32 },
    /// The server does not understand the question (or its EDNS option).
    NotUnderstood,
    /// The server failed, refused, or talks nonsense.
    Useless,
}

/// Writes a question for the IPv4 addresses of `name`; returns its length.
pub(super) fn write_question(out: &mut [u8; MESSAGE_MAX], id: u16, name: &Name, edns: bool) -> usize {
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    for word in [id, FLAG_RECURSION_DESIRED, 1, 0, 0, u16::from(edns)] {
        put(&word.to_be_bytes());
    }
    for label in name.labels() {
        put(&[label.len() as u8]);
        put(label);
    }
    put(&[0]);
    put(&TYPE_A.to_be_bytes());
    put(&CLASS_IN.to_be_bytes());
    if edns {
        put(&EDNS_OPTION);
    }
    at
}

/// Reads the answer to question `id` for `name`. Whatever is in it, it ends, and never looks beyond it.
pub(super) fn read_answer(message: &[u8], id: u16, name: &Name) -> Answer {
    let Some(words) = header(message) else { return Answer::NotOurs };
    let [found_id, flags, questions, answers, authorities, _] = words;
    if found_id != id || flags & FLAG_RESPONSE == 0 || flags & MASK_OPCODE != 0 {
        return Answer::NotOurs;
    }
    let code = flags & MASK_CODE;
    // A server that cannot read the question may leave it out.
    if questions == 0 && matches!(code, CODE_FORMAT_ERROR | CODE_NOT_IMPLEMENTED) {
        return Answer::NotUnderstood;
    }
    let mut reader = Reader { message, at: HEADER };
    if questions != 1 || reader.name() != Some(Some(*name)) || reader.u16() != Some(TYPE_A) || reader.u16() != Some(CLASS_IN) {
        return Answer::NotOurs;
    }
    match code {
        CODE_NO_ERROR | CODE_NO_SUCH_NAME => {}
        CODE_FORMAT_ERROR | CODE_NOT_IMPLEMENTED => return Answer::NotUnderstood,
        _ => return Answer::Useless,
    }
    let mut addresses = Addresses { list: [Ipv4Addr::UNSPECIFIED; ADDRESSES_MAX], count: 0 };
    let mut ttl_s = u32::MAX;
    let mut current = *name;
    let records_at = reader.at;
    // Aliases normally come in order; a server may shuffle them, so each alias starts over.
    for _ in 0..ALIASES_MAX {
        reader.at = records_at;
        let mut alias = None;
        for _ in 0..usize::from(answers).min(RECORDS_MAX) {
            let Some(record) = reader.record() else { return Answer::Useless };
            if record.name != Some(current) || record.class != CLASS_IN {
                continue;
            }
            match record.kind {
                TYPE_A => {
                    let Ok(octets) = <[u8; 4]>::try_from(record.data) else { return Answer::Useless };
                    let address = Ipv4Addr::from(octets);
                    if is_host(address) {
                        addresses.push(address);
                        ttl_s = ttl_s.min(record.ttl_s);
                    }
                }
                TYPE_CNAME if alias.is_none() => {
                    let mut target = Reader { message, at: record.data_at };
                    let Some(Some(target)) = target.name() else { return Answer::Useless };
                    alias = Some((target, record.ttl_s));
                }
                _ => {}
            }
        }
        if addresses.count > 0 {
            return Answer::Addresses { addresses, ttl_s };
        }
        match alias {
            Some((target, alias_ttl_s)) => {
                current = target;
                ttl_s = ttl_s.min(alias_ttl_s);
            }
            None if flags & FLAG_TRUNCATED != 0 => return Answer::Useless,
            None => {
                let ttl_s = negative_ttl(&mut reader, usize::from(authorities)).unwrap_or(NEGATIVE_TTL_S);
                return Answer::NoSuchName { ttl_s };
            }
        }
    }
    // Aliases in a circle.
    Answer::Useless
}

/// An address that a connection can be made to.
fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
}

/// How long a negative answer holds: the SOA record says it (RFC 2308 section 5).
fn negative_ttl(reader: &mut Reader<'_>, authorities: usize) -> Option<u32> {
    for _ in 0..authorities.min(RECORDS_MAX) {
        let record = reader.record()?;
        if record.kind == TYPE_SOA {
            let minimum = u32::from_be_bytes(*record.data.last_chunk::<4>()?);
            return Some(record.ttl_s.min(minimum));
        }
    }
    None
}

fn header(message: &[u8]) -> Option<[u16; 6]> {
    let bytes: &[u8; HEADER] = message.first_chunk()?;
    Some(std::array::from_fn(|word| u16::from_be_bytes([bytes[2 * word], bytes[2 * word + 1]])))
}

/// A resource record.
struct Record<'a> {
    /// `None` if it is no host name (it is skipped).
    name: Option<Name>,
    kind: u16,
    class: u16,
    ttl_s: u32,
    data: &'a [u8],
    data_at: usize,
}

/// Reads a message front to back; `None` at its end or where it makes no sense.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Reads a name, compressed or not (RFC 1035 section 4.1.4). `Some(None)`: sound, but no host name.
    /// A pointer must point before the name's own begin and before the last pointer's goal, so it ends.
    fn name(&mut self) -> Option<Option<Name>> {
        let mut name = Some(Name::empty());
        let mut at = self.at;
        let mut lowest = self.at;
        let mut end = None;
        let (mut wire_len, mut pointers) = (1, 0);
        loop {
            let length = *self.message.get(at)?;
            match length >> 6 {
                0 if length == 0 => {
                    self.at = end.unwrap_or(at + 1);
                    return Some(name.filter(|name| !name.as_bytes().is_empty()));
                }
                0 => {
                    let label = self.message.get(at + 1..at + 1 + usize::from(length))?;
                    name = name.and_then(|mut name| name.push_label(label).map(|()| name));
                    wire_len += 1 + label.len();
                    if wire_len > NAME_WIRE_MAX {
                        return None;
                    }
                    at += 1 + usize::from(length);
                }
                3 => {
                    let low = *self.message.get(at + 1)?;
                    let goal = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    pointers += 1;
                    if goal >= lowest || pointers > POINTERS_MAX {
                        return None;
                    }
                    end = end.or(Some(at + 2));
                    lowest = goal;
                    at = goal;
                }
                _ => return None,
            }
        }
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let name = self.name()?;
        let (kind, class, ttl_s) = (self.u16()?, self.u16()?, self.u32()?);
        let len = usize::from(self.u16()?);
        let data_at = self.at;
        // A time to live with the top bit set counts as 0 (RFC 2181 section 8).
        let ttl_s = if ttl_s > i32::MAX as u32 { 0 } else { ttl_s };
        Some(Record { name, kind, class, ttl_s, data: self.take(len)?, data_at })
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
