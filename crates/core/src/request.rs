//! What a data-plane request asks for: path and query → [`Target`], and which methods a target takes.
//!
//! Owns the shape of every data-plane path (DESIGN section 10). Whatever leaves this module is checked: names are
//! names, numbers are numbers, ranges are ranges. It must not know whether any of it exists.

use crate::blob::{BlobId, ByteRange};
use crate::id::{ChannelName, Platform, ProductId, Version};
use crate::limits::{INSTALL_BYTES_MAX, TARGET_BYTES_MAX};
use std::borrow::Cow;
use std::fmt;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/v1/blobs/{blob}`: the bytes.
    Blob(BlobId),
    /// `/v1/blobs/{blob}/outboard`: the hash tree.
    Outboard(BlobId),
    /// `/v1/blobs/{blob}/verified?start=&end=`: bytes with their proof.
    Verified {
        /// The blob.
        blob: BlobId,
        /// Bytes wanted, `end` possibly behind the blob's; `None` is the whole blob.
        range: Option<ByteRange>,
    },
    /// `/v1/products/{p}/channels/{c}`: what to install now.
    Channel {
        /// The product.
        product: ProductId,
        /// The channel.
        channel: ChannelName,
        /// `platform=`.
        platform: Option<Platform>,
        /// `install=`.
        install: Option<InstallId>,
        /// `have=`: the version installed.
        have: Option<Version>,
        /// `check=manual`: a player asked by hand.
        by_hand: bool,
    },
    /// `/v1/products/{p}/releases/{version}`.
    Release {
        /// The product.
        product: ProductId,
        /// The version.
        version: Version,
        /// `platform=`.
        platform: Option<Platform>,
    },
    /// `/v1/products/{p}/releases/{version}/key`: a preloaded release's key.
    ReleaseKey {
        /// The product.
        product: ProductId,
        /// The version.
        version: Version,
    },
    /// `/v1/catalog`: the open products.
    Catalog,
    /// `/v1/reports`: outcomes that clients tell.
    Reports,
}

/// What an install calls itself. Personal: it prints as stars.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InstallId(String);

impl InstallId {
    /// `None` unless it is 1 to [`INSTALL_BYTES_MAX`] printable ASCII characters without spaces.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=INSTALL_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }
    /// The text, for a keyed hash and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallId(****)")
    }
}

/// Why a request target is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("the path and query have {0} bytes, at most {TARGET_BYTES_MAX} are read")]
    TooLong(usize),
    /// There is no such path.
    #[error("there is nothing under this path")]
    Unknown,
    /// The path is one of ours, but a name in it is not a name.
    #[error("the {part} in the path is malformed: {reason}")]
    Path {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A query parameter is malformed, repeated, or does not fit another.
    #[error("the query parameter {parameter} {reason}")]
    Query {
        /// Which one.
        parameter: &'static str,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
}

/// A method as far as targets care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// Anything else.
    Other,
}

impl Method {
    /// From its text; methods are case-sensitive (RFC 9110, section 9.1).
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            _ => Self::Other,
        }
    }
    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Other => "other",
        }
    }
}

impl Target {
    /// Reads the path and query of a request.
    ///
    /// # Errors
    /// [`TargetError`]: 414, 404 or 400.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        let bytes = path.len() + query.map_or(0, |query| query.len() + 1);
        if bytes > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong(bytes));
        }
        let rest = path.strip_prefix("/v1/").ok_or(TargetError::Unknown)?;
        // No path of ours has more than five parts; a sixth says that this is none of them.
        let mut parts = [""; 6];
        let mut count = 0;
        for (slot, part) in parts.iter_mut().zip(rest.splitn(6, '/')) {
            *slot = part;
            count += 1;
        }
        let query = Query(query.unwrap_or(""));
        match parts[..count] {
            ["blobs", blob] => Ok(Self::Blob(blob_name(blob)?)),
            ["blobs", blob, "outboard"] => Ok(Self::Outboard(blob_name(blob)?)),
            ["blobs", blob, "verified"] => Ok(Self::Verified { blob: blob_name(blob)?, range: query.range()? }),
            ["products", product, "channels", channel] => Ok(Self::Channel {
                product: name("product", product)?,
                channel: name("channel", channel)?,
                platform: query.name("platform")?,
                install: query.install()?,
                have: query.name("have")?,
                by_hand: query.by_hand()?,
            }),
            ["products", product, "releases", version] => Ok(Self::Release {
                product: name("product", product)?,
                version: name("version", version)?,
                platform: query.name("platform")?,
            }),
            ["products", product, "releases", version, "key"] => {
                Ok(Self::ReleaseKey { product: name("product", product)?, version: name("version", version)? })
            }
            ["catalog"] => Ok(Self::Catalog),
            ["reports"] => Ok(Self::Reports),
            _ => Err(TargetError::Unknown),
        }
    }

    /// Whether it takes this method.
    #[must_use]
    pub const fn takes(&self, method: Method) -> bool {
        match self {
            Self::Reports => matches!(method, Method::Post),
            _ => matches!(method, Method::Get | Method::Head),
        }
    }

    /// The value of `Allow`.
    #[must_use]
    pub const fn allow(&self) -> &'static str {
        match self {
            Self::Reports => "POST",
            _ => "GET, HEAD",
        }
    }
}

fn blob_name(text: &str) -> Result<BlobId, TargetError> {
    text.parse()
        .map_err(|error: crate::blob::ParseHashError| TargetError::Path { part: "blob", reason: error.to_string() })
}

fn name<N: std::str::FromStr<Err: fmt::Display>>(part: &'static str, text: &str) -> Result<N, TargetError> {
    let text = percent_decode(text).ok_or(TargetError::Path { part, reason: "bad percent-encoding".to_owned() })?;
    text.parse().map_err(|error: N::Err| TargetError::Path { part, reason: error.to_string() })
}

/// A query string. Parameters that we do not know are left alone; those we know may stand there once.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn raw(&self, parameter: &'static str) -> Result<Option<Cow<'a, str>>, TargetError> {
        let mut found = None;
        for pair in self.0.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key != parameter {
                continue;
            }
            if found.is_some() {
                return Err(TargetError::Query { parameter, reason: "stands there twice".into() });
            }
            let bad = TargetError::Query { parameter, reason: "has bad percent-encoding".into() };
            found = Some(percent_decode(value).ok_or(bad)?);
        }
        Ok(found)
    }

    fn name<N: std::str::FromStr<Err: fmt::Display>>(&self, parameter: &'static str) -> Result<Option<N>, TargetError> {
        let malformed =
            |error: N::Err| TargetError::Query { parameter, reason: format!("is malformed: {error}").into() };
        self.raw(parameter)?.map(|text| text.parse().map_err(malformed)).transpose()
    }

    fn install(&self) -> Result<Option<InstallId>, TargetError> {
        let malformed = || TargetError::Query {
            parameter: "install",
            reason: format!("is not 1 to {INSTALL_BYTES_MAX} printable characters").into(),
        };
        self.raw("install")?.map(|text| InstallId::new(&text).ok_or_else(malformed)).transpose()
    }

    /// A value that later clients may send is refused, because it may ask for something else.
    fn by_hand(&self) -> Result<bool, TargetError> {
        match self.raw("check")?.as_deref() {
            None => Ok(false),
            Some("manual") => Ok(true),
            Some(_) => Err(TargetError::Query { parameter: "check", reason: "can only be manual".into() }),
        }
    }

    fn number(&self, parameter: &'static str) -> Result<Option<u64>, TargetError> {
        let Some(text) = self.raw(parameter)? else { return Ok(None) };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TargetError::Query { parameter, reason: "is not a number of bytes".into() });
        }
        // Only digits, so the one error left is overflow: numbers too large for 64 bits saturate.
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    }

    fn range(&self) -> Result<Option<ByteRange>, TargetError> {
        let (start, end) = (self.number("start")?, self.number("end")?);
        if start.is_none() && end.is_none() {
            return Ok(None);
        }
        let start = start.unwrap_or(0).min(u64::MAX - 1);
        let empty = TargetError::Query { parameter: "end", reason: "must be greater than start".into() };
        ByteRange::new(start, end.unwrap_or(u64::MAX)).map(Some).ok_or(empty)
    }
}

/// Undoes percent-encoding; `None` for a broken escape or what is not UTF-8. A plus sign is a plus sign.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = after else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(digit(*high)? << 4 | digit(*low)?);
        rest = after;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(target: &str) -> Result<Target, TargetError> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Target::parse(path, query)
    }

    fn status(target: &str) -> u16 {
        match parse(target) {
            Ok(_) => 200,
            Err(TargetError::TooLong(_)) => 414,
            Err(TargetError::Unknown) => 404,
            Err(TargetError::Path { .. } | TargetError::Query { .. }) => 400,
        }
    }

    #[test]
    fn blobs() {
        let blob = BlobId::of(b"x");
        assert_eq!(parse(&format!("/v1/blobs/{blob}")), Ok(Target::Blob(blob)));
        assert_eq!(parse(&format!("/v1/blobs/{blob}?sig=abc")), Ok(Target::Blob(blob)), "unknown parameters pass");
        assert_eq!(parse(&format!("/v1/blobs/{blob}/outboard")), Ok(Target::Outboard(blob)));
        assert_eq!(parse(&format!("/v1/blobs/{blob}/verified")), Ok(Target::Verified { blob, range: None }));
        let verified = |query: &str| parse(&format!("/v1/blobs/{blob}/verified?{query}"));
        let range = |start, end| Ok(Target::Verified { blob, range: ByteRange::new(start, end) });
        assert_eq!(verified("start=5&end=9"), range(5, 9));
        assert_eq!(verified("end=9"), range(0, 9));
        assert_eq!(verified("start=5"), range(5, u64::MAX));
        assert_eq!(verified("start=99999999999999999999999"), range(u64::MAX - 1, u64::MAX), "saturates");
        for bad in
            ["start=5&end=5", "start=6&end=5", "start=-1", "start=", "start=a", "end=0", "end=1&end=2", "start=%"]
        {
            assert!(matches!(verified(bad), Err(TargetError::Query { .. })), "{bad}");
        }
    }

    #[test]
    fn products() {
        let Ok(Target::Channel { product, channel, platform, install, have, by_hand }) =
            parse("/v1/products/acme.racer/channels/stable?platform=linux-x86_64&have=1.0%2B2&install=a1b2&x=y")
        else {
            panic!("a channel");
        };
        assert_eq!((product.as_str(), channel.as_str()), ("acme.racer", "stable"));
        assert_eq!(platform, Platform::new("linux-x86_64").ok());
        assert_eq!(install.as_ref().map(InstallId::expose), Some("a1b2"));
        assert_eq!(have, Version::new("1.0+2").ok());
        assert!(!by_hand);
        let manual = parse("/v1/products/p/channels/c?check=manual");
        assert!(matches!(manual, Ok(Target::Channel { by_hand: true, .. })), "{manual:?}");
        assert!(!format!("{install:?}").contains("a1b2"), "install ids are not printed");
        let plus = parse("/v1/products/p/releases/1.0+2");
        assert_eq!(plus, parse("/v1/products/p/releases/1.0%2b2"), "both spellings of a plus sign");
        assert!(matches!(plus, Ok(Target::Release { .. })));
        assert!(matches!(parse("/v1/products/p/releases/1.0/key"), Ok(Target::ReleaseKey { .. })));
        assert_eq!(parse("/v1/catalog"), Ok(Target::Catalog));
        assert_eq!(parse("/v1/reports"), Ok(Target::Reports));
    }

    #[test]
    fn what_is_refused_and_how() {
        let blob = BlobId::of(b"x");
        for unknown in [
            "",
            "/",
            "*",
            "/v1",
            "/v1/",
            "/v1/blobs",
            "/v1/blobs/a/b/c",
            "/v2/catalog",
            "/v1/catalog/",
            "/V1/catalog",
            "//v1/catalog",
            "/v1/products/p",
            "/v1/products/p/channels",
            "/v1/products/p/releases/1/key/x",
            "/metrics",
            "/v1/products/p/releases/1/lock",
            "/admin/v1/products",
        ] {
            assert_eq!(status(unknown), 404, "{unknown:?}");
        }
        for malformed in [
            "/v1/blobs/",
            "/v1/blobs/abc",
            "/v1/blobs/abc/outboard",
            "/v1/products//channels/c",
            "/v1/products/..%2f/channels/c",
            "/v1/products/p/channels/%00",
            "/v1/products/p/channels/%zz",
            "/v1/products/p/channels/%",
            "/v1/products/p/channels/%ff",
            "/v1/products/p/channels/c?platform=",
            "/v1/products/p/channels/c?platform=a&platform=a",
            "/v1/products/p/channels/c?install=a%20b",
            "/v1/products/p/channels/c?check=auto",
            "/v1/products/p/channels/c?check=manual&check=manual",
            "/v1/products/p/releases/a%20b",
            "/v1/products/p/releases/1?platform=a/b",
        ] {
            assert_eq!(status(malformed), 400, "{malformed:?}");
        }
        assert_eq!(status(&format!("/v1/blobs/{}", blob.to_string().to_uppercase())), 400);
        assert_eq!(status(&format!("/v1/catalog?{}", "a".repeat(TARGET_BYTES_MAX))), 414);
        assert_eq!(status(&format!("/v1/products/p/channels/c?install={}", "a".repeat(INSTALL_BYTES_MAX + 1))), 400);
    }

    #[test]
    fn methods() {
        assert!(Target::Catalog.takes(Method::Head) && !Target::Catalog.takes(Method::Post));
        assert!(Target::Reports.takes(Method::Post) && !Target::Reports.takes(Method::Get));
        assert_eq!(Target::Catalog.allow(), "GET, HEAD");
        assert_eq!(Method::new("get"), Method::Other);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(path in "(/v1/)?(blobs|products)?/?[ -~]{0,80}", query in proptest::option::of(".{0,60}")) {
            let _ = Target::parse(&path, query.as_deref());
        }

        /// Names survive percent-encoding of every byte.
        #[test]
        fn encoded_names_are_the_same_names(version in "[a-zA-Z0-9][a-zA-Z0-9._+~-]{0,20}") {
            let encoded: String = version.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let plain = parse(&format!("/v1/products/p/releases/{version}"));
            prop_assert!(plain.is_ok());
            prop_assert_eq!(plain, parse(&format!("/v1/products/p/releases/{encoded}")));
        }
    }
}
