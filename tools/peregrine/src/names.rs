//! Names for a journal's numbers, from the session file beside it.

use runtime::journal::export::{Names, Unnamed};
use runtime::session_file::SessionFile;
use std::path::Path;

/// The names of a journal; numbers stay numbers (with a word on standard error) if there are none.
pub fn of_journal(journal: &Path) -> Box<dyn Names> {
    match SessionFile::read(journal) {
        Ok(Some(file)) => Box::new(file),
        Ok(None) => {
            eprintln!("peregrine: no session.json beside the journal: ids stay numbers, prices are shown unscaled");
            Box::new(Unnamed)
        }
        Err(error) => {
            eprintln!("peregrine: {error}: ids stay numbers, prices are shown unscaled");
            Box::new(Unnamed)
        }
    }
}
