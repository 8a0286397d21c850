//! Does what `envelopekms key` asks for.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::document;
use super::key::{AliasArgs, CreateArgs, KeyArgs, KeyCommand, ListArgs, RotationArgs, ShowArgs};
use crate::cli::failure::Failure;
use crate::cli::kms::args::PlaceArgs;
use crate::cli::kms::list::{all, table};
use crate::cli::kms::session::Session;
use crate::cli::output;
use crate::cli::output::harmless;
use crate::cli::values::show_duration;
use crate::kms::engine::Operation;
use crate::kms::engine::model::{Alias, Key, KeyRef, KeyUsage, Origin, ProtectionLevel};
use crate::kms::engine::ops::admin::{GetKeyUse, VersionUse};
use crate::kms::engine::ops::keys::{
    CancelKeyDeletion, CreateKey, DescribeKey, DisableKey, EnableKey, FirstPolicy, KeyFilter,
    ListKeys, ScheduleKeyDeletion, SetDeletionProtection, UpdateKeyDescription,
};
use crate::kms::engine::ops::names::{CreateAlias, DeleteAlias, ListAliases, UpdateAlias};
use crate::kms::engine::ops::versions::{RotateKeyOnDemand, SetKeyVersionEnabled, UpdateRotation};

/// Does it.
///
/// # Errors
/// It was refused.
pub fn run(place: &PlaceArgs, args: &KeyArgs) -> Result<(), Failure> {
    let args = args.command.clone();
    match args {
        KeyCommand::Create(args) => create(place, args),
        KeyCommand::List(args) => list(place, &args),
        KeyCommand::Show(args) => show(place, &args),
        KeyCommand::Use(args) => show_use(place, &args),
        KeyCommand::Rotation(args) => rotation(place, args),
        KeyCommand::Alias(args) => alias(place, args),
        KeyCommand::Enable(args) => change(place, "enable the key", EnableKey { key: args.key }),
        KeyCommand::Disable(args) => change(place, "disable the key", DisableKey { key: args.key }),
        KeyCommand::Rotate(args) => {
            change(place, "rotate the key", RotateKeyOnDemand { key: args.key })
        }
        KeyCommand::EnableVersion(args) => {
            let (key, version) = (args.key, args.version);
            let enable = SetKeyVersionEnabled {
                key,
                version,
                enabled: true,
            };
            change(place, "enable the version", enable)
        }
        KeyCommand::DisableVersion(args) => {
            let (key, version) = (args.key, args.version);
            let disable = SetKeyVersionEnabled {
                key,
                version,
                enabled: false,
            };
            change(place, "disable the version", disable)
        }
        KeyCommand::ScheduleDeletion(args) => {
            let (key, days) = (args.key, args.days);
            let schedule = ScheduleKeyDeletion { key, days };
            change(place, "schedule the key's deletion", schedule)
        }
        KeyCommand::CancelDeletion(args) => {
            let cancel = CancelKeyDeletion { key: args.key };
            change(place, "cancel the key's deletion", cancel)
        }
        KeyCommand::Protect(args) => protect(place, args.key, Some(String::new())),
        KeyCommand::Unprotect(args) => protect(place, args.key, None),
        KeyCommand::Describe(args) => {
            let (key, description) = (args.key, args.description);
            let describe = UpdateKeyDescription { key, description };
            change(place, "describe the key", describe)
        }
        KeyCommand::Unalias(args) => change(
            place,
            "take the alias away",
            DeleteAlias { name: args.alias },
        ),
    }
}

/// An operation whose answer says nothing more than that it was done.
fn change<O: Operation>(place: &PlaceArgs, verb: &str, operation: O) -> Result<(), Failure> {
    let what = format!("cannot {verb}");
    Session::with(&what, place, |session| {
        session.perform(&what, operation).map(drop)
    })
}

fn protect(place: &PlaceArgs, key: KeyRef, protection: Option<String>) -> Result<(), Failure> {
    let protect = SetDeletionProtection { key, protection };
    change(place, "set the key's protection from deletion", protect)
}

fn rotation(place: &PlaceArgs, args: RotationArgs) -> Result<(), Failure> {
    let update = UpdateRotation {
        key: args.key,
        period: args.every,
    };
    change(place, "set the key's rotation", update)
}

fn alias(place: &PlaceArgs, args: AliasArgs) -> Result<(), Failure> {
    let AliasArgs { key, alias, moves } = args;
    match moves {
        true => change(place, "move the alias", UpdateAlias { name: alias, key }),
        false => change(place, "make the alias", CreateAlias { name: alias, key }),
    }
}

fn create(place: &PlaceArgs, args: CreateArgs) -> Result<(), Failure> {
    let what = "cannot make a key";
    let policy = args.policy.map(|path| document(what, &path)).transpose()?;
    let policy = policy.map(|text| FirstPolicy {
        text,
        bypass_lockout_check: false,
    });
    let allowed = KeyUsage::ALL.iter().copied();
    let first = allowed.into_iter().find(|usage| args.spec.allows(*usage));
    let create = CreateKey {
        description: args.description,
        spec: args.spec,
        usage: args.usage.or(first).unwrap_or(KeyUsage::EncryptDecrypt),
        origin: match args.external {
            true => Origin::External,
            false => Origin::Service,
        },
        protection: match args.hsm {
            true => ProtectionLevel::Hsm,
            false => ProtectionLevel::Software,
        },
        rotation_period: args.rotate_every,
        tags: Vec::new(),
        policy,
    };
    let alias = args.alias;
    let (key, named) = Session::with(what, place, |session| {
        let key = session.perform(what, create)?;
        let named = alias.map(|name| {
            let key = KeyRef::Id(key.id.clone());
            let what = format!(
                "the key {} was made, but cannot be given its alias",
                key_name(&key)
            );
            session.perform(&what, CreateAlias { name, key })
        });
        Ok((key, named))
    })?;
    if args.output.json {
        output::print_json(&as_json(&key, &[]))?;
    } else {
        output::print(&format!("{}\n", key.id.0))?;
    }
    named.transpose().map(drop)
}

fn key_name(key: &KeyRef) -> &str {
    match key {
        KeyRef::Alias(name) => name,
        KeyRef::Id(id) => &id.0,
    }
}

fn list(place: &PlaceArgs, args: &ListArgs) -> Result<(), Failure> {
    let what = "cannot list keys";
    let filter = KeyFilter {
        states: args.state.map(|state| vec![state]),
        ..KeyFilter::default()
    };
    let (keys, aliases) = Session::with(what, place, |session| {
        let keys = all(|page| {
            let filter = filter.clone();
            session.perform(what, ListKeys { filter, page })
        })?;
        let aliases = all(|page| session.perform(what, ListAliases { key: None, page }))?;
        Ok((keys, aliases))
    })?;
    if args.output.json {
        let keys = keys.iter().map(|key| as_json(key, &of_key(key, &aliases)));
        return output::print_json(&keys.collect::<Vec<_>>());
    }
    let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["ID", "STATE", "SPEC", "USAGE", "ALIASES"])];
    rows.extend(keys.iter().map(|key| {
        let aliases = of_key(key, &aliases).join(" ");
        let (state, spec, usage) = (key.state.name(), key.spec.name(), key.usage.name());
        row([&key.id.0, state, spec, usage, &aliases])
    }));
    output::print(&table(&rows))
}

fn of_key<'a>(key: &Key, aliases: &'a [Alias]) -> Vec<&'a str> {
    let own = aliases.iter().filter(|alias| alias.key == key.id);
    own.map(|alias| alias.name.as_str()).collect()
}

fn show(place: &PlaceArgs, args: &ShowArgs) -> Result<(), Failure> {
    let what = format!("cannot show the key {}", key_name(&args.key));
    let (key, aliases) = Session::with(&what, place, |session| {
        let key = args.key.clone();
        let key = session.perform(&what, DescribeKey { key })?;
        let id = Some(KeyRef::Id(key.id.clone()));
        let aliases = all(|page| {
            let key = id.clone();
            session.perform(&what, ListAliases { key, page })
        })?;
        Ok((key, aliases))
    })?;
    let value = as_json(&key, &of_key(&key, &aliases));
    match args.output.json {
        true => output::print_json(&value),
        false => output::print(&as_text(&value)),
    }
}

fn as_json(key: &Key, aliases: &[&str]) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "id": key.id.0,
        "aliases": aliases,
        "description": key.description,
        "state": key.state.name(),
        "spec": key.spec.name(),
        "usage": key.usage.name(),
        "origin": key.origin.name(),
        "protection": key.protection.name(),
        "created": key.created.to_string(),
        "creator": key.creator,
        "primary_version": key.primary.as_ref().map(|version| version.0.as_str()),
        "rotation": key.rotation.period.filter(|_| key.rotation.enabled).map(show_duration),
        "last_rotation": time(key.rotation.last),
        "next_rotation": time(key.rotation.next),
        "deletion": time(key.deletion),
        "material_expires": time(key.material_expires),
        "protected_from_deletion": key.deletion_protection.is_some(),
    })
}

/// What is known, a line each.
fn as_text(value: &Value) -> String {
    let line =
        |name: &str, text: &str| format!("{:<24} {}\n", name.replace('_', " "), harmless(text));
    let fields = value.as_object().into_iter().flatten();
    let lines = fields.filter_map(|(name, value)| match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(line(name, text)),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            Some(line(name, &items.join(" ")))
        }
        other => Some(line(name, &other.to_string())),
    });
    lines.collect()
}

fn show_use(place: &PlaceArgs, args: &ShowArgs) -> Result<(), Failure> {
    let what = format!("cannot tell the use of {}", key_name(&args.key));
    let key = args.key.clone();
    let uses: Vec<VersionUse> = Session::with(&what, place, |session| {
        session.perform(&what, GetKeyUse { key })
    })?;
    let last = |one: &VersionUse| one.last_used.map(|time| time.to_string());
    if args.output.json {
        let shown = uses.iter().map(|one| {
            json!({
                "version": one.version.0,
                "number": one.number,
                "produced": one.produced,
                "opened": one.opened,
                "last_used": last(one),
            })
        });
        return output::print_json(&shown.collect::<Vec<_>>());
    }
    let head = ["VERSION", "NUMBER", "PRODUCED", "OPENED", "LAST USED"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(uses.iter().map(|one| {
        vec![
            one.version.0.clone(),
            one.number.to_string(),
            one.produced.to_string(),
            one.opened.to_string(),
            last(one).unwrap_or_else(|| "never".to_owned()),
        ]
    }));
    output::print(&table(&rows))
}
