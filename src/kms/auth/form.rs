//! Parameters as queries and forms have them (`application/x-www-form-urlencoded`).
//!
//! Clients write a space as `+` on the wire and sign it as `%20`: what came is decoded and encoded
//! anew, as RFC 3986 says.

use zeroize::Zeroizing;

use super::error::AuthError;
use crate::keys::percent;

/// Each parameter once, in the order of their names. The values may be secrets.
pub struct Form(Vec<(String, Zeroizing<String>)>);

/// More than any action has: what is beyond costs time only.
const COUNT_MAX: usize = 256;

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Form {
    /// The parameters of all `parts` together: of the query and of the body.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] for an escape that is none, for what is no UTF-8, and for a parameter
    /// that is there twice: which of the two counts is nobody's to guess.
    pub fn parse(parts: &[&str]) -> Result<Self, AuthError> {
        let pieces = parts.iter().flat_map(|part| part.split('&'));
        let mut pairs = Vec::with_capacity(24);
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            if pairs.len() == COUNT_MAX {
                return Err(AuthError::Malformed("there are too many"));
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            pairs.push((decode(name)?.to_string(), decode(value)?));
        }
        pairs.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let twice = |pair: &[(String, _)]| matches!(pair, [one, other] if one.0 == other.0);
        if pairs.windows(2).any(twice) {
            return Err(AuthError::Malformed("one is there twice"));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; it may be empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .binary_search_by(|(other, _value)| other.as_str().cmp(name));
        let (_name, value) = self.0.get(found.ok()?)?;
        Some(value)
    }

    /// The names of all parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _value)| name.as_str())
    }

    /// The parameters but `except` as they are signed: sorted, each name and value encoded by RFC 3986.
    #[must_use]
    pub(super) fn canonical(&self, except: &str) -> Zeroizing<String> {
        let len = self.0.iter().map(|(n, v)| n.len() + v.len());
        let mut text = Zeroizing::new(String::with_capacity(3 * len.sum::<usize>() + 512));
        let signed = self.0.iter().filter(|(name, _value)| name != except);
        for (nth, (name, value)) in signed.enumerate() {
            text.push_str(if nth == 0 { "" } else { "&" });
            text.push_str(&encode(name));
            text.push('=');
            text.push_str(&encode(value));
        }
        text
    }
}

/// Encoded by RFC 3986: all but unreserved characters.
pub(super) fn encode(text: &str) -> Zeroizing<String> {
    Zeroizing::new(percent::encode(text.as_bytes(), percent::is_unreserved))
}

fn decode(text: &str) -> Result<Zeroizing<String>, AuthError> {
    let text = Zeroizing::new(text.replace('+', " "));
    let bytes = percent::decode(&text, |byte| byte != b'%')
        .ok_or(AuthError::Malformed("an escape is not two digits"))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(AuthError::Malformed("one is not UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_came_is_decoded_and_encoded_anew() {
        let form = Form::parse(&["b=%2Fa+b&a=~%2A%E4%B8%AD&empty=&bare", "c=x%3Dy=z"]).unwrap();
        assert_eq!(form.get("a"), Some("~*中"));
        assert_eq!(form.get("b"), Some("/a b"));
        assert_eq!(form.get("c"), Some("x=y=z"));
        assert_eq!(form.get("empty"), Some(""));
        assert_eq!(form.get("bare"), Some(""));
        assert_eq!(form.get("d"), None);
        assert_eq!(
            *form.canonical("c"),
            "a=~%2A%E4%B8%AD&b=%2Fa%20b&bare=&empty="
        );
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        for query in [
            "a=%",
            "a=%4",
            "a=%zz",
            "a=%ff",
            "%=1",
            "a=1&a=1",
            "a=1&%61=2",
        ] {
            let refused = Form::parse(&[query]);
            assert!(matches!(refused, Err(AuthError::Malformed(_))), "{query}");
        }
        assert!(matches!(
            Form::parse(&["a=1", "a=2"]),
            Err(AuthError::Malformed(_))
        ));
        let many: Vec<_> = (0..=COUNT_MAX).map(|nth| format!("{nth}=")).collect();
        assert!(Form::parse(&[&many.join("&")]).is_err());
        assert!(Form::parse(&[&many[1..].join("&")]).is_ok());
    }

    #[test]
    fn values_are_not_shown() {
        let form = Form::parse(&["Plaintext=hidden&KeyId=k"]).unwrap();
        assert_eq!(format!("{form:?}"), r#"["KeyId", "Plaintext"]"#);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(pairs in proptest::collection::btree_map(".{1,8}", ".{0,40}", 0..9)) {
            let pieces: Vec<_> = pairs.iter().map(|(n, v)| format!("{}={}", *encode(n), *encode(v))).collect();
            let form = Form::parse(&[&pieces.join("&")]).unwrap();
            for (name, value) in &pairs {
                prop_assert_eq!(form.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(form.names().count(), pairs.len());
        }

        #[test]
        fn no_text_panics(text in "[a&=%+0-9f]{0,30}") {
            let _either = Form::parse(&[&text]);
        }
    }
}
