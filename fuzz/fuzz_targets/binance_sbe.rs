//! Binance's SBE streams: messages built field by field, with lengths, counts and exponents as the fuzzer wants them,
//! and cut; control answers, snapshots, time and connections in between.
#![no_main]

use engine_core::event::{Event, Side};
use engine_core::ids::InstrumentId;
use libfuzzer_sys::fuzz_target;
use support::codec::Rig;
use support::input::Input;
use support::tables::{BINANCE, MS, settings, tables};
use venues::binance::{Binance, default_hosts, sbe};
use venues::venue::{Encoding, Link, MessageKind, Role, VenueCounters, VenueInit};

const LEVELS: [(Side, i64, i64); 3] = [(Side::Buy, 6_825_010, 150_000_000), (Side::Buy, 6_825_000, 5_000), (Side::Sell, 6_825_011, 42)];

/// Mostly the next of the sequence.
fn sequence(input: &mut Input<'_>, at: &mut u64) -> i64 {
    match input.u8() {
        0..=239 => *at += 1,
        240..=247 => *at += u64::from(input.u8()),
        248..=253 => *at = at.saturating_sub(u64::from(input.u8())),
        _ => return input.u64() as i64,
    }
    *at as i64
}

/// Mostly near the market.
fn mantissa(input: &mut Input<'_>, near: i64) -> i64 {
    match input.u8() {
        0..=199 => near + i64::from(input.u8()) - 64,
        200..=239 => i64::from(input.u8()),
        _ => input.u64() as i64,
    }
}

fn exponent(input: &mut Input<'_>, usual: i8) -> u8 {
    let byte = input.u8();
    if byte < 230 { usual as u8 } else { byte.wrapping_sub(240) }
}

fn message(input: &mut Input<'_>, at: &mut u64) -> Vec<u8> {
    let template = input.pick(&[sbe::DEPTH_DIFF, sbe::DEPTH_DIFF, sbe::BEST_BID_ASK, sbe::TRADES, sbe::DEPTH_SNAPSHOT, 10_004]);
    let odd = input.u8();
    let exponents = [exponent(input, -2), exponent(input, -8)];
    let time = 1_767_225_600_000_000_i64;
    let mut root = time.to_le_bytes().to_vec();
    match template {
        sbe::DEPTH_DIFF => {
            let first = sequence(input, at);
            let last = if odd & 1 == 0 { first } else { sequence(input, at) };
            root.extend([first.to_le_bytes(), last.to_le_bytes()].concat());
            root.extend(exponents);
        }
        sbe::BEST_BID_ASK => {
            root.extend(sequence(input, at).to_le_bytes());
            root.extend(exponents);
            for near in [6_825_000, 100, 6_825_100, 100] {
                root.extend(mantissa(input, near).to_le_bytes());
            }
        }
        _ => {
            root.extend(if template == sbe::TRADES { time } else { sequence(input, at) }.to_le_bytes());
            root.extend(exponents);
        }
    }
    // A newer schema lengthens blocks.
    let extra = if odd & 6 == 6 { usize::from(input.u8() % 8) } else { 0 };
    root.resize(root.len() + extra, 0);
    let stated = if odd & 0xf8 == 0xf8 { input.u16() } else { root.len() as u16 };
    let mut out = [stated, template, if odd == 0xfe { 2 } else { sbe::SCHEMA_ID }, 0].map(u16::to_le_bytes).concat();
    out.extend(root);
    let groups = match template {
        sbe::BEST_BID_ASK => 0,
        sbe::TRADES => 1,
        _ => 2,
    };
    for group in 0..groups {
        let count = usize::from(input.u8() % 8);
        let stride = if template == sbe::TRADES { 25 } else { 16 } + extra;
        let (stated_stride, stated_count) = if input.u8() == 255 { (input.u16(), input.u32()) } else { (stride as u16, count as u32) };
        out.extend(stated_stride.to_le_bytes());
        if template == sbe::TRADES {
            out.extend(stated_count.to_le_bytes())
        } else {
            out.extend((stated_count as u16).to_le_bytes())
        }
        for _ in 0..count {
            let start = out.len();
            if template == sbe::TRADES {
                out.extend(sequence(input, at).to_le_bytes());
            }
            out.extend(mantissa(input, 6_825_000 + 128 * group).to_le_bytes());
            out.extend(mantissa(input, 64).to_le_bytes());
            if template == sbe::TRADES {
                out.push(input.u8() & 3);
            }
            out.resize(start + stride, 0);
        }
    }
    let symbol = input.pick(&[&b"BTCUSDT"[..], b"BTCUSDT", b"ETHUSDT", b"XRPUSDT", b""]);
    out.push(symbol.len() as u8);
    out.extend(symbol);
    if input.u8() == 255 {
        out.truncate(usize::from(input.u16()) % (out.len() + 1));
    }
    out
}

fn run(data: &[u8]) -> (Vec<Event>, VenueCounters) {
    let (instruments, assets) = tables(&BINANCE);
    let settings = settings(default_hosts(), Encoding::Sbe);
    let venue = Binance::new(VenueInit { settings, instruments: &instruments, assets: &assets, epoch: 7 }).expect("a codec");
    let mut rig = Rig::new(venue, instruments, assets);
    let mut input = Input::new(data);
    let mut link = Link { role: Role::MarketData, generation: 1 };
    let mut at = 1_000_u64;
    rig.open(link);
    let mut steps = 0;
    while !input.is_empty() && steps < 100 {
        steps += 1;
        match input.u8() {
            0..=15 => {
                let id = rig.ids.last().cloned().unwrap_or_default();
                let text = if input.u8() & 7 == 7 { "\"error\":{\"code\":2,\"msg\":\"Invalid request\"}" } else { "\"result\":null" };
                rig.message(link, MessageKind::Text, format!("{{{text},\"id\":{id}}}").as_bytes());
            }
            16..=47 => {
                let behind = u64::from(input.u8() % 4);
                let instrument = InstrumentId(u16::from(input.u8() & 1));
                rig.snapshot(instrument, at.saturating_sub(behind), &LEVELS);
            }
            48..=55 => rig.timer(u64::from(input.u16()) * MS),
            56 => rig.resync(InstrumentId(u16::from(input.u8() & 3))),
            57 => rig.close(link),
            58 => {
                link.generation += 1;
                rig.open(link);
            }
            59..=63 => {
                let bytes = input.short();
                rig.message(link, MessageKind::Binary, bytes);
            }
            _ => {
                let bytes = message(&mut input, &mut at);
                rig.message(link, MessageKind::Binary, &bytes);
            }
        }
    }
    rig.timer(120_000 * MS);
    rig.close(link);
    let (events, counters, ..) = rig.outcome();
    (events, counters)
}

fuzz_target!(|data: &[u8]| {
    let first = run(data);
    // Some of the time: it costs as much again.
    if data.len() % 4 == 0 {
        assert_eq!(first, run(data), "the same bytes give the same events");
    }
});
