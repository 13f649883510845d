//! What the reviews of a request say.

use super::{approval::Tally, bars::People, case::Case, taken_back::Ended};
use crate::grant::{
    Grant, Input,
    model::reviews::{in_words, is_placeholder, recorded, reviews_of},
};
use cloister_api::{Decision, Identity, RecordedReview};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most reviews that are recorded with a decision: with the groups of each, they must fit into one object. No policy
/// asks for more people.
const REVIEWS_RECORDED: usize = 32;

/// What the reviews of a request say.
pub struct Decisions<'a> {
    /// The accounts of everybody who has decided anything.
    pub accounts: Vec<&'a Identity>,
    /// The first that ends it.
    pub refusal: Option<Ended>,
    /// Those of people who agree and may: of each account the newest.
    pub agreed: Vec<RecordedReview>,
    /// What those who may decide have refused of something else than it is now, and not decided about since, in words.
    pub refused_before: Vec<String>,
    /// Those who may decide and have agreed to something that has changed since, and not to what it is now.
    pub agreed_before: Vec<String>,
}

impl<'a> Decisions<'a> {
    /// What they say about this digest.
    pub fn of(case: &Case<'_>, grant: &Grant, digest: &str, input: &Input<'a>) -> Self {
        let all = reviews_of(grant.uid(), input);
        let accounts: Vec<&Identity> = all.iter().map(|(_, reviewer)| *reviewer).collect();
        let people = People::of(case, accounts.iter().copied());
        let mut newest: HashMap<&str, usize> = HashMap::new();
        let mut agreed_before: BTreeMap<Option<usize>, String> = BTreeMap::new();
        let mut refused_before: BTreeMap<Option<usize>, String> = BTreeMap::new();
        let mut refusal = None;
        for (at, (review, reviewer)) in all.iter().enumerate() {
            let is_of_this = review.spec.digest == digest;
            let refused = || in_words(review, reviewer, "refused it");
            // That a Revoke counts is asked before anything else is (`ended_by`).
            if review.spec.decision == Decision::Revoke
                || case.may_decide_now(reviewer, &people, input.settings).is_err()
            {
                continue;
            }
            match (review.spec.decision, is_of_this) {
                (Decision::Approve, true) => drop(newest.insert(&reviewer.username, at)),
                // Who left the placeholder of an example has agreed to nothing yet.
                (Decision::Approve, false) if is_placeholder(&review.spec.digest) => {}
                (Decision::Approve, false) => {
                    agreed_before.insert(people.person(reviewer), reviewer.username.clone());
                }
                (_, true) => {
                    refusal.get_or_insert_with(|| ("Denied", refused(), recorded(review, reviewer)));
                }
                (_, false) => drop(refused_before.insert(people.person(reviewer), refused())),
            }
        }
        let mut agreed: Vec<usize> = newest.into_values().collect();
        agreed.sort_unstable();
        let again: HashSet<Option<usize>> = agreed.iter().map(|at| people.person(all[*at].1)).collect();
        let not_again = |before: BTreeMap<Option<usize>, String>| -> Vec<String> {
            before.into_iter().filter(|(who, _)| !again.contains(who)).map(|(_, said)| said).collect()
        };
        let (agreed_before, refused_before) = (not_again(agreed_before), not_again(refused_before));
        let agreed = agreed.into_iter().map(|at| recorded(all[at].0, all[at].1)).collect();
        Decisions { accounts, refusal, agreed, refused_before, agreed_before }
    }

    /// What is recorded of those who agreed: first those who count for a rule, so that nobody takes their places, and then
    /// others, one of each person.
    pub fn recorded(self, case: &Case<'_>, tally: &Tally) -> Vec<RecordedReview> {
        let people = People::of(case, self.accounts.iter().copied());
        let counting: HashSet<&str> =
            tally.approvals.iter().flat_map(|rule| &rule.approved_by).map(String::as_str).collect();
        let (mut chosen, others): (Vec<_>, Vec<_>) =
            self.agreed.into_iter().partition(|review| counting.contains(review.reviewer.username.as_str()));
        let mut persons: HashSet<Option<usize>> = chosen.iter().map(|review| people.person(&review.reviewer)).collect();
        chosen.extend(others.into_iter().filter(|review| persons.insert(people.person(&review.reviewer))));
        chosen.truncate(REVIEWS_RECORDED);
        chosen
    }
}
