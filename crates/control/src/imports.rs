//! Imports: many accounts and entitlements in one transaction, line by line refused or taken.
//!
//! What is imported is not told one by one: the next snapshot tells it. A line that was imported before changes nothing,
//! so an import that was interrupted is simply run again.

use crate::accounts::{changed, check, check_kind, check_standing, check_terms, new};
mod ledger;

use self::ledger::{Ledger, Part};
use crate::actor::Actor;
use crate::control::Node;
use crate::entitlements::check_times;
use crate::error::{CallError, chain};
use crate::people::check_user;
use crate::people_error::PeopleError;
use crate::record::audit::Deed;
use crate::record::entitlements::{self, NewEntitlement, Same, What};
use crate::record::{Batch, accounts, holdings, next_number, packages, people, products};
use penstock_core::account::{AccountId, HOLDINGS_MAX};
use penstock_core::desk::{
    Account, AccountKind, Entitlement, ImportAnswer, ImportLine, ImportRefusal, PutAccount, Seat, User,
};
use penstock_core::id::{PackageId, ProductId};
use penstock_core::limits::{IMPORT_LINES_MAX, PACKAGE_ITEMS_MAX, SEATS_MAX, USERS_MAX};
use penstock_core::reply::Problem;
use penstock_core::time::UnixSeconds;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
                Err(error) if is_fault(&error) => return Err(error),
                Err(error) => answer.refused.push(ImportRefusal { index: *index, detail: chain(&error) }),
            }
        }
        let parts = import.write(node, batch)?;
        let number = next_number(batch.connection(), "imports")?;
        let subject = || format!("import/{number}");
        batch.audit(&Deed::new("import", subject()).after(&summary(lines, &answer))?)?;
        for Part { before, after } in parts {
            let before = (!before.is_empty()).then_some(before);
            batch.audit(&Deed::new("import.part", subject()).change(before.as_ref(), &after)?)?;
        }
        answer.refused.sort_by_key(|refusal| refusal.index);
        Ok(answer)
    })
}

/// What the audit says of an import as a whole: its counts, and a hash of its lines, each as compact JSON and a line feed.
/// What it changed stands in the entries behind that one ([`ledger`]).
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
        "users": answer.users,
        "seats": answer.seats,
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
    let refuse = |text: &str| Err(CallError::Malformed(text.to_owned()));
    if line.terms.is_some() && line.package.is_some() {
        return refuse("package: name either terms or a package");
    }
    let is_given = line.terms.is_some() || line.package.is_some();
    if !is_given && (line.starts.is_some() || line.ends.is_some() || line.seats.is_some()) {
        return refuse("starts, ends and seats belong to terms or a package, and there are none");
    }
    if line.seats.is_some_and(|seats| seats == 0 || seats > SEATS_MAX) {
        return Err(CallError::Malformed(format!("seats: 1 to {SEATS_MAX}")));
    }
    if line.role.is_some() && line.company.is_none() {
        return refuse("role: what somebody is for a company, and none is named");
    }
    check_times(line.starts.unwrap_or(UnixSeconds(0)), line.ends)?;
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

/// Whether an error is no line's fault.
fn is_fault(error: &CallError) -> bool {
    matches!(error.problem(), Problem::Internal | Problem::Unavailable | Problem::DiskFull)
}

/// What became of one line.
#[derive(Default)]
struct Done {
    is_new: bool,
    is_changed: bool,
    is_given: bool,
    is_user: bool,
    is_seated: bool,
}

impl Done {
    fn count(&self, answer: &mut ImportAnswer) {
        answer.accounts += u64::from(self.is_new);
        answer.changed += u64::from(self.is_changed);
        answer.entitlements += u64::from(self.is_given);
        answer.users += u64::from(self.is_user);
        answer.seats += u64::from(self.is_seated);
        let is_same = !(self.is_new || self.is_changed || self.is_given || self.is_user || self.is_seated);
        answer.same += u64::from(is_same);
    }
}

/// One import under way: what is there of its accounts, and what it will write.
struct Import {
    products: BTreeSet<ProductId>,
    packages: BTreeSet<PackageId>,
    accounts: BTreeMap<AccountId, Account>,
    held: HashMap<AccountId, HashSet<Same>>,
    weights: HashMap<AccountId, usize>,
    terms: HashMap<String, i64>,
    users: HashMap<AccountId, User>,
    /// How many users the companies have that were asked about.
    counts: HashMap<AccountId, u64>,
    /// Entitlements that seats are given of, with those counted.
    seated: HashMap<u64, Entitlement>,
    /// Accounts whose kind others rely on since this import.
    tied: HashSet<AccountId>,
    made: BTreeSet<AccountId>,
    /// Accounts that are changed, and users that are made or changed, as they were before.
    changed: BTreeMap<AccountId, Account>,
    joined: BTreeMap<AccountId, Option<User>>,
    given: Vec<NewEntitlement>,
    seats: Vec<Seat>,
}

impl Import {
    fn begin(batch: &Batch<'_>, lines: &[(u64, ImportLine)]) -> Result<Self, CallError> {
        let connection = batch.connection();
        let named = lines.iter().flat_map(|(_, line)| [Some(&line.account), line.company.as_ref()]);
        let names: BTreeSet<&AccountId> = named.flatten().collect();
        let names: Vec<&AccountId> = names.into_iter().collect();
        let known = accounts::lock_all(connection, &names)?;
        let mut held: HashMap<AccountId, HashSet<Same>> = HashMap::new();
        entitlements::each_live(connection, &names, |account, same| {
            held.entry(account).or_default().insert(same);
        })?;
        let users = people::users_named(connection, &names)?;
        Ok(Self {
            products: products::ids(connection)?.into_iter().collect(),
            packages: packages::ids(connection)?,
            accounts: known.into_iter().map(|account| (account.id.clone(), account)).collect(),
            held,
            weights: holdings::weights(connection, &names)?,
            terms: HashMap::new(),
            users: users.into_iter().map(|user| (user.account.clone(), user)).collect(),
            counts: HashMap::new(),
            seated: HashMap::new(),
            tied: HashSet::new(),
            made: BTreeSet::new(),
            changed: BTreeMap::new(),
            joined: BTreeMap::new(),
            given: Vec::new(),
            seats: Vec::new(),
        })
    }

    /// Everything is looked at before anything is noted, so that a line that is refused leaves nothing behind.
    fn line(&mut self, batch: &Batch<'_>, actor: &Actor, line: &ImportLine) -> Result<Done, CallError> {
        let id = &line.account;
        let known = self.accounts.get(id);
        let is_new = known.is_none();
        let before = known.cloned().unwrap_or_else(|| new(id.clone(), batch.now()));
        let after = changed(before.clone(), &put_of(line), batch.now());
        check_standing(actor, before.standing, after.standing)?;
        if before.kind != after.kind && !is_new {
            check_kind(batch.connection(), &before, &after)?;
            if self.tied.contains(id) {
                return Err(PeopleError::Tied { account: id.clone(), what: "people or seats since this import" }.into());
            }
        }
        let user = self.user(batch, line, &after)?;
        let given = self.gift(batch, line, &after)?;
        let weight = given.as_ref().map_or(0, |given| match (&given.what, given.seats) {
            (_, Some(_)) => 0,
            (What::Terms(_), None) => 1,
            (What::Package(_), None) => PACKAGE_ITEMS_MAX,
        });
        let seat = self.seat(batch, line, user.as_ref())?;
        let seat_weight = match (&seat, line.seat.and_then(|id| self.seated.get(&id))) {
            (Some(_), Some(entitlement)) => crate::people::weight(&entitlement.what),
            _ => 0,
        };
        let total = self.weights.get(id).copied().unwrap_or(0) + weight + seat_weight;
        if weight + seat_weight > 0 && total > HOLDINGS_MAX {
            let what = "holdings, a package counted as the most that it may have";
            return Err(PeopleError::Full { account: id.clone(), what, max: HOLDINGS_MAX }.into());
        }

        let mut done = Done { is_new, is_changed: !is_new && after != before, ..Done::default() };
        self.weights.insert(id.clone(), total);
        if let Some(user) = user.filter(|user| self.users.get(id) != Some(user)) {
            if !self.users.contains_key(id) {
                *self.counts.entry(user.company.clone()).or_default() += 1;
            }
            self.tied.extend([id.clone(), user.company.clone()]);
            let known = self.users.insert(id.clone(), user);
            self.joined.entry(id.clone()).or_insert(known);
            done.is_user = true;
        }
        if let Some(given) = given {
            let Same { what, seats, starts, ends } = given.clone();
            if seats.is_some() {
                self.tied.insert(id.clone());
            }
            self.held.entry(id.clone()).or_default().insert(given);
            self.given.push(NewEntitlement { account: id.clone(), what, seats, allocation: None, starts, ends });
            done.is_given = true;
        }
        if let Some(seat) = seat {
            if let Some(entitlement) = self.seated.get_mut(&seat.entitlement) {
                entitlement.seats_taken = entitlement.seats_taken.map(|taken| taken + 1);
            }
            self.seats.push(seat);
            done.is_seated = true;
        }
        if is_new {
            self.made.insert(id.clone());
        } else if done.is_changed && !self.made.contains(id) {
            self.changed.entry(id.clone()).or_insert(before);
        }
        self.accounts.insert(id.clone(), after);
        Ok(done)
    }

    /// The user that the account is after this line.
    fn user(&mut self, batch: &Batch<'_>, line: &ImportLine, account: &Account) -> Result<Option<User>, CallError> {
        let known = self.users.get(&line.account).cloned();
        let Some(company) = &line.company else { return Ok(known) };
        if let Some(known) = known {
            if known.company != *company {
                return Err(PeopleError::OtherCompany { user: line.account.clone(), company: known.company }.into());
            }
            return Ok(Some(User { role: line.role.unwrap_or(known.role), ..known }));
        }
        let found = self.accounts.get(company).ok_or_else(|| CallError::NoAccount(company.clone()))?;
        if found.kind != AccountKind::Business {
            return Err(PeopleError::NotBusiness(company.clone()).into());
        }
        check_user(&line.account, company, Some(account))?;
        if !self.counts.contains_key(company) {
            self.counts.insert(company.clone(), people::count_users(batch.connection(), company)?);
        }
        if self.counts.get(company).is_some_and(|count| *count >= USERS_MAX as u64) {
            return Err(CallError::TooLarge { what: "the users of one company", max: USERS_MAX as u64 });
        }
        let (account, company, role) = (line.account.clone(), company.clone(), line.role.unwrap_or_default());
        Ok(Some(User { account, company, role, added: batch.now() }))
    }

    /// What the account is given that it does not have.
    fn gift(&mut self, batch: &Batch<'_>, line: &ImportLine, account: &Account) -> Result<Option<Same>, CallError> {
        let what = match (&line.terms, &line.package) {
            (Some(terms), _) if !self.products.contains(&terms.product) => {
                return Err(CallError::NoProduct(terms.product.clone()));
            }
            (Some(terms), _) => {
                What::Terms(entitlements::terms_number_cached(batch.connection(), terms, &mut self.terms)?)
            }
            (None, Some(package)) if !self.packages.contains(package) => {
                return Err(PeopleError::NoPackage(package.clone()).into());
            }
            (None, Some(package)) => What::Package(package.clone()),
            (None, None) => return Ok(None),
        };
        if line.seats.is_some() && account.kind != AccountKind::Business {
            return Err(PeopleError::NotBusiness(account.id.clone()).into());
        }
        let starts = line.starts.unwrap_or(UnixSeconds(0));
        let same = Same { what, seats: line.seats, starts, ends: line.ends };
        let held = self.held.entry(line.account.clone()).or_default();
        if held.contains(&same) {
            return Ok(None);
        }
        if held.len() >= HOLDINGS_MAX {
            return Err(CallError::TooLarge { what: "the entitlements of one account", max: HOLDINGS_MAX as u64 });
        }
        Ok(Some(same))
    }

    /// The seat that the account gets and does not have.
    fn seat(&mut self, batch: &Batch<'_>, line: &ImportLine, user: Option<&User>) -> Result<Option<Seat>, CallError> {
        let Some(id) = line.seat else { return Ok(None) };
        let entitlement = match self.seated.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let known = entitlements::get(batch.connection(), id)?.ok_or(CallError::NoEntitlement(id))?;
                free.insert(known)
            }
        };
        let (Some(seats), Some(taken)) = (entitlement.seats, entitlement.seats_taken) else {
            return Err(PeopleError::NoSeats(id).into());
        };
        if entitlement.revoked.is_some() {
            return Err(PeopleError::Revoked(id).into());
        }
        if user.is_none_or(|user| user.company != entitlement.account) {
            let (company, user) = (entitlement.account.clone(), line.account.clone());
            return Err(PeopleError::NoUser { company, user }.into());
        }
        let is_given_here = self.seats.iter().any(|seat| seat.entitlement == id && seat.account == line.account);
        if is_given_here || people::seat(batch.connection(), id, &line.account)?.is_some() {
            return Ok(None);
        }
        if taken >= seats {
            return Err(PeopleError::SeatsTaken { entitlement: id, seats }.into());
        }
        Ok(Some(Seat { entitlement: id, account: line.account.clone(), given: batch.now() }))
    }

    /// Writes what was noted, and says what it changed.
    fn write(&mut self, node: &Node, batch: &Batch<'_>) -> Result<Vec<Part>, CallError> {
        let connection = batch.connection();
        let mut ledger = Ledger::default();
        let made: Vec<&Account> = self.made.iter().filter_map(|name| self.accounts.get(name)).collect();
        accounts::insert_all(connection, &made, &node.keys.pseudonyms)?;
        ledger.made(&made)?;
        for (before, account) in self.changed.values().filter_map(|old| Some((old, self.accounts.get(&old.id)?))) {
            accounts::put(connection, account, &node.keys.pseudonyms)?;
            ledger.changed(before, account)?;
        }
        for (before, user) in self.joined.iter().filter_map(|(name, old)| Some((old, self.users.get(name)?))) {
            people::put_user(connection, user)?;
            ledger.user(before.as_ref(), user)?;
        }
        self.given.sort_by_cached_key(ledger::order);
        let first = entitlements::grant_all(connection, &self.given, batch.now())?;
        let terms = self.terms.iter().map(|(body, row)| (*row, body.as_str())).collect();
        ledger.given(&self.given, first, &terms)?;
        self.seats.iter().try_for_each(|seat| people::give_seat(connection, seat))?;
        ledger.seats(&self.seats);
        Ok(ledger.into_parts())
    }
}
