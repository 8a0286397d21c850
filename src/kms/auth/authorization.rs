//! The `authorization` header of the schemes that sign headers:
//! `ALGORITHM Credential=…,SignedHeaders=…,Signature=…`.

use data_encoding::HEXLOWER;

use super::error::AuthError;

/// The parts of the header.
pub(super) struct Authorization<'a> {
    pub(super) algorithm: &'a str,
    pub(super) credential: &'a str,
    /// As it stands there; its names are in [`Self::signed_headers`].
    pub(super) signed_headers_text: &'a str,
    /// In lower case, sorted, each once.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: Vec<u8>,
}

/// # Errors
/// [`AuthError::Incomplete`] where a part is missing, twice there, of another name or not in the form
/// that clients give it.
pub(super) fn parse(text: &str) -> Result<Authorization<'_>, AuthError> {
    let (algorithm, rest) = text
        .split_once(' ')
        .ok_or(AuthError::Incomplete("authorization has one word only"))?;
    let [mut credential, mut headers, mut signature] = [None; 3];
    for part in rest.split(',') {
        let (name, value) = part
            .trim()
            .split_once('=')
            .ok_or(AuthError::Incomplete("a part of authorization has no ="))?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut headers,
            "Signature" => &mut signature,
            _ => return Err(AuthError::Incomplete("authorization has an unknown part")),
        };
        if place.replace(value).is_some() {
            return Err(AuthError::Incomplete(
                "a part of authorization is there twice",
            ));
        }
    }
    let signed_headers_text = headers.ok_or(AuthError::Incomplete("no SignedHeaders"))?;
    Ok(Authorization {
        algorithm,
        credential: credential.ok_or(AuthError::Incomplete("no Credential"))?,
        signed_headers_text,
        signed_headers: signed_headers(signed_headers_text)?,
        signature: hexadecimal(signature.ok_or(AuthError::Incomplete("no Signature"))?)?,
    })
}

fn signed_headers(text: &str) -> Result<Vec<&str>, AuthError> {
    let names: Vec<_> = text.split(';').collect();
    let lower = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
    let ascending = |pair: &[&str]| matches!(pair, [one, other] if one < other);
    if names.iter().all(lower) && names.windows(2).all(ascending) {
        Ok(names)
    } else {
        Err(AuthError::Incomplete(
            "SignedHeaders are not sorted names in lower case",
        ))
    }
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, AuthError> {
    HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_text| AuthError::Incomplete("Signature is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clouds_forms_are_read() {
        for text in [
            "A Credential=c/d,SignedHeaders=a;b-c,Signature=00ff",
            "A Credential=c/d, SignedHeaders=a;b-c, Signature=00ff",
        ] {
            let parts = parse(text).unwrap();
            assert_eq!((parts.algorithm, parts.credential), ("A", "c/d"));
            assert_eq!(parts.signed_headers, ["a", "b-c"]);
            assert_eq!(parts.signature, [0, 255]);
        }
    }

    #[test]
    fn parts_that_are_missing_twice_there_unknown_or_malformed_are_refused() {
        for text in [
            "",
            "A",
            "A ",
            "A Credential=c,SignedHeaders=a",
            "A Credential=c,Signature=00",
            "A SignedHeaders=a,Signature=00",
            "A Credential=c,Credential=d,SignedHeaders=a,Signature=00",
            "A Credential=c,SignedHeaders=a,Signature=00,Signature=01",
            "A Credential=c,SignedHeaders=a,Signature=00,More=1",
            "A Credential=c,SignedHeaders=a,Signature=0",
            "A Credential=c,SignedHeaders=a,Signature=zz",
            "A Credential=c,SignedHeaders=a,Signature=FF",
            "A Credential=c,SignedHeaders=,Signature=00",
            "A Credential=c,SignedHeaders=b;a,Signature=00",
            "A Credential=c,SignedHeaders=a;a,Signature=00",
            "A Credential=c,SignedHeaders=Host,Signature=00",
            "A Credential",
        ] {
            assert!(
                matches!(parse(text), Err(AuthError::Incomplete(_))),
                "{text}"
            );
        }
    }
}
