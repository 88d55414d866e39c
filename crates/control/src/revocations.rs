//! Revoked tokens: take, list, forget. Kept and told under pseudonyms: whoever steals the record learns no id of a token.

use crate::actor::Actor;
use crate::control::Node;
use crate::error::CallError;
use crate::record::audit::Deed;
use crate::record::revocations;
use crate::sql::Connection;
use crate::state::Teller;
use crate::token::TOKEN_ISSUER;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::account::TokenKey;
use penstock_core::catalog::{CatalogChange, REVOKED_AT_ONCE_MAX, RevokedToken};
use penstock_core::desk::policy::{PostRevocations, RevocationRow, RevocationsAnswer, RevocationsTaken, RevokeToken};
use penstock_core::limits::{FOREIGN_TOKEN_LIFE_SECONDS, PAGE_ROWS_MAX, TOKEN_ID_BYTES_MAX, TOKEN_LIFE_SECONDS_MAX};
use penstock_core::link::LINK_ISSUER;
use penstock_core::statement::SEQUENCE_MAX;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use serde::Deserialize;
use std::collections::HashMap;

/// Revocations that are remembered at once: every edge keeps all of them, in about 40 bytes each.
const REVOCATIONS_MAX: u64 = 4_000_000;
/// How long after its end a token is remembered, in seconds: clocks of edges differ, and they let a token live a little
/// longer than it says.
const REMEMBERED_SECONDS: u64 = 24 * 3600;
/// Rows that one transaction forgets: other changes get between.
const FORGOTTEN_AT_ONCE: u64 = 10_000;

/// Revokes tokens. All of a request or none.
pub(crate) fn take(node: &Node, actor: &Actor, wanted: &PostRevocations) -> Result<RevocationsTaken, CallError> {
    if wanted.tokens.len() > REVOKED_AT_ONCE_MAX {
        return Err(CallError::TooLarge { what: "the tokens of one request", max: REVOKED_AT_ONCE_MAX as u64 });
    }
    let now = node.now();
    let mut ended = 0;
    let mut asked: HashMap<TokenKey, UnixSeconds> = HashMap::new();
    for (index, token) in wanted.tokens.iter().enumerate() {
        let revoked =
            read(node, token, now).map_err(|reason| CallError::Malformed(format!("tokens[{index}]: {reason}")))?;
        // Edges take a token for a moment after its end, for clocks that differ.
        if revoked.until.plus(REMEMBERED_SECONDS) <= now {
            ended += 1;
            continue;
        }
        let until = asked.entry(revoked.token).or_insert(revoked.until);
        *until = revoked.until.max(*until);
    }
    let keys: Vec<TokenKey> = asked.keys().copied().collect();
    let distinct = asked.len() as u64;
    node.record.write(actor, now, |batch| {
        let known = revocations::known(batch.connection(), &keys)?;
        let is_news = |(token, until): &(&TokenKey, &UnixSeconds)| known.get(*token).is_none_or(|old| old < *until);
        let mut tokens: Vec<RevokedToken> =
            asked.iter().filter(is_news).map(|(token, until)| RevokedToken { token: *token, until: *until }).collect();
        tokens.sort_unstable_by_key(|token| token.token);
        let new = distinct - known.len() as u64;
        if revocations::count(batch.connection())? + new > REVOCATIONS_MAX {
            return Err(CallError::TooLarge {
                what: "revoked tokens that did not end by themselves",
                max: REVOCATIONS_MAX,
            });
        }
        let revoked = tokens.len() as u64;
        if revoked > 0 {
            revocations::put_all(batch.connection(), &tokens, new, batch.now())?;
            batch.audit(&Deed::new("tokens.revoke", "revocations".to_owned()).after(&tokens)?)?;
            batch.tell(CatalogChange::TokensRevoked { tokens })?;
        }
        Ok(RevocationsTaken { revoked, known: wanted.tokens.len() as u64 - ended - revoked, ended })
    })
}

/// A page, by pseudonym.
pub(crate) fn page(node: &Node, after: Option<TokenKey>, limit: Option<u64>) -> Result<RevocationsAnswer, CallError> {
    let most = PAGE_ROWS_MAX as u64;
    let limit = limit.unwrap_or(most).clamp(1, most);
    node.record.read(|connection| {
        let mut rows = revocations::page(connection, after, limit + 1)?;
        let is_last = rows.len() as u64 <= limit;
        rows.truncate(usize::try_from(limit).unwrap_or(PAGE_ROWS_MAX));
        let next = if is_last { None } else { rows.last().map(|row| row.token) };
        Ok(RevocationsAnswer { revocations: rows, total: revocations::count(connection)?, next })
    })
}

/// One, by the id that it had.
pub(crate) fn get(node: &Node, issuer: Option<&str>, id: &str) -> Result<RevocationRow, CallError> {
    let token = node.keys.pseudonyms.token(issuer.unwrap_or(TOKEN_ISSUER), id);
    node.record.read(|connection| revocations::get(connection, token)?.ok_or(CallError::NotRevoked))
}

/// Forgets tokens that ended by themselves a while ago; returns how many.
pub(crate) fn forget(node: &Node, now: UnixSeconds) -> Result<u64, CallError> {
    let ended = UnixSeconds(now.0.saturating_sub(REMEMBERED_SECONDS));
    let mut forgotten = 0;
    loop {
        let some = node.record.keep_house(now, |batch| {
            Ok::<_, CallError>(revocations::forget(batch.connection(), ended, FORGOTTEN_AT_ONCE)?)
        })?;
        forgotten += some;
        if some < FORGOTTEN_AT_ONCE {
            return Ok(forgotten);
        }
    }
}

/// Tells all that are remembered, some at a time: an edge that starts takes ended tokens for a moment too.
pub(crate) fn tell_all(
    connection: &Connection,
    newest: u64,
    now: UnixSeconds,
    tell: &mut Teller<'_>,
) -> Result<(), CallError> {
    let mut tokens = Vec::new();
    let remembered = UnixSeconds(now.0.saturating_sub(REMEMBERED_SECONDS));
    revocations::each_since(connection, remembered, |token| {
        tokens.push(token);
        if tokens.len() == REVOKED_AT_ONCE_MAX {
            tell(newest, CatalogChange::TokensRevoked { tokens: std::mem::take(&mut tokens) })?;
        }
        Ok::<_, CallError>(())
    })?;
    if tokens.is_empty() { Ok(()) } else { tell(newest, CatalogChange::TokensRevoked { tokens }) }
}

/// Which token is meant and until when. The reason of a refusal repeats nothing of a token.
fn read(node: &Node, wanted: &RevokeToken, now: UnixSeconds) -> Result<RevokedToken, String> {
    let (issuer, id, until) = match (&wanted.id, &wanted.token) {
        (Some(id), None) => {
            let issuer = wanted.issuer.clone().unwrap_or_else(|| TOKEN_ISSUER.to_owned());
            // Nobody knows when it ends: if it is ours, not later than the longest token that was minted a moment ago.
            let is_own = issuer == TOKEN_ISSUER || issuer == LINK_ISSUER;
            let longest = if is_own { TOKEN_LIFE_SECONDS_MAX } else { FOREIGN_TOKEN_LIFE_SECONDS };
            (issuer, id.clone(), wanted.until.unwrap_or_else(|| now.plus(longest)))
        }
        (None, Some(text)) => {
            if wanted.issuer.is_some() {
                return Err("issuer: a whole token says who issued it".to_owned());
            }
            let claims = Claims::read(text)?;
            // Forgotten before its end, it would be good again.
            (claims.iss, claims.jti, wanted.until.map_or(claims.exp.0, |until| until.max(claims.exp.0)))
        }
        _ => return Err("name either an id or a token".to_owned()),
    };
    for (what, text) in [("id", &id), ("issuer", &issuer)] {
        if text.is_empty() || text.len() > TOKEN_ID_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!("{what}: it has 1 to {TOKEN_ID_BYTES_MAX} bytes and no control characters"));
        }
    }
    if until.0 > SEQUENCE_MAX {
        return Err("until: this is no number of seconds since 1970".to_owned());
    }
    Ok(RevokedToken { token: node.keys.pseudonyms.token(&issuer, &id), until })
}

/// What a token says of itself. Nobody checked its signature: whoever revokes a token need not prove that it is good.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    jti: String,
    exp: End,
}

/// Claim `exp` (RFC 7519, section 2: perhaps with a fraction), rounded up.
#[derive(Clone, Copy)]
struct End(UnixSeconds);

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
        let is_date = (0.0..=SEQUENCE_MAX as f64).contains(&seconds);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in bounds")]
        let end = Self(UnixSeconds(seconds.ceil() as u64));
        if is_date { Ok(end) } else { Err(serde::de::Error::custom("not a date")) }
    }
}

impl Claims {
    fn read(text: &str) -> Result<Self, String> {
        const LACKING: &str = "token: it lacks a claim iss, jti or exp, or has one that is malformed: revoke it by its \
             account instead (account set --sign-out)";
        let token = RawToken::new(text.trim()).map_err(|error| format!("token: {error}"))?;
        let payload = URL_SAFE_NO_PAD.decode(token.payload()).map_err(|_| "token: it is not base64url".to_owned())?;
        serde_json::from_slice(&payload).map_err(|_| LACKING.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("aa.{}.cc", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn claims_are_read_without_being_believed() {
        let claims = Claims::read(&token(r#"{"iss":"idp","jti":"7","exp":1800000000.5,"sub":"alice"}"#));
        let Ok(claims) = claims else { panic!("claims") };
        assert_eq!((claims.iss.as_str(), claims.jti.as_str(), claims.exp.0), ("idp", "7", UnixSeconds(1_800_000_001)));
        for payload in [
            "",
            "[]",
            r#"{"iss":"idp","exp":5}"#,
            r#"{"iss":"idp","jti":"7"}"#,
            r#"{"iss":"idp","jti":7,"exp":5}"#,
            r#"{"iss":"idp","jti":"7","exp":-5}"#,
            r#"{"iss":"idp","jti":"7","exp":1e300}"#,
            r#"{"iss":"idp","jti":"7","jti":"8","exp":5}"#,
        ] {
            let refusal = Claims::read(&token(payload)).err().expect(payload);
            assert!(refusal.starts_with("token: ") && !refusal.contains("idp"), "{refusal}");
        }
        assert!(Claims::read("not a token").is_err());
    }
}
