//! The program's own code on 2 MiB pages.
//!
//! The way from a tick to an order goes through some hundred kilobytes of code, spread over a binary of several
//! megabytes. On 4 KiB pages that is more than the instruction TLB holds, and on a virtual machine each missed entry is
//! looked up twice over. So, once and at start, code and constants are copied to huge pages, which then take the
//! place of the file's pages, at the same addresses. What is not a whole huge page stays where it is: the binary is
//! linked so that its segments begin on such boundaries (`build.rs` of the command).
//!
//! Addresses do not change, so nothing that points into the code has to. Debuggers and profilers that read symbols by
//! mapping still find the file by its name in its other segments.

use super::Refusal;
use drivers::pages::{HUGE_PAGE, PageKind, Region};
use std::fs;
use std::io;
use std::sync::OnceLock;

/// A part of the program that is only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: usize,
    end: usize,
    executable: bool,
}

/// Moves the program's code and constants to huge pages, once; the bytes moved.
///
/// # Errors
/// With what stood in the way; the program is as it was then, or partly moved.
pub fn make_huge() -> Result<usize, Refusal> {
    static MOVED: OnceLock<Result<usize, Refusal>> = OnceLock::new();
    MOVED.get_or_init(move_all).clone()
}

fn move_all() -> Result<usize, Refusal> {
    let refuse = |reason: String| Refusal {
        what: "2 MiB pages for the program's code",
        reason,
        fix: "raise vm.nr_hugepages, or set /sys/kernel/mm/transparent_hugepage/enabled to madvise",
    };
    let maps = fs::read_to_string("/proc/self/maps").map_err(|error| refuse(format!("/proc/self/maps: {error}")))?;
    let program = fs::read_link("/proc/self/exe").map_err(|error| refuse(format!("/proc/self/exe: {error}")))?;
    let mut moved = 0;
    for segment in segments(&maps, &program.to_string_lossy()) {
        let Some(segment) = whole_pages(segment, &maps) else { continue };
        move_segment(segment).map_err(refuse)?;
        moved += segment.end - segment.start;
    }
    if moved == 0 { Err(refuse("the program has no whole huge page of code".to_owned())) } else { Ok(moved) }
}

/// Start, end, protection and file of each line of `/proc/self/maps`.
fn lines(maps: &str) -> impl Iterator<Item = (usize, usize, &str, &str)> {
    maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let protection = words.next()?;
        let file = words.nth(3).unwrap_or("");
        Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?, protection, file))
    })
}

/// The parts of the program that are only read.
fn segments<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = Segment> + 'a {
    lines(maps).filter_map(move |(start, end, protection, file)| {
        let executable = match protection {
            "r-xp" => true,
            "r--p" => false,
            _ => return None,
        };
        (file == program).then_some(Segment { start, end, executable })
    })
}

/// What of a segment is whole huge pages; its end may reach into a gap behind it that nobody uses.
fn whole_pages(segment: Segment, maps: &str) -> Option<Segment> {
    let start = segment.start.next_multiple_of(HUGE_PAGE);
    let beyond = segment.end.next_multiple_of(HUGE_PAGE);
    let taken =
        lines(maps).any(|(other_start, other_end, ..)| other_start < beyond && segment.end < other_end && segment.start < other_start);
    let end = if taken { segment.end / HUGE_PAGE * HUGE_PAGE } else { beyond };
    (start < end).then_some(Segment { start, end, ..segment })
}

/// Copies a segment, which begins and ends on the boundaries of huge pages, and puts the copy in its place.
fn move_segment(segment: Segment) -> Result<(), String> {
    let len = segment.end - segment.start;
    let failed = |what: &str| format!("{what}: {}", io::Error::last_os_error());
    let mut region = Region::transparent(len).map_err(|error| error.to_string())?;
    region.populate();
    if region.kind() == PageKind::Ordinary {
        return Err(region.why().join("; "));
    }
    // Only what is mapped can be read: the gap behind the segment stays zero.
    let readable = fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    let end =
        lines(&readable).filter(|line| line.0 < segment.end && segment.start < line.1).map(|line| line.1).max().unwrap_or(segment.start);
    let bytes = end.min(segment.end) - segment.start;
    // SAFETY: the source is a readable mapping of the program, at least so long, as just seen, and nobody writes to it;
    // the target is our own and as long as the segment.
    unsafe { std::ptr::copy_nonoverlapping(segment.start as *const u8, region.base(), bytes) };
    let protection = if segment.executable { libc::PROT_READ | libc::PROT_EXEC } else { libc::PROT_READ };
    // SAFETY: our own mapping; nothing is executed from it before it is where its code belongs.
    if unsafe { libc::mprotect(region.base().cast(), len, protection) } != 0 {
        return Err(failed("mprotect of the copy"));
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the kernel puts the copy in the place of the original in one step: at each moment every address of the
    // segment holds the same bytes, also for a thread that executes them. What lies behind the segment's own end up to
    // the boundary is mapped by nobody.
    let placed = unsafe { libc::mremap(region.base().cast(), len, len, flags, segment.start as *mut libc::c_void) };
    if placed == libc::MAP_FAILED {
        return Err(failed("mremap of the copy"));
    }
    // The mapping has left the region's place.
    region.leak();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
        555555400000-555555555000 r--p 00000000 fe:00 1    /bin/program\n\
        555555600000-555555e77000 r-xp 00200000 fe:00 1    /bin/program\n\
        555556000000-555556011000 r--p 00c00000 fe:00 1    /bin/program\n\
        555556011000-555556020000 rw-p 00c11000 fe:00 1    /bin/program\n\
        7ffff7c00000-7ffff7e00000 r-xp 00000000 fe:00 2    /lib/libc.so.6\n\
        7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0    [stack]\n";

    #[test]
    fn only_what_the_program_reads_and_never_writes_is_moved() {
        let found: Vec<_> = segments(MAPS, "/bin/program").collect();
        assert_eq!(found.iter().map(|segment| segment.executable).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_segment_reaches_to_the_next_boundary_only_where_nobody_else_is() {
        let whole: Vec<_> = segments(MAPS, "/bin/program").map(|segment| whole_pages(segment, MAPS)).collect();
        let code = Segment { start: 0x5555_5560_0000, end: 0x5555_5600_0000, executable: true };
        let constants = Segment { start: 0x5555_5540_0000, end: 0x5555_5560_0000, executable: false };
        assert_eq!(whole, [Some(constants), Some(code), None], "the last one shares its huge page with data");
    }
}
