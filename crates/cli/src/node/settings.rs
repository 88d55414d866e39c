//! `DATA_DIR/settings.toml`: what a command that works on a directory without a running node must know of
//! that node's config: where its record is and how its blobs are read.
//!
//! Written by the node at each start, so that `publish --to DATA_DIR` goes into the record that the node
//! will serve, wherever its config puts it. It holds no secret and decides nothing else.

use penstock_edge::config::{Access, Checked, Config, Database, Environment, Role};
use std::io;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "settings.toml";
/// Overrides `control.database`, as for a node.
const DATABASE_VARIABLE: &str = "PENSTOCK__CONTROL__DATABASE";

/// The settings cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path:?}")]
pub(crate) struct SettingsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes down what the node runs with; whole, by rename, and only when it changed.
pub(super) fn keep(config: &Checked) -> Result<(), SettingsError> {
    let dir = &config.data.dir;
    let path = dir.join(FILE_NAME);
    let failed = |source| SettingsError { path: path.clone(), source };
    let text = text(config).map_err(failed)?;
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let draft = dir.join(format!("{FILE_NAME}.{}", std::process::id()));
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path));
    written.map_err(failed)
}

fn text(config: &Checked) -> io::Result<String> {
    let access = match config.data.access {
        Access::Map => "map",
        Access::Pread => "pread",
    };
    let role = if config.role == Role::Edge { "role = \"edge\"\n" } else { "" };
    let mut text = format!(
        "# Written by the node at its start, for commands that work here while it is stopped.\n{role}[data]\naccess = \"{access}\"\n"
    );
    if let Database::Sqlite(path) = &config.control.database {
        // Relative to where the node was started, which is not where the command will be.
        let path = std::path::absolute(path)?;
        let database = toml::Value::String(format!("sqlite:{}", path.display()));
        text.push_str(&format!("[control]\ndatabase = {database}\n"));
    } else {
        // Its URL may hold a password, and this file is for everyone who may see the directory.
        text.push_str("[control]\ndatabase = \"postgres://\"\n");
    }
    Ok(text)
}

/// The config of a node that only this process talks to, on a directory where no other node runs.
///
/// # Errors
/// Settings that cannot be read, or an environment that overrides them with something that makes no sense.
pub(crate) fn private_config(data_dir: &Path) -> anyhow::Result<Checked> {
    let kept = match std::fs::read_to_string(data_dir.join(FILE_NAME)) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => anyhow::bail!("cannot read {}: {error}", data_dir.join(FILE_NAME).display()),
    };
    let wrong = |what: String| anyhow::anyhow!("cannot work on {}: {what}", data_dir.display());
    let mut table: toml::Table = kept.parse().map_err(|error| wrong(format!("{FILE_NAME}: {error}")))?;
    if table.get("role").and_then(toml::Value::as_str) == Some("edge") {
        return Err(wrong(
            "it belongs to an edge, which has no record: ask the control node that it follows".to_owned(),
        ));
    }
    let text = |text: &str| toml::Value::String(text.to_owned());
    table.insert("role".to_owned(), text("control"));
    section(&mut table, "data").insert("dir".to_owned(), text(&data_dir.display().to_string()));
    section(&mut table, "listen").insert("admin".to_owned(), text(""));
    let control = section(&mut table, "control");
    if control.get("database").and_then(toml::Value::as_str) == Some("postgres://") {
        let url = std::env::var(DATABASE_VARIABLE).ok().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            wrong(format!(
                "its record is in PostgreSQL: start the node, or set {DATABASE_VARIABLE} to the database's URL"
            ))
        })?;
        control.insert("database".to_owned(), text(&url));
    }
    Config::parse(&table.to_string(), &Environment::default(), None)
        .map_err(|problems| wrong(problems.first().map(ToString::to_string).unwrap_or_default()))
}

/// A section of the table, made when it is missing or no section.
fn section<'a>(table: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    let value = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if !value.is_table() {
        *value = toml::Value::Table(toml::Table::new());
    }
    value.as_table_mut().expect("made one just now")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str, dir: &Path) -> Checked {
        let text = format!("role = \"all\"\n[data]\ndir = {:?}\n{text}", dir.display().to_string());
        Config::parse(&text, &Environment::default(), None).expect("a good config")
    }

    #[test]
    fn a_command_works_on_the_nodes_own_record() {
        let dir = tempfile::tempdir().expect("dir");
        let plain = private_config(dir.path()).expect("nothing kept yet");
        assert_eq!(plain.control.database, Database::Sqlite(dir.path().join("control.sqlite")));
        let node = config(
            "access = \"pread\"\n[control]\ndatabase = \"sqlite:/elsewhere/record \\\"x\\\".db\"\n[listen]\nhttp = \"127.0.0.1:0\"",
            dir.path(),
        );
        keep(&node).expect("kept");
        keep(&node).expect("kept again");
        let private = private_config(dir.path()).expect("understood");
        assert_eq!(private.control.database, node.control.database);
        assert_eq!(private.data.access, Access::Pread);
        assert_eq!(private.data.dir, dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 1, "no draft is left");
    }

    /// Found by a user: a node that was started with a relative path wrote one here, and every command that worked on
    /// the directory later looked for the record in the wrong place.
    #[test]
    fn a_relative_record_is_written_down_as_it_is_found_from_anywhere() {
        let dir = tempfile::tempdir().expect("dir");
        let here = std::env::current_dir().expect("a directory");
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(dir.path().strip_prefix("/").expect("absolute"));
        keep(&config("", &relative)).expect("kept");
        let Database::Sqlite(found) = private_config(dir.path()).expect("understood").control.database else {
            panic!("another engine")
        };
        assert!(found.is_absolute(), "{}", found.display());
        assert_eq!(found.parent().expect("a directory").canonicalize().expect("there"), dir.path());
    }

    #[test]
    fn spoiled_settings_are_named() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join(FILE_NAME), "[data\n").expect("written");
        let error = private_config(dir.path()).expect_err("spoiled").to_string();
        assert!(error.contains("settings.toml"), "{error}");
    }
}
