//! The command line: what to measure, how much, with which binary.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// How it is called.
pub(crate) const USAGE: &str = "\
usage: penstock-benches WHAT [--smoke] [--gate] [--binary FILE] [--dir DIR] [--pairs N] [--minutes N]
  WHAT: serve | import | chunk | entitle | token | revoke | forged | scale | pull | start | memory | soak |
        all (all but soak)
  --smoke     small sizes and one pair: shows that it runs, the figures mean nothing
  --gate      a missed goal is an error
  --binary    the penstock binary; target/release/penstock beside this program by default
  --dir       where to work; a directory of its own below the target directory by default
  --pairs     interleaved pairs for each ratio, 5 by default
  --minutes   how long to soak, 10 by default";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Serve,
    Import,
    Chunk,
    Entitle,
    Token,
    Revoke,
    Forged,
    Scale,
    Pull,
    Start,
    Memory,
    Soak,
    All,
}

const PARTS: [What; 11] = [
    What::Chunk,
    What::Entitle,
    What::Import,
    What::Serve,
    What::Token,
    What::Revoke,
    What::Forged,
    What::Scale,
    What::Pull,
    What::Memory,
    What::Start,
];

impl What {
    fn parse(word: &str) -> Option<Self> {
        PARTS.into_iter().chain([Self::Soak, Self::All]).find(|what| what.name() == word)
    }

    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Import => "import",
            Self::Chunk => "chunk",
            Self::Entitle => "entitle",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Forged => "forged",
            Self::Scale => "scale",
            Self::Pull => "pull",
            Self::Start => "start",
            Self::Memory => "memory",
            Self::Soak => "soak",
            Self::All => "all",
        }
    }

    /// The single measurements that it stands for.
    pub(crate) fn parts(self) -> Vec<Self> {
        if self == Self::All { PARTS.to_vec() } else { vec![self] }
    }
}

/// The checked command line.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    pub(crate) what: What,
    pub(crate) smoke: bool,
    pub(crate) gate: bool,
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) pairs: usize,
    pub(crate) minutes: u64,
}

impl Args {
    /// Reads the words after the program's name.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let beside = program.parent().context("a program lies in a directory")?;
        let mut args = Self {
            what: What::All,
            smoke: false,
            gate: false,
            binary: beside.join("penstock"),
            dir: beside.parent().unwrap_or(beside).join("benches"),
            pairs: 5,
            minutes: 10,
        };
        let (first, rest) = words.split_first().context("say what to measure")?;
        args.what = What::parse(first).with_context(|| format!("{first} is nothing that can be measured"))?;
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--smoke" => args.smoke = true,
                "--gate" => args.gate = true,
                "--binary" => args.binary = value()?.into(),
                // A daemon's config takes paths from its own place.
                "--dir" => args.dir = std::path::absolute(value()?)?,
                "--pairs" => args.pairs = value()?.parse().context("--pairs needs a number")?,
                "--minutes" => args.minutes = value()?.parse().context("--minutes needs a number")?,
                _ => bail!("{word} is no option"),
            }
        }
        if args.smoke {
            args.pairs = 1;
        }
        anyhow::ensure!(args.pairs > 0 && args.minutes > 0, "--pairs and --minutes are at least 1");
        Ok(args)
    }

    /// The smoke size or the full one.
    pub(crate) fn pick<T>(&self, smoke: T, full: T) -> T {
        if self.smoke { smoke } else { full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args> {
        Args::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn good_words_are_read() {
        let args = parse("serve --gate --pairs 7 --binary /x/penstock").expect("good words");
        assert_eq!((args.what, args.gate, args.pairs), (What::Serve, true, 7));
        assert_eq!(args.binary, PathBuf::from("/x/penstock"));
        assert_eq!(parse("all --smoke").expect("good words").pairs, 1);
        assert!(!What::All.parts().contains(&What::Soak));
    }

    #[test]
    fn bad_words_are_refused() {
        for text in ["", "dance", "serve --fast", "serve --pairs", "serve --pairs x", "serve --pairs 0"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
