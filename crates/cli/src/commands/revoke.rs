//! `revoke add|show|list|import`: tokens that are worth nothing any more.

use crate::args::policy::{Revoke as Args, RevokeAdd, RevokeImport, RevokeVerb};
use crate::commands::{Done, now};
use crate::desk::{self, Session, path_part};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Bar;
use crate::secrets;
use crate::words::count;
use anyhow::{Context as _, bail};
use penstock_core::catalog::REVOKED_AT_ONCE_MAX;
use penstock_core::desk::policy::{PostRevocations, RevocationRow, RevocationsAnswer, RevocationsTaken, RevokeToken};
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::ExitCode;

const PATH: &str = "/admin/v1/revocations";
/// Longest line of an import in bytes: an id and an issuer, escaped.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Imported {
    /// Lines that were read.
    lines: u64,
    /// What became of their tokens.
    #[serde(flatten)]
    taken: RevocationsTaken,
}

/// Does what the verb says.
pub(crate) fn run(args: Args, output: &Output) -> Done {
    match args.verb {
        RevokeVerb::Add(args) => {
            let tokens = named(&args)?;
            let session = desk::connect(&args.desk)?;
            let taken: RevocationsTaken = session.post(PATH, &PostRevocations { tokens })?;
            output.result(&taken, &words(&taken))?;
            Ok(ExitCode::SUCCESS)
        }
        RevokeVerb::Show(args) => {
            let session = desk::connect(&args.desk)?;
            let issuer = args.issuer.map(|issuer| format!("?issuer={}", path_part(&issuer))).unwrap_or_default();
            let row: RevocationRow = session.get(&format!("{PATH}/{}{issuer}", path_part(&args.id)))?;
            output.result(&row, &format!("revoked at {}, forgotten after {}", row.revoked.0, row.until.0))?;
            Ok(ExitCode::SUCCESS)
        }
        RevokeVerb::List(args) => {
            let session = desk::connect(&args.desk)?;
            let after = args.after.map(|after| format!("&after={after}")).unwrap_or_default();
            let page: RevocationsAnswer = session.get(&format!("{PATH}?limit={}{after}", args.limit))?;
            let mut text = format!("{} in all", count(page.total, "revoked token"));
            for row in &page.revocations {
                text.push_str(&format!("\n{}: at {}, until {}", row.token, row.revoked.0, row.until.0));
            }
            if let Some(next) = page.next {
                text.push_str(&format!("\nmore with --after {next}"));
            }
            output.result(&page, &text)?;
            Ok(ExitCode::SUCCESS)
        }
        RevokeVerb::Import(args) => import(&args, output),
    }
}

fn named(args: &RevokeAdd) -> Result<Vec<RevokeToken>, Failure> {
    if let Some(file) = &args.token_file {
        let secret = secrets::from_file_or_env(Some(file), "PENSTOCK_TOKEN")?;
        let token = secret.map(|secret| secret.reveal().to_owned());
        return Ok(vec![RevokeToken { token, ..RevokeToken::default() }]);
    }
    if args.id.len() > REVOKED_AT_ONCE_MAX {
        return Err(Failure::usage(format!("--id takes at most {REVOKED_AT_ONCE_MAX} ids: revoke import takes more")));
    }
    let until = args.lasts.map(|span| now().plus(span.0.as_secs()));
    let token = |id: &String| RevokeToken { id: Some(id.clone()), issuer: args.issuer.clone(), token: None, until };
    Ok(args.id.iter().map(token).collect())
}

/// All lines, some at a time. A line that cannot be read ends it: those before it are revoked, and doing it again is well.
fn import(args: &RevokeImport, output: &Output) -> Done {
    let session = desk::connect(&args.desk)?;
    let file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let total = file.metadata().with_context(|| format!("cannot look at {}", args.file.display()))?.len();
    let bar = Bar::titled(*output, "revoke import");
    bar.begin_bytes("import", total);
    let mut reader = BufReader::new(file);
    let mut done = Imported::default();
    let mut tokens = Vec::with_capacity(REVOKED_AT_ONCE_MAX);
    for number in 1_u64.. {
        let mut line = Vec::new();
        (&mut reader).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line).context("cannot read the file")?;
        if line.is_empty() {
            break;
        }
        bar.advance_by(line.len() as u64);
        // Some programs begin a file with a mark that is no part of the first id.
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line);
        let token = match read_line(text, args.issuer.as_deref()) {
            Ok(token) => token,
            Err(error) => {
                send(&session, &mut tokens, &mut done).with_context(|| format!("lines before {number}"))?;
                return Err(error.context(format!("line {number}")).into());
            }
        };
        if let Some(token) = token {
            done.lines += 1;
            tokens.push(token);
        }
        if tokens.len() == REVOKED_AT_ONCE_MAX {
            send(&session, &mut tokens, &mut done).with_context(|| format!("lines up to {number}"))?;
        }
    }
    send(&session, &mut tokens, &mut done).context("the last lines")?;
    drop(bar);
    output.result(&done, &format!("{}: {}", count(done.lines, "line"), words(&done.taken)))?;
    Ok(ExitCode::SUCCESS)
}

/// What a line names; nothing on an empty one.
fn read_line(line: &[u8], issuer: Option<&str>) -> anyhow::Result<Option<RevokeToken>> {
    if line.len() as u64 > LINE_BYTES_MAX {
        bail!("it is longer than {LINE_BYTES_MAX} bytes");
    }
    let line = std::str::from_utf8(line).context("it is not UTF-8")?.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let mut token = if line.starts_with('{') {
        let token: RevokeToken = serde_json::from_str(line).context("it is no token to revoke")?;
        if token.token.is_some() {
            bail!("whole tokens do not belong into a file of many: name their ids");
        }
        token
    } else {
        RevokeToken { id: Some(line.to_owned()), ..RevokeToken::default() }
    };
    token.issuer = token.issuer.or_else(|| issuer.map(str::to_owned));
    Ok(Some(token))
}

fn send(session: &Session, tokens: &mut Vec<RevokeToken>, done: &mut Imported) -> anyhow::Result<()> {
    if tokens.is_empty() {
        return Ok(());
    }
    let taken: RevocationsTaken = session.post(PATH, &PostRevocations { tokens: std::mem::take(tokens) })?;
    done.taken.revoked += taken.revoked;
    done.taken.known += taken.known;
    done.taken.ended += taken.ended;
    Ok(())
}

fn words(taken: &RevocationsTaken) -> String {
    let RevocationsTaken { revoked, known, ended } = taken;
    format!("{revoked} revoked, {known} known before, {ended} ended by themselves")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_id_or_an_object() {
        let read = |line: &str| read_line(line.as_bytes(), Some("idp"));
        let token = |id: &str, issuer: &str| RevokeToken {
            id: Some(id.to_owned()),
            issuer: Some(issuer.to_owned()),
            ..RevokeToken::default()
        };
        assert_eq!(read("abc\r\n").expect("an id"), Some(token("abc", "idp")));
        assert_eq!(read(r#"{"id": "abc", "issuer": "other"}"#).expect("an object"), Some(token("abc", "other")));
        assert_eq!(read(" \n").expect("nothing"), None);
        for wrong in ["{", r#"{"token": "a.b.c"}"#, r#"{"who": "abc"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let long = "x".repeat(usize::try_from(LINE_BYTES_MAX).expect("small") + 1);
        assert!(read(&long).is_err() && read_line(&[0xff], None).is_err());
    }
}
