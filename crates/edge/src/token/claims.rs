//! A token's claims: read strictly, and believed only after its signature (RFC 7519; RFC 8725, sections 3.8 to 3.10).
//!
//! Owns which claims there are, what each must look like, and the checks against an issuer and a moment. Unknown claims
//! are ignored; what segments ask about an account is control's word, so a token says nothing of that. It must not look at signatures; [`super::verify`] does before it calls [`Payload::check`].

use super::issuer::Issuer;
use super::json::{Json, Object, object};
use super::refusal::{Part, TokenRefusal};
use penstock_core::id::{ComponentName, ProductId};
use penstock_core::limits::{SUBJECT_BYTES_MAX, TOKEN_ID_BYTES_MAX, TOKEN_PRODUCTS_MAX};
use penstock_core::time::UnixSeconds;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest claim `device` in bytes.
pub const DEVICE_BYTES_MAX: usize = 128;
/// The latest date, in seconds since 1970: the end of the year 9999. A larger number is a mistake, such as milliseconds.
pub const DATE_SECONDS_MAX: u64 = 253_402_300_799;

/// What a verified token says. Only [`super::verify`] makes one. `Debug` shows neither the subject nor the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The issuer's name in the configuration (not its `iss`).
    pub issuer: Arc<str>,
    /// `iss`, as it stands in the token.
    pub iss: Arc<str>,
    /// `sub`: whom the issuer means. Unique for that issuer only.
    pub subject: String,
    /// `exp`, rounded up to a whole second: the token holds before it.
    pub expires: UnixSeconds,
    /// `exp` plus the issuer's leeway: from here on [`super::verify`] refuses the token.
    pub refused_from: UnixSeconds,
    /// `nbf`, rounded up to a whole second.
    pub not_before: Option<UnixSeconds>,
    /// `iat`, rounded down to a whole second.
    pub issued_at: Option<UnixSeconds>,
    /// The token is for these products only, and for none if there are none; `None` does not narrow it.
    pub products: Option<Vec<ProductId>>,
    /// The token is for these components only; as [`Self::products`].
    pub components: Option<Vec<ComponentName>>,
    /// `jti`: what it can be revoked by.
    pub id: Option<String>,
    /// The device it was issued to.
    pub device: Option<String>,
    /// `kid` of the key that verified it; empty for a key without one.
    pub key_id: Arc<str>,
    /// Nobody else makes one.
    verified: Verified,
}

#[derive(Clone, PartialEq, Eq)]
struct Verified;

impl fmt::Debug for Claims {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Claims")
            .field("issuer", &self.issuer)
            .field("expires", &self.expires)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A payload that is a JSON object without duplicate names. Nothing in it is believed yet.
pub(super) struct Payload(Object);

impl Payload {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, TokenRefusal> {
        object(bytes).map(Self).ok_or(TokenRefusal::Malformed(Part::Payload))
    }

    /// Who is said to have issued the token: chooses the keys that may prove it.
    pub(super) fn issuer(&self) -> Result<&str, TokenRefusal> {
        self.0.get("iss").and_then(Json::as_text).ok_or(TokenRefusal::Claims("iss"))
    }

    /// The claims, now that the signature of one of `issuer`'s keys is known to be good.
    pub(super) fn check(mut self, issuer: &Issuer, key_id: Arc<str>, now: UnixSeconds) -> Result<Claims, TokenRefusal> {
        let leeway = issuer.leeway_seconds();
        if self.issuer()? != issuer.iss() {
            return Err(TokenRefusal::Issuer);
        }
        self.check_audience(issuer)?;
        let expires = self.date("exp", f64::ceil)?.ok_or(TokenRefusal::Claims("exp"))?;
        let not_before = self.date("nbf", f64::ceil)?;
        let issued_at = self.date("iat", f64::floor)?;
        let refused_from = expires.plus(leeway);
        if now >= refused_from {
            return Err(TokenRefusal::Expired);
        }
        if [not_before, issued_at].into_iter().flatten().any(|from| now.plus(leeway) < from) {
            return Err(TokenRefusal::NotYetValid);
        }
        Ok(Claims {
            issuer: issuer.shared_name(),
            iss: issuer.shared_iss(),
            subject: self.text("sub", SUBJECT_BYTES_MAX)?.ok_or(TokenRefusal::Claims("sub"))?,
            expires,
            refused_from,
            not_before,
            issued_at,
            products: self.names("products")?,
            components: self.names("components")?,
            id: self.text("jti", TOKEN_ID_BYTES_MAX)?,
            device: self.text("device", DEVICE_BYTES_MAX)?,
            key_id,
            verified: Verified,
        })
    }

    /// `aud` is a text or a list of texts (RFC 7519, section 4.1.3); one of them must be us.
    fn check_audience(&self, issuer: &Issuer) -> Result<(), TokenRefusal> {
        const WRONG: TokenRefusal = TokenRefusal::Claims("aud");
        let meant = match self.0.get("aud").ok_or(WRONG)? {
            Json::Text(one) => issuer.is_audience(one),
            Json::List(list) => {
                let texts = list.iter().map(Json::as_text).collect::<Option<Vec<_>>>().ok_or(WRONG)?;
                texts.into_iter().any(|one| issuer.is_audience(one))
            }
            _ => return Err(WRONG),
        };
        if meant { Ok(()) } else { Err(TokenRefusal::Audience) }
    }

    /// A NumericDate (RFC 7519, section 2): seconds, perhaps with a fraction.
    fn date(&self, name: &'static str, round: fn(f64) -> f64) -> Result<Option<UnixSeconds>, TokenRefusal> {
        const MAX: f64 = 253_402_300_799.0;
        let seconds = match self.0.get(name) {
            None => return Ok(None),
            Some(Json::Whole(seconds)) => u64::try_from(*seconds).ok().filter(|seconds| *seconds <= DATE_SECONDS_MAX),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in bounds")]
            Some(Json::Number(seconds)) => (0.0..=MAX).contains(seconds).then(|| round(*seconds) as u64),
            Some(_) => None,
        };
        seconds.map(|seconds| Some(UnixSeconds(seconds))).ok_or(TokenRefusal::Claims(name))
    }

    fn text(&mut self, name: &'static str, bytes_max: usize) -> Result<Option<String>, TokenRefusal> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Json::Text(text)) if is_fit(&text, bytes_max) => Ok(Some(text)),
            Some(_) => Err(TokenRefusal::Claims(name)),
        }
    }

    fn names<T: FromStr>(&self, name: &'static str) -> Result<Option<Vec<T>>, TokenRefusal> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::List(list)) if list.len() <= TOKEN_PRODUCTS_MAX => {
                let names = list.iter().map(|one| one.as_text()?.parse().ok()).collect::<Option<Vec<T>>>();
                names.map(Some).ok_or(TokenRefusal::Claims(name))
            }
            Some(_) => Err(TokenRefusal::Claims(name)),
        }
    }
}

/// Not empty, not long, and fit for a line of a log or a column of a table.
fn is_fit(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
