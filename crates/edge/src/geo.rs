//! Where addresses are: a MaxMind-format database, read into memory and replaced while running.
//!
//! Owns the file, its checks and the memory of what was looked up for a connection. It must not decide anything: policy
//! and terms do. The file is read and not mapped, so that whoever cuts it short while we look cannot hurt us; a file that
//! cannot be used leaves the one before in place.

use crate::metrics::{GEO_BUILT, GEO_REFUSED};
use arc_swap::ArcSwapOption;
use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};
use metrics::{counter, gauge};
use penstock_core::place::{Place, Region};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Largest database, in bytes. It lies in memory, twice while it is replaced; the largest that are sold have about 400 MB.
pub const DATABASE_BYTES_MAX: u64 = 512 << 20;
/// Networks that are looked at for a country before a database is believed to know none. Those that know any begin with
/// them; more would make a start with a useless file slower.
const SAMPLE_MAX: usize = 100_000;
/// Generations that fit beside a place in one number. The first is 1: a memory of zeros remembers nothing.
const GENERATIONS: u32 = 1 << 24;
/// Bits of a place in that number.
const PLACE_BITS: u32 = 40;

/// Why a database is not used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read.
    #[error("{0:?} cannot be read")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is too large for memory.
    #[error("{0:?} has more than {max} bytes, which is no database of countries and cities", max = DATABASE_BYTES_MAX)]
    TooLarge(PathBuf),
    /// It is cut off, altered, or something else altogether.
    #[error(
        "{0:?} is no sound MaxMind-format database: it may be cut off, or still being copied (rename it into place)"
    )]
    Damaged(PathBuf, #[source] MaxMindDbError),
    /// A sound database of something else.
    #[error("{file:?} is of type {kind:?} and tells no countries: take a City, Country or Enterprise database")]
    Countryless {
        /// The file.
        file: PathBuf,
        /// What it calls itself.
        kind: String,
    },
}

impl GeoError {
    /// Why it could not be read, if that is what happened.
    #[must_use]
    pub const fn unreadable(&self) -> Option<&io::Error> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::TooLarge(_) | Self::Damaged(..) | Self::Countryless { .. } => None,
        }
    }
}

/// The places of a node. One for all workers; lookups take no lock.
#[derive(Debug, Default)]
pub struct Geo {
    current: ArcSwapOption<Atlas>,
    loaded: AtomicU32,
}

/// One database.
#[derive(Debug)]
struct Atlas {
    reader: Reader<Vec<u8>>,
    hash: blake3::Hash,
    /// From 1 to [`GENERATIONS`] less one; the next database has another one.
    generation: u32,
}

/// What was looked up for a connection, and in which database: one number, so that it costs no lock. Its address does not
/// change, so neither does the answer until there is another database.
#[derive(Debug, Default)]
pub struct PlaceMemo(AtomicU64);

impl Geo {
    /// Reads and checks the database; without one, nobody's place is known.
    ///
    /// # Errors
    /// [`GeoError`].
    pub fn open(file: Option<&Path>) -> Result<Self, GeoError> {
        let geo = Self::default();
        if let Some(file) = file {
            geo.replace(read(file)?, file)?;
        }
        Ok(geo)
    }

    /// Takes the file again, or another one, or none. One that cannot be used leaves the one before, and the log says so.
    pub fn reload(&self, file: Option<&Path>) {
        let Some(file) = file else {
            if self.current.swap(None).is_some() {
                gauge!(GEO_BUILT).set(0.0);
                tracing::info!("places are not known any more: geo.database is empty");
            }
            return;
        };
        match read(file).and_then(|bytes| self.replace(bytes, file)) {
            Ok(()) => {}
            Err(error) => {
                counter!(GEO_REFUSED).increment(1);
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the database of places is not taken, the one before stays");
            }
        }
    }

    /// Where an address is; `None` where nobody knows. Private and loopback addresses are nowhere.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        self.current.load().as_ref().and_then(|atlas| atlas.place(address))
    }

    /// As [`Self::place`], for a connection that remembers what was found.
    #[must_use]
    pub fn place_of(&self, address: Option<IpAddr>, memo: &PlaceMemo) -> Option<Place> {
        let current = self.current.load();
        let atlas = current.as_ref()?;
        if let Some(known) = memo.get(atlas.generation) {
            return known;
        }
        let place = address.and_then(|address| atlas.place(address));
        memo.set(atlas.generation, place);
        place
    }

    fn replace(&self, bytes: Vec<u8>, file: &Path) -> Result<(), GeoError> {
        let hash = blake3::hash(&bytes);
        if self.current.load().as_ref().is_some_and(|atlas| atlas.hash == hash) {
            return Ok(());
        }
        let reader = check(bytes, file)?;
        let count = self.loaded.fetch_add(1, Ordering::Relaxed);
        let (built, kind) = (reader.metadata().build_epoch, reader.metadata().database_type.clone());
        self.current.store(Some(Arc::new(Atlas { reader, hash, generation: 1 + count % (GENERATIONS - 1) })));
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a float for ages")]
        gauge!(GEO_BUILT).set(built as f64);
        tracing::info!(?file, kind, built, "places are known");
        Ok(())
    }
}

/// Checks a file without taking it.
///
/// # Errors
/// [`GeoError`].
pub fn check_file(file: &Path) -> Result<(), GeoError> {
    check(read(file)?, file).map(drop)
}

fn read(file: &Path) -> Result<Vec<u8>, GeoError> {
    let unreadable = |error| GeoError::Unreadable(file.to_owned(), error);
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(DATABASE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > DATABASE_BYTES_MAX {
        return Err(GeoError::TooLarge(file.to_owned()));
    }
    Ok(bytes)
}

/// Walks the whole file once, so that nothing in it surprises a request.
fn check(bytes: Vec<u8>, file: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    let damaged = |error| GeoError::Damaged(file.to_owned(), error);
    let reader = Reader::from_source(bytes).map_err(damaged)?;
    reader.verify().map_err(damaged)?;
    let mut knows_countries = false;
    for network in reader.networks(WithinOptions::default()).map_err(damaged)?.take(SAMPLE_MAX) {
        // A database whose `country` is something else than ours is one of another kind, and not damaged.
        let code = network.map_err(damaged)?.decode_path::<&str>(&COUNTRY);
        if code.ok().flatten().is_some_and(|code| Region::of_codes(code, None).is_some()) {
            knows_countries = true;
            break;
        }
    }
    if !knows_countries {
        return Err(GeoError::Countryless { file: file.to_owned(), kind: reader.metadata().database_type.clone() });
    }
    Ok(reader)
}

/// Where the address is used, and not where its owner is registered.
const COUNTRY: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];
/// Of several subdivisions the largest comes first.
const SUBDIVISION: [PathElement<'static>; 3] =
    [PathElement::Key("subdivisions"), PathElement::Index(0), PathElement::Key("iso_code")];

impl Atlas {
    fn place(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if is_nowhere(address) {
            return None;
        }
        let found = self.find(address);
        // The file was checked as a whole, so this is a mistake of ours, and somebody in an unknown place.
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "an address cannot be looked up");
            None
        })
    }

    fn find(&self, address: IpAddr) -> Result<Option<Place>, MaxMindDbError> {
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(None);
        }
        let found = self.reader.lookup(address)?;
        let Some(country) = found.decode_path::<&str>(&COUNTRY)? else { return Ok(None) };
        let part = found.decode_path::<&str>(&SUBDIVISION)?;
        // Some subdivisions have codes that are none of ISO 3166-2: the country is known all the same.
        let region = part.and_then(|part| Region::of_codes(country, Some(part)));
        Ok(region.or_else(|| Region::of_codes(country, None)).map(Place))
    }
}

/// Addresses that are the same everywhere: whatever a database says of them, nobody knows the place.
fn is_nowhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

impl PlaceMemo {
    /// What was found in the database of a generation, if that was remembered.
    fn get(&self, generation: u32) -> Option<Option<Place>> {
        let kept = self.0.load(Ordering::Relaxed);
        if kept >> PLACE_BITS != u64::from(generation) {
            return None;
        }
        let [a, b, c, d, e, ..] = kept.to_le_bytes();
        Some(Region::from_bytes([a, b, c, d, e]).map(Place))
    }

    fn set(&self, generation: u32, place: Option<Place>) {
        let [a, b, c, d, e] = place.map_or([0; 5], |place| place.0.to_bytes());
        let place = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
        self.0.store(u64::from(generation) << PLACE_BITS | place, Ordering::Relaxed);
    }
}

impl Clone for PlaceMemo {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// What is remembered of a connection does not make it another one.
impl PartialEq for PlaceMemo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for PlaceMemo {}

#[cfg(test)]
mod tests;
