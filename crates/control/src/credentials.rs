//! Credentials: make, list, revoke, and find whose secret is shown.
//!
//! A secret is 32 random bytes, written as 43 characters of base64url. Only its BLAKE3 hash is kept: a fast hash is
//! enough for what cannot be guessed.

use crate::actor::Actor;
use crate::condition::Condition;
use crate::control::Node;
use crate::error::CallError;
use crate::keys::random_bytes;
use crate::page::{cut_page, page_rows};
use crate::permit::Permission;
use crate::record::audit::Deed;
use crate::record::{RecordError, accounts, acting, credentials};
use crate::sql::Connection;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use penstock_core::credential::{
    CREDENTIAL_PRODUCTS_MAX, CREDENTIALS_MAX, Credential, CredentialMade, CredentialsAnswer, PostCredential, Role,
};
use penstock_core::id::CredentialName;

/// Makes a credential. The answer is the only place where its secret ever is.
pub(crate) fn add(node: &Node, actor: &Actor, wanted: &PostCredential) -> Result<CredentialMade, CallError> {
    actor.require(Permission::CredentialsWrite)?;
    check(wanted)?;
    let secret = random_bytes().map_err(CallError::Random)?;
    let hash = *blake3::hash(&secret).as_bytes();
    let credential = node.record.write(actor, node.now(), |batch| {
        let now = batch.now();
        if wanted.expires.is_some_and(|expires| expires <= now) {
            return Err(CallError::Malformed("expires: it is over already".to_owned()));
        }
        if credentials::get(batch.connection(), &wanted.name)?.is_some() {
            return Err(CallError::CredentialTaken(wanted.name.clone()));
        }
        if credentials::count_live(batch.connection(), now)? >= CREDENTIALS_MAX {
            return Err(CallError::TooLarge { what: "live credentials", max: CREDENTIALS_MAX });
        }
        for product in &wanted.products {
            crate::products::find(batch.connection(), product)?;
        }
        let PostCredential { name, role, account, products, expires } = wanted.clone();
        let made = Credential { name, role, account, products, created: now, expires, revoked: None };
        check_account(batch.connection(), &made)?;
        credentials::add(batch.connection(), &made, &hash)?;
        batch.audit(&Deed::new("credential.add", subject(&made.name)).after(&made)?)?;
        Ok(made)
    })?;
    Ok(CredentialMade { credential, secret: URL_SAFE_NO_PAD.encode(secret) })
}

/// A page of credentials, by name.
pub(crate) fn page(
    node: &Node,
    after: Option<&CredentialName>,
    limit: Option<u64>,
) -> Result<CredentialsAnswer, CallError> {
    let limit = page_rows(limit);
    node.record.read(|connection| {
        let after = after.map_or("", CredentialName::as_str);
        let mut rows = credentials::page(connection, after, limit as u64 + 1)?;
        let next = cut_page(&mut rows, limit, |one| one.name.clone());
        Ok(CredentialsAnswer { credentials: rows, next })
    })
}

/// One credential.
pub(crate) fn get(node: &Node, name: &CredentialName) -> Result<Credential, CallError> {
    node.record.read(|connection| find(connection, name))
}

fn find(connection: &Connection, name: &CredentialName) -> Result<Credential, CallError> {
    credentials::get(connection, name)?.ok_or_else(|| CallError::NoCredential(name.clone()))
}

/// Revokes a credential: it opens nothing from the next request on. Doing it twice is well.
pub(crate) fn revoke(
    node: &Node,
    actor: &Actor,
    condition: &Condition,
    name: &CredentialName,
) -> Result<Credential, CallError> {
    node.record.write(actor, node.now(), |batch| {
        let before = find(batch.connection(), name)?;
        condition.check(Some(&before))?;
        if before.revoked.is_some() {
            return Ok(before);
        }
        credentials::revoke(batch.connection(), name, batch.now())?;
        let after = Credential { revoked: Some(batch.now()), ..before.clone() };
        batch.audit(&Deed::new("credential.revoke", subject(name)).before(&before)?.after(&after)?)?;
        Ok(after)
    })
}

/// Whose secret this is, if it is a live credential's. Everything else is one answer: nobody learns whether a secret is
/// unknown, over or revoked. The record is asked by hash, so how long that takes says nothing about any secret.
pub(crate) fn holder(node: &Node, offered: &[u8]) -> Result<Option<Actor>, CallError> {
    let Some(secret) = decode(offered) else { return Ok(None) };
    let hash = *blake3::hash(&secret).as_bytes();
    node.record.read(|connection| {
        let found = credentials::by_hash(connection, &hash)?.filter(|one| one.is_live(node.now()));
        let Some(credential) = found else { return Ok(None) };
        let party = acting::party(connection, &credential)?;
        Ok(Some(Actor::holder(credential, party)))
    })
}

/// Refuses an actor whose credential ended or was revoked since it was let in: for calls that last.
pub(crate) fn check_live(node: &Node, actor: &Actor) -> Result<(), CallError> {
    // The node's own have no credential in the record: no credential's name begins with an @.
    let Ok(name) = CredentialName::new(actor.name()) else { return Ok(()) };
    let found = node.record.read(|connection| Ok::<_, CallError>(credentials::get(connection, &name)?))?;
    if found.is_some_and(|one| one.is_live(node.now())) { Ok(()) } else { Err(CallError::Credentials) }
}

/// That there is somebody for whom the credential's holder acts.
fn check_account(connection: &Connection, made: &Credential) -> Result<(), CallError> {
    let Some(named) = &made.account else { return Ok(()) };
    accounts::get(connection, named)?.ok_or_else(|| CallError::NoAccount(named.clone()))?;
    match acting::party(connection, made) {
        Ok(_) => Ok(()),
        // Nobody is forbidden anything here: it is the wish that cannot be.
        Err(RecordError::Acting(error)) => Err(CallError::Malformed(format!("account: {error}"))),
        Err(error) => Err(error.into()),
    }
}

fn decode(offered: &[u8]) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(offered).ok()?.try_into().ok()
}

fn check(wanted: &PostCredential) -> Result<(), CallError> {
    if wanted.account.is_some() != wanted.role.is_for_one_account() {
        let said = "account: the roles company and reseller act for one account and name it, and no other role does";
        return Err(CallError::Malformed(said.to_owned()));
    }
    if !wanted.products.is_empty() && wanted.role != Role::Publisher {
        return Err(CallError::Malformed("products: only publishers are limited to some".to_owned()));
    }
    if wanted.products.len() > CREDENTIAL_PRODUCTS_MAX {
        return Err(CallError::TooLarge { what: "a credential's products", max: CREDENTIAL_PRODUCTS_MAX as u64 });
    }
    Ok(())
}

fn subject(name: &CredentialName) -> String {
    format!("credential/{name}")
}
