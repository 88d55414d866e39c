//! Imports: many accounts and entitlements in one transaction, line by line refused or taken.
//!
//! What is imported is not told one by one: the next snapshot tells it. A line that was imported before changes nothing,
//! so an import that was interrupted is simply run again.

use crate::accounts::{changed, check, check_standing, check_terms, new};
use crate::actor::Actor;
use crate::control::Node;
use crate::error::{CallError, chain};
use crate::record::accounts::{self, NewEntitlement};
use crate::record::audit::Deed;
use crate::record::{Batch, next_number, products};
use penstock_core::account::{AccountId, HOLDINGS_MAX};
use penstock_core::desk::{Account, ImportAnswer, ImportLine, ImportRefusal, PutAccount};
use penstock_core::id::ProductId;
use penstock_core::limits::IMPORT_LINES_MAX;
use penstock_core::time::UnixSeconds;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What an account holds, in the terms that an import compares.
type Held = HashSet<(i64, u64, Option<u64>)>;

/// Takes lines.
pub(crate) fn take(node: &Node, actor: &Actor, lines: &[serde_json::Value]) -> Result<ImportAnswer, CallError> {
    if lines.len() > IMPORT_LINES_MAX {
        return Err(CallError::TooLarge { what: "the lines of one import", max: IMPORT_LINES_MAX as u64 });
    }
    let mut answer = ImportAnswer::default();
    let mut good = Vec::new();
    for (index, line) in (0..).zip(lines) {
        match read(line) {
            Ok(line) => good.push((index, line)),
            Err(error) => answer.refused.push(ImportRefusal { index, detail: chain(&error) }),
        }
    }
    node.record.write(actor, node.now(), |batch| {
        let mut answer = answer.clone();
        let mut import = Import::begin(batch, &good)?;
        for (index, line) in &good {
            match import.line(batch, actor, line) {
                Ok(done) => done.count(&mut answer),
                Err(LineError::Refused(detail)) => answer.refused.push(ImportRefusal { index: *index, detail }),
                Err(LineError::Failed(error)) => return Err(error),
            }
        }
        import.write(node, batch)?;
        let number = next_number(batch.connection(), "imports")?;
        batch.audit(&Deed::new("import", format!("import/{number}")).after(&summary(lines, &answer))?)?;
        answer.refused.sort_by_key(|refusal| refusal.index);
        Ok(answer)
    })
}

/// What the audit says of an import: its counts, and a hash of its lines, each as compact JSON and a line feed.
fn summary(lines: &[serde_json::Value], answer: &ImportAnswer) -> serde_json::Value {
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        hasher.update(line.to_string().as_bytes());
        hasher.update(b"\n");
    }
    serde_json::json!({
        "lines": lines.len(),
        "lines_blake3": hasher.finalize().to_hex().as_str(),
        "accounts": answer.accounts,
        "changed": answer.changed,
        "entitlements": answer.entitlements,
        "same": answer.same,
        "refused": answer.refused.len(),
    })
}

fn read(line: &serde_json::Value) -> Result<ImportLine, CallError> {
    let line: ImportLine = serde_path_to_error::deserialize(line).map_err(|error| {
        let field = error.path().to_string();
        let reason = error.into_inner();
        CallError::Malformed(if field == "." { reason.to_string() } else { format!("{field}: {reason}") })
    })?;
    check(&put_of(&line))?;
    line.terms.iter().try_for_each(check_terms)?;
    if line.terms.is_none() && (line.starts.is_some() || line.ends.is_some()) {
        return Err(CallError::Malformed("starts and ends belong to terms, and there are none".to_owned()));
    }
    if line.ends.is_some_and(|ends| ends <= line.starts.unwrap_or(UnixSeconds(0))) {
        return Err(CallError::Malformed("ends: an entitlement must end after it starts".to_owned()));
    }
    Ok(line)
}

fn put_of(line: &ImportLine) -> PutAccount {
    PutAccount {
        kind: line.kind,
        standing: line.standing,
        attributes: line.attributes.clone(),
        ..PutAccount::default()
    }
}

enum LineError {
    Refused(String),
    Failed(CallError),
}

impl<E: Into<CallError>> From<E> for LineError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What became of one line.
#[derive(Default)]
struct Done {
    is_new: bool,
    is_changed: bool,
    is_given: bool,
}

impl Done {
    fn count(&self, answer: &mut ImportAnswer) {
        answer.accounts += u64::from(self.is_new);
        answer.changed += u64::from(self.is_changed);
        answer.entitlements += u64::from(self.is_given);
        answer.same += u64::from(!self.is_new && !self.is_changed && !self.is_given);
    }
}

/// One import under way: what is there of its accounts, and what it will write.
struct Import {
    products: BTreeSet<ProductId>,
    accounts: BTreeMap<AccountId, Account>,
    held: HashMap<AccountId, Held>,
    terms: HashMap<String, i64>,
    made: BTreeSet<AccountId>,
    changed: BTreeSet<AccountId>,
    given: Vec<NewEntitlement>,
}

impl Import {
    fn begin(batch: &Batch<'_>, lines: &[(u64, ImportLine)]) -> Result<Self, CallError> {
        let names: BTreeSet<&AccountId> = lines.iter().map(|(_, line)| &line.account).collect();
        let names: Vec<&AccountId> = names.into_iter().collect();
        let known = accounts::lock_all(batch.connection(), &names)?;
        let mut held: HashMap<AccountId, Held> = HashMap::new();
        accounts::each_held(batch.connection(), &names, |account, terms, starts, ends| {
            held.entry(account).or_default().insert((terms, starts, ends));
        })?;
        Ok(Self {
            products: products::ids(batch.connection())?.into_iter().collect(),
            accounts: known.into_iter().map(|account| (account.id.clone(), account)).collect(),
            held,
            terms: HashMap::new(),
            made: BTreeSet::new(),
            changed: BTreeSet::new(),
            given: Vec::new(),
        })
    }

    fn line(&mut self, batch: &Batch<'_>, actor: &Actor, line: &ImportLine) -> Result<Done, LineError> {
        if let Some(terms) = &line.terms
            && !self.products.contains(&terms.product)
        {
            return Err(LineError::Refused(chain(&CallError::NoProduct(terms.product.clone()))));
        }
        let mut done = Done::default();
        let known = self.accounts.get(&line.account);
        done.is_new = known.is_none();
        let before = known.cloned().unwrap_or_else(|| new(line.account.clone(), batch.now()));
        let after = changed(before.clone(), &put_of(line), batch.now());
        check_standing(actor, before.standing, after.standing).map_err(|error| LineError::Refused(chain(&error)))?;
        done.is_changed = !done.is_new && after != before;
        if let Some(terms) = &line.terms {
            let (starts, ends) = (line.starts.unwrap_or(UnixSeconds(0)), line.ends);
            let number = accounts::terms_number_cached(batch.connection(), terms, &mut self.terms)?;
            let held = self.held.entry(line.account.clone()).or_default();
            let key = (number, starts.0, ends.map(|ends| ends.0));
            if !held.contains(&key) {
                if held.len() >= HOLDINGS_MAX {
                    return Err(LineError::Refused(format!("the account holds {HOLDINGS_MAX} entitlements already")));
                }
                held.insert(key);
                self.given.push(NewEntitlement { account: line.account.clone(), terms: number, starts, ends });
                done.is_given = true;
            }
        }
        if done.is_new {
            self.made.insert(line.account.clone());
        } else if done.is_changed && !self.made.contains(&line.account) {
            self.changed.insert(line.account.clone());
        }
        self.accounts.insert(line.account.clone(), after);
        Ok(done)
    }

    fn write(&self, node: &Node, batch: &Batch<'_>) -> Result<(), CallError> {
        let accounts_of = |names: &BTreeSet<AccountId>| -> Vec<&Account> {
            names.iter().filter_map(|name| self.accounts.get(name)).collect()
        };
        accounts::insert_all(batch.connection(), &accounts_of(&self.made), &node.keys.pseudonyms)?;
        for account in accounts_of(&self.changed) {
            accounts::put(batch.connection(), account, &node.keys.pseudonyms)?;
        }
        Ok(accounts::grant_all(batch.connection(), &self.given, batch.now())?)
    }
}
