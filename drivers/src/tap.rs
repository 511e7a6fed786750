//! A recorder around any port: every frame that comes in or goes out is also written to a pcapng file.
//!
//! The polling thread only copies the frame into a slot of a bounded ring made beforehand; a thread of
//! its own writes the file. If it falls behind, frames are missing from the file and counted, and
//! nothing waits. Received frames are recorded before the caller sees (and decrypts) them; sent frames
//! when they are committed, with the time of the flush that follows.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{DriverError, Result};
use crate::pcapng::{self, Direction};
use crate::port::{Burst, Port, PortInfo, PortStatistics, RxFrame, TxFrame};
use crate::purpose::Purpose;
use crate::spsc::{self, Consumer, Producer};

/// How long the writer sleeps when there is nothing to write.
const IDLE: Duration = Duration::from_millis(1);
/// The writer hands bytes to the kernel in pieces of this size.
const WRITE_SIZE: usize = 256 << 10;

/// How to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// File to be written; an existing one is replaced.
    pub path: PathBuf,
    /// What to add to `now_ns` to get nanoseconds since the Unix epoch.
    pub epoch_offset_ns: i64,
    /// Frames that may wait for the writer.
    pub slots: usize,
    /// Bytes kept of each frame.
    pub snap_len: u32,
}

impl TapConfig {
    /// 8192 frames of 2048 bytes (16 MiB) may wait; times are recorded as given.
    pub fn new(path: impl AsRef<Path>) -> TapConfig {
        TapConfig { path: path.as_ref().to_owned(), epoch_offset_ns: 0, slots: 8192, snap_len: 2048 }
    }
}

/// What a tap did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapStatistics {
    /// Frames given to the writer.
    pub recorded: u64,
    /// Frames missing from the file, because the writer was too slow or could not write.
    pub dropped: u64,
    /// True if the file could not be written; recording has ended.
    pub failed: bool,
}

/// One frame on its way to the writer.
struct Record {
    timestamp_ns: u64,
    direction: Direction,
    original_len: u32,
    captured: usize,
    data: Box<[u8]>,
}

/// What both threads look at.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    failed: AtomicBool,
    /// Frames that did not fit the ring.
    dropped: AtomicU64,
    /// Frames taken from the ring and not written.
    unwritten: AtomicU64,
}

/// A port that records what passes through it. See the module.
pub struct Tap<P: Port> {
    port: P,
    records: Producer<Record>,
    recorded: u64,
    epoch_offset_ns: i64,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl<P: Port> Tap<P> {
    /// Creates the file and starts the writer.
    ///
    /// # Errors
    /// If the file cannot be created or written, or the thread not started.
    pub fn new(port: P, config: &TapConfig) -> Result<Tap<P>> {
        if !(64..=262_144).contains(&config.snap_len) || !(1..=1 << 20).contains(&config.slots) {
            return Err(DriverError::Config(format!("tap of {} slots of {} bytes", config.slots, config.snap_len)));
        }
        let what = || format!("capture file {}", config.path.display());
        let mut file = File::create(&config.path).map_err(|error| DriverError::io(what(), error))?;
        let mut header = Vec::new();
        pcapng::write_section_header(&mut header);
        pcapng::write_interface(&mut header, &port.info().interface, config.snap_len);
        file.write_all(&header).map_err(|error| DriverError::io(what(), error))?;
        let (records, incoming) = spsc::ring_with(config.slots, || Record {
            timestamp_ns: 0,
            direction: Direction::Inbound,
            original_len: 0,
            captured: 0,
            // Written, not just reserved, so that the pages are there before the first frame.
            data: vec![0xff; config.snap_len as usize].into_boxed_slice(),
        });
        let shared = Arc::new(Shared::default());
        let for_writer = shared.clone();
        let writer = thread::Builder::new()
            .name("tap-writer".to_owned())
            .spawn(move || write_records(file, incoming, &for_writer))
            .map_err(|error| DriverError::io("start of the tap's writer", error))?;
        Ok(Tap { port, records, recorded: 0, epoch_offset_ns: config.epoch_offset_ns, shared, writer: Some(writer) })
    }

    /// The port inside.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The port inside, for what is not in [`Port`].
    pub fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// What was recorded so far.
    pub fn tap_statistics(&self) -> TapStatistics {
        TapStatistics {
            recorded: self.recorded,
            dropped: self.shared.dropped.load(Ordering::Relaxed) + self.shared.unwritten.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Copies a frame into the ring, to be shown to the writer by [`Tap::show`].
    #[inline]
    fn record(records: &mut Producer<Record>, shared: &Shared, recorded: &mut u64, direction: Direction, bytes: &[u8]) {
        let taken = records.claim(|record| {
            record.captured = bytes.len().min(record.data.len());
            record.timestamp_ns = 0;
            record.direction = direction;
            record.original_len = bytes.len() as u32;
            if let (Some(to), Some(from)) = (record.data.get_mut(..record.captured), bytes.get(..record.captured)) {
                to.copy_from_slice(from);
            }
        });
        if taken {
            *recorded += 1;
        } else {
            // This thread alone writes the counter: no read-modify-write needed.
            shared.dropped.store(shared.dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Stamps what was recorded since the last time and shows it to the writer.
    #[inline]
    fn show(&mut self, now_ns: u64) {
        let timestamp_ns = now_ns.wrapping_add_signed(self.epoch_offset_ns);
        self.records.for_each_staged(|record| record.timestamp_ns = timestamp_ns);
        self.records.publish();
    }
}

impl<P: Port> Drop for Tap<P> {
    fn drop(&mut self) {
        // Committed but never flushed: shown without a time, for they were not sent.
        self.records.publish();
        self.shared.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            // The writer catches its own errors; there is nothing to learn from a join.
            let _ = writer.join();
        }
    }
}

impl<P: Port> Port for Tap<P> {
    fn info(&self) -> &PortInfo {
        self.port.info()
    }

    fn receive(&mut self, now_ns: u64, burst: &mut Burst) -> usize {
        let added = self.port.receive(now_ns, burst);
        if added > 0 {
            for index in burst.len() - added..burst.len() {
                let Some(frame) = burst.frames().get(index).copied() else { break };
                let bytes = self.port.frame(frame);
                Self::record(&mut self.records, &self.shared, &mut self.recorded, Direction::Inbound, bytes);
            }
            self.show(now_ns);
        }
        added
    }

    fn frame(&mut self, frame: RxFrame) -> &mut [u8] {
        self.port.frame(frame)
    }

    fn recycle(&mut self, burst: &mut Burst) {
        self.port.recycle(burst);
    }

    fn allocate(&mut self) -> Option<TxFrame> {
        self.port.allocate()
    }

    fn buffer(&mut self, frame: &TxFrame) -> &mut [u8] {
        self.port.buffer(frame)
    }

    fn commit(&mut self, frame: TxFrame, len: usize) {
        if let Some(bytes) = self.port.buffer(&frame).get(..len) {
            Self::record(&mut self.records, &self.shared, &mut self.recorded, Direction::Outbound, bytes);
        }
        self.port.commit(frame, len);
    }

    fn abandon(&mut self, frame: TxFrame) {
        self.port.abandon(frame);
    }

    fn keep(&mut self) -> Option<TxFrame> {
        self.port.keep()
    }

    fn is_at_rest(&self, frame: &TxFrame) -> bool {
        self.port.is_at_rest(frame)
    }

    fn commit_kept_for(&mut self, purpose: Purpose, frame: &TxFrame, start: usize, len: usize) -> bool {
        let committed = self.port.commit_kept_for(purpose, frame, start, len);
        if committed
            && purpose == Purpose::Send
            && let Some(bytes) = self.port.buffer(frame).get(start..start + len)
        {
            Self::record(&mut self.records, &self.shared, &mut self.recorded, Direction::Outbound, bytes);
        }
        committed
    }

    fn has_room(&mut self, kept: bool) -> bool {
        self.port.has_room(kept)
    }

    fn release(&mut self, frame: TxFrame) {
        self.port.release(frame);
    }

    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        let outcome = self.port.flush(now_ns);
        if self.records.staged() > 0 {
            self.show(now_ns);
        }
        outcome
    }

    fn statistics(&self) -> PortStatistics {
        self.port.statistics()
    }
}

/// The writer's life: until told to stop *and* the ring is empty.
fn write_records(mut file: File, mut records: Consumer<Record>, shared: &Shared) {
    let mut buffer = Vec::with_capacity(WRITE_SIZE + 4096);
    let (mut written, mut last_ns) = (0, 0);
    loop {
        let stopping = shared.stop.load(Ordering::Acquire);
        let mut batch = 0;
        while buffer.len() < WRITE_SIZE {
            let appended = records.consume(|record| {
                last_ns = record.timestamp_ns;
                let data = record.data.get(..record.captured).unwrap_or_default();
                pcapng::write_packet(&mut buffer, record.timestamp_ns, record.direction, record.original_len, data);
            });
            if appended.is_none() {
                break;
            }
            batch += 1;
        }
        if batch == 0 {
            if stopping {
                break;
            }
            thread::sleep(IDLE);
            continue;
        }
        if shared.failed.load(Ordering::Relaxed) || file.write_all(&buffer).is_err() {
            // A full disk must not stop trading: keep emptying the ring, keep counting.
            shared.failed.store(true, Ordering::Relaxed);
            shared.unwritten.fetch_add(batch, Ordering::Relaxed);
        } else {
            written += batch;
        }
        buffer.clear();
    }
    if !shared.failed.load(Ordering::Relaxed) {
        let dropped = shared.dropped.load(Ordering::Relaxed);
        pcapng::write_statistics(&mut buffer, last_ns, written + dropped, dropped);
        if file.write_all(&buffer).is_err() {
            shared.failed.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryConfig, pair};
    use crate::pcapng::Reader;

    /// A file of its own for each test, removed afterwards.
    struct Capture(PathBuf);

    impl Capture {
        fn new(name: &str) -> Capture {
            Capture(std::env::temp_dir().join(format!("peregrine-tap-{}-{name}.pcapng", std::process::id())))
        }
    }

    impl Drop for Capture {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn send(port: &mut impl Port, bytes: &[u8]) {
        let frame = port.allocate().expect("free chunk");
        port.buffer(&frame)[..bytes.len()].copy_from_slice(bytes);
        port.commit(frame, bytes.len());
    }

    #[test]
    fn both_directions_are_recorded_with_their_times_and_before_the_caller_changes_them() {
        let capture = Capture::new("both");
        let (a, mut b) = pair(&MemoryConfig::default()).expect("pair");
        let config = TapConfig { epoch_offset_ns: 1_700_000_000_000_000_000, ..TapConfig::new(&capture.0) };
        let mut tap = Tap::new(a, &config).expect("tap");
        send(&mut tap, &[1; 60]);
        send(&mut tap, &[2; 61]);
        tap.flush(1_000_001).expect("flush");
        send(&mut b, &[3; 62]);
        b.flush(1_000_001).expect("flush");
        let mut burst = Burst::new();
        assert_eq!(tap.receive(1_000_002, &mut burst), 1);
        let handle = burst.frames()[0];
        tap.frame(handle).fill(0xff);
        tap.recycle(&mut burst);
        let abandoned = tap.allocate().expect("free chunk");
        tap.abandon(abandoned);
        assert_eq!(tap.tap_statistics(), TapStatistics { recorded: 3, dropped: 0, failed: false });
        drop(tap);

        let bytes = std::fs::read(&capture.0).expect("capture file");
        let packets: Vec<_> = Reader::new(&bytes).collect::<std::result::Result<_, _>>().expect("sound file");
        let seen: Vec<_> = packets.iter().map(|p| (p.timestamp_ns - 1_700_000_000_000_000_000, p.direction, p.data.to_vec())).collect();
        assert_eq!(
            seen,
            [
                (1_000_001, Some(Direction::Outbound), vec![1; 60]),
                (1_000_001, Some(Direction::Outbound), vec![2; 61]),
                (1_000_002, Some(Direction::Inbound), vec![3; 62]),
            ]
        );
    }

    #[test]
    fn long_frames_are_cut_in_the_file_only() {
        let capture = Capture::new("cut");
        let (a, mut b) = pair(&MemoryConfig::default()).expect("pair");
        let mut tap = Tap::new(a, &TapConfig { snap_len: 64, ..TapConfig::new(&capture.0) }).expect("tap");
        send(&mut tap, &[9; 1000]);
        tap.flush(5).expect("flush");
        let mut burst = Burst::new();
        assert_eq!(b.receive(5, &mut burst), 1);
        assert_eq!(burst.frames()[0].len, 1000);
        drop(tap);
        let bytes = std::fs::read(&capture.0).expect("capture file");
        let packet = Reader::new(&bytes).next().expect("one packet").expect("sound file");
        assert_eq!((packet.original_len, packet.data.len()), (1000, 64));
    }

    #[test]
    fn a_writer_that_falls_behind_or_fails_costs_frames_of_the_file_and_nothing_else() {
        // More frames than slots without ever showing them: the surplus is counted.
        let capture = Capture::new("behind");
        let (a, mut b) = pair(&MemoryConfig::default()).expect("pair");
        let mut tap = Tap::new(a, &TapConfig { slots: 4, ..TapConfig::new(&capture.0) }).expect("tap");
        for _ in 0..10 {
            send(&mut tap, &[1; 60]);
        }
        tap.flush(1).expect("flush");
        let mut burst = Burst::new();
        assert_eq!(b.receive(1, &mut burst), 10);
        assert_eq!(tap.tap_statistics(), TapStatistics { recorded: 4, dropped: 6, failed: false });
        drop(tap);
        let bytes = std::fs::read(&capture.0).expect("capture file");
        assert_eq!(Reader::new(&bytes).count(), 4);

        // A device that takes the header's bytes nowhere: creation says so.
        let (a, _b) = pair(&MemoryConfig::default()).expect("pair");
        assert!(Tap::new(a, &TapConfig::new("/dev/full")).is_err());
    }

    #[test]
    fn other_readers_understand_the_file() {
        use std::process::Command;
        if Command::new("tshark").arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: tshark is not installed");
            eprintln!("skipped: tshark is not installed");
            return;
        }
        let capture = Capture::new("tshark");
        let (a, _b) = pair(&MemoryConfig::default()).expect("pair");
        let mut tap = Tap::new(a, &TapConfig::new(&capture.0)).expect("tap");
        send(&mut tap, &crate::filter::samples::arp(crate::filter::samples::OURS));
        tap.flush(1_700_000_000_123_456_789).expect("flush");
        drop(tap);
        let output = Command::new("tshark")
            .args([
                "-r",
                capture.0.to_str().expect("UTF-8"),
                "-T",
                "fields",
                "-e",
                "frame.time_epoch",
                "-e",
                "arp.dst.proto_ipv4",
                "-e",
                "frame.interface_name",
            ])
            .output()
            .expect("tshark runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        assert!(fields.iter().any(|field| field.ends_with("123456789") || field.ends_with("123456789Z")), "{text}");
        assert!(fields.contains(&"10.77.0.3") && fields.contains(&"memory-a"), "{text}");
    }
}
