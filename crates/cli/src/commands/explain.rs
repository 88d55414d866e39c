//! `explain`: the walk of a decision, step by step, from what the node knows.
//!
//! The verdict is `core::entitle`'s own, over facts read from the admin API; nothing is decided here.

use crate::args::desk::Explain;
use crate::commands::Done;
use crate::commands::product::access;
use crate::desk::{self, Session};
use crate::output::Output;
use crate::secrets;
use penstock_core::api::{ProductsAnswer, ReleasesAnswer};
use penstock_core::blob::BlobId;
use penstock_core::catalog::{Product, ReleaseState};
use penstock_core::desk::{BlobsAnswer, ReleaseDetail};
use penstock_core::entitle::{BlobFacts, BlobUse, Verdict, decide_blob, decide_product};
use penstock_core::id::ProductId;
use penstock_core::reply::Problem;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Document {
    subject: String,
    allowed: bool,
    code: Option<&'static str>,
    status: u16,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    step: &'static str,
    finding: String,
}

/// Prints the walk. A refusal is a good answer: exit code 0.
pub(crate) fn run(args: Explain, output: &Output) -> Done {
    let token = secrets::from_file_or_env(args.token_file.as_deref(), "PENSTOCK_TOKEN")?;
    let session = desk::connect(&args.desk)?;
    let mut steps = vec![step("shape", "the name is well-formed")];
    steps.push(match &token {
        None => step("token", "none was sent; open content needs none"),
        Some(_) => step("token", "one was sent; this version decides by access class alone and does not look at it"),
    });
    let document = match (args.blob, args.product) {
        (Some(blob), _) => explain_blob(&session, blob, steps)?,
        (None, Some(product)) => explain_product(&session, &product, steps)?,
        (None, None) => return Err(crate::failure::Failure::usage("name a --blob or a --product")),
    };
    output.result(&document, &text(&document))?;
    Ok(ExitCode::SUCCESS)
}

fn explain_product(session: &Session, id: &ProductId, mut steps: Vec<Step>) -> anyhow::Result<Document> {
    let products: ProductsAnswer = session.get("/admin/v1/products")?;
    let product = products.products.into_iter().find(|product| product.id == *id);
    steps.push(match &product {
        None => step("product", format!("{id} is not known here")),
        Some(product) => step("product", format!("{id} is {}", access(product.access))),
    });
    let verdict = decide_product(product.map(|product| product.access));
    Ok(finish(format!("product {id}"), &verdict, steps))
}

fn explain_blob(session: &Session, blob: BlobId, mut steps: Vec<Step>) -> anyhow::Result<Document> {
    let mut facts = BlobFacts::default();
    let row = session.get::<BlobsAnswer>(&page_of(blob))?.blobs.into_iter().find(|row| row.blob == blob);
    match &row {
        None => steps.push(step("blob", "no such blob is stored here")),
        Some(row) => {
            facts.loose_open = row.open;
            let open = if row.open { "it was added as open" } else { "it was not added as open" };
            steps.push(step("blob", format!("{} bytes are stored here; {open}", row.bytes)));
        }
    }
    if row.as_ref().is_some_and(|row| row.releases > 0) {
        for (product, detail) in uses(session, blob)? {
            let state = match detail.release.state {
                ReleaseState::Live => "live",
                ReleaseState::Withdrawn => "withdrawn",
            };
            let release = format!("{} {} for {}", product.id, detail.release.version, detail.release.platform);
            steps.push(step(
                "release",
                format!("part of {release}, which is {state}; the product is {}", access(product.access)),
            ));
            facts.uses.push(BlobUse { access: product.access, state: detail.release.state });
        }
    }
    let verdict = decide_blob(blob, row.map(|_| &facts));
    Ok(finish(format!("blob {blob}"), &verdict, steps))
}

/// Every release that the blob is part of: asks for the members of each, so it is for the desk and not for a hot path.
fn uses(session: &Session, blob: BlobId) -> anyhow::Result<Vec<(Product, ReleaseDetail)>> {
    let mut found = Vec::new();
    for product in session.get::<ProductsAnswer>("/admin/v1/products")?.products {
        let releases: ReleasesAnswer = session.get(&format!("/admin/v1/products/{}/releases", product.id))?;
        for release in releases.releases {
            let path = format!(
                "/admin/v1/products/{}/releases/{}?platform={}&members=true",
                product.id, release.version, release.platform
            );
            let mut detail: ReleaseDetail = session.get(&path)?;
            if detail.members.iter().any(|member| member.blob == blob) {
                detail.members = Vec::new();
                found.push((product.clone(), detail));
            }
        }
    }
    Ok(found)
}

/// The page that begins with this blob: pages are asked for by the name before.
fn page_of(blob: BlobId) -> String {
    let mut before = *blob.as_bytes();
    for byte in before.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return format!("/admin/v1/blobs?after={}&limit=1", BlobId::from_bytes(before));
        }
    }
    "/admin/v1/blobs?limit=1".to_owned()
}

fn finish<G>(subject: String, verdict: &Verdict<G>, mut steps: Vec<Step>) -> Document {
    let (allowed, code, status) = match verdict {
        Verdict::Allow(_) => (true, None, 200),
        Verdict::Refuse(refusal) => (false, Some(refusal.code()), Problem::Refused(*refusal).status()),
    };
    steps
        .push(step("verdict", code.map_or_else(|| "allowed".to_owned(), |code| format!("refused: {code} ({status})"))));
    Document { subject, allowed, code, status, steps }
}

fn step(step: &'static str, finding: impl Into<String>) -> Step {
    Step { step, finding: finding.into() }
}

fn text(document: &Document) -> String {
    let mut text = document.subject.clone();
    for step in &document.steps {
        text.push_str(&format!("\n  {:>8}: {}", step.step, step.finding));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_with_the_blob_itself() {
        let mut name = [0u8; 32];
        assert_eq!(page_of(BlobId::from_bytes(name)), "/admin/v1/blobs?limit=1");
        name[30] = 1;
        assert!(page_of(BlobId::from_bytes(name)).contains("00ff&"));
        name[31] = 7;
        assert!(page_of(BlobId::from_bytes(name)).contains("0106&"));
    }
}
