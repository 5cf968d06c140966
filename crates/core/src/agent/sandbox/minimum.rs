//! The weakest tier a run may have, where its organization or application demands one.
//!
//! The agent's own `tier` is a demand as well, kept by [`SandboxSpec::with_override`]; here is what stands above the agent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SandboxSpec, Tier};

/// Who demands a minimum tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demander {
    /// The organization, of all its runs.
    Organization,
    /// One of its applications, of its own.
    Application,
}

impl fmt::Display for Demander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "organization",
            Self::Application => "application",
        })
    }
}

/// A tier that runs have at least, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumTier {
    /// The weakest that will do.
    pub tier: Tier,
    /// Who demands it.
    pub demanded_by: Demander,
}

/// What is demanded of a run from above its agent. Each demand counts, so the strictest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demands {
    /// By the organization.
    pub organization: Option<Tier>,
    /// By the application.
    pub application: Option<Tier>,
}

/// A run that cannot be had as it is asked for: what it says is for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BelowMinimum {
    /// It asks for less than it must have.
    #[error("the {} demands {}, and this run asks for {asked}: {}", .minimum.demanded_by, at_least(.minimum.tier), fix(*.asked, .minimum.tier))]
    Weaker {
        /// What it asks for.
        asked: Tier,
        /// What it must have.
        minimum: MinimumTier,
    },
    /// It already stood in a tier that is less than what is demanded by now.
    #[error("the {} demands {} by now, and this run began in {stood}: it cannot go on; start it anew", .minimum.demanded_by, at_least(.minimum.tier))]
    Stood {
        /// What it stood in.
        stood: Tier,
        /// What it must have.
        minimum: MinimumTier,
    },
}

impl Demands {
    /// Each demand, the strictest first; where two cannot be compared or are the same, the organization's.
    fn all(self) -> impl Iterator<Item = MinimumTier> {
        let of = |tier: Option<Tier>, demanded_by| tier.map(|tier| MinimumTier { tier, demanded_by });
        let organization = of(self.organization, Demander::Organization);
        let application = of(self.application, Demander::Application);
        let application_is_stricter = match (self.organization, self.application) {
            (Some(organization), Some(application)) => {
                organization != application && application.satisfies(organization)
            }
            _ => false,
        };
        let demands = if application_is_stricter { [application, organization] } else { [organization, application] };
        demands.into_iter().flatten()
    }

    /// The strictest, if anything is demanded: what a run that was let through says of itself.
    pub fn strictest(self) -> Option<MinimumTier> {
        self.all().next()
    }

    /// The tier a run may have that asks like this: the one it asks for; where that is too weak and `or_stronger` says so,
    /// the next one that will do.
    ///
    /// # Errors
    /// [`BelowMinimum::Weaker`], with the strictest demand that is not met. Never a weaker tier than was asked for.
    pub fn settle(self, spec: &SandboxSpec) -> Result<Tier, BelowMinimum> {
        let Some(minimum) = self.unmet(spec.tier) else { return Ok(spec.tier) };
        let raised = || Tier::ALL.iter().copied().find(|tier| tier.satisfies(spec.tier) && self.unmet(*tier).is_none());
        match raised() {
            Some(tier) if spec.or_stronger => Ok(tier),
            _ => Err(BelowMinimum::Weaker { asked: spec.tier, minimum }),
        }
    }

    /// Whether a run that stood in this tier may have it again.
    ///
    /// # Errors
    /// [`BelowMinimum::Stood`]: a run keeps exactly its tier.
    pub fn keep(self, stood: Tier) -> Result<Tier, BelowMinimum> {
        match self.unmet(stood) {
            None => Ok(stood),
            Some(minimum) => Err(BelowMinimum::Stood { stood, minimum }),
        }
    }

    fn unmet(self, tier: Tier) -> Option<MinimumTier> {
        self.all().find(|minimum| !tier.satisfies(minimum.tier))
    }
}

/// An isolate is another kind of computer: nothing is stronger.
fn at_least(tier: Tier) -> String {
    match tier {
        Tier::Microvm | Tier::Isolate => tier.to_string(),
        _ => format!("{tier} or stronger"),
    }
}

fn fix(asked: Tier, minimum: Tier) -> &'static str {
    if minimum.satisfies(asked) {
        "name such a tier in sandbox.tier, or set sandbox.or_stronger to true"
    } else {
        "an isolate is no stronger or weaker than the others, so this agent cannot run there"
    }
}

#[cfg(test)]
mod tests {
    use super::{BelowMinimum, Demander, Demands, MinimumTier};
    use crate::agent::SandboxSpec;
    use crate::agent::Tier::{self, Container, Gvisor, Isolate, Microvm};

    fn asks(tier: Tier, or_stronger: bool) -> SandboxSpec {
        SandboxSpec { tier, or_stronger, ..SandboxSpec::default() }
    }

    const fn demands(organization: Option<Tier>, application: Option<Tier>) -> Demands {
        Demands { organization, application }
    }

    /// Every tier asked for against every minimum of either: what it gets, exactly and with `or_stronger`.
    #[test]
    fn a_run_gets_what_it_asks_for_or_the_next_that_will_do_or_nothing() {
        let table = [
            (Container, Container, Some(Container), Some(Container)),
            (Container, Gvisor, None, Some(Gvisor)),
            (Container, Microvm, None, Some(Microvm)),
            (Container, Isolate, None, None),
            (Gvisor, Container, Some(Gvisor), Some(Gvisor)),
            (Gvisor, Gvisor, Some(Gvisor), Some(Gvisor)),
            (Gvisor, Microvm, None, Some(Microvm)),
            (Gvisor, Isolate, None, None),
            (Microvm, Container, Some(Microvm), Some(Microvm)),
            (Microvm, Gvisor, Some(Microvm), Some(Microvm)),
            (Microvm, Microvm, Some(Microvm), Some(Microvm)),
            (Microvm, Isolate, None, None),
            (Isolate, Container, None, None),
            (Isolate, Gvisor, None, None),
            (Isolate, Microvm, None, None),
            (Isolate, Isolate, Some(Isolate), Some(Isolate)),
        ];
        for (asked, minimum, exactly, or_stronger) in table {
            for (demands, by) in [
                (demands(Some(minimum), None), Demander::Organization),
                (demands(None, Some(minimum)), Demander::Application),
                (demands(Some(minimum), Some(minimum)), Demander::Organization),
            ] {
                for (stronger, expected) in [(false, exactly), (true, or_stronger)] {
                    let settled = demands.settle(&asks(asked, stronger));
                    let refusal =
                        BelowMinimum::Weaker { asked, minimum: MinimumTier { tier: minimum, demanded_by: by } };
                    assert_eq!(settled, expected.ok_or(refusal), "{asked} under {demands:?}, stronger: {stronger}");
                }
                assert_eq!(demands.keep(asked).ok(), exactly, "a run that stood in {asked} under {demands:?}");
                assert_eq!(demands.strictest().map(|minimum| minimum.demanded_by), Some(by));
            }
        }
    }

    #[test]
    fn without_a_demand_a_run_gets_what_it_asks_for() {
        for &tier in Tier::ALL {
            for stronger in [false, true] {
                assert_eq!(Demands::default().settle(&asks(tier, stronger)), Ok(tier));
            }
        }
        assert_eq!(Demands::default().strictest(), None);
    }

    #[test]
    fn of_two_demands_the_stricter_counts_and_is_named() {
        let table = [
            (Container, Gvisor, Gvisor, Demander::Application),
            (Gvisor, Container, Gvisor, Demander::Organization),
            (Gvisor, Microvm, Microvm, Demander::Application),
            (Microvm, Gvisor, Microvm, Demander::Organization),
        ];
        for (organization, application, tier, demanded_by) in table {
            let demands = demands(Some(organization), Some(application));
            let strictest = MinimumTier { tier, demanded_by };
            assert_eq!(demands.strictest(), Some(strictest));
            let refused = BelowMinimum::Weaker { asked: Container, minimum: strictest };
            assert_eq!(demands.settle(&asks(Container, false)), Err(refused));
            assert_eq!(demands.settle(&asks(Container, true)), Ok(tier));
        }
    }

    /// Nothing is both an isolate and a machine with a shell: then nothing runs, and each is told what stops it.
    #[test]
    fn demands_that_exclude_each_other_let_nothing_through() {
        let demands = demands(Some(Gvisor), Some(Isolate));
        for (asked, tier, demanded_by) in [
            (Gvisor, Isolate, Demander::Application),
            (Microvm, Isolate, Demander::Application),
            (Isolate, Gvisor, Demander::Organization),
        ] {
            let minimum = MinimumTier { tier, demanded_by };
            assert_eq!(demands.settle(&asks(asked, true)), Err(BelowMinimum::Weaker { asked, minimum }));
        }
    }

    #[test]
    fn a_refusal_says_who_demands_what_and_what_to_do() {
        let said = |demands: Demands, tier| demands.settle(&asks(tier, false)).unwrap_err().to_string();
        assert_eq!(
            said(demands(Some(Gvisor), None), Container),
            "the organization demands gvisor or stronger, and this run asks for container: name such a tier in \
             sandbox.tier, or set sandbox.or_stronger to true"
        );
        assert_eq!(
            said(demands(None, Some(Isolate)), Gvisor),
            "the application demands isolate, and this run asks for gvisor: an isolate is no stronger or weaker than \
             the others, so this agent cannot run there"
        );
        assert_eq!(
            demands(None, Some(Microvm)).keep(Container).unwrap_err().to_string(),
            "the application demands microvm by now, and this run began in container: it cannot go on; start it anew"
        );
    }
}
