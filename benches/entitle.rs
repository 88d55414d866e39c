//! Who asks: a passport from the cache, first verifications, memory, floods.

use crate::args::Args;
use crate::figures::{Figures, Goal, number};
use crate::hits;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use penstock_core::account::{AccountFacts, Holding, PseudonymKey, Terms};
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use penstock_core::token::RawToken;
use penstock_edge::passport::{Accounts, Bearer, NoBearer, Passports, Presented, TokenGate, Verifier};
use penstock_edge::token::{Issuer, JwksKeys, KeyRings};
use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// When all of this happens.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// Length of an `Authorization` value in bytes: what a studio's tokens usually have.
const TOKEN_BYTES: usize = 700;
/// Memory that a cache may have.
pub(crate) const ROOM_BYTES: usize = 4 << 30;

/// Measures all of it.
pub(crate) fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    // First: memory that another measurement gave back would hide what this one takes.
    first_times(args, figures)?;
    hits::measure(args, figures)?;
    flood(args, figures)
}

/// Believes everything: what is measured here is the cache.
pub(crate) struct Believer;

impl Verifier for Believer {
    fn verify(&self, token: &RawToken, _: Option<IpAddr>, _: UnixSeconds) -> Result<Bearer, NoBearer> {
        Ok(bearer(token.payload().get(..16).unwrap_or_default()))
    }
    fn generation(&self) -> u64 {
        0
    }
}

fn bearer(account: &str) -> Bearer {
    Bearer {
        account: account.to_owned(),
        issued: Some(NOW),
        expires: NOW.plus(3600),
        products: None,
        components: None,
        device: None,
        id: None,
    }
}

/// No accounts yet.
pub(crate) fn accounts() -> Arc<Accounts> {
    Arc::new(Accounts::new(PseudonymKey::from_bytes([7; 32])))
}

/// One product without limits.
fn facts() -> Result<AccountFacts> {
    let terms = Arc::new(Terms::of("game".parse().context("a name")?));
    let holdings = [Holding { terms, starts: UnixSeconds(0), ends: None }].into();
    Ok(AccountFacts { holdings, ..AccountFacts::default() })
}

/// An `Authorization` value of the usual length whose payload begins with its number.
pub(crate) fn value(of: usize) -> Vec<u8> {
    let mut text = format!("Bearer eyJhbGciOiJFZERTQSJ9.{of:016}");
    // A length that base64url can have.
    while text.len() < TOKEN_BYTES - 87 || (text.len() - 28) % 4 != 0 {
        text.push('x');
    }
    text.push('.');
    text.push_str(&"s".repeat(86));
    text.into_bytes()
}

/// Tokens that were never seen, each presented once: verified with EdDSA, resolved, remembered.
fn first_times(args: &Args, figures: &mut Figures) -> Result<()> {
    let count = args.pick(2000, 500_000);
    let secret = SecretKey::from_seed(&[3; 32]);
    // RFC 8410, section 7: what stands before the seed in PKCS #8.
    let head = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let key = EncodingKey::from_ed_der(&[&head[..], &[3; 32]].concat());
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(secret.public().id().to_string());
    let mint = |of: u64| -> Result<Vec<u8>> {
        let claims = serde_json::json!({
            "iss": "penstock", "aud": "penstock", "sub": format!("player-{of}"), "iat": NOW.0, "exp": NOW.0 + 3600,
            "jti": URL_SAFE_NO_PAD.encode([7; 200])
        });
        Ok(format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key)?).into_bytes())
    };
    let values = (0..count).map(mint).collect::<Result<Vec<_>>>()?;
    let accounts = accounts();
    for of in 0..count {
        accounts.set(1, accounts.pseudonyms().account(&format!("player-{of}")), Some(facts()?));
    }
    let known = vec![(Issuer::control(), JwksKeys::of_control(&secret.public()))];
    let gate = TokenGate::new(Arc::new(KeyRings::new(known, Vec::new())?), Vec::new(), HashMap::new());
    let passports = Passports::new(accounts, Arc::default(), Arc::new(gate), [1; 32], ROOM_BYTES);
    let before = resident_bytes()?;
    let begun = Instant::now();
    for value in &values {
        ensure!(matches!(passports.of(value, None, NOW), Presented::Known(_)), "a good token was refused");
    }
    let rate = number(count) / begun.elapsed().as_secs_f64();
    let held = number(resident_bytes()?.saturating_sub(before)) / number(count);
    figures.judge("first verifications (EdDSA), one core", "1/s", vec![rate], Goal::AtLeast(15_000.0));
    figures.judge("memory of a cached decision", "bytes", vec![held], Goal::AtMost(400.0));
    let (entries, counted) = passports.held();
    figures.add("what the cache counts for it", "bytes", vec![number(counted as u64) / number(entries as u64)]);
    Ok(())
}

/// Ten million different tokens that are worth nothing: the cache keeps its bound and everyone who was in it.
fn flood(args: &Args, figures: &mut Figures) -> Result<()> {
    struct Doubter;
    impl Verifier for Doubter {
        fn verify(&self, token: &RawToken, _: Option<IpAddr>, _: UnixSeconds) -> Result<Bearer, NoBearer> {
            if token.payload().starts_with('0') {
                return Ok(bearer(token.payload().get(..16).unwrap_or_default()));
            }
            Err(NoBearer::Faulty(penstock_core::entitle::TokenFault::Signature))
        }
        fn generation(&self) -> u64 {
            0
        }
    }
    let room = 64 << 20;
    let passports = Passports::new(accounts(), Arc::default(), Arc::new(Doubter), [1; 32], room);
    let players: Vec<Vec<u8>> = (0..50_000).map(value).collect();
    players.iter().for_each(|player| drop(passports.of(player, None, NOW)));
    let before = passports.held();
    let mut garbage = value(9_000_000_000_000_000);
    for round in 0..args.pick(20_000, 10_000_000) {
        // Another signature each time; the payload says that it is worth nothing.
        let at = garbage.len() - 12;
        garbage[at..].copy_from_slice(format!("{round:012}").as_bytes());
        black_box(passports.of(&garbage, None, NOW));
    }
    ensure!(passports.held() == before, "a flood of garbage moved the cache: {:?}, {before:?}", passports.held());
    ensure!(before.1 <= room, "the cache is larger than its bound");
    figures.add("garbage tokens that moved nobody out", "count", vec![number(args.pick(20_000, 10_000_000))]);
    Ok(())
}

fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.split_whitespace().next().context("a number")?.parse()?;
    Ok(kib * 1024)
}
