//! Grants that have ended, and what was decided about them: of each only a few facts are kept, however many there are
//! and whatever they hold.
//!
//! A grant is kept whole until its end is handed over to the audit record, its break-glass review is made and something is
//! said of each of its reviews. Whoever needs the whole of one afterwards reads it again.

use super::{
    Dirty, Index, Indexed,
    facts::{EndedGrant, SaidReview, created, reviewed},
};
use crate::decode::{Decoded, version};
use cloister_api::AccessReview;
use cloister_core::{
    grant::{Grant, is_answered, is_answered_by, owes_review},
    model::child::GrantRef,
};
use std::sync::Arc;

impl Index {
    /// A grant that has ended and of which only a few facts are kept.
    pub fn ended(&self, namespace: &str, grant: &GrantRef) -> Option<&EndedGrant> {
        self.ended.get(namespace)?.get(grant)
    }

    /// All of them.
    pub fn all_ended(&self) -> impl Iterator<Item = (&Arc<str>, &GrantRef, &EndedGrant)> {
        self.ended
            .iter()
            .flat_map(|(namespace, ended)| ended.iter().map(move |(grant, facts)| (namespace, grant, facts)))
    }

    /// A review of which all is said.
    pub fn said(&self, namespace: &str, review: &str) -> Option<&SaidReview> {
        self.said.get(namespace)?.get(review)
    }

    /// The reviews of a grant, each with its uid, if all is said of each of them.
    pub fn said_reviews(&self, namespace: &Arc<str>, grant: &GrantRef) -> Option<Vec<(Arc<str>, Box<str>)>> {
        let of = self.reviews_of.get(&(namespace.clone(), grant.clone()));
        let names = of.into_iter().flat_map(|of| of.names.iter());
        names.map(|(_, name)| Some((name.clone(), self.said(namespace, name)?.uid.clone()))).collect()
    }

    /// Takes note of an object whose grant has ended, if a few facts of it will do. Whether that is so is returned.
    pub(super) fn keep_ended(&mut self, namespace: &Arc<str>, at: &GrantRef, grant: &Decoded<Grant>) -> bool {
        let is_kept = self.ended(namespace, at).is_some_and(|kept| grant.metadata.uid.as_deref() == Some(&*kept.uid));
        let Some(facts) = EndedGrant::of(grant).filter(|_| is_kept || self.is_settled(namespace, at, grant)) else {
            self.forget_ended(namespace, at);
            return false;
        };
        self.ended.entry(namespace.clone()).or_default().insert(at.clone(), facts);
        true
    }

    /// Forgets a grant that has ended. Whether there was one is returned.
    pub(super) fn forget_ended(&mut self, namespace: &Arc<str>, at: &GrantRef) -> bool {
        let Some(ended) = self.ended.get_mut(namespace) else { return false };
        let was_there = ended.remove(at).is_some();
        if ended.is_empty() {
            self.ended.remove(namespace);
        }
        was_there
    }

    /// Whether nobody will need the whole of an ended grant again.
    fn is_settled(&self, namespace: &Arc<str>, at: &GrantRef, grant: &Decoded<Grant>) -> bool {
        let Ok(object) = &grant.object else { return false };
        !owes_review(object, &self.reviews(namespace, at))
            && !self.has_children(namespace, at)
            && self
                .whole_reviews(namespace, at)
                .all(|(_, review)| review.object.as_ref().is_ok_and(|review| is_answered_by(review, object)))
            && self.recorder.0.as_ref().is_some_and(|recorder| recorder.takes_grant(object, namespace))
    }

    /// The reviews of a grant that are kept whole.
    fn whole_reviews<'a>(
        &'a self,
        namespace: &Arc<str>,
        at: &GrantRef,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Decoded<AccessReview>)> + use<'a> {
        let of = self.reviews_of.get(&(namespace.clone(), at.clone()));
        let names = of.into_iter().flat_map(|of| of.names.iter());
        let all = self.reviews.get(namespace);
        names.filter_map(move |(_, name)| all?.get_key_value(name))
    }

    /// Keeps no more than a few facts of a grant and of its reviews, where that will do.
    pub fn settle(&mut self, namespace: &Arc<str>, at: &GrantRef) {
        let whole = self.grants.get(namespace).and_then(|grants| grants.get(at));
        if whole.is_some_and(|grant| EndedGrant::of(grant).is_some() && self.is_settled(namespace, at, grant))
            && let Some(grant) = self.take_grant(namespace, at)
        {
            self.keep_ended(namespace, at, &grant);
        }
        self.settle_reviews(namespace, at);
    }

    /// Keeps no more than a few facts of the reviews of a grant that has ended, where that will do.
    pub(super) fn settle_reviews(&mut self, namespace: &Arc<str>, at: &GrantRef) {
        if self.ended(namespace, at).is_some() {
            let names: Vec<Arc<str>> = self.whole_reviews(namespace, at).map(|(name, _)| name.clone()).collect();
            names.iter().for_each(|name| self.settle_review(namespace, name));
        }
    }

    /// Keeps no more than a few facts of a review's grant and of the review, where that will do.
    pub fn settle_review_and_grant(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        let found = self.reviews.get(namespace).and_then(|reviews| reviews.get(name));
        if let Some(grant) = found.and_then(|found| found.object.as_ref().ok()).map(reviewed) {
            self.settle(namespace, &grant);
        }
    }

    /// Keeps no more than a few facts of a review, if all is said of it and its grant has ended.
    pub(super) fn settle_review(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        let Some(found) = self.reviews.get(namespace).and_then(|reviews| reviews.get(name)) else { return };
        let Ok(review) = &found.object else { return };
        let grant = reviewed(review);
        let ended = self.ended(namespace, &grant).is_some_and(|ended| *ended.uid == *review.spec.request_ref.uid);
        let taken = || self.recorder.0.as_ref().is_some_and(|recorder| recorder.takes_review(review, namespace));
        if !(ended && is_answered(review) && taken()) {
            return;
        }
        let whole = self.ended(namespace, &grant).is_some_and(|ended| ended.used_break_glass);
        let said = SaidReview {
            whole: whole.then(|| Box::new(review.clone())),
            uid: found.metadata.uid.as_deref().unwrap_or_default().into(),
            version: version(&found.metadata),
            created: created(&found.metadata),
            grant,
        };
        self.said.entry(namespace.clone()).or_default().insert(name.clone(), said);
        if let Some(reviews) = self.reviews.get_mut(namespace) {
            reviews.remove(name);
            if reviews.is_empty() {
                self.reviews.remove(namespace);
            }
        }
    }

    /// Forgets a review of which only a few facts are kept. Whether there was one is returned.
    pub(super) fn forget_said(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> Option<SaidReview> {
        let said = self.said.get_mut(namespace)?;
        let gone = said.remove(name)?;
        if said.is_empty() {
            self.said.remove(namespace);
        }
        Some(gone)
    }

    /// Notes that a review is gone. Whether its grant is to be looked at is returned.
    pub(super) fn lose_review(&mut self, namespace: &Arc<str>, at: &GrantRef) -> bool {
        let ended = self.ended.get_mut(namespace).and_then(|all| all.get_mut(at));
        let Some(ended) = ended.filter(|ended| ended.used_break_glass) else { return false };
        ended.lost_a_review = true;
        true
    }

    /// Takes an ended grant back as a whole: there is something to do about it, or to say of a review.
    pub fn take_back(&mut self, namespace: &Arc<str>, at: &GrantRef, grant: Decoded<Grant>) {
        if self.forget_ended(namespace, at) {
            self.insert_grant(namespace, at, grant);
        }
    }

    /// Takes a review back as a whole: its grant is gone, and that is to be said of it.
    pub fn take_back_review(&mut self, namespace: &Arc<str>, name: &Arc<str>, review: Decoded<AccessReview>) {
        if self.forget_said(namespace, name).is_some() {
            // It is decided about at once.
            review.upsert(self, &mut Dirty::default());
        }
    }

    /// Whether a Namespace is being deleted.
    pub fn is_ending(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|(observed, _)| observed.terminating)
    }

    /// Whether only a few facts are kept of a review, and its grant is gone.
    pub fn is_of_one_gone(&self, namespace: &str, name: &str) -> bool {
        self.said(namespace, name).is_some_and(|said| self.ended(namespace, &said.grant).is_none())
    }

    /// Whether something is to be done about an ended grant of which only a few facts are kept.
    pub fn is_unfinished(&self, namespace: &str, at: &GrantRef) -> bool {
        let Some(ended) = self.ended(namespace, at) else { return false };
        ended.is_held || ended.lost_a_review || self.has_children(namespace, at)
    }

    /// Whether something stands in a grant's name.
    fn has_children(&self, namespace: &str, at: &GrantRef) -> bool {
        self.children_of_grant(namespace, at).next().is_some()
    }
}
