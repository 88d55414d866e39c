//! Where everything lies in the quickstart's directory, and the config that runs it.

use super::certificate::{self, Files};
use crate::failure::Failure;
use crate::node::DataDirLock;
use anyhow::{Context as _, bail};
use penstock_core::path::CLIENT_DIR;
use penstock_edge::config::{Checked, Config, Environment};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The quickstart's directory, absolute.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// The three ports; 0 lets the kernel choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    https: u16,
    admin: u16,
    http: u16,
}

impl Ports {
    /// The defaults of the contract, or three in a row, or any free ones.
    pub(crate) fn new(first: Option<u16>) -> Result<Self, Failure> {
        match first {
            None => Ok(Self { https: 8443, admin: 8444, http: 8080 }),
            Some(0) => Ok(Self { https: 0, admin: 0, http: 0 }),
            Some(port) => {
                let after = |step| {
                    port.checked_add(step)
                        .ok_or_else(|| Failure::usage("--port takes three ports in a row, up to 65535"))
                };
                Ok(Self { https: port, admin: after(1)?, http: after(2)? })
            }
        }
    }
}

impl Layout {
    /// Makes the directory, readable by its owner only: keys lie in it. One with other things in it is refused.
    pub(crate) fn prepare(dir: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot make {}", dir.display());
        // The lock is the first thing that a quickstart makes. Many a game has a directory of that name.
        if !DataDirLock::exists(&dir.join("data"))
            && std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
        {
            bail!("{} has other things in it: name a new directory with --dir", dir.display());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(cannot)?;
        let root = dir.canonicalize().with_context(cannot)?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }
    pub(crate) fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("node.log")
    }
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("penstock.toml")
    }
    pub(crate) fn token(&self) -> PathBuf {
        self.root.join("token.jwt")
    }
    pub(crate) fn publisher_key(&self) -> PathBuf {
        self.root.join("publisher.key")
    }
    pub(crate) fn install(&self) -> PathBuf {
        self.root.join("install")
    }
    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// Writes the config and reads it back the way `serve` would, environment included.
    pub(crate) fn write_config(&self, ports: Ports, files: &Files) -> anyhow::Result<Checked> {
        let relative = |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        let text = format!(
            "# Written by penstock quickstart; runs again with: penstock serve --config {}\n\
             role = \"all\"\n\n\
             [data]\ndir = \"data\"\n\n\
             [listen]\nhttps = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n\n\
             [tls]\ncert = \"{}\"\nkey = \"{}\"\n",
            self.config().display(),
            ports.https,
            ports.http,
            ports.admin,
            relative(&files.cert),
            relative(&files.key),
        );
        let path = self.config();
        certificate::replace(&path, text.as_bytes(), 0o644)?;
        match Config::load(Some(&path), &Environment::from_process()) {
            Ok(config) => Ok(config),
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                bail!("the configuration {} is not usable, see PENSTOCK__ in the environment: {first}", path.display())
            }
        }
    }

    /// Removes the demonstration's install, so that its figures are those of a first install. Only a
    /// directory that the client made is removed.
    pub(crate) fn forget_install(&self) -> anyhow::Result<()> {
        let install = self.install();
        if install.join(CLIENT_DIR).is_dir() {
            std::fs::remove_dir_all(&install).with_context(|| format!("cannot remove {}", install.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_contract() {
        let ports = |first| Ports::new(first).ok().map(|ports| (ports.https, ports.admin, ports.http));
        assert_eq!(ports(None), Some((8443, 8444, 8080)));
        assert_eq!(ports(Some(0)), Some((0, 0, 0)));
        assert_eq!(ports(Some(9000)), Some((9000, 9001, 9002)));
        assert_eq!(ports(Some(65_534)), None);
    }

    #[test]
    fn a_directory_with_other_things_is_left_alone() {
        let dir = tempfile::tempdir().expect("dir");
        Layout::prepare(dir.path()).expect("an empty one");
        std::fs::create_dir(dir.path().join("data")).expect("dir");
        assert!(Layout::prepare(dir.path()).is_err(), "a game that has a data directory");
        drop(DataDirLock::take(&dir.path().join("data")).expect("free"));
        Layout::prepare(dir.path()).expect("our own");
        let other = tempfile::tempdir().expect("dir");
        std::fs::write(other.path().join("thesis.txt"), "words").expect("written");
        let error = Layout::prepare(other.path()).expect_err("somebody's").to_string();
        assert!(error.contains("--dir"), "{error}");
    }

    #[test]
    fn only_an_install_is_removed() {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::prepare(dir.path()).expect("made");
        std::fs::create_dir_all(layout.install()).expect("dir");
        layout.forget_install().expect("nothing to do");
        assert!(layout.install().exists(), "not ours");
        std::fs::create_dir(layout.install().join(CLIENT_DIR)).expect("dir");
        layout.forget_install().expect("removed");
        assert!(!layout.install().exists());
    }
}
