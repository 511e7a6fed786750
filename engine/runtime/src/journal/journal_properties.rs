//! Property tests: whatever was appended comes back, and no damage makes a reader give out an event that was
//! not written.

use super::{JournalError, Reader, SEGMENT_EXTENSION, Writer, WriterOptions, segments};
use engine_core::event::Event;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for each case, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("peregrine-journal-properties-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An event that differs from all others and holds awkward bytes, block magics among them.
fn event(n: u64) -> Event {
    let magic = u64::from(super::BLOCK_MAGIC);
    Event {
        kind: n as u8,
        flags: (n >> 3) as u8,
        a: n,
        b: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        c: magic,
        d: magic << 32,
        ..Event::default()
    }
}

/// Writes `batches` in one session each; returns how many events are in the journal.
fn write_sessions(dir: &Path, batches: &[Vec<usize>], segment_bytes_max: u64) -> u64 {
    let mut next = 1u64;
    for session in batches {
        let (mut writer, torn) = Writer::open(dir, 7, 9, WriterOptions { segment_bytes_max }).unwrap();
        assert!(torn.is_none());
        assert_eq!(writer.next_sequence(), next);
        for &len in session {
            let events: Vec<Event> = (next..next + len as u64).map(event).collect();
            writer.append(&events).unwrap();
            next += len as u64;
        }
        writer.sync().unwrap();
    }
    next - 1
}

/// Reads as far as it goes; panics if an event is not the one written at its sequence.
fn read(dir: &Path) -> (u64, Result<u64, JournalError>) {
    let mut last = 0;
    let result = Reader::open(dir).unwrap().for_each(|sequence, got| {
        assert_eq!(sequence, last + 1);
        assert_eq!(*got, event(sequence));
        last = sequence;
        true
    });
    (last, result.map(|summary| summary.torn.map_or(0, |t| t.bytes)))
}

fn sessions() -> impl Strategy<Value = Vec<Vec<usize>>> {
    proptest::collection::vec(proptest::collection::vec(1usize..60, 1..8), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_appended_comes_back_whatever_the_batches_and_segments(batches in sessions(), segment in 256u64..20_000) {
        let scratch = Scratch::new();
        let written = write_sessions(&scratch.0, &batches, segment);
        let (last, result) = read(&scratch.0);
        prop_assert_eq!(last, written);
        prop_assert_eq!(result.unwrap(), 0);
    }

    #[test]
    fn a_cut_anywhere_in_the_last_segment_loses_only_its_end_and_writing_goes_on(
        batches in sessions(), segment in 256u64..20_000, cut in any::<prop::sample::Index>(),
    ) {
        let scratch = Scratch::new();
        let written = write_sessions(&scratch.0, &batches, segment);
        let (_, file) = segments(&scratch.0).unwrap().pop().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..cut.index(bytes.len())]).unwrap();
        let (last, result) = read(&scratch.0);
        prop_assert!(last <= written && result.is_ok());
        // The writer cuts the tail off and goes on behind it; then the journal is whole again.
        let (mut writer, _) = Writer::open(&scratch.0, 8, 9, WriterOptions { segment_bytes_max: segment }).unwrap();
        prop_assert_eq!(writer.next_sequence(), last + 1);
        writer.append(&[event(last + 1), event(last + 2)]).unwrap();
        let (end, result) = read(&scratch.0);
        prop_assert_eq!((end, result.unwrap()), (last + 2, 0));
    }

    #[test]
    fn a_changed_byte_never_gives_an_event_that_was_not_written(
        batches in sessions(), segment in 256u64..20_000, file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        change in 1u8..=255,
    ) {
        let scratch = Scratch::new();
        let written = write_sessions(&scratch.0, &batches, segment);
        let files = segments(&scratch.0).unwrap();
        let (_, path) = &files[file.index(files.len())];
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        std::fs::write(path, bytes).unwrap();
        // `read` compares every event; what is missing must be told.
        let (last, result) = read(&scratch.0);
        prop_assert!(last < written || result.is_ok());
        prop_assert!(last == written || !matches!(result, Ok(0)), "{last} of {written} events, and nobody said why");
    }

    #[test]
    fn garbage_is_no_journal(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let scratch = Scratch::new();
        std::fs::create_dir_all(&scratch.0).unwrap();
        std::fs::write(scratch.0.join(format!("{:020}.{SEGMENT_EXTENSION}", 1)), bytes).unwrap();
        let mut events = 0;
        let _ = Reader::open(&scratch.0).unwrap().for_each(|_, _| { events += 1; true });
        prop_assert_eq!(events, 0);
    }
}
