//! The system of record: products, releases, channels, uploads, accounts and what they were given, and the admin API over
//! them.
//!
//! Control owns what is true; edges hold copies that it tells of every change. Four layers, each of
//! which knows only those above it in this list:
//!
//! * *rules*, pure: `permit` (which role may do what), `condition` (what must be so for a
//!   change), `audience` (who could read a blob, and who could then), `registration` (is this
//!   release what it says), `heads` (what the channel key signs next);
//! * `record`: SQL statements and nothing else, with `schema/` and the change `log`, over `sql`, which
//!   knows the two engines and no table; `follow` tells the sink what is in the log;
//! * *operations*: `products`, `releases`, `channels`, `rotations`, `blobs`, `upload`, `accounts`, `people`,
//!   `entitlements`, `packages`, `resellers`, `minting`, `imports`, `snapshots`, `links`, `revocations`, `embargo`,
//!   `segments`, `rollouts`, `minimums`, `credentials`, `audit`: one transaction each, around the rules,
//!   each on behalf of an `actor`; `state` tells all of it, `feed` to far edges, `compact`
//!   keeps the log short;
//! * `api`: HTTP, one file per resource.
//!
//! It must not sit on the data path, hold a publisher's key, or keep anything in memory that a
//! restart would lose.

mod accounts;
mod actor;
mod answered;
mod answers;
mod api;
mod audience;
mod audit;
mod blobs;
mod channels;
mod compact;
mod condition;
mod control;
mod credentials;
mod embargo;
mod entitlements;
mod error;
mod feed;
mod follow;
mod heads;
mod imports;
mod keys;
mod links;
mod log;
mod minimums;
mod minting;
mod packages;
mod page;
mod people;
mod people_error;
mod permit;
mod products;
mod record;
mod registration;
mod releases;
mod resellers;
mod revocations;
mod rollouts;
mod rotations;
mod schema;
mod secret;
mod segments;
mod snapshots;
mod sql;
mod state;
mod token;
mod told;
mod upload;
mod walls;

pub use answers::{ChannelStanding, ChannelsStanding, ReleaseChange};
pub use api::Credentials;
pub use compact::LogTail;
pub use control::{Control, ControlError, ControlOptions, RenewReport};
pub use error::{BlobOwner, CallError};
pub use keys::{KeyFileError, pseudonym_key};
pub use people_error::PeopleError;
pub use record::RecordError;
pub use record::acting::ActingError;
pub use secret::SecretText;
pub use sql::{AddressError, Database, SqlError};
pub use token::{TOKEN_AUDIENCE, TOKEN_ISSUER, TokenError};
