//! Writes JSON objects straight into a byte buffer: the streaming path's serialiser.

use crate::decimal::{Amount, push_padded, push_trimmed};
use crate::wire::{push_i64, push_json_str, push_u64};

/// An object being written. Members appear in the order of the calls; [`Object::end`] closes it.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Writes a member's name and returns the buffer for its value. `name` needs no escaping.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A string.
    pub fn str(&mut self, name: &str, value: &str) -> &mut Self {
        push_json_str(self.key(name), value);
        self
    }

    /// An unsigned integer.
    pub fn u64(&mut self, name: &str, value: u64) -> &mut Self {
        push_u64(self.key(name), value);
        self
    }

    /// A signed integer.
    pub fn i64(&mut self, name: &str, value: i64) -> &mut Self {
        push_i64(self.key(name), value);
        self
    }

    /// A boolean.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.key(name).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// JSON text as it is.
    pub fn raw(&mut self, name: &str, json: &[u8]) -> &mut Self {
        self.key(name).extend_from_slice(json);
        self
    }

    /// A fixed-point number as a string padded to 8 decimals.
    pub fn padded8(&mut self, name: &str, value: i64, scale: u8) -> &mut Self {
        let out = self.key(name);
        out.push(b'"');
        push_padded(out, value, scale, 8);
        out.push(b'"');
        self
    }

    /// An amount as a string cut to `places` decimals.
    pub fn amount(&mut self, name: &str, value: Amount, places: u8) -> &mut Self {
        let text = value.to_text(places);
        self.str(name, &text)
    }

    /// A number (not a string) with trailing zeros left out.
    pub fn number(&mut self, name: &str, value: i128, scale: u8) -> &mut Self {
        push_trimmed(self.key(name), value, scale, 0);
        self
    }

    /// Closes the object.
    pub fn end(&mut self) {
        self.out.push(b'}');
    }
}

/// Writes a JSON array of what `items` write.
pub fn array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_nest_and_escape() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.str("a", "x\"y\\\n").u64("b", 1).bool("c", false).padded8("p", 6_825_010, 2).number("n", 500, 3);
        array(object.key("l"), [1u64, 2], push_u64);
        Object::new(object.key("o")).end();
        object.end();
        assert_eq!(String::from_utf8_lossy(&out), r#"{"a":"x\"y\\\u000a","b":1,"c":false,"p":"68250.10000000","n":0.5,"l":[1,2],"o":{}}"#);
    }
}
