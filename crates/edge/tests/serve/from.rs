//! A client whose address a PROXY header tells, on one connection that it keeps.

use crate::rig::{Answer, Duplex, Rig, read_head};
use std::io::{Read as _, Write as _};

/// A connection from an address.
pub(crate) struct From(Box<dyn Duplex>);

impl From {
    pub(crate) fn new(rig: &Rig, address: &str) -> Self {
        let mut socket = rig.connect();
        write!(socket, "PROXY TCP4 {address} 192.0.2.250 4000 443\r\n").expect("sent");
        Self(socket)
    }

    pub(crate) fn get(&mut self, path: &str, authorization: Option<&str>) -> Answer {
        let token = authorization.map_or(String::new(), |token| format!("authorization: {token}\r\n"));
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{token}\r\n").expect("sent");
        let mut answer = read_head(&mut *self.0).expect("a head");
        let length = answer.header("content-length").expect("a length").parse().expect("a number");
        answer.body = vec![0; length];
        self.0.read_exact(&mut answer.body).expect("a body");
        answer
    }
}
