//! `explain`: the walk of a decision, step by step, as the node itself makes it.

use crate::args::desk::Explain;
use crate::commands::Done;
use crate::desk;
use crate::failure::Failure;
use crate::output::Output;
use crate::secrets;
use penstock_core::desk::{ExplainAnswer, ExplainQuestion};
use std::process::ExitCode;

/// Prints the walk. A refusal is a good answer: exit code 0.
pub(crate) fn run(args: Explain, output: &Output) -> Done {
    if args.blob.is_none() && args.product.is_none() {
        return Err(Failure::usage("name a --blob or a --product"));
    }
    let link = match &args.link_file {
        Some(file) => secrets::from_file_or_env(Some(file), "PENSTOCK_LINK")?.map(|secret| secret.reveal().to_owned()),
        None => None,
    };
    let token = match (&args.account, &link) {
        (Some(_), _) | (_, Some(_)) => None,
        (None, None) => secrets::from_file_or_env(args.token_file.as_deref(), "PENSTOCK_TOKEN")?
            .map(|secret| secret.reveal().to_owned()),
    };
    let question = ExplainQuestion {
        blob: args.blob,
        product: args.product,
        channel: args.channel,
        platform: args.platform,
        token,
        link,
        account: args.account,
        region: args.region,
        address: args.address,
        install: args.install,
        have: args.have,
        by_hand: args.by_hand,
    };
    let session = desk::connect(&args.desk)?;
    let answer: ExplainAnswer = session.post("/admin/v1/explain", &question)?;
    output.result(&answer, &text(&answer))?;
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &ExplainAnswer) -> String {
    let mut text = answer.subject.clone();
    for step in &answer.steps {
        let refused = step.code.as_ref().map_or_else(String::new, |code| format!(" -> {code}"));
        text.push_str(&format!("\n  {:>9}: {}{refused}", step.step, step.finding));
    }
    let verdict = answer
        .code
        .as_ref()
        .map_or_else(|| "allowed".to_owned(), |code| format!("refused: {code} ({})", answer.status));
    text.push_str(&format!("\n  {:>9}: {verdict}", "verdict"));
    text
}
