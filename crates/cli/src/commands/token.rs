//! `token new`: a development token, signed by the node's own key.

use crate::args::desk::{Token as Args, TokenVerb};
use crate::commands::Done;
use crate::desk;
use crate::output::Output;
use penstock_core::api::{MintToken, TokenAnswer};
use std::process::ExitCode;

/// Prints the token: on stdout, because it was asked for, and nowhere else.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    let TokenVerb::New(args) = args.verb;
    let session = desk::connect_or_make(&args.desk, output)?;
    let wanted = MintToken { sub: args.sub, products: args.product, ttl_seconds: args.ttl.0.as_secs() };
    let answer: TokenAnswer = session.post("/admin/v1/tokens", &wanted)?;
    output.result(&answer, &answer.token)?;
    Ok(ExitCode::SUCCESS)
}
