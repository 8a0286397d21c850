//! policy.toml to a [`Policy`]. Whatever is unknown, misspelt or beyond a limit is an error: a rule that is not
//! understood must not be passed over.

use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::pattern::{PathPattern, PatternError, is_name_pattern};
use super::{Access, Folder, MAX_FOLDERS, MAX_LEN, MAX_RULES, NewFileKeys, Policy, Rule};
use crate::format::volume_config::KeyScope;
use crate::units::KeyUri;

/// The most entries of one list.
const MAX_LIST: usize = 64;
/// As many keys as a file's header has slots.
const MAX_KEYS: usize = 8;

/// Why a policy cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Longer than [`MAX_LEN`].
    #[error("it is longer than {MAX_LEN} bytes")]
    TooLong,
    /// It is no TOML, or not of this form; says where.
    #[error("{0}")]
    Form(String),
    /// One rule, counted from 1.
    #[error("rule {rule}: {why}")]
    Rule {
        /// Which.
        rule: usize,
        /// What is wrong.
        why: String,
    },
    /// One folder, counted from 1.
    #[error("folder {folder}: {why}")]
    Folder {
        /// Which.
        folder: usize,
        /// What is wrong.
        why: String,
    },
    /// A key cannot be exchanged by a program.
    #[error(
        "its text does not let one key be put in the place of another: change it by hand, and set it"
    )]
    Exchange,
}

/// Names of users and groups to numbers, as this machine has them. `None`: there is none.
pub trait Accounts {
    /// A user's number.
    fn user(&self, name: &str) -> Option<u32>;
    /// A group's number.
    fn group(&self, name: &str) -> Option<u32>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "allow")]
    default: AccessWord,
    #[serde(default)]
    rule: Vec<RuleTable>,
    #[serde(default)]
    folder: Vec<FolderTable>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AccessWord {
    Allow,
    ReadOnly,
    Deny,
}

fn allow() -> AccessWord {
    AccessWord::Allow
}

impl From<AccessWord> for Access {
    fn from(word: AccessWord) -> Self {
        match word {
            AccessWord::Allow => Self::Allow,
            AccessWord::ReadOnly => Self::ReadOnly,
            AccessWord::Deny => Self::Deny,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    path: Option<String>,
    uid: Option<OneOrMore<Account>>,
    gid: Option<OneOrMore<Account>>,
    exe: Option<OneOrMore<String>>,
    unit: Option<OneOrMore<String>>,
    access: AccessWord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderTable {
    path: String,
    #[serde(default)]
    keys: Vec<String>,
    scope: Option<KeyScope>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Account {
    Number(u32),
    Name(String),
}

impl<T> OneOrMore<T> {
    /// A list of none would be met by nobody, or by everybody: it says nothing.
    fn list(this: Option<Self>, what: &str) -> Result<Vec<T>, String> {
        match this {
            None => Ok(Vec::new()),
            Some(Self::One(one)) => Ok(vec![one]),
            Some(Self::More(more)) if more.is_empty() => Err(format!("{what} names nobody")),
            Some(Self::More(more)) if more.len() > MAX_LIST => {
                Err(format!("{what} names more than {MAX_LIST}"))
            }
            Some(Self::More(more)) => Ok(more),
        }
    }
}

impl Policy {
    /// Reads policy.toml.
    ///
    /// # Errors
    /// It cannot be followed as a whole.
    pub fn parse(bytes: &[u8], accounts: &dyn Accounts) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_LEN {
            return Err(PolicyError::TooLong);
        }
        let form = |why: String| PolicyError::Form(why);
        let text = std::str::from_utf8(bytes).map_err(|error| form(error.to_string()))?;
        let document: Document =
            toml::from_str(text).map_err(|error| form(error.to_string().trim_end().to_owned()))?;
        if document.rule.len() > MAX_RULES || document.folder.len() > MAX_FOLDERS {
            return Err(form(format!(
                "more than {MAX_RULES} rules, or than {MAX_FOLDERS} folders"
            )));
        }
        let rules = (1..).zip(document.rule).map(|(nth, table)| {
            rule(table, accounts).map_err(|why| PolicyError::Rule { rule: nth, why })
        });
        let rules = rules.collect::<Result<_, _>>()?;
        Ok(Self {
            rules,
            default: document.default.into(),
            folders: folders(document.folder)?,
        })
    }
}

fn folders(tables: Vec<FolderTable>) -> Result<Vec<Folder>, PolicyError> {
    let mut folders: Vec<Folder> = Vec::new();
    for (nth, table) in (1..).zip(tables) {
        let failed = |why| PolicyError::Folder { folder: nth, why };
        let folder = folder(table).map_err(failed)?;
        if folders.iter().any(|other| other.path == folder.path) {
            return Err(failed(format!("{} has keys already", folder.path)));
        }
        folders.push(folder);
    }
    Ok(folders)
}

fn rule(table: RuleTable, accounts: &dyn Accounts) -> Result<Rule, String> {
    let path = table
        .path
        .map(|path| PathPattern::parse(&path).map_err(|error| format!("path {path:?}: {error}")));
    let number = |account: Account, what: &str, find: &dyn Fn(&str) -> Option<u32>| match account {
        Account::Number(u32::MAX) => Err(format!("{} is no {what}", u32::MAX)),
        Account::Number(number) => Ok(number),
        Account::Name(name) => {
            find(&name).ok_or_else(|| format!("there is no {what} {name:?} on this machine"))
        }
    };
    let all = |list: Vec<Account>, what: &str, find: &dyn Fn(&str) -> Option<u32>| {
        list.into_iter()
            .map(|account| number(account, what, find))
            .collect::<Result<Vec<_>, _>>()
    };
    let exes =
        OneOrMore::list(table.exe, "exe")?
            .into_iter()
            .map(|exe| match exe.strip_prefix('/') {
                Some(_) => Ok(PathBuf::from(exe)),
                None => Err(format!("exe {exe:?}: an absolute path is due")),
            });
    let units = OneOrMore::list(table.unit, "unit")?;
    if let Some(odd) = units
        .iter()
        .find(|unit| !is_name_pattern(unit) || !unit.contains('.'))
    {
        return Err(format!(
            "unit {odd:?}: a name such as nginx.service is due, in which * and ? may stand"
        ));
    }
    Ok(Rule {
        path: path.transpose()?,
        uids: all(OneOrMore::list(table.uid, "uid")?, "user", &|name| {
            accounts.user(name)
        })?,
        gids: all(OneOrMore::list(table.gid, "gid")?, "group", &|name| {
            accounts.group(name)
        })?,
        exes: exes.collect::<Result<_, _>>()?,
        units,
        access: table.access.into(),
    })
}

fn folder(table: FolderTable) -> Result<Folder, String> {
    let path = table.path;
    let odd = |error: PatternError| format!("path {path:?}: {error}");
    let plain = PathPattern::parse(&path).map_err(odd)?;
    if path.contains(['*', '?', '\\']) {
        return Err(format!("path {path:?}: a folder's path, without * ? \\"));
    }
    let keys = table.keys.iter().map(|uri| {
        let key = uri.parse::<KeyUri>();
        let key = key.map_err(|error| format!("key {uri:?}: {error}"))?;
        match key.scheme() {
            "volume" => Err(format!(
                "key {uri:?}: for the volume key give scope = \"volume\""
            )),
            _ => Ok(key),
        }
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if let Some((_nth, twice)) = keys
        .iter()
        .enumerate()
        .find(|(nth, key)| keys[..*nth].contains(key))
    {
        return Err(format!("the key {twice} is named twice"));
    }
    let scope = match (table.scope, keys.len()) {
        (None, 0) => return Err("neither keys nor a scope are given".to_owned()),
        (_, count) if count > MAX_KEYS => return Err(format!("more than {MAX_KEYS} keys")),
        (Some(KeyScope::Volume), 1..) => {
            return Err("with scope \"volume\" the volume key wraps, and no other".to_owned());
        }
        (scope, _) => scope.unwrap_or(KeyScope::File),
    };
    Ok(Folder {
        path: plain.to_string(),
        keys: NewFileKeys { scope, keys },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    struct Machine;

    impl Accounts for Machine {
        fn user(&self, name: &str) -> Option<u32> {
            (name == "www-data").then_some(33)
        }

        fn group(&self, name: &str) -> Option<u32> {
            (name == "ssl-cert").then_some(109)
        }
    }

    fn parsed(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text.as_bytes(), &Machine)
    }

    pub(in crate::policy) fn policy(text: &str) -> Policy {
        parsed(text).unwrap()
    }

    #[test]
    fn a_policy_is_read() {
        let policy = policy(
            r#"
            default = "read-only"
            [[rule]]
            path = "/certs/**"
            uid = ["www-data", 0]
            gid = "ssl-cert"
            exe = "/usr/sbin/nginx"
            unit = ["nginx.service", "nginx@*.service"]
            access = "allow"
            [[rule]]
            access = "deny"
            [[folder]]
            path = "/certs"
            keys = ["file:///a", "file:///b"]
            [[folder]]
            path = "/bulk"
            scope = "volume"
            "#,
        );
        assert_eq!(policy.default, Access::ReadOnly);
        let rule = &policy.rules[0];
        assert_eq!(
            (rule.uids.as_slice(), rule.gids.as_slice()),
            ([33, 0].as_slice(), [109].as_slice())
        );
        assert_eq!(rule.exes, [PathBuf::from("/usr/sbin/nginx")]);
        assert_eq!((rule.units.len(), rule.access), (2, Access::Allow));
        assert_eq!(
            (&policy.rules[1].path, policy.rules[1].access),
            (&None, Access::Deny)
        );
        assert_eq!(policy.folders[0].keys.keys.len(), 2);
        assert_eq!(policy.folders[1].keys.scope, KeyScope::Volume);
    }

    #[test]
    fn an_empty_policy_allows() {
        for text in ["", "# nothing\n", "default = \"allow\""] {
            assert_eq!(
                (policy(text).default, policy(text).rules.len()),
                (Access::Allow, 0)
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_as_a_whole() {
        for text in [
            "x = 1",
            "default = \"Allow\"",
            "default = \"none\"",
            "default = 1",
            "rule = 1",
            "[rule]\naccess = \"deny\"",
            "[[rule]]",
            "[[rule]]\naccess = \"write\"",
            "[[rule]]\naccess = [\"deny\"]",
            "[[rule]]\naccess = \"deny\"\npaths = \"/a\"",
            "[[rule]]\naccess = \"deny\"\naccess = \"allow\"",
            "[[rules]]\naccess = \"deny\"",
            "[[rule]]\naccess = \"deny\"\npath = \"a\"",
            "[[rule]]\naccess = \"deny\"\npath = \"/a/\"",
            "[[rule]]\naccess = \"deny\"\npath = \"/[a]\"",
            "[[rule]]\naccess = \"deny\"\npath = [\"/a\"]",
            "[[rule]]\naccess = \"deny\"\nuid = []",
            "[[rule]]\naccess = \"deny\"\nuid = -1",
            "[[rule]]\naccess = \"deny\"\nuid = 4294967295",
            "[[rule]]\naccess = \"deny\"\nuid = 4294967296",
            "[[rule]]\naccess = \"deny\"\nuid = \"nosuchuser\"",
            "[[rule]]\naccess = \"deny\"\nuid = \"33\"",
            "[[rule]]\naccess = \"deny\"\ngid = \"www-data\"",
            "[[rule]]\naccess = \"deny\"\ngid = 1.5",
            "[[rule]]\naccess = \"deny\"\nexe = \"nginx\"",
            "[[rule]]\naccess = \"deny\"\nexe = \"\"",
            "[[rule]]\naccess = \"deny\"\nunit = \"nginx\"",
            "[[rule]]\naccess = \"deny\"\nunit = \"\"",
            "[[rule]]\naccess = \"deny\"\nunit = \"a**.service\"",
            "[[folder]]\npath = \"/a\"",
            "[[folder]]\nkeys = [\"file:///a\"]",
            "[[folder]]\npath = \"a\"\nkeys = [\"file:///a\"]",
            "[[folder]]\npath = \"/a/**\"\nkeys = [\"file:///a\"]",
            "[[folder]]\npath = \"/a\"\nkeys = [\"nonsense\"]",
            "[[folder]]\npath = \"/a\"\nkeys = \"file:///a\"",
            "[[folder]]\npath = \"/a\"\nkeys = [\"volume:1\"]",
            "[[folder]]\npath = \"/a\"\nkeys = [\"file:///a\", \"file:///a\"]",
            "[[folder]]\npath = \"/a\"\nscope = \"folder\"",
            "[[folder]]\npath = \"/a\"\nscope = \"volume\"\nkeys = [\"file:///a\"]",
            "[[folder]]\npath = \"/a\"\nscope = \"file\"\n[[folder]]\npath = \"/a\"\nscope = \"volume\"",
            "[[rule]\naccess = \"deny\"",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(Policy::parse(&[0xFF, b'\n'], &Machine).is_err());
    }

    #[test]
    fn an_error_says_where() {
        let error = parsed(
            "[[rule]]\naccess = \"deny\"\n[[rule]]\naccess = \"deny\"\nuid = \"nosuchuser\"",
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "rule 2: there is no user \"nosuchuser\" on this machine"
        );
        assert!(
            parsed("\n\nx = 1")
                .unwrap_err()
                .to_string()
                .contains("line 3")
        );
        let folder = parsed("[[folder]]\npath = \"/a\"\n").unwrap_err();
        assert!(
            folder
                .to_string()
                .contains("folder 1: neither keys nor a scope"),
            "{folder}"
        );
    }

    #[test]
    fn limits_hold() {
        let rules = |count: usize| "[[rule]]\naccess = \"deny\"\n".repeat(count);
        assert!(parsed(&rules(MAX_RULES)).is_ok());
        assert!(parsed(&rules(MAX_RULES + 1)).is_err());
        assert_eq!(parsed(&"#".repeat(MAX_LEN + 1)), Err(PolicyError::TooLong));
        let uids =
            |count: usize| format!("[[rule]]\naccess = \"deny\"\nuid = {:?}", vec![1; count]);
        assert!(parsed(&uids(MAX_LIST)).is_ok() && parsed(&uids(MAX_LIST + 1)).is_err());
        let keys = |count: usize| {
            let keys: Vec<_> = (0..count).map(|nth| format!("file:///{nth}")).collect();
            format!("[[folder]]\npath = \"/a\"\nkeys = {keys:?}")
        };
        assert!(parsed(&keys(8)).is_ok() && parsed(&keys(9)).is_err());
        let folders = |count: usize| -> String {
            let folder = |nth| format!("[[folder]]\npath = \"/{nth}\"\nscope = \"volume\"\n");
            (0..count).map(folder).collect()
        };
        assert!(
            parsed(&folders(MAX_FOLDERS)).is_ok() && parsed(&folders(MAX_FOLDERS + 1)).is_err()
        );
        let deep = format!("x = {}", "[".repeat(5000));
        assert!(parsed(&deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            drop(parsed(&text));
        }
    }
}
