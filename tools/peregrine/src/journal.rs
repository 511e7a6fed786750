//! `peregrine journal`: inspect, verify, export.

use anyhow::Context;
use engine_core::event::EventKind;
use runtime::journal::{Reader, export, segments};
use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of the subcommand.
#[derive(clap::Args)]
pub struct Arguments {
    /// A journal directory, or one segment (.pgj) of it.
    journal: PathBuf,
    /// Print the events as JSON, one object a line.
    #[arg(long)]
    export: bool,
    /// Only check that it is whole; exit status 1 if it is damaged. A torn tail (the last write was cut off) is told, and
    /// is no damage: the next start removes it.
    #[arg(long, conflicts_with = "export")]
    verify: bool,
    /// With --export: only this kind of event, e.g. order_fill (may be repeated).
    #[arg(long = "kind", value_name = "KIND", requires = "export")]
    kinds: Vec<String>,
    /// With --export: begin at this sequence.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,
    /// With --export: end after this sequence.
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX)]
    until: u64,
}

/// Inspects, verifies or exports a journal.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(&arguments.journal).with_context(|| format!("opening {}", arguments.journal.display()))?;
    anyhow::ensure!(!reader.is_empty(), "{} holds no journal segment (*.pgj)", arguments.journal.display());
    if arguments.export { export_lines(arguments, &reader) } else { inspect(arguments, &reader) }
}

fn inspect(arguments: &Arguments, reader: &Reader) -> anyhow::Result<ExitCode> {
    let mut kinds: BTreeMap<u8, u64> = BTreeMap::new();
    let (mut first_ns, mut last_ns) = (0u64, 0u64);
    let summary = reader.for_each(|_, event| {
        *kinds.entry(event.kind).or_default() += 1;
        if first_ns == 0 {
            first_ns = event.core_time_ns;
        }
        last_ns = last_ns.max(event.core_time_ns);
        true
    })?;
    println!("{}: whole", arguments.journal.display());
    println!("  segments   {}", summary.segments);
    println!("  blocks     {}", summary.blocks);
    println!("  events     {} (sequence {} to {})", summary.events, summary.first_sequence, summary.last_sequence);
    println!("  from       {}", runtime::cold::log::time_text(first_ns));
    println!("  to         {}", runtime::cold::log::time_text(last_ns));
    if let Some(torn) = &summary.torn {
        println!(
            "  torn tail  {} bytes after byte {} of {}: the write was cut off; the next start removes them",
            torn.bytes,
            torn.offset,
            torn.path.display()
        );
    }
    if arguments.verify {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.journal.is_dir() {
        println!("  files");
        for (first, path) in segments(&arguments.journal)? {
            let bytes = std::fs::metadata(&path)?.len();
            println!("    {:>12}  {:>12} bytes  {}", first, bytes, path.display());
        }
    }
    println!("  events by kind");
    for (kind, count) in kinds {
        let name = EventKind::from_raw(kind).map_or_else(|| format!("kind {kind}"), |k| k.as_str().to_owned());
        println!("    {count:>12}  {name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn export_lines(arguments: &Arguments, reader: &Reader) -> anyhow::Result<ExitCode> {
    let mut wanted = Vec::new();
    for name in &arguments.kinds {
        let kind = EventKind::ALL.iter().find(|k| k.as_str() == name);
        wanted.push(
            *kind.with_context(|| format!("no event kind is called '{name}'; `peregrine journal` without --export lists those in use"))?
                as u8,
        );
    }
    let names = crate::names::of_journal(&arguments.journal);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut failed = None;
    reader.for_each(|sequence, event| {
        if sequence > arguments.until {
            return false;
        }
        if sequence < arguments.from || !(wanted.is_empty() || wanted.contains(&event.kind)) {
            return true;
        }
        match writeln!(out, "{}", export::to_json(sequence, event, names.as_ref())) {
            Ok(()) => true,
            Err(e) => {
                failed = Some(e);
                false
            }
        }
    })?;
    match failed.or_else(|| out.flush().err()) {
        Some(e) if e.kind() != ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
