//! The cache under floods, many threads and a model.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::account::{AccountFacts, AccountKey, PseudonymKey, Standing};
use penstock_core::catalog::RevokedToken;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Believes every token whose signature begins with "g"; its payload is the account, its life an hour.
#[derive(Default)]
struct Issuer {
    keys: AtomicU64,
    verifications: AtomicU64,
}

impl Verifier for Issuer {
    fn verify(&self, token: &RawToken, _: Option<IpAddr>, now: UnixSeconds) -> Result<Bearer, NoBearer> {
        self.verifications.fetch_add(1, Ordering::SeqCst);
        if !token.signature().starts_with('g') {
            return Err(NoBearer::Faulty(TokenFault::Signature));
        }
        let account = URL_SAFE_NO_PAD.decode(token.payload()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let account = account.ok_or(NoBearer::Faulty(TokenFault::Claims))?;
        Ok(Bearer {
            id: Some(TokenId { issuer: "i".into(), id: account.clone() }),
            account,
            issued: Some(now),
            expires: now.plus(2 * TRUST_SECONDS_MAX),
            products: None,
            components: None,
            device: None,
        })
    }
    fn generation(&self) -> u64 {
        self.keys.load(Ordering::SeqCst)
    }
}

const NOW: UnixSeconds = UnixSeconds(1_000_000);

fn token(account: &str, signature: &str) -> Vec<u8> {
    format!("Bearer e30.{}.{signature}", URL_SAFE_NO_PAD.encode(account)).into_bytes()
}

/// Revokes the token of an account, for as long as it lives.
fn revoke(passports: &Passports, account: &str, now: UnixSeconds) {
    let token = passports.accounts.pseudonyms().token("i", account);
    passports.revoked.add(&[RevokedToken { token, until: now.plus(2 * TRUST_SECONDS_MAX) }], now);
}

fn passports(bytes_max: usize) -> (Arc<Accounts>, Arc<Issuer>, Passports) {
    let accounts = Arc::new(Accounts::new(PseudonymKey::from_bytes([1; 32])));
    let issuer = Arc::new(Issuer::default());
    let verifier = Arc::clone(&issuer) as Arc<dyn Verifier>;
    let passports = Passports::new(Arc::clone(&accounts), Arc::default(), verifier, [2; 32], bytes_max);
    (accounts, issuer, passports)
}

fn standing(presented: &Presented) -> Option<Standing> {
    match presented {
        Presented::Known(passport) => passport.facts.as_ref().map(|facts| facts.standing),
        _ => None,
    }
}

fn with(standing: Standing) -> Option<AccountFacts> {
    Some(AccountFacts { standing, ..AccountFacts::default() })
}

#[test]
fn a_token_is_one_entry_however_it_is_spelled() {
    let (accounts, issuer, passports) = passports(1 << 20);
    accounts.set(1, accounts.pseudonyms().account("alice"), with(Standing::Active));
    let text = String::from_utf8(token("alice", "good")).expect("text");
    let text = text.strip_prefix("Bearer ").expect("a scheme");
    let is_malformed =
        |value: &str| matches!(passports.of(value.as_bytes(), None, NOW), Presented::Faulty(TokenFault::Malformed));
    assert!(is_malformed(text), "without its scheme it is no token, and keeps nobody from using the real one");
    for spelling in ["Bearer ", "bearer ", "BEARER ", "bEaReR    "] {
        for end in ["", " ", "   "] {
            let found = passports.of(format!("{spelling}{text}{end}").as_bytes(), None, NOW);
            assert_eq!(standing(&found), Some(Standing::Active), "{spelling:?} {end:?}");
        }
    }
    assert!(is_malformed(text), "nor does it become one when the real one is known");
    assert_eq!((passports.held().0, issuer.verifications.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn passports_do_not_outlive_the_key_that_names_their_accounts() {
    let (accounts, issuer, passports) = passports(1 << 20);
    let (old, new) = (accounts.pseudonyms(), PseudonymKey::from_bytes([9; 32]));
    accounts.set(1, old.account("alice"), with(Standing::Active));
    let alice = token("alice", "good");
    let (memo, ask) = (Memo::default(), |memo: &Memo| passports.of_request(Proof::Token(&alice), memo, None, NOW));
    assert_eq!(standing(&ask(&memo)), Some(Standing::Active));
    accounts.set_pseudonyms(old);
    assert_eq!(standing(&ask(&memo)), Some(Standing::Active));
    assert_eq!(issuer.verifications.load(Ordering::SeqCst), 1, "the same key is no change");
    accounts.set_pseudonyms(new);
    accounts.replace(None, vec![(2, new.account("alice"), with(Standing::Suspended))]);
    assert_eq!(standing(&ask(&memo)), Some(Standing::Suspended), "on the same connection");
    assert_eq!(standing(&ask(&Memo::default())), Some(Standing::Suspended), "and on another");
    assert_eq!(issuer.verifications.load(Ordering::SeqCst), 2);
    // A revocation that is told by the new pseudonyms counts for a token that came before.
    accounts.set(3, new.account("alice"), with(Standing::Active));
    revoke(&passports, "alice", NOW);
    assert!(matches!(ask(&memo), Presented::Known(passport) if passport.is_revoked));
}

#[test]
fn a_passport_is_believed_for_a_while_and_no_longer() {
    let (_, issuer, passports) = passports(1 << 20);
    let verified = || issuer.verifications.load(Ordering::SeqCst);
    let alice = token("alice", "good");
    for second in 0..TRUST_SECONDS_MAX * 3 / 4 {
        drop(passports.of(&alice, None, NOW.plus(second)));
    }
    assert_eq!(verified(), 1);
    drop(passports.of(&alice, None, NOW.plus(TRUST_SECONDS_MAX)));
    assert_eq!(verified(), 2, "whatever the token says");
    issuer.keys.fetch_add(1, Ordering::SeqCst);
    drop(passports.of(&alice, None, NOW.plus(TRUST_SECONDS_MAX)));
    assert_eq!(verified(), 3, "other keys");
    let forged = token("alice", "xx");
    for second in 0..REFUSAL_SECONDS {
        assert!(matches!(passports.of(&forged, None, NOW.plus(second)), Presented::Faulty(TokenFault::Signature)));
    }
    assert_eq!(verified(), 4);
    drop(passports.of(&forged, None, NOW.plus(REFUSAL_SECONDS)));
    assert_eq!(verified(), 5);
}

#[test]
fn a_revoked_token_is_known_as_such_at_once_and_for_good() {
    let (accounts, issuer, passports) = passports(1 << 20);
    let is_revoked = |name: &str| match passports.of(&token(name, "good"), None, NOW) {
        Presented::Known(passport) => passport.is_revoked,
        other => panic!("{other:?}"),
    };
    assert!(!is_revoked("alice") && !is_revoked("bob"));
    revoke(&passports, "alice", NOW);
    assert!(is_revoked("alice") && !is_revoked("bob"), "the cached one, too");
    accounts.set(1, accounts.pseudonyms().account("alice"), with(Standing::Active));
    assert!(is_revoked("alice"), "a change of the account is no pardon");
    assert_eq!(issuer.verifications.load(Ordering::SeqCst), 2, "nobody was verified anew");
    revoke(&passports, "carol", NOW);
    assert!(is_revoked("carol"), "before it was ever seen");
}

/// A million different garbage tokens go by; whoever was there before stays, and memory keeps its bound.
#[test]
fn a_flood_of_garbage_takes_nobodys_place() {
    let (_, issuer, passports) = passports(1 << 20);
    let players: Vec<Vec<u8>> = (0..1000).map(|number| token(&format!("player-{number}"), "good")).collect();
    players.iter().for_each(|player| drop(passports.of(player, None, NOW)));
    for number in 0..200_000 {
        drop(passports.of(&token(&number.to_string(), "bad"), None, NOW));
    }
    let before = issuer.verifications.load(Ordering::SeqCst);
    players.iter().for_each(|player| drop(passports.of(player, None, NOW)));
    assert_eq!(issuer.verifications.load(Ordering::SeqCst), before, "all were remembered");
    assert!(passports.refusals.bytes() <= REFUSAL_BYTES_MAX);
    assert!(passports.held().0 == 1000 && passports.held().1 <= 1 << 20);
}

/// More players than there is room for: the bound holds, and those who come again and again are the ones that stay.
#[test]
fn who_comes_again_stays() {
    let (_, issuer, passports) = passports(256 << 10);
    let regulars: Vec<Vec<u8>> = (0..200).map(|number| token(&format!("regular-{number}"), "good")).collect();
    for number in 0..20_000 {
        drop(passports.of(&regulars[number % regulars.len()], None, NOW));
        drop(passports.of(&token(&format!("once-{number}"), "good"), None, NOW));
        assert!(passports.held().1 <= 256 << 10);
    }
    let before = issuer.verifications.load(Ordering::SeqCst);
    regulars.iter().for_each(|regular| drop(passports.of(regular, None, NOW)));
    let again = issuer.verifications.load(Ordering::SeqCst) - before;
    assert!(again <= 10, "{again} of 200 had been pushed out");
}

/// Found by the model below: entries grew when their accounts did, and nobody made room.
#[test]
fn accounts_that_come_to_hold_more_do_not_break_the_bound() {
    let bytes_max = 20_000;
    let (accounts, _, passports) = passports(bytes_max);
    let players: Vec<String> = (0..60).map(|number| format!("player-{number}")).collect();
    players.iter().for_each(|player| drop(passports.of(&token(player, "good"), None, NOW)));
    let before = passports.held();
    for player in &players {
        let terms = Arc::new(penstock_core::account::Terms::of("game".parse().expect("a name")));
        let one = penstock_core::account::Holding { terms, starts: NOW, ends: None };
        let facts = AccountFacts { holdings: vec![one; 40].into(), ..AccountFacts::default() };
        accounts.set(1, accounts.pseudonyms().account(player), Some(facts));
        drop(passports.of(&token(player, "good"), None, NOW));
        assert!(passports.held().1 <= bytes_max);
    }
    assert!(passports.held().0 < before.0, "some had to go");
}

/// Insert, expire, renew, evict and look up the same keys from many threads. A watchdog, because what this is afraid of is
/// that nobody comes back.
#[test]
fn many_threads_on_the_same_keys_come_back() {
    let (accounts, issuer, passports) = passports(64 << 10);
    let stop = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    let (accounts, issuer, passports) = (&accounts, &issuer, &passports);
    let (stop, rounds) = (&stop, &rounds);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            scope.spawn(move || {
                let mut state = thread + 1;
                while !stop.load(Ordering::Relaxed) {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let name = format!("account-{}", (state >> 33) % 600);
                    let now = NOW.plus((state >> 45) % (2 * TRUST_SECONDS_MAX));
                    match (state >> 60) % 16 {
                        8 => revoke(passports, &name, now),
                        0 => accounts.set(1, accounts.pseudonyms().account(&name), with(Standing::Active)),
                        1 => drop(passports.of(&token(&name, "bad"), None, now)),
                        2 if state >> 50 & 255 == 0 => drop(issuer.keys.fetch_add(1, Ordering::SeqCst)),
                        _ => drop(passports.of(&token(&name, "good"), None, now)),
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        let mut last = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(250));
            let now = rounds.load(Ordering::Relaxed);
            if now == last {
                // Joining the threads would hang, too.
                eprintln!("nobody came back after {now} rounds");
                std::process::abort();
            }
            last = now;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(passports.held().1 <= 64 << 10);
    assert_eq!(passports.held().0 == 0, passports.held().1 == 0, "what is counted is what is there");
}

#[derive(Debug, Clone)]
enum Move {
    Ask(u8, bool),
    Set(u8, Option<Standing>),
    Revoke(u8),
    Keys,
    Wait(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    let standing = prop_oneof![Just(Standing::Active), Just(Standing::Suspended), Just(Standing::Denied)];
    prop_oneof![
        6 => (0u8..6, any::<bool>()).prop_map(|(who, good)| Move::Ask(who, good)),
        3 => (0u8..6, proptest::option::of(standing)).prop_map(|(who, standing)| Move::Set(who, standing)),
        1 => (0u8..6).prop_map(Move::Revoke),
        1 => Just(Move::Keys),
        2 => (0u64..2 * TRUST_SECONDS_MAX).prop_map(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    /// Whatever the cache remembers or forgets, its answers are those of somebody who has none.
    #[test]
    fn the_cache_changes_no_answer(moves in proptest::collection::vec(any_move(), 0..60), bytes_max in 200usize..4000) {
        let (accounts, issuer, passports) = passports(bytes_max);
        let mut model: HashMap<AccountKey, Standing> = HashMap::new();
        let mut ends: HashMap<String, UnixSeconds> = HashMap::new();
        let mut now = NOW;
        for one in moves {
            match one {
                Move::Ask(who, good) => {
                    let name = format!("account-{who}");
                    let presented = passports.of(&token(&name, if good { "good" } else { "bad" }), None, now);
                    prop_assert_eq!(matches!(presented, Presented::Known(_)), good);
                    let expected = model.get(&accounts.pseudonyms().account(&name)).copied().filter(|_| good);
                    prop_assert_eq!(standing(&presented), expected);
                    if let (Presented::Known(passport), None) = (&presented, ends.get(&name)) {
                        prop_assert!(!passport.is_revoked);
                    }
                    if let (Presented::Known(passport), Some(end)) = (&presented, ends.get(&name)) {
                        prop_assert!(passport.is_revoked || now >= *end);
                    }
                    prop_assert!(passports.held().1 <= bytes_max);
                }
                Move::Set(who, standing) => {
                    let key = accounts.pseudonyms().account(&format!("account-{who}"));
                    match standing {
                        Some(standing) => drop(model.insert(key, standing)),
                        None => drop(model.remove(&key)),
                    }
                    accounts.set(1, key, standing.and_then(with));
                }
                Move::Revoke(who) => {
                    let name = format!("account-{who}");
                    revoke(&passports, &name, now);
                    ends.insert(name, now.plus(2 * TRUST_SECONDS_MAX));
                }
                Move::Keys => drop(issuer.keys.fetch_add(1, Ordering::SeqCst)),
                Move::Wait(seconds) => now = now.plus(seconds),
            }
        }
    }
}
