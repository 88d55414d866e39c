//! `product add|set|show|list`: products and who may read them.

use crate::args::desk::{Product as Args, ProductPut, ProductSet, ProductVerb};
use crate::commands::Done;
use crate::desk::{self, Session};
use crate::output::Output;
use anyhow::bail;
use penstock_core::api::{ProductsAnswer, PutProduct};
use penstock_core::catalog::{AccessClass, Product};
use penstock_core::id::ProductId;
use std::process::ExitCode;

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        ProductVerb::Add(args) => {
            let session = desk::connect_or_make(&args.desk, output)?;
            one(&add(&session, args)?, output)
        }
        ProductVerb::Set(args) => {
            let session = desk::connect(&args.desk)?;
            one(&set(&session, args)?, output)
        }
        ProductVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            one(&show(&session, &args.product)?, output)
        }
        ProductVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let answer: ProductsAnswer = session.get("/admin/v1/products")?;
            let lines: Vec<String> = answer.products.iter().map(line).collect();
            let text = if lines.is_empty() { "no products yet".to_owned() } else { lines.join("\n") };
            output.result(&answer, &text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `add` makes; a product that is there is left as it is and named in the refusal.
fn add(session: &Session, args: ProductPut) -> anyhow::Result<Product> {
    let there: ProductsAnswer = session.get("/admin/v1/products")?;
    if there.products.iter().any(|product| product.id == args.product) {
        bail!("product {} is there already: change it with `penstock product set`", args.product);
    }
    let (access, export_class) = (args.access.into(), args.export_class);
    session.put_product(&PutProduct { id: args.product, title: args.title, access, export_class })
}

fn set(session: &Session, args: ProductSet) -> anyhow::Result<Product> {
    let now = show(session, &args.product)?;
    session.put_product(&PutProduct {
        id: args.product,
        title: args.title.unwrap_or(now.title),
        access: args.access.map_or(now.access, AccessClass::from),
        export_class: args.export_class.unwrap_or(now.export_class),
    })
}

fn show(session: &Session, product: &ProductId) -> anyhow::Result<Product> {
    session.get(&format!("/admin/v1/products/{product}"))
}

fn one(product: &Product, output: &Output) -> Done {
    output.result(product, &line(product))?;
    Ok(ExitCode::SUCCESS)
}

fn line(product: &Product) -> String {
    let class = match product.export_class.as_str() {
        "" => "no export class".to_owned(),
        class => format!("export class {class}"),
    };
    format!("{}: {}, {}, {class}", product.id, product.title, access(product.access))
}

/// An access class as people write it.
pub(super) const fn access(class: AccessClass) -> &'static str {
    match class {
        AccessClass::Open => "open",
        AccessClass::Registered => "registered",
        AccessClass::Licensed => "licensed",
        AccessClass::Closed => "closed",
    }
}
