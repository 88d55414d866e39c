//! Every bound of Penstock that is not configurable, with unit and reason, in one place.
//!
//! Names end with the unit and `_MAX` or `_MIN`. Relations between bounds are asserted at compile
//! time at the end of the file. Defaults of configurable bounds live in `edge::config`.

/// Longest product, channel, platform, component or access-group name: it must fit a label and a path part.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest version text.
pub const VERSION_BYTES_MAX: usize = 128;

/// Size of a BLAKE3 chunk: fixed by the BLAKE3 paper, section 2.
pub const BLAKE3_CHUNK_BYTES: u64 = 1024;
/// Size of a verified chunk group: 16 BLAKE3 chunks. Larger costs a client more bad bytes before it notices.
pub const GROUP_BYTES: u64 = 16 * BLAKE3_CHUNK_BYTES;
/// Largest blob: 1 TiB. A larger one would overflow nothing but patience; it bounds outboards to 4 GiB.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;

/// Most ranges in one request. More would let a small request cause many small writes.
pub const RANGES_MAX: usize = 256;
/// Longest `Range` header value in bytes that is parsed at all.
pub const RANGE_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most entity tags looked at in `If-Match` or `If-None-Match`.
pub const ETAGS_MAX: usize = 64;
/// Longest request path with query, in bytes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Longest name of an install in bytes: a UUID has 36, a hash 64.
pub const INSTALL_BYTES_MAX: usize = 128;
/// Most blobs that a node sends from at once. Each keeps its file open (and in pread mode its outboard's), whatever the
/// cache of open blobs has dropped meanwhile; more costs descriptors. A process with few descriptors gets a lower bound.
pub const LIVE_BLOBS_MAX: usize = 16_384;
/// Largest token in bytes; larger ones are refused before any cryptography.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Largest stretch that a client asks for in one `/verified` request, in bytes: 256 MiB of content. A server streams
/// and needs no bound; a client resumes after a broken transfer at the start of a stretch.
pub const VERIFIED_BYTES_MAX: u64 = 256 << 20;

/// Chunker bounds: smallest, target and largest chunk in bytes. Frozen in each manifest.
pub const CHUNK_BYTES_MIN: u32 = 16 * 1024;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_TARGET: u32 = 64 * 1024;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MAX: u32 = 256 * 1024;
/// Largest plain content of one frame: a run of neighbouring chunks.
pub const FRAME_CONTENT_BYTES_MAX: u32 = 1 << 20;
/// Largest stored frame: raw content plus what a compressor may add.
pub const FRAME_STORED_BYTES_MAX: u32 = FRAME_CONTENT_BYTES_MAX + (FRAME_CONTENT_BYTES_MAX >> 7) + 1024;
/// A pack is closed once it holds this much.
pub const PACK_BYTES_TARGET: u64 = 8 << 20;
/// Largest pack.
pub const PACK_BYTES_MAX: u64 = 16 << 20;
/// Most frames in one pack.
pub const PACK_FRAMES_MAX: usize = 65_536;
/// Most bases a delta frame may name.
pub const FRAME_BASES_MAX: usize = 64;

/// Largest signed envelope in bytes, manifest roots included.
pub const ENVELOPE_BYTES_MAX: usize = 8 << 20;
/// Most signatures on one envelope.
pub const SIGNATURES_MAX: usize = 16;
/// Largest channel head, delegation or rotation statement in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Most keys in a trust set or delegation.
pub const KEYS_MAX: usize = 16;
/// Life of a channel head in seconds: 14 days.
pub const HEAD_LIFE_SECONDS: u64 = 14 * 24 * 3600;
/// A head is signed anew when it is older than this: one day.
pub const HEAD_RENEW_SECONDS: u64 = 24 * 3600;

/// Most components of a release.
pub const COMPONENTS_MAX: usize = 1024;
/// Most parts (tree and chunk parts together) of one release.
pub const PARTS_MAX: usize = 131_072;
/// Most entries (files, directories, links) of one release.
pub const ENTRIES_MAX: u64 = 10_000_000;
/// Most chunks of one release.
pub const CHUNKS_MAX: u64 = 100_000_000;
/// Most entries in one tree part.
pub const PART_ENTRIES_MAX: usize = 8192;
/// Most chunks in one chunk part.
pub const PART_CHUNKS_MAX: usize = 8192;
/// Largest manifest part after decompression, in bytes.
pub const PART_CONTENT_BYTES_MAX: u32 = 8 << 20;
/// Largest manifest part as stored, in bytes.
pub const PART_STORED_BYTES_MAX: u32 = PART_CONTENT_BYTES_MAX + 64 * 1024;

/// Longest install path in bytes. 1,024 fits macOS's PATH_MAX.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest single path component in bytes: ext4, NTFS and APFS all stop at 255.
pub const PATH_PART_BYTES_MAX: usize = 255;
/// Deepest directory nesting of an install path.
pub const PATH_DEPTH_MAX: usize = 64;

/// Largest JSON body the admin API reads, in bytes. Release registrations list one pack in 100 bytes.
pub const ADMIN_JSON_BYTES_MAX: usize = 32 << 20;
/// Longest line of the feed, in bytes: it must fit the largest release, which came in as one JSON body and goes out with its
/// channels and under longer names.
pub const FEED_LINE_BYTES_MAX: usize = 2 * ADMIN_JSON_BYTES_MAX;
/// Largest JSON document a client reads from an edge, in bytes.
pub const ANSWER_JSON_BYTES_MAX: usize = 1 << 20;
/// Most blob names in one `blobs/missing` question.
pub const MISSING_BLOBS_MAX: usize = 100_000;

/// Longest product title in bytes: it must fit a line of a list.
pub const TITLE_BYTES_MAX: usize = 200;
/// Longest message for players of versions that are not supported any more, in bytes: it must fit a dialog.
pub const MINIMUM_MESSAGE_BYTES_MAX: usize = 500;
/// Most rotations of one product's publisher keys: every offer carries them all.
pub const ROTATIONS_MAX: usize = 64;
/// Most rows of one page of an admin list.
pub const PAGE_ROWS_MAX: usize = 1000;
/// Most releases of one product that a list names, newest first.
pub const RELEASES_LISTED_MAX: usize = 10_000;
/// Most lines of one import request: one transaction, for which other changes wait.
pub const IMPORT_LINES_MAX: usize = 5000;
/// Users of one company. A change of the company is a change of each of them.
pub const USERS_MAX: usize = 10_000;
/// Accounts below the name of one company or reseller that it can make itself, in all its life: accounts are never removed, so
/// that the audit can name them. The studio can make more. They are counted whenever one is made, in some 10 ms.
pub const DELEGATED_ACCOUNTS_MAX: usize = 100_000;
/// Entitlements of one account that were taken back and are still shown, the newest: whoever gives and takes back all day
/// must not make the account's page longer. The audit keeps them all.
pub const REVOKED_KEPT_MAX: usize = 1000;
/// Seats of one entitlement: as many as a company has users.
pub const SEATS_MAX: u64 = USERS_MAX as u64;
/// Items of one package: each is a holding of everyone who has it, and counts as one whether it is there or not, so that a
/// package can grow without asking who has it.
pub const PACKAGE_ITEMS_MAX: usize = 32;
/// Packages: one list shows them all.
pub const PACKAGES_MAX: usize = 1000;
/// Allocations of one reseller, closed ones included: one list shows them all.
pub const ALLOCATIONS_MAX: usize = 1000;
/// Largest quantity of one allocation: beyond any game's players, and far from overflow.
pub const ALLOCATION_QUANTITY_MAX: u64 = 1_000_000_000;
/// Uploads and admin downloads at once; each holds at most two [`UPLOAD_BUFFER_BYTES`] buffers.
pub const TRANSFERS_MAX: usize = 16;
/// What an upload gathers before it is handed to the disk, in bytes.
pub const UPLOAD_BUFFER_BYTES: usize = 1 << 20;
/// Longest `sub` of a token that this system mints, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Longest claim `jti`, the id that a token can be revoked by, in bytes. A UUID has 36; some identity providers put a
/// signature's worth of base64 there.
pub const TOKEN_ID_BYTES_MAX: usize = 512;
/// Most products that one minted token names: the token must stay below [`TOKEN_BYTES_MAX`].
pub const TOKEN_PRODUCTS_MAX: usize = 64;
/// Longest path in a link, in bytes: the longest of ours has 220, and its length travels in one byte.
pub const LINK_PATH_BYTES_MAX: usize = 255;
/// Longest life of a link in seconds: 7 days. It stands in histories and logs of tools, so it should end soon.
pub const LINK_LIFE_SECONDS_MAX: u64 = 7 * 24 * 3600;
/// Longest life of a minted token in seconds: 30 days, because nothing but expiry ends it yet.
pub const TOKEN_LIFE_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Longest life of a token that a company or a reseller mints, in seconds: one day, so that who left is out tomorrow.
pub const DELEGATED_LIFE_SECONDS_MAX: u64 = 24 * 3600;

/// How long a token of another issuer may still last that is revoked by its id, in seconds: ten years, because nobody here
/// knows, and one that is forgotten before its end is good again.
pub const FOREIGN_TOKEN_LIFE_SECONDS: u64 = 10 * 366 * 24 * 3600;

const _: () = {
    assert!(LINK_LIFE_SECONDS_MAX <= TOKEN_LIFE_SECONDS_MAX);
    assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_TARGET && CHUNK_BYTES_TARGET < CHUNK_BYTES_MAX);
    assert!(CHUNK_BYTES_MAX <= FRAME_CONTENT_BYTES_MAX);
    assert!(FRAME_STORED_BYTES_MAX as u64 <= PACK_BYTES_MAX - PACK_BYTES_TARGET);
    assert!(PACK_BYTES_TARGET < PACK_BYTES_MAX);
    assert!(STATEMENT_BYTES_MAX < ENVELOPE_BYTES_MAX);
    // The longest bounded range list must fit the header bound: "bytes=" and 256 times two 20-digit numbers.
    assert!(RANGE_HEADER_BYTES_MAX >= 6 + RANGES_MAX * 42);
    assert!(HEAD_RENEW_SECONDS * 7 <= HEAD_LIFE_SECONDS);
    assert!(KEYS_MAX <= SIGNATURES_MAX);
    assert!(PACKAGE_ITEMS_MAX <= crate::account::HOLDINGS_MAX);
    assert!(USERS_MAX <= DELEGATED_ACCOUNTS_MAX);
    assert!(DELEGATED_LIFE_SECONDS_MAX <= TOKEN_LIFE_SECONDS_MAX);
    // Claims in base64 take 4/3 of their JSON; 512 bytes are for the head, the signature and the other claims.
    assert!((TOKEN_PRODUCTS_MAX * (NAME_BYTES_MAX + 3) + 2 * SUBJECT_BYTES_MAX) * 4 / 3 + 512 <= TOKEN_BYTES_MAX);
    // Every offer carries all rotations as base64 inside one bounded answer; a usual one is under 4 KiB.
    assert!(ROTATIONS_MAX * 4096 * 4 / 3 < ANSWER_JSON_BYTES_MAX);
};
