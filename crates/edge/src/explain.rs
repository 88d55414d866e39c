//! "Why was this player refused?": the walk of a decision, for support.
//!
//! The verdict is `core::entitle`'s own, made of the same facts as a request's, and the turn `core::rollout`'s: nothing is
//! decided here.

use crate::catalog::{EdgeCatalog, Found};
use crate::feed::Standing;
use crate::geo::Geo;
use crate::passport::{Bearer, Passports, Presented, Proof};
use crate::policy::Policies;
use crate::turn::{self, Inquirer, Names};
use penstock_core::channel::Choice;
use penstock_core::desk::{ExplainAnswer, ExplainQuestion, ExplainStep, Explainer};
use penstock_core::entitle::{
    Caller, Passport, Refusal, Scene, Step, TokenFault, Verdict, Walk, Walked, decide_blob, decide_product,
};
use penstock_core::grace::Freshness;
use penstock_core::id::{ChannelName, ProductId};
use penstock_core::link::{self, RawLink};
use penstock_core::place::{Place, Whereabouts};
use penstock_core::reply::Problem;
use penstock_core::request::InstallId;
use penstock_core::time::UnixSeconds;
use std::sync::Arc;

/// The edge as one who explains.
#[derive(Debug)]
pub struct EdgeExplainer {
    /// Who may read what.
    pub catalog: Arc<EdgeCatalog>,
    /// Who asks.
    pub passports: Arc<Passports>,
    /// What may not be sent where, and who is in which segment.
    pub policies: Arc<Policies>,
    /// Where addresses are.
    pub geo: Arc<Geo>,
    /// What is known of control elsewhere; `None` beside control.
    pub standing: Option<Standing>,
    /// The clock.
    pub clock: fn() -> UnixSeconds,
}

impl Explainer for EdgeExplainer {
    fn explain(&self, question: &ExplainQuestion) -> ExplainAnswer {
        let now = (self.clock)();
        let mut first = None;
        let presented = match (&question.token, &question.link, &question.account) {
            (Some(token), ..) => Some(self.passports.of(format!("Bearer {token}").as_bytes(), None, now)),
            (None, Some(link), _) => {
                let (presented, step) = self.link(link, &path(question), now);
                first = Some(step);
                Some(presented)
            }
            (None, None, Some(account)) => Some(Presented::Known(self.passports.as_if(everything(account, now)))),
            (None, None, None) => None,
        };
        let caller = match &presented {
            None => Caller::Nobody,
            Some(Presented::Known(passport)) => Caller::Known(passport),
            Some(Presented::Faulty(fault)) => Caller::Faulty(*fault),
            Some(Presented::Elsewhere) => Caller::Elsewhere,
            // Whoever asks is on this machine, so only the first can be.
            Some(Presented::Busy | Presented::TooMany { .. }) => Caller::Nobody,
        };
        let embargo = self.policies.embargo();
        let looked_up = || question.address.and_then(|address| self.geo.place(address));
        let place = question.region.map(Place).or_else(looked_up);
        let age_seconds = self.standing.as_ref().map_or(0, |standing| standing.at(now).age_seconds);
        let freshness = Freshness { age_seconds, grace: self.policies.grace() };
        let scene = Scene { now, place: Whereabouts::Known(place), embargo: &embargo, freshness };
        let mut walk = Walk::default();
        let (subject, refusal) = match (question.blob, &question.product) {
            (Some(blob), _) => {
                let verdict = self
                    .catalog
                    .with_blob(&blob, |open, uses| decide_blob(blob, open, uses, caller, &scene, &mut walk));
                (format!("blob {blob}"), refusal(&verdict))
            }
            (None, Some(product)) => {
                let (channel, platform) = (question.channel.as_ref(), question.platform.as_ref());
                let verdict = self
                    .catalog
                    .with_channel(product, channel, platform, |known| decide_product(known, caller, &scene, &mut walk));
                (format!("product {product}"), refusal(&verdict))
            }
            (None, None) => ("nothing".to_owned(), Some(Refusal::Unknown)),
        };
        if walk.0.is_empty() {
            walk.0.push(unknown());
        }
        let mut turn = Vec::new();
        if let (None, Some(product), Some(channel), None) =
            (question.blob, &question.product, &question.channel, refusal)
        {
            let passport = match caller {
                Caller::Known(passport) if !passport.is_revoked => Some(passport),
                _ => None,
            };
            turn = self.turn(question, product, channel, passport, &scene);
        }
        let step = |one: Walked| ExplainStep {
            step: one.step.name().to_owned(),
            finding: one.grounds,
            code: one.refusal.map(|refusal| refusal.code().to_owned()),
        };
        ExplainAnswer {
            subject,
            allowed: refusal.is_none(),
            code: refusal.map(|refusal| refusal.code().to_owned()),
            status: refusal.map_or(200, |refusal| Problem::Refused(refusal).status()),
            steps: first.into_iter().chain(walk.0.into_iter().map(step)).chain(turn).collect(),
        }
    }
}

impl EdgeExplainer {
    /// Who comes with a link to ask for a path, and what there is to say of it. Nothing is said of what a link that nobody
    /// signed claims.
    fn link(&self, given: &str, path: &str, now: UnixSeconds) -> (Presented, ExplainStep) {
        let query = given.split_once('?').map_or(given, |(_, query)| query);
        let text = match link::of_query(query) {
            Ok(found) => Ok(found.unwrap_or(query)),
            Err(fault) => Err(fault),
        };
        let presented = match text {
            Ok(text) => self.passports.of_proof(Proof::Link { text, path }, None, now),
            Err(fault) => Presented::Faulty(fault),
        };
        let key = text.ok().and_then(|text| RawLink::read(text).ok()).map(|link| link.key());
        let key = key.map_or_else(|| "no key".to_owned(), |key| format!("key {key}"));
        let (finding, refusal) = match &presented {
            Presented::Known(passport) => {
                let prefix = passport.narrowing().and_then(|narrowing| narrowing.path.as_ref());
                let prefix = prefix.map_or_else(String::new, ToString::to_string);
                let until = passport.expires.0;
                (format!("it is signed with {key}, for {prefix} and what lies below, until {until}"), None)
            }
            Presented::Elsewhere => {
                (format!("it is signed with {key}, and not for {path}"), Some(Refusal::TokenTooNarrow))
            }
            Presented::Faulty(fault @ TokenFault::KeyUnknown) => {
                let words =
                    "unknown key id: links of control's own key are known with its feed, others by tokens.link_keys";
                (format!("it names {key}, {words}"), Some(Refusal::Token(*fault)))
            }
            Presented::Faulty(fault) => (format!("it names {key}: {}", fault.words()), Some(Refusal::Token(*fault))),
            Presented::Busy | Presented::TooMany { .. } => ("nobody looked at it".to_owned(), None),
        };
        let code = refusal.map(|refusal| refusal.code().to_owned());
        (presented, ExplainStep { step: "link".to_owned(), finding, code })
    }

    /// What the channel answers, after the caller was let in: segments, the turn, the oldest supported version.
    fn turn(
        &self,
        question: &ExplainQuestion,
        product: &ProductId,
        channel: &ChannelName,
        passport: Option<&Passport>,
        scene: &Scene<'_>,
    ) -> Vec<ExplainStep> {
        let step = |step: &str, finding: String| ExplainStep { step: step.to_owned(), finding, code: None };
        let offered = match self.catalog.offered(product, channel, question.platform.as_ref(), question.have.as_ref()) {
            Found::One(offered) => offered,
            Found::Unknown => return vec![step("channel", format!("{channel} offers nothing for that platform"))],
            Found::Withdrawn => return vec![step("channel", "what it offers was withdrawn".to_owned())],
            Found::NamePlatform(_) => {
                return vec![step("channel", format!("{channel} offers it for several platforms: name one"))];
            }
        };
        let install = question.install.as_deref().and_then(InstallId::new);
        let (by_hand, have) = (question.by_hand, question.have.as_ref());
        let inquirer = Inquirer { install: install.as_ref(), by_hand, have, passport, place: scene.place };
        let (segments, pseudonyms) = (self.policies.segments(), self.passports.pseudonyms());
        let mut steps = Vec::new();
        if question.install.is_some() && install.is_none() {
            steps.push(step("channel", "no install can be called so, and an edge refuses the request".to_owned()));
        }
        let names = Names::of(passport, install.as_ref(), &pseudonyms);
        for name in offered.rollout().map(turn::named).unwrap_or_default() {
            steps.push(step(
                "segment",
                match segments.get(name) {
                    None => format!("there is no segment {name}, so nobody is in it"),
                    Some(segment) => {
                        let is = if segment.holds(&names.list(), inquirer.attributes()) { "is" } else { "is not" };
                        format!("the caller {is} in {name}, version {}", segment.version)
                    }
                },
            ));
        }
        let choice = offered.choose(self.policies.brake(product, channel), |rollout| {
            let (turn, grounds) = inquirer.explain(rollout, &segments, &pseudonyms, scene.now);
            steps.extend(grounds.into_iter().map(|grounds| step("rollout", grounds)));
            turn
        });
        let (version, must_update) = offered.version(choice);
        let answer = match choice {
            Choice::Everybody => format!("everybody is answered {version}"),
            Choice::Turn(turn) if turn.is_target() => format!("it is answered the target, {version}"),
            Choice::Turn(_) => format!("it is answered the fallback, {version}"),
            Choice::NotTold => format!("the rollout is not known to this node yet: the fallback, {version}"),
            Choice::Braked => format!("this node's brake is pulled (rollouts.brake): the fallback, {version}"),
            Choice::Withdrawn => format!("the target was withdrawn: the fallback, {version}"),
        };
        steps.push(step("channel", answer));
        if let Some(minimum) = offered.minimum() {
            let must = match (&question.have, must_update) {
                (None, _) => "the caller does not say what it has".to_owned(),
                (Some(have), true) => format!("{have} is older or was withdrawn, and must not go on"),
                (Some(have), false) => format!("{have} may go on"),
            };
            steps.push(step("minimum", format!("{} is the oldest supported version: {must}", minimum.version)));
        }
        steps
    }
}

/// The path that the question is about.
fn path(question: &ExplainQuestion) -> String {
    match (&question.blob, &question.product, &question.channel) {
        (Some(blob), ..) => format!("/v1/blobs/{blob}"),
        (None, Some(product), Some(channel)) => format!("/v1/products/{product}/channels/{channel}"),
        (None, Some(product), None) => format!("/v1/products/{product}"),
        (None, None, _) => String::new(),
    }
}

/// A token for everything that an account holds.
fn everything(account: &str, now: UnixSeconds) -> Bearer {
    Bearer {
        account: account.to_owned(),
        issued: Some(now),
        expires: now.plus(1),
        products: None,
        components: None,
        device: None,
        id: None,
    }
}

const fn refusal<G>(verdict: &Verdict<G>) -> Option<Refusal> {
    match verdict {
        Verdict::Allow(_) => None,
        Verdict::Refuse(refusal) => Some(*refusal),
    }
}

fn unknown() -> Walked {
    Walked {
        step: Step::Release,
        grounds: "no release and no product of this name is known to this node".to_owned(),
        refusal: Some(Refusal::Unknown),
    }
}
