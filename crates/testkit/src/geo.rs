//! A MaxMind-format database of a few networks, written from scratch (MaxMind DB File Format Specification 2.0).
//!
//! It holds what a City database says of a network's country and subdivision, or of its operator, and nothing else.

use std::net::IpAddr;

/// Bits of an address in the tree; IPv4 lies at `::/96`.
const DEPTH_BITS: u8 = 128;
/// Zeros between tree and data.
const SEPARATOR: [u8; 16] = [0; 16];
/// What the metadata begins with.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// A database under construction.
#[derive(Debug, Clone)]
pub struct GeoFile {
    kind: String,
    built: u64,
    records: Vec<Vec<u8>>,
    nodes: Vec<[Slot; 2]>,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Empty,
    Node(usize),
    Record(usize),
}

impl GeoFile {
    /// A database of this type, such as `GeoLite2-City`, built at a moment in seconds since 1970.
    #[must_use]
    pub fn new(kind: &str, built: u64) -> Self {
        Self { kind: kind.to_owned(), built, records: Vec::new(), nodes: vec![[Slot::Empty; 2]] }
    }

    /// Puts a network (`ADDRESS/BITS`) into a region, such as `UA` or `UA-43`. Wide networks come before narrow ones.
    #[must_use]
    pub fn with(self, network: &str, region: &str) -> Self {
        let (country, part) = region.split_once('-').map_or((region, None), |(country, part)| (country, Some(part)));
        let code = |code: &str| map(&[("iso_code", text(code))]);
        let mut fields = vec![("continent", map(&[("code", text("EU"))])), ("country", code(country))];
        if let Some(part) = part {
            fields.push(("subdivisions", list(&[code(part)])));
        }
        self.with_record(network, map(&fields))
    }

    /// Puts a network under an operator, as databases do that know no places.
    #[must_use]
    pub fn with_operator(self, network: &str, name: &str) -> Self {
        self.with_record(network, map(&[("autonomous_system_organization", text(name))]))
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut data = Vec::new();
        let mut offsets = Vec::new();
        for record in &self.records {
            offsets.push(data.len());
            data.extend_from_slice(record);
        }
        let count = self.nodes.len();
        let pointer = |slot: &Slot| match slot {
            Slot::Empty => count,
            Slot::Node(node) => *node,
            Slot::Record(record) => count + SEPARATOR.len() + offsets[*record],
        };
        let mut file = Vec::new();
        for slot in self.nodes.iter().flatten() {
            let pointer = u32::try_from(pointer(slot)).expect("a small database");
            file.extend_from_slice(&pointer.to_be_bytes());
        }
        file.extend_from_slice(&SEPARATOR);
        file.extend_from_slice(&data);
        file.extend_from_slice(MARKER);
        file.extend_from_slice(&map(&[
            ("binary_format_major_version", number16(2)),
            ("binary_format_minor_version", number16(0)),
            ("build_epoch", number64(self.built)),
            ("database_type", text(&self.kind)),
            ("description", map(&[("en", text("a database for tests"))])),
            ("ip_version", number16(6)),
            ("languages", list(&[text("en")])),
            ("node_count", number32(u32::try_from(count).expect("a small database"))),
            ("record_size", number16(32)),
        ]));
        file
    }

    fn with_record(mut self, network: &str, record: Vec<u8>) -> Self {
        let (address, bits) = network.split_once('/').expect("ADDRESS/BITS");
        let bits: u8 = bits.parse().expect("a number of bits");
        let (address, bits) = match address.parse().expect("an address") {
            IpAddr::V4(address) => (u128::from(u32::from(address)), bits + 96),
            IpAddr::V6(address) => (address.to_bits(), bits),
        };
        assert!((1..=DEPTH_BITS).contains(&bits), "{network}: too many or no bits");
        self.records.push(record);
        let record = Slot::Record(self.records.len() - 1);
        let mut node = 0;
        for depth in 0..bits {
            let side = usize::from((address >> (DEPTH_BITS - 1 - depth)) & 1 == 1);
            if depth + 1 == bits {
                self.nodes[node][side] = record;
                break;
            }
            node = match self.nodes[node][side] {
                Slot::Node(next) => next,
                // What was said of the whole is said of both halves.
                whole @ (Slot::Empty | Slot::Record(_)) => {
                    self.nodes.push([whole; 2]);
                    self.nodes[node][side] = Slot::Node(self.nodes.len() - 1);
                    self.nodes.len() - 1
                }
            };
        }
        self
    }
}

/// A control byte and what follows it. Types above 7 have a byte of their own.
fn field(kind: u8, size: usize, content: &[u8]) -> Vec<u8> {
    let (short, more) = match size {
        0..=28 => (u8::try_from(size).expect("small"), None),
        _ => (29, Some(u8::try_from(size - 29).expect("shorter than 285"))),
    };
    let mut bytes = if kind <= 7 { vec![kind << 5 | short] } else { vec![short, kind - 7] };
    bytes.extend(more);
    bytes.extend_from_slice(content);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    field(2, text.len(), text.as_bytes())
}

fn number16(number: u16) -> Vec<u8> {
    field(5, 2, &number.to_be_bytes())
}

fn number32(number: u32) -> Vec<u8> {
    field(6, 4, &number.to_be_bytes())
}

fn number64(number: u64) -> Vec<u8> {
    field(9, 8, &number.to_be_bytes())
}

fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let content: Vec<u8> = fields.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    field(7, fields.len(), &content)
}

fn list(values: &[Vec<u8>]) -> Vec<u8> {
    field(11, values.len(), &values.concat())
}
