//! Links: URLs that carry what they are worth, for tools that can send no header. Signed here, kept nowhere.

use crate::control::Node;
use crate::error::CallError;
use crate::products;
use crate::record::accounts;
use penstock_core::link::{LinkAnswer, LinkTerms, PostLink};

/// Signs a link for an account that there is. What it opens is decided by edges, when it is used.
pub(crate) fn sign(node: &Node, wanted: &PostLink) -> Result<LinkAnswer, CallError> {
    node.record.read(|connection| {
        if let Some(product) = &wanted.product {
            products::find(connection, product)?;
        }
        accounts::get(connection, &wanted.account)?.ok_or_else(|| CallError::NoAccount(wanted.account.clone()))
    })?;
    let now = node.now();
    let terms = LinkTerms {
        account: node.keys.pseudonyms.account(wanted.account.as_str()),
        issued: now,
        expires: now.plus(wanted.ttl_seconds),
        product: wanted.product.clone(),
        path: wanted.path.clone(),
    };
    LinkAnswer::sign(&terms, &node.keys.link).map_err(|error| CallError::Malformed(format!("ttl_seconds: {error}")))
}
