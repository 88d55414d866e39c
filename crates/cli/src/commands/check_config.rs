//! `check-config`: every problem of a config file, with its line and key.

use crate::args::node::CheckConfig;
use crate::commands::Done;
use crate::failure;
use crate::output::Output;
use penstock_edge::config::{Config, ConfigProblem, Environment, Place};
use penstock_edge::preflight;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Serialize)]
struct Document {
    file: PathBuf,
    good: bool,
    /// Why this version does not run a config that is good.
    not_yet: Option<String>,
    problems: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    line: Option<usize>,
    variable: Option<String>,
    key: String,
    error: bool,
    message: String,
}

/// Prints all problems; exit code 1 when one of them is an error.
pub(crate) fn run(args: &CheckConfig, output: &Output) -> Done {
    let (problems, not_yet) = match Config::load(Some(&args.file), &Environment::from_process()) {
        Ok(checked) => {
            let around = preflight::check(&checked);
            ([checked.notes(), &around].concat(), checked.runnable().err())
        }
        Err(problems) => (problems, None),
    };
    let bad = problems.iter().any(|problem| problem.kind.is_error_in_check());
    let mut text = String::new();
    for problem in &problems {
        let word = if problem.kind.is_error_in_check() { "error" } else { "note" };
        text.push_str(&format!("{}: {word}: {problem}\n", args.file.display()));
    }
    if !bad {
        text.push_str(&format!("{} is good", args.file.display()));
        if let Some(not_yet) = &not_yet {
            text.push_str(&format!(", but this version does not run it: {not_yet}"));
        }
    }
    let document = Document {
        file: args.file.clone(),
        good: !bad,
        not_yet: not_yet.map(|not_yet| not_yet.to_string()),
        problems: problems.iter().map(row).collect(),
    };
    output.result(&document, &text)?;
    Ok(if bad { ExitCode::from(failure::FAILED) } else { ExitCode::SUCCESS })
}

fn row(problem: &ConfigProblem) -> Row {
    let (line, variable) = match &problem.place {
        Place::Line(line) => (Some(*line), None),
        Place::Variable(name) => (None, Some(name.clone())),
        Place::Default => (None, None),
    };
    Row {
        line,
        variable,
        key: problem.key.clone(),
        error: problem.kind.is_error_in_check(),
        message: problem.message.clone(),
    }
}
