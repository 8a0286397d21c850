//! What a policy that is set must not have, though it could be read: words that mean nothing here, or not what they say,
//! where somebody would rely on them. What the store holds already is read without this.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::document::PolicyError;

/// # Errors
///
/// A name that is there twice, a variable, a limit to aliases: which one, in words.
pub(super) fn check(text: &str) -> Result<(), PolicyError> {
    serde_json::from_str::<NamesOnce>(text).map_err(|error| PolicyError::new(error.to_string()))?;
    let document: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| PolicyError::new(error.to_string()))?;
    let has_variables = document.get("Version").and_then(Value::as_str) == Some("2012-10-17");
    for statement in all(document.get("Statement")) {
        if has_variables {
            no_variables(statement)?;
        }
        no_aliases(statement)?;
    }
    Ok(())
}

/// One value, or those of a list.
fn all(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(list)) => list,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

/// In the language of this version `${aws:username}` stands for who asks (IAM, "Policy elements: Variables and tags").
fn no_variables(statement: &Value) -> Result<(), PolicyError> {
    let places = ["Resource", "NotResource", "Condition"];
    let found = places
        .iter()
        .find_map(|name| variable(statement.get(name)?));
    found.map_or(Ok(()), |text| {
        Err(PolicyError::new(format!(
            "{text:?} has a variable, and policies of this service have none"
        )))
    })
}

fn variable(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => text.contains("${").then_some(text),
        Value::Array(list) => list.iter().find_map(variable),
        Value::Object(members) => members.values().find_map(variable),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Policies speak of keys. What denies something on an alias would deny nothing, and what allows all but an alias would
/// allow that too; to allow something on an alias alone allows nothing, as it says.
fn no_aliases(statement: &Value) -> Result<(), PolicyError> {
    let (place, why) = match statement.get("Effect").and_then(Value::as_str) {
        Some("Deny") => ("Resource", "denies something on the alias"),
        _ => ("NotResource", "allows all but something on the alias"),
    };
    let resources = all(statement.get(place)).iter().filter_map(Value::as_str);
    let is_alias = |text: &&str| {
        let last = text.rsplit_once(':').map_or(*text, |(_, last)| last);
        last.starts_with("alias/")
    };
    resources
        .into_iter()
        .find(is_alias)
        .map_or(Ok(()), |alias| {
            Err(PolicyError::new(format!(
                "it {why} {alias:?}, and policies speak of keys: name the key"
            )))
        })
}

/// JSON in which each object has each name once: of two, one would count, and nobody would see which.
struct NamesOnce;

impl<'de> Deserialize<'de> for NamesOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NamesOnce {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _value: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format!("{name:?} is there twice")));
            }
            names.insert(name);
            object.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kms::policy::{Policy, PolicyKind};

    const ACCOUNT: &str = "123456789012";

    /// Why it is no new policy, though the store may hold it.
    fn refusal(text: &str, kind: PolicyKind) -> Option<String> {
        Policy::parse(text, kind, ACCOUNT).unwrap();
        let new = Policy::parse_new(text, kind, ACCOUNT);
        new.err().map(|error| error.to_string())
    }

    fn of_principal(statement: &Value, version: &str) -> Option<String> {
        let text = json!({"Version": version, "Statement": [statement]}).to_string();
        refusal(&text, PolicyKind::Principal)
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused_wherever_it_is() {
        let conditions = r#""StringEquals":{"kms:KeySpec":"AES_256"}"#;
        for (name, text) in [
            (
                "Statement",
                r#"{"Statement":[],"Statement":[]}"#.to_owned(),
            ),
            (
                "Effect",
                r#"{"Statement":{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}}"#.to_owned(),
            ),
            (
                "StringEquals",
                format!(r#"{{"Statement":[{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{{{conditions},{conditions}}}}}]}}"#),
            ),
            (
                "kms:KeySpec",
                r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"kms:KeySpec":"a","kms:Key\u0053pec":"b"}}}]}"#.to_owned(),
            ),
        ] {
            let why = refusal(&text, PolicyKind::Principal).expect(name);
            assert!(why.contains(&format!("{name:?} is there twice")), "{why}");
        }
    }

    #[test]
    fn a_variable_is_refused_where_it_would_be_one() {
        let equals = |value: Value| json!({"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": {"StringEquals": {"kms:EncryptionContext:user": value}}});
        let on = |place: &str| json!({"Effect": "Deny", "Action": "kms:*", place: ["*", "arn:aws:kms:*:*:key/${aws:username}"]});
        for statement in [
            equals(json!("${aws:username}")),
            equals(json!(["a", "team-${aws:username}"])),
            on("Resource"),
            on("NotResource"),
        ] {
            let why = of_principal(&statement, "2012-10-17").unwrap();
            assert!(why.contains("has a variable"), "{why}");
            assert_eq!(of_principal(&statement, "2008-10-17"), None, "text is text");
        }
        assert_eq!(of_principal(&equals(json!("$ {5}")), "2012-10-17"), None);
    }

    #[test]
    fn a_limit_to_an_alias_is_refused_where_it_would_be_none() {
        let on = |effect: &str, place: &str, resource: &str| {
            let statement = json!({"Effect": effect, "Action": "kms:*", place: [resource, "k1"]});
            of_principal(&statement, "2012-10-17")
        };
        for alias in [
            "arn:aws:kms:*:*:alias/prod-*",
            "acs:kms:*:*:alias/prod",
            "alias/prod",
        ] {
            for (effect, place) in [("Deny", "Resource"), ("Allow", "NotResource")] {
                let why = on(effect, place, alias).unwrap();
                assert!(why.contains(&format!("alias {alias:?}")), "{why}");
            }
            assert_eq!(on("Allow", "Resource", alias), None, "it allows nothing");
            assert_eq!(on("Deny", "NotResource", alias), None, "it denies all");
        }
        for key in ["arn:aws:kms:*:*:key/*", "*", "arn:aws:s3:::bucket/alias/x"] {
            assert_eq!(on("Deny", "Resource", key), None, "{key}");
        }
    }

    #[test]
    fn policies_as_they_should_be_are_taken() {
        let default = Policy::default_of_key("alice", ACCOUNT);
        assert_eq!(refusal(&default, PolicyKind::Key), None);
        let statement = json!({"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": true}, "Null": {"kms:EncryptionContext:a": "false"}}});
        assert_eq!(of_principal(&statement, "2012-10-17"), None);
    }
}
