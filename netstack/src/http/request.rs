//! Writing a request.

use super::error::RequestError;
use super::{is_field_value, is_token};

/// The request methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
}

impl Method {
    /// The method's name.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// Writes one request into the caller's buffer, front to back.
///
/// Names and values are checked, so nothing that comes from configuration or from a venue can smuggle
/// in a header or a second request.
#[derive(Debug)]
pub struct RequestWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    method: Method,
}

impl<'a> RequestWriter<'a> {
    /// Begins a request: request line and Host header. `target` is the origin form (path and query).
    pub fn new(out: &'a mut [u8], method: Method, target: &str, host: &str) -> Result<RequestWriter<'a>, RequestError> {
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestError::BadTarget);
        }
        let mut writer = RequestWriter { out, len: 0, method };
        writer.put(method.name().as_bytes())?;
        writer.put(b" ")?;
        writer.put(target.as_bytes())?;
        writer.put(b" HTTP/1.1\r\n")?;
        writer.header("Host", host.as_bytes())
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &[u8]) -> Result<RequestWriter<'a>, RequestError> {
        if !is_token(name.as_bytes()) || !is_field_value(value) {
            return Err(RequestError::BadHeader);
        }
        self.put(name.as_bytes())?;
        self.put(b": ")?;
        self.put(value)?;
        self.put(b"\r\n")?;
        Ok(self)
    }

    /// Ends the head and appends the body; returns the request's length. Content-Length is written where
    /// the method expects a body or there is one.
    pub fn finish(mut self, body: &[u8]) -> Result<usize, RequestError> {
        if !body.is_empty() || matches!(self.method, Method::Post | Method::Put) {
            let mut digits = [0; 20];
            let length = decimal(body.len(), &mut digits);
            self = self.header("Content-Length", length)?;
        }
        self.put(b"\r\n")?;
        self.put(body)?;
        Ok(self.len)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RequestError> {
        let capacity = self.out.len();
        let room = self.out.get_mut(self.len..).and_then(|out| out.get_mut(..bytes.len()));
        room.ok_or(RequestError::BufferTooSmall { capacity })?.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

/// The decimal digits of `number`, in the tail of `digits`.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    &digits[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_has_request_line_host_and_headers_in_order() {
        let mut out = [0; 256];
        let length = RequestWriter::new(&mut out, Method::Get, "/api/v3/depth?symbol=BTCUSDT&limit=5000", "api.example.com")
            .and_then(|request| request.header("X-MBX-APIKEY", b"k"))
            .and_then(|request| request.finish(b""))
            .unwrap();
        assert_eq!(
            std::str::from_utf8(&out[..length]).unwrap(),
            "GET /api/v3/depth?symbol=BTCUSDT&limit=5000 HTTP/1.1\r\nHost: api.example.com\r\nX-MBX-APIKEY: k\r\n\r\n"
        );
    }

    #[test]
    fn body_is_preceded_by_its_length_even_if_empty_for_post() {
        let mut out = [0; 256];
        let length = RequestWriter::new(&mut out, Method::Post, "/0/private/GetWebSocketsToken", "h").unwrap().finish(b"nonce=1").unwrap();
        assert!(out[..length].ends_with(b"Content-Length: 7\r\n\r\nnonce=1"));
        let length = RequestWriter::new(&mut out, Method::Post, "/x", "h").unwrap().finish(b"").unwrap();
        assert!(out[..length].ends_with(b"Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn injection_is_refused() {
        let mut out = [0; 256];
        assert_eq!(RequestWriter::new(&mut out, Method::Get, "/a b", "h").unwrap_err(), RequestError::BadTarget);
        assert_eq!(RequestWriter::new(&mut out, Method::Get, "/a\r\nX: y", "h").unwrap_err(), RequestError::BadTarget);
        assert_eq!(RequestWriter::new(&mut out, Method::Get, "http://h/", "h").unwrap_err(), RequestError::BadTarget);
        assert_eq!(RequestWriter::new(&mut out, Method::Get, "/", "h\r\nX: y").unwrap_err(), RequestError::BadHeader);
        let request = RequestWriter::new(&mut out, Method::Get, "/", "h").unwrap();
        assert_eq!(request.header("X y", b"1").unwrap_err(), RequestError::BadHeader);
    }

    #[test]
    fn every_buffer_that_is_too_small_is_refused() {
        let write = |out: &mut [u8]| {
            RequestWriter::new(out, Method::Put, "/orders", "host").and_then(|r| r.header("A", b"b")?.finish(b"0123456789"))
        };
        let mut out = [0; 256];
        let needed = write(&mut out).unwrap();
        for capacity in 0..needed {
            assert_eq!(write(&mut out[..capacity]), Err(RequestError::BufferTooSmall { capacity }));
        }
        assert_eq!(write(&mut out[..needed]), Ok(needed));
    }
}
