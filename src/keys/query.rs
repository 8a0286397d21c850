//! Key URIs in two parts: what is stored, and behind a `?` what is of the machine where a person gives it.

use crate::keys::error::KeyError;
use crate::units::KeyUri;

/// What follows the scheme, and the query if there is one.
pub(super) fn split(uri: &KeyUri) -> (&str, Option<&str>) {
    match uri.rest().split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (uri.rest(), None),
    }
}

/// What follows the scheme of a URI as it stands in a volume.
///
/// # Errors
/// `Config` where it has a query: whoever may write to the ciphertext folder could otherwise say `what`
/// this machine is to use.
pub(super) fn stored<'a>(uri: &'a KeyUri, what: &str) -> Result<&'a str, KeyError> {
    match split(uri) {
        (rest, None) => Ok(rest),
        (_, Some(_query)) => Err(KeyError::config(format!(
            "a stored key URI must not say where this machine has {what}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_parted_where_it_is_given_and_refused_where_it_is_stored() {
        let uri: KeyUri = "x:a?b?c".parse().unwrap();
        assert_eq!(split(&uri), ("a", Some("b?c")));
        let error = stored(&uri, "its keys").unwrap_err();
        assert!(error.message().ends_with("has its keys"), "{error}");
        let uri: KeyUri = "x:a".parse().unwrap();
        assert_eq!(split(&uri), ("a", None));
        assert_eq!(stored(&uri, "its keys").unwrap(), "a");
        assert!(stored(&"x:a?".parse().unwrap(), "its keys").is_err());
    }
}
