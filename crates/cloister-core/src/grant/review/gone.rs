//! What is said of a review whose grant is not there.

use crate::{
    grant::{
        DeclaredGrant, Input,
        model::{
            judged::{ONCE, counted},
            reviews::is_placeholder,
        },
    },
    model::child::GrantRef,
};
use cloister_api::{AccessReview, RequestReference};

/// Why a review says nothing of any grant that is there.
pub const REQUEST_GONE: &str = "RequestGone";

/// What stands between what was said of a review and that its grant is gone.
const GONE: &str = "; its grant, ";

/// What is said of a review that names what is not in its namespace. `elsewhere` is the grant there that has the uid, and `there`
/// the uid of the grant that has the name.
pub fn not_found(named: &RequestReference, elsewhere: Option<&GrantRef>, there: Option<&str>) -> String {
    let why = match elsewhere {
        None if is_placeholder(&named.uid) => {
            "that is the placeholder of an example: fill in the uid and the digest of the grant, and create the review with \
             another metadata.name, because this one cannot be changed"
                .to_owned()
        }
        Some(GrantRef { kind, name }) => {
            format!(
                "that uid belongs to {} {name}. Write another review with that kind and name in its requestRef",
                kind.as_str()
            )
        }
        None => match there {
            Some(uid) => format!(
                "the one that is here has uid {uid}: either the uid is mistyped, or the grant was created again, and must be read \
                 again. Then create another review with that uid"
            ),
            None => "create the review in the namespace of the grant".to_owned(),
        },
    };
    format!("there is no {} {} with uid {} here; {why}", named.kind.as_str(), named.name, named.uid)
}

/// Whether there is no grant any more that a review is about.
fn is_gone(review: &AccessReview, input: Option<&Input<'_>>) -> bool {
    let uid = input.and_then(|input| match input.declared {
        DeclaredGrant::Read(grant) => grant.metadata().uid.as_deref(),
        DeclaredGrant::Undecodable { metadata, .. } => metadata.uid.as_deref(),
    });
    uid != Some(&*review.spec.request_ref.uid)
}

/// What is said of a review that counted for a grant that is gone.
pub fn counted_for_one(review: &AccessReview, input: Option<&Input<'_>>) -> Option<String> {
    let before = counted(review).filter(|condition| condition.status == "True")?;
    let cut = |said: &str, at: &str| said.split_once(at).map_or(said.to_owned(), |(said, _)| said.to_owned());
    let said = cut(&cut(&before.message, GONE), ONCE);
    let named = &review.spec.request_ref;
    is_gone(review, input).then(|| {
        format!(
            "{said}{GONE}{} {} with uid {}, no longer exists. A new grant of that name needs new reviews",
            named.kind.as_str(),
            named.name,
            named.uid
        )
    })
}
