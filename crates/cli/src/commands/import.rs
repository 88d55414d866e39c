//! `account import`: accounts and entitlements from a file, many at once, each refused line named.

use crate::args::accounts::{AccountImport, Format};
use crate::commands::Done;
use crate::desk;
use crate::output::Output;
use crate::progress::Bar;
use anyhow::Context as _;
use penstock_core::desk::{ImportAnswer, PostImport, SnapshotAnswer};
use penstock_core::limits::IMPORT_LINES_MAX;
use serde::Serialize;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest line or CSV record in bytes. An account with every extra there is has less.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// Lines that are sent together, in bytes of the file: as JSON, with the names of the columns, they stay below what a node
/// reads at once.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What the CSV reader may have read ahead of a record, in bytes.
const CSV_BUFFER_BYTES: usize = 8 * 1024;
/// Refused lines that are also said on stderr; all of them are in the report.
const SAID_MAX: u64 = 20;

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Imported {
    /// Lines that were read.
    lines: u64,
    /// Accounts that were made.
    accounts: u64,
    /// Accounts that were changed.
    changed: u64,
    /// Entitlements that were given.
    entitlements: u64,
    /// Users that were added to companies, and changes of their roles.
    users: u64,
    /// Seats that were given.
    seats: u64,
    /// Lines that changed nothing.
    same: u64,
    /// Lines that were refused.
    refused: u64,
    /// The change that edges know all of it from.
    sequence: u64,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    line: u64,
    detail: &'a str,
    text: &'a str,
}

/// Imports a file; exit code 1 when a line was refused. Running it again is well.
pub(crate) fn run(args: &AccountImport, output: &Output) -> Done {
    let session = desk::connect(&args.desk)?;
    let file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let total = file.metadata().with_context(|| format!("cannot look at {}", args.file.display()))?.len();
    let bar = Bar::titled(*output, "account import");
    bar.begin_bytes("import", total);
    let seen = Arc::new(AtomicU64::new(0));
    let reader = Counting { file, seen: Arc::clone(&seen) };
    let mut report = Report::open(args.report.as_deref(), *output)?;
    let mut done = Imported::default();
    let mut batch: Vec<(u64, String, Value)> = Vec::with_capacity(IMPORT_LINES_MAX);
    let mut shown = 0;
    let mut send = |batch: &mut Vec<(u64, String, Value)>, done: &mut Imported, report: &mut Report| {
        let lines = batch.iter_mut().map(|(_, _, value)| value.take()).collect();
        let answer: ImportAnswer = session.post("/admin/v1/imports", &PostImport { lines })?;
        done.accounts += answer.accounts;
        done.changed += answer.changed;
        done.entitlements += answer.entitlements;
        done.users += answer.users;
        done.seats += answer.seats;
        done.same += answer.same;
        for refusal in &answer.refused {
            let place = usize::try_from(refusal.index).ok().and_then(|index| batch.get(index));
            let (line, text, _) = place.context("the node refused a line that was not sent")?;
            report.refuse(*line, &refusal.detail, text)?;
        }
        batch.clear();
        let now = seen.load(Ordering::Relaxed);
        bar.advance_by(now - shown);
        shown = now;
        anyhow::Ok(())
    };
    let format = args.format.unwrap_or_else(|| Format::of(&args.file));
    let mut held_bytes = 0;
    read_lines(reader, format, &mut |number, text, value| {
        done.lines += 1;
        match value {
            Ok(value) => {
                held_bytes += text.len();
                batch.push((number, text, value));
            }
            Err(detail) => report.refuse(number, &detail, &text)?,
        }
        if batch.len() < IMPORT_LINES_MAX && held_bytes < BATCH_BYTES_MAX {
            return Ok(());
        }
        held_bytes = 0;
        send(&mut batch, &mut done, &mut report)
    })?;
    if !batch.is_empty() {
        send(&mut batch, &mut done, &mut report)?;
    }
    drop(bar);
    done.refused = report.finish()?;
    let told: SnapshotAnswer = session.post("/admin/v1/snapshots", &Value::Object(Map::new()))?;
    done.sequence = told.sequence;
    let text = format!(
        "{} lines: {} accounts made, {} changed, {} entitlements given, {} users, {} seats given, {} lines were there \
         before, {} refused",
        done.lines, done.accounts, done.changed, done.entitlements, done.users, done.seats, done.same, done.refused
    );
    output.result(&done, &text)?;
    Ok(if done.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows each line with its number, from 1, its text, and what it says or why it says nothing.
fn read_lines(
    reader: impl Read,
    format: Format,
    show: &mut impl FnMut(u64, String, Result<Value, String>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match format {
        Format::Ndjson => {
            let mut reader = BufReader::new(reader);
            for number in 1.. {
                let mut bytes = Vec::new();
                (&mut reader).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes)?;
                if bytes.is_empty() {
                    return Ok(());
                }
                if bytes.len() as u64 > LINE_BYTES_MAX {
                    anyhow::bail!("line {number} is longer than {LINE_BYTES_MAX} bytes: is this the right file?");
                }
                let text = shown(bytes.trim_ascii());
                if !text.is_empty() {
                    let value = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
                    show(number, text, value)?;
                }
            }
            Ok(())
        }
        Format::Csv => {
            let left = Cell::new(0);
            let ration = || left.set(LINE_BYTES_MAX + CSV_BUFFER_BYTES as u64);
            let reader = Rationed { reader, left: &left };
            let mut reader = csv::ReaderBuilder::new()
                .flexible(true)
                .trim(csv::Trim::All)
                .buffer_capacity(CSV_BUFFER_BYTES)
                .from_reader(reader);
            ration();
            let columns = reader.byte_headers()?.iter().map(|name| std::str::from_utf8(name).map(str::to_owned));
            let columns: Vec<String> = columns.collect::<Result<_, _>>().context("the first line is not UTF-8")?;
            let mut record = csv::ByteRecord::new();
            loop {
                ration();
                let begins = reader.position().line();
                let read = reader.read_byte_record(&mut record);
                if !read.with_context(|| format!("cannot read on at line {begins}"))? {
                    return Ok(());
                }
                let number = record.position().map_or(begins, csv::Position::line);
                show(number, record_text(&record)?, line_of(&columns, &record))?;
            }
        }
    }
}

/// Bytes as text: what is not UTF-8 is written as `\xE9`, so that nothing of a line is lost in the report.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02X}")));
    }
    text
}

/// A record as a line of CSV.
fn record_text(record: &csv::ByteRecord) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_byte_record(record)?;
    let line = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(shown(line.trim_ascii_end()))
}

/// A record as the line that NDJSON would have. Empty fields say nothing; several names in one are separated by blanks.
fn line_of(columns: &[String], record: &csv::ByteRecord) -> Result<Value, String> {
    if record.len() != columns.len() {
        return Err(format!("it has {} fields, the first line has {}", record.len(), columns.len()));
    }
    let mut fields = Vec::with_capacity(record.len());
    for (column, field) in columns.iter().zip(record) {
        let text = std::str::from_utf8(field);
        fields.push(text.map_err(|_| format!("{column}: \"{}\" is not UTF-8: save the file as UTF-8", shown(field)))?);
    }
    let (mut line, mut terms) = (Map::new(), Map::new());
    let number = |column: &str, text: &str| {
        text.parse::<u64>().map(Value::from).map_err(|_| format!("{column}: {text:?} is no whole number"))
    };
    for (column, text) in columns.iter().zip(fields).filter(|(_, text)| !text.is_empty()) {
        let text_value = || Value::from(text);
        match column.as_str() {
            "account" | "kind" | "standing" | "package" | "company" | "role" => {
                drop(line.insert(column.clone(), text_value()))
            }
            "starts" | "ends" | "seats" | "seat" => drop(line.insert(column.clone(), number(column, text)?)),
            "product" | "expiry" | "agreement" => drop(terms.insert(column.clone(), text_value())),
            "grace_seconds" => drop(terms.insert(column.clone(), number(column, text)?)),
            "channels" | "platforms" | "components" | "groups" | "regions" => {
                drop(terms.insert(column.clone(), text.split_ascii_whitespace().map(Value::from).collect()));
            }
            "device_bound" => match text {
                "true" | "false" => drop(terms.insert(column.clone(), Value::from(text == "true"))),
                _ => return Err(format!("device_bound: {text:?} is neither true nor false")),
            },
            other => return Err(format!("there is no column {other:?}; see `penstock account import --help`")),
        }
    }
    if !terms.is_empty() {
        line.insert("terms".to_owned(), Value::Object(terms));
    }
    Ok(Value::Object(line))
}

/// Where refused lines are written down: a file with all of them, and the first few on stderr.
struct Report {
    file: Option<BufWriter<File>>,
    refused: u64,
    output: Output,
}

impl Report {
    fn open(path: Option<&Path>, output: Output) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(BufWriter::new(file))
        };
        Ok(Self { file: path.map(create).transpose()?, refused: 0, output })
    }

    fn refuse(&mut self, line: u64, detail: &str, text: &str) -> anyhow::Result<()> {
        self.refused += 1;
        if self.refused <= SAID_MAX {
            self.output.note(&format!("line {line}: {detail}"));
        }
        if let Some(file) = &mut self.file {
            serde_json::to_writer(&mut *file, &Refused { line, detail, text })?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<u64> {
        if self.refused > SAID_MAX {
            let where_else =
                if self.file.is_some() { "the report has all of them" } else { "--report FILE keeps them" };
            self.output.note(&format!("and {} more: {where_else}", self.refused - SAID_MAX));
        }
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        Ok(self.refused)
    }
}

/// Ends what goes on without an end: a record whose closing quote is missing is as long as the rest of the file.
struct Rationed<'a, R> {
    reader: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Rationed<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left.get() == 0 {
            let text = format!("a record is longer than {LINE_BYTES_MAX} bytes: is a quote missing?");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        }
        let read = self.reader.read(into)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// Counts what was read, for the bar.
struct Counting {
    file: File,
    seen: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(into)?;
        self.seen.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: Format, text: &str) -> Vec<(u64, Result<Value, String>)> {
        let mut lines = Vec::new();
        let read = read_lines(text.as_bytes(), format, &mut |number, _, value| {
            lines.push((number, value));
            Ok(())
        });
        read.expect("readable");
        lines
    }

    #[test]
    fn both_formats_say_the_same() {
        let csv = "account,standing,product,channels,components,ends,device_bound,company,seat,package,seats\n\
                   alice,,game,beta stable,dlc,4000000000,true,acme,7,,\n\
                   \"bob, the second\",suspended,,,,,,,,suite,5\n";
        let ndjson = concat!(
            r#"{"account":"alice","terms":{"product":"game","channels":["beta","stable"],"components":["dlc"],"device_bound":true},"ends":4000000000,"company":"acme","seat":7}"#,
            "\n\n",
            r#"{"account":"bob, the second","standing":"suspended","package":"suite","seats":5}"#
        );
        let values = |format, text| -> Vec<Value> {
            lines(format, text).into_iter().map(|(_, value)| value.expect("good")).collect()
        };
        assert_eq!(values(Format::Csv, csv), values(Format::Ndjson, ndjson));
    }

    type Shown = Vec<(u64, String, Result<Value, String>)>;

    fn read(format: Format, bytes: &[u8]) -> (Shown, anyhow::Result<()>) {
        let mut lines = Vec::new();
        let read = read_lines(bytes, format, &mut |number, text, value| {
            lines.push((number, text, value));
            Ok(())
        });
        (lines, read)
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_named_whole_and_the_others_are_read() {
        let (lines, ended) = read(Format::Csv, b"account,kind\nalice,\nJos\xe9,\"a \"\"b\"\"\"\n\"bob, jr\",\n");
        ended.expect("to the end");
        assert_eq!(lines.len(), 3);
        let (number, text, refused) = &lines[1];
        assert_eq!((*number, text.as_str()), (3, "Jos\\xE9,\"a \"\"b\"\"\""));
        assert!(refused.as_ref().is_err_and(|error| error.starts_with("account: ") && error.contains("UTF-8")));
        assert_eq!((lines[2].0, lines[2].1.as_str()), (4, "\"bob, jr\","));
        assert!(lines[0].2.is_ok() && lines[2].2.is_ok());
        let (lines, ended) = read(Format::Ndjson, b"{\"account\":\"Jos\xe9\"}\n{\"account\":\"bob\"}\n");
        ended.expect("to the end");
        assert!(lines[0].1.contains(r"Jos\xE9") && lines[0].2.is_err() && lines[1].2.is_ok());
        let (lines, ended) = read(Format::Csv, b"account,k\xefnd\nalice,\n");
        assert!(lines.is_empty() && ended.is_err_and(|error| error.to_string().contains("first line")));
    }

    #[test]
    fn a_record_without_an_end_is_refused_where_it_begins() {
        let mut bytes = b"account\nalice\n\"bob\n".to_vec();
        bytes.resize(4 * 256 * 1024, b'x');
        let (lines, ended) = read(Format::Csv, &bytes);
        assert_eq!(lines.len(), 1);
        let error = format!("{:#}", ended.expect_err("no end"));
        assert!(error.contains("line 3") && error.contains("quote"), "{error}");
        let mut long = b"account\n".to_vec();
        long.resize(200 * 1024, b'x');
        let (lines, ended) = read(Format::Csv, &long);
        assert!(ended.is_ok() && lines.len() == 1, "one that is as long as one may be is read");
    }

    #[test]
    fn a_line_that_says_nothing_is_named_and_the_others_are_read() {
        let found = lines(Format::Csv, "account,ends\na,soon\nb\nc,5\n");
        assert_eq!(found[0], (2, Err("ends: \"soon\" is no whole number".to_owned())));
        assert_eq!(found[1], (3, Err("it has 1 fields, the first line has 2".to_owned())));
        assert!(found[2].1.is_ok());
        let found = lines(Format::Ndjson, "{\n{\"account\":\"a\"}\n");
        assert!(found[0].1.is_err() && found[1].1.is_ok());
        assert!(
            lines(Format::Csv, "account,colour\na,red\n")[0].1.as_ref().is_err_and(|error| error.contains("colour"))
        );
    }
}
