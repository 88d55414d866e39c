//! What to publish, checked: components by pattern, launch set, keys.

use penstock_core::audience::Audience;
use penstock_core::id::{AccessGroup, ChannelName, ComponentName, Platform, ProductId, Version};
use penstock_core::keys::TrustSet;
use penstock_core::limits::COMPONENTS_MAX;
use penstock_core::sign::SecretKey;
use penstock_core::time::UnixSeconds;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// zstd level of new frames: FIELD-NOTES measure 1–13 % more bytes than level 19 at a tenth of the time.
pub const LEVEL_DEFAULT: i32 = 9;

/// Everything a publish needs to know.
#[derive(Debug)]
pub struct PublishRequest {
    /// The build tree.
    pub dir: PathBuf,
    /// Product; it exists on the node.
    pub product: ProductId,
    /// Version of the release.
    pub version: Version,
    /// Platform of the release.
    pub platform: Platform,
    /// The publisher's secret keys; as many as the trust set's threshold.
    pub keys: Vec<SecretKey>,
    /// The publisher's public keys with threshold; `None` means the first of `keys` alone.
    pub publisher: Option<TrustSet>,
    /// Which files form which component: the first rule that matches a path; no match means `base`. A rule whose pattern
    /// matches nothing in the build is refused.
    pub components: Vec<ComponentRule>,
    /// Files that the game starts with. They are marked in the manifest's tree parts and nothing
    /// else: packs hold new content in path order, whatever is marked. A pattern that matches no file is refused.
    pub launch: Vec<Pattern>,
    /// Channel that shall offer the release once it is registered.
    pub channel: Option<ChannelName>,
    /// Time written into the manifest and a new delegation, and by which the delegation in force is
    /// judged; the same inputs and time make the same blobs.
    pub created: UnixSeconds,
    /// What becomes of channel keys that are delegated and not the node's; dropped unless said otherwise.
    pub other_keys: OtherKeys,
    /// zstd level of new frames, 1 to 19.
    pub level: i32,
    /// Threads that hash and compress; 0 means one per core.
    pub threads: usize,
    /// Where temporary files go: some 200 MiB at most, whatever the build's size, plus 100 bytes per
    /// chunk; `None` means the system's directory.
    pub spool: Option<PathBuf>,
}

impl PublishRequest {
    /// A request with defaults: all files in `base`, level 9, one thread per core, no channel.
    #[must_use]
    pub const fn new(
        dir: PathBuf,
        product: ProductId,
        version: Version,
        platform: Platform,
        keys: Vec<SecretKey>,
        created: UnixSeconds,
    ) -> Self {
        Self {
            dir,
            product,
            version,
            platform,
            keys,
            publisher: None,
            components: Vec::new(),
            launch: Vec::new(),
            channel: None,
            created,
            other_keys: OtherKeys::Drop,
            level: LEVEL_DEFAULT,
            threads: 0,
            spool: None,
        }
    }
}

/// What becomes of channel keys in the delegation in force that are not the node's present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherKeys {
    /// They may sign no longer: how a lost or stolen key is taken back, once the node has a new one.
    #[default]
    Drop,
    /// They may still sign: for a product that several nodes with keys of their own offer. Never for
    /// a key that may be stolen.
    Keep,
}

/// Files of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentRule {
    /// The component; several rules may name one.
    pub name: ComponentName,
    /// Which paths.
    pub pattern: Pattern,
    /// Who may read it; the same in all rules of one component.
    pub group: AccessGroup,
    /// Whether an install can be without it; the same in all rules of one component.
    pub optional: bool,
}

/// A path pattern: `*` is any characters but `/`, `**` any at all, `?` one character but `/`; a
/// pattern that ends with `/` means everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As it was given, for messages.
    given: String,
    /// What is matched.
    text: String,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No text.
    #[error("a path pattern must not be empty")]
    Empty,
    /// So long or starred that matching it would be slow.
    #[error("the path pattern {0:?} is longer than 1024 bytes or has more than 16 stars")]
    TooLong(String),
}

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > 1024 || text.bytes().filter(|byte| *byte == b'*').count() > 16 {
            return Err(PatternError::TooLong(text.chars().take(80).collect()));
        }
        let given = text.to_owned();
        let text = text.trim_start_matches("./");
        let text = if text.ends_with('/') { format!("{text}**") } else { text.to_owned() };
        Ok(Self { given, text })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl Pattern {
    /// Whether a path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        matches(self.text.as_bytes(), path.as_bytes())
    }
}

/// Matching with backtracking to the last star only of each sort: linear in practice, bounded by the star limit.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        [b'?', rest @ ..] => {
            // One character, not one byte: skip the rest of its UTF-8 form.
            let length = match text.first() {
                None | Some(b'/') => return false,
                Some(_) => 1 + text[1..].iter().take_while(|byte| **byte & 0xc0 == 0x80).count(),
            };
            matches(rest, &text[length..])
        }
        [byte, rest @ ..] => text.first() == Some(byte) && matches(rest, &text[1..]),
    }
}

/// Why a request cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No key.
    #[error("a publish needs at least one secret key")]
    NoKey,
    /// The keys cannot sign for the publisher.
    #[error("{given} of the given keys belong to the publisher {publisher}, {needed} must sign")]
    Keys {
        /// Keys that belong to it.
        given: usize,
        /// Its threshold.
        needed: usize,
        /// As text.
        publisher: String,
    },
    /// Two rules disagree about a component.
    #[error("the rules of component {0:?} disagree about its access group or whether it is optional")]
    Component(ComponentName),
    /// The base cannot be left out or hidden.
    #[error("component base is in every install: it cannot be optional and its access group is base")]
    Base,
    /// Too many components.
    #[error("a release has at most {COMPONENTS_MAX} components")]
    TooMany,
    /// Not a zstd level.
    #[error("compression level {0} is not between 1 and 19")]
    Level(i32),
}

/// A component to be, in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComponentPlan {
    pub(crate) name: ComponentName,
    pub(crate) group: AccessGroup,
    pub(crate) optional: bool,
}

impl ComponentPlan {
    /// Who may read it.
    pub(crate) const fn audience(&self) -> Audience<'_> {
        Audience { component: &self.name, group: &self.group }
    }
}

/// A request whose parts fit together.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) publisher: TrustSet,
    /// The base first, because all others may reuse its content; those of its access group follow.
    pub(crate) components: Vec<ComponentPlan>,
    /// Per rule, the index of its component.
    rule_components: Vec<u32>,
}

impl Checked {
    pub(crate) fn new(request: &PublishRequest) -> Result<Self, RequestError> {
        let first = request.keys.first().ok_or(RequestError::NoKey)?;
        let publisher = request.publisher.clone().unwrap_or_else(|| TrustSet::single(first.public()));
        let given = request.keys.iter().filter(|key| publisher.find(key.public().id()).is_some()).count();
        if given < publisher.threshold() || given != request.keys.len() {
            let needed = publisher.threshold();
            return Err(RequestError::Keys { given, needed, publisher: publisher.to_string() });
        }
        if !(1..=19).contains(&request.level) {
            return Err(RequestError::Level(request.level));
        }
        let components = plan_components(&request.components)?;
        let index = |name: &ComponentName| components.iter().position(|plan| plan.name == *name);
        let rule_components =
            request.components.iter().map(|rule| u32::try_from(index(&rule.name).unwrap_or(0)).unwrap_or(0)).collect();
        Ok(Self { publisher, components, rule_components })
    }

    /// The component of a path, as an index.
    pub(crate) fn component_of(&self, rules: &[ComponentRule], path: &str) -> u32 {
        let rule = rules.iter().position(|rule| rule.pattern.matches(path));
        rule.map_or(0, |rule| self.rule_components[rule])
    }
}

fn plan_components(rules: &[ComponentRule]) -> Result<Vec<ComponentPlan>, RequestError> {
    let base = ComponentPlan { name: ComponentName::base(), group: AccessGroup::base(), optional: false };
    let mut plans = vec![base];
    for rule in rules {
        let plan = ComponentPlan { name: rule.name.clone(), group: rule.group.clone(), optional: rule.optional };
        match plans.iter().find(|known| known.name == plan.name) {
            Some(known) if *known == plan => {}
            Some(known) if known.name == ComponentName::base() => return Err(RequestError::Base),
            Some(_) => return Err(RequestError::Component(plan.name)),
            None => plans.push(plan),
        }
    }
    if plans.len() > COMPONENTS_MAX {
        return Err(RequestError::TooMany);
    }
    // Stable: the base stays first, and those of its access group follow.
    plans.sort_by_key(|plan| plan.group != AccessGroup::base());
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("lang/de/", "lang/de/a/b.txt", true),
            ("lang/de/", "lang/de", false),
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("**.txt", "d/a.txt", true),
            ("data/*/hi?.bin", "data/x/hi1.bin", true),
            ("data/*/hi?.bin", "data/x/y/hi1.bin", false),
            ("a?c", "aéc", true),
            ("a?c", "a/c", false),
            ("./bin/game", "bin/game", true),
            ("**", "anything/at/all", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(pattern.parse::<Pattern>().expect(pattern).matches(path), expected, "{pattern} {path}");
        }
        assert!("".parse::<Pattern>().is_err());
        assert!("*".repeat(17).parse::<Pattern>().is_err());
    }

    fn rule(name: &str, group: &str, optional: bool) -> ComponentRule {
        ComponentRule {
            name: ComponentName::new(name).expect("name"),
            pattern: format!("{name}/").parse().expect("pattern"),
            group: AccessGroup::new(group).expect("group"),
            optional,
        }
    }

    fn request(components: Vec<ComponentRule>) -> PublishRequest {
        let product = ProductId::new("game").expect("name");
        let version = Version::new("1").expect("name");
        let key = SecretKey::from_seed(&[1; 32]);
        let mut request =
            PublishRequest::new(PathBuf::new(), product, version, Platform::any(), vec![key], UnixSeconds(1));
        request.components = components;
        request
    }

    #[test]
    fn the_base_and_components_of_its_group_come_first() {
        let request =
            request(vec![rule("dlc", "owners", true), rule("lang", "base", true), rule("dlc", "owners", true)]);
        let checked = Checked::new(&request).expect("good");
        let names: Vec<&str> = checked.components.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["base", "lang", "dlc"]);
        assert_eq!(checked.component_of(&request.components, "dlc/x"), 2);
        assert_eq!(checked.component_of(&request.components, "lang/x"), 1);
        assert_eq!(checked.component_of(&request.components, "other"), 0);
    }

    #[test]
    fn contradictions_are_refused() {
        let error = |components| Checked::new(&request(components)).expect_err("contradiction");
        assert!(matches!(error(vec![rule("a", "x", true), rule("a", "y", true)]), RequestError::Component(_)));
        assert_eq!(error(vec![rule("base", "x", false)]), RequestError::Base);
        let mut keyless = request(Vec::new());
        keyless.keys.clear();
        assert_eq!(Checked::new(&keyless).expect_err("no key"), RequestError::NoKey);
        let mut other = request(Vec::new());
        other.publisher = Some(TrustSet::single(SecretKey::from_seed(&[2; 32]).public()));
        assert!(matches!(Checked::new(&other), Err(RequestError::Keys { given: 0, .. })));
    }
}
