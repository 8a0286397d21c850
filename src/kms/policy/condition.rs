//! What a statement's `Condition` says.
//!
//! An operator that is not known here is refused when the policy is set. A key that is not known (`kms:ViaService`,
//! say) can be of no value here: a condition on it is `Holds::Unknown`, with which nothing is allowed and
//! everything is denied.

use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use super::document::PolicyError;
use super::judge::Request;
use super::wildcard::{exact, matches};

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    No,
    Unknown,
    Yes,
}

/// One operator on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    test: Test,
    /// `StringNotEquals` and its like: none of the values.
    negated: bool,
    /// `…IfExists`: also holds where there is no value.
    if_exists: bool,
    quantifier: Quantifier,
    key: Key,
}

/// For keys with several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// `ForAllValues`: also holds where there is no value.
    All,
    /// `ForAnyValue`: of no value it does not hold, negated or not.
    Any,
    /// None was said: the key has one value.
    One,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    After(Vec<Timestamp>),
    Before(Vec<Timestamp>),
    Bool(bool),
    Exactly(Vec<String>),
    ExactlyAnyCase(Vec<String>),
    Like(Vec<String>),
    /// Whether there must be no value.
    Null(bool),
    Within(Vec<Network>),
}

/// What a condition is on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    /// `kms:EncryptionContext:KEY`.
    Context(String),
    /// `kms:EncryptionContextKeys`.
    ContextKeys,
    CurrentTime,
    Origin,
    Principal,
    SecureTransport,
    SourceIp,
    Spec,
    /// `aws:ResourceTag/KEY`.
    Tag(String),
    Unknown,
    Usage,
}

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Condition {
    /// Reads `"Operator": {"key": value, …}`.
    pub(super) fn parse(operator: &str, keys: &Value) -> Result<Vec<Self>, PolicyError> {
        let keys = keys
            .as_object()
            .ok_or_else(|| PolicyError::new(format!("the condition {operator} is no object")))?;
        keys.iter()
            .map(|(key, values)| Self::parse_one(operator, key, values))
            .collect()
    }

    fn parse_one(operator: &str, key: &str, values: &Value) -> Result<Self, PolicyError> {
        let (quantifier, rest) = match operator.split_once(':') {
            None => (Quantifier::One, operator),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(_) => return Err(unknown(operator)),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let values = texts(values)?;
        let (test, negated) = match name {
            "StringEquals" => (Test::Exactly(values), false),
            "StringNotEquals" => (Test::Exactly(values), true),
            "StringEqualsIgnoreCase" => (Test::ExactlyAnyCase(values), false),
            "StringNotEqualsIgnoreCase" => (Test::ExactlyAnyCase(values), true),
            // The two of ARNs are one: "ArnEquals and ArnLike behave identically" (AWS IAM).
            "StringLike" | "ArnLike" | "ArnEquals" => (Test::Like(values), false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Test::Like(values), true),
            "Bool" => (Test::Bool(truth(&values)?), false),
            "Null" => (Test::Null(truth(&values)?), false),
            "IpAddress" => (Test::Within(all(&values)?), false),
            "NotIpAddress" => (Test::Within(all(&values)?), true),
            "DateGreaterThan" => (Test::After(all_times(&values)?), false),
            "DateLessThan" => (Test::Before(all_times(&values)?), false),
            _ => return Err(unknown(operator)),
        };
        Ok(Self {
            test,
            negated,
            if_exists,
            quantifier,
            key: Key::parse(key),
        })
    }

    /// Whether it holds of the request.
    pub(super) fn holds(&self, request: &Request<'_>) -> Holds {
        let Some(values) = self.key.values(request) else {
            return Holds::Unknown;
        };
        if let Test::Null(wanted) = self.test {
            return yes(values.is_empty() == wanted);
        }
        if values.is_empty() {
            return yes(self.if_exists || self.holds_of_nothing());
        }
        let met: Option<Vec<bool>> = values.iter().map(|value| self.test.is_met(value)).collect();
        let Some(met) = met else {
            return Holds::Unknown;
        };
        let mut met = met.into_iter().map(|met| met != self.negated);
        yes(match self.quantifier {
            Quantifier::All => met.all(|met| met),
            Quantifier::Any | Quantifier::One => met.any(|met| met),
        })
    }

    /// Whether it holds where the request has no value of the key ("Single-valued vs. multivalued context keys",
    /// AWS IAM).
    fn holds_of_nothing(&self) -> bool {
        match self.quantifier {
            Quantifier::All => true,
            Quantifier::Any => false,
            Quantifier::One => self.negated,
        }
    }
}

fn yes(holds: bool) -> Holds {
    if holds { Holds::Yes } else { Holds::No }
}

/// A value of the request.
#[derive(Debug, Clone, Copy)]
enum Datum<'a> {
    Address(IpAddr),
    Bool(bool),
    Text(&'a str),
    Time(Timestamp),
}

impl Test {
    /// `None` for an operator that cannot be on such a value.
    fn is_met(&self, value: &Datum<'_>) -> Option<bool> {
        Some(match (self, value) {
            (Self::Exactly(wanted), Datum::Text(text)) => wanted.iter().any(|one| one == text),
            (Self::ExactlyAnyCase(wanted), Datum::Text(text)) => {
                wanted.iter().any(|one| one.eq_ignore_ascii_case(text))
            }
            (Self::Like(wanted), Datum::Text(text)) => {
                wanted.iter().any(|one| matches(one, text, exact))
            }
            (Self::Bool(wanted), Datum::Bool(value)) => wanted == value,
            (Self::Within(networks), Datum::Address(address)) => {
                networks.iter().any(|network| network.has(*address))
            }
            (Self::After(times), Datum::Time(now)) => times.iter().any(|time| now > time),
            (Self::Before(times), Datum::Time(now)) => times.iter().any(|time| now < time),
            _ => return None,
        })
    }
}

impl Key {
    fn parse(key: &str) -> Self {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        let after = |prefix: &str| {
            key.get(..prefix.len())
                .filter(|start| start.eq_ignore_ascii_case(prefix))
                .map(|_| key[prefix.len()..].to_owned())
        };
        if let Some(name) = after("kms:EncryptionContext:") {
            return Self::Context(name);
        }
        if let Some(name) = after("aws:ResourceTag/").or_else(|| after("acs:ResourceTag/")) {
            return Self::Tag(name);
        }
        match () {
            () if is("kms:EncryptionContextKeys") => Self::ContextKeys,
            () if is("kms:KeySpec") => Self::Spec,
            () if is("kms:KeyUsage") => Self::Usage,
            () if is("kms:KeyOrigin") => Self::Origin,
            () if is("aws:SourceIp") || is("acs:SourceIp") => Self::SourceIp,
            () if is("aws:SecureTransport") || is("acs:SecureTransport") => Self::SecureTransport,
            () if is("aws:CurrentTime") || is("acs:CurrentTime") => Self::CurrentTime,
            () if is("aws:username") || is("aws:PrincipalTag/name") => Self::Principal,
            () => Self::Unknown,
        }
    }

    /// The request's values; `None` for a key that is not known.
    fn values<'a>(&self, request: &Request<'a>) -> Option<Vec<Datum<'a>>> {
        let one = |value: Option<&'a str>| value.map(Datum::Text).into_iter().collect();
        let pairs = request.context.map(|context| context.pairs());
        Some(match self {
            Self::Unknown => return None,
            Self::Context(key) => one(pairs.and_then(|pairs| pairs.get(key)).map(String::as_str)),
            Self::ContextKeys => {
                let keys = pairs.into_iter().flat_map(|pairs| pairs.keys());
                keys.map(|key| Datum::Text(key)).collect()
            }
            Self::Spec => one(request.key.map(|key| key.spec.name())),
            Self::Usage => one(request.key.map(|key| key.usage.name())),
            Self::Origin => one(request.key.map(|key| key.origin.name())),
            Self::Principal => one(Some(request.principal)),
            Self::Tag(name) => {
                let tags = request.key.into_iter().flat_map(|key| &key.tags);
                one(tags
                    .filter(|tag| tag.key == *name)
                    .map(|tag| tag.value.as_str())
                    .next())
            }
            Self::SourceIp => request.address.map(Datum::Address).into_iter().collect(),
            Self::SecureTransport => vec![Datum::Bool(true)],
            Self::CurrentTime => vec![Datum::Time(request.now)],
        })
    }
}

impl FromStr for Network {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let none = || PolicyError::new(format!("{text:?} is no address and no network"));
        let (address, bits) = text.split_once('/').unzip();
        let address: IpAddr = address.unwrap_or(text).parse().map_err(|_error| none())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_error| none())?;
        if bits > most {
            return Err(none());
        }
        Ok(Self { address, bits }.canonical())
    }
}

impl Network {
    /// A network of IPv4 in the addresses that IPv6 has for it (`::ffff:0:0/96`) is the one of IPv4: who asks is always
    /// told by that.
    fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.bits.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(bits)) if self.address.is_ipv6() => {
                Self { address, bits }
            }
            _ => self,
        }
    }

    fn has(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

fn unknown(operator: &str) -> PolicyError {
    PolicyError::new(format!("the condition operator {operator:?} is not known"))
}

/// A value or a list of values, as texts.
fn texts(values: &Value) -> Result<Vec<String>, PolicyError> {
    let list = match values {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    list.iter()
        .map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(value) => Ok(value.to_string()),
            _ => Err(PolicyError::new("a condition's value is no text")),
        })
        .collect()
}

fn truth(values: &[String]) -> Result<bool, PolicyError> {
    match values {
        [one] if one.eq_ignore_ascii_case("true") => Ok(true),
        [one] if one.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(PolicyError::new("expected one value, true or false")),
    }
}

fn all<T: FromStr<Err = PolicyError>>(values: &[String]) -> Result<Vec<T>, PolicyError> {
    values.iter().map(|value| value.parse()).collect()
}

fn all_times(values: &[String]) -> Result<Vec<Timestamp>, PolicyError> {
    values
        .iter()
        .map(|value| {
            value
                .parse()
                .map_err(|_error| PolicyError::new(format!("{value:?} is no time")))
        })
        .collect()
}
