//! Flags of `revoke`, `embargo` and `segment`.

use super::units::Span;
use super::whereto::Desk;
use clap::{Args, Subcommand};
use penstock_core::account::{AccountId, TokenKey};
use penstock_core::id::{ProductId, SegmentName};
use penstock_core::place::Region;
use penstock_core::segment::Predicate;
use std::path::PathBuf;

/// See [`super::Command::Revoke`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock revoke add --id 8f14e45f --to ./data\n  penstock revoke list --to ./data")]
pub(crate) struct Revoke {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: RevokeVerb,
}

/// Verbs of `revoke`.
#[derive(Debug, Subcommand)]
pub(crate) enum RevokeVerb {
    /// Revoke tokens: they are worth nothing from now on.
    Add(RevokeAdd),
    /// Say whether a token is revoked.
    Show(RevokeShow),
    /// List revoked tokens, by pseudonym: their ids are not kept.
    List(RevokeList),
    /// Revoke many tokens, from a file.
    Import(RevokeImport),
}

/// See [`RevokeVerb::Add`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock revoke add --id 8f14e45f --issuer https://id.example --lasts 7d --to ./data\n  \
    penstock revoke add --token-file leaked.jwt --to ./data\n\n\
    A token is known by its issuer and id (claims iss and jti). One without an id cannot be revoked by itself: end all\n\
    tokens of its account with account set --sign-out. A link is revoked by its id, too, with --issuer penstock:links."
)]
pub(crate) struct RevokeAdd {
    /// A token's id, claim jti; may be repeated.
    #[arg(long, value_name = "ID", required_unless_present = "token_file", conflicts_with = "token_file")]
    pub(crate) id: Vec<String>,
    /// Who issued them, claim iss; the node itself when left out.
    #[arg(long, value_name = "ISS", conflicts_with = "token_file")]
    pub(crate) issuer: Option<String>,
    /// How long they would still have lasted; when left out, as long as any token of this node, and ten years for
    /// those of others.
    #[arg(long, value_name = "TIME", conflicts_with = "token_file")]
    pub(crate) lasts: Option<Span>,
    /// File with a whole token, which says all of that; it is not kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`RevokeVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock revoke show 8f14e45f --to ./data")]
pub(crate) struct RevokeShow {
    /// The token's id, claim jti.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Who issued it, claim iss; the node itself when left out.
    #[arg(long, value_name = "ISS")]
    pub(crate) issuer: Option<String>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`RevokeVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock revoke list --limit 100 --to ./data")]
pub(crate) struct RevokeList {
    /// Go on after this one: `next` of the page before.
    #[arg(long, value_name = "PSEUDONYM", value_parser = pseudonym)]
    pub(crate) after: Option<TokenKey>,
    /// Most rows, up to 1,000.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: u64,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`RevokeVerb::Import`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock revoke import revoked.txt --issuer https://id.example --to ./data\n\n\
    One token on each line: its id, or {\"id\": …, \"issuer\": …, \"until\": …} with a time in seconds since 1970. A line\n\
    that was imported before changes nothing, so an import that was interrupted is run again.")]
pub(crate) struct RevokeImport {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Who issued those whose line does not say it; the node itself when left out.
    #[arg(long, value_name = "ISS")]
    pub(crate) issuer: Option<String>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

fn pseudonym(text: &str) -> Result<TokenKey, String> {
    serde_json::from_value(text.into()).map_err(|_| "it has 32 lowercase hexadecimal digits".to_owned())
}

/// See [`super::Command::Embargo`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock embargo show --json --to ./data\n  penstock embargo set policy.json --to ./data"
)]
pub(crate) struct Embargo {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: EmbargoVerb,
}

/// Verbs of `embargo`.
#[derive(Debug, Subcommand)]
pub(crate) enum EmbargoVerb {
    /// Show the policy in force, or an earlier one.
    Show(EmbargoShow),
    /// Replace the policy as a whole.
    Set(EmbargoSet),
    /// List the versions that the policy had.
    History(EmbargoHistory),
    /// Say what the policy says of a class at a place.
    Test(EmbargoTest),
}

/// See [`EmbargoVerb::Show`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock embargo show --version 3 --to ./data")]
pub(crate) struct EmbargoShow {
    /// This version of it; the one in force when left out.
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`EmbargoVerb::Set`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock embargo set policy.json --to ./data\n\n\
    The file is what embargo show --json prints, changed: {\"version\": 3, \"classes\": {\"5D002\": {\"regions\": {\"IR\":\n\
    \"deny\", \"UA-43\": \"deny\"}, \"elsewhere\": \"allow\", \"unknown\": \"hold\"}}}. Its version is that of the policy that it\n\
    replaces, 0 for the first: when somebody else changed it meanwhile, nothing happens. The class \"\" holds for products\n\
    without a class and for classes without rules.")]
pub(crate) struct EmbargoSet {
    /// The policy, in JSON.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`EmbargoVerb::History`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock embargo history --to ./data")]
pub(crate) struct EmbargoHistory {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`EmbargoVerb::Test`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock embargo test --class 5D002 --region UA-43 --to ./data\n  \
    penstock embargo test --product sample --region IR --to ./data")]
pub(crate) struct EmbargoTest {
    /// An export class.
    #[arg(long, value_name = "C", required_unless_present = "product", conflicts_with = "product")]
    pub(crate) class: Option<String>,
    /// The class of this product.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<ProductId>,
    /// A country such as DE, or a subdivision such as US-CA; nobody knows the place when left out.
    #[arg(long, value_name = "R")]
    pub(crate) region: Option<Region>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`super::Command::Segment`].
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  penstock segment set press --list press.txt --to ./data\n  penstock segment list --to ./data"
)]
pub(crate) struct Segment {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: SegmentVerb,
}

/// Verbs of `segment`.
#[derive(Debug, Subcommand)]
pub(crate) enum SegmentVerb {
    /// Make a segment, or replace its rule.
    Set(Box<SegmentSet>),
    /// Show a segment and its rule.
    Show(SegmentShow),
    /// List all segments.
    List(SegmentList),
    /// Remove a segment that no rollout names.
    Rm(SegmentShow),
    /// Say whether somebody is in, and why.
    Test(SegmentTest),
}

/// See [`SegmentVerb::Set`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock segment set press --list press.txt --to ./data\n  \
    penstock segment set veterans --score tenure_days --from 365 --to ./data\n  \
    penstock segment set beta --where '{\"is\":{\"attribute\":\"beta\",\"values\":[true]}}' --to ./data\n\n\
    Conditions are is, at_least, at_most and absent, put together with all, any and not. Attributes are those of accounts\n\
    (account set --attribute).")]
pub(crate) struct SegmentSet {
    /// The segment.
    pub(crate) name: SegmentName,
    /// Whoever this condition holds for, in JSON.
    #[arg(long = "where", value_name = "JSON", value_parser = predicate, group = "rule", required = true)]
    pub(crate) predicate: Option<Predicate>,
    /// These accounts and installs: a file with one id on each line.
    #[arg(long, value_name = "FILE", group = "rule")]
    pub(crate) list: Option<PathBuf>,
    /// Whoever has a score in a band: the attribute that holds it.
    #[arg(long, value_name = "ATTR", group = "rule", requires = "from")]
    pub(crate) score: Option<String>,
    /// The lowest score that is in.
    #[arg(long, value_name = "N", requires = "score", allow_hyphen_values = true)]
    pub(crate) from: Option<i64>,
    /// The lowest score that is not in any more; no upper end when left out.
    #[arg(long, value_name = "N", requires = "score", allow_hyphen_values = true)]
    pub(crate) below: Option<i64>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

fn predicate(text: &str) -> Result<Predicate, String> {
    let predicate: Predicate = serde_json::from_str(text).map_err(|error| error.to_string())?;
    predicate.check().map_err(|error| error.to_string())?;
    Ok(predicate)
}

/// See [`SegmentVerb::Show`] and [`SegmentVerb::Rm`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock segment show press --to ./data\n  penstock segment rm press --to ./data")]
pub(crate) struct SegmentShow {
    /// The segment.
    pub(crate) name: SegmentName,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`SegmentVerb::List`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock segment list --to ./data")]
pub(crate) struct SegmentList {
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}

/// See [`SegmentVerb::Test`].
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  penstock segment test veterans --account alice --to ./data")]
pub(crate) struct SegmentTest {
    /// The segment.
    pub(crate) name: SegmentName,
    /// An account, with the attributes that the node knows of it.
    #[arg(long, value_name = "A", required_unless_present = "install")]
    pub(crate) account: Option<AccountId>,
    /// An install, by the id in its .penstock/install.
    #[arg(long, value_name = "ID")]
    pub(crate) install: Option<String>,
    /// The node.
    #[command(flatten)]
    pub(crate) desk: Desk,
}
