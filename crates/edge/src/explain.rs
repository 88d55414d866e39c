//! "Why was this player refused?": the walk of a decision, for support.
//!
//! The verdict is `core::entitle`'s own, made of the same facts as a request's: nothing is decided here.

use crate::catalog::EdgeCatalog;
use crate::passport::{Bearer, Passports, Presented};
use crate::policy::Policies;
use penstock_core::account::Wanted;
use penstock_core::catalog::ReleaseState;
use penstock_core::desk::{ExplainAnswer, ExplainQuestion, ExplainStep, Explainer};
use penstock_core::entitle::{Caller, Refusal, Scene, Step, Verdict, Walk, Walked, decide_blob, decide_product};
use penstock_core::id::Platform;
use penstock_core::place::{Place, Whereabouts};
use penstock_core::reply::Problem;
use penstock_core::time::UnixSeconds;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The edge as one who explains.
#[derive(Debug)]
pub struct EdgeExplainer {
    /// Who may read what.
    pub catalog: Arc<EdgeCatalog>,
    /// Who asks.
    pub passports: Arc<Passports>,
    /// What may not be sent where.
    pub policies: Arc<Policies>,
    /// The clock.
    pub clock: fn() -> UnixSeconds,
}

impl Explainer for EdgeExplainer {
    fn explain(&self, question: &ExplainQuestion) -> ExplainAnswer {
        let now = (self.clock)();
        let presented = match (&question.token, &question.account) {
            (Some(token), _) => Some(self.passports.of(format!("Bearer {token}").as_bytes(), None, now)),
            (None, Some(account)) => Some(Presented::Known(self.passports.as_if(everything(account, now)))),
            (None, None) => None,
        };
        let caller = match &presented {
            None => Caller::Nobody,
            Some(Presented::Known(passport)) => Caller::Known(passport),
            Some(Presented::Faulty(fault)) => Caller::Faulty(*fault),
            // Whoever asks is on this machine, so only the first can be.
            Some(Presented::Busy | Presented::TooMany { .. }) => Caller::Nobody,
        };
        let embargo = self.policies.embargo();
        let scene = Scene { now, place: Whereabouts::Known(question.region.map(Place)), embargo: &embargo };
        let mut walk = Walk::default();
        let (subject, refusal) = match (question.blob, &question.product) {
            (Some(blob), _) => {
                let verdict = self
                    .catalog
                    .with_blob(&blob, |open, uses| decide_blob(blob, open, uses, caller, &scene, &mut walk));
                (format!("blob {blob}"), refusal(&verdict))
            }
            (None, Some(product)) => {
                let any = Platform::any();
                let channels = question.channel.clone().map(|channel| BTreeSet::from([channel]));
                let wanted = Wanted {
                    product,
                    platform: question.platform.as_ref().unwrap_or(&any),
                    component: None,
                    group: None,
                    channels: channels.as_ref(),
                    registered: None,
                    state: ReleaseState::Live,
                };
                let verdict = self.catalog.with_product(product, |known| {
                    decide_product(known.map(|known| (known, wanted)), caller, &scene, &mut walk)
                });
                (format!("product {product}"), refusal(&verdict))
            }
            (None, None) => ("nothing".to_owned(), Some(Refusal::Unknown)),
        };
        if walk.0.is_empty() {
            walk.0.push(unknown());
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
            steps: walk.0.into_iter().map(step).collect(),
        }
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
