//! The same design as `super::peer`, spinning: rustls and tungstenite on a non-blocking kernel socket without Nagle's algorithm,
//! serde_json to typed structs, one thread that never sleeps, and no tokio.
//!
//! While nothing has come it spins on rustls, which asks the kernel and lends what it has decrypted: tungstenite would clear its
//! buffer for each look. What rustls has is in tungstenite's hands with one copy, and the text of a message is lent from there.

use super::peer::{answer, configuration};
use super::venue::{PATIENCE, Running, Slice};
use super::{Client, PATH, Rig, SERVER_NAME, Wired};
use anyhow::{anyhow, bail, ensure};
use drivers::testbed::Testbed;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use std::io::{BufRead, ErrorKind};
use std::net::TcpStream;
use tungstenite::client::client_with_config;
use tungstenite::{Error, Message, WebSocket};

/// See the module's head.
pub struct Spinning {
    socket: WebSocket<StreamOwned<ClientConnection, TcpStream>>,
    sequence: u32,
    _bed: Testbed,
}

impl Spinning {
    /// Connects; it may block until it is.
    pub fn open(rig: &Rig) -> anyhow::Result<(Wired, Spinning)> {
        let (bed, accepting) = rig.wire(true)?;
        let stream = super::dial(&bed)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let tls = ClientConnection::new(rig.client_tls.clone(), ServerName::try_from(SERVER_NAME)?)?;
        let request = format!("wss://{SERVER_NAME}{PATH}");
        let upgraded = client_with_config(request, StreamOwned::new(tls, stream), Some(configuration()));
        let (socket, _) = upgraded.map_err(|error| anyhow!("tungstenite does not connect: {error}"))?;
        socket.get_ref().sock.set_nonblocking(true)?;
        Ok((accepting.finish()?, Spinning { socket, sequence: 0, _bed: bed }))
    }

    /// True if there is something to read. Sends what the kernel had no room for.
    #[inline]
    fn has_come(&mut self) -> anyhow::Result<bool> {
        match self.socket.get_mut().fill_buf() {
            Ok(bytes) => {
                ensure!(!bytes.is_empty(), "the venue has closed");
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers the ticks that are there.
    #[inline]
    fn pass(&mut self) -> anyhow::Result<()> {
        if !self.has_come()? {
            return Ok(());
        }
        loop {
            match self.socket.read() {
                Ok(Message::Text(tick)) => {
                    self.sequence = self.sequence.wrapping_add(1);
                    match self.socket.send(Message::text(answer(tick.as_str(), self.sequence)?)) {
                        // It is sealed, and waits.
                        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                        sent => sent?,
                    }
                }
                Ok(message) => bail!("not a tick: {message:?}"),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Client for Spinning {
    fn answer(&mut self, _slice: Slice, running: &Running) -> anyhow::Result<()> {
        while !running.is_over() {
            self.pass()?;
        }
        Ok(())
    }
}
