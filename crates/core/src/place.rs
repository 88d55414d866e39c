//! Where a caller is, and what may not be sent there.
//!
//! Owns country and subdivision codes and the embargo policy. It must not know addresses: a place comes from whoever
//! looks one up, and is asked for only where a decision turns on it ([`Whereabouts`]). Country databases cannot tell regions such as Crimea from the country around them, so policy speaks
//! of subdivisions too.

mod bounds;

pub use bounds::{CLASSES_MAX, EmbargoError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Rules of one export class.
pub const RULES_MAX: usize = 1024;

/// A country, ISO 3166-1 alpha-2 such as `DE`, or one of its subdivisions, ISO 3166-2 such as `UA-43`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    country: [u8; 2],
    /// Up to three letters and digits; zeros behind.
    subdivision: [u8; 3],
}

/// Why a text is no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no region: write a country such as DE or a subdivision such as US-CA, in capitals")]
pub struct RegionError(String);

impl Region {
    /// A country, or a part of it where a code of one is given. `None` unless the codes are codes.
    #[must_use]
    pub fn of_codes(country: &str, subdivision: Option<&str>) -> Option<Self> {
        let &[a @ b'A'..=b'Z', b @ b'A'..=b'Z'] = country.as_bytes() else { return None };
        let mut region = Self { country: [a, b], subdivision: [0; 3] };
        if let Some(part) = subdivision {
            let is_code = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            if part.is_empty() || part.len() > 3 || !part.as_bytes().iter().all(is_code) {
                return None;
            }
            region.subdivision[..part.len()].copy_from_slice(part.as_bytes());
        }
        Some(region)
    }
    /// Its five bytes, the country's two first: what fits into a number beside a counter.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 5] {
        let ([a, b], [c, d, e]) = (self.country, self.subdivision);
        [a, b, c, d, e]
    }
    /// From [`Self::to_bytes`]; `None` for bytes that are no region's.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 5]) -> Option<Self> {
        let (country, part) = std::str::from_utf8(&bytes).ok()?.split_at_checked(2)?;
        let part = part.trim_end_matches('\0');
        Self::of_codes(country, (!part.is_empty()).then_some(part))
    }
    /// The country by itself.
    #[must_use]
    pub const fn country(self) -> Self {
        Self { country: self.country, subdivision: [0; 3] }
    }
    /// Whether it is a part of a country.
    #[must_use]
    pub const fn is_subdivision(self) -> bool {
        self.subdivision[0] != 0
    }
}

impl FromStr for Region {
    type Err = RegionError;
    fn from_str(text: &str) -> Result<Self, RegionError> {
        let (country, part) = text.split_once('-').map_or((text, None), |(country, part)| (country, Some(part)));
        Self::of_codes(country, part).ok_or_else(|| RegionError(text.chars().take(16).collect()))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect::<String>();
        f.write_str(&text(&self.country))?;
        if self.is_subdivision() { write!(f, "-{}", text(&self.subdivision)) } else { Ok(()) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

crate::text_schema::text_schema!(Region, "Region", "^[A-Z]{2}(-[A-Z0-9]{1,3})?$", 6);

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a caller is: the subdivision when that is known, else the country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(pub Region);

impl Place {
    /// Whether this place lies in a region. A place whose subdivision nobody knows lies in none.
    #[must_use]
    pub fn is_in(&self, region: &Region) -> bool {
        self.0 == *region || (!region.is_subdivision() && self.0.country() == *region)
    }
}

/// Where a caller is, as far as somebody asks: most decisions do not, and looking an address up costs time.
#[derive(Clone, Copy)]
pub enum Whereabouts<'a> {
    /// Known beforehand; `None` where nobody knows.
    Known(Option<Place>),
    /// Found by this, which answers the same within one decision.
    Found(&'a dyn Fn() -> Option<Place>),
}

impl Whereabouts<'_> {
    /// The place; `None` where nobody knows.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Known(place) => *place,
            Self::Found(find) => find(),
        }
    }
}

impl fmt::Debug for Whereabouts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(place) => f.debug_tuple("Known").field(place).finish(),
            Self::Found(_) => f.write_str("Found(..)"),
        }
    }
}

/// What policy says of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It may be sent there.
    Allow,
    /// A person has to look first.
    Hold,
    /// It may not.
    Deny,
}

/// The rules of one export class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassRules {
    /// By region. A subdivision's rule goes before its country's. Where only the country of a caller is known and one of its
    /// subdivisions has a rule, `unknown` counts, too: the stricter of both.
    pub regions: BTreeMap<Region, Ruling>,
    /// Everywhere else.
    pub elsewhere: Ruling,
    /// Where nobody knows the place.
    pub unknown: Ruling,
}

impl Default for ClassRules {
    fn default() -> Self {
        Self { regions: BTreeMap::new(), elsewhere: Ruling::Allow, unknown: Ruling::Allow }
    }
}

/// The embargo policy: rules by export class. The class `""` is that of unclassified products; a class without rules of
/// its own has those of `""`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embargo {
    /// Rises with every change, so that a decision can say which policy it was made with.
    pub version: u64,
    /// Rules by class.
    pub classes: BTreeMap<String, ClassRules>,
}

impl Embargo {
    /// Whether a class may be sent to everyone, wherever they are: only then may a shared cache keep it.
    #[must_use]
    pub fn allows_everywhere(&self, class: &str) -> bool {
        let Some(rules) = self.classes.get(class).or_else(|| self.classes.get("")) else { return true };
        // What forbids something mostly does so here, before a long list of regions is walked.
        let mut rulings = [&rules.elsewhere, &rules.unknown].into_iter().chain(rules.regions.values());
        rulings.all(|ruling| *ruling == Ruling::Allow)
    }
    /// Whether it says of any region something else than of a place that nobody knows: then one has to know places.
    #[must_use]
    pub fn needs_places(&self) -> bool {
        self.classes.values().any(|rules| {
            rules.elsewhere != rules.unknown || rules.regions.values().any(|ruling| *ruling != rules.unknown)
        })
    }
    /// What the policy says of a class at a place.
    #[must_use]
    pub fn ruling(&self, class: &str, place: Option<&Place>) -> Ruling {
        let Some(rules) = self.classes.get(class).or_else(|| self.classes.get("")) else { return Ruling::Allow };
        let Some(Place(region)) = place else { return rules.unknown };
        let exact = rules.regions.get(region).or_else(|| rules.regions.get(&region.country()));
        let ruling = exact.copied().unwrap_or(rules.elsewhere);
        // A part of the country has a rule of its own, and nobody knows whether the caller is there.
        let may_be_there = |one: &Region| one.is_subdivision() && one.country() == *region;
        if ruling < rules.unknown && !region.is_subdivision() && rules.regions.keys().any(may_be_there) {
            rules.unknown
        } else {
            ruling
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(text: &str) -> Region {
        text.parse().expect("a region")
    }

    #[test]
    fn regions_are_read_and_written_alike() {
        for text in ["DE", "US-CA", "UA-43", "GB-ENG", "FR-2A"] {
            assert_eq!(region(text).to_string(), text);
        }
        for wrong in ["", "D", "DEU", "de", "DE-", "DE-ABCD", "DE-a", "DE-1-2", "D\u{c4}", "12", " DE"] {
            assert!(wrong.parse::<Region>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn regions_are_five_bytes() {
        for text in ["DE", "US-CA", "UA-43", "GB-ENG", "FR-2"] {
            assert_eq!(Region::from_bytes(region(text).to_bytes()), Some(region(text)));
        }
        for wrong in [[0; 5], [255; 5], *b"de\0\0\0", *b"DE\0A\0", *b"D\0\0\0\0"] {
            assert_eq!(Region::from_bytes(wrong), None, "{wrong:?}");
        }
        assert_eq!(Region::of_codes("UA", Some("43")), Some(region("UA-43")));
        assert_eq!((Region::of_codes("UA", Some("")), Region::of_codes("", None)), (None, None));
    }

    #[test]
    fn a_subdivision_lies_in_its_country_and_not_the_other_way_round() {
        let (crimea, ukraine) = (Place(region("UA-43")), Place(region("UA")));
        assert!(crimea.is_in(&region("UA")) && crimea.is_in(&region("UA-43")));
        assert!(ukraine.is_in(&region("UA")) && !ukraine.is_in(&region("UA-43")) && !crimea.is_in(&region("UA-30")));
    }

    #[test]
    fn the_nearest_rule_counts() {
        let json = r#"{"version": 3, "classes": {
            "": {"regions": {"IR": "deny", "UA-43": "deny", "UA": "allow"}, "elsewhere": "allow", "unknown": "allow"},
            "5D002": {"regions": {"DE": "allow", "CN": "hold"}, "elsewhere": "deny", "unknown": "deny"},
            "part": {"regions": {"UA-43": "deny"}, "elsewhere": "allow", "unknown": "hold"}}}"#;
        let policy: Embargo = serde_json::from_str(json).expect("a policy");
        for (class, place, expected) in [
            ("", Some("IR"), Ruling::Deny),
            ("", Some("IR-07"), Ruling::Deny),
            ("", Some("UA-43"), Ruling::Deny),
            ("", Some("UA-30"), Ruling::Allow),
            ("", Some("DE"), Ruling::Allow),
            ("", None, Ruling::Allow),
            ("EAR99", Some("IR"), Ruling::Deny),
            ("5D002", Some("DE-BE"), Ruling::Allow),
            ("5D002", Some("CN"), Ruling::Hold),
            ("5D002", Some("FR"), Ruling::Deny),
            ("5D002", None, Ruling::Deny),
            ("part", Some("UA-43"), Ruling::Deny),
            ("part", Some("UA-30"), Ruling::Allow),
            ("part", Some("UA"), Ruling::Hold),
            ("part", Some("DE"), Ruling::Allow),
        ] {
            let place = place.map(|text| Place(region(text)));
            assert_eq!(policy.ruling(class, place.as_ref()), expected, "{class} {place:?}");
        }
        assert_eq!(Embargo::default().ruling("x", None), Ruling::Allow, "no policy forbids nothing");
    }
}
