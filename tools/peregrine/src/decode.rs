//! `peregrine decode`: recorded venue messages as normalised events, one JSON object a line.

use anyhow::Context;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use venues::decode::{Channel, Decoder};

/// Longest line taken: beyond any venue's message.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Options of the subcommand.
#[derive(clap::Args)]
#[command(
    after_help = "A line is one raw message of the venue, or a line of a capture file: {\"t\":..,\"dir\":\"in\",\"conn\":\"wss://..\",\
    \"data\":\"..\"} or \"b64\" for binary ones; what was sent (\"dir\":\"out\") is passed over.\n\n\
    Prices, quantities, sequences and times (nanoseconds since 1970) are decimal strings, exact to the last digit. A line that \
    cannot be decoded gives {\"error\":..} and does not stop the run.\n\n\
    Examples:\n  \
    peregrine decode --venue kraken kraken.jsonl\n  \
    peregrine decode --venue binance --channel private - < messages.txt | jq 'select(.kind == \"order_fill\")'"
)]
pub struct Arguments {
    /// Whose messages they are: binance or kraken.
    #[arg(long)]
    venue: String,
    /// Of market data, or of order entry and account reports.
    #[arg(long, value_enum, default_value = "public")]
    channel: ChannelArgument,
    /// Also an object for each message that carries no event (acknowledgements, heartbeats, streams not used).
    #[arg(long)]
    all: bool,
    /// The file; - is standard input.
    file: PathBuf,
}

/// A channel on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ChannelArgument {
    Public,
    Private,
}

/// Decodes a file to standard output.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let channel = match arguments.channel {
        ChannelArgument::Public => Channel::Public,
        ChannelArgument::Private => Channel::Private,
    };
    let mut decoder = Decoder::new(&arguments.venue, channel)?;
    let input: Box<dyn Read> = if arguments.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&arguments.file).with_context(|| format!("opening {}", arguments.file.display()))?)
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let counted = decode(&mut decoder, BufReader::with_capacity(1 << 16, input), &mut out, arguments.all);
    let counts = match counted.and_then(|counts| out.flush().map(|()| counts)) {
        Ok(counts) => counts,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error).context("decoding"),
    };
    if counts.errors > 0 {
        eprintln!("peregrine: {} of {} lines could not be decoded", counts.errors, counts.lines);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    lines: u64,
    errors: u64,
}

/// Decodes line by line. What is decoded is flushed before a read that may wait, so that a pipe can be followed.
fn decode(decoder: &mut Decoder, mut input: BufReader<impl Read>, out: &mut impl Write, all: bool) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let (mut line, mut objects) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        counts.lines += 1;
        if line.len() as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
            counts.errors += 1;
            writeln!(out, "{{\"error\":\"line longer than {LINE_BYTES_MAX} bytes\",\"line\":\"{}\"}}", counts.lines)?;
            continue;
        }
        objects.clear();
        let errors = decoder.errors();
        decoder.decode_line(&line, &mut objects);
        counts.errors += decoder.errors() - errors;
        for object in objects.split_inclusive(|&b| b == b'\n') {
            if all || !carries_no_event(object) {
                out.write_all(object)?;
            }
        }
        if input.buffer().is_empty() {
            out.flush()?;
        }
    }
    Ok(counts)
}

/// True for the decoder's objects about messages without events.
fn carries_no_event(object: &[u8]) -> bool {
    [&b"{\"kind\":\"control\""[..], b"{\"kind\":\"unused\""].iter().any(|start| object.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn decoded(venue: &str, channel: Channel, input: &[u8]) -> (Vec<Value>, Counts) {
        let mut decoder = Decoder::new(venue, channel).expect("known venue");
        let mut out = Vec::new();
        let counts = decode(&mut decoder, BufReader::new(input), &mut out, false).expect("memory");
        let lines = out.split(|&b| b == b'\n').filter(|l| !l.is_empty());
        (lines.map(|l| serde_json::from_slice(l).expect("each line is JSON")).collect(), counts)
    }

    #[test]
    fn a_bad_line_gives_an_error_object_and_the_next_line_is_decoded() {
        let trade = br#"{"e":"trade","E":1767225600123,"s":"BTCUSDT","t":5,"p":"61250.10000000","q":"0.00020000","T":1767225600122,"m":true,"M":true}"#;
        let mut input = b"{\"e\":\"trade\",\nnot json at all\n\xff\xfe\n".to_vec();
        input.extend_from_slice(trade);
        input.push(b'\n');
        let (objects, counts) = decoded("binance", Channel::Public, &input);
        assert_eq!(counts, Counts { lines: 4, errors: 3 });
        assert_eq!(objects.iter().filter(|o| o.get("error").is_some()).count(), 3);
        let last = objects.last().expect("the trade");
        assert_eq!((&last["kind"], &last["instrument"], &last["side"]), (&"trade".into(), &"BTCUSDT".into(), &"sell".into()));
        assert_eq!((&last["price"], &last["qty"]), (&"61250.1".into(), &"0.0002".into()));
    }

    #[test]
    fn an_endless_line_is_an_error_and_not_an_allocation() {
        let mut input = vec![b'x'; LINE_BYTES_MAX as usize + 100];
        input.extend_from_slice(b"\n\n");
        let (objects, counts) = decoded("binance", Channel::Public, &input);
        assert_eq!(counts, Counts { lines: 2, errors: 1 });
        assert!(objects[0]["error"].as_str().expect("text").contains("longer than"));
    }

    #[test]
    fn an_unknown_venue_is_refused_with_the_known_ones() {
        let error = Decoder::new("nasdaq", Channel::Public).err().expect("unknown");
        assert!(error.to_string().contains("binance, kraken"), "{error}");
    }
}
