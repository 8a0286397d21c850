//! What the rules come to, for a path and whoever asks.
//!
//! A condition whose truth cannot be found out (the process is not seen, the path not known) counts in whichever way is
//! stricter: the rule's access holds, unless what comes after it is stricter still.

use std::path::{Path, PathBuf};

use super::pattern::name_matches;
use super::{Access, PathPattern, Policy, Rule};

/// What is known of who asks. `None`: it cannot be found out. Asked for only where a rule needs it.
pub trait Facts {
    /// Whether he is this user.
    fn is_user(&self, uid: u32) -> Option<bool>;
    /// Whether he is in this group.
    fn is_in_group(&self, gid: u32) -> Option<bool>;
    /// Whether he runs this executable.
    fn runs(&self, exe: &Path) -> Option<bool>;
    /// His systemd unit; empty where he is in none.
    fn unit(&self) -> Option<String>;
}

/// What somebody says of who asks; the rest is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The user.
    pub uid: Option<u32>,
    /// All groups.
    pub gids: Option<Vec<u32>>,
    /// The executable.
    pub exe: Option<PathBuf>,
    /// The unit; empty: none.
    pub unit: Option<String>,
}

impl Facts for Given {
    fn is_user(&self, uid: u32) -> Option<bool> {
        self.uid.map(|own| own == uid)
    }

    fn is_in_group(&self, gid: u32) -> Option<bool> {
        self.gids.as_ref().map(|own| own.contains(&gid))
    }

    fn runs(&self, exe: &Path) -> Option<bool> {
        self.exe.as_ref().map(|own| own == exe)
    }

    fn unit(&self) -> Option<String> {
        self.unit.clone()
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What may be done.
    pub access: Access,
    /// By which rule, from 1; 0 is the default.
    pub rule: usize,
}

/// Whether a condition is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    No,
    Unknown,
    Yes,
}

impl Met {
    fn of(known: Option<bool>) -> Self {
        match known {
            None => Self::Unknown,
            Some(false) => Self::No,
            Some(true) => Self::Yes,
        }
    }

    /// Met where the list has none, or where one of it is.
    fn any<T>(list: &[T], is: impl Fn(&T) -> Option<bool>) -> Self {
        match list {
            [] => Self::Yes,
            list => list
                .iter()
                .map(|one| Self::of(is(one)))
                .max()
                .unwrap_or(Self::Yes),
        }
    }
}

impl Rule {
    /// Whether it is about who asks. The cheap conditions first, for the others need not be looked up then.
    fn is_about(&self, facts: &dyn Facts) -> Met {
        let unit = |unit: &String| facts.unit().map(|of| name_matches(unit, &of));
        let conditions: [&dyn Fn() -> Met; 4] = [
            &|| Met::any(&self.uids, |uid| facts.is_user(*uid)),
            &|| Met::any(&self.gids, |gid| facts.is_in_group(*gid)),
            &|| Met::any(&self.exes, |exe| facts.runs(exe)),
            &|| Met::any(&self.units, unit),
        ];
        let mut met = Met::Yes;
        for condition in conditions {
            met = met.min(condition());
            if met == Met::No {
                break;
            }
        }
        met
    }

    fn verdict(&self, nth: usize) -> Verdict {
        Verdict {
            access: self.access,
            rule: nth + 1,
        }
    }
}

impl Policy {
    /// What may be done to the path, `None` where it is not known.
    pub fn judge(&self, path: Option<&[u8]>, facts: &dyn Facts) -> Verdict {
        self.decide(path, facts, |pattern, path| {
            Met::of(Some(pattern.matches(path)))
        })
    }

    /// What may be done to the path and to all that may be below it: the strictest of it.
    pub fn judge_tree(&self, path: Option<&[u8]>, facts: &dyn Facts) -> Verdict {
        self.decide(path, facts, |pattern, path| {
            match (pattern.covers_from(path), pattern.may_match_from(path)) {
                (true, _) => Met::Yes,
                (false, true) => Met::Unknown,
                (false, false) => Met::No,
            }
        })
    }

    fn decide(
        &self,
        path: Option<&[u8]>,
        facts: &dyn Facts,
        of_path: impl Fn(&PathPattern, &[u8]) -> Met,
    ) -> Verdict {
        let met = |rule: &Rule| {
            let of_path = match (&rule.path, path) {
                (None, _) => Met::Yes,
                (Some(_), None) => Met::Unknown,
                (Some(pattern), Some(path)) => of_path(pattern, path),
            };
            match of_path {
                Met::No => Met::No,
                met => met.min(rule.is_about(facts)),
            }
        };
        let mut strictest: Option<Verdict> = None;
        let mut last = Verdict {
            access: self.default,
            rule: 0,
        };
        for (nth, rule) in self.rules.iter().enumerate() {
            match met(rule) {
                Met::No => {}
                Met::Unknown => strictest = Some(stricter(strictest, rule.verdict(nth))),
                Met::Yes => {
                    last = rule.verdict(nth);
                    break;
                }
            }
        }
        stricter(strictest, last)
    }
}

fn stricter(one: Option<Verdict>, other: Verdict) -> Verdict {
    one.filter(|one| one.access <= other.access)
        .unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::tests::policy;

    use super::Given as Someone;

    fn someone() -> Someone {
        Someone {
            uid: Some(7),
            gids: Some(vec![7, 8]),
            exe: Some("/bin/cat".into()),
            unit: Some(String::new()),
        }
    }

    const CERTS: &str = r#"
        [[rule]]
        path = "/certs/**"
        uid = 33
        exe = "/usr/sbin/nginx"
        unit = "nginx.service"
        access = "allow"
        [[rule]]
        path = "/certs/**"
        gid = [8, 9]
        access = "read-only"
        [[rule]]
        path = "/certs/**"
        access = "deny"
    "#;

    fn judged(text: &str, path: &str, who: &Someone) -> (Access, usize) {
        let verdict = policy(text).judge(Some(path.as_bytes()), who);
        (verdict.access, verdict.rule)
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let nginx = || Someone {
            uid: Some(33),
            gids: Some(vec![33]),
            exe: Some("/usr/sbin/nginx".into()),
            unit: Some("nginx.service".into()),
        };
        assert_eq!(judged(CERTS, "/certs/a.key", &nginx()), (Access::Allow, 1));
        assert_eq!(
            judged(CERTS, "/certs/a.key", &someone()),
            (Access::ReadOnly, 2)
        );
        assert_eq!(judged(CERTS, "/elsewhere", &someone()), (Access::Allow, 0));
        for other in [
            Someone {
                uid: Some(34),
                ..nginx()
            },
            Someone {
                exe: Some("/tmp/nginx".into()),
                ..nginx()
            },
            Someone {
                unit: Some("other.service".into()),
                ..nginx()
            },
            Someone {
                unit: Some(String::new()),
                ..nginx()
            },
        ] {
            assert_eq!(judged(CERTS, "/certs/a.key", &other), (Access::Deny, 3));
        }
    }

    #[test]
    fn what_is_not_known_is_taken_for_the_stricter() {
        let hidden = |who: Someone| Someone {
            exe: None,
            unit: None,
            ..who
        };
        let nginx = Someone {
            uid: Some(33),
            gids: Some(vec![33]),
            ..Someone::default()
        };
        assert_eq!(judged(CERTS, "/certs/a", &hidden(nginx)), (Access::Deny, 3));
        assert_eq!(
            judged(CERTS, "/certs/a", &Someone::default()),
            (Access::Deny, 3)
        );
        // A rule that denies holds where it may.
        let text = "[[rule]]\nexe = \"/bin/sh\"\naccess = \"deny\"\n[[rule]]\naccess = \"allow\"";
        assert_eq!(judged(text, "/x", &Someone::default()), (Access::Deny, 1));
        assert_eq!(judged(text, "/x", &someone()), (Access::Allow, 2));
        // Read-only may be too much, or too little.
        let text = "default = \"deny\"\n[[rule]]\nuid = 7\naccess = \"read-only\"";
        assert_eq!(judged(text, "/x", &Someone::default()).0, Access::Deny);
        let text = "[[rule]]\nuid = 7\naccess = \"read-only\"";
        assert_eq!(judged(text, "/x", &Someone::default()).0, Access::ReadOnly);
    }

    #[test]
    fn a_path_that_is_not_known_gets_what_the_strictest_rule_gives() {
        assert_eq!(
            policy(CERTS)
                .judge(
                    None,
                    &Someone {
                        gids: Some(vec![]),
                        ..someone()
                    }
                )
                .access,
            Access::Deny
        );
        let free = "[[rule]]\nuid = 9\npath = \"/x\"\naccess = \"deny\"";
        assert_eq!(policy(free).judge(None, &someone()).access, Access::Allow);
        assert_eq!(
            policy(free).judge(None, &Someone::default()).access,
            Access::Deny
        );
    }

    #[test]
    fn a_tree_is_judged_by_the_strictest_in_it() {
        let tree = |text: &str, path: &str| {
            policy(text)
                .judge_tree(Some(path.as_bytes()), &someone())
                .access
        };
        assert_eq!(
            tree(CERTS, "/"),
            Access::Deny,
            "the third rule is about something below"
        );
        assert_eq!(
            tree(CERTS, "/certs"),
            Access::ReadOnly,
            "the second covers all of it"
        );
        assert_eq!(tree(CERTS, "/other"), Access::Allow);
        let keys = "[[rule]]\npath = \"/**/*.key\"\naccess = \"deny\"";
        assert_eq!(tree(keys, "/any/folder"), Access::Deny);
        let only = "default = \"deny\"\n[[rule]]\npath = \"/a\"\naccess = \"allow\"";
        assert_eq!(
            tree(only, "/a"),
            Access::Deny,
            "what is below is not allowed"
        );
        let all = "default = \"deny\"\n[[rule]]\npath = \"/a/**\"\naccess = \"allow\"";
        assert_eq!(tree(all, "/a"), Access::Allow);
    }

    #[test]
    fn what_no_rule_needs_is_not_looked_up() {
        struct Nobody;
        impl Facts for Nobody {
            fn is_user(&self, _uid: u32) -> Option<bool> {
                Some(false)
            }
            fn is_in_group(&self, _gid: u32) -> Option<bool> {
                panic!("looked up")
            }
            fn runs(&self, _exe: &Path) -> Option<bool> {
                panic!("looked up")
            }
            fn unit(&self) -> Option<String> {
                panic!("looked up")
            }
        }
        let text = "[[rule]]\nuid = 1\ngid = 2\nexe = \"/x\"\nunit = \"y.service\"\naccess = \"deny\"\n[[rule]]\npath = \"/z\"\nexe = \"/x\"\naccess = \"deny\"";
        assert_eq!(
            policy(text).judge(Some(b"/a"), &Nobody).access,
            Access::Allow
        );
    }
}
