//! A request as it came.

use zeroize::Zeroizing;

use super::error::AuthError;

/// An HTTP request; nothing of it is believed.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As it stands in the request line, without the query.
    pub path: &'a str,
    /// As it stands in the request line; empty where there is none.
    pub query: &'a str,
    /// In their order; the names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole of it.
    pub body: &'a [u8],
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    /// The value of a header that may stand there once.
    pub(super) fn header(&self, name: &'static str) -> Result<Option<&'a str>, AuthError> {
        let mut values = self.values(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_again) => Err(AuthError::RepeatedHeader(name)),
        }
    }

    /// The value of a header that must stand there, once.
    pub(super) fn required(
        &self,
        name: &'static str,
        missing: &'static str,
    ) -> Result<&'a str, AuthError> {
        self.header(name)?.ok_or(AuthError::Incomplete(missing))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name = move |(other, _value): &&(&str, &str)| *other == name;
        self.headers
            .iter()
            .filter(of_name)
            .map(|(_name, value)| *value)
    }

    /// Holds that `host` and each header that begins with `prefix` are among the `signed`.
    pub(super) fn must_be_signed(&self, signed: &[&str], prefix: &str) -> Result<(), AuthError> {
        for (name, _value) in self.headers {
            let must = *name == "host" || name.starts_with(prefix);
            if must && !signed.contains(name) {
                return Err(AuthError::HeaderNotSigned((*name).to_owned()));
            }
        }
        if signed.contains(&"host") {
            Ok(())
        } else {
            Err(AuthError::HeaderNotSigned("host".to_owned()))
        }
    }

    /// `name:value` and a line break for each of the `signed`, with the values as `write` has them.
    /// Values of a header that came more than once are joined by commas.
    pub(super) fn canonical_headers(
        &self,
        signed: &[&str],
        write: fn(&mut String, &str),
    ) -> Result<Zeroizing<String>, AuthError> {
        let len = self.headers.iter().map(|(n, v)| n.len() + v.len() + 2);
        let mut text = Zeroizing::new(String::with_capacity(len.sum::<usize>()));
        for name in signed {
            text.extend([name, ":"]);
            let mut any = false;
            for value in self.values(name) {
                text.push_str(if any { "," } else { "" });
                write(&mut text, value);
                any = true;
            }
            if !any {
                return Err(AuthError::Incomplete("a signed header was not sent"));
            }
            text.push('\n');
        }
        Ok(text)
    }
}
